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
    Each(Vec<Place>),
}

impl Sources {
    /// A block of a stream that begins at `first`.
    pub fn block(rows: RecordBatch, first: Place) -> Self {
        Self { rows: Arc::new(rows), places: Places::Range(first) }
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

    fn then(self, other: Self) -> Self {
        let places = (0..self.rows.num_rows() as u32).map(|origin| self.place(origin));
        let others = (0..other.rows.num_rows() as u32).map(|origin| other.place(origin));
        Self::each(concat(&[(*self.rows).clone(), (*other.rows).clone()]), places.chain(others).collect())
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
    groups: BTreeMap<i64, Group>,
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
        self.groups.values().map(|group| group.rows.len()).sum()
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
        let (mut rows, mut bytes) = (group.rows.len(), group.bytes());
        for waiting in self.groups.values().filter(|group| group.due.is_some()) {
            rows += waiting.rows.len();
            bytes += waiting.bytes();
        }
        rows > WAITING_ROWS_MAX || bytes > WAITING_BYTES_MAX
    }

    /// Rows that wait from now on, behind the others.
    pub fn add(&mut self, group: Group) {
        let number = self.back;
        self.back += 1;
        self.put(number, group);
        self.changed.insert(number);
    }

    fn put(&mut self, number: i64, group: Group) {
        match group.due {
            Some(due) => self.due.insert((due, number)),
            None => self.line.insert((group.step, number)),
        };
        self.groups.insert(number, group);
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
        changed.into_iter().map(|number| GroupChange { number, group: self.groups.get(&number) }).collect()
    }

    /// The rows that come back at `now`: of one step, the first that are due, at most `rows_max`.
    pub fn take_due(&mut self, now: EventTime, rows_max: usize) -> Option<Group> {
        let numbers: Vec<i64> = self.due.iter().take_while(|(due, _)| *due <= now).map(|(_, number)| *number).collect();
        self.take(&numbers, rows_max)
    }

    /// The front of a step's line, at most `rows_max` rows.
    pub fn take_line(&mut self, step: StepId, rows_max: usize) -> Option<Group> {
        let numbers: Vec<i64> = self.line.range((step, i64::MIN)..=(step, i64::MAX)).map(|(_, number)| *number).collect();
        self.take(&numbers, rows_max)
    }

    fn take(&mut self, numbers: &[i64], rows_max: usize) -> Option<Group> {
        let mut taken: Option<Group> = None;
        for number in numbers {
            let have = taken.as_ref().map_or(0, |taken| taken.rows.len());
            let group = &self.groups[number];
            if have >= rows_max.max(1) || taken.as_ref().is_some_and(|taken| !taken.joins(group)) {
                break;
            }
            let group = self.cut(*number, rows_max.max(1) - have);
            taken = Some(match taken {
                None => group,
                Some(before) => {
                    let behind = before.sources.rows.num_rows() as u32;
                    let origin = group.rows.origin.iter().map(|origin| origin + behind).collect();
                    let rows = FlowBatch::concat(vec![before.rows, FlowBatch { rows: group.rows.rows, origin }]);
                    Group { rows, sources: before.sources.then(group.sources), ..before }
                }
            });
        }
        taken
    }

    /// The first rows of a group; what is left keeps its number.
    fn cut(&mut self, number: i64, rows_max: usize) -> Group {
        let group = self.groups.remove(&number).expect("a number that is listed has a group");
        self.changed.insert(number);
        let rows = group.rows.len();
        if rows > rows_max {
            let rest = Group { rows: group.rows.slice(&(rows_max..rows)), ..group.clone() };
            self.groups.insert(number, rest);
            return Group { rows: group.rows.slice(&(0..rows_max)), ..group };
        }
        match group.due {
            Some(due) => self.due.remove(&(due, number)),
            None => self.line.remove(&(group.step, number)),
        };
        group
    }

    /// One number for what waits: the same for the same groups in the same order, whatever their numbers. 0 if none does.
    pub fn checksum(&self) -> u64 {
        self.groups.values().fold(0, |sum, group| {
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
        reason: Reason::RejectedByComponent,
        error: error.clone(),
        backtrace: "".into(),
        event: RowOf { rows: rows.clone(), row },
    }));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::example::{batch, show};

    fn sources(text: &str) -> Sources {
        let first = Place { stream: "s".into(), partition: PartitionId(2), offset: Offset(100) };
        Sources::block(batch(text).rows, first)
    }

    /// `origin:k=v` of a group, and the offsets of its events.
    fn shown(group: Option<Group>) -> String {
        let Some(group) = group else { return "none".to_owned() };
        let rows = show(&group.rows, &Outcome::new(EventTime(0)));
        let offsets: Vec<String> =
            group.rows.origin.iter().map(|origin| group.sources.place(*origin).offset.to_string()).collect();
        format!("step {}, {} times: {} at {}", group.step, group.attempts, rows.trim_end_matches(" | "), offsets.join(" "))
    }

    #[test]
    fn of_two_steps_the_later_ones_rows_are_ahead() {
        let mut waiting = Waiting::default();
        let mut output = Outcome::new(EventTime(5));
        output.put_back(StepId(1), batch("a:1 b:2").picked(&[1]), Wait::Not, 0);
        output.put_back(StepId(3), batch("a:1 b:2").picked(&[0]), Wait::Not, 0);
        waiting.take_over(&mut output, &sources("a:1 b:2"), EventTime(5), None);
        assert_eq!(waiting.lines(), [StepId(3), StepId(1)]);
    }

    #[test]
    fn what_comes_back_to_a_line_stands_at_its_front() {
        let mut waiting = Waiting::default();
        back(&mut waiting, "a:1 b:2 c:3 d:4", &[0, 1, 2, 3], Wait::Not, 0, 0);
        let group = waiting.take_line(StepId(1), 3).expect("three rows");
        let mut output = Outcome::new(EventTime(0));
        output.put_back(StepId(1), group.rows.picked(&[1]), Wait::Held, 0);
        output.put_back(StepId(1), group.rows.picked(&[2]), Wait::Not, 0);
        waiting.take_over(&mut output, &group.sources, EventTime(0), Some(StepId(1)));
        assert_eq!(shown(waiting.take_line(StepId(1), 9)), "step 1, 0 times: 0:b=2 1:c=3 5:d=4 at 101 102 103");
    }

    fn back(waiting: &mut Waiting, text: &str, rows: &[u32], wait: Wait, attempts: u32, clock: i64) {
        let mut output = Outcome::new(EventTime(clock));
        output.put_back(StepId(1), batch(text).picked(rows), wait, attempts);
        waiting.take_over(&mut output, &sources(text), EventTime(clock), None);
        assert!(output.put_back.is_empty());
    }

    #[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
    fn check(waiting: &mut Waiting, now: i64, rows_max: usize, expected: Expect) {
        expected.assert_eq(&shown(waiting.take_due(EventTime(now), rows_max)));
    }

    #[test]
    fn rows_come_back_by_time_then_number() {
        let mut waiting = Waiting::default();
        back(&mut waiting, "a:1 b:2 c:3", &[0, 2], Wait::For(Duration::from_micros(50)), 1, 10);
        back(&mut waiting, "d:4 e:5", &[1], Wait::For(Duration::from_micros(20)), 1, 20);
        back(&mut waiting, "f:6", &[0], Wait::For(Duration::from_micros(40)), 2, 20);
        assert_eq!((waiting.rows(), waiting.next_due()), (4, Some(EventTime(40))));
        check(&mut waiting, 39, 10, expect!["none"]);
        // What joins comes together, up to the rows wanted; other attempts are another batch.
        check(&mut waiting, 60, 2, expect!["step 1, 1 times: 0:e=5 1:a=1 at 101 100"]);
        check(&mut waiting, 60, 2, expect!["step 1, 1 times: 1:c=3 at 102"]);
        check(&mut waiting, 60, 2, expect!["step 1, 2 times: 0:f=6 at 100"]);
        assert!(waiting.is_empty());
    }

    #[test]
    fn rows_in_line_keep_their_order_and_are_not_due() {
        let mut waiting = Waiting::default();
        back(&mut waiting, "a:1 b:2", &[0, 1], Wait::Held, 0, 0);
        back(&mut waiting, "c:3", &[0], Wait::Held, 0, 0);
        check(&mut waiting, i64::MAX, 10, expect!["none"]);
        assert_eq!(waiting.lines(), [StepId(1)]);
        assert_eq!(shown(waiting.take_line(StepId(1), 10)), "step 1, 0 times: 0:a=1 1:b=2 2:c=3 at 100 101 100");
        assert_eq!(shown(waiting.take_line(StepId(1), 10)), "none");
    }

    #[test]
    fn changes_are_what_came_and_went() {
        let mut waiting = Waiting::default();
        back(&mut waiting, "a:1 b:2", &[0, 1], Wait::Not, 0, 5);
        let before = waiting.checksum();
        let stored: Vec<(i64, Group)> =
            waiting.take_changes().into_iter().map(|change| (change.number, change.group.expect("there").clone())).collect();
        let mut again = Waiting::default();
        for (number, group) in stored {
            again.restore(number, group);
        }
        assert_eq!((again.checksum(), again.take_changes().len()), (before, 0));
        assert_eq!(shown(again.take_line(StepId(1), 1)), "step 1, 0 times: 0:a=1 at 100");
        assert_ne!(again.checksum(), before);
        assert_eq!(shown(again.take_line(StepId(1), 1)), "step 1, 0 times: 1:b=2 at 101");
        let changes = again.take_changes();
        assert_eq!((changes.len(), changes[0].number, changes[0].group.is_none()), (1, 0, true));
        assert_eq!(again.checksum(), 0);
    }

    #[test]
    fn more_rows_than_may_wait_are_dead() {
        let mut waiting = Waiting::default();
        let many = vec!["a:1"; 6000].join(" ");
        let all: Vec<u32> = (0..6000).collect();
        back(&mut waiting, &many, &all, Wait::For(Duration::from_secs(1)), 1, 0);
        let mut output = Outcome::new(EventTime(0));
        output.put_back(StepId(1), batch(&many).picked(&all), Wait::For(Duration::from_secs(1)), 1);
        waiting.take_over(&mut output, &sources(&many), EventTime(0), None);
        assert_eq!((waiting.rows(), output.dead.len()), (6000, 6000));
        assert_eq!(output.dead[5999].origin, 5999);
    }
}
