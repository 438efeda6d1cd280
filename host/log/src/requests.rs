//! What clients' requests became, so that a retry is answered and not appended again.
//!
//! A request is named by its stream, its writer (a key, a producer) and, if the writer sends more than one, a number that goes up;
//! gaps are allowed. The mark of a request is written in the same group as its rows, and is known here only when that group is on
//! disk: what is remembered is exactly what a crash keeps.
//!
//! ```text
//!   a producer's numbers   0 1 2 3 4 5 6 7 8 9
//!                          └─ forgotten ┘└ seen ┘ new …        a number up to the highest forgotten one is never taken as new
//! ```
//! `stored` has the bytes, `known` what is in memory, `writers` what outlives the requests that were forgotten.

mod known;
mod stored;
mod writers;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::known::Requests;
pub(crate) use self::stored::{StoredMark, StoredWriter, decode_all, decode_remembered, encode_all, encode_remembered};
use crate::settings::LogSettings;
use crate::stream::Stream;

/// The longest writer's name.
pub(crate) const WRITER_BYTES_MAX: usize = 256;
/// The longest answer that is kept.
pub(crate) const ANSWER_BYTES_MAX: usize = 16 << 10;
/// The time of a mark that was written before the log was told the time.
pub(crate) const TIME_UNKNOWN: i64 = i64::MIN;

/// What of a client's request is decided when the append that carries this is on disk. Of the marks of one request the one with
/// the most rows counts.
#[derive(Debug, Clone)]
pub struct RequestMark {
    /// The stream it was sent to. A later stream of the same name has requests of its own.
    pub stream: Arc<Stream>,
    /// Whose request it is: at most 256 bytes.
    pub writer: Arc<str>,
    /// Which of the writer's requests; they go up. `None` for a writer of one request: nothing is kept of it once it is forgotten.
    pub sequence: Option<u64>,
    /// Rows of the request, accepted or rejected, that are decided by this append and those before it, counted from its first.
    pub rows: u64,
    /// How many of them were accepted.
    pub accepted: u64,
    /// On the request's last append: the answer it was given, at most 16 KiB. The request is done.
    pub answer: Option<Arc<[u8]>>,
}

/// What is on disk of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSeen {
    /// Its first rows that are decided: a retry skips them.
    pub rows: u64,
    /// How many of them were accepted.
    pub accepted: u64,
    /// The answer, if the request is done.
    pub answer: Option<Arc<[u8]>>,
}

/// What the log knows of a request that comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestState {
    /// Nothing of it is on disk; or it is a request, or a writer, of too long ago ([`LogSettings::requests_age`] and those beside it).
    New,
    /// So much of it is.
    Seen(RequestSeen),
    /// Whether it was taken is not known any more: higher numbers of its writer were, and are forgotten.
    Forgotten {
        /// The highest number of the writer's that was forgotten: whatever is above is known, or new.
        through: u64,
    },
}

impl RequestState {
    /// What is known to be on disk.
    pub fn seen(self) -> Option<RequestSeen> {
        match self {
            Self::Seen(seen) => Some(seen),
            Self::New | Self::Forgotten { .. } => None,
        }
    }
}

/// How much is remembered, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestBounds {
    pub(crate) age: Duration,
    pub(crate) tenant_bytes: usize,
    pub(crate) bytes: usize,
    pub(crate) writers_age: Duration,
    pub(crate) tenant_writers: usize,
    pub(crate) writers: usize,
}

impl RequestBounds {
    pub(crate) fn of(settings: &LogSettings) -> Self {
        Self {
            age: settings.requests_age,
            tenant_bytes: settings.tenant_requests_bytes_max,
            bytes: settings.requests_bytes_max,
            writers_age: settings.writers_age,
            tenant_writers: settings.tenant_writers_max,
            writers: settings.writers_max,
        }
    }
}
