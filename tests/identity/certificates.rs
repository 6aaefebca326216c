//! What becomes of a chain: every way to be bad has its own name, and not knowing is never good.

use crate::pki::{Authority, DAY, HOUR, Leaf, NOW, Wanted, file};
use rangegate::evidence::{Certificate, Fact, Fault, Moment};
use rangegate::sources::certificate::{CrlPolicy, Presented, Trust, TrustSettings};
use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// A directory with an authority's certificate and lists, and the settings that name them.
pub struct Bench {
    pub directory: TempDir,
    pub settings: TrustSettings,
}

impl Bench {
    pub fn new(authority: &Authority, lists: &[String]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ca = file(directory.path(), "ca.pem", authority.pem());
        let crls =
            lists.iter().enumerate().map(|(n, list)| file(directory.path(), &format!("{n}.crl"), list)).collect();
        let settings = TrustSettings {
            authorities: vec![ca],
            external: Vec::new(),
            crls,
            crl_missing: CrlPolicy::Deny,
            crl_expired: CrlPolicy::Deny,
        };
        Self { directory, settings }
    }

    pub fn trust(&self) -> Trust {
        Trust::load(&self.settings).expect("good files")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn judge(trust: &Trust, leaf: &Leaf) -> Fact<()> {
    trust.judge(&leaf.chain, NOW).map(|_| ())
}

const GOOD: Fact<()> = Fact::Known(());

#[test]
fn every_bad_certificate_has_its_own_fault() {
    let ca = Authority::new("Devices");
    let bench = Bench::new(&ca, &[ca.crl(&[66], NOW)]);
    let trust = bench.trust();
    let good = || Wanted::client("laptop", 7);
    let cases = [
        (good(), GOOD),
        (Wanted { purposes: None, ..good() }, GOOD),
        (Wanted { usages: Vec::new(), ..good() }, GOOD),
        (Wanted { serial: 66, ..good() }, Fact::Invalid(Fault::CertificateRevoked)),
        (Wanted { not_after: NOW.plus_millis(-1000), ..good() }, Fact::Invalid(Fault::CertificateExpired)),
        (Wanted { not_after: NOW, ..good() }, GOOD),
        (Wanted { not_before: NOW.plus_millis(1000), ..good() }, Fact::Invalid(Fault::CertificateNotYetValid)),
        (Wanted { not_before: NOW, ..good() }, GOOD),
        (
            Wanted { purposes: Some(vec![ExtendedKeyUsagePurpose::ServerAuth]), ..good() },
            Fact::Invalid(Fault::CertificateWrongPurpose),
        ),
        (
            Wanted { usages: vec![KeyUsagePurpose::KeyEncipherment], ..good() },
            Fact::Invalid(Fault::CertificateWrongPurpose),
        ),
        (Wanted { is_ca: true, ..good() }, Fact::Invalid(Fault::CertificateWrongPurpose)),
        (Wanted { sans: vec!["dns:a\u{7}b".into()], ..good() }, Fact::Invalid(Fault::CertificateMalformed)),
    ];
    for (wanted, expected) in cases {
        let leaf = ca.issue(&wanted);
        assert_eq!(judge(&trust, &leaf), expected, "{} {:?}", wanted.serial, wanted.purposes);
    }
    let stranger = Authority::new("Elsewhere").client("laptop", 7);
    assert_eq!(judge(&trust, &stranger), Fact::Invalid(Fault::CertificateUnknownIssuer));
    let impostor = Authority::impostor("Devices").client("laptop", 7);
    assert!(matches!(judge(&trust, &impostor), Fact::Invalid(_)), "the same name signed by another key");
    assert_eq!(trust.judge(&[], NOW), Fact::Absent);
}

#[test]
fn what_is_no_certificate_is_malformed_and_nothing_panics() {
    let ca = Authority::new("Devices");
    let trust = Bench::new(&ca, &[ca.crl(&[], NOW)]).trust();
    let leaf = ca.client("laptop", 7);
    let der = leaf.chain[0].as_ref();
    let malformed = Fact::Invalid(Fault::CertificateMalformed);
    for length in [0, 1, 2, 4, der.len() / 2, der.len() - 1] {
        assert_eq!(trust.judge(&[CertificateDer::from(&der[..length])], NOW), malformed, "{length} bytes");
    }
    let trailing = [der, b"x"].concat();
    assert_eq!(trust.judge(&[CertificateDer::from(trailing)], NOW), malformed);
    // Whatever bit is turned: never good, never a panic.
    for at in 0..der.len() {
        let mut turned = der.to_vec();
        turned[at] ^= 1;
        let fact = trust.judge(&[CertificateDer::from(turned)], NOW);
        assert!(matches!(fact, Fact::Invalid(_) | Fact::Unavailable(_)), "byte {at}: {fact:?}");
    }
    // A good leaf is not spoilt by rubbish beside it, and not made good by it either.
    let beside = [leaf.chain[0].clone(), CertificateDer::from(vec![0x30, 0x03, 1, 2, 3])];
    assert_eq!(trust.judge(&beside, NOW).map(|_| ()), GOOD);
}

#[test]
fn without_a_list_that_covers_it_nothing_is_good_unless_that_was_asked_for() {
    let ca = Authority::new("Devices");
    let leaf = ca.client("laptop", 7);
    let missing = Fact::Unavailable(Fault::CrlMissing);

    let mut none = Bench::new(&ca, &[]);
    assert_eq!(judge(&none.trust(), &leaf), missing);
    none.settings.crl_missing = CrlPolicy::Ignore;
    assert_eq!(judge(&none.trust(), &leaf), GOOD);

    let mut other = Bench::new(&ca, &[Authority::new("Other").crl(&[7], NOW)]);
    assert_eq!(judge(&other.trust(), &leaf), missing);
    other.settings.crl_missing = CrlPolicy::Ignore;
    assert_eq!(judge(&other.trust(), &leaf), GOOD);

    // A list in the authority's name that it did not sign covers nobody, and ignoring missing ones does not help.
    let mut forged = Bench::new(&ca, &[Authority::impostor("Devices").crl(&[], NOW)]);
    assert_eq!(judge(&forged.trust(), &leaf), missing);
    forged.settings.crl_missing = CrlPolicy::Ignore;
    assert_eq!(judge(&forged.trust(), &leaf), missing);

    // What is certain does not become doubtful for want of a list.
    let expired = ca.issue(&Wanted { not_after: NOW.plus_millis(-1000), ..Wanted::client("laptop", 8) });
    assert_eq!(judge(&Bench::new(&ca, &[]).trust(), &expired), Fact::Invalid(Fault::CertificateExpired));
}

#[test]
fn a_list_past_its_next_update_leaves_everybody_unknown_unless_that_was_asked_for() {
    let ca = Authority::new("Devices");
    let list = ca.crl_between(&[66], NOW.plus_millis(-DAY), NOW.plus_millis(-HOUR));
    let mut bench = Bench::new(&ca, &[list]);
    let (leaf, revoked) = (ca.client("laptop", 7), ca.client("lost", 66));
    let expired = Fact::Unavailable(Fault::CrlExpired);
    assert_eq!(judge(&bench.trust(), &leaf), expired);
    assert_eq!(judge(&bench.trust(), &revoked), expired);
    bench.settings.crl_expired = CrlPolicy::Ignore;
    assert_eq!(judge(&bench.trust(), &leaf), GOOD);
    assert_eq!(judge(&bench.trust(), &revoked), Fact::Invalid(Fault::CertificateRevoked));
    assert_eq!(bench.trust().revalidate_at(), None);
}

#[test]
fn of_two_lists_the_newest_counts_in_whatever_order_they_are_named() {
    let ca = Authority::new("Devices");
    let revoked = ca.client("lost", 66);
    let old = ca.crl_between(&[], NOW.plus_millis(-DAY), NOW.plus_millis(DAY));
    let new = ca.crl_between(&[66], NOW.plus_millis(-HOUR), NOW.plus_millis(DAY));
    for lists in [[old.clone(), new.clone()], [new, old]] {
        let trust = Bench::new(&ca, &lists).trust();
        assert_eq!(judge(&trust, &revoked), Fact::Invalid(Fault::CertificateRevoked));
    }
}

#[test]
fn a_remembered_verdict_ends_with_whatever_it_relied_on() {
    let ca = Authority::new("Devices");
    let below = ca.intermediate("Laptops", 100);
    let bench = Bench::new(&ca, &[ca.crl(&[], NOW), below.crl(&[], NOW)]);
    let trust = bench.trust();
    let leaf = below.issue(&Wanted { not_after: NOW.plus_millis(HOUR), ..Wanted::client("laptop", 7) }).below(&below);
    let at = |millis: i64| trust.judge(&leaf.chain, NOW.plus_millis(millis)).map(|_| ());
    let expired = Fact::Invalid(Fault::CertificateExpired);
    assert_eq!(at(0), GOOD);
    assert_eq!(at(1), GOOD, "remembered");
    assert_eq!(at(HOUR + 999), GOOD, "the last second belongs to it");
    assert_eq!(at(HOUR + 1000), expired);
    assert_eq!(at(-2 * DAY), Fact::Invalid(Fault::CertificateNotYetValid), "the clock was set back");
    assert_eq!(at(0), GOOD);

    let lasting = ca.client("desk", 8);
    assert_eq!(trust.revalidate_at(), Some(NOW.plus_millis(DAY)));
    let at = |millis: i64| trust.judge(&lasting.chain, NOW.plus_millis(millis)).map(|_| ());
    assert_eq!(at(0), GOOD);
    assert_eq!(at(DAY - 1), GOOD);
    assert_eq!(at(DAY), Fact::Unavailable(Fault::CrlExpired));
}

#[test]
fn an_intermediate_can_be_revoked() {
    let ca = Authority::new("Devices");
    let below = ca.intermediate("Laptops", 100);
    let leaf = below.client("laptop", 7).below(&below);
    let lists = |revoked: &[u64]| [ca.crl(revoked, NOW), below.crl(&[], NOW)];
    assert_eq!(judge(&Bench::new(&ca, &lists(&[])).trust(), &leaf), GOOD);
    let revoked = Fact::Invalid(Fault::CertificateRevoked);
    assert_eq!(judge(&Bench::new(&ca, &lists(&[100])).trust(), &leaf), revoked);
    let unshown = below.client("laptop", 8);
    let unknown = Fact::Invalid(Fault::CertificateUnknownIssuer);
    assert_eq!(judge(&Bench::new(&ca, &lists(&[])).trust(), &unshown), unknown);
}

#[test]
fn a_connection_is_judged_again_when_the_trust_changes() {
    let ca = Authority::new("Devices");
    let leaf = ca.client("laptop", 7);
    let bench = Bench::new(&ca, &[ca.crl(&[], NOW)]);
    let presented = Presented::new(Some(&leaf.chain));
    let before = bench.trust();
    assert_eq!(presented.judge(&before, NOW).map(|_| ()), GOOD);

    file(bench.directory.path(), "0.crl", ca.crl(&[7], NOW));
    assert_eq!(presented.judge(&before, NOW).map(|_| ()), GOOD, "the old trust is what it was");
    let after = bench.trust();
    assert_ne!(before.generation(), after.generation());
    assert_eq!(presented.judge(&after, NOW), Fact::Invalid(Fault::CertificateRevoked));

    let fingerprint = presented.fingerprint().expect("shown");
    assert_eq!(fingerprint.serial.as_deref(), Some("7"));
    assert_eq!(Presented::new(None).judge(&after, NOW), Fact::Absent);
    assert_eq!(Presented::new(None).fingerprint(), None);
}

#[test]
fn a_connection_ends_with_its_certificate_and_recovers_with_the_clock() {
    let ca = Authority::new("Devices");
    let leaf = ca.issue(&Wanted { not_after: NOW.plus_millis(HOUR), ..Wanted::client("laptop", 7) });
    let trust = Bench::new(&ca, &[ca.crl(&[], NOW)]).trust();
    let presented = Presented::new(Some(&leaf.chain));
    let at = |millis: i64| presented.judge(&trust, NOW.plus_millis(millis)).map(|_| ());
    assert_eq!(at(0), GOOD);
    assert_eq!(at(HOUR + 1000), Fact::Invalid(Fault::CertificateExpired));
    assert_eq!(at(0), GOOD);
}

#[test]
fn a_certificate_says_what_it_says() {
    let ca = Authority::new("Devices, \"all\"");
    let trust = Bench::new(&ca, &[ca.crl(&[], NOW)]).trust();
    let sans =
        ["uri:spiffe://corp/laptop", "dns:laptop.example", "email:ann@corp.example", "ip:192.0.2.7", "ip:2001:db8::7"];
    let wanted = Wanted { sans: sans.map(Into::into).to_vec(), ..Wanted::client("Ann's laptop", 0x0a_bc) };
    let leaf = ca.issue(&wanted);
    let Fact::Known(certificate) = trust.judge(&leaf.chain, NOW) else { panic!("good") };
    let Certificate { serial, subject, issuer, .. } = &*certificate;
    assert_eq!((&**serial, &**subject), ("abc", "CN=Ann's laptop"));
    assert!(issuer.contains(r#"CN=Devices\, \"all\""#), "{issuer}");
    assert_eq!(certificate.sans, sans.map(Arc::from));
    assert_eq!((certificate.not_before, certificate.not_after), (wanted.not_before, wanted.not_after));

    let renewed = ca.issue_for(&Wanted { serial: 9, ..wanted }, leaf.key);
    let Fact::Known(other) = trust.judge(&renewed.chain, NOW) else { panic!("good") };
    assert_eq!(other.spki_sha256, certificate.spki_sha256, "the key is the same");
    assert_ne!(other.sha256, certificate.sha256);
}

#[test]
fn the_same_list_does_as_well_in_der() {
    let ca = Authority::new("Devices");
    let mut bench = Bench::new(&ca, &[]);
    bench.settings.crls = vec![file(bench.directory.path(), "list.der", ca.crl_der(&[66], NOW))];
    let trust = bench.trust();
    assert_eq!(judge(&trust, &ca.client("laptop", 7)), GOOD);
    assert_eq!(judge(&trust, &ca.client("lost", 66)), Fact::Invalid(Fault::CertificateRevoked));
}

#[test]
fn files_that_cannot_be_used_are_all_named() {
    let ca = Authority::new("Devices");
    let mut bench = Bench::new(&ca, &[]);
    let directory = bench.directory.path();
    let key = file(directory, "key.pem", ca.client("x", 1).key_pem());
    let garbage = file(directory, "garbage.crl", "\u{1}\u{2}nothing");
    let broken = file(directory, "broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let empty = file(directory, "empty.crl", "");
    let certificate = file(directory, "certificate.crl", ca.pem());
    let (absent, gone) = (bench.path("absent.pem"), bench.path("gone.crl"));
    bench.settings.authorities.extend([absent, key, broken]);
    bench.settings.crls = vec![gone, garbage, empty, certificate];
    let fault = Trust::load(&bench.settings).expect_err("faults").to_string();
    for expected in [
        "absent.pem`: cannot read",
        "key.pem`: no certificate in this file",
        "broken.pem`: certificate 1 cannot be an authority",
        "gone.crl`: cannot read",
        "garbage.crl`: not a revocation list",
        "empty.crl`: not a revocation list",
        "certificate.crl`: no revocation list in this file",
    ] {
        assert!(fault.contains(expected), "{expected}\nis missing in\n{fault}");
    }
    bench.settings.authorities.clear();
    bench.settings.crls.clear();
    let fault = Trust::load(&bench.settings).expect_err("nobody to trust").to_string();
    assert!(fault.starts_with("no certificate authority is named"), "{fault}");
}

#[test]
fn far_dates_do_no_harm() {
    let ca = Authority::new("Devices");
    let trust = Bench::new(&ca, &[ca.crl(&[], NOW)]).trust();
    let leaf = ca.client("laptop", 7);
    for now in [i64::MIN, -1, 0, i64::MAX] {
        let fact = trust.judge(&leaf.chain, Moment(now));
        assert!(!matches!(fact, Fact::Known(_)), "{now}: {fact:?}");
    }
}
