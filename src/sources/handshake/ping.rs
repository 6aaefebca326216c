//! A PING that is out, and what of its answer has come.

use super::frames::PING;
use std::time::Instant;

/// Length 8, PING, no flags, stream 0.
pub(super) const PING_HEADER: [u8; 9] = [0, 0, 8, PING, 0, 0, 0, 0, 0];

#[derive(Clone, Copy, Debug)]
pub(super) struct Ping {
    /// Its lowest two bits are the ping's place in `pings`.
    pub(super) secret: [u8; 8],
    /// What h2 wrote, and waits for.
    pub(super) original: [u8; 8],
    /// None: not yet out.
    pub(super) sent: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Passing {
    pub(super) slot: usize,
    pub(super) at: usize,
    pub(super) genuine: bool,
}

/// Unguessable, but for its lowest two bits. None: the system gives no random bytes.
pub(super) fn secret(slot: usize) -> Option<[u8; 8]> {
    let mut secret = [0; 8];
    aws_lc_rs::rand::fill(&mut secret).ok()?;
    secret[0] = secret[0] & !3 | slot as u8;
    Some(secret)
}
