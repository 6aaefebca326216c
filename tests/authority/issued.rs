//! What is issued, as openssl reads it and as the gateway's own trust judges it.

use crate::openssl::{Bench, DAY, P256, authority};
use crate::pki::NOW;
use rangegate::authority::pkcs12;
use rangegate::evidence::{Fact, Fault, Moment};
use rangegate::gateway::clock;
use rangegate::sources::certificate::{CrlPolicy, Trust, TrustSettings};

#[test]
fn openssl_finds_a_client_certificate_and_nothing_more() {
    let bench = Bench::new();
    let now = clock::now();
    let (authority, made) = authority(now);
    bench.write("ca.pem", &made.certificate_pem);
    let issued = authority.enrol(&bench.request(P256, ""), "d_7", now).expect("issued");
    bench.write("device.pem", &issued.pem);
    assert!(
        bench.openssl("verify -x509_strict -purpose sslclient -CAfile ca.pem device.pem").contains("device.pem: OK")
    );
    assert!(!bench.try_openssl("verify -purpose sslserver -CAfile ca.pem device.pem").status.success());
    assert_eq!(
        bench.openssl("x509 -in device.pem -noout -pubkey"),
        bench.openssl("pkey -in device.key -pubout"),
        "the device's own key"
    );
    assert_eq!(bench.openssl("x509 -in device.pem -noout -subject -nameopt RFC2253").trim(), "subject=CN=d_7");
    let serial = bench.openssl("x509 -in device.pem -noout -serial").trim().to_lowercase();
    assert_eq!(serial.trim_start_matches("serial=").trim_start_matches('0'), &*issued.serial);
    let print = bench.openssl("x509 -in device.pem -noout -fingerprint -sha256").to_lowercase().replace(':', "");
    assert!(print.trim().ends_with(&issued.sha256.hex()), "{print}");

    let text = bench.openssl("x509 -in device.pem -noout -text");
    let (_, extensions) = text.split_once("X509v3 extensions:").expect("extensions");
    let (extensions, _) = extensions.split_once("Signature Algorithm").expect("an end");
    let mut names: Vec<_> = extensions.lines().map(str::trim).filter(|line| line.starts_with("X509v3")).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "X509v3 Authority Key Identifier:",
            "X509v3 Basic Constraints: critical",
            "X509v3 Extended Key Usage:",
            "X509v3 Key Usage: critical",
            "X509v3 Subject Alternative Name:",
            "X509v3 Subject Key Identifier:",
        ]
    );
    for line in ["CA:FALSE", "TLS Web Client Authentication", "Digital Signature", "URI:urn:rangegate:device:d_7"] {
        assert!(extensions.lines().any(|found| found.trim() == line), "{line} alone in\n{extensions}");
    }
    assert!(!text.contains("Whoever") && !text.contains("whatever"), "nothing of the request's subject\n{text}");
    let root = bench.openssl("x509 -in ca.pem -noout -text");
    for line in ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign"] {
        assert!(root.contains(line), "{line} in\n{root}");
    }
    assert!(bench.openssl("verify -x509_strict -CAfile ca.pem ca.pem").contains("OK"));
}

#[test]
fn every_kind_of_key_gets_a_certificate_with_its_own_digest() {
    let bench = Bench::new();
    let (authority, made) = authority(NOW);
    bench.write("ca.pem", &made.certificate_pem);
    for key in [
        P256,
        "-algorithm EC -pkeyopt ec_paramgen_curve:P-384",
        "-algorithm ED25519",
        "-algorithm RSA -pkeyopt rsa_keygen_bits:3072",
    ] {
        let issued = authority.enrol(&bench.request(key, ""), "d", NOW).expect("issued");
        bench.write("device.der", &issued.der);
        bench.openssl("x509 -inform DER -in device.der -noout -pubkey -out public.pem");
        bench.openssl("pkey -pubin -in public.pem -outform DER -out public.der");
        assert_eq!(issued.spki_sha256, rangegate::store::Digest::of(&bench.read("public.der")), "{key}");
    }
}

#[test]
fn the_gateways_own_trust_takes_it_and_reads_what_was_issued() {
    let bench = Bench::new();
    let (authority, made) = authority(NOW);
    let issued = authority.enrol(&bench.request(P256, ""), "d_7", NOW).expect("issued");
    authority.revocation_list(&[], 1, NOW, DAY * 30).expect("signed").publish(&bench.path("ca.crl")).expect("written");
    let trust = Trust::load(&TrustSettings {
        authorities: vec![bench.write("ca.pem", &made.certificate_pem)],
        external: Vec::new(),
        crls: vec![bench.path("ca.crl")],
        crl_missing: CrlPolicy::Deny,
        crl_expired: CrlPolicy::Deny,
    })
    .expect("good files");
    let judge = |now: Moment| trust.judge(&[issued.der.clone()], now);
    let Fact::Known(certificate) = judge(NOW) else { panic!("{:?}", judge(NOW)) };
    assert_eq!(*certificate.sha256, issued.sha256.hex());
    assert_eq!(*certificate.spki_sha256, issued.spki_sha256.hex());
    assert_eq!(certificate.serial, issued.serial);
    assert_eq!(certificate.sans, [issued.san.clone()]);
    assert_eq!((certificate.not_before, certificate.not_after), (issued.not_before, issued.not_after));
    assert_eq!(judge(issued.not_after.plus_millis(1000)), Fact::Invalid(Fault::CertificateExpired));
}

#[test]
fn openssl_opens_the_pkcs12_and_finds_key_and_certificate() {
    let bench = Bench::new();
    let now = clock::now();
    let (authority, _) = authority(now);
    let issued = authority.enrol(&bench.request(P256, ""), "d_7", now).expect("issued");
    bench.openssl("pkcs8 -topk8 -nocrypt -in device.key -outform DER -out key.der");
    let packed = pkcs12::pack(&bench.read("key.der"), &[issued.der.clone()], "Ännchens laptop", "correct-horse");
    bench.write("device.p12", packed.expect("packed"));
    let info = bench.openssl("pkcs12 -in device.p12 -passin pass:correct-horse -noout -info");
    for line in [
        "MAC: sha256, Iteration 100000",
        "Certificate bag",
        "Shrouded Keybag: PBES2, PBKDF2, AES-256-CBC, Iteration 100000, PRF hmacWithSHA256",
    ] {
        assert!(info.contains(line), "{line} in\n{info}");
    }
    bench.openssl("pkcs12 -in device.p12 -passin pass:correct-horse -nodes -out both.pem");
    assert_eq!(bench.openssl("pkey -in both.pem -pubout"), bench.openssl("pkey -in device.key -pubout"));
    let shown = bench.openssl("x509 -in both.pem -noout -fingerprint -sha256").to_lowercase().replace(':', "");
    assert!(shown.trim().ends_with(&issued.sha256.hex()));
    let both = String::from_utf8_lossy(&bench.read("both.pem")).into_owned();
    assert_eq!(both.matches("localKeyID").count(), 2, "key and certificate belong together\n{both}");
    assert!(!bench.try_openssl("pkcs12 -in device.p12 -passin pass:correct-house -noout").status.success());
    for (passphrase, chain) in
        [("short", vec![issued.der.clone()]), ("pässphrase", vec![issued.der]), ("long enough", vec![])]
    {
        assert!(pkcs12::pack(&bench.read("key.der"), &chain, "x", passphrase).is_err());
    }
}
