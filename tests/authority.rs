//! The built-in device authority, held against the real `openssl` and `curl`.

#[path = "support/pki.rs"]
mod pki;

#[path = "authority/openssl.rs"]
mod openssl;

#[path = "authority/server.rs"]
mod server;

#[path = "authority/command.rs"]
mod command;
#[path = "authority/external.rs"]
mod external;
#[path = "authority/issued.rs"]
mod issued;
#[path = "authority/keys.rs"]
mod keys;
#[path = "authority/lists.rs"]
mod lists;
#[path = "authority/requests.rs"]
mod requests;
