//! `device`: which machine holds the key of the connection, and whose it is.

use super::{affirmed, asks_nothing, only_known, texts};
use crate::evidence::{Binding, DeviceStatus, Evidence, Fact};
use crate::policy::Reason;
use crate::policy::criterion::Judgement;
use crate::policy::diagnostic::Diagnostic;
use crate::policy::seen::Seen;
use crate::policy::source::Value;
use std::net::IpAddr;
use std::sync::Arc;

/// Everything named must hold. A suspended or revoked device never does, unless `status` names it.
#[derive(Debug)]
pub struct Device {
    only_known: bool,
    bound: bool,
    class: Option<Box<[Arc<str>]>>,
    status: Box<[DeviceStatus]>,
    san: Option<Box<[Arc<str>]>>,
}

pub const STATUSES: [(&str, DeviceStatus); 4] = [
    ("active", DeviceStatus::Active),
    ("watched", DeviceStatus::Watched),
    ("suspended", DeviceStatus::Suspended),
    ("revoked", DeviceStatus::Revoked),
];

impl Device {
    pub fn lower(value: Value<'_>) -> Option<Self> {
        let mut table = value.table()?;
        if table.keys().is_empty() {
            return asks_nothing(value, "device = { known = true }");
        }
        let only_known = only_known(&table);
        table.optional("known", affirmed);
        let status = table.optional("status", |value| value.one_or_more(|status| status.one_of(&STATUSES)));
        let device = Self {
            only_known,
            bound: table.or("bound", false, affirmed),
            class: table.optional("class", texts),
            status: status.unwrap_or_else(|| vec![DeviceStatus::Active, DeviceStatus::Watched]).into(),
            san: table.optional("san", |value| value.one_or_more(san)).map(Into::into),
        };
        table.finish();
        Some(device)
    }

    pub const fn only_known(&self) -> bool {
        self.only_known
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        Judgement::of(&evidence.device, why_absent(evidence), |device| {
            if !self.status.contains(&device.status) {
                return Judgement::unmet(Reason::DeviceStatusOther, Seen::Word(status_word(device.status)));
            }
            match &self.class {
                Some(class) if !class.contains(&device.class) => {
                    Judgement::unmet(Reason::DeviceClassOther, Seen::Text(Arc::clone(&device.class)))
                }
                _ => Judgement::met(Reason::DevicePresent, Seen::Text(Arc::clone(&device.id))),
            }
        })
        .and(|| self.judge_binding(evidence))
        .and(|| self.judge_san(evidence))
    }

    fn judge_binding(&self, evidence: &Evidence) -> Judgement {
        if !self.bound {
            return Judgement::met(Reason::DevicePresent, Seen::Nothing);
        }
        Judgement::of(&evidence.binding, Reason::BindingAbsent, |binding| {
            let owner = || {
                let owner = evidence.device.known().and_then(|device| device.owner.as_ref());
                owner.map_or(Seen::Nothing, |owner| Seen::Text(Arc::clone(owner)))
            };
            match binding {
                Binding::TokenAndDevice | Binding::DeviceOnly => Judgement::met(Reason::DevicePresent, Seen::Nothing),
                Binding::AnotherOwner => Judgement::unmet(Reason::DeviceAnotherOwner, owner()),
                Binding::NoOwner => Judgement::unmet(Reason::DeviceNoOwner, Seen::Nothing),
                Binding::AnotherCertificate => Judgement::unmet(Reason::TokenElsewhere, Seen::Nothing),
            }
        })
    }

    fn judge_san(&self, evidence: &Evidence) -> Judgement {
        let Some(san) = &self.san else { return Judgement::met(Reason::DevicePresent, Seen::Nothing) };
        Judgement::of(&evidence.certificate, Reason::CertificateAbsent, |certificate| {
            match san.iter().find(|name| certificate.sans.contains(name)) {
                Some(name) => Judgement::met(Reason::DevicePresent, Seen::Text(Arc::clone(name))),
                None => Judgement::unmet(Reason::SanMissing, Seen::Nothing),
            }
        })
    }
}

/// A subject alternative name as `Certificate::sans` spells it. Any other spelling would belong to no certificate.
pub fn san(value: Value<'_>) -> Option<Arc<str>> {
    let what = "a subject alternative name";
    let text = value.parsed(what, "uri:spiffe://corp/laptop-7", Ok)?;
    match text.split_once(':') {
        Some(("dns" | "uri" | "email", name)) if !name.is_empty() => return value.name().map(Arc::from),
        // One spelling: that of evidence.
        Some(("ip", address)) => match address.parse::<IpAddr>() {
            Ok(address) => return Some(format!("ip:{address}").into()),
            Err(_) => {
                return value.fault(format!("`{text}` is not {what}"), &format!("`{address}` is not an IP address"));
            }
        },
        _ => {}
    }
    let fault = Diagnostic::error(value.place(), format!("`{text}` is not {what}"));
    let fault = fault.label("expected `dns:…`, `uri:…`, `email:…` or `ip:…`").naming_unseen(text);
    value.report(match kind_of(text) {
        Some(kind) => fault.suggest(value.place(), format!("\"{kind}:{text}\"")),
        None => fault,
    });
    None
}

/// Which kind a name without one probably is of.
fn kind_of(text: &str) -> Option<&'static str> {
    match text {
        _ if text.parse::<IpAddr>().is_ok() => Some("ip"),
        _ if text.contains("://") || text.starts_with("urn:") => Some("uri"),
        _ if text.contains(['"', '\\', ':', ' ']) => None,
        _ if text.contains('@') => Some("email"),
        _ if text.contains('.') => Some("dns"),
        _ => None,
    }
}

/// An unknown device is explained by its certificate where that is what is missing or bad.
fn why_absent(evidence: &Evidence) -> Reason {
    match &evidence.certificate {
        Fact::Known(_) => Reason::DeviceAbsent,
        Fact::Absent => Reason::CertificateAbsent,
        Fact::Invalid(fault) | Fact::Unavailable(fault) => Reason::Fault(*fault),
    }
}

fn status_word(status: DeviceStatus) -> &'static str {
    STATUSES.iter().find(|(_, known)| *known == status).map_or("", |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use crate::policy::decision::Verdict::{Met, Unknown, Unmet};

    #[test]
    fn class_status_and_owner() {
        let that = "{ device = { bound = true, class = ['corporate'] } }";
        let good = "user = 'ann', device = 'd', device-class = 'corporate'";
        for (given, expected) in [
            (format!("{good}, bound = true"), (Met, "device-present")),
            (format!("{good}, device-owner = 'ann'"), (Met, "device-present")),
            (format!("{good}, device-owner = 'bob'"), (Unmet, "device-another-owner")),
            (good.to_owned(), (Unmet, "device-no-owner")),
            (format!("{good}, bound = 'another-certificate'"), (Unmet, "token-elsewhere")),
            (format!("{good}, bound = true, device-status = 'suspended'"), (Unmet, "device-status-other")),
            ("device = 'd', device-class = 'kiosk'".to_owned(), (Unmet, "device-class-other")),
            ("device = 'd', device-class = 'corporate'".to_owned(), (Unknown, "binding-absent")),
            ("user = 'ann'".to_owned(), (Unknown, "certificate-absent")),
            ("unavailable = ['device']".to_owned(), (Unknown, "registry-unavailable")),
            ("certificate = 'c'".to_owned(), (Unknown, "device-absent")),
        ] {
            assert_eq!(judge(that, &given), expected, "{given}");
        }
    }

    #[test]
    fn status_and_names() {
        assert_eq!(
            judge("{ device = { status = 'revoked' } }", "device = 'd', device-status = 'revoked'"),
            (Met, "device-present")
        );
        let that = "{ device = { san = 'uri:urn:d' } }";
        assert_eq!(judge(that, "device = 'd', san = ['uri:urn:d']"), (Met, "device-present"));
        assert_eq!(judge(that, "device = 'd'"), (Unmet, "san-missing"));
    }

    #[test]
    fn mistakes_are_told() {
        assert_eq!(faults("{ device = { staus = 'active' } }"), "unknown key `staus`\n");
        assert_eq!(faults("{ device = { status = 'activ' } }"), "`status` cannot be `activ`\n");
        assert_eq!(faults("{ device = {} }"), "`device` asks for nothing\n");
        for none in ["ann.example", "DNS:ann.example", "dns:", "ip:ann", "ann", "othername:x"] {
            let told = faults(&format!("{{ device = {{ san = ['dns:a', '{none}'] }} }}"));
            assert_eq!(told, format!("`{none}` is not a subject alternative name\n"));
        }
        let address = "{ device = { san = 'ip:2001:DB8::0:7' } }";
        assert_eq!(judge(address, "device = 'd', san = ['ip:2001:db8::7']"), (Met, "device-present"));
    }
}
