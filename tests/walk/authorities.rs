//! Who may vouch for which device: others' authorities for one class, and a certificate for the device it names.

use crate::gateway::{Harness, PKI, eventually, fingerprint, open_to_all};
use crate::pki::{Authority, Leaf, Wanted, file};
use crate::upstream::{Upstream, ok};
use rangegate::gateway::clock;
use rangegate::sources::certificate::ExternalAuthority;

#[tokio::test]
async fn a_certificate_stands_only_for_the_device_and_class_it_may() {
    let app = Upstream::http1(|_| async { ok("hello") }).await;
    let now = clock::now();
    let contractor = Authority::new("Contractor");
    let client = |name: &str, serial| contractor.issue(&Wanted::client(name, serial).around(now));
    let named = |device: &str, serial| {
        let sans = vec![format!("uri:urn:rangegate:device:{device}")];
        PKI.devices.issue(&Wanted { sans, ..Wanted::client(device, serial).around(now) })
    };
    let (theirs, posing) = (client("theirs", 101), client("posing", 102));
    let (own, misnamed) = (named("own", 103), named("ann-laptop", 104));
    let device = |id: &str, class: &str, leaf: &Leaf| {
        let digest = fingerprint(leaf);
        format!("[[device]]\nid = \"{id}\"\nclass = \"{class}\"\ncertificates = [\"{digest}\"]\n\n")
    };
    let registry = [
        device("theirs", "contractor", &theirs),
        device("posing", "corporate", &posing),
        device("own", "corporate", &own),
        device("misnamed", "corporate", &misnamed),
    ]
    .concat();
    let (root, list) = (contractor.pem(), contractor.crl(&[], now));
    let laptops = open_to_all("app", "$app").replace("cidr = \"127.0.0.0/8\"", "device = { known = true }");
    let gate = Harness::builder()
        .policy("app", &laptops, &[("app", &app)])
        .settings(move |settings| {
            let devices = settings.devices.clone().expect("a registry");
            let at = devices.parent().expect("a directory");
            file(at, "devices.toml", registry);
            let trust = &mut settings.listeners[0].trust;
            trust.crls.push(file(at, "contractor.crl", list));
            trust.external.push(ExternalAuthority {
                name: "Contractor".to_owned(),
                certificates: vec![file(at, "contractor.pem", root)],
                class: "contractor".into(),
            });
        })
        .start()
        .await;
    let cases = [
        (&theirs, 200, None),
        (&posing, 403, Some("authority-other-class")),
        (&own, 200, None),
        (&misnamed, 403, Some("certificate-other-device")),
    ];
    for (number, (leaf, status, fault)) in cases.into_iter().enumerate() {
        let answer = gate.dial().certificate(leaf).h2().await.get("/").await;
        assert_eq!(answer.status, status, "{}", answer.text());
        let requests = || gate.lines().into_iter().filter(|line| line["kind"] == "request").collect::<Vec<_>>();
        eventually("the record is written", || requests().len() > number).await;
        let record = requests().pop().expect("a record");
        assert_eq!(record["evidence"]["device"]["invalid"].as_str(), fault, "{record:#}");
        if let Some(fault) = fault {
            assert!(!answer.text().contains(fault), "the page does not say which\n{}", answer.text());
        }
    }
    // Whoever goes on trying is not alerted of again and again.
    for leaf in [&posing, &misnamed].into_iter().cycle().take(10) {
        assert_eq!(gate.dial().certificate(leaf).h2().await.get("/").await.status, 403);
    }
    gate.audit_records(14).await;
    let alerts: Vec<_> = gate.lines().into_iter().filter(|line| line["kind"] == "alert").collect();
    let said: Vec<_> = alerts.iter().map(|alert| (&alert["event"], alert["reason"].as_str().expect("words"))).collect();
    let told = |leaf, fault: &str| format!("{fault}: certificate {}", crate::gateway::fingerprint(leaf));
    let expected = [told(&posing, "authority-other-class"), told(&misnamed, "certificate-other-device")];
    let finding = serde_json::Value::from("device-finding");
    assert_eq!(said, [(&finding, &*expected[0]), (&finding, &*expected[1])]);
}
