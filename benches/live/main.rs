//! How fast 5,000 open WebSockets hear of a revocation, and what deciding all of them again costs the others.

mod fixture;
mod sockets;

use clap::Parser;
use rangegate_benches::process::{Process, free_address};
use rangegate_benches::table::Table;
use rangegate_benches::{Result, machine};
use serde_json::json;
use sockets::{Ended, Owner};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

#[derive(Debug, Parser)]
#[command(name = "live", about = "open WebSockets: revocation, and deciding all of them again")]
struct Options {
    #[arg(long, default_value_t = 5_000)]
    sockets: usize,
    #[arg(long, default_value_t = 500)]
    people: usize,
    /// Devices revoked, one after the other
    #[arg(long, default_value_t = 50)]
    revoked: usize,
    /// Seconds of requests beside nothing, and half as many as beside a reload each
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The gateway, instead of the one beside this program
    #[arg(long)]
    rangegate: Option<PathBuf>,
    /// Exit with 1 when a target is missed.
    #[arg(long)]
    check: bool,
}

/// How long after the revocation is asked for the last percent of sockets may be open, milliseconds.
const CUT_WITHIN: f64 = 100.0;
/// How long deciding everything again may take, milliseconds, from the reload on.
const DECIDED_WITHIN: f64 = 1000.0;
/// What requests may take meanwhile, times what they take otherwise.
const SLOWER: f64 = 2.0;
/// Connections that ask meanwhile, each with a pause after every answer.
const ASKING: usize = 4;

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    match tokio::task::LocalSet::new().block_on(&runtime, run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(u8::from(options.check)),
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}

async fn run(options: &Options) -> Result<bool> {
    let load = machine::load_average();
    let files = enough_descriptors(options.sockets)?;
    let scratch = tempfile::tempdir()?;
    let at = scratch.path();
    let devices: Rc<[_]> = fixture::make(at, options.people)?.into();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let upstream = listener.local_addr()?;
    tokio::spawn(sockets::upstream(listener));
    let gateway = Gateway::start(options, at, upstream).await?;
    println!("rangegate live: {} WebSockets of {} people, {files} descriptors", options.sockets, options.people);

    let owner = Owner::new(&at.join("rangegate.sock"));
    let mut ids = Vec::new();
    for device in &*devices {
        let wanted = json!({ "class": "corporate", "owner": device.owner, "certificates": [device.fingerprint] });
        let registered = owner.post("/v1/devices", &wanted).await?;
        ids.push(registered["id"].as_str().ok_or("a device without an id")?.to_owned());
    }
    let begun = Instant::now();
    let (told, mut ended) = mpsc::unbounded_channel();
    for number in 0..options.sockets {
        let whose = number % options.people;
        sockets::open(&devices[whose], number, gateway.address, told.clone()).await?;
    }
    println!("opened in {:.1} s\n", begun.elapsed().as_secs_f64());

    // By those who are revoked last, so that they stay.
    let (answers, mut answered) = mpsc::unbounded_channel();
    for number in 0..ASKING {
        let (devices, answers) = (Rc::clone(&devices), answers.clone());
        tokio::task::spawn_local(async move {
            if let Err(why) = sockets::ask(&devices[devices.len() - 1 - number], gateway.address, answers).await {
                eprintln!("a request failed: {why}");
            }
        });
    }
    let lasting = Duration::from_secs(options.seconds);
    tokio::time::sleep(Duration::from_secs(1)).await;
    drain(&mut answered);
    tokio::time::sleep(lasting).await;
    let quiet = drain(&mut answered);

    // One a second, and all requests of that second: a reload may not be felt.
    let (mut decided, mut windows) = (Vec::new(), Vec::new());
    for _ in 0..2 * options.seconds {
        let begun = Instant::now();
        decided.push(gateway.decide_again(options.sockets).await?);
        windows.push(begun..Instant::now());
        tokio::time::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed())).await;
    }
    let asked: Vec<_> = std::iter::from_fn(|| answered.try_recv().ok()).collect();
    let millis = |(_, took): &(Instant, Duration)| took.as_secs_f64() * 1e3;
    let overlaps = |(begun, took): &&(Instant, Duration)| {
        windows.iter().any(|window| *begun < window.end && *begun + *took > window.start)
    };
    let within = asked.iter().filter(overlaps).map(millis).collect();
    let beside = asked.iter().map(millis).collect();

    let mut cuts = Vec::new();
    let mut others = 0;
    for (whose, id) in ids.iter().enumerate().take(options.revoked) {
        let mine: BTreeSet<usize> = (whose..options.sockets).step_by(options.people).collect();
        let (mut closed, mut strangers) = (Vec::new(), 0);
        let begun = Instant::now();
        owner.post(&format!("/v1/devices/{id}/revoke"), &json!({ "reason": "lost" })).await?;
        while closed.len() < mine.len() {
            let next = tokio::time::timeout(Duration::from_secs(10), ended.recv()).await;
            let Some((number, when)): Option<Ended> = next.map_err(|_| "a socket of a revoked device stays open")?
            else {
                return Err("nothing is open any more".into());
            };
            match mine.contains(&number) {
                true => closed.push((when - begun).as_secs_f64() * 1e3),
                false => strangers += 1,
            }
        }
        cuts.extend(closed);
        others += strangers;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    while ended.try_recv().is_ok() {
        others += 1;
    }
    Ok(report(&Measured { cuts, others, decided, quiet, beside, within }, load))
}

struct Measured {
    /// Milliseconds from asking for the revocation until a socket was closed.
    cuts: Vec<f64>,
    /// Sockets of other devices that were closed.
    others: usize,
    /// Milliseconds from a reload until every core had decided again.
    decided: Vec<f64>,
    /// Milliseconds a request took.
    quiet: Vec<f64>,
    /// In the seconds that began with a reload.
    beside: Vec<f64>,
    /// Of these, those under way while it was decided again.
    within: Vec<f64>,
}

fn report(measured: &Measured, load: Option<f64>) -> bool {
    let mut table = Table::new(&["ms", "median", "p99", "most", "of", "target"]);
    let mut row = |what: &str, values: &[f64], target: String| {
        let figure = |share: f64| format!("{:.2}", percentile(values, share));
        let cells = [figure(0.5), figure(0.99), figure(1.0), values.len().to_string(), target];
        table.row(std::iter::once(what.to_owned()).chain(cells));
    };
    row("socket closed after the revocation", &measured.cuts, format!("p99 ≤ {CUT_WITHIN:.0}"));
    row("everything decided after a reload", &measured.decided, format!("≤ {DECIDED_WITHIN:.0}"));
    row("request, quiet", &measured.quiet, String::new());
    row("request, a reload each second", &measured.beside, format!("p99 < {SLOWER:.0} × quiet"));
    row("  of these, while it was decided", &measured.within, String::new());
    let slower = percentile(&measured.beside, 0.99) / percentile(&measured.quiet, 0.99);
    println!("{table}");
    println!(
        "  sockets of others closed: {}; request p99 beside a reload each second {slower:.2} × quiet",
        measured.others
    );
    println!("\n  {}, profile {}", machine::description(), machine::profile());
    machine::warnings(load).iter().for_each(|warning| println!("  {warning}"));
    percentile(&measured.cuts, 0.99) <= CUT_WITHIN
        && measured.others == 0
        && percentile(&measured.decided, 1.0) <= DECIDED_WITHIN
        && slower < SLOWER
}

fn percentile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * share).ceil() as usize;
    values.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn drain(answered: &mut mpsc::UnboundedReceiver<(Instant, Duration)>) -> Vec<f64> {
    std::iter::from_fn(|| answered.try_recv().ok()).map(|(_, took)| took.as_secs_f64() * 1e3).collect()
}

struct Gateway {
    process: Process,
    address: std::net::SocketAddr,
    upstream: std::net::SocketAddr,
    policy: PathBuf,
    log: PathBuf,
    version: std::cell::Cell<u32>,
}

impl Gateway {
    async fn start(options: &Options, at: &Path, upstream: std::net::SocketAddr) -> Result<Self> {
        let program = match &options.rangegate {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name("rangegate"),
        };
        let address = free_address()?;
        let policies = at.join("policies");
        std::fs::create_dir(&policies)?;
        let policy = policies.join("bench.toml");
        std::fs::write(&policy, fixture::policy(upstream, 0))?;
        std::fs::write(policies.join("api.toml"), include_str!("../../policies/api.toml"))?;
        std::fs::write(at.join("rangegate.toml"), fixture::settings(address, free_address()?))?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(at.join("rangegate.toml")).current_dir(at);
        let process = Process::start("rangegate", command, at, address).await?;
        let log = at.join("rangegate.out");
        Ok(Self { process, address, upstream, policy, log, version: 1.into() })
    }

    /// Changes the policy's text and has it read; milliseconds until all `sockets` were decided again, as the
    /// gateway's own log tells.
    async fn decide_again(&self, sockets: usize) -> Result<f64> {
        let version = self.version.replace(self.version.get() + 1);
        let before = self.looked()?;
        // At once, or half of it may be read.
        let new = self.log.with_file_name("new-policy");
        std::fs::write(&new, fixture::policy(self.upstream, version))?;
        std::fs::rename(&new, &self.policy)?;
        let begun = Instant::now();
        let pid = rustix::process::Pid::from_raw(self.process.id().cast_signed()).ok_or("no process")?;
        rustix::process::kill_process(pid, rustix::process::Signal::HUP)?;
        while self.looked()? < before + sockets {
            if begun.elapsed() > Duration::from_secs(20) {
                return Err(format!("the reload was not taken up:\n{}", self.process.said()).into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    }

    /// How many open exchanges were decided again so far, over all cores.
    fn looked(&self) -> Result<usize> {
        let text = std::fs::read_to_string(&self.log)?;
        let lines = text.lines().filter(|line| line.contains("open exchanges decided again"));
        let digits = |line: &str| {
            let (_, after) = line.split_once("looked")?;
            let number = after.trim_start_matches(|c: char| !c.is_ascii_digit());
            number.split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok()
        };
        Ok(lines.filter_map(digits).sum())
    }
}

/// Raises the limit as far as it may be; two for each socket are needed here, and as many in the gateway.
fn enough_descriptors(sockets: usize) -> Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    let most = most.unwrap_or(u64::MAX);
    let needed = 2 * sockets as u64 + 200;
    match most >= needed {
        true => Ok(most),
        false => {
            Err(format!("{needed} descriptors are needed, {most} may be had: `--sockets {}`", most / 2 - 100).into())
        }
    }
}
