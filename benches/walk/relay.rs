//! The kernel's share: a request's bytes carried by its system calls, and nothing done about them.
//!
//! What a proxy cannot do without: receive, ask for the round trip, send on; receive, send back; and wait for each of the
//! two. There is no TLS and no HTTP, so a message is what one call brings: true for a request or an answer of a KiB.

use crate::rung::round_trip;
use rangegate_benches::Result;
use std::hint::black_box;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub async fn serve(listener: TcpListener, upstream: SocketAddr) -> Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(why) = carry(client, upstream).await {
                eprintln!("{why}");
            }
        });
    }
}

async fn carry(mut client: TcpStream, upstream: SocketAddr) -> Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let request = client.read(&mut bytes).await?;
        if request == 0 {
            return Ok(());
        }
        black_box(round_trip(&client)?);
        server.write_all(&bytes[..request]).await?;
        let answer = server.read(&mut bytes).await?;
        if answer == 0 {
            return Err("the upstream closed the connection".into());
        }
        client.write_all(&bytes[..answer]).await?;
    }
}
