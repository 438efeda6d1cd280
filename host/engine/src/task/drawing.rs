//! Changed state on its way out of the steps, bit by bit between batches, so that no checkpoint stops its task for long.
//!
//! ```text
//! batch ─ draw ─ batch ─ draw ─ batch ─ what is left fits into one draw: the checkpoint, as of here
//!           └── pieces ──┴──────────────┘      what changed again behind its draw is drawn again, and the last one counts
//! ```
//! A draw takes more entries than a batch can touch, so it comes to an end. What was drawn is nobody's state yet: a checkpoint that does
//! not come about leaves nothing of it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tidemill_flow::{Chain, InStore, Save};
use tidemill_state::{Change, CheckpointId, Stored};

use crate::plan::Plan;
use crate::task::machine::cpu_time;
use crate::task::restore::operator_of;

/// Entries that are made bytes at once: some ten milliseconds. Eight times what a batch can touch, so that drawing all of what fills half of the
/// memory for state ends before the rows taken meanwhile fill the rest: else all that is left would have to be drawn at once.
pub(super) const DRAW_ENTRIES: usize = 32_768;
/// What an entry takes in memory beside its bytes: its place in tables, lists and columns.
pub(super) const ENTRY_BYTES: u64 = 96;
/// What an entry's bytes are taken for before one was seen.
const UNSEEN_BYTES: u64 = 64;

/// What is drawn for the next checkpoint.
#[derive(Default)]
pub(super) struct Drawn {
    /// By draw: joined they would be copied as they grow, while rows wait.
    changes: Vec<Vec<Change>>,
    /// The longest that rows waited for one draw.
    longest: Duration,
    /// CPU time of all of them.
    spent: Duration,
    sizes: Sizes,
}

impl Drawn {
    /// Takes about so many entries of each step, for the checkpoint of that number. Whether that was everything.
    pub(super) fn draw(&mut self, plan: &Plan, chain: &mut Chain, most: usize, checkpoint: CheckpointId) -> bool {
        let (begun, busy) = (Instant::now(), cpu_time());
        let mut left = 0;
        for (step, table) in chain.tables() {
            let Some(operator) = operator_of(plan, step.0) else { continue };
            let changes = table.take_some(most, Save::number(checkpoint.0)).into_iter().map(|change| Change {
                operator,
                key: change.key.into_vec(),
                value: change.value.map(<[u8]>::into_vec),
                stored: match change.stored {
                    InStore::Nothing => Stored::Nothing,
                    InStore::Under(save) => Stored::Under(CheckpointId(u64::from(save.0))),
                    InStore::Unknown => Stored::Unknown,
                },
            });
            let changes: Vec<Change> = changes.collect();
            self.sizes.saw(step.0, &changes);
            self.changes.push(changes);
            left += table.changed_len();
        }
        self.longest = self.longest.max(begun.elapsed());
        self.spent += cpu_time().saturating_sub(busy);
        left == 0
    }

    /// Adds what is no step's.
    pub(super) fn add(&mut self, changes: Vec<Change>) {
        self.changes.push(changes);
    }

    /// Everything that was drawn, in the order of drawing; the next checkpoint begins.
    pub(super) fn take(&mut self) -> Taken {
        let Self { changes, longest, spent, .. } = self;
        Taken { changes: std::mem::take(changes), longest: std::mem::take(longest), spent: std::mem::take(spent) }
    }

    /// What the state of a step takes in memory, about.
    pub(super) fn memory_bytes(&self, step: u32, entries: usize) -> u64 {
        self.sizes.of(step) * entries as u64
    }

    /// What entries of a step are like that were read from the store.
    pub(super) fn saw(&mut self, step: u32, entries: usize, bytes: usize) {
        self.sizes.add(step, entries, bytes);
    }
}

/// What a checkpoint is made of.
pub(super) struct Taken {
    /// By draw.
    pub(super) changes: Vec<Vec<Change>>,
    /// How long rows waited at most for a draw.
    pub(super) longest: Duration,
    /// What all draws cost in CPU time.
    pub(super) spent: Duration,
}

/// How large entries are, by step, as far as they were seen.
#[derive(Default)]
struct Sizes {
    /// Mean bytes of an entry, smoothed over draws.
    means: HashMap<u32, u64>,
}

impl Sizes {
    fn saw(&mut self, step: u32, changes: &[Change]) {
        let live = changes.iter().filter_map(|change| Some(change.key.len() + change.value.as_ref()?.len()));
        let (entries, bytes) = live.fold((0, 0), |(entries, bytes), entry| (entries + 1, bytes + entry));
        self.add(step, entries, bytes);
    }

    fn add(&mut self, step: u32, entries: usize, bytes: usize) {
        if let Some(mean) = bytes.checked_div(entries) {
            let mean = mean as u64;
            self.means.entry(step).and_modify(|before| *before = (*before * 3 + mean).div_ceil(4)).or_insert(mean);
        }
    }

    fn of(&self, step: u32) -> u64 {
        ENTRY_BYTES + self.means.get(&step).copied().unwrap_or(UNSEEN_BYTES)
    }
}

/// Each key once, as it was last, in order: what a checkpoint writes. What came and went since the one before is not there at all.
pub(super) fn settled(drawn: Vec<Vec<Change>>) -> Vec<Change> {
    let mut changes: Vec<Change> = drawn.into_iter().flatten().collect();
    // Equal keys stay in the order of drawing; the last of them is kept, and the first knows what the store has.
    changes.sort_by(|a, b| (a.operator, &a.key).cmp(&(b.operator, &b.key)));
    changes.dedup_by(|later, kept| {
        let is_same = (later.operator, &later.key) == (kept.operator, &kept.key);
        if is_same {
            later.stored = kept.stored;
            std::mem::swap(later, kept);
        }
        is_same
    });
    changes.retain(|change| change.value.is_some() || change.stored != Stored::Nothing);
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_key_that_was_drawn_twice_the_last_counts() {
        let change = |key: &str, value: Option<&str>, stored| Change {
            operator: 1,
            key: key.into(),
            value: value.map(Into::into),
            stored,
        };
        let (four, five) = (Stored::Under(CheckpointId(4)), Stored::Under(CheckpointId(5)));
        let drawn = vec![
            change("b", Some("1"), Stored::Nothing),
            change("a", None, four),
            change("c", Some("1"), Stored::Nothing),
            change("b", None, five),
            change("a", Some("2"), Stored::Nothing),
            change("b", Some("3"), Stored::Nothing),
            change("c", None, five),
            change("d", None, four),
        ];
        assert_eq!(
            settled(vec![drawn]),
            [change("a", Some("2"), four), change("b", Some("3"), Stored::Nothing), change("d", None, four)],
            "`c` came and went"
        );
    }
}
