//! Carries an open WebSocket between client and upstream, times its client, and can close it in good order.
//!
//! Frames are told apart by their headers and pass untouched, so every extension the two ends agreed on works. The
//! gateway puts in only pings of its own and, in the end, a close frame; the answers to its pings go no further.
//! Each direction has one buffer: whoever does not read stops whoever sends.

pub mod frames;
mod lane;
mod relay;

use crate::evidence::timing::TlsSource;
use crate::latency::Rtt;
use relay::Relay;
use std::borrow::Cow;
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

#[derive(Clone, Copy, Debug)]
pub struct RelaySettings {
    /// How often the client's round trip is measured. None: never.
    pub ping_interval: Option<Duration>,
    /// After so long without a byte from either end (the gateway's own pings aside) the relay is over. None: never.
    pub idle_timeout: Option<Duration>,
}

/// Why the gateway ends it, as the client is told (RFC 6455 section 7.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    pub code: u16,
    /// At most 123 bytes are sent.
    pub reason: Cow<'static, str>,
}

impl Closing {
    /// 1008: access was taken away.
    pub fn policy(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code: 1008, reason: reason.into() }
    }

    /// 1001: the gateway is going away.
    pub fn going_away() -> Self {
        Self { code: 1001, reason: Cow::Borrowed("the gateway is shutting down") }
    }
}

/// Who ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By a close frame, by closing, or by failing.
    Client,
    Upstream,
    /// By the `cut` future.
    Cut,
    Idle,
    /// Broke RFC 6455.
    ClientViolation,
    UpstreamViolation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Bytes and whole messages that the other end got.
    pub from_client: Traffic,
    pub from_upstream: Traffic,
    pub ended: Ended,
    /// Of the first close frame. None: it ended without one.
    pub code: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub bytes: u64,
    pub messages: u64,
}

/// Relays until either end is done, nothing happens, or `cut` resolves; a `cut` that never resolves is fine.
/// Both sockets want `TCP_NODELAY`: small frames and their acknowledgements would wait for each other.
///
/// On `cut` nothing more goes upstream. The client gets the rest of the frame it was getting and a close frame, or
/// is closed without one after a second. `sink` gets the round trips of the gateway's pings.
pub async fn relay<C, U>(
    client: C,
    upstream: U,
    settings: RelaySettings,
    cut: impl Future<Output = Closing>,
    mut sink: impl FnMut(Rtt, TlsSource),
) -> Summary
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let mut cut = pin!(cut);
    let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
    let mut relay = Relay::new(client, upstream, settings);
    std::future::poll_fn(|cx| relay.poll(cx, cut.as_mut(), timer.as_mut(), &mut sink)).await
}

#[cfg(test)]
mod tests {
    use super::frames::{Frames, Next};
    use super::relay::ending::CLOSE_TIMEOUT;
    use super::*;
    use std::sync::{Arc, Mutex};
    use std::time::Instant;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    const QUIET: RelaySettings = RelaySettings { ping_interval: None, idle_timeout: None };

    struct Rig {
        client: DuplexStream,
        upstream: DuplexStream,
        cut: oneshot::Sender<Closing>,
        round_trips: Arc<Mutex<Vec<Rtt>>>,
        relay: JoinHandle<Summary>,
    }

    fn rig(settings: RelaySettings) -> Rig {
        let (client, near) = tokio::io::duplex(4096);
        let (upstream, far) = tokio::io::duplex(4096);
        let (cut, when_cut) = oneshot::channel();
        let round_trips = Arc::<Mutex<Vec<Rtt>>>::default();
        let sink = Arc::clone(&round_trips);
        let cutting = async move {
            match when_cut.await {
                Ok(closing) => closing,
                Err(_) => std::future::pending().await,
            }
        };
        let relay = tokio::spawn(relay(near, far, settings, cutting, move |rtt, source| {
            assert_eq!(source, TlsSource::WebsocketPing);
            sink.lock().unwrap().push(rtt);
        }));
        Rig { client, upstream, cut, round_trips, relay }
    }

    /// An unmasked frame with a short payload.
    fn bare(first: u8, payload: &[u8]) -> Vec<u8> {
        [&[first, payload.len() as u8], payload].concat()
    }

    /// The same with the mask of all zeros.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
    }

    async fn expect(from: &mut DuplexStream, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        from.read_exact(&mut got).await.unwrap();
        assert_eq!(got, bytes);
    }

    async fn rest(mut from: DuplexStream) -> Vec<u8> {
        let mut got = Vec::new();
        let _ = from.read_to_end(&mut got).await;
        got
    }

    #[tokio::test]
    async fn a_client_that_only_talks_does_not_hold_the_upstream() {
        let limit = Duration::from_millis(100);
        let rig = rig(RelaySettings { ping_interval: Some(limit / 5), idle_timeout: Some(limit) });
        let (mut client, mut upstream) = (rig.client, rig.upstream);
        let talking = tokio::spawn(async move {
            while client.write_all(&masked(0x89, b"")).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let flooding = tokio::spawn(async move { while upstream.write_all(&bare(0x82, &[0; 100])).await.is_ok() {} });
        let summary = tokio::time::timeout(Duration::from_secs(10), rig.relay).await.expect("an end").unwrap();
        assert_eq!(summary.ended, Ended::Idle);
        talking.await.unwrap();
        flooding.await.unwrap();
    }

    #[tokio::test]
    async fn both_ways_until_both_have_closed() {
        let mut rig = rig(QUIET);
        rig.client.write_all(&masked(0x81, b"hello")).await.unwrap();
        expect(&mut rig.upstream, &masked(0x81, b"hello")).await;
        rig.upstream.write_all(&bare(0x82, b"welcome")).await.unwrap();
        expect(&mut rig.client, &bare(0x82, b"welcome")).await;
        rig.client.write_all(&masked(0x88, &4000_u16.to_be_bytes())).await.unwrap();
        expect(&mut rig.upstream, &masked(0x88, &4000_u16.to_be_bytes())).await;
        rig.upstream.write_all(&bare(0x88, &4000_u16.to_be_bytes())).await.unwrap();
        assert_eq!(rest(rig.client).await, bare(0x88, &4000_u16.to_be_bytes()));
        let summary = rig.relay.await.unwrap();
        assert_eq!((summary.ended, summary.code), (Ended::Client, Some(4000)));
        assert_eq!(summary.from_client, Traffic { bytes: 19, messages: 1 });
        assert_eq!(summary.from_upstream, Traffic { bytes: 13, messages: 1 });
    }

    #[tokio::test]
    async fn our_pings_are_timed_and_stay_here() {
        let mut rig = rig(RelaySettings { ping_interval: Some(Duration::from_millis(5)), idle_timeout: None });
        let mut secrets = Vec::new();
        for _ in 0..3 {
            let mut ping = [0; 10];
            rig.client.read_exact(&mut ping).await.unwrap();
            assert_eq!(ping[..2], [0x89, 8]);
            secrets.push(ping[2..].to_vec());
            // A pong that answers nobody is the client's own business; the answer comes in two pieces.
            rig.client.write_all(&masked(0x8a, b"12345678")).await.unwrap();
            let pong = masked(0x8a, &ping[2..]);
            rig.client.write_all(&pong[..7]).await.unwrap();
            rig.client.write_all(&pong[7..]).await.unwrap();
            rig.client.write_all(&masked(0x81, b"x")).await.unwrap();
            expect(&mut rig.upstream, &[masked(0x8a, b"12345678"), masked(0x81, b"x")].concat()).await;
        }
        secrets.dedup();
        assert_eq!(secrets.len(), 3);
        assert_eq!(rig.round_trips.lock().unwrap().len(), 3);
        drop(rig.client);
        assert_eq!(rig.relay.await.unwrap().ended, Ended::Client);
    }

    #[tokio::test]
    async fn pings_and_close_frames_stand_between_frames_only() {
        let mut rig = rig(RelaySettings { ping_interval: Some(Duration::from_millis(1)), idle_timeout: None });
        let (mut upstream, mut client) = (rig.upstream, rig.client);
        let sending = tokio::spawn(async move {
            for length in (1_u16..400).cycle() {
                let frame =
                    [&[0x82, 126][..], &(length + 200).to_be_bytes(), &vec![7; usize::from(length) + 200]].concat();
                if upstream.write_all(&frame).await.is_err() {
                    return;
                }
            }
        });
        let (mut pings, mut held, mut frames, mut cut) = (0, Vec::new(), Frames::from_upstream(), Some(rig.cut));
        let code = 'reading: loop {
            let mut piece = [0; 1000];
            let read = client.read(&mut piece).await.unwrap();
            assert!(read > 0, "closed without a close frame");
            held.extend_from_slice(&piece[..read]);
            loop {
                match frames.next(&held) {
                    Next::Data(length @ 1..) => drop(held.drain(..length)),
                    Next::Ping(length) => {
                        pings += 1;
                        held.drain(..length);
                    }
                    Next::Incomplete | Next::Data(_) => break,
                    Next::Close(_, code) => break 'reading code,
                    other => panic!("{other:?}"),
                }
            }
            if pings == 3
                && let Some(cut) = cut.take()
            {
                cut.send(Closing::policy("device revoked")).unwrap();
            }
        };
        assert_eq!(code, Some(1008));
        client.write_all(&masked(0x88, &1008_u16.to_be_bytes())).await.unwrap();
        let summary = (&mut rig.relay).await.unwrap();
        assert_eq!((summary.ended, summary.code), (Ended::Cut, Some(1008)));
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn a_cut_closes_both_ends_in_order() {
        let mut rig = rig(QUIET);
        rig.client.write_all(&masked(0x81, b"before")).await.unwrap();
        expect(&mut rig.upstream, &masked(0x81, b"before")).await;
        rig.cut.send(Closing::policy("device revoked")).unwrap();
        expect(&mut rig.client, &frames::close(1008, "device revoked", None)).await;
        rig.client.write_all(&[masked(0x81, b"after"), masked(0x88, &[])].concat()).await.unwrap();
        assert_eq!(rig.relay.await.unwrap().ended, Ended::Cut);
        let upstream = rest(rig.upstream).await;
        assert!(matches!(Frames::from_client().next(&upstream), Next::Close(8, Some(1001))), "{upstream:?}");
    }

    #[tokio::test]
    async fn a_client_that_neither_reads_nor_answers_is_cut_within_the_bound() {
        let mut rig = rig(QUIET);
        let began = Instant::now();
        // One huge frame, of which the client reads nothing.
        rig.upstream.write_all(&[&[0x82, 127, 0, 0, 0, 0, 1, 0, 0, 0][..], &[0; 2000]].concat()).await.unwrap();
        rig.cut.send(Closing::policy("device revoked")).unwrap();
        assert_eq!(rig.relay.await.unwrap().ended, Ended::Cut);
        assert!(began.elapsed() < 3 * CLOSE_TIMEOUT);
    }

    #[tokio::test]
    async fn violations_fail_the_connection() {
        let mut client_side = rig(QUIET);
        client_side.client.write_all(&bare(0x81, b"unmasked")).await.unwrap();
        expect(&mut client_side.client, &frames::close(1002, "protocol error", None)).await;
        drop(client_side.client);
        let summary = client_side.relay.await.unwrap();
        assert_eq!((summary.ended, summary.code), (Ended::ClientViolation, Some(1002)));
        assert_eq!(summary.from_client.bytes, 0);

        let mut upstream_side = rig(QUIET);
        upstream_side.upstream.write_all(&[bare(0x81, b"fine"), bare(0x8f, b"")].concat()).await.unwrap();
        expect(&mut upstream_side.client, &[bare(0x81, b"fine"), frames::close(1014, "bad gateway", None)].concat())
            .await;
        drop(upstream_side.client);
        assert_eq!(upstream_side.relay.await.unwrap().ended, Ended::UpstreamViolation);
    }

    #[tokio::test]
    async fn silence_ends_it() {
        let settings = RelaySettings { ping_interval: None, idle_timeout: Some(Duration::from_millis(20)) };
        let mut rig = rig(settings);
        expect(&mut rig.client, &frames::close(1001, "idle for too long", None)).await;
        drop(rig.client);
        assert_eq!(rig.relay.await.unwrap().ended, Ended::Idle);
    }

    #[tokio::test]
    async fn who_does_not_read_stops_who_sends() {
        let mut rig = rig(QUIET);
        let mut sent = 0;
        rig.client.write_all(&[0x82, 0xff, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
        // Until writing has been pending through many turns of everybody.
        while let Ok(written) = tokio::time::timeout(Duration::from_millis(50), rig.client.write(&[7; 1000])).await {
            sent += written.unwrap();
            assert!(sent < 64 * 1024, "nothing holds the client back");
        }
        rig.upstream.write_all(&bare(0x81, b"still here")).await.unwrap();
        expect(&mut rig.client, &bare(0x81, b"still here")).await;
        drop(rig.upstream);
        assert_eq!(rig.relay.await.unwrap().ended, Ended::Upstream);
    }

    /// Real endpoints over TCP: every message comes back unchanged while pings are put in and taken out.
    #[tokio::test]
    async fn real_endpoints_notice_nothing() {
        use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocket};

        async fn pair() -> (tokio::net::TcpStream, std::net::TcpStream) {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let near = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let far = listener.accept().await.unwrap().0.into_std().unwrap();
            far.set_nonblocking(false).unwrap();
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            (near, far)
        }
        let ((near, client), (far, server)) = (pair().await, pair().await);
        let echo = std::thread::spawn(move || {
            let mut server = WebSocket::from_raw_socket(server, Role::Server, None);
            let mut pongs = 0;
            while let Ok(message) = server.read() {
                match message {
                    Message::Binary(_) => server.send(message).unwrap(),
                    Message::Pong(_) => pongs += 1,
                    _ => {}
                }
            }
            pongs
        });
        let talk = std::thread::spawn(move || {
            let mut client = WebSocket::from_raw_socket(client, Role::Client, None);
            for length in (0..60_usize).map(|n| n * n * 20) {
                client.send(Message::binary(vec![length as u8; length])).unwrap();
                let back = loop {
                    if let Message::Binary(back) = client.read().unwrap() {
                        break back;
                    }
                };
                assert!(back.len() == length && back.iter().all(|byte| *byte == length as u8));
            }
            client.close(None).unwrap();
            while client.read().is_ok() {}
        });
        let settings = RelaySettings { ping_interval: Some(Duration::from_millis(1)), idle_timeout: None };
        let mut round_trips = 0;
        let summary = relay(near, far, settings, std::future::pending(), |_, _| round_trips += 1).await;
        talk.join().unwrap();
        assert_eq!(echo.join().unwrap(), 0, "a pong of ours went upstream");
        assert_eq!(summary.ended, Ended::Client);
        assert_eq!((summary.from_client.messages, summary.from_upstream.messages), (60, 60));
        assert!(round_trips > 0);
    }
}
