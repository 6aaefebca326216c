//! `schedule`: on which days and between which hours, by the clocks of a zone.

use crate::evidence::Evidence;
use crate::policy::Reason;
use crate::policy::criterion::Judgement;
use crate::policy::diagnostic::{Diagnostic, nearest};
use crate::policy::seen::Seen;
use crate::policy::source::Value;
use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::{TimeZone, TimeZoneDatabase};

#[derive(Debug)]
pub struct Schedule {
    /// Monday first.
    days: [bool; 7],
    /// Minutes of the day; `from` is in it, `to` is not. Past midnight when `to` is not after `from`:
    /// then the day is the one on which the hours began.
    from: u16,
    to: u16,
    zone: TimeZone,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_MINUTES: u16 = 24 * 60;

impl Schedule {
    pub fn lower(value: Value<'_>) -> Option<Self> {
        let mut table = value.table()?;
        if !table.has("days") && !table.has("hours") {
            let fault = Diagnostic::error(table.place(), "`schedule` names neither days nor hours");
            table.report(
                fault.label("this is always").help("write `days = [\"mon-fri\"]` or `hours = \"08:00-18:00\"`"),
            );
        }
        let days =
            table.optional("days", |value| value.one_or_more(|days| days.parsed("a day", "mon-fri", parse_days)));
        let hours = table.optional("hours", |value| value.parsed("a span of hours", "08:00-18:00", parse_hours));
        let zone = table.required("zone", lower_zone);
        table.finish();
        let days = days.map_or([true; 7], |spans| {
            spans.iter().fold([false; 7], |all, span| std::array::from_fn(|day| all[day] || span[day]))
        });
        let (from, to) = hours.unwrap_or((0, DAY_MINUTES));
        Some(Self { days, from, to, zone: zone? })
    }

    pub fn judge(&self, evidence: &Evidence) -> Judgement {
        let Ok(timestamp) = Timestamp::from_millisecond(evidence.at.millis()) else {
            return Judgement::unknown(Reason::ScheduleUnknown);
        };
        let local = self.zone.to_datetime(timestamp);
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let seen = Seen::Moment(evidence.at);
        if self.covers(local.date().weekday(), minute) {
            Judgement::met(Reason::ScheduleInside, seen)
        } else {
            Judgement::unmet(Reason::ScheduleOutside, seen)
        }
    }

    fn covers(&self, day: Weekday, minute: u16) -> bool {
        let on =
            |day: Weekday| self.days.get(usize::from(day.to_monday_zero_offset().unsigned_abs())).is_some_and(|on| *on);
        if self.from < self.to {
            on(day) && (self.from..self.to).contains(&minute)
        } else {
            (on(day) && minute >= self.from) || (on(day.previous()) && minute < self.to)
        }
    }
}

/// `mon` or `mon-fri`; a span may run over the weekend.
fn parse_days(text: &str) -> Result<[bool; 7], String> {
    let day = |name: &str| {
        let name = name.trim().to_ascii_lowercase();
        DAYS.iter()
            .position(|day| *day == name)
            .ok_or_else(|| "expected `mon` to `sun`, or a span such as `mon-fri`".to_owned())
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (day(first)?, day(last)?);
    Ok(std::array::from_fn(
        |day| if first <= last { (first..=last).contains(&day) } else { day >= first || day <= last },
    ))
}

/// `08:00-18:00`; `24:00` is the end of the day.
fn parse_hours(text: &str) -> Result<(u16, u16), String> {
    let usage = || "expected two times of the day, such as `08:00-18:00` or `22:00-06:00`".to_owned();
    let minute = |time: &str| {
        let (hour, minute) =
            time.trim().split_once(':').filter(|(hour, minute)| hour.len() == 2 && minute.len() == 2)?;
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
        let (hour, minute) = (digits(hour)?, digits(minute)?);
        (minute < 60 && hour * 60 + minute <= DAY_MINUTES).then_some(hour * 60 + minute)
    };
    let (from, to) = text.split_once('-').ok_or_else(usage)?;
    let (from, to) = (minute(from).ok_or_else(usage)?, minute(to).ok_or_else(usage)?);
    if from == to || from == DAY_MINUTES {
        return Err("no time lies between these; leave `hours` out for the whole day".to_owned());
    }
    Ok((from, to))
}

/// A zone of the bundled database: what the machine has installed makes no difference.
fn lower_zone(value: Value<'_>) -> Option<TimeZone> {
    let name = value.name()?;
    let database = TimeZoneDatabase::bundled();
    if let Ok(zone) = database.get(name) {
        return Some(zone);
    }
    let known: Vec<String> = database.available().map(|zone| zone.as_str().to_owned()).collect();
    let fault = Diagnostic::error(value.place(), format!("`{name}` is not a time zone"));
    let fault = fault.label("expected a name such as `America/Phoenix` or `UTC`");
    value.report(match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => fault.suggest(value.place(), format!("\"{near}\"")),
        None => fault,
    });
    None
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, judge};
    use crate::policy::decision::Verdict::{Met, Unmet};

    #[test]
    fn hours_are_those_of_the_zone() {
        let that = "{ schedule = { days = 'mon-fri', hours = '08:00-18:00', zone = 'America/Phoenix' } }";
        for (at, expected) in [
            ("2026-03-04T08:00:00-07:00", (Met, "schedule-inside")),
            ("2026-03-04T18:00:00-07:00", (Unmet, "schedule-outside")),
            ("2026-03-05T00:59:59Z", (Met, "schedule-inside")),
            ("2026-03-07T12:00:00-07:00", (Unmet, "schedule-outside")),
        ] {
            assert_eq!(judge(that, &format!("at = '{at}'")), expected, "{at}");
        }
    }

    #[test]
    fn hours_past_midnight_belong_to_the_day_they_began() {
        let that = "{ schedule = { days = ['fri'], hours = '22:00-06:00', zone = 'UTC' } }";
        for (at, expected) in [
            ("2026-03-06T23:00:00Z", Met),
            ("2026-03-07T05:59:00Z", Met),
            ("2026-03-07T06:00:00Z", Unmet),
            ("2026-03-06T05:00:00Z", Unmet),
        ] {
            assert_eq!(judge(that, &format!("at = '{at}'")).0, expected, "{at}");
        }
        assert_eq!(judge("{ schedule = { days = 'sat-mon', zone = 'UTC' } }", "at = '2026-03-08T12:00:00Z'").0, Met);
    }

    #[test]
    fn mistakes_are_told() {
        for (that, fault) in [
            ("{ schedule = { days = 'monday', zone = 'UTC' } }", "`monday` is not a day\n"),
            ("{ schedule = { hours = '8-18', zone = 'UTC' } }", "`8-18` is not a span of hours\n"),
            ("{ schedule = { hours = '08:00-08:00', zone = 'UTC' } }", "`08:00-08:00` is not a span of hours\n"),
            (
                "{ schedule = { hours = '08:00-18:00', zone = 'America/Phenix' } }",
                "`America/Phenix` is not a time zone\n",
            ),
            ("{ schedule = { hours = '08:00-18:00' } }", "`zone` is missing\n"),
            ("{ schedule = { zone = 'UTC' } }", "`schedule` names neither days nor hours\n"),
        ] {
            assert_eq!(faults(that), fault);
        }
    }
}
