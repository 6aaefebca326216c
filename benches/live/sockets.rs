//! Both ends of the WebSockets, and an administrator on the Unix socket: as little HTTP as will do.

use crate::fixture::{Device, HOST};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rangegate_benches::Result;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;

/// The key of RFC 6455's own example; the gateway makes another one for the upstream.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Agrees to every WebSocket and says nothing on it; answers all else with a few bytes.
pub async fn upstream(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut stream = stream;
            stream.set_nodelay(true)?;
            while let Ok(head) = head(&mut stream).await {
                let key = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
                });
                let Some(key) = key else {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await?;
                    continue;
                };
                let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
                let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
                let accept = STANDARD.encode(sum.as_ref());
                let answer = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await?;
                while stream.read(&mut [0; 256]).await? > 0 {}
                return Ok(());
            }
            std::io::Result::Ok(())
        });
    }
}

/// Up to and with the empty line; what follows it would be lost, and nobody sends anything yet.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
        if head.len() > 16 * 1024 {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
    }
    String::from_utf8(head).map_err(|_| std::io::ErrorKind::InvalidData.into())
}

async fn connect(device: &Device, to: SocketAddr) -> Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(device.connector.connect(ServerName::try_from(HOST)?, stream).await?)
}

/// A socket that ended: whose, and when.
pub type Ended = (usize, Instant);

/// Opens a WebSocket and answers its pings until it is closed, which is told.
pub async fn open(device: &Device, number: usize, to: SocketAddr, ended: mpsc::UnboundedSender<Ended>) -> Result<()> {
    let mut stream = connect(device, to).await?;
    let request = format!(
        "GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let head = head(&mut stream).await?;
    if !head.starts_with("HTTP/1.1 101 ") {
        return Err(format!("no WebSocket for `{}`: {head}", device.owner).into());
    }
    tokio::spawn(async move {
        // A close frame ends it as an error does.
        let _ = listen(stream).await;
        let _ = ended.send((number, Instant::now()));
    });
    Ok(())
}

async fn listen(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    loop {
        let [kind, length] = [stream.read_u8().await?, stream.read_u8().await?];
        let mut payload = vec![0; usize::from(length)];
        stream.read_exact(&mut payload).await?;
        match kind {
            0x88 => return Ok(()),
            // With a mask of zeroes.
            0x89 => {
                let mut pong = vec![0x8a, 0x80 | length, 0, 0, 0, 0];
                pong.extend_from_slice(&payload);
                stream.write_all(&pong).await?;
            }
            _ => {}
        }
    }
}

/// Asks again and again over one connection; when each answer came, and how long it took.
pub async fn ask(device: &Device, to: SocketAddr, told: mpsc::UnboundedSender<(Instant, Duration)>) -> Result<()> {
    let mut stream = connect(device, to).await?;
    let request = format!("GET /hello HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    loop {
        let begun = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        let head = head(&mut stream).await?;
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(format!("refused: {head}").into());
        }
        stream.read_exact(&mut [0; 5]).await?;
        if told.send((begun, begun.elapsed())).is_err() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
}

/// The API over the gateway's Unix socket.
pub struct Owner(PathBuf);

impl Owner {
    pub fn new(socket: &Path) -> Self {
        Self(socket.to_owned())
    }

    pub async fn post(&self, path: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
        let mut stream = UnixStream::connect(&self.0).await?;
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let head = head(&mut stream).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        if !head.starts_with("HTTP/1.1 2") {
            return Err(format!("POST {path}: {head}{}", String::from_utf8_lossy(&answer)).into());
        }
        // Chunks or not, the object is between its braces.
        let text = String::from_utf8_lossy(&answer).into_owned();
        let json = text.find('{').zip(text.rfind('}')).and_then(|(begin, end)| text.get(begin..=end));
        Ok(serde_json::from_str(json.ok_or("an answer without JSON")?)?)
    }
}
