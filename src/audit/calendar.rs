//! Moments as people write them.

use crate::evidence::Moment;

/// RFC 3339 in UTC with milliseconds: `2026-08-01T09:30:00.125Z`. Times outside the years 0 to 9999 are
/// held to them, so that the text always has this width.
pub fn rfc3339(at: Moment) -> [u8; 24] {
    const FIRST: i64 = -62_167_219_200_000;
    const LAST: i64 = 253_402_300_799_999;
    let millis = at.millis().clamp(FIRST, LAST);
    let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut put = |at: usize, width: usize, mut value: i64| {
        for digit in text.iter_mut().skip(at).take(width).rev() {
            *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
            value /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, of_day / 3_600_000);
    put(14, 2, of_day / 60_000 % 60);
    put(17, 2, of_day / 1000 % 60);
    put(20, 3, of_day % 1000);
    text
}

/// Days since 1970-01-01 as year, month and day of the proleptic Gregorian calendar. Years are counted
/// from March, so that the leap day is a year's last; 400 years have 146,097 days.
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + (month <= 2) as i64, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn times_are_those_of_rfc_3339(millis in -62_135_596_800_000i64..253_402_207_200_000) {
            let text = String::from_utf8(rfc3339(Moment(millis)).to_vec()).expect("ASCII");
            let read: jiff::Timestamp = text.parse().expect("RFC 3339");
            prop_assert_eq!(read.as_millisecond(), millis);
        }
    }

    #[test]
    fn times_no_calendar_holds_are_held_to_it() {
        assert_eq!(&rfc3339(Moment(i64::MAX)), b"9999-12-31T23:59:59.999Z");
        assert_eq!(&rfc3339(Moment(i64::MIN)), b"0000-01-01T00:00:00.000Z");
    }
}
