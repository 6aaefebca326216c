//! What operators' machines ask: alive, ready, metrics, assertion keys. On a listener of its own, plain HTTP.

use super::drain::{Phase, Signal, reached};
use super::shared::{Current, Shared};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Answers until every connection of the gateway has been cut, so that a drain can be watched to its end.
pub async fn serve(current: Current, socket: TcpListener, mut signal: Signal) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = reached(&mut signal, Phase::Cutting) => return,
            accepted = socket.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let current = Arc::clone(&current);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&current.load(), &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            // A monitoring client that hangs up early is no concern of ours.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer(shared: &Shared, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "alive\n"),
        "/readyz" => match shared.unready() {
            None => text(StatusCode::OK, "ready\n"),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
        },
        "/metrics" => typed(
            shared.metrics(),
            HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ),
        "/assertion-keys" => typed(shared.signer.load().jwks(), HeaderValue::from_static("application/jwk-set+json")),
        _ => text(StatusCode::NOT_FOUND, "there are /healthz, /readyz, /metrics and /assertion-keys\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = typed(body, HeaderValue::from_static("text/plain; charset=utf-8"));
    *response.status_mut() = status;
    response
}

fn typed(body: impl Into<Bytes>, content_type: HeaderValue) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
