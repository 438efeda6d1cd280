//! Rows that come back to a step later: put back by a component that asked for it, by a batch that had cost enough, or while a step is
//! taken out. Part of a task's state.
//!
//! ```text
//! line  (step, number) ─► group: step, rows as they stood before it, the events they were made of      as soon as the step takes rows
//! due   (time, number) ─► group                                                                         not before that time
//! ```
//! In line is what may not be overtaken: the rest of a batch that had cost enough, and rows of a step that is taken out. What comes
//! back of it to the line goes to its front. Of two lines the later step's comes first: its rows are ahead of those that have yet to
//! reach it. So rows meet a step in their order, whatever happened on the way, except for those that a component sent to wait.
//!
//! What comes first is decided by these alone, so a replay that is told the same times and counts takes the same rows. Only rows that a component asked for are bounded ([`WAITING_ROWS_MAX`], [`WAITING_BYTES_MAX`]): beyond that they
//! are dead. The others stand in the way of new rows, so there is one batch of them at most.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::RecordBatch;
use tidemill_event::batch::concat;
use tidemill_event::{EventTime, Offset, PartitionId, Reason};

use crate::checksum::checksum;
use crate::{DeadRow, FlowBatch, Outcome, PutBack, RowOf, StepId, Wait};

/// Rows of a task that may wait because a component asked for it; one more is dead.
pub const WAITING_ROWS_MAX: usize = 10_000;
/// Bytes of them; a row beyond is dead.
pub const WAITING_BYTES_MAX: usize = 16 << 20;

/// Where an event stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The stream's name.
    pub stream: Arc<str>,
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: Offset,
}

/// The events that the rows of a batch were made of: row `origin` of them each.
#[derive(Debug, Clone)]
pub struct Sources {
    /// As the pipeline read them.
    pub rows: Arc<RecordBatch>,
    places: Places,
}

#[derive(Debug, Clone)]
enum Places {
    /// Events that stand behind each other, from here.
    Range(Place),
    /// Some of those that stand behind each other from here: how far behind the first each is.
    Some(Place, Vec<u32>),
    Each(Vec<Place>),
}

impl Sources {
    /// A block of a stream that begins at `first`.
    pub fn block(rows: RecordBatch, first: Place) -> Self {
        Self { rows: Arc::new(rows), places: Places::Range(first) }
    }

    /// Some rows of a block of a stream that begins at `first`: how far behind its first each is.
    ///
    /// # Panics
    /// If there is not a place for each.
    pub fn some(rows: RecordBatch, first: Place, behind: Vec<u32>) -> Self {
        assert_eq!(rows.num_rows(), behind.len(), "a place for each event");
        Self { rows: Arc::new(rows), places: Places::Some(first, behind) }
    }

    /// Events from anywhere.
    ///
    /// # Panics
    /// If there is not a place for each.
    pub fn each(rows: RecordBatch, places: Vec<Place>) -> Self {
        assert_eq!(rows.num_rows(), places.len(), "a place for each event");
        Self { rows: Arc::new(rows), places: Places::Each(places) }
    }

    /// Where one of them stands.
    pub fn place(&self, origin: u32) -> Place {
        match &self.places {
            Places::Range(first) => Place { offset: first.offset.plus(origin as usize), ..first.clone() },
            Places::Some(first, behind) => Place { offset: first.offset.plus(behind[origin as usize] as usize), ..first.clone() },
            Places::Each(places) => places[origin as usize].clone(),
        }
    }

    /// Only the events of these rows, each once, and the rows with their new origins.
    fn compact(&self, rows: FlowBatch) -> (FlowBatch, Self) {
        let mut needed = rows.origin.clone();
        needed.dedup();
        let origin = rows.origin.iter().map(|old| needed.binary_search(old).expect("it is needed") as u32).collect();
        let all = FlowBatch { rows: (*self.rows).clone(), origin: (0..self.rows.num_rows() as u32).collect() };
        let sources = Self::each(all.picked(&needed).rows, needed.iter().map(|old| self.place(*old)).collect());
        (FlowBatch { rows: rows.rows, origin }, sources)
    }

    /// All of them behind each other.
    fn concat(all: &[&Self]) -> Self {
        let places = all.iter().flat_map(|sources| (0..sources.rows.num_rows() as u32).map(|origin| sources.place(origin)));
        let rows: Vec<RecordBatch> = all.iter().map(|sources| (*sources.rows).clone()).collect();
        Self::each(concat(&rows), places.collect())
    }
}

/// Rows that wait together.
#[derive(Debug, Clone)]
pub struct Group {
    /// Not before then; `None`: they stand in line.
    pub due: Option<EventTime>,
    /// The step they come back to.
    pub step: StepId,
    /// How often its component asked for that.
    pub attempts: u32,
    /// As they stood before it.
    pub rows: FlowBatch,
    /// What they were made of.
    pub sources: Sources,
}

impl Group {
    /// Its rows are dead; their origins are those of its own events.
    pub fn bury(&self, error: &str, output: &mut Outcome) {
        bury(output, self, &self.rows.origin, error);
    }

    fn bytes(&self) -> usize {
        self.rows.rows.get_array_memory_size() + self.sources.rows.get_array_memory_size()
    }

    fn joins(&self, other: &Self) -> bool {
        (self.step, self.attempts) == (other.step, other.attempts)
            && self.rows.rows.schema_ref() == other.rows.rows.schema_ref()
            && self.sources.rows.schema_ref() == other.sources.rows.schema_ref()
    }

    /// Groups that join, behind each other; put together once, because there may be thousands of a row each.
    fn concat(mut groups: Vec<Self>) -> Option<Self> {
        if groups.len() < 2 {
            return groups.pop();
        }
        let sources = Sources::concat(&groups.iter().map(|group| &group.sources).collect::<Vec<_>>());
        let Self { due, step, attempts, .. } = groups[0];
        let mut behind = 0;
        let shifted = |group: Self| {
            let origin = group.rows.origin.iter().map(|origin| origin + behind).collect();
            behind += group.sources.rows.num_rows() as u32;
            FlowBatch { rows: group.rows.rows, origin }
        };
        let rows = FlowBatch::concat(groups.into_iter().map(shifted).collect());
        Some(Self { due, step, attempts, rows, sources })
    }
}

/// A group that waits, and what it was counted as.
#[derive(Debug)]
struct Kept {
    group: Group,
    bytes: usize,
}

/// A group that came or went since the last checkpoint.
#[derive(Debug)]
pub struct GroupChange<'a> {
    /// Its number.
    pub number: i64,
    /// What it is now; `None`: it is gone.
    pub group: Option<&'a Group>,
}

/// All rows of a task that wait.
#[derive(Debug, Default)]
pub struct Waiting {
    groups: BTreeMap<i64, Kept>,
    /// Of all groups; counted as they come and go, because there may be thousands.
    rows: usize,
    /// Rows and bytes of those that are due at a time.
    due_rows: usize,
    due_bytes: usize,
    due: BTreeSet<(EventTime, i64)>,
    line: BTreeSet<(StepId, i64)>,
    /// The numbers of the next group at the back, and of the next at the front.
    back: i64,
    front: i64,
    changed: BTreeSet<i64>,
}

impl Waiting {
    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// When the next row is due that is not in line.
    pub fn next_due(&self) -> Option<EventTime> {
        self.due.first().map(|(due, ..)| *due)
    }

    /// The steps before which rows stand in line, in the order in which they are to be let on.
    pub fn lines(&self) -> Vec<StepId> {
        let mut steps: Vec<StepId> = self.line.iter().rev().map(|(step, _)| *step).collect();
        steps.dedup();
        steps
    }

    /// Takes over what a batch put back at `clock`, with the events of that batch; `from_line`: the batch was the front of that step's
    /// line. Rows beyond the bounds are dead in `output`.
    pub fn take_over(&mut self, output: &mut Outcome, sources: &Sources, clock: EventTime, from_line: Option<StepId>) {
        let mut fronts = Vec::new();
        for PutBack { step, rows, wait, attempts } in std::mem::take(&mut output.put_back) {
            let due = match wait {
                Wait::For(wait) => {
                    let micros = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
                    Some(EventTime(clock.0.saturating_add(micros)))
                }
                Wait::Not | Wait::Held => None,
            };
            let origins = rows.origin.clone();
            let (rows, sources) = sources.compact(rows);
            let group = Group { due, step, attempts, rows, sources };
            if due.is_some() && self.is_full(&group) {
                let error = format!("too many rows of this task wait to be tried again (at most {WAITING_ROWS_MAX})");
                bury(output, &group, &origins, &error);
            } else if due.is_none() && from_line == Some(step) {
                fronts.push(group);
            } else {
                self.add(group);
            }
        }
        for group in fronts.into_iter().rev() {
            self.front -= 1;
            self.changed.insert(self.front);
            self.put(self.front, group);
        }
    }

    fn is_full(&self, group: &Group) -> bool {
        self.due_rows + group.rows.len() > WAITING_ROWS_MAX || self.due_bytes + group.bytes() > WAITING_BYTES_MAX
    }

    /// Rows that wait from now on, behind the others.
    pub fn add(&mut self, group: Group) {
        let number = self.back;
        self.back += 1;
        self.put(number, group);
        self.changed.insert(number);
    }

    fn put(&mut self, number: i64, group: Group) {
        let (rows, bytes) = (group.rows.len(), group.bytes());
        self.rows += rows;
        match group.due {
            Some(due) => {
                self.due.insert((due, number));
                self.due_rows += rows;
                self.due_bytes += bytes;
            }
            None => {
                self.line.insert((group.step, number));
            }
        }
        self.groups.insert(number, Kept { group, bytes });
    }

    fn remove(&mut self, number: i64) -> Group {
        let Kept { group, bytes } = self.groups.remove(&number).expect("a number that is listed has a group");
        let rows = group.rows.len();
        self.rows -= rows;
        match group.due {
            Some(due) => {
                self.due.remove(&(due, number));
                self.due_rows -= rows;
                self.due_bytes -= bytes;
            }
            None => {
                self.line.remove(&(group.step, number));
            }
        }
        group
    }

    /// A stored group, which does not count as changed.
    pub fn restore(&mut self, number: i64, group: Group) {
        self.back = self.back.max(number + 1);
        self.front = self.front.min(number);
        self.put(number, group);
    }

    /// What changed since this was last called, by number; for a checkpoint. From now on nothing has changed.
    pub fn take_changes(&mut self) -> Vec<GroupChange<'_>> {
        let changed = std::mem::take(&mut self.changed);
        changed
            .into_iter()
            .map(|number| GroupChange { number, group: self.groups.get(&number).map(|kept| &kept.group) })
            .collect()
    }

    /// The rows that come back at `now`: of one step, the first that are due, at most `rows_max`.
    pub fn take_due(&mut self, now: EventTime, rows_max: usize) -> Option<Group> {
        // A group has a row at least, so more groups than that are never needed.
        let due = self.due.iter().take_while(|(due, _)| *due <= now).take(rows_max.max(1));
        let numbers: Vec<i64> = due.map(|(_, number)| *number).collect();
        self.take(&numbers, rows_max)
    }

    /// The front of a step's line, at most `rows_max` rows.
    pub fn take_line(&mut self, step: StepId, rows_max: usize) -> Option<Group> {
        let line = self.line.range((step, i64::MIN)..=(step, i64::MAX)).take(rows_max.max(1));
        let numbers: Vec<i64> = line.map(|(_, number)| *number).collect();
        self.take(&numbers, rows_max)
    }

    fn take(&mut self, numbers: &[i64], rows_max: usize) -> Option<Group> {
        let rows_max = rows_max.max(1);
        let (mut taken, mut rows): (Vec<Group>, usize) = (Vec::new(), 0);
        for number in numbers {
            let group = &self.groups[number].group;
            if rows >= rows_max || taken.first().is_some_and(|first| !first.joins(group)) {
                break;
            }
            let group = self.cut(*number, rows_max - rows);
            rows += group.rows.len();
            taken.push(group);
        }
        Group::concat(taken)
    }

    /// The first rows of a group; what is left keeps its number.
    fn cut(&mut self, number: i64, rows_max: usize) -> Group {
        let group = self.remove(number);
        self.changed.insert(number);
        let rows = group.rows.len();
        if rows <= rows_max {
            return group;
        }
        self.put(number, Group { rows: group.rows.slice(&(rows_max..rows)), ..group.clone() });
        Group { rows: group.rows.slice(&(0..rows_max)), ..group }
    }

    /// One number for what waits: the same for the same groups in the same order, whatever their numbers. 0 if none does.
    pub fn checksum(&self) -> u64 {
        self.groups.values().fold(0, |sum, Kept { group, .. }| {
            let mut bytes = Vec::with_capacity(32);
            bytes.extend(group.due.map_or(i64::MIN, |due| due.0).to_le_bytes());
            bytes.extend(group.step.0.to_le_bytes());
            bytes.extend(group.attempts.to_le_bytes());
            bytes.extend((group.rows.len() as u64).to_le_bytes());
            checksum(sum, &bytes)
        })
    }

    /// Groups by their numbers: those whose step is no more, for whoever changed the plan to bury them.
    pub fn take_numbers(&mut self, numbers: &[i64]) -> Vec<Group> {
        let there: Vec<i64> = numbers.iter().copied().filter(|number| self.groups.contains_key(number)).collect();
        there.into_iter().map(|number| self.cut(number, usize::MAX)).collect()
    }
}

fn bury(output: &mut Outcome, group: &Group, origins: &[u32], error: &str) {
    let rows = Arc::new(group.rows.rows.clone());
    let error: Arc<str> = error.into();
    output.dead.extend(origins.iter().enumerate().map(|(row, origin)| DeadRow {
        origin: *origin,
        step: group.step,
        component: None,
        reason: Reason::RejectedByComponent,
        error: error.clone(),
        backtrace: "".into(),
        event: RowOf { rows: rows.clone(), row },
        is_result: false,
    }));
}
