//! `rangegate authority` and `rangegate device`, and the same by plain openssl and curl.

use crate::openssl::{Bench, P256, authority};
use crate::server::Server;
use rangegate::evidence::DeviceStatus;
use rangegate::gateway::clock;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Output};

/// Runs the command here; nobody is at the terminal.
fn run(bench: &Bench, line: &str, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rangegate"));
    command.args(line.split_whitespace()).current_dir(bench.directory()).stdin(std::process::Stdio::null());
    command.env_remove("RANGEGATE_AUTHORITY_PASSPHRASE").envs(environment.iter().copied());
    told(command.output().expect("it runs"))
}

fn curl(bench: &Bench, line: &str) -> (Option<i32>, String) {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*", "--cacert", "server-ca.pem"]);
    command.args(line.split_whitespace()).current_dir(bench.directory());
    told(command.output().expect("curl is installed"))
}

fn told(output: Output) -> (Option<i32>, String) {
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn mode(bench: &Bench, name: &str) -> u32 {
    std::fs::metadata(bench.path(name)).expect("there").mode() & 0o777
}

const CONFIG: &str = "[authority]\ncertificate = \"authority/ca.pem\"\nkey = \"authority/ca.key\"\n\
                      revocation-list = \"authority/ca.crl\"\n";

#[test]
fn an_authority_is_made_once_and_shown_without_its_passphrase() {
    let bench = Bench::new();
    bench.write("rangegate.toml", CONFIG);
    let passphrase = [("RANGEGATE_AUTHORITY_PASSPHRASE", "correct-horse")];
    let (exit, told) = run(&bench, "authority init", &[]);
    assert_eq!(exit, Some(2), "{told}");
    assert!(told.contains("$RANGEGATE_AUTHORITY_PASSPHRASE"), "{told}");
    let (exit, told) = run(&bench, "authority show", &[]);
    assert_eq!(exit, Some(2), "{told}");
    let (exit, told) = run(&bench, "authority init --name Devices --curve p384 --years 3", &passphrase);
    assert_eq!(exit, Some(0), "{told}");
    assert_eq!((mode(&bench, "authority/ca.key"), mode(&bench, "authority/ca.pem")), (0o600, 0o644));
    bench.openssl("pkcs8 -in authority/ca.key -passin pass:correct-horse -out clear.key");
    assert!(bench.openssl("pkey -in clear.key -noout -text").contains("P-384"));
    assert!(bench.openssl("x509 -in authority/ca.pem -noout -subject").contains("CN = Devices"));
    assert!(bench.openssl("crl -in authority/ca.crl -CAfile authority/ca.pem -noout").contains("verify OK"));
    let before = bench.read("authority/ca.key");
    let (exit, told) = run(&bench, "authority init", &passphrase);
    assert_eq!(exit, Some(2), "{told}");
    assert!(told.contains("nothing is overwritten"), "{told}");
    assert_eq!(bench.read("authority/ca.key"), before);
    let (exit, told) = run(&bench, "authority show --json", &[]);
    assert_eq!(exit, Some(0), "{told}");
    let shown: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(shown["subject"], "CN=Devices");
    assert_eq!(shown["revocation-list"]["entries"], 0);
    let (exit, told) = run(&bench, "authority show", &[]);
    assert!(exit == Some(0) && told.contains("0 revoked"), "{told}");
    bench.write("none.toml", "");
    assert_eq!(run(&bench, "authority init --config none.toml", &passphrase).0, Some(2));
}

#[test]
fn a_passphrase_may_come_from_a_closed_file() {
    let bench = Bench::new();
    bench.write("rangegate.toml", format!("{CONFIG}passphrase = \"credential\"\n"));
    bench.write("credential", "correct-horse\n");
    let close = |mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(bench.path("credential"), std::fs::Permissions::from_mode(mode)).expect("set");
    };
    close(0o644);
    let (exit, told) = run(&bench, "authority init", &[]);
    assert!(exit == Some(2) && told.contains("others may read it (mode 0644)"), "{told}");
    let (exit, told) = run(&bench, "authority init --passphrase-file nowhere", &[]);
    assert!(exit == Some(2) && told.contains("`nowhere`"), "{told}");
    close(0o400);
    let (exit, told) = run(&bench, "authority init --json", &[]);
    assert_eq!(exit, Some(0), "{told}");
    let made: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let (until, files) = (&made["not-after"], [&made["key"], &made["certificate"], &made["revocation-list"]]);
    assert!(until.as_str().is_some_and(|until| until.ends_with('Z')), "{told}");
    assert!(
        files.iter().all(|path| path.as_str().is_some_and(|path| bench.directory().join(path).is_file())),
        "{told}"
    );
}

#[test]
fn a_device_enrols_is_known_renews_and_is_revoked() {
    let bench = Bench::new();
    let server = Server::start(&bench, authority(clock::now()).0);
    let url = server.url();
    bench.write("code", server.invite("ann@corp.example").to_string().to_lowercase());
    let place = format!("--url {url} --ca server-ca.pem");
    let (exit, told) = run(&bench, &format!("device enrol {place} --code-file code"), &[]);
    assert_eq!(exit, Some(0), "{told}");
    assert!(told.contains("device        d_0"), "{told}");
    assert_eq!((mode(&bench, "device.key"), mode(&bench, "device.pem")), (0o600, 0o644));
    assert!(bench.openssl("verify -purpose sslclient -CAfile ca.pem device.pem").contains("OK"));
    let ask = format!("--cert device.pem --key device.key {url}/");
    assert_eq!(curl(&bench, &ask), (Some(0), "d_0".into()));
    assert_eq!(server.state.lock().expect("free").devices[0].1.owner.as_deref(), Some("ann@corp.example"));

    // Nothing is overwritten, and nobody is asked.
    let heard = || server.state.lock().expect("free").heard;
    let before = heard();
    let (exit, told) = run(&bench, &format!("device enrol {place} --code-file code"), &[]);
    assert!(exit == Some(2) && told.contains("nothing is overwritten"), "{told}");
    assert_eq!(heard(), before);

    // Renewal keeps the key or makes another.
    let (key, certificate) = (bench.read("device.key"), bench.read("device.pem"));
    let (exit, told) = run(&bench, &format!("device renew {place}"), &[]);
    assert_eq!(exit, Some(0), "{told}");
    assert_eq!(bench.read("device.key"), key);
    assert_ne!(bench.read("device.pem"), certificate);
    let (exit, told) = run(&bench, &format!("device renew --new-key --json {place}"), &[]);
    assert_eq!(exit, Some(0), "{told}");
    let renewed: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&renewed["device"], &renewed["key"]), (&"d_0".into(), &"device.key".into()), "{told}");
    assert!(renewed["not-after"].as_str().is_some_and(|until| until.ends_with('Z')), "{told}");
    assert_ne!(bench.read("device.key"), key);
    assert_eq!(mode(&bench, "device.key"), 0o600);
    assert!(!bench.path("device.key.old").exists());
    assert_eq!(curl(&bench, &ask), (Some(0), "d_0".into()));
    // A renewal that was cut off between its two files is taken up again.
    std::fs::rename(bench.path("device.key"), bench.path("device.key.old")).expect("moved");
    bench.openssl(&format!("genpkey {P256} -out device.key"));
    let (exit, told) = run(&bench, &format!("device renew {place}"), &[]);
    assert_eq!(exit, Some(0), "{told}");
    assert_eq!(curl(&bench, &ask), (Some(0), "d_0".into()));
    // The key before is nobody's now.
    bench.write("old.key", key);
    bench.write("old.pem", certificate);
    assert!(curl(&bench, &format!("--cert old.pem --key old.key {url}/")).1.contains("Refused"));

    // For programs, and for a browser.
    bench.write("code", server.invite("ann@corp.example").to_string());
    let files = "--key two.key --certificate two.pem --pkcs12 two.p12";
    let passphrase = [("RANGEGATE_PKCS12_PASSPHRASE", "a long passphrase")];
    let (exit, told) = run(&bench, &format!("device enrol {place} --code-file code {files} --json"), &passphrase);
    assert_eq!(exit, Some(0), "{told}");
    let enrolled: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&enrolled["device"], &enrolled["pkcs12"]), (&"d_1".into(), &"two.p12".into()), "{told}");
    assert!(bench.path("two.p12").is_file());

    for (status, code) in [(DeviceStatus::Suspended, "suspended"), (DeviceStatus::Revoked, "revoked")] {
        server.set_status("d_0", status);
        let (exit, told) = run(&bench, &format!("device renew {place}"), &[]);
        assert!(exit == Some(1) && told.contains(code), "{told}");
    }
}

#[test]
fn codes_that_do_not_count_leave_nothing_behind() {
    let bench = Bench::new();
    let server = Server::start(&bench, authority(clock::now()).0);
    let place = format!("--url {} --ca server-ca.pem", server.url());
    let code = server.invite("ann@corp.example").to_string();
    // Mistyped: found here, before anybody is asked.
    let slip = if code.ends_with('2') { "3" } else { "2" };
    let wrong = format!("{}{slip}", &code[..code.len() - 1]);
    let (exit, told) = run(&bench, &format!("device enrol {place}"), &[("RANGEGATE_INVITATION", &wrong)]);
    assert!(exit == Some(2) && told.contains("mistyped"), "{told}");
    assert_eq!(server.state.lock().expect("free").heard, 0);
    // Somebody else's server never hears the code.
    let elsewhere = format!("--url {} --ca ca.pem", server.url());
    let (exit, told) = run(&bench, &format!("device enrol {elsewhere}"), &[("RANGEGATE_INVITATION", &code)]);
    assert!(exit == Some(1) && told.contains("TLS failed"), "{told}");
    assert_eq!(server.state.lock().expect("free").heard, 0);
    assert!(!bench.path("device.key").exists());
    // Used once, it is used.
    let used = [("RANGEGATE_INVITATION", code.as_str())];
    assert_eq!(run(&bench, &format!("device enrol {place} --key a.key --certificate a.pem"), &used).0, Some(0));
    let (exit, told) = run(&bench, &format!("device enrol {place}"), &used);
    assert!(exit == Some(1) && told.contains("this invitation does not count"), "{told}");
    assert!(!told.contains(&code) && !bench.path("device.key").exists() && !bench.path("device.pem").exists());
    // Guessing is slowed down.
    let guess = rangegate::authority::Code::of(&[1; 17]).to_string();
    let answers: Vec<_> = (0..15)
        .map(|_| {
            let (_, told) = run(&bench, &format!("device enrol {place}"), &[("RANGEGATE_INVITATION", &guess)]);
            told.contains("(429)")
        })
        .collect();
    assert!(!answers[0] && answers[14], "{answers:?}");
}

#[test]
fn plain_openssl_and_curl_do_as_well() {
    let bench = Bench::new();
    let server = Server::start(&bench, authority(clock::now()).0);
    let url = server.url();
    let code = server.invite("ann@corp.example");
    // As docs/enrolment.md has it.
    bench.openssl(&format!("genpkey {P256} -out device.key"));
    bench.openssl("req -new -key device.key -subj /CN=device -out device.csr");
    let post = "--fail-with-body --data-binary @device.csr -H Content-Type:application/pkcs10";
    let (exit, told) =
        curl(&bench, &format!("{post} -H rangegate-invitation:{code} -o device.pem {url}/v1/enrolments"));
    assert_eq!(exit, Some(0), "{told}");
    let pair = "--cert device.pem --key device.key";
    assert_eq!(curl(&bench, &format!("{pair} {url}/")), (Some(0), "d_0".into()));
    let (exit, told) = curl(&bench, &format!("{pair} {post} -o fresh.pem {url}/v1/renewals"));
    assert_eq!(exit, Some(0), "{told}");
    assert_eq!(curl(&bench, &format!("--cert fresh.pem --key device.key {url}/")), (Some(0), "d_0".into()));
    // The same key as another device.
    let code = server.invite("bob@corp.example");
    let (exit, told) = curl(&bench, &format!("{post} -H rangegate-invitation:{code} {url}/v1/enrolments"));
    assert!(exit == Some(22) && told.contains("key-of-another-device"), "{told}");
    // Without a certificate there is nothing to renew.
    assert_eq!(curl(&bench, &format!("{post} {url}/v1/renewals")).0, Some(22));
    // What asks for more is told what it asked for.
    bench.openssl("req -new -key device.key -subj /CN=device -addext basicConstraints=CA:TRUE -out device.csr");
    let (_, told) = curl(&bench, &format!("{post} -H rangegate-invitation:{code} {url}/v1/enrolments"));
    assert!(told.contains("request-wants-authority"), "{told}");
}

#[test]
fn a_pkcs12_for_browsers_works_where_pem_does() {
    let bench = Bench::new();
    let server = Server::start(&bench, authority(clock::now()).0);
    let url = server.url();
    let code = server.invite("ann@corp.example").to_string();
    let line = format!("device enrol --url {url} --ca server-ca.pem --pkcs12 device.p12");
    let (exit, told) = run(&bench, &line, &[("RANGEGATE_INVITATION", &code), ("RANGEGATE_PKCS12_PASSPHRASE", "short")]);
    assert!(exit == Some(2) && told.contains("at least 8"), "nothing is used up\n{told}");
    let good = [("RANGEGATE_INVITATION", code.as_str()), ("RANGEGATE_PKCS12_PASSPHRASE", "correct-horse")];
    let (exit, told) = run(&bench, &line, &good);
    assert_eq!(exit, Some(0), "{told}");
    assert_eq!(mode(&bench, "device.p12"), 0o600);
    let ask = format!("--cert-type P12 --cert device.p12:correct-horse {url}/");
    assert_eq!(curl(&bench, &ask), (Some(0), "d_0".into()));
}
