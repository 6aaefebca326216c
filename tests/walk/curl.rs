//! A client that nobody here wrote.

use crate::gateway::{Harness, open_to_all};
use crate::pki::file;
use crate::upstream::{Upstream, drain, ok};
use std::process::Output;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn stage() -> (Upstream, Harness) {
    let app = Upstream::http1(|request| async move {
        let method = request.method().clone();
        let (bytes, _) = drain(request.into_body()).await.expect("whole");
        ok(format!("{method} {bytes}"))
    })
    .await;
    let laptops = open_to_all("laptops", "$app").replace("cidr = \"127.0.0.0/8\"", "device = { known = true }");
    let gate = Harness::builder().app(&app).policy("laptops", &laptops, &[("app", &app)]).start().await;
    (app, gate)
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn both_versions_downloads_and_uploads() {
    let (app, gate) = stage().await;
    let upload = file(&gate.path(""), "upload", vec![7; 3 << 20]);
    let upload = upload.to_str().expect("a path");
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let shown = ["-w", " %{http_version} %{http_code}", flag, "https://app.corp.example/a/b?c=d"];
        assert_eq!(text(gate.curl().args(shown).run().await), format!("GET 0 {version} 200"));
        assert_eq!(app.last().uri, "/a/b?c=d");
        let put = gate.curl().args([flag, "-T", upload, "https://app.corp.example/"]).run().await;
        assert_eq!(text(put), format!("PUT {}", 3 << 20));
        // curl asks before it sends so much.
        let data = format!("@{upload}");
        let post = gate
            .curl()
            .args([flag, "-H", "Expect: 100-continue", "--data-binary", &data, "https://app.corp.example/"])
            .run()
            .await;
        assert_eq!(text(post), format!("POST {}", 3 << 20));
        let head = text(gate.curl().args([flag, "-I", "https://app.corp.example/"]).run().await);
        assert!(head.starts_with(&format!("HTTP/{version} 200")), "{head}");
        assert!(head.to_ascii_lowercase().contains("rangegate-request-id: "), "{head}");
    }
}

/// Over HTTP/1.1 and HTTP/2 alike.
#[tokio::test]
async fn hints_are_shown_before_the_answer() {
    let app = Upstream::raw(|mut stream| async move {
        let mut head = [0; 4096];
        while let Ok(1..) = stream.read(&mut head).await {
            let answer =
                "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.expect("open");
        }
    })
    .await;
    let gate = Harness::open(&app).await;
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let heads = text(gate.curl().args(["-i", flag, "https://app.corp.example/"]).run().await);
        let lines: Vec<_> =
            heads.lines().filter(|line| line.starts_with("HTTP/") || line.starts_with("link")).collect();
        let numbers: Vec<_> = lines.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(numbers, [format!("HTTP/{version} 103"), "link: </a.css>".into(), format!("HTTP/{version} 200")]);
    }
}

#[tokio::test]
async fn certificates_and_refusals() {
    let (_app, gate) = stage().await;
    let (chain, key) = (gate.path("ann.pem"), gate.path("ann.key"));
    let pair = ["--cert", chain.to_str().expect("a path"), "--key", key.to_str().expect("a path")];
    for flag in ["--http1.1", "--http2"] {
        let url = "https://laptops.corp.example/";
        assert_eq!(text(gate.curl().args(pair).args([flag, url]).run().await), "GET 0");
        let refused = text(gate.curl().args([flag, "-w", "\n%{http_code} %{content_type}", url]).run().await);
        let (body, rest) = refused.rsplit_once('\n').expect("two lines");
        assert_eq!(rest, "403 application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(
            (&problem["status"], &problem["type"]),
            (&403.into(), &"tag:rangegate,2026:device-certificate".into())
        );
        let head = text(gate.curl().args([flag, "-I", url]).run().await);
        assert!(head.contains(" 403") && head.to_ascii_lowercase().contains("content-length: "), "{head}");
        let page = text(gate.curl().args([flag, "-H", "Accept: text/html", url]).run().await);
        assert!(page.starts_with("<!doctype html>") || page.starts_with("<!DOCTYPE html>"), "{page}");
    }
    let elsewhere = gate.curl().args(["https://elsewhere.example/"]).run().await;
    assert_eq!(
        elsewhere.status.code(),
        Some(35),
        "a name it does not have: {}",
        String::from_utf8_lossy(&elsewhere.stderr)
    );
}
