//! `over`: each row with what aggregates say of it and the rows of its key before it, in the order of (event time, arrival).
//!
//! ```text
//! rows ──► wait, until the watermark has reached their time ──► in order: the last N of each key ──► the row, and the aggregates
//! ```
//! A row at W is not late: others at the same instant may follow, and stand behind it. So a row leaves when W ≥ t, and one with t < W is late.

mod spill;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow_buffer::BooleanBuffer;
use arrow_schema::Field as ArrowField;
use tidemill_event::batch::{time_field, times};
use tidemill_event::{Breaker, Field};

use crate::aggregate::bytes::{take_i64, take_u32, take_u64};
use crate::aggregate::calls::Results;
use crate::aggregate::{AggregateRefused, Aggregates, Lost};
use crate::batch::assemble;
use crate::checksum::checksum;
use crate::cold::{Cold, Hand};
use crate::entries::Entries;
use crate::evidence::kept_rows;
use crate::group::KeyIndex;
use crate::group::ordered::{ordered_int, plain_int};
use crate::rows::Rows;
use crate::state::corrupt;
use crate::time::{Marks, Watermark};
use crate::where_step::without;
use crate::window::LateList;
use crate::window::asked::asked;
use crate::{
    AggregateCall, ComponentAggregate, FlowBatch, Judged, KeyChange, KeyState, OnFailing, Operator, Outcome, Save, Spills,
    StateCorrupt, StepId, StepState,
};

/// What the keys of waiting rows, and of keys with rows before, begin with in the store.
const WAITING: u8 = 4;
const BEFORE: u8 = 5;
/// The entry of the step itself.
const STEP: u8 = 0xff;

/// What the step does.
pub struct OverSettings {
    /// Which step it is.
    pub step: StepId,
    /// The key's columns; none: one key for all.
    pub by: Vec<Field>,
    /// How many rows, the row itself included.
    pub rows: u32,
    /// What is added to each row.
    pub aggregates: Vec<AggregateCall>,
    /// Those of them that are components.
    pub components: Vec<ComponentAggregate>,
    /// The columns of the rows, `_time` aside.
    pub fields: Vec<Field>,
    /// What decides that a row is late.
    pub judged: Judged,
}

/// The step.
pub struct Over {
    step: StepId,
    size: usize,
    judged: Judged,
    state: OverState,
}

/// A row of a key that later ones look back at: its arguments, and its time.
#[derive(Debug, Clone, Copy)]
struct Before {
    row: u32,
    time: i64,
}

struct OverState {
    index: KeyIndex,
    aggregates: Aggregates,
    /// Whole rows whose time has not come.
    waiting: Rows,
    queue: BinaryHeap<Reverse<(i64, u64, u32)>>,
    /// Per waiting row, its place in the order.
    places: Vec<(i64, u64)>,
    waiting_entries: Entries,
    /// Arguments of rows that were there before, and per slot which.
    arguments: Rows,
    before: Vec<VecDeque<Before>>,
    before_entries: Entries,
    /// Of rows before.
    cold: Cold,
    hand: Hand,
    count: u64,
    is_changed: bool,
}

impl Over {
    /// A step that has seen no row. Errors: an aggregate that does not go with its argument.
    ///
    /// # Panics
    /// If it is to look at no row at all.
    pub fn new(settings: OverSettings) -> Result<Self, AggregateRefused> {
        let OverSettings { step, by, rows, aggregates: calls, components, fields, judged } = settings;
        assert!(rows > 0, "a row looks at itself at least");
        let mut arguments: Vec<Field> = Vec::new();
        let filters = calls.iter().filter_map(|call| call.filter.as_ref());
        let of_components =
            components.iter().flat_map(|own| own.arguments.iter().map(|argument| &argument.column).chain(&own.filter));
        let named = filters.chain(of_components).filter_map(|name| fields.iter().find(|field| field.name == *name).cloned());
        for field in calls.iter().filter_map(|call| call.argument.clone()).chain(named) {
            if !arguments.iter().any(|known| known.name == field.name) {
                arguments.push(field);
            }
        }
        let state = OverState {
            index: KeyIndex::new(by),
            aggregates: Aggregates::with_components(&calls, components)?,
            waiting: Rows::new(fields),
            queue: BinaryHeap::new(),
            places: Vec::new(),
            waiting_entries: Entries::default(),
            arguments: Rows::new(arguments),
            before: Vec::new(),
            before_entries: Entries::default(),
            cold: Cold::default(),
            hand: Hand::default(),
            count: 0,
            is_changed: false,
        };
        Ok(Self { step, size: rows as usize, judged, state })
    }

    /// The columns it adds.
    pub fn added(&self) -> Vec<Field> {
        self.state.aggregates.fields().cloned().collect()
    }

    /// Rows that came too late leave; the others wait. Answers their input rows, in the order of their numbers.
    fn admit(&mut self, input: &FlowBatch, marks: &Marks, output: &mut Outcome) -> Vec<u32> {
        let (mut taken, mut late) = (Vec::with_capacity(input.len()), LateList::default());
        for (row, time) in (0u32..).zip(times(&input.rows).values()) {
            let origin = input.origin[row as usize];
            let judge = match self.judged {
                Judged::ByLane => marks.judge(origin),
                Judged::ByTask => marks.before(origin),
            };
            if *time < judge.0 { late.push(row, judge, None) } else { taken.push(row) }
        }
        output.dropped_late += late.len() as u64;
        late.tell(self.step, input, output);
        let state = &mut self.state;
        let rows = state.waiting.add(&input.rows, taken.iter().copied());
        let mut origins = Vec::with_capacity(rows.len());
        for (row, place) in rows.into_iter().zip(taken) {
            state.wait(row, (times(&input.rows).value(place as usize), state.count));
            state.count += 1;
            state.is_changed = true;
            origins.push(input.origin[place as usize]);
        }
        origins
    }
}

impl OverState {
    /// Puts the rows before of a key back. Its slot; `rest` is where reading stopped.
    fn read_before(&mut self, of_key: &[u8], rest: &mut &[u8]) -> Option<u32> {
        let slot = self.index.slot_of_key(of_key)?;
        self.before.resize(self.index.slots(), VecDeque::new());
        self.index.hold(slot);
        for _ in 0..take_u32(rest)? {
            let time = take_i64(rest)?;
            let row = self.arguments.decode_sized(rest)?;
            self.before[slot as usize].push_back(Before { row, time });
        }
        rest.is_empty().then_some(slot)
    }

    fn wait(&mut self, row: u32, place: (i64, u64)) {
        self.places.resize(self.waiting.slots(), (0, 0));
        self.places[row as usize] = place;
        self.queue.push(Reverse((place.0, place.1, row)));
        self.waiting_entries.touch(row);
    }

    /// Rows whose time the watermark has reached, in order, with the input row that let each out.
    fn release(&mut self, marks: &Marks, origins: &[u32]) -> FlowBatch {
        let first = self.count - origins.len() as u64;
        let (mut released, mut origin) = (Vec::new(), Vec::new());
        while let Some(Reverse((time, number, row))) = self.queue.peek().copied() {
            if time > marks.end().0 {
                break;
            }
            self.queue.pop();
            self.waiting_entries.remove(row, || waiting_key((time, number)));
            // The watermark may have been there before the row was.
            let own = number.checked_sub(first).map_or(0, |at| origins[at as usize]);
            origin.push(own.max(marks.lets_out(time.saturating_sub(1)).unwrap_or(0)));
            released.push((time, row));
        }
        let fields: Vec<Arc<ArrowField>> =
            self.waiting.fields().iter().map(|field| Arc::new(field.arrow())).chain([Arc::new(time_field())]).collect();
        let mut columns = self.waiting.gather(released.iter().map(|(_, row)| Some(*row)));
        let times = TimestampMicrosecondArray::from_iter_values(released.iter().map(|(time, _)| *time)).with_timezone("UTC");
        columns.push(Arc::new(times));
        released.iter().for_each(|(_, row)| self.waiting.remove(*row));
        let Self { waiting, queue, .. } = self;
        waiting.compact(queue.iter().map(|Reverse((.., row))| *row));
        FlowBatch { rows: assemble(fields, columns, released.len()), origin }
    }

    /// What the aggregates say of each row and those before it.
    fn look_back(&mut self, rows: &RecordBatch, size: usize) -> Results {
        let mut slots = Vec::new();
        self.index.slots_of(rows, &mut slots);
        self.before.resize(self.index.slots(), VecDeque::new());
        self.warm(&slots);
        self.before.resize(self.index.slots(), VecDeque::new());
        let arguments = self.arguments.add(rows, 0..rows.num_rows() as u32);
        // Layer d has, for each row that has one, the row d places before it: each layer is one update of all groups.
        let mut layers: Vec<Vec<(u32, Before)>> = vec![Vec::new(); size];
        let (mut groups, mut gone) = (Vec::with_capacity(slots.len()), Vec::new());
        for ((slot, row), time) in slots.iter().zip(arguments).zip(times(rows).values()) {
            let group = self.aggregates.allocate();
            groups.push(group);
            let own = Before { row, time: *time };
            let before = &mut self.before[*slot as usize];
            layers[0].push((group, own));
            before.iter().rev().zip(&mut layers[1..]).for_each(|(before, layer)| layer.push((group, *before)));
            if size == 1 {
                // Nobody looks back: nothing is kept.
                gone.push(own);
                continue;
            }
            if before.is_empty() {
                self.index.hold(*slot);
            }
            before.push_back(own);
            if before.len() == size {
                gone.extend(before.pop_front());
            }
            self.before_entries.touch(*slot);
        }
        if size == 1 {
            self.index.forget_unheld(&slots);
        }
        let fields: Vec<Arc<ArrowField>> = self
            .arguments
            .fields()
            .iter()
            .map(|field| Arc::new(field.arrow().with_nullable(true)))
            .chain([Arc::new(time_field())])
            .collect();
        // A row that a component does not survive is lost for the row that looks back at it.
        let mut lost: Vec<(u32, Lost)> = Vec::new();
        for layer in layers.into_iter().rev().filter(|layer| !layer.is_empty()) {
            let mut columns = self.arguments.gather(layer.iter().map(|(_, before)| Some(before.row)));
            let times = TimestampMicrosecondArray::from_iter_values(layer.iter().map(|(_, before)| before.time));
            columns.push(Arc::new(times.with_timezone("UTC")));
            let of: Vec<u32> = layer.iter().map(|(group, _)| *group).collect();
            let here = self.aggregates.update(&of, &assemble(fields.clone(), columns, layer.len()));
            lost.extend(here.into_iter().map(|lost| (of[lost.row], lost)));
        }
        gone.into_iter().for_each(|before| self.arguments.remove(before.row));
        let Self { arguments, before, .. } = self;
        arguments.compact(before.iter().flatten().map(|before| before.row));
        let mut results = self.aggregates.finish(&groups);
        for (group, lost) in lost {
            let row = groups.iter().position(|of| *of == group).expect("every group is a row's");
            results.failed.push((row, lost.reason, lost.error.to_string()));
        }
        results.failed.sort_by_key(|(row, ..)| *row);
        results.failed.dedup_by_key(|(row, ..)| *row);
        groups.into_iter().for_each(|group| self.aggregates.release(group));
        results
    }
}

impl Operator for Over {
    fn step(&self) -> StepId {
        self.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let marks = output.marks();
        let origins = self.admit(&input, &marks, output);
        let rows = self.state.release(&marks, &origins);
        self.state.aggregates.begin(self.step, output);
        let Results { columns, failed, unseen: _ } = self.state.look_back(&rows.rows, self.size);
        self.state.aggregates.end(output);
        let rows = rows.with_columns(columns);
        if failed.is_empty() {
            return rows;
        }
        let all = BooleanArray::new(BooleanBuffer::new_set(rows.len()), None);
        let keep = without(all, failed.iter().map(|(row, ..)| *row));
        output.bury(&rows, self.step, failed);
        rows.filtered(&keep)
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        Some(&mut self.state)
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        None
    }

    fn due(&self) -> Option<Watermark> {
        self.state.queue.peek().map(|Reverse((time, ..))| Watermark(*time))
    }
}

fn waiting_key((time, number): (i64, u64)) -> Vec<u8> {
    let mut key = vec![WAITING];
    key.extend_from_slice(&ordered_int(time).to_be_bytes());
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn encode_waiting(row: u32, key: &mut Vec<u8>, value: &mut Vec<u8>, places: &[(i64, u64)], rows: &Rows) {
    *key = waiting_key(places[row as usize]);
    rows.encode(row, value);
}

fn before_key(slot: u32, index: &KeyIndex) -> Vec<u8> {
    index.tagged_key(BEFORE, slot)
}

/// `BEFORE key`: how many rows; per row its time, the length of its arguments, its arguments.
fn encode_before(slot: u32, key: &mut Vec<u8>, value: &mut Vec<u8>, before: &[VecDeque<Before>], index: &KeyIndex, rows: &Rows) {
    *key = before_key(slot, index);
    value.extend_from_slice(&(before[slot as usize].len() as u32).to_le_bytes());
    for Before { row, time } in &before[slot as usize] {
        value.extend_from_slice(&time.to_le_bytes());
        rows.encode_sized(*row, value);
    }
}

impl StepState for OverState {
    fn len(&self) -> usize {
        self.waiting_entries.len() + self.before_entries.len()
    }

    fn changed_len(&self) -> usize {
        self.waiting_entries.changed_len() + self.before_entries.changed_len() + usize::from(self.is_changed)
    }

    fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        let Self { index, waiting, places, waiting_entries, arguments, before, before_entries, .. } = self;
        let mut changes =
            waiting_entries.take_some(most, save, |row, key, value| encode_waiting(row, key, value, places, waiting));
        changes.extend(
            before_entries.take_some(most, save, |slot, key, value| encode_before(slot, key, value, before, index, arguments)),
        );
        if std::mem::take(&mut self.is_changed) {
            changes.push(KeyChange::of_step([STEP], &self.count.to_le_bytes()));
        }
        changes
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        let mut rest = value;
        let mut read = || match key.split_first()? {
            (&STEP, []) => {
                self.count = take_u64(&mut rest)?;
                rest.is_empty().then_some(())
            }
            (&WAITING, place) => {
                let (time, number) = place.split_first_chunk::<8>()?;
                let number = u64::from_be_bytes(*<&[u8; 8]>::try_from(number).ok()?);
                let row = self.waiting.decode(rest)?;
                self.wait(row, (plain_int(u64::from_be_bytes(*time)), number));
                self.waiting_entries.restored(row, key, value);
                Some(())
            }
            (&BEFORE, of_key) => {
                let slot = self.read_before(of_key, &mut rest)?;
                self.before_entries.restored(slot, key, value);
                Some(())
            }
            _ => None,
        };
        let read = read();
        read.ok_or_else(|| corrupt(key, "rows", value.len() - rest.len()))
    }

    fn checksum(&mut self) -> u64 {
        let Self { index, waiting, places, waiting_entries, arguments, before, before_entries, count, .. } = self;
        let own = checksum(checksum(0, &[STEP]), &count.to_le_bytes());
        let waiting = waiting_entries.checksum(|row, key, value| encode_waiting(row, key, value, places, waiting));
        let before = before_entries.checksum(|slot, key, value| encode_before(slot, key, value, before, index, arguments));
        own.wrapping_add(waiting).wrapping_add(before)
    }

    fn spills(&mut self) -> Option<&mut dyn Spills> {
        Some(self)
    }

    /// A row for each that the next one looks back at: its time, and what aggregates take of it.
    fn of_key(&mut self, key: &RecordBatch) -> Option<KeyState> {
        let slot = asked(
            self,
            key,
            |state| &mut state.index,
            |state, slots| {
                state.before.resize(state.index.slots(), VecDeque::new());
                state.warm(slots);
                state.before.resize(state.index.slots(), VecDeque::new());
            },
        );
        let (times, rows): (Vec<i64>, Vec<u32>) =
            self.before[slot as usize].iter().map(|before| (before.time, before.row)).unzip();
        Some(kept_rows(&self.arguments, &times, &rows))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use tidemill_event::FieldType;

    use super::*;
    use crate::Aggregate;
    use crate::window::example::{Happens, Row, Schedule, Told, any_rows, any_schedule, run};

    fn over(rows: u32, keyed: bool) -> Over {
        let (key, value) = (Field::new("k", FieldType::String, true), Field::new("v", FieldType::Int64, true));
        let call = |name: &str, aggregate| {
            let argument = (name != "n").then(|| value.clone());
            AggregateCall { name: name.into(), aggregate, argument, filter: None }
        };
        let settings = OverSettings {
            step: StepId(1),
            by: if keyed { vec![key.clone()] } else { Vec::new() },
            rows,
            aggregates: vec![call("n", Aggregate::Count), call("total", Aggregate::Sum), call("first", Aggregate::First)],
            components: Vec::new(),
            fields: vec![key, value.clone()],
            judged: Judged::ByLane,
        };
        Over::new(settings).expect("aggregates of integers")
    }

    fn model(size: usize, keyed: bool, rows: &[Row], schedule: &Schedule) -> Told {
        let mut told = Told::default();
        let mut waiting: Vec<(i64, usize, Row)> = Vec::new();
        let mut seen: BTreeMap<Option<String>, Vec<Row>> = BTreeMap::new();
        schedule.play(rows, |happens| match happens {
            Happens::Row(number, row, watermark) if row.time < watermark => {
                told.late.push(number);
                told.dropped_late += 1;
            }
            Happens::Row(number, row, _) => waiting.push((row.time, number, row.clone())),
            Happens::Watermark(watermark, origin) => {
                let origin = origin.map_or("-".to_owned(), |origin| origin.to_string());
                let (mut due, stay): (Vec<_>, Vec<_>) = waiting.drain(..).partition(|(time, ..)| *time <= watermark);
                waiting = stay;
                due.sort_by_key(|(time, number, _)| (*time, *number));
                for (time, _, row) in due {
                    let of = seen.entry(if keyed { row.key_text() } else { None }).or_default();
                    of.push(row.clone());
                    let last = &of[of.len().saturating_sub(size)..];
                    let values: Vec<i64> = last.iter().filter_map(|row| row.value).collect();
                    let show = |value: Option<i64>| value.map_or("-".to_owned(), |value| value.to_string());
                    let total = (!values.is_empty()).then(|| values.iter().sum());
                    told.rows.push(format!(
                        "{origin}: {} {} {} {} {} @{time}",
                        row.key_text().unwrap_or("-".to_owned()),
                        show(row.value),
                        last.len(),
                        show(total),
                        show(values.first().copied())
                    ));
                }
            }
        });
        told
    }

    proptest! {
        #[test]
        fn rows_look_back_as_the_model_does(size in 1u32..5, keyed in any::<bool>(), rows in any_rows(40), schedule in any_schedule()) {
            let told = run(|| over(size, keyed), &rows, &schedule);
            prop_assert_eq!(told, model(size as usize, keyed, &rows, &schedule));
        }
    }
}
