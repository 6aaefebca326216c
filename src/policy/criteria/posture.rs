//! `posture`: what an agent on the device attests of it.

use super::{affirmed, asks_nothing};
use crate::evidence::Evidence;
use crate::policy::Reason;
use crate::policy::criterion::Judgement;
use crate::policy::diagnostic::Diagnostic;
use crate::policy::seen::Seen;
use crate::policy::source::Value;

/// The posture is attested.
#[derive(Debug)]
pub struct Attested;

impl Attested {
    pub fn lower(value: Value<'_>) -> Option<Self> {
        let mut table = value.table()?;
        if table.keys().is_empty() {
            return asks_nothing(value, "posture = { attested = true }");
        }
        table.required("attested", affirmed);
        table.finish();
        let fault = Diagnostic::warning(value.place(), "nothing measures `posture` yet");
        let fault = fault.label("unknown for every request, which passes neither this nor its opposite");
        value.report(fault.help("give another way in beside it with `any = [ … ]`, or leave it out"));
        Some(Self)
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        Judgement::of(&evidence.posture, Reason::PostureAbsent, |posture| {
            if posture.attested {
                Judgement::met(Reason::PostureAttested, Seen::Nothing)
            } else {
                Judgement::unmet(Reason::PostureUnattested, Seen::Nothing)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use crate::policy::decision::Verdict::{Met, Unknown, Unmet};

    #[test]
    fn attested_reported_or_silent() {
        let that = "{ posture = { attested = true } }";
        assert_eq!(judge(that, "posture-attested = true"), (Met, "posture-attested"));
        assert_eq!(judge(that, "posture-attested = false"), (Unmet, "posture-unattested"));
        assert_eq!(judge(that, ""), (Unknown, "posture-absent"));
        assert_eq!(faults("{ posture = {} }"), "`posture` asks for nothing\n");
    }
}
