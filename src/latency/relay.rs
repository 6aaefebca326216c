//! The relay gap: the round trip to the TLS endpoint minus the round trip to the TCP peer.
