//! Event time: µs since the Unix epoch, UTC.

use std::fmt;

use chrono::{DateTime, SecondsFormat};

/// An instant, in µs since 1970-01-01T00:00:00Z. May be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventTime(pub i64);

impl EventTime {
    /// From RFC 3339 text; digits beyond µs are cut. `None` if it is none, or lies outside what i64 µs can hold.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text).ok().map(|time| Self(time.timestamp_micros()))
    }

    /// RFC 3339 with six digits and `Z`; the plain number where the calendar ends (beyond the year 262,000).
    pub fn to_rfc3339(self) -> String {
        match DateTime::from_timestamp_micros(self.0) {
            Some(time) => time.to_rfc3339_opts(SecondsFormat::Micros, true),
            None => self.0.to_string(),
        }
    }
}

/// Where the time of arrival comes from: handed to whoever needs it, so that tests decide what time it is.
pub trait Clock: Send + Sync {
    /// Now. May step back when the machine's clock is set.
    fn now(&self) -> EventTime;
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}
