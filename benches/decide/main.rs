//! How long a decision takes as the policy set grows, beside Cedar on equivalent policies in the same run.

mod cedar;
mod ours;
mod scenario;

use cedar::Cedar;
use clap::Parser;
use ours::Ours;
use rangegate_benches::spread::Spread;
use rangegate_benches::table::Table;
use rangegate_benches::{Result, machine};
use scenario::{Growing, Scenario};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The gateway's allocator, for both engines.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "decide", about = "how long a decision takes as the policy set grows, beside Cedar")]
struct Options {
    /// How often each engine is measured, in turn.
    #[arg(long, default_value_t = 31, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// The largest policy set.
    #[arg(long, default_value_t = 10_000)]
    largest: usize,
    /// Exit with 1 when a decision takes a microsecond or more, or is not flat.
    #[arg(long)]
    check: bool,
}

/// What a decision may take, in nanoseconds, at every size.
const CEILING_NS: f64 = 1_000.0;

/// Flat: the same request costs at most this many times as much in the largest set as in the smallest. Requests spread
/// over a large set find less of it in the caches, which is the machine's doing and has a column of its own.
const FLAT: f64 = 1.5;

/// One measurement is as many decisions as fill this.
const BATCH: Duration = Duration::from_millis(2);

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(u8::from(options.check)),
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}

/// Whether the claims hold.
fn run(options: &Options) -> Result<bool> {
    let load_before = machine::load_average();
    println!("rangegate decide: nanoseconds a decision, evidence and requests ready, policies compiled once\n");
    println!("  machine   {}", machine::description());
    println!("  profile   {}", machine::profile());
    println!("  rounds    {} of about {BATCH:?} each, in turn; median (least–most)", options.rounds);
    println!("  targets   up to 64 requests in turn, spread over the whole set; all are let through\n");
    let mut good = true;
    for (growing, what) in [(Growing::Resources, "resources"), (Growing::Routes, "routes")] {
        good &= table(options, growing, what)?;
    }
    for warning in machine::warnings(load_before) {
        println!("  warning: {warning}");
    }
    Ok(good)
}

fn table(options: &Options, growing: Growing, what: &str) -> Result<bool> {
    let mut table = Table::new(&[
        what,
        "rangegate, one request",
        "spread",
        "cedar, spread",
        "told which apply",
        "cedar / rangegate",
    ]);
    let (mut same, mut slowest) = (Vec::new(), 0.0_f64);
    for size in [1, 10, 100, 1_000, 10_000].into_iter().filter(|size| *size <= options.largest.max(1)) {
        eprintln!("  {size} {what} …");
        let scenario = Scenario { growing, size };
        let (ours, cedar) = (Ours::build(&scenario)?, Cedar::build(&scenario)?);
        let engines: [&dyn Fn(usize); 4] =
            [&|_| ours.decide(0), &|turn| ours.decide(turn), &|turn| cedar.decide(turn), &|turn| {
                cedar.decide_own(turn)
            }];
        let [one, ours, whole, own] = measure(options.rounds, engines)?;
        same.push(one.median);
        slowest = slowest.max(ours.median);
        table.row([
            size.to_string(),
            format!("{one:.0}"),
            format!("{ours:.0}"),
            format!("{whole:.0}"),
            format!("{own:.0}"),
            format!("{:.0} ×", whole.median / ours.median),
        ]);
    }
    println!("{table}");
    let growth = same[same.len() - 1] / same[0];
    let (fast, flat) = (slowest < CEILING_NS, growth <= FLAT);
    println!("  below a microsecond at every size: {} ({slowest:.0} ns)", met(fast));
    println!("  flat: {} (one request, largest set / smallest: {growth:.2})\n", met(flat));
    Ok(fast && flat)
}

fn met(good: bool) -> &'static str {
    if good { "met" } else { "MISSED" }
}

/// Nanoseconds a decision, the engines in turn.
fn measure<const N: usize>(rounds: u32, engines: [&dyn Fn(usize); N]) -> Result<[Spread; N]> {
    let batches = engines.map(batch);
    let mut times = [const { Vec::new() }; N];
    for _ in 0..rounds {
        for ((engine, &batch), times) in engines.iter().zip(&batches).zip(&mut times) {
            times.push(time(*engine, batch).as_nanos() as f64 / batch as f64);
        }
    }
    let spreads: Vec<Spread> = times.into_iter().filter_map(Spread::of).collect();
    spreads.try_into().map_err(|_| "no rounds".into())
}

/// How many decisions fill a batch; finding out warms the engine up.
fn batch(engine: &dyn Fn(usize)) -> usize {
    let mut turns = 64;
    while time(engine, turns) < BATCH && turns < 1 << 24 {
        turns *= 2;
    }
    turns
}

fn time(engine: &dyn Fn(usize), turns: usize) -> Duration {
    let started = Instant::now();
    for turn in 0..turns {
        engine(turn);
    }
    started.elapsed()
}
