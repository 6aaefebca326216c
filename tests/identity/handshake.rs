//! Certificates in real TLS handshakes, both ways of asking for them.

use crate::certificates::Bench;
use crate::pki::{Authority, Leaf, Wanted};
use rangegate::evidence::{Fact, Fault};
use rangegate::gateway::clock;
use rangegate::sources::certificate::{Demand, Presented, Refusal, Trust};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion};
use std::io;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio_rustls::{TlsAcceptor, TlsConnector};

struct Stage {
    devices: Authority,
    servers: Authority,
    server: Leaf,
    trust: Arc<Trust>,
}

/// What the server got, and what the client read from it.
type Ends = (io::Result<Presented>, io::Result<Vec<u8>>);

impl Stage {
    fn new(revoked: &[u64]) -> Self {
        let now = clock::now();
        let devices = Authority::new("Devices");
        let servers = Authority::new("Servers");
        let server = servers.issue(&Wanted::server(&["gate.example"], 1).around(now));
        let trust = Arc::new(Bench::new(&devices, &[devices.crl(revoked, now)]).trust());
        Self { devices, servers, server, trust }
    }

    fn client(&self, serial: u64) -> Leaf {
        self.devices.issue(&Wanted::client("laptop", serial).around(clock::now()))
    }

    /// One handshake. The client sees the server's verdict when it reads (RFC 8446: it is done first).
    async fn handshake(
        &self,
        demand: Demand,
        shown: Option<CertifiedKey>,
        version: &'static SupportedProtocolVersion,
    ) -> Ends {
        let provider = Arc::new(default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .expect("versions")
            .with_client_cert_verifier(self.trust.verifier(demand))
            .with_single_cert(self.server.chain.clone(), self.server.key_der())
            .expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(self.servers.certificate()).expect("a root");
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("versions")
            .with_root_certificates(roots);
        let client = match shown {
            Some(shown) => client.with_client_cert_resolver(Arc::new(Shown(Arc::new(shown)))),
            None => client.with_no_client_auth(),
        };
        let (near, far) = tokio::io::duplex(64 * 1024);
        let serve = async {
            let stream = TlsAcceptor::from(Arc::new(server)).accept(near).await?;
            let (_, connection) = stream.get_ref();
            Ok(Presented::new(connection.peer_certificates()))
        };
        let connect = async {
            let name = ServerName::try_from("gate.example").expect("a name");
            let mut stream = TlsConnector::from(Arc::new(client)).connect(name, far).await?;
            let mut read = Vec::new();
            match stream.read_to_end(&mut read).await {
                // The server closes without a farewell: fine for these tests.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(read),
                other => other.map(|_| read),
            }
        };
        tokio::join!(serve, connect)
    }
}

#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn with_key(leaf: &Leaf, key: &Leaf) -> CertifiedKey {
    CertifiedKey::new(leaf.chain.clone(), any_supported_type(&key.key_der()).expect("a key"))
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

#[tokio::test]
async fn requested_lets_a_bad_certificate_in_and_names_its_fault() {
    let stage = Stage::new(&[66]);
    let stranger = Authority::new("Elsewhere").issue(&Wanted::client("x", 1).around(clock::now()));
    for version in VERSIONS {
        for (leaf, expected) in [
            (&stage.client(7), Fact::Known(())),
            (&stage.client(66), Fact::Invalid(Fault::CertificateRevoked)),
            (&stranger, Fact::Invalid(Fault::CertificateUnknownIssuer)),
        ] {
            let (server, client) = stage.handshake(Demand::Requested, Some(with_key(leaf, leaf)), version).await;
            let presented = server.expect("a handshake");
            assert_eq!(presented.judge(&stage.trust, clock::now()).map(|_| ()), expected);
            assert!(client.is_ok(), "{client:?}");
        }
        let (server, _) = stage.handshake(Demand::Requested, None, version).await;
        assert_eq!(server.expect("a handshake").judge(&stage.trust, clock::now()), Fact::Absent);
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_never_gets_in() {
    let stage = Stage::new(&[]);
    let (owner, thief) = (stage.client(7), stage.client(8));
    for version in VERSIONS {
        for demand in [Demand::Requested, Demand::Required] {
            let (server, client) = stage.handshake(demand, Some(with_key(&owner, &thief)), version).await;
            let error = server.err().expect("no proof of possession");
            assert!(Refusal::of(&error).is_none(), "the certificate is not to blame: {error}");
            assert!(client.is_err());
        }
    }
}

#[tokio::test]
async fn required_fails_the_handshake_and_says_why_to_the_server_only() {
    let stage = Stage::new(&[0x66]);
    for version in VERSIONS {
        let good = stage.client(7);
        let (server, client) = stage.handshake(Demand::Required, Some(with_key(&good, &good)), version).await;
        assert!(matches!(server.expect("good").judge(&stage.trust, clock::now()), Fact::Known(_)));
        assert!(client.is_ok(), "{client:?}");

        let revoked = stage.client(0x66);
        let (server, client) = stage.handshake(Demand::Required, Some(with_key(&revoked, &revoked)), version).await;
        let error = server.err().expect("refused");
        let refusal = Refusal::of(&error).expect("the reason");
        assert_eq!(refusal.fact, Fact::Invalid(Fault::CertificateRevoked));
        assert_eq!(refusal.fingerprint.serial.as_deref(), Some("66"));
        let alert = client.expect_err("refused").to_string();
        assert!(alert.contains("CertificateUnknown"), "{alert}");

        let (server, client) = stage.handshake(Demand::Required, None, version).await;
        assert!(Refusal::of(&server.err().expect("refused")).is_none(), "nothing was shown");
        assert!(client.is_err());
    }
}
