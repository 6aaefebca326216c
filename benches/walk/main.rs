//! CPU time a request costs in Rangegate and in nginx doing the same work, interleaved in one run.

mod comparison;
mod cpu;
mod fixture;
mod floor;
mod gathered;
mod load;
mod measure;
mod nginx;
mod peer;
mod pin;
mod rangegate;
mod relay;
mod report;
mod rung;
#[cfg(feature = "memory")]
mod stores;
mod token;

use clap::{Parser, ValueEnum};
use comparison::Comparison;
use fixture::Fixture;
use measure::measure;
use rangegate_benches::{Result, machine};
use rung::Rung;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The gateway's allocator, for the rungs below it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// What the libraries alone and the system calls alone take of a request, beside Rangegate and nginx.
    #[arg(long, conflicts_with_all = ["selftest", "stores", "check"])]
    floor: bool,
    /// Print what each thread used, too.
    #[arg(long)]
    threads: bool,
    /// The gateway's program. Default: built with the profile of this program.
    #[arg(long, value_name = "PATH")]
    rangegate: Option<PathBuf>,
    /// How this program starts itself as a peer.
    #[command(subcommand)]
    rung: Option<Rung>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    H1,
    H2,
    Handshake,
}

/// With nginx on both sides the median ratio may differ from 1 by this much.
const SELFTEST_TOLERANCE: f64 = 0.05;

fn main() -> ExitCode {
    let options = Options::parse();
    let ended = match &options.rung {
        Some(rung) => rung.run().map(|()| true),
        None => run(&options),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}

/// False: a row missed its target and that was to be checked.
fn run(options: &Options) -> Result<bool> {
    let load_before = machine::load_average();
    let program = match &options.rangegate {
        _ if options.selftest => None,
        Some(program) => Some(program.clone()),
        None => Some(rangegate::build()?),
    };
    pin::pin(options.cpu)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // However it ends, the processes are stopped on the way out.
        let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            within = measure_all(options, program.as_deref(), load_before) => Ok(within? || !options.check),
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
            _ = terminated.recv() => Err("terminated".into()),
        }
    })
}

async fn measure_all(options: &Options, program: Option<&Path>, load_before: Option<f64>) -> Result<bool> {
    let directory = tempfile::Builder::new().prefix("rangegate-walk-").tempdir()?;
    let fixture = Fixture::make(directory.path())?;
    let upstream = nginx::upstream(&fixture).await?;
    let compared = Comparison::start(options, program, &fixture, upstream.address).await?;
    report::head(options, &compared);

    let mut rows = Vec::new();
    for row in &compared.rows {
        eprintln!("  {} …", row.what);
        rows.push((*row, measure(options, row, &compared, &fixture).await?));
    }
    let within = match options.floor {
        true => {
            report::rungs(&compared, &rows);
            true
        }
        false => report::targets(options, &compared, &rows)?,
    };
    if options.threads {
        report::threads(&compared, &rows);
    }
    for warning in machine::warnings(load_before) {
        println!("  warning: {warning}");
    }
    let lost: usize = rows.iter().map(|(_, measured)| measured.lost).sum();
    if lost > 0 {
        println!("  warning: {lost} threads ended while they were measured; what they used last is missing");
    }
    Ok(within)
}
