//! The closing record of a request, by hand: of all lines the one that is written for every request.
//!
//! It begins with what is the same for all requests of a connection, so that this is neither written nor hashed anew.

use super::chain::Chain;
use super::facts;
use super::fragments::Fragments;
use super::line::{begin, time};
use super::pen::Pen;
use super::record::{End, Exchange, Known, Record};
use crate::policy::Scheme;
use std::time::Duration;

/// Appends the closing record of one request.
pub fn request(buffer: &mut Vec<u8>, chain: &mut Chain, fragments: &mut Fragments, record: &Record) {
    let start = buffer.len();
    match &record.known {
        Known::Asked(request) => {
            let mut pen = Pen(buffer);
            begin(&mut pen, "request");
            pen.raw(r#","connection":"#).value(&record.connection).raw(r#","request":"#);
            facts::request(&mut pen, request);
            rest(&mut pen, record);
            chain.seal(buffer, start);
        }
        Known::Decided(decided) => {
            let prefix = fragments.prefix(&record.connection, &decided.evidence);
            let mut pen = Pen(buffer);
            facts::evidence(pen.raw(prefix.text()), &decided.evidence);
            facts::decision(pen.raw(r#","decision":"#), &decided.decision);
            rest(&mut pen, record);
            chain.seal_after(prefix, buffer, start);
        }
    }
}

fn rest(pen: &mut Pen<'_>, record: &Record) {
    if let Some(exchange) = &record.exchange {
        upstream(pen, exchange);
    }
    if let Some(status) = record.status {
        pen.raw(r#","response":{"status":"#).number(status).raw("}");
    }
    spent(pen, record);
    pen.raw(r#","bytes":{"in":"#).number(record.received).raw(r#","out":"#).number(record.sent);
    pen.raw(r#"},"end":""#).raw(record.end.code());
    if let End::Cut(reason) = record.end {
        pen.raw(":").raw(reason);
    }
    pen.raw(if record.live { r#"","live":true,"id":"# } else { r#"","id":"# }).text(&record.known.request().id);
    time(pen, record.at);
}

fn upstream(pen: &mut Pen<'_>, exchange: &Exchange) {
    pen.raw(r#","upstream":{"#);
    if let Some(origin) = &exchange.origin {
        pen.raw(r#""origin":"#);
        match origin.scheme {
            Scheme::Http => pen.raw(r#""http://"#).escaped(&origin.host).raw(":").number(origin.port).raw("\""),
            Scheme::Https => pen.raw(r#""https://"#).escaped(&origin.host).raw(":").number(origin.port).raw("\""),
            _ => pen.shown(origin),
        };
        pen.raw(",");
    }
    if let Some(status) = exchange.status {
        pen.raw(r#""status":"#).number(status).raw(",");
    }
    pen.raw(r#""attempts":"#).number(exchange.attempts);
    if let Some(fault) = exchange.fault {
        pen.raw(r#","fault":""#).raw(fault).raw("\"");
    }
    pen.raw("}");
}

/// Microseconds since the record opened; `upstream` since the upstream was asked.
fn spent(pen: &mut Pen<'_>, record: &Record) {
    pen.raw(r#","micros":{"#);
    if let Some(decision) = record.to_decision {
        pen.raw(r#""decision":"#).number(micros(decision)).raw(",");
    }
    if let Some(exchange) = &record.exchange {
        pen.raw(r#""upstream":"#).number(micros(exchange.head)).raw(",");
    }
    pen.raw(r#""total":"#).number(micros(record.total)).raw("}");
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
