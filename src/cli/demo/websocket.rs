//! As much of a WebSocket (RFC 6455) as the story needs: a console that speaks, a client that listens until the end.

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The client's side.
pub struct WebSocket<S = TokioIo<Upgraded>> {
    stream: S,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Message,
    /// A close frame: its code and reason. Without a frame before the end: 1006, as RFC 6455 section 7.1.5 has it.
    Closed {
        code: u16,
        reason: String,
    },
}

const CLOSE: u8 = 8;
const TEXT: u8 = 1;

impl WebSocket {
    pub fn new(upgraded: Upgraded) -> Self {
        Self { stream: TokioIo::new(upgraded) }
    }
}

impl<S: AsyncRead + Unpin> WebSocket<S> {
    /// The next message, or the end. Pings are passed over.
    pub async fn next(&mut self) -> Heard {
        self.read().await.unwrap_or(Heard::Closed { code: 1006, reason: String::new() })
    }

    async fn read(&mut self) -> io::Result<Heard> {
        loop {
            // From a server nothing is masked (section 5.1), and the console's messages are short.
            let [first, length] = [self.stream.read_u8().await?, self.stream.read_u8().await?];
            let mut payload = vec![0; usize::from(length & 0x7f)];
            self.stream.read_exact(&mut payload).await?;
            match (first & 0x0f, payload.split_at_checked(2)) {
                (TEXT, _) => return Ok(Heard::Message),
                (CLOSE, code) => {
                    let (code, reason) = code.unwrap_or_default();
                    let code = <[u8; 2]>::try_from(code).map_or(1005, u16::from_be_bytes);
                    return Ok(Heard::Closed { code, reason: String::from_utf8_lossy(reason).into_owned() });
                }
                _ => {}
            }
        }
    }
}

/// The console's side: a line each 100 ms, until nobody takes them any more.
pub async fn speak<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<()> {
    let mut every = tokio::time::interval(Duration::from_millis(100));
    let mut heard = [0; 512];
    let line = b"run 7 waits for approval";
    let mut frame = vec![0x80 | TEXT, u8::try_from(line.len()).unwrap_or_default()];
    frame.extend(line);
    loop {
        tokio::select! {
            _ = every.tick() => stream.write_all(&frame).await?,
            read = stream.read(&mut heard) => if read? == 0 { return Ok(()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_console_says_is_heard_to_its_end() {
        let (console, client) = tokio::io::duplex(1024);
        let speaking = tokio::spawn(speak(console));
        let mut client = WebSocket { stream: client };
        assert_eq!(client.next().await, Heard::Message);
        assert_eq!(client.next().await, Heard::Message);
        drop(client);
        // A line may be on its way when the client goes.
        let _ = speaking.await.unwrap();
    }

    #[tokio::test]
    async fn a_close_frame_says_why_and_silence_does_not() {
        let cases: [(&[u8], u16, &str); 4] = [
            (b"\x89\x01x\x88\x06\x03\xf0gone", 1008, "gone"),
            (b"\x88\x00", 1005, ""),
            (b"\x88\x06\x03", 1006, ""),
            (b"", 1006, ""),
        ];
        for (bytes, code, reason) in cases {
            let mut client = WebSocket { stream: bytes };
            assert_eq!(client.next().await, Heard::Closed { code, reason: reason.to_owned() });
        }
    }
}
