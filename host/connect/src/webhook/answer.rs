//! What a receiver's answer means for the rows.
//!
//! | answer | meaning |
//! |---|---|
//! | 2xx | taken |
//! | 400, 413, 422 | it does not like these rows: fewer of them may be taken, one alone never |
//! | 410 | not now: the receiver has gone, it is asked again once an hour |
//! | anything else: 408, 429, 5xx; 3xx (redirects are not followed); 401, 403, 404 and other 4xx | not now: tried again, with growing waits |
//!
//! An answer that is about the address, the credentials or the form of the request, and not about what is in it, must not cost a row:
//! somebody mends it, and everything goes on from there.

use std::time::Duration;

use chrono::DateTime;
use tidemill_event::EventTime;

/// A longer `Retry-After` is cut to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// What becomes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Taken,
    NotNow(Option<Duration>),
    /// Not these rows together, ever.
    Never,
}

/// What an answer means. `retry_after` is that header.
pub(super) fn meaning(status: u16, retry_after: Option<&str>, now: EventTime) -> Meaning {
    match status {
        200..=299 => Meaning::Taken,
        410 => Meaning::NotNow(Some(RETRY_AFTER_MAX)),
        400 | 413 | 422 => Meaning::Never,
        _ => Meaning::NotNow(asked(retry_after, now)),
    }
}

/// Seconds, or a date (RFC 9110 §10.2.3). What cannot be read is as if it were not there.
fn asked(header: Option<&str>, now: EventTime) -> Option<Duration> {
    let text = header?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = DateTime::parse_from_rfc2822(text).ok()?.timestamp_micros();
            Duration::from_micros(u64::try_from(until.saturating_sub(now.0)).unwrap_or(0))
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_not_now_or_never() {
        let now = EventTime::parse_rfc3339("2015-10-21T07:28:00Z").expect("a time");
        let check =
            |status, retry_after, expected| assert_eq!(meaning(status, retry_after, now), expected, "{status} {retry_after:?}");
        let seconds = |seconds| Meaning::NotNow(Some(Duration::from_secs(seconds)));
        for taken in [200, 202, 204, 299] {
            check(taken, Some("5"), Meaning::Taken);
        }
        for never in [400, 413, 422] {
            check(never, None, Meaning::Never);
        }
        for not_now in [301, 302, 307, 401, 402, 403, 404, 406, 408, 409, 415, 425, 429, 451, 500, 502, 503, 504, 599] {
            check(not_now, None, Meaning::NotNow(None));
        }
        check(410, None, seconds(3600));
        check(503, Some("7"), seconds(7));
        check(429, Some(" 86400 "), seconds(3600));
        check(503, Some("Wed, 21 Oct 2015 07:28:30 GMT"), seconds(30));
        check(503, Some("Wed, 21 Oct 2015 07:27:30 GMT"), seconds(0));
        check(503, Some("soon"), Meaning::NotNow(None));
        check(503, Some("-5"), Meaning::NotNow(None));
    }
}
