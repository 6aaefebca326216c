//! The authority's key at rest: a standard file that openssl reads and writes as well.

use crate::openssl::{Bench, DAY, P256};
use crate::pki::NOW;
use rangegate::authority::{Authority, AuthoritySettings, Curve, LoadFault, Passphrase, create_key_file, make};
use rangegate::store::private_file;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

fn settings(bench: &Bench) -> AuthoritySettings {
    AuthoritySettings {
        certificate: bench.path("ca.pem"),
        key: bench.path("ca.key"),
        passphrase: None,
        revocation_list: bench.path("ca.crl"),
        lifetime: DAY,
        list_lifetime: DAY,
    }
}

fn fault(bench: &Bench, passphrase: &Passphrase) -> String {
    match Authority::load(&settings(bench), passphrase) {
        Ok(_) => "loaded".to_owned(),
        Err(fault @ (LoadFault::Key { .. } | LoadFault::Certificate { .. } | LoadFault::Passphrase(_))) => {
            fault.to_string().replace(&bench.directory().display().to_string(), "")
        }
    }
}

#[test]
fn openssl_reads_what_was_written_with_the_passphrase_only() {
    let bench = Bench::new();
    let made = make("Devices", Curve::P256, DAY * 365, NOW).expect("made");
    let passphrase = Passphrase::new("correct-horse").expect("long enough");
    create_key_file(&bench.path("ca.key"), &made.key, &passphrase).expect("written");
    bench.write("ca.pem", &made.certificate_pem);
    bench.openssl("pkcs8 -in ca.key -passin pass:correct-horse -out clear.key");
    assert_eq!(bench.openssl("pkey -in clear.key -pubout"), bench.openssl("x509 -in ca.pem -noout -pubkey"));
    assert!(!bench.try_openssl("pkcs8 -in ca.key -passin pass:wrong-horse").status.success());
    let parsed = bench.openssl("asn1parse -in ca.key");
    for word in ["PBES2", "PBKDF2", "hmacWithSHA256", "aes-256-cbc", ":0927C0"] {
        assert!(parsed.contains(word), "{word} (600,000 rounds) in\n{parsed}");
    }
}

#[test]
fn an_authority_made_by_openssl_is_read_and_everything_unfit_is_refused_in_words() {
    let bench = Bench::new();
    let passphrase = Passphrase::new("correct-horse").expect("long enough");
    bench.write(
        "ca.cnf",
        "[req]\nprompt = no\ndistinguished_name = name\nx509_extensions = ca\n[name]\nC = DE\n\
        O = Example Corp\nCN = Devices\n[ca]\nbasicConstraints = critical, CA:true\n\
        keyUsage = critical, keyCertSign, cRLSign\nsubjectKeyIdentifier = hash\n",
    );
    bench.openssl(&format!("genpkey {P256} -out clear.key"));
    bench.openssl("req -x509 -new -config ca.cnf -key clear.key -days 30 -out ca.pem");
    bench.openssl("pkcs8 -topk8 -v2 aes-256-cbc -iter 10000 -in clear.key -passout pass:correct-horse -out ca.key");
    let close = |mode| std::fs::set_permissions(bench.path("ca.key"), Permissions::from_mode(mode)).expect("set");
    close(0o600);
    let now = rangegate::gateway::clock::now();
    let authority = Authority::load(&settings(&bench), &passphrase).expect("loaded");
    let issued = authority.enrol(&bench.request(P256, ""), "d", now).expect("issued");
    bench.write("device.pem", &issued.pem);
    assert!(bench.openssl("verify -x509_strict -CAfile ca.pem device.pem").contains("OK"));

    assert!(fault(&bench, &Passphrase::new("wrong-horse").expect("long enough")).contains("the passphrase is wrong"));
    close(0o640);
    assert_eq!(
        fault(&bench, &passphrase),
        "the authority's key `/ca.key`: others may read it (mode 0640): `chmod 0600 /ca.key` closes it"
    );
    close(0o600);
    let good = bench.read("ca.pem");
    bench.write("ca.pem", "nothing");
    assert_eq!(fault(&bench, &passphrase), "the authority's certificate `/ca.pem`: it holds no certificate");
    let other = make("Other", Curve::P256, DAY, NOW).expect("made");
    bench.write("ca.pem", other.certificate_pem);
    assert!(fault(&bench, &passphrase).ends_with("it is another key's certificate"));
    bench.openssl("req -x509 -new -key clear.key -subj /CN=x -days 30 -out ca.pem");
    assert!(fault(&bench, &passphrase).contains("it may not sign certificates"), "{}", fault(&bench, &passphrase));
    bench.write("ca.pem", good);
    std::fs::rename(bench.path("clear.key"), bench.path("ca.key")).expect("moved");
    close(0o600);
    assert!(fault(&bench, &passphrase).contains("expected a PEM section `ENCRYPTED PRIVATE KEY`"));
    bench.openssl("pkcs8 -topk8 -v2 aes-128-cbc -in ca.key -passout pass:correct-horse -out weak.key");
    std::fs::rename(bench.path("weak.key"), bench.path("ca.key")).expect("moved");
    close(0o600);
    assert!(fault(&bench, &passphrase).contains("not encrypted by PBKDF2"));
    std::fs::remove_file(bench.path("ca.key")).expect("removed");
    assert!(fault(&bench, &passphrase).starts_with("the authority's key `/ca.key`: "));
}

#[test]
fn intermediates_go_with_what_they_issue_and_roots_do_not() {
    let bench = Bench::new();
    let (_, root) = crate::openssl::authority(NOW);
    let issuer = rcgen::Issuer::from_ca_cert_pem(&root.certificate_pem, &root.key).expect("an issuer");
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Devices of a branch");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) =
        (crate::pki::date(NOW.plus_millis(-1000)), crate::pki::date(NOW.plus_millis(86_400_000)));
    let branch = params.signed_by(&key, &issuer).expect("a certificate").pem();
    let chain = branch.clone() + &root.certificate_pem;
    let authority = Authority::assemble(chain.as_bytes(), key, DAY).expect("assembled");
    let issued = authority.enrol(&bench.request(P256, ""), "d", NOW).expect("issued");
    assert_eq!(issued.pem.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(issued.pem.ends_with(&branch.replace("\r\n", "\n")), "{}", issued.pem);
    private_file::create(&bench.path("chain.pem"), issued.pem.as_bytes(), private_file::PUBLIC).expect("written");
}
