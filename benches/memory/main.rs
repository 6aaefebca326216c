//! What a large store costs: seconds to start, memory, and each look-up beside the same one in a small store.

use clap::Parser;
use rangegate::access::grant::{GrantRecord, GrantState};
use rangegate::evidence::{Certificate, DeviceStatus, Fact, Identity, IdentityStatus, Moment};
use rangegate::state::devices::{DeviceIndex, Devices};
use rangegate::state::memory::Memory;
use rangegate::store::document::handles_of;
use rangegate::store::{Database, PostgresSettings};
use rangegate::store::{DeviceRecord, Digest, Expect, IssuedCertificate, Kind, Store, StoreSettings, Write};
use rangegate_benches::Result;
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
    let (small, _) = filled(&StoreSettings::sqlite(scratch.path().join("small.db")), SMALL, SMALL, SMALL).await?;
    let small = remembered(&small).await?;

    let settings = match &options.url {
        Some(url) => StoreSettings::of(Database::Postgres(PostgresSettings {
            url: url.clone(),
            password_file: options.password_file.clone(),
            authority: None,
        })),
        None => StoreSettings::sqlite(scratch.path().join("large.db")),
    };
    let (store, filling) = filled(&settings, options.devices, options.people, options.grants).await?;
    let (devices, people, grants) = (options.devices, options.people, options.grants);
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
        let measure = |memory: &Memory, devices: usize, people: usize| {
            let asked: Vec<_> = (0..4096).map(|n| Asked::of(spread(n, devices), people)).collect();
            Spread::of((0..31).map(|_| {
                let begin = cpu(ClockId::ThreadCPUTime);
                asked.iter().for_each(|asked| ask(memory, asked));
                (cpu(ClockId::ThreadCPUTime) - begin) * 1e9 / asked.len() as f64
            }))
        };
        let small = measure(&small, SMALL, SMALL).ok_or("nothing was measured")?;
        let large = measure(&memory, devices, people).ok_or("nothing was measured")?;
        table.push((what, small, large));
        let found = matches!(memory.devices().find(&Asked::of(devices - 1, people).certificate), Fact::Known(_));
        assert!(found, "the last device is known");
    }
    println!("\nnanoseconds a look-up, spread over all of them:   small      large");
    for (what, small, large) in &table {
        println!("{what:45} {:10.0} {:10.0}", small.median, large.median);
    }
    let more: f64 = table.iter().map(|(_, small, large)| large.median - small.median).sum();
    println!("together {more:.0} ns more for each request");
    Ok((load - read).min(load_cpu - read_cpu) <= CEILING)
}

/// What a request asks of memory.
struct Asked {
    certificate: Certificate,
    user: String,
}

impl Asked {
    fn of(n: usize, people: usize) -> Self {
        let record = device(n, people);
        let certificate = Certificate {
            sha256: Digest::of(format!("c{n}").as_bytes()).hex().into(),
            spki_sha256: record.keys[0].hex().into(),
            serial: "1".into(),
            subject: "".into(),
            issuer: "".into(),
            sans: record.sans,
            not_before: Moment(0),
            not_after: Moment(0),
        };
        Self { certificate, user: user(n % people) }
    }
}

/// Far apart, and the same at every run.
fn spread(n: usize, of: usize) -> usize {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % of
}

fn user(n: usize) -> String {
    format!("firstname.lastname{n}@corp.example")
}

fn device(n: usize, people: usize) -> DeviceRecord {
    let id: Arc<str> = format!("d_{}", &Digest::of(format!("d{n}").as_bytes()).hex()[..26]).into();
    let key = Digest::of(format!("k{n}").as_bytes());
    let issued = |month: i64| IssuedCertificate {
        sha256: Digest::of(format!("c{n}-{month}").as_bytes()),
        spki: key,
        serial: format!("{month}{n:x}").into(),
        issued: NOW.plus_millis(month * 86_400_000),
        not_after: NOW.plus_millis((month + 7) * 86_400_000),
        revoked: None,
    };
    DeviceRecord {
        sans: vec![format!("uri:urn:rangegate:device:{id}").into()],
        id,
        owner: Some(user(n % people).into()),
        class: ["corporate", "contractor", "kiosk"][n % 3].into(),
        status: DeviceStatus::Active,
        asset_tag: Some(format!("INV-{n:07}").into()),
        enrolled: Some(NOW),
        keys: vec![key],
        certificates: Vec::new(),
        history: vec![issued(0), issued(7)],
    }
}

fn identity(n: usize) -> Identity {
    Identity {
        user: user(n).into(),
        person: format!("p{n}").into(),
        aliases: vec![format!("flastname{n}").into()],
        name: Some(format!("Firstname Lastname {n}").into()),
        email: Some(user(n).into()),
        groups: Some(vec!["staff".into(), format!("team-{}", n % 500).into()]),
        employment: None,
        vendor: None,
        manager: Some(user(n / 10).into()),
        home: None,
        proofing: None,
        status: IdentityStatus::Active,
    }
}

fn grant(n: usize, people: usize) -> GrantRecord {
    let holder: Arc<str> = user(n % people).into();
    GrantRecord {
        id: format!("g_{n:026}").into(),
        role: "oncall".into(),
        person: Arc::clone(&holder),
        user: holder,
        device: None,
        reason: format!("INC-{n}").into(),
        asked: NOW,
        duration: 3_600_000,
        state: GrantState::Active { since: NOW, until: NOW.plus_millis(3_600_000) },
        approvals: Vec::new(),
        break_glass: false,
        review: None,
    }
}

/// A store with so many of each, and the seconds it took to fill.
async fn filled(settings: &StoreSettings, devices: usize, people: usize, grants: usize) -> Result<(Store, f64)> {
    let begin = Instant::now();
    let store = Store::open(settings).await?;
    let put = |kind, id: Arc<str>, body| Write::Put { kind, id, expect: Expect::New, body };
    let mut writes = Vec::new();
    for n in 0..devices.max(people).max(grants) {
        if n < devices {
            let record = device(n, people);
            let claims = record.handles().into_iter();
            let id = Arc::clone(&record.id);
            writes.extend(claims.map(|handle| Write::Claim { handle, kind: Kind::Device, id: Arc::clone(&id) }));
            writes.push(put(Kind::Device, id, serde_json::to_string(&record)?));
        }
        if n < people {
            let record = identity(n);
            let id = Arc::clone(&record.user);
            let claims = handles_of(&record).into_iter();
            writes.extend(claims.map(|handle| Write::Claim { handle, kind: Kind::Identity, id: Arc::clone(&id) }));
            writes.push(put(Kind::Identity, id, serde_json::to_string(&record)?));
        }
        if n < grants {
            let record = grant(n, people);
            writes.push(put(Kind::Grant, Arc::clone(&record.id), serde_json::to_string(&record)?));
        }
        if writes.len() > 100_000 {
            store.commit(std::mem::take(&mut writes), NOW).await?;
        }
    }
    store.commit(writes, NOW).await?;
    Ok((store, begin.elapsed().as_secs_f64()))
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
