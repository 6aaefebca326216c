//! What a client is still sending when it is refused.
//!
//! On HTTP/2 an answer may end a stream before its request has ended (RFC 9113 section 8.1). Clients in use take that for
//! an error and show nobody the answer: curl 7.88 does, when both come in one read. So what is short and on its way is
//! taken first, and goes nowhere, unless the client waits for `100 Continue`, which reading would send. On HTTP/1.1 hyper
//! sees to it.

use super::received::Received;
use http_body::Body;
use http_body_util::BodyExt;
use std::time::Duration;

/// A longer body is not waited for.
const MOST: usize = 64 * 1024;
/// Nor one that takes longer.
const PATIENCE: Duration = Duration::from_millis(500);

/// Takes the body to its end, if that is near.
pub async fn swallow(mut body: Received) {
    if body.is_end_stream() || body.awaits_go_ahead() || body.size_hint().lower() > MOST as u64 {
        return;
    }
    let taking = async {
        let mut taken = 0;
        while let Some(Ok(frame)) = body.frame().await {
            taken += frame.data_ref().map_or(0, |data| data.len());
            if taken > MOST {
                return;
            }
        }
    };
    // Whoever is slower sees what it makes of the answer.
    let _ = tokio::time::timeout(PATIENCE, taking).await;
}
