//! The fuzz targets on their seeds and on some thousands of mutations, always the same ones.

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::fs;
use std::path::Path;

/// Runs `body` on every seed in `fuzz/corpus/<target>` and on `rounds` mutations; a panic names its input.
fn smoke(target: &str, rounds: usize, words: &[&str], body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut seeds: Vec<_> =
        fs::read_dir(&folder).expect("the corpus is there").map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    let seeds: Vec<Vec<u8>> = seeds.into_iter().map(|seed| fs::read(seed).unwrap()).collect();
    assert!(seeds.len() > 2, "{target} has too few seeds");
    let run = |input: &[u8]| {
        if std::panic::catch_unwind(|| body(input)).is_err() {
            panic!("{target} fails on b\"{}\"", input.escape_ascii());
        }
    };
    seeds.iter().for_each(|seed| run(seed));
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for _ in 0..rounds {
        let mut input = seeds[chance.below(seeds.len())].clone();
        for _ in 0..=chance.below(4) {
            mutate(&mut input, &mut chance, &seeds, words);
        }
        input.truncate(8192);
        run(&input);
    }
}

fn mutate(input: &mut Vec<u8>, chance: &mut Chance, seeds: &[Vec<u8>], words: &[&str]) {
    let at = chance.below(input.len() + 1);
    match chance.below(7) {
        0 if at < input.len() => input[at] ^= 1 << chance.below(8),
        1 if at < input.len() => input[at] = chance.below(256) as u8,
        2 => input.insert(at, b"\0\t\n\r /%.;:,\"[]{}\xff"[chance.below(17)]),
        3 => drop(input.drain(at..(at + 1 + chance.below(8)).min(input.len()).max(at))),
        4 => {
            let piece = input[at..(at + chance.below(32)).min(input.len())].to_vec();
            input.splice(at..at, piece);
        }
        5 => {
            let other = &seeds[chance.below(seeds.len())];
            input.truncate(at);
            input.extend_from_slice(&other[chance.below(other.len() + 1)..]);
        }
        _ => drop(input.splice(at..at, words[chance.below(words.len())].bytes())),
    }
}

/// xorshift64*
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

#[test]
fn guard() {
    let words = [
        "\r\n",
        "\r\n\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "0\r\n\r\n",
        "Upgrade: websocket\r\n",
        "GET / HTTP/1.1\r\n",
    ];
    smoke("guard", 20_000, &words, bodies::guard);
}

#[test]
fn sanitize() {
    let words = [
        "/../",
        "/%2e",
        "%2F",
        "%25",
        "%3b",
        "..;",
        "//",
        "host: a.example\n",
        "https://a.example",
        "\nconnection: upgrade\nupgrade: websocket",
        "x-forwarded-for: 1.1.1.1\n",
    ];
    smoke("sanitize", 20_000, &words, bodies::sanitize);
}

#[test]
fn proxy_header() {
    let words = [
        "PROXY ",
        "TCP4 ",
        "TCP6 ",
        "UNKNOWN",
        "\r\n",
        "\r\n\r\n\0\r\nQUIT\n",
        "192.0.2.1 ",
        "2001:db8::1 ",
        "for=\"[2001:db8::1]:4\"",
        ", ",
    ];
    smoke("proxy_header", 20_000, &words, bodies::proxy_header);
}

#[test]
fn token() {
    let words = ["Bearer ", "eyJ", ".", "\"kty\":\"EC\",", "\"alg\":\"none\",", "[", "{", "\nBearer ", "\"kid\":\"\","];
    smoke("token", 10_000, &words, bodies::token);
}

#[test]
fn csr() {
    let words =
        ["-----BEGIN CERTIFICATE REQUEST-----\n", "-----END CERTIFICATE REQUEST-----\n", "\u{30}\u{0}", "MIIB", "=="];
    smoke("csr", 10_000, &words, bodies::csr);
}

#[test]
fn policy_source() {
    let words = [
        "[[resource]]\n",
        "[[resource.require]]\n",
        "that = { all = [] }\n",
        "any = [",
        "not = {",
        "\"",
        "{ ",
        "} ",
        "= ",
        "observe",
        "10m",
        "\n[[test]]\n",
    ];
    smoke("policy_source", 3_000, &words, bodies::policy_source);
}
