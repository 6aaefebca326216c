//! Reads on for a moment after the answer, when its client still sends.
//!
//! A socket that is closed over unread bytes resets its connection, and the reset takes away the answer that would
//! have told the client why its upload is not wanted (RFC 9112 section 9.6).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

#[derive(Debug)]
pub struct Linger {
    left: usize,
    end: Pin<Box<Sleep>>,
}

/// What is read and dropped at most, bytes.
const MOST: usize = 4 << 20;
const LONGEST: Duration = Duration::from_secs(1);

impl Linger {
    pub fn new() -> Self {
        Self { left: MOST, end: Box::pin(tokio::time::sleep(LONGEST)) }
    }

    /// Ready when the client has stopped or has been given enough.
    pub fn poll<S: AsyncRead + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<()> {
        let mut scrap = [0; 4096];
        while self.left > 0 {
            let mut scrap = ReadBuf::new(&mut scrap);
            match Pin::new(&mut *stream).poll_read(cx, &mut scrap) {
                Poll::Ready(Ok(())) if !scrap.filled().is_empty() => {
                    self.left = self.left.saturating_sub(scrap.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.end.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::AsyncWriteExt as _;

    #[tokio::test]
    async fn it_ends_with_the_client_with_the_bytes_or_with_the_time() {
        let (mut client, mut server) = tokio::io::duplex(1024);
        client.write_all(b"rest").await.unwrap();
        drop(client);
        poll_fn(|cx| Linger::new().poll(&mut server, cx)).await;

        let (mut client, mut server) = tokio::io::duplex(1024);
        let endless = tokio::spawn(async move {
            let mut sent = 0;
            while client.write_all(&[7; 512]).await.is_ok() {
                sent += 512;
            }
            sent
        });
        let mut linger = Linger::new();
        poll_fn(|cx| linger.poll(&mut server, cx)).await;
        drop(server);
        assert!(endless.await.unwrap() >= MOST);

        let (_silent, mut server) = tokio::io::duplex(1024);
        let begun = tokio::time::Instant::now();
        let mut linger = Linger::new();
        poll_fn(|cx| linger.poll(&mut server, cx)).await;
        assert!(begun.elapsed() >= LONGEST);
    }
}
