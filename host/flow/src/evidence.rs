//! Why a match was told: its id, and the events it is made of as the step saw them.
//!
//! ```text
//! id         0193d2f6b5a0-4f0e9d2c77a1b3e8       milliseconds of the match's time, 48 bits · a hash of step, key and events
//! event      {"stage": "fails", "at": "2026-11-22T10:00:00.000000Z", "row": {"ip": "10.0.0.7", …}}
//! ```
//! No counter is kept for an id: a run that is taken again after a crash says the same one. The time in front of it says where to look for the
//! match, and puts ids in order.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, StringArray};
use tidemill_event::batch::TIME_COLUMN;
use tidemill_event::json::RowEncoder;
use tidemill_event::{EventTime, Field, FieldType, StreamSchema, UnknownFields};

use crate::checksum::checksum;
use crate::group::KeyIndex;
use crate::key_state::{column, times_of};
use crate::pattern::Moment;
use crate::rows::Rows;
use crate::{KeyState, StepId};

/// The column of a match's id.
pub const MATCH_ID: &str = "match_id";

const TIME_BITS: u32 = 48;

/// Which match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MatchId {
    /// Milliseconds since 1970 of the time that the match's row has.
    at_ms: i64,
    hash: u64,
}

impl MatchId {
    /// The row of the match is not before this time.
    pub fn since(self) -> EventTime {
        EventTime(self.at_ms.saturating_mul(1_000))
    }
}

impl fmt::Display for MatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}-{:016x}", self.at_ms as u64 & ((1 << TIME_BITS) - 1), self.hash)
    }
}

/// A text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no id of a match")]
pub struct MatchIdError(String);

impl FromStr for MatchId {
    type Err = MatchIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (time, hash) = text.split_once('-')?;
            let is_hex =
                |part: &str, digits| part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if !is_hex(time, 12) || !is_hex(hash, 16) {
                return None;
            }
            // Times before 1970 have their highest bit set.
            let unused = 64 - TIME_BITS;
            let at_ms = (u64::from_str_radix(time, 16).ok()? << unused) as i64 >> unused;
            Some(Self { at_ms, hash: u64::from_str_radix(hash, 16).ok()? })
        };
        read().ok_or_else(|| MatchIdError(text.to_owned()))
    }
}

/// A match, or a run that timed out, with what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The step that found it.
    pub step: StepId,
    /// The pattern, by its place in the step's list, if it has one.
    pub pattern: Option<u32>,
    /// Which match.
    pub id: MatchId,
    /// The input row that let it out.
    pub origin: u32,
    /// The key's columns, as a JSON object.
    pub key: String,
    /// It is a run whose time was over.
    pub is_timeout: bool,
    /// The clock let it out, not an event.
    pub by_time: bool,
    /// The time of its row.
    pub time: EventTime,
    /// When its first event was, and its last one.
    pub span: (EventTime, EventTime),
    /// Its events as JSON objects, in their order.
    pub events: Vec<String>,
}

/// What the id of a match is made of.
pub(crate) struct Identity(Vec<u8>);

impl Identity {
    pub(crate) fn new(step: StepId, index: &KeyIndex, slot: u32) -> Self {
        let mut bytes = step.0.to_le_bytes().to_vec();
        index.put_key(slot, &mut bytes);
        Self(bytes)
    }

    /// Which of the patterns of a step it is a match of.
    pub(crate) fn of_pattern(&mut self, name: &str) {
        self.0.extend_from_slice(name.as_bytes());
    }

    /// One of its events, and what it was taken for.
    pub(crate) fn add(&mut self, moment: Moment, taken_for: u64) {
        moment.encode(&mut self.0);
        self.0.extend_from_slice(&taken_for.to_le_bytes());
    }

    /// Of a match whose row has this time.
    pub(crate) fn id(&self, time: i64) -> MatchId {
        let unused = 64 - TIME_BITS;
        MatchId { at_ms: time.div_euclid(1_000) << unused >> unused, hash: checksum(0, &self.0) }
    }
}

/// The keys of some slots, as JSON objects.
pub(crate) fn keys_shown(index: &KeyIndex, slots: impl ExactSizeIterator<Item = u32>) -> Vec<String> {
    let times = vec![0; slots.len()];
    let columns = index.by().iter().cloned().zip(index.columns(slots)).collect();
    encoded(KeyState::new(columns, times))
}

/// Events as JSON objects: what each was taken for, under a name; when it was; and the columns of its row, those with these names.
pub(crate) fn events_shown(
    (name, ty, taken_for): (&str, FieldType, impl Array + 'static),
    times: &[i64],
    kept: &Rows,
    rows: impl Iterator<Item = u32>,
    is_shown: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut columns = vec![
        column(name, ty, taken_for),
        column("at", FieldType::Timestamp(None), times_of(times.iter().map(|time| Some(*time)))),
    ];
    let gathered = kept.fields().iter().zip(kept.gather(rows.map(Some)));
    let shown = gathered.filter(|(field, _)| &*field.name != TIME_COLUMN && is_shown(&field.name));
    let inside = |(field, column): (&Field, ArrayRef)| (Field::new(&format!("row.{}", field.name), field.ty, true), column);
    columns.extend(shown.map(inside));
    encoded(KeyState::new(columns, times.to_vec()))
}

/// Kept rows for whoever asks: when each was, and its columns.
pub(crate) fn kept_rows(kept: &Rows, times: &[i64], rows: &[u32]) -> KeyState {
    let at = column("at", FieldType::Timestamp(None), times_of(times.iter().map(|time| Some(*time))));
    let shown = column("row", FieldType::Json, rows_shown(kept, rows).into_iter().map(Some).collect::<StringArray>());
    KeyState::new(vec![at, shown], times.to_vec())
}

/// Kept rows as JSON objects, without the columns that the host made.
pub(crate) fn rows_shown(kept: &Rows, rows: &[u32]) -> Vec<String> {
    let columns = kept.fields().iter().cloned().zip(kept.gather(rows.iter().map(|row| Some(*row))));
    let is_shown = |field: &Field| *field.name != *TIME_COLUMN && !field.name.starts_with('\0');
    encoded(KeyState::new(columns.filter(|(field, _)| is_shown(field)).collect(), vec![0; rows.len()]))
}

/// Each row as a JSON object.
pub(crate) fn encoded(KeyState { fields, rows }: KeyState) -> Vec<String> {
    let encoder = RowEncoder::new(&StreamSchema { fields, unknown: UnknownFields::Drop, infer: false }, None);
    (0..rows.num_rows()).map(|row| encoder.one(&rows, row)).collect()
}

/// The columns that evidence shows; `None`: nobody asks.
pub type Explained = Option<Arc<[Arc<str>]>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_says_where_to_look() {
        let index = KeyIndex::new(Vec::new());
        for (time, since) in [(1_700_000_000_123_456, 1_700_000_000_123_000), (0, 0), (-1, -1_000), (-5_000_001, -5_001_000)] {
            let mut identity = Identity::new(StepId(2), &index, 0);
            identity.add(Moment { time, number: 7 }, 1);
            let id = identity.id(time);
            assert_eq!((id.to_string().parse(), id.since()), (Ok(id), EventTime(since)));
            identity.add(Moment { time, number: 8 }, 1);
            assert_ne!(identity.id(time), id, "another event is another match");
        }
        for text in ["", "0193d2f6b5a0", "0193d2f6b5a0-4f0e", "0193d2f6b5a0-4F0e9d2c77a1b3e8", "+193d2f6b5a0-4f0e9d2c77a1b3e8"] {
            assert!(text.parse::<MatchId>().is_err(), "{text}");
        }
    }
}
