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

/// Flat: the largest set costs at most this many times the smallest. Caches are allowed to show.
const FLAT: f64 = 2.0;

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
    let mut table = Table::new(&[what, "rangegate", "cedar", "cedar, told which apply", "cedar / rangegate"]);
    let mut medians = Vec::new();
    for size in [1, 10, 100, 1_000, 10_000].into_iter().filter(|size| *size <= options.largest) {
        eprintln!("  {size} {what} …");
        let scenario = Scenario { growing, size };
        let (ours, cedar) = (Ours::build(&scenario)?, Cedar::build(&scenario)?);
        let engines: [&dyn Fn(usize); 3] =
            [&|turn| ours.decide(turn), &|turn| cedar.decide(turn), &|turn| cedar.decide_own(turn)];
        let [ours, whole, own] = measure(options.rounds, engines)?;
        medians.push(ours.median);
        table.row([
            size.to_string(),
            format!("{ours:.0}"),
            format!("{whole:.0}"),
            format!("{own:.0}"),
            format!("{:.0} ×", whole.median / ours.median),
        ]);
    }
    println!("{table}");
    let spread = Spread::of(medians.iter().copied()).ok_or("no sizes")?;
    let growth = medians.last().copied().unwrap_or(f64::NAN) / medians[0];
    let (fast, flat) = (spread.max < CEILING_NS, growth <= FLAT);
    println!(
        "  below a microsecond: {}; flat: {} ({growth:.2} × from the smallest set to the largest)\n",
        met(fast),
        met(flat)
    );
    Ok(fast && flat)
}

fn met(good: bool) -> &'static str {
    if good { "met" } else { "MISSED" }
}

/// Nanoseconds a decision, the engines in turn.
fn measure(rounds: u32, engines: [&dyn Fn(usize); 3]) -> Result<[Spread; 3]> {
    let batches = engines.map(batch);
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for ((engine, &batch), times) in engines.iter().zip(&batches).zip(&mut times) {
            times.push(time(*engine, batch).as_nanos() as f64 / batch as f64);
        }
    }
    let [ours, whole, own] = times.map(Spread::of);
    Ok([ours.ok_or("no rounds")?, whole.ok_or("no rounds")?, own.ok_or("no rounds")?])
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
