//! Several addresses of one upstream: what may be sent again is, and what may not is not.

use crate::client::BOTH;
use crate::gateway::Harness;
use crate::upstream::{Upstream, ok};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn two(first: &Upstream, second: &Upstream) -> String {
    format!(
        "[[resource]]\nid = \"app\"\nhosts = [\"app.corp.example\"]\nupstream = [\"{}\", \"{}\"]\n\
         require = [{{ id = \"local\", that = {{ cidr = \"127.0.0.0/8\" }} }}]\n",
        first.url(),
        second.url()
    )
}

/// Reads each request and dies on it.
async fn dying(deaths: &Arc<AtomicUsize>) -> Upstream {
    let deaths = Arc::clone(deaths);
    Upstream::raw(move |mut stream| {
        let deaths = Arc::clone(&deaths);
        async move {
            let mut piece = [0; 4096];
            if stream.read(&mut piece).await.is_ok_and(|read| read > 0) {
                deaths.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await
}

#[tokio::test]
async fn one_dead_address_of_two_is_not_noticed() {
    let (dead, well) = (Upstream::dead().await, Upstream::plain().await);
    let gate = Harness::builder().policy("app", &two(&dead, &well), &[]).start().await;
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        for turn in 0..6 {
            assert_eq!(client.get("/").await.status, 200, "{version:?} {turn}");
            assert_eq!(client.post("/", "body").await.status, 200, "{version:?} {turn}");
        }
    }
    let records = gate.audit_records(24).await;
    assert!(records.iter().any(|record| record["upstream"]["attempts"] == 2), "the dead one was tried");
    let tries =
        |records: &[serde_json::Value]| records.iter().filter(|record| record["upstream"]["attempts"] == 2).count();
    assert!(tries(&records[..12]) <= 6 && tries(&records[12..]) <= 6, "and after three failures avoided");
    let (_, metrics) = gate.operations("/metrics").await;
    assert!(metrics.contains(&format!("rangegate_upstream_healthy{{origin=\"{}\"}} 0", dead.url())), "{metrics}");
    assert!(metrics.contains(&format!("rangegate_upstream_healthy{{origin=\"{}\"}} 1", well.url())), "{metrics}");
}

#[tokio::test]
async fn an_upload_that_an_upstream_died_on_is_not_sent_again() {
    let deaths = Arc::new(AtomicUsize::new(0));
    let (first, second) = (dying(&deaths).await, dying(&deaths).await);
    let gate = Harness::builder().policy("app", &two(&first, &second), &[]).start().await;
    for (version, turn) in BOTH.into_iter().zip(1..) {
        let mut client = gate.dial().http(version).await;
        assert_eq!(client.post("/", "pay once").await.status, 502, "{version:?}");
        assert_eq!(deaths.load(Ordering::SeqCst), turn, "{version:?}: sent more than once");
    }
    for version in BOTH {
        deaths.store(0, Ordering::SeqCst);
        let mut client = gate.dial().http(version).await;
        assert_eq!(client.get("/").await.status, 502);
        assert_eq!(deaths.load(Ordering::SeqCst), 2, "{version:?}: a question may be asked again, once");
        // Without a body it is still no question.
        deaths.store(0, Ordering::SeqCst);
        assert_eq!(client.post("/", "").await.status, 502);
        assert_eq!(deaths.load(Ordering::SeqCst), 1, "{version:?}");
    }
    for record in gate.audit_records(6).await {
        assert_eq!(record["upstream"]["fault"], "upstream-closed", "{record:#}");
        assert_eq!(record["end"], "complete");
    }
}

#[tokio::test]
async fn a_kept_connection_that_went_stale_costs_a_question_nothing() {
    // Answers one request on each connection and then closes it on the next, unread.
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let app = Upstream::raw(move |mut stream| {
        let served = Arc::clone(&count);
        async move {
            let mut piece = [0; 4096];
            if stream.read(&mut piece).await.is_ok_and(|read| read > 0) {
                served.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                // The next request is read, and nothing comes of it.
                let _ = stream.read(&mut piece).await;
            }
        }
    })
    .await;
    let gate =
        Harness::builder().app(&app).settings(|settings| settings.workers = 1.try_into().expect("one")).start().await;
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        for turn in 0..5 {
            assert_eq!(client.get("/").await.status, 200, "{version:?} {turn}");
        }
    }
    assert_eq!(served.load(Ordering::SeqCst), 10);
}

#[tokio::test]
async fn an_idle_connection_closed_by_the_upstream_is_not_used() {
    let app = Upstream::raw(|mut stream| async move {
        let mut piece = [0; 4096];
        if stream.read(&mut piece).await.is_ok_and(|read| read > 0) {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let gate = Harness::open(&app).await;
    let mut client = gate.dial().h2().await;
    for turn in 0..10 {
        // Even a POST: the close is there before it goes out, or the request never left.
        assert_eq!(client.post("/", "x").await.status, 200, "{turn}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn faults_of_upstreams_have_names() {
    let garbage = Upstream::raw(|mut stream| async move {
        let mut piece = [0; 4096];
        let _ = stream.read(&mut piece).await;
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    })
    .await;
    let silent = Upstream::http1(|_| std::future::pending()).await;
    let switching = Upstream::raw(|mut stream| async move {
        let mut piece = [0; 4096];
        let _ = stream.read(&mut piece).await;
        let _ =
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").await;
    })
    .await;
    let not_h2 = Upstream::http1(|_| async { ok("") }).await;
    let cases = [
        (garbage.url(), 502, "upstream-garbage"),
        (silent.url(), 504, "upstream-header-timeout"),
        (switching.url(), 502, "upstream-protocol"),
        (format!("h2c://{}", not_h2.address), 502, "upstream-closed"),
        (Upstream::dead().await.url(), 503, "upstream-unreachable"),
    ];
    for (url, status, fault) in cases {
        let gate = Harness::builder()
            .policy("app", &crate::gateway::open_to_all("app", &url), &[])
            .settings(|settings| settings.upstream.header_timeout = std::time::Duration::from_millis(300))
            .start()
            .await;
        let mut client = gate.dial().h1().await;
        assert_eq!(client.post("/", "x").await.status.as_u16(), status, "{fault}");
        let record = gate.audit_record().await;
        assert_eq!(record["upstream"]["fault"], fault, "{record:#}");
    }
}
