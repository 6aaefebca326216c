//! Every outcome, for people and for programs, over both HTTP versions.

use crate::client::BOTH;
use crate::gateway::{Harness, PKI};
use crate::upstream::Upstream;
use http::StatusCode;

#[tokio::test]
async fn a_request_goes_through() {
    let app = Upstream::plain().await;
    let gate = Harness::open(&app).await;
    for version in BOTH {
        let mut client = gate.dial().certificate(&PKI.ann).http(version).await;
        let answer = client.get("/a").await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "hello"), "{version:?}");
    }
    let records = gate.audit_records(2).await;
    for record in &records {
        assert_eq!(record["end"], "complete", "{record:#}");
        assert_eq!(record["decision"]["outcome"], "forward", "{record:#}");
    }
}
