//! Law 10: what lives long is decided again, and cut with a reason when it would no longer be let through.

use crate::client::{BOTH, Client, Http, request};
use crate::gateway::{Harness, PATIENCE, PKI, everybody, fingerprint, open_to_all};
use crate::mmdb::{self, nested};
use crate::pki::{Leaf, Wanted};
use crate::streams::standstill;
use crate::upstream::{Body, Upstream, channel, data, full};
use crate::websockets::{Socket, chat, open, receive};
use futures_util::SinkExt;
use http::{Method, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rangegate::evidence::Moment;
use rangegate::gateway::clock;
use rangegate::sources::lists::ListSettings;
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

const POLICY: &str = r#"
[[resource]]
id = "room"
hosts = ["room.corp.example"]
upstream = "$chat"
require = [{ id = "laptop", that = { device = { bound = true, class = "corporate" } } }]

[[resource]]
id = "app"
hosts = ["app.corp.example"]
upstream = "$app"
require = [{ id = "laptop", that = { device = { bound = true, class = "corporate" } } }]
"#;

/// A login is all that is asked for: nothing reads the certificate.
const LOGIN_ONLY: &str = r#"
[[resource]]
id = "room"
hosts = ["room.corp.example"]
upstream = "$chat"
require = [{ id = "login", that = { login = { user = "ann@corp.example" } } }]

[[resource]]
id = "app"
hosts = ["app.corp.example"]
upstream = "$app"
require = [{ id = "login", that = { login = { user = "ann@corp.example" } } }]
"#;

type Writer = mpsc::Sender<std::io::Result<http_body::Frame<bytes::Bytes>>>;

/// A running gateway with two WebSockets and two long answers open, all Ann's.
struct Stage {
    gate: Harness,
    sockets: Vec<(Http, Socket, Client)>,
    streams: Vec<(Http, Incoming, Client)>,
    /// What the upstream writes the long answers with.
    writers: Arc<Mutex<Vec<Writer>>>,
    chat: Upstream,
    app: Upstream,
}

impl Stage {
    async fn new(token: impl FnOnce(&Harness) -> String) -> Self {
        Self::on(POLICY, &PKI.ann, token).await
    }

    /// On `ann-laptop`, which has this certificate.
    async fn on(policy: &str, laptop: &Leaf, token: impl FnOnce(&Harness) -> String) -> Self {
        let writers = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&writers);
        let app = Upstream::http1(move |_| {
            let (sender, body): (_, Body) = channel();
            kept.lock().expect("not poisoned").push(sender.clone());
            async move {
                sender.send(data("first")).await.expect("a reader");
                Response::new(body)
            }
        })
        .await;
        let chat = chat().await;
        let gate = Harness::builder().policy("all", policy, &[("app", &app), ("chat", &chat)]).start().await;
        if !std::ptr::eq(laptop, &PKI.ann) {
            let mut devices = everybody("active");
            devices[0].certificate = fingerprint(laptop);
            gate.set_devices(&devices).await;
        }
        let authorization = format!("Bearer {}", token(&gate));
        let fields = [("authorization", authorization.as_str())];
        let mut stage = Self { gate, sockets: Vec::new(), streams: Vec::new(), writers, chat, app };
        for version in BOTH {
            let mut client = stage.gate.dial().sni("room.corp.example").certificate(laptop).http(version).await;
            let (socket, _) = open(&mut client, version, "/", &fields).await;
            stage.sockets.push((version, socket, client));
            let mut client = stage.gate.dial().certificate(laptop).http(version).await;
            let response = client.send(request(Method::GET, "/", &fields)).await.expect("an answer");
            let mut body = response.into_body();
            let first = body.frame().await.expect("more").expect("whole").into_data().expect("data");
            assert_eq!(&first[..], b"first");
            stage.streams.push((version, body, client));
        }
        stage.flow().await;
        stage
    }

    /// Everything open flows.
    async fn flow(&mut self) {
        for (_, socket, _) in &mut self.sockets {
            socket.send(Message::text("on")).await.expect("open");
            assert_eq!(receive(socket).await, Message::text("on"));
        }
        let writers = self.writers.lock().expect("not poisoned").clone();
        for writer in writers {
            writer.send(data("on")).await.expect("a reader");
        }
        for (_, body, _) in &mut self.streams {
            let next = timeout(PATIENCE, body.frame()).await.expect("in time").expect("more").expect("whole");
            assert_eq!(&next.into_data().expect("data")[..], b"on");
        }
    }

    /// Everything open is cut for this reason, which the log repeats.
    async fn loses_everything(mut self, reason: &str) -> (Harness, Upstream) {
        for (version, socket, _) in &mut self.sockets {
            let Message::Close(Some(CloseFrame { code, reason: said })) = receive(socket).await else {
                panic!("{version:?}: not a close frame");
            };
            assert_eq!((u16::from(code), said.as_str()), (1008, reason), "{version:?}");
        }
        for (version, body, _) in &mut self.streams {
            let end = timeout(PATIENCE, body.frame()).await.expect("in time");
            assert!(end.is_some_and(|end| end.is_err()), "{version:?}: a cut answer must not look whole");
        }
        let cut =
            |line: &Value| line["kind"] == "request" && line["end"].as_str().is_some_and(|end| end.starts_with("cut:"));
        let records = self.gate.lines_where(4, cut).await;
        assert_eq!(records.len(), 4);
        for record in &records {
            assert_eq!(record["end"], format!("cut:{reason}"), "{record:#}");
            assert_eq!(record["decision"]["outcome"], "forward", "what was decided stands: {record:#}");
        }
        self.gate.metrics_show("rangegate_live_streams 0").await;
        self.gate.metrics_show(&format!("rangegate_cuts_total{{reason=\"{reason}\"}} 4")).await;
        (self.gate, self.app)
    }
}

fn ann(gate: &Harness) -> String {
    gate.bound_token("ann@corp.example", &PKI.ann)
}

/// Its client takes nothing, so that nothing of the answer is asked for either.
#[tokio::test]
async fn an_http2_stream_whose_window_is_shut_is_cut_like_any_other() {
    let app = Upstream::http1(|_| async { Response::new(full(vec![7; 100_000])) }).await;
    let laptops = open_to_all("app", "$app").replace("cidr = \"127.0.0.0/8\"", "device = { known = true }");
    let gate = Harness::builder().policy("app", &laptops, &[("app", &app)]).start().await;
    let tls = gate.dial().certificate(&PKI.ann).alpn(&["h2"]).tls().await.expect("a handshake");
    let (mut client, connection) =
        h2::client::Builder::new().initial_window_size(1000).handshake::<_, bytes::Bytes>(tls).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::get("https://app.corp.example/").body(()).expect("a request");
    let (answer, _) = client.send_request(request, true).expect("a stream");
    let mut body = answer.await.expect("an answer").into_body();
    assert_eq!(body.data().await.expect("more").expect("whole").len(), 1000);
    gate.set_devices(&everybody("suspended")).await;
    let end = timeout(PATIENCE, body.data()).await.expect("in time").expect("no end").expect_err("cut");
    assert_eq!(end.reason(), Some(h2::Reason::INTERNAL_ERROR));
    assert_eq!(gate.audit_record().await["end"], "cut:device-suspended");
}

/// An upstream that answers before it has read, and tells all that came on a connection when that is over.
struct Hasty {
    app: Upstream,
    came: mpsc::Receiver<String>,
    /// Pieces of an answer that it could write.
    written: Arc<AtomicU64>,
}

impl Hasty {
    /// `pieces` of 64 KiB each.
    async fn new(pieces: usize) -> Self {
        let (told, came) = mpsc::channel(4);
        let written = Arc::<AtomicU64>::default();
        let count = Arc::clone(&written);
        let app = Upstream::raw(move |stream| {
            let (told, count) = (told.clone(), Arc::clone(&count));
            async move {
                let (mut reading, mut writing) = stream.into_split();
                let mut came = vec![0; 4096];
                let read = reading.read(&mut came).await.unwrap_or(0);
                came.truncate(read);
                let writer = tokio::spawn(async move {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", pieces << 16);
                    let mut going = writing.write_all(head.as_bytes()).await.is_ok();
                    for _ in 0..pieces {
                        going = going && writing.write_all(&[b'x'; 1 << 16]).await.is_ok();
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    writing
                });
                let _ = reading.read_to_end(&mut came).await;
                writer.abort();
                let _ = told.send(String::from_utf8_lossy(&came).into_owned()).await;
            }
        })
        .await;
        Self { app, came, written }
    }
}

#[tokio::test]
async fn an_upload_goes_no_further_than_its_answer() {
    let Hasty { app, mut came, .. } = Hasty::new(0).await;
    let gate = Harness::open(&app).await;
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        let (sender, body) = channel();
        let sending = client.send(http::Request::post("/up").body(body).expect("a request"));
        sender.send(data("before")).await.expect("a reader");
        let answer = timeout(PATIENCE, sending).await.expect("in time").expect("an answer");
        assert_eq!(answer.status(), 200);
        drop(answer);
        let after = async { while sender.send(data("after")).await.is_ok() {} };
        let told = timeout(PATIENCE, async { tokio::join!(came.recv(), after).0 });
        let told = told.await.expect("in time").expect("an upstream");
        assert!(told.contains("POST /up") && !told.contains("after"), "{version:?}: {told}");
    }
    gate.audit_records(2).await;
}

#[tokio::test]
async fn an_upload_over_http2_goes_no_further_than_its_answer() {
    let (told, mut came) = mpsc::channel(4);
    let early = Upstream::raw_h2c(move |mut connection| {
        let told = told.clone();
        async move {
            while let Some(Ok((request, mut answer))) = connection.accept().await {
                answer.send_response(Response::new(()), true).expect("open");
                let told = told.clone();
                tokio::spawn(async move {
                    let (mut body, mut all) = (request.into_body(), Vec::new());
                    while let Some(Ok(piece)) = body.data().await {
                        all.extend_from_slice(&piece);
                    }
                    let _ = told.send(String::from_utf8_lossy(&all).into_owned()).await;
                });
            }
        }
    })
    .await;
    let gate = Harness::open(&early).await;
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        let (sender, body) = channel();
        let sending = client.send(http::Request::post("/up").body(body).expect("a request"));
        sender.send(data("before")).await.expect("a reader");
        timeout(PATIENCE, sending).await.expect("in time").expect("an answer");
        let after = async { while sender.send(data("after")).await.is_ok() {} };
        let told = timeout(PATIENCE, async { tokio::join!(came.recv(), after).0 });
        let told = told.await.expect("in time").expect("an upstream");
        assert!(!told.contains("after"), "{version:?}: {told}");
    }
}

#[tokio::test]
async fn an_http1_client_that_takes_nothing_is_cut_like_any_other() {
    let Hasty { app, mut came, written } = Hasty::new(10_000).await;
    let laptops = open_to_all("app", "$app").replace("cidr = \"127.0.0.0/8\"", "device = { known = true }");
    let gate = Harness::builder().policy("app", &laptops, &[("app", &app)]).start().await;
    let mut client = gate.dial().certificate(&PKI.ann).alpn(&["http/1.1"]).tls().await.expect("a handshake");
    let upload =
        b"POST /duplex HTTP/1.1\r\nHost: app.corp.example\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nbefore\r\n";
    client.write_all(upload).await.expect("sent");
    standstill(&written).await;
    gate.set_devices(&everybody("suspended")).await;
    let after = async { while client.write_all(b"5\r\nafter\r\n").await.is_ok() {} };
    let told = timeout(PATIENCE, async { tokio::join!(came.recv(), after).0 });
    let told = told.await.expect("in time").expect("an upstream");
    assert!(told.contains("before") && told.matches("after").count() < 3, "{}", told.matches("after").count());
    let record = gate.audit_record().await;
    assert_eq!(record["end"], "cut:device-suspended", "{record:#}");
}

#[tokio::test]
async fn a_suspended_device_loses_what_it_has_open() {
    let mut stage = Stage::new(ann).await;
    // The same word again, and somebody else's suspension: nothing happens.
    stage.gate.set_devices(&everybody("active")).await;
    stage.flow().await;
    stage.gate.set_devices(&everybody("suspended")).await;
    stage.loses_everything("device-suspended").await;
}

#[tokio::test]
async fn a_stricter_policy_cuts_and_another_does_not() {
    let mut stage = Stage::new(ann).await;
    let upstreams = |stage: &Stage| [("app", stage.app.url()), ("chat", stage.chat.url())];
    let same = POLICY.replace("\"laptop\"", "\"the-laptop\"");
    let urls = upstreams(&stage);
    let fill =
        |text: &str| urls.iter().fold(text.to_owned(), |text, (name, url)| text.replace(&format!("${name}"), url));
    stage.gate.set_policy("all", &fill(&same), &[]).await;
    stage.flow().await;
    stage.gate.set_policy("all", &fill(&POLICY.replace("class = \"corporate\"", "class = \"vault\"")), &[]).await;
    stage.loses_everything("device-class-other").await;
}

#[tokio::test]
async fn the_emergency_switch_cuts_everything() {
    let stage = Stage::new(ann).await;
    stage.gate.set_emergency("deny").await;
    let (gate, _app) = stage.loses_everything("emergency-deny").await;
    let mut client = gate.dial().certificate(&PKI.ann).h2().await;
    let answer = client.get("/").await;
    assert_eq!(answer.status, 403);
    gate.set_emergency("observe").await;
    // Over the connection that was refused, and without a login: watched.
    assert_eq!(client.send(crate::client::get("/")).await.expect("an answer").status(), 200);
    client.abort();
    let decision = gate.audit_records(6).await.pop().expect("a record")["decision"].clone();
    assert_eq!((&decision["outcome"], &decision["would"]), (&"observe".into(), &"deny".into()), "{decision:#}");
    gate.set_emergency("").await;
    assert_eq!(gate.dial().certificate(&PKI.ann).h2().await.get("/").await.status, 401);
}

#[tokio::test]
async fn a_revoked_certificate_cuts() {
    let stage = Stage::new(ann).await;
    stage.gate.revoke(&[PKI.ann.serial]).await;
    stage.loses_everything("certificate-revoked").await;
}

/// RFC 8705: a token that is bound to a certificate is worth nothing without it, whatever the policy reads.
#[tokio::test]
async fn a_revoked_certificate_takes_the_tokens_with_it_that_are_bound_to_it() {
    let mut unbound = Stage::on(LOGIN_ONLY, &PKI.ann, |gate| gate.token("ann@corp.example")).await;
    unbound.gate.revoke(&[PKI.ann.serial]).await;
    unbound.flow().await;
    let stage = Stage::on(LOGIN_ONLY, &PKI.ann, ann).await;
    stage.gate.revoke(&[PKI.ann.serial]).await;
    stage.loses_everything("certificate-revoked").await;
}

#[tokio::test]
async fn what_relied_on_a_bound_token_ends_with_its_certificate() {
    let soon = clock::now().plus_millis(4_000);
    let laptop = PKI.devices.issue(&Wanted { not_after: soon, ..Wanted::client("ann", 72).around(soon) });
    let stage = Stage::on(LOGIN_ONLY, &laptop, |gate| gate.bound_token("ann@corp.example", &laptop)).await;
    stage.loses_everything("certificate-expired").await;
}

#[tokio::test]
async fn what_relied_on_a_token_ends_with_it() {
    let stage = Stage::new(|gate| gate.bound_token_until("ann@corp.example", &PKI.ann, Duration::from_secs(3))).await;
    let (gate, _app) = stage.loses_everything("token-expired").await;
    crate::gateway::cut_on_time(&gate, 4, |record| record["evidence"]["subject"]["expires"].clone());
}

#[tokio::test]
async fn what_relied_on_a_certificate_ends_with_it_and_so_do_idle_connections() {
    let soon = clock::now().plus_millis(4_000);
    let laptop = PKI.devices.issue(&Wanted { not_after: soon, ..Wanted::client("ann", 71).around(soon) });
    // It names whole seconds, and is good to the end of the last.
    let end = Moment(soon.millis() / 1000 * 1000 + 1000);
    let stage = Stage::on(POLICY, &laptop, |gate| gate.bound_token("ann@corp.example", &laptop)).await;
    let mut idle = Vec::new();
    for version in BOTH {
        let mut client = stage.gate.dial().certificate(&laptop).http(version).await;
        // Nobody has signed in on it.
        assert_eq!(client.get("/").await.status, 401);
        idle.push(client);
    }
    let mut other = stage.gate.dial().certificate(&PKI.bob).h1().await;
    let told = other.get("/").await.status;
    assert!(clock::now() < end && idle.iter().all(|client| !client.is_closed()));
    let closed = async {
        crate::gateway::eventually("idle connections are closed", || idle.iter().all(Client::is_closed)).await;
        clock::now()
    };
    let ((gate, _app), closed) = tokio::join!(stage.loses_everything("certificate-expired"), closed);
    crate::gateway::cut_on_time(&gate, 4, |record| {
        let last_second = record["evidence"]["certificate"]["not_after"].as_i64().expect("a moment");
        (last_second + 1000).into()
    });
    assert!((0..500).contains(&(closed.millis() - end.millis())), "{closed:?} and {end:?}");
    assert_eq!(other.get("/").await.status, told, "whose certificate goes on");
}

/// A connection with nothing open on it ends with its device's standing, too; nobody else's does.
async fn idle(lose: impl AsyncFnOnce(&Harness)) {
    let app = Upstream::plain().await;
    let gate = Harness::open(&app).await;
    let mut clients = Vec::new();
    for version in BOTH {
        for (whose, leaf) in [("ann", Some(&PKI.ann)), ("bob", Some(&PKI.bob)), ("nobody", None)] {
            let dial = leaf.into_iter().fold(gate.dial(), |dial, leaf| dial.certificate(leaf));
            let mut client = dial.http(version).await;
            assert_eq!(client.get("/").await.status, 200);
            clients.push((version, whose, client));
        }
    }
    lose(&gate).await;
    let begun = std::time::Instant::now();
    crate::gateway::eventually("Ann's connections are closed", || {
        clients.iter().filter(|(_, whose, _)| *whose == "ann").all(|(_, _, client)| client.is_closed())
    })
    .await;
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    for (version, whose, client) in clients.iter_mut().filter(|(_, whose, _)| *whose != "ann") {
        assert_eq!(client.get("/").await.status, 200, "{whose} over {version:?}");
    }
    // Whoever comes without standing may stay, to be told so.
    let mut again = gate.dial().certificate(&PKI.ann).h1().await;
    let told = again.get("/").await.status;
    gate.set_devices(&everybody("suspended")).await;
    assert_eq!(again.get("/").await.status, told);
}

#[tokio::test]
async fn idle_connections_of_a_suspended_device_are_closed() {
    idle(async |gate| gate.set_devices(&everybody("suspended")).await).await;
}

#[tokio::test]
async fn idle_connections_of_a_revoked_certificate_are_closed() {
    idle(async |gate| gate.revoke(&[PKI.ann.serial]).await).await;
}

#[tokio::test]
async fn what_is_still_waiting_for_its_upstream_is_cut_too() {
    let silent = Upstream::http1(|_| std::future::pending()).await;
    let text = open_to_all("app", "$app").replace("cidr = \"127.0.0.0/8\"", "device = { known = true }");
    let gate = Harness::builder().policy("app", &text, &[("app", &silent)]).start().await;
    for version in BOTH {
        let mut client = gate.dial().certificate(&PKI.ann).http(version).await;
        let before = silent.seen().len();
        let waiting = tokio::spawn(async move { client.get("/").await });
        crate::gateway::eventually("the request is there", || silent.seen().len() > before).await;
        gate.set_devices(&everybody("revoked")).await;
        let answer = timeout(PATIENCE, waiting).await.expect("in time").expect("no panic");
        assert_eq!(answer.status, 403, "{version:?}");
        gate.set_devices(&everybody("active")).await;
    }
    for record in gate.audit_records(2).await {
        assert_eq!(
            (&record["end"], &record["response"]["status"]),
            (&"cut:device-revoked".into(), &403.into()),
            "{record:#}"
        );
    }
}

/// A list that breaks is reported and goes on as it was; one that gains an address cuts what that address has open.
#[tokio::test]
async fn what_comes_on_a_list_is_cut_and_a_broken_list_is_told_of() {
    let writers = Arc::new(Mutex::new(Vec::<Writer>::new()));
    let kept = Arc::clone(&writers);
    let app = Upstream::http1(move |_| {
        let (sender, body): (_, Body) = channel();
        kept.lock().expect("not poisoned").push(sender);
        async move { Response::new(body) }
    })
    .await;
    let listed = "require = [{ id = \"unlisted\", that = { not = { list = \"hosting\" } } }, ";
    let policy = open_to_all("app", "$app").replace("require = [", listed);
    let gate = Harness::builder()
        .policy("app", &policy, &[("app", &app)])
        .settings(|settings| {
            let path = settings.emergency.with_file_name("hosting.txt");
            std::fs::write(&path, "192.0.2.0/24\n").expect("a file");
            settings.lists = vec![ListSettings { name: "hosting".to_owned(), path }];
        })
        .start()
        .await;
    let mut client = gate.dial().h2().await;
    let mut body = client.send(request(Method::GET, "/", &[])).await.expect("an answer").into_body();
    let writer = writers.lock().expect("not poisoned").pop().expect("an answer's");

    gate.set_faulty("hosting.txt", "192.0.2.0/24\nnonsense\n").await;
    let alerts = gate.lines_of("alert", 1).await;
    assert_eq!(alerts[0]["event"], "source-rejected");
    assert!(alerts[0]["reason"].as_str().is_some_and(|reason| reason.contains("hosting.txt:2: ")), "{alerts:?}");
    gate.metrics_show("rangegate_reloads_total{kind=\"networks\",result=\"rejected\"} 1").await;
    writer.send(data("on")).await.expect("a reader");
    let next = timeout(PATIENCE, body.frame()).await.expect("in time").expect("more").expect("whole");
    assert_eq!(&next.into_data().expect("data")[..], b"on");

    gate.reload("networks", || std::fs::write(gate.path("hosting.txt"), "127.0.0.0/8\n").expect("a file")).await;
    let end = timeout(PATIENCE, body.frame()).await.expect("in time");
    assert!(end.is_some_and(|end| end.is_err()), "a cut answer must not look whole");
    assert_eq!(gate.audit_record().await["end"], "cut:list-on");
}

/// An address cannot move under an open connection; what is known of it can.
#[tokio::test]
async fn what_turns_out_to_be_in_another_country_is_cut() {
    let chat = chat().await;
    let at_home = "require = [{ id = \"at-home\", that = { country = [\"US\"] } }]";
    let policy = open_to_all("app", "$app")
        .replace("require = [{ id = \"local\", that = { cidr = \"127.0.0.0/8\" } }]", at_home);
    assert!(policy.contains(at_home));
    let places = |country: &str| {
        let built = clock::now().millis() as u64 / 1000;
        mmdb::Writer::both_families(built).with("127.0.0.0/8", &nested(country, "", "", 1.0, 1.0)).bytes()
    };
    let first = places("US");
    let gate = Harness::builder()
        .policy("app", &policy, &[("app", &chat)])
        .settings(move |settings| {
            let path = settings.emergency.with_file_name("places.mmdb");
            std::fs::write(&path, first).expect("a file");
            settings.geo.places = vec![path];
        })
        .start()
        .await;
    let mut open_ones = Vec::new();
    for version in BOTH {
        let mut client = gate.dial().http(version).await;
        let (socket, _) = open(&mut client, version, "/", &[]).await;
        open_ones.push((version, socket, client));
    }
    // The same again, of another day: nothing happens.
    for (country, cut) in [("US", false), ("GB", true)] {
        let new = gate.path("places.new");
        std::fs::write(&new, places(country)).expect("a file");
        gate.reload("networks", || std::fs::rename(new, gate.path("places.mmdb")).expect("replaced")).await;
        for (version, socket, _) in &mut open_ones {
            if cut {
                let Message::Close(Some(CloseFrame { code, reason })) = receive(socket).await else {
                    panic!("{version:?}: not a close frame");
                };
                assert_eq!((u16::from(code), reason.as_str()), (1008, "country-outside"), "{version:?}");
            } else {
                socket.send(Message::text("on")).await.expect("open");
                assert_eq!(receive(socket).await, Message::text("on"), "{version:?}");
            }
        }
    }
    for record in gate.audit_records(2).await {
        assert_eq!(record["end"], "cut:country-outside", "{record:#}");
        assert_eq!(record["decision"]["outcome"], "forward", "what was decided stands: {record:#}");
    }
}
