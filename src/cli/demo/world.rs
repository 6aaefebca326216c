//! Everything the story needs, started on this machine: certificates, issuer, consoles, and the gateway before them.

use super::client::{Client, Http};
use super::consoles::{self, Kind, Trust};
use super::devices;
use super::errands::Notes;
use super::files::{self, Scratch};
use super::issuer::Issuer;
use super::pki::{Authority, Identity};
use super::relay::{self, Hop};
use super::scene::{Laptop, Login, Scene, Way};
use super::settings::{self, ASSERTION_KEY, AUDIT, DEVICES, SOCKET};
use crate::enforce::assertion::Signer;
use crate::gateway::{Gateway, Running, clock};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpListener;

/// The names the gateway has a certificate for.
const HOSTS: [&str; 6] = [
    "payroll.corp.example",
    "console.corp.example",
    "reports.corp.example",
    "wiki.corp.example",
    "keys.corp.example",
    "gate.corp.example",
];

pub struct World {
    pub policies: PathBuf,
    /// Where clients connect by themselves, and where the balancer does.
    pub direct: SocketAddr,
    balanced: SocketAddr,
    pub operations: SocketAddr,
    /// What the story has learnt so far.
    pub notes: Notes,
    gateway: Running,
    authority: Authority,
    issuer: Issuer,
    laptops: Vec<(Laptop, Identity)>,
    // Last, so that it outlives whatever writes to it.
    scratch: Scratch,
}

impl World {
    /// Starts everything; the gateway listens on `port` of loopback, or on a free one for 0.
    ///
    /// # Errors
    /// A port is taken, the temporary directory cannot be written, or a policy in `policies/` is at fault.
    pub async fn start(port: u16) -> Result<Self, Box<dyn Error>> {
        let scratch = Scratch::new()?;
        let now = clock::now();
        let authority = Authority::new(now)?;
        let server = authority.server(&HOSTS, 1)?;
        let laptops = Laptop::REGISTERED.into_iter().zip(2..);
        let laptops = laptops.map(|(laptop, serial)| Ok((laptop, authority.device(laptop.id(), serial)?)));
        let laptops = laptops.collect::<Result<Vec<_>, rcgen::Error>>()?;
        write_files(&scratch, &authority, &server, &laptops)?;

        let policies = files::policies(&scratch)?;
        let issuer = Issuer::start().await?;
        let devices = devices::authority(&scratch, now)?;
        let assertion = settings::assertion(&scratch);
        let trust = |audiences: &[&str]| -> Result<Trust, Box<dyn Error>> {
            Ok(Trust {
                keys: Signer::load(&assertion)?.jwks(),
                issuer: assertion.issuer.clone(),
                audiences: audiences.iter().map(|audience| (*audience).to_owned()).collect(),
            })
        };
        // The upstreams that the policies name, each on a port that is free here.
        let origins = BTreeMap::from([
            ("http://127.0.0.1:9001".to_owned(), console(Kind::Payroll, trust(&["payroll", "wiki"])?).await?),
            ("http://127.0.0.1:9002".to_owned(), console(Kind::Admin, trust(&["console", "reports"])?).await?),
            ("http://127.0.0.1:9003".to_owned(), console(Kind::Decoy, trust(&[])?).await?),
        ]);
        let settings = settings::settings(&scratch, &policies, &issuer, devices, origins, port);
        let gateway = Gateway::prepare(&settings)?.start()?;
        let (Some(&direct), Some(&balanced)) = (gateway.addresses().first(), gateway.addresses().get(1)) else {
            return Err("the gateway has no listeners".into());
        };
        let operations = gateway.operations();
        devices::import(&scratch, scratch.at(SOCKET)).await?;
        let notes = Notes::default();
        Ok(Self { policies, direct, balanced, operations, notes, gateway, authority, issuer, laptops, scratch })
    }

    /// Where throw-away files are.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    pub fn audit_log(&self) -> PathBuf {
        self.scratch.at(AUDIT)
    }

    /// The socket that administrators connect to.
    pub fn socket(&self) -> PathBuf {
        self.scratch.at(SOCKET)
    }

    /// Dan's laptop has its certificate.
    pub fn enrolled(&mut self, identity: Identity) {
        self.laptops.push((Laptop::Dan, identity));
    }

    /// A client on its way as the scene says.
    pub async fn client(&self, scene: &Scene) -> Result<Client, Box<dyn Error>> {
        let address = match scene.way {
            Way::Direct => self.direct,
            Way::Relay { behind_ms } => relay::open(self.direct, hop(behind_ms, None)).await?,
            Way::Balancer { client, away_ms } => relay::open(self.balanced, hop(away_ms, Some(client))).await?,
        };
        self.connect(address, scene.host, scene.http, scene.laptop).await
    }

    /// A client that comes straight from this laptop, over HTTP/1.1.
    pub async fn dial(&self, laptop: Laptop, host: &str) -> Result<Client, Box<dyn Error>> {
        self.connect(self.direct, host, Http::One, Some(laptop)).await
    }

    async fn connect(
        &self,
        address: SocketAddr,
        host: &str,
        http: Http,
        laptop: Option<Laptop>,
    ) -> Result<Client, Box<dyn Error>> {
        let host = format!("{host}.corp.example");
        let laptop = laptop.and_then(|laptop| self.identity(laptop));
        Client::connect(address, &host, self.direct.port(), http, self.authority.certificate(), laptop).await
    }

    pub fn token(&self, login: Login) -> Result<String, Box<dyn Error>> {
        let laptop = self.identity(login.on).ok_or("no such laptop")?;
        Ok(self.issuer.token(login.on.owner(), login.minutes_ago, laptop, clock::now())?)
    }

    /// Writes the header that `curl -H @file` sends: the laptop's owner, signed in a minute ago.
    pub fn write_token(&self, laptop: Laptop) -> Result<PathBuf, Box<dyn Error>> {
        let token = self.token(Login { on: laptop, minutes_ago: 1 })?;
        Ok(self.scratch.write(&format!("{}.token", laptop.id()), format!("Authorization: Bearer {token}\n"))?)
    }

    /// Changes a laptop's status in the device registry, and has the gateway read it now.
    pub fn report(&self, laptop: Laptop, status: &str) -> Result<(), Box<dyn Error>> {
        // Those of the store are not for a file to say.
        let registered = self.laptops.iter().filter(|(laptop, _)| Laptop::REGISTERED.contains(laptop));
        self.scratch.write(DEVICES, registry(registered, Some((laptop, status))))?;
        self.gateway.reload();
        Ok(())
    }

    /// Blocks until the gateway has stopped; the files go with it.
    pub fn stop(self) {
        self.gateway.stop();
    }

    fn identity(&self, laptop: Laptop) -> Option<&Identity> {
        self.laptops.iter().find(|(known, _)| *known == laptop).map(|(_, identity)| identity)
    }
}

fn hop(round_trip_ms: u64, client: Option<Ipv4Addr>) -> Hop {
    Hop { delay: Duration::from_micros(round_trip_ms * 500), client }
}

/// Starts one console on a free port; its origin.
async fn console(kind: Kind, trust: Trust) -> Result<String, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://{}", listener.local_addr()?);
    tokio::spawn(consoles::serve(listener, kind, trust));
    Ok(origin)
}

fn write_files(
    scratch: &Scratch,
    authority: &Authority,
    server: &Identity,
    laptops: &[(Laptop, Identity)],
) -> Result<(), Box<dyn Error>> {
    scratch.write("ca.pem", authority.pem())?;
    scratch.write("server.pem", &server.certificate_pem)?;
    scratch.write("server.key", server.key_pem())?;
    for (laptop, identity) in laptops {
        scratch.write(&format!("{}.pem", laptop.id()), &identity.certificate_pem)?;
        scratch.write(&format!("{}.key", laptop.id()), identity.key_pem())?;
    }
    let revoked = laptops.iter().filter(|(laptop, _)| *laptop == Laptop::AnnOld).map(|(_, identity)| identity);
    scratch.write("ca.crl", authority.revoking(&revoked.collect::<Vec<_>>())?)?;
    scratch.write(DEVICES, registry(laptops, None))?;
    scratch.write(ASSERTION_KEY, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_pem())?;
    Ok(())
}

/// The device registry, with one laptop's status changed.
fn registry<'a>(laptops: impl IntoIterator<Item = &'a (Laptop, Identity)>, changed: Option<(Laptop, &str)>) -> String {
    let mut text = "# Which laptop is whose. The gateway reads it again whenever it changes.\n".to_owned();
    for (laptop, identity) in laptops {
        let status = match changed {
            Some((changed, status)) if changed == *laptop => status,
            _ if *laptop == Laptop::Eve => "watched",
            _ => "active",
        };
        let (id, owner, key) = (laptop.id(), laptop.owner().user, identity.key_digest());
        let _ = write!(
            text,
            "\n[[device]]\nid = \"{id}\"\nowner = \"{owner}\"\nclass = \"corporate\"\nstatus = \"{status}\"\nkeys = [\"{key}\"]\n",
        );
    }
    text
}
