//! When a grant that is over is forgotten. The audit log keeps what happened; the store keeps what still counts.

use super::grant::{GrantRecord, GrantState, SKEW_MS};
use super::held::LATELY_MS;
use crate::evidence::Moment;

/// A record that is over stays for at least so long, milliseconds: 30 days.
pub const KEPT_MS: u64 = 30 * 86_400_000;

/// Whether nothing is decided or told by `record` any more. `cool_down_ms` is the longest of any role: until then it may
/// keep its person from asking. What is not written down as over, and a broken glass that nobody has reviewed, stays.
pub fn outlived(record: &GrantRecord, cool_down_ms: u64, now: Moment) -> bool {
    let open = matches!(record.state, GrantState::Asked { .. } | GrantState::Active { .. });
    !open && !record.needs_review() && now.since(record.latest()) > KEPT_MS.max(LATELY_MS).max(cool_down_ms)
}

/// Whether its account has surely asked for the same again since, `newest` being when it did so last. The last one
/// stays whatever its age: ids follow from the one before, and none may be given twice.
pub fn followed(record: &GrantRecord, newest: Moment) -> bool {
    record.asked.plus_millis(SKEW_MS) < newest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Approval;

    const NOW: Moment = Moment(1_800_000_000_000);
    const DAY: i64 = 86_400_000;

    fn record(state: GrantState) -> GrantRecord {
        GrantRecord {
            id: "g".into(),
            role: "r".into(),
            user: "ann".into(),
            person: "ann".into(),
            groups: Vec::new(),
            device: None,
            key: None,
            reason: "".into(),
            asked: NOW.plus_millis(-1),
            duration: 1,
            state,
            approvals: Vec::new(),
            break_glass: false,
            review: None,
        }
    }

    #[test]
    fn what_is_over_stays_a_month_or_a_cool_down_and_what_is_not_stays() {
        let withdrawn = record(GrantState::Withdrawn { at: NOW });
        let after = |days: i64| NOW.plus_millis(days * DAY);
        assert!(!outlived(&withdrawn, 0, after(30)));
        assert!(outlived(&withdrawn, 0, after(30).plus_millis(1)));
        assert!(!outlived(&withdrawn, 90 * 86_400_000, after(90)));
        assert!(outlived(&withdrawn, 90 * 86_400_000, after(91)));
        assert!(!outlived(&withdrawn, 0, after(-400)), "a clock set back");
        let open = [GrantState::Asked { until: NOW }, GrantState::Active { since: NOW, until: NOW }];
        assert!(open.into_iter().all(|state| !outlived(&record(state), 0, after(400))), "its end is not written down");
        let mut glass = GrantRecord { break_glass: true, ..record(GrantState::Expired { since: NOW, at: NOW }) };
        assert!(!outlived(&glass, 0, after(400)), "nobody has looked at it");
        glass.review = Some(Approval { user: "lee".into(), person: "lee".into(), at: after(400), note: None });
        assert!(!outlived(&glass, 0, after(430)));
        assert!(outlived(&glass, 0, after(431)));
    }

    #[test]
    fn the_last_one_of_its_kind_stays() {
        let old = record(GrantState::Withdrawn { at: NOW });
        assert!(!followed(&old, old.asked));
        assert!(!followed(&old, old.asked.plus_millis(SKEW_MS)), "by another gateway's clock it may be the later one");
        assert!(followed(&old, old.asked.plus_millis(SKEW_MS + 1)));
    }
}
