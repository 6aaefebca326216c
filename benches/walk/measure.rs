//! One row: every peer in turn, round after round.

use crate::Options;
use crate::comparison::{Comparison, Row};
use crate::cpu::Used;
use crate::fixture::Fixture;
use crate::load::{Client, Ready};
use crate::peer::Peer;
use rangegate_benches::Result;
use rangegate_benches::spread::Spread;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct Measured {
    pub requests: usize,
    /// Of each peer, in their order.
    pub sides: Vec<Side>,
    /// Threads that ended meanwhile.
    pub lost: usize,
}

/// Empty for a peer that does not speak the row's protocol.
#[derive(Debug, Default)]
pub struct Side {
    /// Microseconds a request in every round.
    costs: Vec<f64>,
    /// The same, by the name of the thread.
    pub threads: BTreeMap<String, Vec<f64>>,
}

impl Measured {
    pub fn cost(&self, peer: usize) -> Option<Spread> {
        Spread::of(self.sides[peer].costs.iter().copied())
    }

    /// What one costs as a share of another, round by round.
    pub fn ratio(&self, peer: usize, of: usize) -> Option<Spread> {
        Spread::of(self.pairs(peer, of).map(|(a, b)| a / b))
    }

    /// What one costs beyond another, microseconds, round by round.
    pub fn beyond(&self, peer: usize, other: usize) -> Option<Spread> {
        Spread::of(self.pairs(peer, other).map(|(a, b)| a - b))
    }

    fn pairs(&self, a: usize, b: usize) -> impl Iterator<Item = (f64, f64)> {
        self.sides[a].costs.iter().copied().zip(self.sides[b].costs.iter().copied())
    }
}

/// Alternates between the peers; who goes first alternates too, so that a drift of the machine favours nobody.
pub async fn measure(options: &Options, row: &Row, compared: &Comparison, fixture: &Fixture) -> Result<Measured> {
    let mut taking_part = Vec::new();
    for (number, peer) in compared.peers.iter().enumerate().filter(|(_, peer)| peer.speaks(row.shape)) {
        taking_part.push((number, peer, peer.clients(fixture, row.caller, &compared.people)?));
    }
    let (_, last, clients) = taking_part.last().ok_or("no peers")?;
    let requests = calibrate(options, row, last, clients).await?;
    for (_, peer, clients) in &taking_part[..taking_part.len() - 1] {
        one(options, row, peer, clients, requests / 4).await?;
    }

    let mut sides: Vec<Side> = compared.peers.iter().map(|_| Side::default()).collect();
    let mut lost = 0;
    for _ in 0..options.rounds {
        for (number, peer, clients) in &taking_part {
            let one = one(options, row, peer, clients, requests).await?;
            let per_request = |nanoseconds: u64| nanoseconds as f64 / 1_000.0 / one.asked as f64;
            let side = &mut sides[*number];
            side.costs.push(per_request(one.used.total()));
            for (name, nanoseconds) in &one.used.nanoseconds {
                side.threads.entry(name.clone()).or_default().push(per_request(*nanoseconds));
            }
            lost += one.used.lost;
        }
        taking_part.reverse();
    }
    Ok(Measured { requests, sides, lost })
}

/// How many requests make about the wanted time.
async fn calibrate(options: &Options, row: &Row, peer: &Peer, clients: &[Client]) -> Result<usize> {
    let mut requests = 200;
    loop {
        let seconds = one(options, row, peer, clients, requests).await?.took.as_secs_f64();
        if seconds >= options.seconds.min(0.5) {
            return Ok(((requests as f64 * options.seconds / seconds) as usize).max(100));
        }
        requests *= 3;
    }
}

#[derive(Debug)]
struct One {
    asked: usize,
    used: Used,
    took: Duration,
}

/// Opens connections, asks, closes them; only the asking is counted, except where opening is the point.
async fn one(options: &Options, row: &Row, peer: &Peer, clients: &[Client], requests: usize) -> Result<One> {
    let patience = Duration::from_secs_f64(60.0 + 30.0 * options.seconds);
    let asking = async {
        let mut ready = Ready::open(clients, row.shape).await?;
        let before = peer.settled().await?;
        let started = Instant::now();
        let asked = ready.ask(requests).await?;
        let took = started.elapsed();
        Result::Ok(One { asked, used: before.until(&peer.settled().await?), took })
    };
    match tokio::time::timeout(patience, asking).await {
        Ok(Ok(one)) => Ok(one),
        Ok(Err(why)) => Err(peer.fault(&format!("fails: {why}"))),
        Err(_) => Err(peer.fault(&format!("does not answer {requests} requests within {patience:?}"))),
    }
}
