//! A hop between a client and the gateway that really splits TCP: what arrives on one side is held back, then sent on
//! over a connection of its own.
//!
//! A relay and a balancer are the same thing. The balancer says for whom it speaks, and is listed as one that may.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What a hop does to the connections that pass it.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    /// How long bytes are held back, each way.
    pub delay: Duration,
    /// The client's address, said in a PROXY protocol header. None: nothing is said, and the hop's own address shows.
    pub client: Option<Ipv4Addr>,
}

/// Opens a hop to `to` on a free port, for as long as the runtime lives.
///
/// # Errors
/// No port is free.
pub async fn open(to: SocketAddr, hop: Hop) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(pass(near, to, hop));
        }
    });
    Ok(address)
}

async fn pass(near: TcpStream, to: SocketAddr, hop: Hop) -> io::Result<()> {
    let mut far = TcpStream::connect(to).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    if let Some(client) = hop.client {
        far.write_all(&proxy_header(client)).await?;
    }
    let (from_client, to_client) = near.into_split();
    let (from_gateway, to_gateway) = far.into_split();
    tokio::spawn(carry(from_gateway, to_client, hop.delay));
    carry(from_client, to_gateway, hop.delay).await;
    Ok(())
}

/// One direction: every piece leaves `delay` after it came, in order.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    tokio::spawn(async move {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let piece = buffer.get(..read).unwrap_or_default().to_vec();
            if sender.send((Instant::now() + delay, piece)).await.is_err() {
                return;
            }
        }
    });
    while let Some((due, piece)) = pieces.recv().await {
        tokio::time::sleep_until(due).await;
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// Version 2 for TCP over IPv4: the client's address with some port, and where it believes it has connected to.
fn proxy_header(client: Ipv4Addr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    let (source, destination) = (SocketAddrV4::new(client, 50_000), SocketAddrV4::new(Ipv4Addr::LOCALHOST, 443));
    header.extend(source.ip().octets());
    header.extend(destination.ip().octets());
    header.extend(source.port().to_be_bytes());
    header.extend(destination.port().to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::proxy_protocol::{self, Proxied};

    #[tokio::test]
    async fn the_gateway_reads_what_the_balancer_says() {
        let client = Ipv4Addr::new(203, 0, 113, 70);
        let read = proxy_protocol::read(&mut &*proxy_header(client)).await.unwrap();
        let Proxied::Client { source, .. } = read else { panic!("{read:?}") };
        assert_eq!(source, SocketAddr::from((client, 50_000)));
    }

    #[tokio::test]
    async fn bytes_are_held_back_and_keep_their_order() {
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = echo.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = echo.accept().await.unwrap();
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await.unwrap();
        });
        let delay = Duration::from_millis(20);
        let hop = open(to, Hop { delay, client: None }).await.unwrap();
        let began = Instant::now();
        let mut stream = TcpStream::connect(hop).await.unwrap();
        stream.write_all(b"one ").await.unwrap();
        stream.write_all(b"two").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "one two");
        assert!(began.elapsed() >= 2 * delay);
    }
}
