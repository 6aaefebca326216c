//! Evidence and decision by hand, as they serialize themselves but for the order. The tests of `closing` hold the two
//! together.

use super::pen::Pen;
use crate::evidence::timing::{Nearness, TcpTiming, TlsSource, TlsTiming};
use crate::evidence::{Evidence, Fact, Protocol, Quota, Request, Timing};
use crate::latency::Rtt;
use crate::policy::{Decision, Finding, Outcome, Remedy, Seen};

/// The evidence behind what `fragments` has of it.
pub fn evidence(pen: &mut Pen<'_>, evidence: &Evidence) {
    pen.raw(r#","at":"#).signed(evidence.at.millis());
    if !evidence.emergency.is_off() {
        pen.raw(r#","emergency":"#).value(&evidence.emergency);
    }
    pen.raw(r#","request":"#);
    request(pen, &evidence.request);
    pen.raw(r#","timing":"#);
    timing(pen, &evidence.timing);
    pen.raw(r#","quotas":{"#);
    for (at, (name, quota)) in evidence.quotas.iter().enumerate() {
        pen.raw(if at == 0 { "" } else { "," }).text(name);
        fact(pen, ":", quota, |pen, quota| match quota {
            Quota::Within => pen.raw(r#""within""#),
            Quota::Exceeded { .. } => pen.value(quota),
        });
    }
    fact(pen, r#"},"memory_age":"#, &evidence.memory_age, |pen, age| pen.number(*age));
    if !evidence.owner.is_absent() {
        fact(pen, r#","owner":"#, &evidence.owner, |pen, owner| pen.value(owner));
    }
    pen.raw("}");
}

pub fn request(pen: &mut Pen<'_>, request: &Request) {
    pen.raw(r#"{"id":"#).text(&request.id);
    pen.raw(match request.protocol {
        Protocol::Http10 => r#","protocol":"http/1.0","method":"#,
        Protocol::Http11 => r#","protocol":"http/1.1","method":"#,
        Protocol::Http2 => r#","protocol":"http/2","method":"#,
    });
    pen.text(&request.method).raw(r#","host":"#).text(&request.host).raw(r#","path":"#).text(&request.path);
    if let Some(upgrade) = &request.upgrade {
        pen.raw(r#","upgrade":"#).value(upgrade);
    }
    if let Some(malformed) = request.malformed {
        pen.raw(r#","malformed":""#).raw(malformed.code()).raw("\"");
    }
    pen.raw("}");
}

fn timing(pen: &mut Pen<'_>, timing: &Timing) {
    let Timing { tcp, tls, device_tcp, device_tls, relay_gap, distance, excess, nearness } = timing;
    fact(pen, r#"{"tcp":"#, tcp, |pen, tcp| {
        let TcpTiming { first, minimum, smoothed, variation } = tcp;
        rtt(pen.raw(r#"{"first":"#), first);
        rtt(pen.raw(r#","minimum":"#), minimum);
        rtt(pen.raw(r#","smoothed":"#), smoothed);
        rtt(pen.raw(r#","variation":"#), variation).raw("}")
    });
    fact(pen, r#","tls":"#, tls, |pen, tls| {
        let TlsTiming { minimum, samples, source } = tls;
        rtt(pen.raw(r#"{"minimum":"#), minimum);
        pen.raw(r#","samples":"#).number(*samples).raw(match source {
            TlsSource::Http2Settings => r#","source":"http2-settings"}"#,
            TlsSource::Http2Ping => r#","source":"http2-ping"}"#,
            TlsSource::WebsocketPing => r#","source":"websocket-ping"}"#,
        })
    });
    fact(pen, r#","device_tcp":"#, device_tcp, rtt);
    fact(pen, r#","device_tls":"#, device_tls, rtt);
    fact(pen, r#","relay_gap":"#, relay_gap, rtt);
    fact(pen, r#","distance":"#, distance, |pen, distance| pen.value(distance));
    fact(pen, r#","excess":"#, excess, rtt);
    fact(pen, r#","nearness":"#, nearness, |pen, nearness| {
        let Nearness { too_near, floor, measured } = nearness;
        pen.raw(if *too_near { r#"{"too_near":true,"floor":"# } else { r#"{"too_near":false,"floor":"# });
        rtt(pen, floor);
        rtt(pen.raw(r#","measured":"#), measured).raw("}")
    });
    pen.raw("}");
}

fn rtt<'p, 'b>(pen: &'p mut Pen<'b>, rtt: &Rtt) -> &'p mut Pen<'b> {
    pen.number(rtt.as_micros())
}

/// The key, and behind it what is known or why it is not. `known` writes the value.
fn fact<'b, T, F>(pen: &mut Pen<'b>, key: &str, fact: &Fact<T>, known: F)
where
    F: for<'p> FnOnce(&'p mut Pen<'b>, &T) -> &'p mut Pen<'b>,
{
    pen.raw(key);
    match fact {
        Fact::Known(value) => known(pen, value),
        Fact::Absent => pen.raw("null"),
        Fact::Invalid(fault) => pen.raw(r#"{"invalid":""#).raw(fault.code()).raw(r#""}"#),
        Fact::Unavailable(fault) => pen.raw(r#"{"unavailable":""#).raw(fault.code()).raw(r#""}"#),
    };
}

pub fn decision(pen: &mut Pen<'_>, decision: &Decision) {
    pen.raw(r#"{"policy":"#).text(&decision.policy);
    if let Some(resource) = &decision.resource {
        pen.raw(r#","resource":"#).text(&resource.id);
    }
    pen.raw(r#","outcome":""#).raw(decision.outcome.code());
    pen.raw(r#"","would":""#).raw(decision.would.code());
    pen.raw(r#"","reason":""#).raw(decision.reason.code()).raw(r#"","findings":["#);
    for (at, found) in decision.findings.iter().enumerate() {
        pen.raw(if at == 0 { "" } else { "," });
        finding(pen, found);
    }
    pen.raw("]}");
}

fn finding(pen: &mut Pen<'_>, finding: &Finding) {
    pen.raw("{\"").raw(finding.scope.code()).raw("\":").text(&finding.requirement);
    pen.raw(",\"").raw(finding.verdict.code()).raw("\":\"").raw(finding.reason.code()).raw("\"");
    if finding.demand != Outcome::Forward {
        pen.raw(r#","demand":""#).raw(finding.demand.code()).raw("\"");
    }
    match &finding.seen {
        Seen::Nothing => &mut *pen,
        Seen::Text(text) => pen.raw(r#","seen":"#).text(text),
        Seen::Word(word) => pen.raw(r#","seen":"#).text(word),
        Seen::Rtt(rtt) => {
            let (millis, tenth) = rtt.shown();
            pen.raw(r#","seen":""#).number(millis);
            if let Some(tenth) = tenth {
                pen.raw(".").number(tenth);
            }
            pen.raw(r#" ms""#)
        }
        seen => pen.raw(r#","seen":"#).shown(seen),
    };
    if finding.remedy != Remedy::None {
        pen.raw(r#","remedy":"#).value(&finding.remedy);
    }
    pen.raw("}");
}
