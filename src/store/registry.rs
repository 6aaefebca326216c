//! The device registry file.
