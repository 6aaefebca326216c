//! `schedule`: on which days and between which hours, by the clocks of a zone.

use crate::evidence::{Evidence, Moment};
use crate::policy::Reason;
use crate::policy::criterion::Judgement;
use crate::policy::diagnostic::{Diagnostic, nearest};
use crate::policy::seen::Seen;
use crate::policy::source::Value;
use jiff::Timestamp;
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};

#[derive(Clone, Debug)]
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
            let fault = Diagnostic::error(table.place(), format!("`{}` names neither days nor hours", value.key()));
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
        let Some((date, minute)) = self.local(evidence.at) else {
            return Judgement::unknown(Reason::ScheduleUnknown);
        };
        let seen = Seen::Moment(evidence.at);
        if self.began(date, minute).is_some() {
            Judgement::met(Reason::ScheduleInside, seen)
        } else {
            Judgement::unmet(Reason::ScheduleOutside, seen)
        }
    }

    /// When the hours that `at` lies in are over; the end of time when they never are. None: it lies in none.
    pub fn until(&self, at: Moment) -> Option<Moment> {
        let (date, minute) = self.local(at)?;
        let mut began = self.began(date, minute)?;
        let whole_days = self.from == 0 && self.to == DAY_MINUTES;
        if whole_days && self.days == [true; 7] {
            return Some(Moment(i64::MAX));
        }
        while whole_days && self.on(began.weekday().next()) {
            began = began.tomorrow().ok()?;
        }
        let midnight = self.to == DAY_MINUTES;
        let day = if midnight || self.to <= self.from { began.tomorrow().ok()? } else { began };
        let minute = if midnight { 0 } else { self.to };
        let time = Time::new(i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?, 0, 0).ok()?;
        let ambiguous = || self.zone.to_ambiguous_timestamp(day.to_datetime(time));
        // Where the clocks go back the hour comes twice: the end is the first that has not passed.
        let first = Moment(ambiguous().compatible().ok()?.as_millisecond());
        if first > at { Some(first) } else { Some(Moment(ambiguous().later().ok()?.as_millisecond())) }
    }

    /// The day and its minute by the zone's clocks.
    fn local(&self, at: Moment) -> Option<(Date, u16)> {
        let local = self.zone.to_datetime(Timestamp::from_millisecond(at.millis()).ok()?);
        Some((local.date(), u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs())))
    }

    /// The day on which the hours began that this minute lies in.
    fn began(&self, date: Date, minute: u16) -> Option<Date> {
        let today = self.on(date.weekday());
        if self.from < self.to {
            return Some(date).filter(|_| today && (self.from..self.to).contains(&minute));
        }
        if today && minute >= self.from {
            return Some(date);
        }
        date.yesterday().ok().filter(|before| self.on(before.weekday()) && minute < self.to)
    }

    fn on(&self, day: Weekday) -> bool {
        self.days.get(usize::from(day.to_monday_zero_offset().unsigned_abs())).is_some_and(|on| *on)
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
    fn hours_end_when_they_say() {
        use crate::evidence::Moment;
        use crate::policy::source::Source;
        let until = |schedule: &str, at: &str| {
            let source = Source::new("t", format!("hours = {schedule}"));
            let document = source.parse();
            let hours = document.root().optional("hours", super::Schedule::lower).expect("a schedule");
            let moment = |text: &str| text.parse::<jiff::Timestamp>().expect("a time").as_millisecond();
            let end = hours.until(Moment(moment(at)))?;
            Some(match end.millis() {
                i64::MAX => "never".to_owned(),
                millis => jiff::Timestamp::from_millisecond(millis).expect("a time").to_string(),
            })
        };
        let office = "{ days = 'mon-fri', hours = '08:00-18:00', zone = 'America/Phoenix' }";
        let night = "{ days = 'fri', hours = '22:00-06:00', zone = 'UTC' }";
        let weekdays = "{ days = 'mon-fri', zone = 'UTC' }";
        let twice = "{ hours = '00:00-01:30', zone = 'America/New_York' }";
        for (schedule, at, end) in [
            (office, "2026-03-04T08:00:00-07:00", Some("2026-03-05T01:00:00Z")),
            (office, "2026-03-04T17:59:59-07:00", Some("2026-03-05T01:00:00Z")),
            (office, "2026-03-04T18:00:00-07:00", None),
            (office, "2026-03-07T12:00:00-07:00", None),
            (night, "2026-03-06T23:00:00Z", Some("2026-03-07T06:00:00Z")),
            (night, "2026-03-07T05:59:59Z", Some("2026-03-07T06:00:00Z")),
            (weekdays, "2026-03-04T12:00:00Z", Some("2026-03-07T00:00:00Z")),
            ("{ hours = '00:00-24:00', zone = 'UTC' }", "2026-03-04T12:00:00Z", Some("never")),
            ("{ hours = '12:00-24:00', zone = 'UTC' }", "2026-03-04T12:00:00Z", Some("2026-03-05T00:00:00Z")),
            // On 2026-11-01 New York's clocks go back from 2:00 to 1:00.
            (twice, "2026-11-01T05:29:00Z", Some("2026-11-01T05:30:00Z")),
            (twice, "2026-11-01T05:31:00Z", None),
            (twice, "2026-11-01T06:10:00Z", Some("2026-11-01T06:30:00Z")),
        ] {
            assert_eq!(until(schedule, at).as_deref(), end, "{schedule} {at}");
        }
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
