//! Who is asking and with what: certificates, tokens and key sets, good and hostile.

#[path = "support/issuer.rs"]
mod issuer;
#[path = "support/pki.rs"]
mod pki;

#[path = "identity/certificates.rs"]
mod certificates;
#[path = "identity/handshake.rs"]
mod handshake;
#[path = "identity/key_sets.rs"]
mod key_sets;
#[path = "identity/tokens.rs"]
mod tokens;
