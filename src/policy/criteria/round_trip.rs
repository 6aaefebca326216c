//! `rtt`, `tls-rtt`, `rtt-excess`, `relay-gap`: how long the answers take, and how much of it is unexplained.

use crate::evidence::Evidence;
use crate::latency::Rtt;
use crate::policy::Reason;
use crate::policy::criterion::Judgement;
use crate::policy::seen::Seen;
use crate::policy::source::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// To the TCP peer, the smallest of this connection.
    Rtt,
    /// To the endpoint that holds the TLS key, the smallest of this connection.
    TlsRtt,
    /// Beyond what the distance explains.
    Excess,
    /// Between the two: what a relay that splits TCP cannot hide.
    RelayGap,
}

#[derive(Debug)]
pub struct RoundTrip {
    measure: Measure,
    below: Rtt,
}

impl RoundTrip {
    pub fn lower(value: Value<'_>, measure: Measure) -> Option<Self> {
        let mut table = value.table()?;
        let below = table.required("below", |below| {
            let micros = below.positive_duration()?.as_micros();
            match u32::try_from(micros) {
                Ok(micros) if micros > 0 => Some(Rtt::from_micros(micros)),
                _ => below.fault(format!("`{}` is out of range", below.key()), "expected one microsecond to one hour"),
            }
        });
        table.finish();
        Some(Self { measure, below: below? })
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        let timing = &evidence.timing;
        match self.measure {
            Measure::Rtt => Judgement::of(&timing.tcp, Reason::RttAbsent, |tcp| {
                self.compare(tcp.minimum, Reason::RttBelow, Reason::RttAbove)
            }),
            Measure::TlsRtt => Judgement::of(&timing.tls, Reason::TlsRttAbsent, |tls| {
                self.compare(tls.minimum, Reason::TlsRttBelow, Reason::TlsRttAbove)
            }),
            Measure::Excess => Judgement::of(&timing.excess, Reason::ExcessAbsent, |excess| {
                self.compare(*excess, Reason::ExcessBelow, Reason::ExcessAbove)
            }),
            Measure::RelayGap => Judgement::of(&timing.relay_gap, Reason::RelayGapAbsent, |gap| {
                self.compare(*gap, Reason::RelayGapBelow, Reason::RelayGapAbove)
            }),
        }
    }

    pub const fn reads_tls(&self) -> bool {
        !matches!(self.measure, Measure::Rtt)
    }

    fn compare(&self, measured: Rtt, below: Reason, above: Reason) -> Judgement {
        if measured < self.below {
            Judgement::met(below, Seen::Rtt(measured))
        } else {
            Judgement::unmet(above, Seen::Rtt(measured))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use crate::policy::decision::Verdict::{Met, Unknown, Unmet};

    #[test]
    fn each_measure_reads_its_own_fact() {
        for (name, code) in
            [("rtt", "rtt"), ("tls-rtt", "tls-rtt"), ("rtt-excess", "rtt-excess"), ("relay-gap", "relay-gap")]
        {
            let that = format!("{{ {name} = {{ below = '30ms' }} }}");
            for (given, verdict, end) in [
                (format!("{name} = '29.9ms'"), Met, "below"),
                (format!("{name} = '30ms'"), Unmet, "above"),
                (String::new(), Unknown, "absent"),
            ] {
                let (judged, reason) = judge(&that, &given);
                assert_eq!((judged, reason.to_owned()), (verdict, format!("{code}-{end}")), "{given}");
            }
            assert_eq!(judge(&that, &format!("unavailable = ['{name}']")).0, Unknown);
        }
    }

    #[test]
    fn the_gap_follows_from_both_round_trips() {
        let that = "{ relay-gap = { below = '30ms' } }";
        assert_eq!(judge(that, "rtt = '12ms', tls-rtt = '190ms'"), (Unmet, "relay-gap-above"));
        assert_eq!(judge(that, "rtt = '12ms'"), (Unknown, "relay-gap-absent"));
    }

    #[test]
    fn a_round_trip_has_a_unit() {
        assert_eq!(faults("{ rtt = { below = 30 } }"), "`below` takes a duration, not a number\n");
        assert_eq!(faults("{ rtt = { below = '2h' } }"), "`below` is out of range\n");
    }
}
