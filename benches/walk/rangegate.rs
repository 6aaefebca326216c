//! Rangegate as it is shipped, as a process of its own, with every source, the decision and the audit on.

use crate::fixture::{CONSOLE, Fixture, PAYROLL};
use crate::nginx::Server;
use crate::token::{ISSUER, USER};
use maxminddb_writer::Database;
use maxminddb_writer::paths::IpAddrWithMask;
use rangegate_benches::certificates::hex;
use rangegate_benches::process::{Process, free_address};
use rangegate_benches::{Result, machine, settings};
use serde_json::json;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program built with this program's profile, brought up to date first.
pub fn build() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let target = here.parent().and_then(Path::parent).ok_or("this program lies in no target directory")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no workspace")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--bin", "rangegate", "--profile", &machine::profile(), "--target-dir"])
        .arg(target)
        .current_dir(root)
        .status()?;
    match status.success() {
        true => Ok(here.with_file_name("rangegate")),
        false => Err("rangegate does not build; `--rangegate PATH` takes one that is built already".into()),
    }
}

/// `rangegate 0.1.0`
pub fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("version").output();
    let output = output.map_err(|why| format!("`{}` does not run: {why}", program.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("rangegate").to_owned())
}

/// Where a gateway knows devices from.
#[derive(Debug)]
pub struct Known {
    /// Of the gateway, and of its files.
    pub name: &'static str,
    /// The line of `rangegate.toml` that says it.
    pub setting: String,
    /// What the policy asks further of people, where it remembers them.
    pub policy: &'static str,
}

impl Known {
    /// A file with the fixture's devices.
    pub fn file() -> Self {
        Self { name: "rangegate", setting: "devices = \"devices.toml\"".to_owned(), policy: "" }
    }
}

pub async fn gateway(program: &Path, fixture: &Fixture, upstream: SocketAddr, known: &Known) -> Result<Server> {
    let address = free_address()?;
    let policies = fixture.path("policies");
    fs::create_dir_all(&policies)?;
    fs::write(policies.join("bench.toml"), policy(upstream, known))?;
    fs::write(fixture.path("devices.toml"), devices(fixture))?;
    fs::write(fixture.path("hosting.txt"), list(20))?;
    fs::write(fixture.path("anonymizers.txt"), list(21))?;
    geography(fixture)?;
    let config = fixture.path(&format!("{}.toml", known.name));
    fs::write(&config, settings(address, free_address()?, upstream, known))?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(&config);
    let process = Process::start(known.name, command, &fixture.directory, address).await?;
    Ok(Server { process, address })
}

/// One worker, because everything shares one CPU. All that is not needed is the default.
fn settings(address: SocketAddr, operations: SocketAddr, upstream: SocketAddr, known: &Known) -> String {
    let common = settings::common(address, operations, &format!("{}.jsonl", known.name));
    format!(
        r#"
{setting}
workers = 1
{common}
[limits]
drain-timeout = "1s"
[[issuer]]
issuer = "{ISSUER}"
audiences = ["rangegate"]
jwks = "http://{upstream}/keys"
user-claim = "email"
[issuer.assurance]
passkey = {{ amr = ["hwk"] }}
[gateway]
latitude = 52.52
longitude = 13.40
country = "DE"
[geo]
places = ["places.mmdb"]
asns = ["asns.mmdb"]
[[list]]
name = "hosting"
path = "hosting.txt"
[[list]]
name = "anonymizers"
path = "anonymizers.txt"
"#,
        setting = known.setting,
    )
}

/// Six requirements for everybody; two more where a person has to be signed in, on the device that is theirs. With a
/// store that remembers them, they also have to be in order and to hold a grant.
fn policy(upstream: SocketAddr, known: &Known) -> String {
    format!(
        r#"
[[require]]
id = "company-device"
that = {{ device = {{ known = true, class = ["corporate"] }} }}
[[require]]
id = "near-countries"
that = {{ country = ["AT", "BE", "CH", "DE", "FR"] }}
[[require]]
id = "no-hosting"
that = {{ not = {{ list = ["hosting", "anonymizers"] }} }}
[[require]]
id = "near"
that = {{ rtt = {{ below = "200ms" }} }}
[[require]]
id = "possible-place"
that = {{ too-near = false }}
[[require]]
id = "not-too-often"
that = {{ rate = {{ limit = 100000000, per = "1s", by = "device" }} }}

[[resource]]
id = "console"
hosts = ["{CONSOLE}"]
upstream = "http://{upstream}"

[[resource]]
id = "payroll"
hosts = ["{PAYROLL}"]
upstream = "http://{upstream}"
  [[resource.require]]
  id = "own-device"
  that = {{ device = {{ bound = true }} }}
  [[resource.require]]
  id = "signed-in"
  that = {{ login = {{ group = "payroll", with = "passkey", within = "8h" }} }}
{further}"#,
        further = known.policy,
    )
}

fn devices(fixture: &Fixture) -> String {
    let mut text = String::new();
    let mut device = |id: &str, owner: &str, certificate: &str| {
        let _ = write!(
            text,
            "[[device]]\nid = \"{id}\"\nowner = \"{owner}\"\nclass = \"corporate\"\ncertificates = [\"{certificate}\"]\n",
        );
    };
    device("ann-laptop", USER, &hex(&fixture.ann.device.sha256()));
    for (number, (_, sha256)) in fixture.others.iter().enumerate() {
        device(&format!("device-{number}"), &format!("person-{number}@bench.example"), sha256);
    }
    text
}

/// Prefixes nobody comes from.
fn list(first: u8) -> String {
    (0..=255).map(|second| format!("{first}.{second}.0.0/24\n")).collect()
}

/// The same networks and countries as nginx's, laid out as MaxMind and DB-IP do; each is a system of its own.
fn geography(fixture: &Fixture) -> Result<()> {
    let (mut places, mut asns) = (database("bench places"), database("bench asns"));
    for (number, (network, country)) in (64_512u32..).zip(&fixture.networks) {
        let place = places.insert_value(json!({
            "country": { "iso_code": country },
            "subdivisions": [{ "iso_code": "BE" }],
            "city": { "names": { "en": "Berlin" } },
            "location": { "latitude": 52.5, "longitude": 13.4, "accuracy_radius": 20 },
        }))?;
        places.insert_node(network.parse::<IpAddrWithMask>()?, place);
        let asn = asns.insert_value(json!({
            "autonomous_system_number": number,
            "autonomous_system_organization": "Bench Networks",
        }))?;
        asns.insert_node(network.parse::<IpAddrWithMask>()?, asn);
    }
    places.write_to(File::create(fixture.path("places.mmdb"))?)?;
    asns.write_to(File::create(fixture.path("asns.mmdb"))?)?;
    Ok(())
}

fn database(kind: &str) -> Database {
    let mut database = Database::default();
    database.metadata.binary_format_major_version = 2;
    // No age is configured to matter: 2026-01-01.
    database.metadata.build_epoch = 1_767_225_600;
    database.metadata.database_type = kind.to_owned();
    database
}
