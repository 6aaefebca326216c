//! Authorities of others, each of which may vouch for one class of device.

use crate::openssl::Bench;
use crate::pki::{Authority, Leaf, NOW, Wanted};
use rangegate::evidence::{Fact, Fault};
use rangegate::sources::certificate::{CrlPolicy, ExternalAuthority, Trust, TrustSettings};

fn settings(bench: &Bench, own: &Authority, others: &[(&str, &Authority)]) -> TrustSettings {
    let list = |name: &str, authority: &Authority| bench.write(&format!("{name}.crl"), authority.crl(&[66], NOW));
    let external = others.iter().map(|(class, authority)| ExternalAuthority {
        name: format!("{class} Inc."),
        certificates: vec![bench.write(&format!("{class}.pem"), authority.pem())],
        class: (*class).into(),
    });
    TrustSettings {
        authorities: vec![bench.write("own.pem", own.pem())],
        external: external.collect(),
        crls: others.iter().map(|(class, other)| list(class, other)).chain([list("own", own)]).collect(),
        crl_missing: CrlPolicy::Deny,
        crl_expired: CrlPolicy::Deny,
    }
}

/// The class a leaf is limited to, or why it is no good.
fn class(trust: &Trust, leaf: &Leaf) -> Result<Option<String>, Fact<()>> {
    match trust.judge(&leaf.chain, NOW) {
        Fact::Known(certificate) => Ok(certificate.class.as_deref().map(str::to_owned)),
        other => Err(other.map(|_| ())),
    }
}

#[test]
fn the_class_is_that_of_the_authority_where_the_chain_ends() {
    let bench = Bench::new();
    let (own, vendor, contractor) = (Authority::new("Own"), Authority::new("Vendor"), Authority::new("Contractor"));
    let trust =
        Trust::load(&settings(&bench, &own, &[("vendor", &vendor), ("contractor", &contractor)])).expect("good");
    assert_eq!(class(&trust, &own.client("a", 1)), Ok(None));
    assert_eq!(class(&trust, &vendor.client("a", 1)), Ok(Some("vendor".into())));
    assert_eq!(class(&trust, &contractor.client("a", 1)), Ok(Some("contractor".into())));
    let branch = vendor.intermediate("Branch of Vendor", 9);
    let leaf = branch.client("a", 1).below(&branch);
    assert_eq!(class(&trust, &leaf), Err(Fact::Unavailable(Fault::CrlMissing)), "nobody lists for the branch");
    // Their lists count, and what is wrong has the same names as with our own.
    assert_eq!(class(&trust, &vendor.client("a", 66)), Err(Fact::Invalid(Fault::CertificateRevoked)));
    let late = Wanted { not_after: NOW.plus_millis(-1000), ..Wanted::client("a", 1) };
    assert_eq!(class(&trust, &vendor.issue(&late)), Err(Fact::Invalid(Fault::CertificateExpired)));
    let stranger = Authority::new("Stranger").client("a", 1);
    assert_eq!(class(&trust, &stranger), Err(Fact::Invalid(Fault::CertificateUnknownIssuer)));
    // Asked again, the answer is remembered and the same.
    assert_eq!(class(&trust, &vendor.client("a", 1)), Ok(Some("vendor".into())));
    let same = vendor.client("b", 2);
    assert_eq!(class(&trust, &same), class(&trust, &same));
}

#[test]
fn a_branch_ends_at_its_root_when_its_list_is_there() {
    let bench = Bench::new();
    let (own, vendor) = (Authority::new("Own"), Authority::new("Vendor"));
    let branch = vendor.intermediate("Branch of Vendor", 9);
    let mut settings = settings(&bench, &own, &[("vendor", &vendor)]);
    settings.crls.push(bench.write("branch.crl", branch.crl(&[], NOW)));
    let trust = Trust::load(&settings).expect("good");
    assert_eq!(class(&trust, &branch.client("a", 1).below(&branch)), Ok(Some("vendor".into())));
    // The impostor has the name and not the key.
    let impostor = Authority::impostor("Vendor").client("a", 1);
    assert!(class(&trust, &impostor).is_err());
}

#[test]
fn an_authority_cannot_be_both() {
    let bench = Bench::new();
    let own = Authority::new("Own");
    let fault = Trust::load(&settings(&bench, &own, &[("vendor", &own)])).expect_err("both");
    assert!(fault.to_string().contains("`vendor Inc.` may already vouch for other devices"), "{fault}");
    let missing = TrustSettings {
        external: vec![ExternalAuthority {
            name: "Nobody".to_owned(),
            certificates: vec![bench.path("nobody.pem")],
            class: "vendor".into(),
        }],
        ..settings(&bench, &own, &[])
    };
    assert!(Trust::load(&missing).expect_err("missing").to_string().contains("nobody.pem"));
}
