//! What is made of requests: good ones, greedy ones, weak keys, forgeries and rubbish.

use crate::openssl::{Bench, P256};
use rangegate::authority::RequestFault as F;
use rangegate::authority::request::{LONGEST, read};
use rangegate::authority::{KeyKind, pem};
use rangegate::store::Digest;

fn der(pem_text: &[u8]) -> Vec<u8> {
    pem::decode(pem_text, &["CERTIFICATE REQUEST"]).expect("PEM")
}

#[test]
fn good_keys_are_taken_in_pem_and_der() {
    let bench = Bench::new();
    for (key, options, kind) in [
        (P256, "", KeyKind::P256),
        (P256, "-sha384", KeyKind::P256),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:P-384", "", KeyKind::P384),
        ("-algorithm ED25519", "", KeyKind::Ed25519),
        ("-algorithm RSA -pkeyopt rsa_keygen_bits:3072", "", KeyKind::Rsa),
        (
            "-algorithm RSA -pkeyopt rsa_keygen_bits:3072",
            "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest",
            KeyKind::Rsa,
        ),
    ] {
        let request = bench.request(key, options);
        let found = read(&request).unwrap_or_else(|fault| panic!("{key} {options}: {fault}"));
        assert_eq!(found.kind(), kind, "{key}");
        assert_eq!(read(&der(&request)), Ok(found.clone()));
        bench.openssl("pkey -in device.key -pubout -outform DER -out public.der");
        assert_eq!(found.digest(), Digest::of(&bench.read("public.der")), "{key}: the digest that openssl computes");
    }
    // The other label, and Windows' lines.
    let request = String::from_utf8(bench.request(P256, "-newhdr")).expect("text");
    assert!(request.contains("NEW CERTIFICATE REQUEST"));
    assert!(read(request.replace('\n', "\r\n").as_bytes()).is_ok());
}

#[test]
fn weak_and_odd_keys_are_refused_by_name() {
    let bench = Bench::new();
    for (key, options, fault) in [
        ("-algorithm RSA -pkeyopt rsa_keygen_bits:1024", "", F::RsaShort),
        ("-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "", F::RsaShort),
        ("-algorithm RSA -pkeyopt rsa_keygen_bits:3072 -pkeyopt rsa_keygen_pubexp:3", "", F::RsaExponent),
        ("-algorithm RSA-PSS -pkeyopt rsa_keygen_bits:3072", "", F::KeyKind),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1", "", F::Curve),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:P-521", "", F::Curve),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:P-224", "", F::Curve),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP256r1", "", F::Curve),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit", "", F::Curve),
        ("-algorithm ED448", "", F::KeyKind),
        (P256, "-sha1", F::SignatureAlgorithm),
        ("-algorithm RSA -pkeyopt rsa_keygen_bits:3072", "-md5", F::SignatureAlgorithm),
    ] {
        assert_eq!(read(&bench.request(key, options)), Err(fault), "{key} {options}");
    }
}

#[test]
fn whatever_is_asked_for_is_refused_by_name() {
    let bench = Bench::new();
    for (options, fault) in [
        ("-addext basicConstraints=critical,CA:TRUE", F::WantsAuthority),
        ("-addext basicConstraints=CA:TRUE,pathlen:0", F::WantsAuthority),
        (
            "-addext keyUsage=keyCertSign -addext subjectAltName=DNS:x -addext basicConstraints=CA:TRUE",
            F::WantsAuthority,
        ),
        ("-addext basicConstraints=CA:FALSE", F::WantsExtension),
        ("-addext subjectAltName=DNS:app.corp.example", F::WantsNames),
        ("-addext subjectAltName=URI:urn:rangegate:device:boss-laptop", F::WantsNames),
        ("-addext subjectAltName=email:boss@corp.example -addext keyUsage=digitalSignature", F::WantsNames),
        ("-addext keyUsage=keyCertSign", F::WantsExtension),
        ("-addext extendedKeyUsage=serverAuth", F::WantsExtension),
        ("-addext 1.2.3.4=critical,ASN1:UTF8String:x", F::WantsExtension),
    ] {
        assert_eq!(read(&bench.request(P256, options)), Err(fault), "{options}");
    }
    let config = "[req]\nprompt = no\ndistinguished_name = name\nattributes = more\n[name]\nCN = x\n\
                  [more]\nchallengePassword = opensesame\n";
    bench.write("attributes.cnf", config);
    bench.openssl(&format!("genpkey {P256} -out device.key"));
    bench.openssl("req -new -config attributes.cnf -key device.key -out device.csr");
    assert_eq!(read(&bench.read("device.csr")), Err(F::Attribute));
}

#[test]
fn forgeries_are_found() {
    let bench = Bench::new();
    let mine = der(&bench.request(P256, ""));
    assert!(read(&mine).is_ok());
    // Another's key in a request that I signed.
    let theirs = der(&bench.request(P256, ""));
    let key = |request: &[u8]| {
        let at = request.windows(4).position(|window| window == [0x03, 0x42, 0x00, 0x04]).expect("a point");
        at..at + 4 + 64
    };
    let mut stolen = mine.clone();
    stolen[key(&mine)].copy_from_slice(&theirs[key(&theirs)]);
    assert_eq!(read(&stolen), Err(F::Forged));
    // A point that lies on no curve.
    let mut nowhere = mine.clone();
    nowhere[key(&mine)][10] ^= 1;
    assert_eq!(read(&nowhere), Err(F::Forged));
    // Whatever bit is turned, nobody believes it, and nothing panics.
    for at in 0..mine.len() {
        for bit in 0..8 {
            let mut turned = mine.clone();
            turned[at] ^= 1 << bit;
            assert!(read(&turned).is_err(), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn rubbish_is_refused_by_name() {
    let bench = Bench::new();
    let text = bench.request(P256, "");
    let whole = der(&text);
    for length in 0..whole.len() {
        assert!(read(&whole[..length]).is_err(), "{length} bytes of DER");
    }
    let end = text.trim_ascii_end().len();
    for length in 0..end {
        assert!(read(&text[..length]).is_err(), "{length} bytes of PEM");
    }
    for (rubbish, fault) in [
        (vec![], F::Malformed),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), F::Malformed),
        (b"\xff\xfe\x00".to_vec(), F::Malformed),
        (vec![0x30; 4000], F::Trailing),
        ([whole.as_slice(), b"\0"].concat(), F::Trailing),
        ([text.as_slice(), &text].concat(), F::Trailing),
        (bench.read("device.key"), F::Label),
        (vec![b'-'; LONGEST + 1], F::TooLarge),
        ([whole.as_slice(), &vec![0; LONGEST]].concat(), F::TooLarge),
        (pem::encode("CERTIFICATE REQUEST", &[whole.as_slice(), b"\0"].concat()).into_bytes(), F::Trailing),
        (pem::encode("CERTIFICATE REQUEST", &[]).into_bytes(), F::Malformed),
    ] {
        let shown = rubbish.escape_ascii().take(60).map(char::from).collect::<String>();
        assert_eq!(read(&rubbish), Err(fault), "{shown}");
    }
    // Every fault has a code of its own and something to do about it.
    let codes: std::collections::BTreeSet<_> = F::ALL.iter().map(|fault| fault.code()).collect();
    assert_eq!(codes.len(), F::ALL.len());
    assert!(F::ALL.iter().all(|fault| !fault.help().is_empty() && fault.code().starts_with("request-")));
}
