//! Rows that a receiver refused and that somebody wants sent once more: which letters, in which requests, kept in a document.
//!
//! ```text
//! asked ─► which ones, and their parcels: one document, on disk ─► answered
//!                                            lane: a parcel ─► one request under its own key ─► taken: out of the document
//!                                                                                            └► refused: two parcels; one row: a new letter
//! ```
//! A parcel keeps its number and its rows until it is taken, so after a crash the same rows go under the same key. A letter that was
//! asked for once is not asked for twice unless somebody insists.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tidemill_connect::{BatchBounds, SinkError};
use tidemill_event::{Offset, PartitionId};
use tidemill_log::Log;

use crate::dead_letters::{DeadLetterId, RefusedLetter, ReplayedLetters};
use crate::task::Replayed;

/// Letters of one sink and partition that may wait; one more is refused.
const WAITING_MAX: usize = 10_000;

/// More parcels than any host sends between a backup and its end.
const NUMBERS_OF_A_LIFE: u64 = 1 << 32;

/// What one sink of one partition sends again. The lock is held while the document is stored: by whoever asks, and by the lane
/// between two requests, never during one.
pub(crate) struct Again {
    log: Log,
    key: String,
    /// The partition of the dead letters that this sink's are in.
    place: PartitionId,
    kept: Mutex<Kept>,
}

#[derive(Clone)]
struct Kept {
    /// The random part of its keys.
    life: String,
    /// The number of the next parcel.
    next: u64,
    replayed: Replayed,
    /// In the order in which they are sent.
    parcels: Vec<Parcel>,
}

/// Letters that go in one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parcel {
    /// Never used twice.
    pub(super) number: u64,
    /// Offsets among the dead letters, ascending.
    pub(super) letters: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    life: String,
    next: u64,
    replayed: Vec<(u64, u64)>,
    parcels: Vec<Parcel>,
}

/// The document of a restored host: parcels there are keep their numbers, and later ones have none that the host that was backed up
/// can have used. `None`: it is no such document.
pub(super) fn renumbered(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut stored: Stored = serde_json::from_slice(bytes).ok()?;
    stored.next += NUMBERS_OF_A_LIFE;
    serde_json::to_vec(&stored).ok()
}

impl Again {
    /// As its document says; `life` counts if there is none yet.
    pub(super) fn open(log: Log, key: String, place: PartitionId, life: String) -> Self {
        let new = Kept { life, next: 0, replayed: Replayed::default(), parcels: Vec::new() };
        let read = log.document(&key).map(|bytes| serde_json::from_slice::<Stored>(&bytes));
        let kept = match read {
            None => new,
            Some(Ok(Stored { life, next, replayed, parcels })) => {
                Kept { life, next, replayed: replayed.into_iter().collect(), parcels }
            }
            Some(Err(error)) => {
                tracing::error!(key, "which refused rows were sent again cannot be read, it begins anew: {error}");
                new
            }
        };
        Self { log, key, place, kept: Mutex::new(kept) }
    }

    /// Which letters were asked for, and of which of their partitions.
    pub(crate) fn replayed(&self) -> (PartitionId, Replayed) {
        (self.place, self.kept.lock().replayed.clone())
    }

    /// Letters that are not taken yet.
    pub(crate) fn waiting(&self) -> usize {
        self.kept.lock().waiting()
    }

    /// Takes letters in, each with its size, cut into parcels of at most `bounds`. On disk when it returns.
    pub(crate) fn ask(&self, letters: &[(Offset, u64)], bounds: BatchBounds, force: bool) -> Result<ReplayedLetters, SinkError> {
        let mut kept = self.kept.lock();
        let mut changed = kept.clone();
        let mut answer = ReplayedLetters::default();
        let (mut parcel, mut bytes) = (Vec::new(), 0);
        for (offset, size) in letters {
            let refusal = match () {
                () if changed.replayed.contains(*offset) && !force => "it was replayed before; `force` does it again",
                () if changed.replayed.is_full() => "too many single letters of this partition were replayed already",
                () if changed.waiting() + parcel.len() >= WAITING_MAX => "too many letters wait for this target: ask again later",
                () => {
                    let is_full = parcel.len() as u64 >= bounds.rows || bytes + size > bounds.bytes;
                    if is_full && !parcel.is_empty() {
                        changed.add(std::mem::take(&mut parcel));
                        bytes = 0;
                    }
                    parcel.push(offset.0);
                    bytes += size;
                    changed.replayed.insert(*offset);
                    answer.replayed += 1;
                    continue;
                }
            };
            let id = DeadLetterId { partition: self.place, offset: *offset };
            answer.refused.push(RefusedLetter { id, why: refusal.to_owned() });
        }
        if !parcel.is_empty() {
            changed.add(parcel);
        }
        if answer.replayed > 0 {
            self.store(&mut kept, changed)?;
        }
        Ok(answer)
    }

    /// The parcel to send next, and the random part of its key.
    pub(super) fn first(&self) -> Option<(Parcel, String)> {
        let kept = self.kept.lock();
        kept.parcels.first().map(|parcel| (parcel.clone(), kept.life.clone()))
    }

    /// A parcel is where it belongs.
    pub(super) fn done(&self, number: u64) -> Result<(), SinkError> {
        let mut kept = self.kept.lock();
        let mut changed = kept.clone();
        changed.parcels.retain(|parcel| parcel.number != number);
        self.store(&mut kept, changed)
    }

    /// A parcel of several rows was refused: it is two now.
    pub(super) fn halve(&self, number: u64) -> Result<(), SinkError> {
        let mut kept = self.kept.lock();
        let mut changed = kept.clone();
        let Some(at) = changed.parcels.iter().position(|parcel| parcel.number == number) else { return Ok(()) };
        let Parcel { mut letters, .. } = changed.parcels.remove(at);
        let behind = letters.split_off(letters.len() / 2);
        for letters in [behind, letters] {
            changed.parcels.insert(at, Parcel { number: changed.next, letters });
            changed.next += 1;
        }
        self.store(&mut kept, changed)
    }

    fn store(&self, kept: &mut Kept, changed: Kept) -> Result<(), SinkError> {
        let stored = Stored {
            life: changed.life.clone(),
            next: changed.next,
            replayed: changed.replayed.ranges().collect(),
            parcels: changed.parcels.clone(),
        };
        let bytes = serde_json::to_vec(&stored).expect("numbers and text are JSON");
        self.log.put_documents(vec![(self.key.clone(), Some(bytes))]).map_err(|error| SinkError::Log(error.to_string()))?;
        *kept = changed;
        Ok(())
    }
}

/// A document without what it says of letters from `end` on; `None` if it says nothing of them, or cannot be read.
pub(super) fn cut_back(document: &[u8], end: Offset) -> Option<Vec<u8>> {
    let mut stored: Stored = serde_json::from_slice(document).ok()?;
    let before = (stored.replayed.clone(), stored.parcels.clone());
    stored.replayed.retain_mut(|(start, until)| {
        *until = (*until).min(end.0);
        start < until
    });
    for parcel in &mut stored.parcels {
        parcel.letters.retain(|letter| *letter < end.0);
    }
    stored.parcels.retain(|parcel| !parcel.letters.is_empty());
    let is_changed = before != (stored.replayed.clone(), stored.parcels.clone());
    is_changed.then(|| serde_json::to_vec(&stored).expect("numbers and text are JSON"))
}

impl Kept {
    fn waiting(&self) -> usize {
        self.parcels.iter().map(|parcel| parcel.letters.len()).sum()
    }

    fn add(&mut self, letters: Vec<u64>) {
        self.parcels.push(Parcel { number: self.next, letters });
        self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tidemill_log::{LogSettings, RealDisk};

    use super::*;

    const BOUNDS: BatchBounds = BatchBounds { rows: 3, bytes: 100, every: Duration::ZERO };

    fn parcels(again: &Again) -> Vec<(u64, Vec<u64>)> {
        again.kept.lock().parcels.iter().map(|parcel| (parcel.number, parcel.letters.clone())).collect()
    }

    #[test]
    fn letters_are_asked_for_once_and_their_parcels_outlive_a_start() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = Log::open(LogSettings::new(dir.path()), Arc::new(RealDisk)).expect("a log");
        let open = || Again::open(log.clone(), "sink/a/p/hook/0/again".to_owned(), PartitionId(0), "life".to_owned());
        let letters = |offsets: &[u64], size| offsets.iter().map(|offset| (Offset(*offset), size)).collect::<Vec<_>>();
        let ask = |again: &Again, offsets: &[u64], size, force| {
            let answer = again.ask(&letters(offsets, size), BOUNDS, force).expect("on disk");
            (answer.replayed, answer.refused.len())
        };
        let again = open();
        assert_eq!(ask(&again, &[1, 2, 3, 7], 10, false), (4, 0));
        assert_eq!(ask(&again, &[3, 9, 10], 60, false), (2, 1), "one of them again");
        let expected = vec![(0, vec![1, 2, 3]), (1, vec![7]), (2, vec![9]), (3, vec![10])];
        assert_eq!(parcels(&again), expected, "three rows, or a hundred bytes");
        let again = open();
        assert_eq!((parcels(&again), again.waiting()), (expected, 6));
        again.halve(0).expect("on disk");
        again.done(1).expect("on disk");
        let again = open();
        assert_eq!(parcels(&again), [(5, vec![1]), (4, vec![2, 3]), (2, vec![9]), (3, vec![10])]);
        assert_eq!(ask(&again, &[1, 8], 1, true), (2, 0), "somebody insists");
        assert_eq!(parcels(&again).last(), Some(&(6, vec![1, 8])));
    }

    #[test]
    fn what_waits_is_bounded() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = Log::open(LogSettings::new(dir.path()), Arc::new(RealDisk)).expect("a log");
        let again = Again::open(log, "again".to_owned(), PartitionId(2), "life".to_owned());
        let letters: Vec<_> = (0..WAITING_MAX as u64 + 5).map(|offset| (Offset(offset), 1)).collect();
        let answer = again.ask(&letters, BOUNDS, false).expect("on disk");
        assert_eq!((answer.replayed, answer.refused.len(), again.waiting()), (WAITING_MAX, 5, WAITING_MAX));
        assert_eq!(answer.refused[0].id.to_string(), "2:10000");
    }
}
