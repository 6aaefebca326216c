//! CPU time a request costs in Rangegate and in nginx doing the same work, interleaved in one run.

mod cpu;
mod fixture;
mod load;
mod nginx;
mod peer;
mod pin;
mod rangegate;
#[cfg(feature = "memory")]
mod stores;
mod token;

use clap::{Parser, ValueEnum};
use cpu::Used;
use fixture::{Fixture, Person};
use load::{Client, Ready, Shape};
use peer::{Caller, Peer};
use rangegate::Known;
use rangegate_benches::spread::Spread;
use rangegate_benches::table::Table;
use rangegate_benches::{Result, machine};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Debug, Parser)]
#[command(name = "walk", about = "CPU time a request costs in Rangegate and in nginx doing the same work")]
struct Options {
    /// How often each gateway is measured, in turn.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long one measurement takes, roughly; the number of requests is fixed from it once.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The CPU that gateway, load and upstream share.
    #[arg(long, default_value_t = 0)]
    cpu: usize,
    /// Only these rows.
    #[arg(long)]
    only: Vec<Group>,
    /// Exit with 1 when a median ratio is above its target.
    #[arg(long)]
    check: bool,
    /// nginx on both sides: the ratio must be 1, or the harness is wrong.
    #[arg(long)]
    selftest: bool,
    /// Rangegate on both sides: with a store of so many devices, and with one of a hundred.
    #[arg(long, value_name = "DEVICES", num_args = 0..=1, default_missing_value = "1000000", conflicts_with = "selftest")]
    stores: Option<usize>,
    /// Print what each thread used, too.
    #[arg(long)]
    threads: bool,
    /// The gateway's program. Default: built with the profile of this program.
    #[arg(long, value_name = "PATH")]
    rangegate: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    H1,
    H2,
    Handshake,
}

/// The two that are compared, and how.
struct Comparison {
    peers: [Peer; 2],
    rows: &'static [Row],
    /// Who asks where a row has many.
    people: Vec<Person>,
}

/// One line of the table.
#[derive(Debug)]
struct Row {
    group: Group,
    what: &'static str,
    shape: Shape,
    caller: Caller,
    /// The most the first gateway may cost, as a share of the second.
    target: f64,
}

const HTTP1: Shape = Shape::Http1 { connections: 16 };
const HTTP2: Shape = Shape::Http2 { connections: 50, streams: 10 };
const HTTP2_FEW: Shape = Shape::Http2 { connections: 10, streams: 10 };
const HANDSHAKE: Shape = Shape::Handshake { at_a_time: 4 };

const ROWS: &[Row] = &[
    Row { group: Group::H1, what: "HTTP/1.1, 16 connections", shape: HTTP1, caller: Caller::Device, target: 1.0 },
    Row { group: Group::H1, what: "  with a bearer token", shape: HTTP1, caller: Caller::Person, target: 1.0 },
    Row { group: Group::H2, what: "HTTP/2, 50 × 10 streams", shape: HTTP2, caller: Caller::Device, target: 1.0 },
    Row { group: Group::H2, what: "  with a bearer token", shape: HTTP2, caller: Caller::Person, target: 1.0 },
    Row { group: Group::H2, what: "HTTP/2, 10 × 10 streams", shape: HTTP2_FEW, caller: Caller::Device, target: 1.0 },
    Row {
        group: Group::Handshake,
        what: "new connection + 1 request",
        shape: HANDSHAKE,
        caller: Caller::Device,
        target: 0.5,
    },
];

const MANY1: Shape = Shape::Http1 { connections: 64 };
const MANY2: Shape = Shape::Http2 { connections: 64, streams: 10 };

/// With a large store beside a small one.
const STORE_ROWS: &[Row] = &[
    Row { group: Group::H1, what: "HTTP/1.1, 64 people", shape: MANY1, caller: Caller::People, target: 1.1 },
    Row { group: Group::H2, what: "HTTP/2, 64 people × 10", shape: MANY2, caller: Caller::People, target: 1.1 },
    Row {
        group: Group::Handshake,
        what: "new connection + 1 request",
        shape: HANDSHAKE,
        caller: Caller::People,
        target: 1.1,
    },
];

/// With nginx on both sides the median ratio may differ from 1 by this much.
const SELFTEST_TOLERANCE: f64 = 0.05;

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}

/// False: a row missed its target and that was to be checked.
fn run(mut options: Options) -> Result<bool> {
    let load_before = machine::load_average();
    if options.rangegate.is_none() && !options.selftest {
        options.rangegate = Some(rangegate::build()?);
    }
    pin::pin(options.cpu)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // However it ends, the processes are stopped on the way out.
        let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            within = measure_all(&options, load_before) => Ok(within? || !options.check),
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
            _ = terminated.recv() => Err("terminated".into()),
        }
    })
}

async fn measure_all(options: &Options, load_before: Option<f64>) -> Result<bool> {
    let directory = tempfile::Builder::new().prefix("rangegate-walk-").tempdir()?;
    let fixture = Fixture::make(directory.path())?;
    let upstream = nginx::upstream(&fixture).await?;
    let Comparison { peers, rows, people } = compared(options, &fixture, &upstream).await?;
    for peer in &peers {
        peer.prove(&fixture).await?;
    }
    print_head(options, &peers)?;

    let mut table =
        Table::new(&["CPU µs a request", "requests", &peers[0].name, &peers[1].name, "ratio", "target", ""]);
    let mut by_thread = Table::new(&["of that, by thread", "µs"]);
    let (mut within, mut lost) = (true, 0);
    for row in rows.iter().filter(|row| options.only.is_empty() || options.only.contains(&row.group)) {
        eprintln!("  {} …", row.what);
        let measured = measure(options, row, &peers, &fixture, &people).await?;
        lost += measured.lost;
        let good = if options.selftest {
            (measured.ratio.median - 1.0).abs() <= SELFTEST_TOLERANCE
        } else {
            measured.ratio.median <= row.target
        };
        within &= good;
        for (peer, threads) in peers.iter().zip(measured.threads) {
            for (thread, costs) in threads {
                let cost = Spread::of(costs).ok_or("no rounds")?;
                if cost.max >= 0.1 {
                    by_thread.row([format!("{}: {}, {thread}", row.what, peer.name), format!("{cost:.1}")]);
                }
            }
        }
        table.row([
            row.what.to_owned(),
            measured.requests.to_string(),
            format!("{:.1}", measured.costs[0]),
            format!("{:.1}", measured.costs[1]),
            format!("{:.2}", measured.ratio),
            if options.selftest { format!("1 ± {SELFTEST_TOLERANCE}") } else { format!("≤ {:.2}", row.target) },
            if good { "met" } else { "MISSED" }.to_owned(),
        ]);
    }
    println!("{table}");
    if options.threads {
        println!("{by_thread}");
    }
    for warning in machine::warnings(load_before) {
        println!("  warning: {warning}");
    }
    if lost > 0 {
        println!("  warning: {lost} threads ended while they were measured; what they used last is missing");
    }
    Ok(within)
}

async fn compared(options: &Options, fixture: &Fixture, upstream: &nginx::Server) -> Result<Comparison> {
    let nginx = |name| nginx_peer(name, fixture, upstream);
    let Some(program) = options.rangegate.as_ref().filter(|_| !options.selftest) else {
        return Ok(Comparison {
            peers: [nginx("nginx a").await?, nginx("nginx").await?],
            rows: ROWS,
            people: Vec::new(),
        });
    };
    if let Some(devices) = options.stores {
        let (peers, people) = with_stores(program, fixture, upstream, devices).await?;
        return Ok(Comparison { peers, rows: STORE_ROWS, people });
    }
    let server = rangegate::gateway(program, fixture, upstream.address, &Known::file()).await?;
    let ours = Peer { name: "rangegate".to_owned(), server, reads_tokens: true };
    Ok(Comparison { peers: [ours, nginx("nginx").await?], rows: ROWS, people: Vec::new() })
}

#[cfg(feature = "memory")]
async fn with_stores(
    program: &Path,
    fixture: &Fixture,
    upstream: &nginx::Server,
    devices: usize,
) -> Result<([Peer; 2], Vec<Person>)> {
    stores::peers(program, fixture, upstream.address, devices).await
}

#[cfg(not(feature = "memory"))]
async fn with_stores(_: &Path, _: &Fixture, _: &nginx::Server, _: usize) -> Result<([Peer; 2], Vec<Person>)> {
    Err("`--stores` fills databases with the gateway's own code: build with `--features memory`".into())
}

async fn nginx_peer(name: &str, fixture: &Fixture, upstream: &nginx::Server) -> Result<Peer> {
    let server = nginx::gateway(&name.replace(' ', "-"), fixture, upstream.address).await?;
    Ok(Peer { name: name.to_owned(), server, reads_tokens: false })
}

fn print_head(options: &Options, peers: &[Peer; 2]) -> Result<()> {
    println!("rangegate walk: what a request costs the gateway, user + system time of all its threads\n");
    println!("  machine   {}", machine::description());
    println!("  profile   {}", machine::profile());
    let names = peers.each_ref().map(|peer| peer.name.as_str());
    let first = match &options.rangegate {
        Some(program) if !options.selftest => rangegate::version(program)?,
        _ => nginx::version()?,
    };
    let second = if options.stores.is_some() { first.clone() } else { nginx::version()? };
    println!("  peers     {}: {first}; {}: {second}", names[0], names[1]);
    println!("  pinned    gateway, load and upstream share CPU {}", options.cpu);
    let (rounds, seconds) = (options.rounds, options.seconds);
    println!("  rounds    {rounds} of about {seconds} s each, in turn (a b, b a, …); median (least–most)\n");
    Ok(())
}

#[derive(Debug)]
struct Measured {
    requests: usize,
    /// Microseconds a request.
    costs: [Spread; 2],
    ratio: Spread,
    threads: [Threads; 2],
    lost: usize,
}

/// Microseconds a request in every round, by the name of the thread.
type Threads = BTreeMap<String, Vec<f64>>;

/// Alternates between the peers; who goes first alternates too, so that a drift of the machine favours nobody.
async fn measure(
    options: &Options,
    row: &Row,
    peers: &[Peer; 2],
    fixture: &Fixture,
    people: &[Person],
) -> Result<Measured> {
    let clients = [peers[0].clients(fixture, row.caller, people)?, peers[1].clients(fixture, row.caller, people)?];
    let requests = calibrate(options, row, &peers[1], &clients[1]).await?;
    one(options, row, &peers[0], &clients[0], requests / 4).await?;

    let mut costs = [Vec::new(), Vec::new()];
    let mut threads = [Threads::new(), Threads::new()];
    let mut lost = 0;
    for round in 0..options.rounds {
        for turn in [0, 1] {
            let which = if round % 2 == 0 { turn } else { 1 - turn };
            let one = one(options, row, &peers[which], &clients[which], requests).await?;
            let per_request = |nanoseconds: u64| nanoseconds as f64 / 1_000.0 / one.asked as f64;
            costs[which].push(per_request(one.used.total()));
            for (name, nanoseconds) in &one.used.nanoseconds {
                threads[which].entry(name.clone()).or_default().push(per_request(*nanoseconds));
            }
            lost += one.used.lost;
        }
    }
    let ratios = costs[0].iter().zip(&costs[1]).map(|(a, b)| a / b);
    let spread = |values: &Vec<f64>| Spread::of(values.iter().copied()).ok_or("no rounds");
    Ok(Measured {
        requests,
        ratio: Spread::of(ratios).ok_or("no rounds")?,
        costs: [spread(&costs[0])?, spread(&costs[1])?],
        threads,
        lost,
    })
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
