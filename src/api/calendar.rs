//! Time as clients see it: stamps in the configured zone (lease-api 1) and the end of a lease
//! (lease-api 4.1).

use crate::domain::UnixMillis;
use chrono::{
    DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone,
    Timelike, Utc,
};
use chrono_tz::Tz;
use std::time::Duration;

/// A stamp that was never set (lease-api 1).
pub const NEVER: &str = "0000-00-00 00:00:00";

/// No civil offset is further from UTC than this (RFC 9557 and the IANA tables: +14, -12).
const WIDEST_OFFSET_SECONDS: i64 = 15 * 3600;

/// Unit of a lease's length (lease-api 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// By the calendar.
    Years,
    /// By the calendar.
    Months,
    /// By the calendar.
    Days,
    /// Elapsed.
    Hours,
    /// Elapsed.
    Minutes,
}

impl Unit {
    /// From the parameter's value.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "years" => Self::Years,
            "months" => Self::Months,
            "days" => Self::Days,
            "hours" => Self::Hours,
            "minutes" => Self::Minutes,
            _ => return None,
        })
    }
}

/// `at` plus `count` units, on a whole second so that the instant shown is the instant meant; `None`
/// beyond what the calendar can say.
#[must_use]
pub fn after(at: UnixMillis, count: u64, unit: Unit, zone: Tz) -> Option<UnixMillis> {
    let start = utc(at)?.with_nanosecond(0)?;
    let end = match unit {
        Unit::Minutes => {
            start.checked_add_signed(TimeDelta::try_minutes(count.try_into().ok()?)?)?
        }
        Unit::Hours => start.checked_add_signed(TimeDelta::try_hours(count.try_into().ok()?)?)?,
        Unit::Days => by_calendar(start, zone, |day| day.checked_add_days(Days::new(count)))?,
        Unit::Months => {
            let months = Months::new(count.try_into().ok()?);
            by_calendar(start, zone, |day| day.checked_add_months(months))?
        }
        Unit::Years => {
            let months = Months::new(u32::try_from(count).ok()?.checked_mul(12)?);
            by_calendar(start, zone, |day| day.checked_add_months(months))?
        }
    };
    millis(end)
}

fn by_calendar(
    start: DateTime<Utc>,
    zone: Tz,
    step: impl FnOnce(NaiveDate) -> Option<NaiveDate>,
) -> Option<DateTime<Utc>> {
    let local = start.with_timezone(&zone).naive_local();
    let wanted = step(local.date())?.and_time(local.time());
    Some(instant(wanted, zone, Repeated::First))
}

/// Which of two instants a repeated local time means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// The earlier one.
    First,
    /// The later one.
    Last,
}

/// The instant of a local time; of a skipped one, the first instant after the gap.
fn instant(local: NaiveDateTime, zone: Tz, repeated: Repeated) -> DateTime<Utc> {
    match zone.from_local_datetime(&local) {
        chrono::LocalResult::Single(one) => one.with_timezone(&Utc),
        chrono::LocalResult::Ambiguous(first, last) => match repeated {
            Repeated::First => first.with_timezone(&Utc),
            Repeated::Last => last.with_timezone(&Utc),
        },
        chrono::LocalResult::None => gap_end(local, zone),
    }
}

/// The smallest UTC second whose local time is not before `local`. Between the two bounds local
/// time jumps forward once (that is the gap) and never back, so that halving finds it.
fn gap_end(local: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    let middle = local.and_utc().timestamp();
    let mut before = middle.saturating_sub(WIDEST_OFFSET_SECONDS);
    let mut at = middle.saturating_add(WIDEST_OFFSET_SECONDS);
    while at.saturating_sub(before) > 1 {
        let half = before + (at - before) / 2;
        let shown = DateTime::from_timestamp(half, 0)
            .map(|time| time.naive_utc() + zone.offset_from_utc_datetime(&time.naive_utc()).fix());
        if shown.is_some_and(|shown| shown >= local) {
            at = half;
        } else {
            before = half;
        }
    }
    DateTime::from_timestamp(at, 0).unwrap_or_else(|| local.and_utc())
}

/// How far ahead a lease may end (`leases.max_duration`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseLimit {
    /// So many calendar years, leap days and all.
    Years(u32),
    /// So much elapsed time.
    Elapsed(Duration),
}

impl LeaseLimit {
    /// A limit written as a duration; whole years (of 365 days) are meant by the calendar, so that a
    /// limit of five years allows a lease of `5 years`.
    #[must_use]
    pub fn from_duration(duration: Duration) -> Self {
        const YEAR_SECONDS: u64 = 365 * 86_400;
        let seconds = duration.as_secs();
        match u32::try_from(seconds / YEAR_SECONDS) {
            Ok(years) if years > 0 && seconds.is_multiple_of(YEAR_SECONDS) => Self::Years(years),
            _ => Self::Elapsed(duration),
        }
    }

    /// Whether a lease made at `now` may end at `end`.
    #[must_use]
    pub fn allows(self, now: UnixMillis, end: UnixMillis, zone: Tz) -> bool {
        match self {
            Self::Elapsed(most) => end <= now.plus(most),
            Self::Years(years) => {
                after(now, u64::from(years), Unit::Years, zone).is_none_or(|last| end <= last)
            }
        }
    }
}

/// `yyyy-mm-dd hh:mm:ss` in `zone`.
#[must_use]
pub fn stamp(at: UnixMillis, zone: Tz) -> String {
    let Some(time) = utc(at) else {
        return NEVER.to_owned();
    };
    let local = time.with_timezone(&zone).naive_local();
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        local.year(),
        local.month(),
        local.day(),
        local.hour(),
        local.minute(),
        local.second()
    )
}

/// RFC 3339 in UTC with milliseconds (lease-api 4.10).
#[must_use]
pub fn rfc3339(at: UnixMillis) -> String {
    let Some(time) = utc(at) else {
        return String::new();
    };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.timestamp_subsec_millis()
    )
}

/// Reads a stamp in `zone`: exactly `yyyy-mm-dd hh:mm:ss`.
#[must_use]
pub fn parse_stamp(text: &str, zone: Tz, repeated: Repeated) -> Option<UnixMillis> {
    let shape = b"dddd-dd-dd dd:dd:dd";
    let fits = text.len() == shape.len()
        && text.bytes().zip(shape).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            literal => byte == *literal,
        });
    if !fits {
        return None;
    }
    let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok()?;
    millis(instant(local, zone, repeated))
}

fn utc(at: UnixMillis) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(i64::try_from(at.0).ok()?)
}

fn millis(at: DateTime<Utc>) -> Option<UnixMillis> {
    u64::try_from(at.timestamp_millis()).ok().map(UnixMillis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str, zone: Tz) -> UnixMillis {
        parse_stamp(text, zone, Repeated::First).unwrap()
    }

    fn end(start: &str, count: u64, unit: Unit, zone: Tz) -> String {
        stamp(after(at(start, zone), count, unit, zone).unwrap(), zone)
    }

    #[test]
    fn months_and_years_end_on_a_day_that_exists() {
        let zone = Tz::Asia__Kuala_Lumpur;
        assert_eq!(
            end("2025-01-31 10:00:00", 1, Unit::Months, zone),
            "2025-02-28 10:00:00"
        );
        assert_eq!(
            end("2024-01-31 10:00:00", 1, Unit::Months, zone),
            "2024-02-29 10:00:00"
        );
        assert_eq!(
            end("2024-02-29 10:00:00", 1, Unit::Years, zone),
            "2025-02-28 10:00:00"
        );
        assert_eq!(
            end("2024-12-31 23:59:59", 1, Unit::Days, zone),
            "2025-01-01 23:59:59"
        );
        assert_eq!(
            end("2024-12-31 23:59:59", 36, Unit::Hours, zone),
            "2025-01-02 11:59:59"
        );
        assert_eq!(
            end("2024-12-31 23:59:59", 1, Unit::Minutes, zone),
            "2025-01-01 00:00:59"
        );
    }

    #[test]
    fn skipped_and_repeated_local_times() {
        let zone = Tz::Europe__Berlin;
        // 2025-03-30 02:00 to 03:00 does not exist: the next valid time is 03:00.
        assert_eq!(
            end("2025-03-29 02:30:00", 1, Unit::Days, zone),
            "2025-03-30 03:00:00"
        );
        // 2025-10-26 02:30 exists twice: the first is still summer time, UTC+2.
        let first = after(at("2025-10-25 02:30:00", zone), 1, Unit::Days, zone).unwrap();
        assert_eq!(rfc3339(first), "2025-10-26T00:30:00.000Z");
        // Elapsed time does not care.
        assert_eq!(
            end("2025-03-30 01:30:00", 1, Unit::Hours, zone),
            "2025-03-30 03:30:00"
        );
        // Samoa left out a whole day.
        let samoa = Tz::Pacific__Apia;
        assert_eq!(
            end("2011-12-29 12:00:00", 1, Unit::Days, samoa),
            "2011-12-31 00:00:00"
        );
        // Lord Howe moves by half an hour.
        let howe = Tz::Australia__Lord_Howe;
        assert_eq!(
            end("2025-10-04 02:15:00", 1, Unit::Days, howe),
            "2025-10-05 02:30:00"
        );
    }

    #[test]
    fn the_limit_of_five_years_allows_five_years() {
        let zone = Tz::UTC;
        let now = at("2027-03-01 00:00:00", zone);
        let limit = LeaseLimit::from_duration(Duration::from_secs(5 * 365 * 86_400));
        assert_eq!(limit, LeaseLimit::Years(5));
        let five = after(now, 5, Unit::Years, zone).unwrap();
        assert!(limit.allows(now, five, zone));
        assert!(!limit.allows(now, UnixMillis(five.0 + 1000), zone));
        let hour = LeaseLimit::from_duration(Duration::from_secs(3600));
        assert!(hour.allows(now, after(now, 1, Unit::Hours, zone).unwrap(), zone));
        assert!(!hour.allows(now, after(now, 61, Unit::Minutes, zone).unwrap(), zone));
    }

    #[test]
    fn huge_lengths_have_no_end() {
        let now = UnixMillis(1_700_000_000_000);
        for unit in [
            Unit::Years,
            Unit::Months,
            Unit::Days,
            Unit::Hours,
            Unit::Minutes,
        ] {
            assert_eq!(after(now, u64::MAX, unit, Tz::UTC), None);
            assert_eq!(
                after(now, u64::from(u32::MAX) * 1_000_000, unit, Tz::UTC),
                None
            );
        }
    }

    #[test]
    fn only_the_stamps_own_form_is_read() {
        let read = |text| parse_stamp(text, Tz::UTC, Repeated::First);
        assert_eq!(read("1970-01-01 00:00:01"), Some(UnixMillis(1000)));
        for text in [
            "",
            "1970-01-01",
            "1970-1-1 0:0:0",
            "1970-01-01T00:00:00",
            "2025-02-30 00:00:00",
            " 970-01-01 00:00:00",
            "1969-12-31 23:59:59",
            "2025-01-01 24:00:00",
            NEVER,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_lease_never_ends_before_it_begins(
            start in 0u64..4_000_000_000_000,
            count in 1u64..1000,
            unit in prop::sample::select(vec![Unit::Years, Unit::Months, Unit::Days, Unit::Hours, Unit::Minutes]),
            zone in prop::sample::select(vec![Tz::UTC, Tz::Europe__Berlin, Tz::America__St_Johns, Tz::Australia__Lord_Howe, Tz::Asia__Kolkata, Tz::Pacific__Apia]),
        ) {
            if let Some(end) = after(UnixMillis(start), count, unit, zone) {
                prop_assert!(end.0 > start / 1000 * 1000);
                prop_assert_eq!(end.0 % 1000, 0);
            }
        }

        #[test]
        fn a_stamp_reads_back(start in 0u64..4_000_000_000, zone in prop::sample::select(vec![Tz::UTC, Tz::Europe__Berlin, Tz::Asia__Kuala_Lumpur])) {
            let time = UnixMillis(start * 1000);
            let text = stamp(time, zone);
            let first = parse_stamp(&text, zone, Repeated::First).unwrap();
            let last = parse_stamp(&text, zone, Repeated::Last).unwrap();
            prop_assert!(first == time || last == time);
        }
    }
}
