//! What a large store costs: seconds to start, memory, and each look-up beside the same one in a small store.

use clap::Parser;
use rangegate::evidence::{Certificate, Fact, Moment};
use rangegate::state::devices::{DeviceIndex, Devices};
use rangegate::state::memory::Memory;
use rangegate::store::{Database, Digest, PostgresSettings, Store, StoreSettings};
use rangegate_benches::Result;
use rangegate_benches::fleet::{Fleet, user};
use rangegate_benches::spread::Spread;
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// The gateway's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "memory", about = "what a large store costs: seconds to start, memory, look-ups")]
struct Options {
    #[arg(long, default_value_t = 1_000_000)]
    devices: usize,
    #[arg(long, default_value_t = 100_000)]
    people: usize,
    #[arg(long, default_value_t = 100_000)]
    grants: usize,
    /// A PostgreSQL database to fill and read, `postgres://user@host/database`, instead of a file; it must be empty.
    #[arg(long)]
    url: Option<String>,
    #[arg(long)]
    password_file: Option<std::path::PathBuf>,
    /// Exit with 1 when starting takes 3 seconds beyond the database's own read.
    #[arg(long)]
    check: bool,
}

const NOW: Moment = Moment(1_780_000_000_000);

/// What starting may take beyond the database's own read, seconds.
const CEILING: f64 = 3.0;

/// Devices of the small store.
const SMALL: usize = 100;

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    match runtime.block_on(run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(u8::from(options.check)),
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}

async fn run(options: &Options) -> Result<bool> {
    let scratch = tempfile::tempdir()?;
    let few = Fleet { devices: SMALL, people: SMALL, grants: SMALL, at: NOW };
    let (small, _) = few.fill(&StoreSettings::sqlite(scratch.path().join("small.db")), &[]).await?;
    let small = remembered(&small).await?;

    let settings = match &options.url {
        Some(url) => StoreSettings::of(Database::Postgres(PostgresSettings {
            url: url.clone(),
            password_file: options.password_file.clone(),
            authority: None,
        })),
        None => StoreSettings::sqlite(scratch.path().join("large.db")),
    };
    let (devices, people, grants) = (options.devices, options.people, options.grants);
    let fleet = Fleet { devices, people, grants, at: NOW };
    let (store, filling) = fleet.fill(&settings, &[]).await?;
    println!("rangegate memory: {devices} devices, {people} identities, {grants} grants in {}\n", settings.database);
    println!("filled in {filling:.1} s");

    // In turn, so that both find the database's caches warm. Beside the clock's seconds those of the processor: with
    // other work on the machine only they mean something.
    let (mut reading, mut loading) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let mut memory = None;
    for round in 0..4 {
        let (begin, worked) = (Instant::now(), cpu(ClockId::ProcessCPUTime));
        let mut bytes = 0;
        store.load(|document| bytes += document.body.len()).await?;
        let read = [begin.elapsed().as_secs_f64(), cpu(ClockId::ProcessCPUTime) - worked];
        drop(memory.take());
        let before = resident();
        let (begin, worked) = (Instant::now(), cpu(ClockId::ProcessCPUTime));
        let known = remembered(&store).await?;
        let load = [begin.elapsed().as_secs_f64(), cpu(ClockId::ProcessCPUTime) - worked];
        if round == 0 {
            println!(
                "{} MiB of JSON; {} MiB resident before, {} MiB after",
                bytes >> 20,
                before >> 20,
                resident() >> 20
            );
        } else {
            (0..2).for_each(|clock| reading[clock].push(read[clock]));
            (0..2).for_each(|clock| loading[clock].push(load[clock]));
        }
        memory = Some(known);
    }
    let [read, read_cpu] = reading.map(median);
    let [load, load_cpu] = loading.map(median);
    println!("                          the database's own read   until everything is known   beyond it");
    println!("seconds                              {read:14.2} {load:27.2} {:11.2}", load - read);
    println!("processor seconds, all threads       {read_cpu:14.2} {load_cpu:27.2} {:11.2}", load_cpu - read_cpu);

    let memory = memory.ok_or("nothing was loaded")?;
    let mut table = Vec::new();
    type Ask = fn(&Memory, &Asked);
    let questions: [(&str, Ask); 3] = [
        ("device by key and name", |memory, asked| {
            black_box(memory.devices().find(&asked.certificate));
        }),
        ("identity", |memory, asked| {
            black_box(memory.identity(&asked.user));
        }),
        ("grants", |memory, asked| {
            black_box(memory.grants(&asked.user));
        }),
    ];
    for (what, ask) in questions {
        let measure = |memory: &Memory, fleet: &Fleet| {
            let asked: Vec<_> = (0..4096).map(|n| Asked::of(spread(n, fleet.devices), fleet)).collect();
            Spread::of((0..31).map(|_| {
                let begin = cpu(ClockId::ThreadCPUTime);
                asked.iter().for_each(|asked| ask(memory, asked));
                (cpu(ClockId::ThreadCPUTime) - begin) * 1e9 / asked.len() as f64
            }))
        };
        let small = measure(&small, &few).ok_or("nothing was measured")?;
        let large = measure(&memory, &fleet).ok_or("nothing was measured")?;
        table.push((what, small, large));
        let found = matches!(memory.devices().find(&Asked::of(devices - 1, &fleet).certificate), Fact::Known(_));
        assert!(found, "the last device is known");
    }
    println!("\nnanoseconds a look-up, spread over all of them:   small      large");
    for (what, small, large) in &table {
        println!("{what:45} {:10.0} {:10.0}", small.median, large.median);
    }
    let more: f64 = table.iter().map(|(_, small, large)| large.median - small.median).sum();
    println!("together {more:.0} ns more for each request");
    Ok(load - read <= CEILING)
}

/// What a request asks of memory.
struct Asked {
    certificate: Certificate,
    user: String,
}

impl Asked {
    fn of(n: usize, fleet: &Fleet) -> Self {
        let record = fleet.device(n);
        let certificate = Certificate {
            sha256: Digest::of(format!("c{n}").as_bytes()).hex().into(),
            spki_sha256: record.keys[0].hex().into(),
            serial: "1".into(),
            subject: "".into(),
            issuer: "".into(),
            class: None,
            sans: record.sans,
            not_before: Moment(0),
            not_after: Moment(0),
        };
        Self { certificate, user: user(n % fleet.people) }
    }
}

/// Far apart, and the same at every run.
fn spread(n: usize, of: usize) -> usize {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % of
}

async fn remembered(store: &Store) -> Result<Memory> {
    let memory = Memory::new(Arc::new(Devices::new(DeviceIndex::default())));
    memory.load(store, NOW).await?;
    Ok(memory)
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * 4096
}

/// Seconds of processor time.
fn cpu(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
