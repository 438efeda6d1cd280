//! Days, weeks, months, quarters and years of a time zone, as stretches of time.
//!
//! ```text
//! Europe/Berlin   2026-03-29   [03-28T23:00Z, 03-29T22:00Z)   23 hours: the clock goes from 2:00 to 3:00
//!                 2026-10-25   [10-24T22:00Z, 10-25T23:00Z)   25 hours: from 3:00 back to 2:00
//! ```
//! A local time that does not exist stands for the instant behind the gap, one that comes twice for its first. The rules of the zones are
//! those of the IANA database compiled into the host ([`ZONES_VERSION`]): the same on every machine.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Datelike, Days, MappedLocalTime, Months, NaiveDate, NaiveDateTime, TimeDelta, TimeZone};
use chrono_tz::Tz;

/// Which version of the IANA time zone database the host knows.
pub const ZONES_VERSION: &str = chrono_tz::IANA_TZDB_VERSION;

/// Steps in which the edges of a gap in local time are looked for: offsets change by whole quarters of an hour, or by less.
const GAP_STEP_MINUTES: i64 = 15;

/// What a window is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalendarUnit {
    /// From midnight to midnight.
    Day,
    /// From Monday on, as in ISO 8601.
    Week,
    /// From the first of the month on.
    Month,
    /// From the first of January, April, July and October on.
    Quarter,
    /// From the first of January on.
    Year,
}

impl fmt::Display for CalendarUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        })
    }
}

/// A name that no zone of the database has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone `{0}` in the IANA database {ZONES_VERSION}")]
pub struct UnknownZone(String);

/// A calendar's units behind each other, in a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    unit: CalendarUnit,
    zone: Tz,
    /// Each begins so long after midnight.
    offset: TimeDelta,
}

impl Calendar {
    /// `zone`: a name of the IANA database, `Europe/Berlin`. `offset`: each unit begins at that time of day instead of midnight; whole days of it are left out.
    pub fn new(unit: CalendarUnit, zone: &str, offset: Duration) -> Result<Self, UnknownZone> {
        let zone: Tz = zone.parse().map_err(|_| UnknownZone(zone.to_owned()))?;
        let of_day = offset.as_micros() % (24 * 3_600_000_000);
        Ok(Self { unit, zone, offset: TimeDelta::microseconds(of_day as i64) })
    }

    /// The zones there are.
    pub fn zones() -> impl Iterator<Item = &'static str> {
        chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name())
    }

    /// The unit around an instant, as `[start, end)` in microseconds.
    pub(crate) fn around(&self, time: i64) -> (i64, i64) {
        let instant = DateTime::from_timestamp_micros(time).expect("the caller stays within the calendar");
        let local = instant.with_timezone(&self.zone).naive_local() - self.offset;
        let mut first = self.first_of(local.date());
        let mut start = self.begins(first);
        // Where the clock is turned, or a day is left out, the instant may lie beside the unit that its local date names.
        while time < start {
            first = self.before(first);
            start = self.begins(first);
        }
        loop {
            let next = self.after(first);
            let end = self.begins(next);
            if time < end {
                return (start, end);
            }
            (first, start) = (next, end);
        }
    }

    /// The first day of the unit that has this day.
    fn first_of(&self, day: NaiveDate) -> NaiveDate {
        let of_month = |month: u32| NaiveDate::from_ymd_opt(day.year(), month, 1).expect("a first of a month");
        match self.unit {
            CalendarUnit::Day => day,
            CalendarUnit::Week => day - Days::new(u64::from(day.weekday().num_days_from_monday())),
            CalendarUnit::Month => of_month(day.month()),
            CalendarUnit::Quarter => of_month(day.month0() / 3 * 3 + 1),
            CalendarUnit::Year => of_month(1),
        }
    }

    fn after(&self, first: NaiveDate) -> NaiveDate {
        match self.unit {
            CalendarUnit::Day => first + Days::new(1),
            CalendarUnit::Week => first + Days::new(7),
            CalendarUnit::Month => first + Months::new(1),
            CalendarUnit::Quarter => first + Months::new(3),
            CalendarUnit::Year => first + Months::new(12),
        }
    }

    fn before(&self, first: NaiveDate) -> NaiveDate {
        self.first_of(first - Days::new(1))
    }

    /// The instant at which the unit with this first day begins.
    fn begins(&self, first: NaiveDate) -> i64 {
        let local = first.and_time(chrono::NaiveTime::MIN) + self.offset;
        instant_of(self.zone, local).timestamp_micros()
    }
}

/// The instant of a local time.
fn instant_of(zone: Tz, local: NaiveDateTime) -> DateTime<Tz> {
    match zone.from_local_datetime(&local) {
        MappedLocalTime::Single(instant) | MappedLocalTime::Ambiguous(instant, _) => instant,
        MappedLocalTime::None => {
            let edge = |direction: i64| {
                let step = TimeDelta::minutes(direction * GAP_STEP_MINUTES);
                (1i32..)
                    .find_map(|steps| zone.from_local_datetime(&(local + step * steps)).latest())
                    .expect("no gap is longer than a day or two")
            };
            // Between the two the offset changes once; the first instant that has the new one is behind the gap.
            let (mut before, mut behind) = (edge(-1).timestamp(), edge(1).timestamp());
            let offset_at = |second: i64| {
                use chrono::Offset;
                zone.offset_from_utc_datetime(&DateTime::from_timestamp(second, 0).expect("near a known time").naive_utc()).fix()
            };
            let new = offset_at(behind);
            while behind - before > 1 {
                let middle = before + (behind - before) / 2;
                *(if offset_at(middle) == new { &mut behind } else { &mut before }) = middle;
            }
            zone.timestamp_opt(behind, 0).single().expect("an instant")
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;

    fn calendar(unit: CalendarUnit, zone: &str) -> Calendar {
        Calendar::new(unit, zone, Duration::ZERO).expect("a zone")
    }

    fn micros(instant: &str) -> i64 {
        instant.parse::<DateTime<chrono::Utc>>().expect("RFC 3339").timestamp_micros()
    }

    /// The unit around an instant, in UTC, with its hours.
    fn shown(calendar: Calendar, instant: &str) -> String {
        let (start, end) = calendar.around(micros(instant));
        let time = |micros: i64| DateTime::from_timestamp_micros(micros).expect("a time").format("%Y-%m-%dT%H:%MZ");
        format!("{} {} {}h\n", time(start), time(end), (end - start) as f64 / 3.6e9)
    }

    #[test]
    fn days_have_the_hours_that_the_clock_gives_them() {
        let berlin = calendar(CalendarUnit::Day, "Europe/Berlin");
        let told = [
            shown(berlin, "2026-03-28T22:59:59Z"),
            shown(berlin, "2026-03-28T23:00:00Z"),
            shown(berlin, "2026-10-25T22:59:59Z"),
            // Midnight does not exist when summer time begins there: the day begins at 1:00.
            shown(calendar(CalendarUnit::Day, "America/Santiago"), "2026-09-06T12:00:00Z"),
            // Midnight comes twice when it ends in Havana: the day begins with the first.
            shown(calendar(CalendarUnit::Day, "America/Havana"), "2026-11-01T12:00:00Z"),
            // Half an hour.
            shown(calendar(CalendarUnit::Day, "Australia/Lord_Howe"), "2026-04-04T14:00:00Z"),
            // Samoa left out the 30th of December 2011.
            shown(calendar(CalendarUnit::Day, "Pacific/Apia"), "2011-12-30T09:59:59Z"),
            shown(calendar(CalendarUnit::Day, "Pacific/Apia"), "2011-12-30T10:00:00Z"),
        ];
        expect![[r#"
            2026-03-27T23:00Z 2026-03-28T23:00Z 24h
            2026-03-28T23:00Z 2026-03-29T22:00Z 23h
            2026-10-24T22:00Z 2026-10-25T23:00Z 25h
            2026-09-06T04:00Z 2026-09-07T03:00Z 23h
            2026-11-01T04:00Z 2026-11-02T05:00Z 25h
            2026-04-04T13:00Z 2026-04-05T13:30Z 24.5h
            2011-12-29T10:00Z 2011-12-30T10:00Z 24h
            2011-12-30T10:00Z 2011-12-31T10:00Z 24h
        "#]]
        .assert_eq(&told.concat());
    }

    #[test]
    fn longer_units_begin_where_people_say_they_do() {
        let told: String = [CalendarUnit::Week, CalendarUnit::Month, CalendarUnit::Quarter, CalendarUnit::Year]
            .map(|unit| shown(calendar(unit, "Europe/Berlin"), "2026-03-31T21:59:59Z"))
            .concat();
        expect![[r#"
            2026-03-29T22:00Z 2026-04-05T22:00Z 168h
            2026-02-28T23:00Z 2026-03-31T22:00Z 743h
            2025-12-31T23:00Z 2026-03-31T22:00Z 2159h
            2025-12-31T23:00Z 2026-12-31T23:00Z 8760h
        "#]]
        .assert_eq(&told);
        let shift = Calendar::new(CalendarUnit::Day, "Europe/Berlin", Duration::from_secs(6 * 3600)).expect("a zone");
        expect!["2026-03-28T05:00Z 2026-03-29T04:00Z 23h\n"].assert_eq(&shown(shift, "2026-03-29T03:59:59Z"));
    }

    #[test]
    fn the_rules_of_the_zones_are_pinned() {
        // Another version may put rows that were counted already into other days: say so in the changelog.
        assert_eq!(ZONES_VERSION, "2025b");
        assert!(Calendar::new(CalendarUnit::Day, "Europe/Berlim", Duration::ZERO).is_err());
        assert!(Calendar::zones().any(|zone| zone == "Europe/Berlin"));
    }

    proptest! {
        /// Every instant is in one unit, units follow each other without a gap, and each begins at its local midnight or right behind the gap that swallowed it.
        #[test]
        fn units_cover_time(zone in 0usize..600, unit in 0usize..5, offset in 0u64..86_400, time in -4_000_000_000i64..6_000_000_000) {
            let zones: Vec<&str> = Calendar::zones().collect();
            let units = [CalendarUnit::Day, CalendarUnit::Week, CalendarUnit::Month, CalendarUnit::Quarter, CalendarUnit::Year];
            let offset = Duration::from_secs(if offset % 3 == 0 { 0 } else { offset });
            let calendar = Calendar::new(units[unit], zones[zone % zones.len()], offset).expect("a zone");
            let (start, end) = calendar.around(time * 1_000_000);
            prop_assert!((start..end).contains(&(time * 1_000_000)));
            prop_assert_eq!(calendar.around(start), (start, end));
            prop_assert_eq!(calendar.around(end - 1), (start, end));
            prop_assert_eq!(calendar.around(end).0, end);
            prop_assert_eq!(calendar.around(start - 1).1, start);
            let local = DateTime::from_timestamp_micros(start).expect("a time").with_timezone(&calendar.zone).naive_local();
            let before = DateTime::from_timestamp_micros(start - 1).expect("a time").with_timezone(&calendar.zone).naive_local();
            let due = calendar.first_of((local - calendar.offset).date()).and_time(chrono::NaiveTime::MIN) + calendar.offset;
            prop_assert!(local == due || before < due && due < local, "{} {} {}", zones[zone % zones.len()], local, due);
        }
    }
}
