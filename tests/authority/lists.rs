//! Revocation lists, as openssl and the gateway's own trust read them.

use crate::openssl::{Bench, DAY, P256, authority};
use crate::pki::NOW;
use rangegate::authority::Revoked;
use rangegate::authority::revocation::{Why, next_number, read_published};
use rangegate::evidence::{Fact, Fault, Moment};
use rangegate::gateway::clock;
use rangegate::sources::certificate::{CrlPolicy, Trust, TrustSettings};

#[test]
fn openssl_and_the_gateway_refuse_what_is_listed() {
    let bench = Bench::new();
    let now = clock::now();
    let (authority, made) = authority(now);
    let ca = bench.write("ca.pem", &made.certificate_pem);
    let request = bench.request(P256, "");
    let good = authority.enrol(&request, "d_1", now).expect("issued");
    let lost = authority.enrol(&request, "d_2", now).expect("issued");
    bench.write("good.pem", &good.pem);
    bench.write("lost.pem", &lost.pem);
    let publish = |revoked: &[Revoked]| {
        let number = next_number(read_published(&bench.path("ca.crl")).map(|last| last.number), now);
        let list = authority.revocation_list(revoked, number, now, DAY * 7).expect("signed");
        list.publish(&bench.path("ca.crl")).expect("written");
        list
    };
    let empty = publish(&[]);
    let entry = |why| Revoked { serial: lost.serial.clone(), at: now, expires: lost.not_after, why };
    let full = publish(&[entry(Why::KeyCompromise), entry(Why::KeyCompromise)]);
    assert_eq!((empty.entries, full.entries), (0, 1));
    assert!(full.number > empty.number, "although the clock stands still");
    let published = read_published(&bench.path("ca.crl")).expect("a list");
    assert_eq!((published.number, published.entries), (full.number, 1));

    let text = bench.openssl("crl -in ca.crl -CAfile ca.pem -noout -text");
    for word in ["verify OK", "X509v3 CRL Number", "X509v3 Authority Key Identifier", "Key Compromise"] {
        assert!(text.contains(word), "{word} in\n{text}");
    }
    let check = |name: &str| bench.try_openssl(&format!("verify -crl_check -CAfile ca.pem -CRLfile ca.crl {name}"));
    assert!(check("good.pem").status.success());
    let refused = String::from_utf8_lossy(&check("lost.pem").stderr).into_owned();
    assert!(refused.contains("certificate revoked"), "{refused}");

    let trust = Trust::load(&TrustSettings {
        authorities: vec![ca],
        external: Vec::new(),
        crls: vec![bench.path("ca.crl")],
        crl_missing: CrlPolicy::Deny,
        crl_expired: CrlPolicy::Deny,
    })
    .expect("good files");
    assert!(trust.judge(&[good.der.clone()], now).known().is_some());
    assert_eq!(trust.judge(&[lost.der], now).map(|_| ()), Fact::Invalid(Fault::CertificateRevoked));
    let next = full.next_update;
    assert_eq!(trust.judge(&[good.der], next.plus_millis(1000)).map(|_| ()).known(), None, "the list has run out");
}

#[test]
fn entries_leave_one_list_after_the_certificate_ended_and_rubbish_is_left_out() {
    let (authority, _) = authority(NOW);
    let entry =
        |serial: &str, expires: Moment| Revoked { serial: serial.into(), at: NOW, expires, why: Why::default() };
    let day = 86_400_000;
    let revoked = [
        entry("a1", NOW.plus_millis(day)),
        entry("a2", NOW.plus_millis(-day)),
        entry("a3", NOW.plus_millis(-day - 1)),
        entry("", NOW.plus_millis(day)),
        entry("xyz", NOW.plus_millis(day)),
        entry("é1", NOW.plus_millis(day)),
        entry(&"f".repeat(41), NOW.plus_millis(day)),
        entry("00a1", NOW.plus_millis(day)),
        entry("abc", NOW.plus_millis(day)),
    ];
    let list = authority.revocation_list(&revoked, 7, NOW, DAY).expect("signed");
    assert_eq!(list.entries, 3, "a1, a2 and abc");
    assert!(!list.is_due(NOW.plus_millis(day / 4 - 1)) && list.is_due(NOW.plus_millis(day / 4)));
    assert_eq!(next_number(None, NOW), 1_800_000_000_000);
    assert_eq!(next_number(Some(1_900_000_000_000), NOW), 1_900_000_000_001, "a clock that was set back");
    assert_eq!(next_number(Some(u64::MAX), NOW), u64::MAX);
}

#[test]
fn a_hundred_thousand_entries_are_a_list_within_seconds() {
    let (authority, _) = authority(NOW);
    let revoked: Vec<_> = (1..=100_000_u32)
        .map(|n| Revoked {
            serial: format!("{n:x}").into(),
            at: NOW,
            expires: NOW.plus_millis(1),
            why: Why::CessationOfOperation,
        })
        .collect();
    let list = authority.revocation_list(&revoked, 1, NOW, DAY).expect("signed");
    assert_eq!(list.entries, 100_000);
    assert!(list.der.len() < 6 << 20, "{} bytes", list.der.len());
}
