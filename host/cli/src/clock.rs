//! The real clock, handed to whoever needs the time.

use std::time::{SystemTime, UNIX_EPOCH};

use tidemill_event::{Clock, EventTime};

/// The machine's calendar clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> EventTime {
        #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else is handed")]
        let now = SystemTime::now();
        let micros = match now.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        };
        EventTime(micros)
    }
}
