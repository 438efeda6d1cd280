//! Rows, watermarks and cuts for tests of windows; what comes out as text.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Schema, TimeUnit};
use proptest::prelude::*;
use tidemill_event::batch::time_field;
use tidemill_event::{EventTime, Field, FieldType};

use crate::example::dictionary_batch;
use crate::{ColdEntries, EachStored, FlowBatch, InStore, Marks, Operator, Outcome, Save, Spills, StepState, Watermark};

/// A row of a test: a key, a time, a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: Option<u8>,
    pub(crate) time: i64,
    pub(crate) value: Option<i64>,
}

impl Row {
    pub(crate) fn key_text(&self) -> Option<String> {
        self.key.map(|key| char::from(b'a' + key).to_string())
    }
}

/// Rows mostly in order, some far behind.
pub(crate) fn any_rows(most: usize) -> impl Strategy<Value = Vec<Row>> {
    let step = prop_oneof![6 => 0i64..4, 2 => -12i64..0, 1 => 4i64..25];
    let row = (proptest::option::weighted(0.9, 0u8..3), step, proptest::option::weighted(0.9, -5i64..9));
    proptest::collection::vec(row, 0..most).prop_map(|rows| {
        let mut now = 0;
        rows.into_iter()
            .map(|(key, step, value)| {
                now += step;
                Row { key, time: now, value }
            })
            .collect()
    })
}

/// How a test runs: where batches are cut, which of them have dictionaries, after which the state is stored and read back, and before which a clock
/// lets time go on.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    pub(crate) cuts: Vec<(usize, bool, bool)>,
    /// Before the row of that number time goes on so far.
    pub(crate) clock: BTreeMap<usize, i64>,
    pub(crate) out_of_orderness: i64,
    pub(crate) ends: bool,
}

pub(crate) fn any_schedule() -> impl Strategy<Value = Schedule> {
    let cuts = proptest::collection::vec((1usize..9, any::<bool>(), any::<bool>()), 1..6);
    let clock = proptest::collection::btree_map(0usize..40, 1i64..30, 0..3);
    (cuts, clock, 0i64..12, any::<bool>()).prop_map(|(cuts, clock, out_of_orderness, ends)| Schedule {
        cuts,
        clock,
        out_of_orderness,
        ends,
    })
}

/// What happens to an operator, one thing after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Happens<'a> {
    /// A row, with its number and the watermark before it.
    Row(usize, &'a Row, i64),
    /// The watermark is there now; the row that did it.
    Watermark(i64, Option<usize>),
}

impl Schedule {
    /// The watermark before each row, step by step: for models.
    pub(crate) fn play<'a>(&self, rows: &'a [Row], mut tell: impl FnMut(Happens<'a>)) {
        let mut watermark = i64::MIN;
        for (number, row) in rows.iter().enumerate() {
            if let Some(step) = self.clock.get(&number).filter(|_| watermark > i64::MIN) {
                watermark += step;
                tell(Happens::Watermark(watermark, None));
            }
            tell(Happens::Row(number, row, watermark));
            watermark = watermark.max(row.time - self.out_of_orderness);
            tell(Happens::Watermark(watermark, Some(number)));
        }
        if self.ends {
            tell(Happens::Watermark(i64::MAX, None));
        }
    }
}

/// What came of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// One line per row that came out: `origin: columns @time`. What time let out has no origin.
    pub(crate) rows: Vec<String>,
    /// Numbers of the rows that were late.
    pub(crate) late: Vec<usize>,
    pub(crate) dropped_late: u64,
    pub(crate) late_partial: u64,
    pub(crate) dead: Vec<String>,
}

/// Rows `k` (text or a dictionary), `v`, `_time`.
pub(crate) fn batch_of(rows: &[Row], dictionary: bool) -> RecordBatch {
    let keys: Vec<Option<String>> = rows.iter().map(Row::key_text).collect();
    let keys: ArrayRef = if dictionary { dictionary_batch(&keys).column(0).clone() } else { Arc::new(StringArray::from(keys)) };
    let key = Field::new("k", FieldType::String, true).arrow().with_data_type(keys.data_type().clone());
    let schema = Schema::new(vec![key, Field::new("v", FieldType::Int64, true).arrow(), time_field()]);
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.time)).with_timezone("UTC");
    let values: Int64Array = rows.iter().map(|row| row.value).collect();
    RecordBatch::try_new(Arc::new(schema), vec![keys, Arc::new(values), Arc::new(times)]).expect("an event batch")
}

/// Runs an operator over rows as the schedule says.
pub(crate) fn run<O: Operator>(make: impl Fn() -> O, rows: &[Row], schedule: &Schedule) -> Told {
    let (mut operator, mut told, mut stored) = (make(), Told::default(), Stored::default());
    let (mut watermark, mut from) = (i64::MIN, 0);
    let mut cuts = schedule.cuts.iter().cycle();
    while from < rows.len() {
        let (length, dictionary, is_stored) = *cuts.next().expect("a cycle");
        if let Some(step) = schedule.clock.get(&from).filter(|_| watermark > i64::MIN) {
            let to = watermark + step;
            pass(&mut operator, &mut told, &mut watermark, to);
        }
        // A clock's step comes between two batches.
        let next_step = schedule.clock.range(from + 1..).next().map_or(usize::MAX, |(number, _)| *number);
        let batch = &rows[from..(from + length).min(rows.len()).min(next_step)];
        let (start, mut before) = (watermark, Vec::new());
        for row in batch {
            before.push(watermark);
            watermark = watermark.max(row.time - schedule.out_of_orderness);
        }
        let marks = Marks::new(Watermark(start), before, None, Watermark(watermark));
        let mut output = Outcome::new(EventTime(0)).with_marks(marks);
        let made = operator.apply(FlowBatch::new(batch_of(batch, dictionary)), &mut output);
        told.add(&made, &output, Some(from));
        from += batch.len();
        operator = cut(operator, &make, &mut stored, (length, is_stored));
    }
    if schedule.ends {
        pass(&mut operator, &mut told, &mut watermark, i64::MAX);
    }
    told
}

/// What checkpoints wrote.
#[derive(Default)]
pub(crate) struct Stored {
    entries: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// Those that an operator began without. What happens to it meanwhile the list does not know.
    unlisted: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

impl Stored {
    /// Goes on with the list of an operator that began without it.
    fn list<O: Operator>(&mut self, operator: &mut O, most: usize) {
        let is_listing = !self.unlisted.is_empty();
        let Some(spills) = operator.state().and_then(StepState::spills).filter(|_| is_listing) else { return };
        self.list_some(spills, most);
        if self.unlisted.is_empty() {
            spills.has_listed();
        }
    }

    /// The last one.
    fn list_some(&mut self, spills: &mut dyn Spills, most: usize) -> Option<Box<[u8]>> {
        let mut last = None;
        for _ in 0..most {
            let Some((key, value)) = self.unlisted.pop_first() else { break };
            spills.restore_cold(&key, &value, Save::UNKNOWN).expect("what was stored");
            last = Some(key);
        }
        last
    }
}

/// What a driver may do between two batches: store the state, read it back, let some of it leave memory.
pub(crate) fn cut<O: Operator>(
    mut operator: O,
    make: &impl Fn() -> O,
    stored: &mut Stored,
    (length, is_stored): (usize, bool),
) -> O {
    let is_saved = is_stored || length % 3 == 0;
    stored.list(&mut operator, if is_saved { usize::MAX } else { length });
    if is_stored {
        operator = store_and_load(operator, make, &mut stored.entries);
    } else if is_saved {
        save(&mut operator, &mut stored.entries);
    }
    if is_saved {
        operator = spilled(operator, make, stored, length);
    }
    operator
}

fn pass<O: Operator>(operator: &mut O, told: &mut Told, watermark: &mut i64, to: i64) {
    let marks = Marks::passing(Watermark(*watermark), Watermark(to));
    *watermark = to;
    let due = operator.due();
    let mut output = Outcome::new(EventTime(0)).with_marks(marks);
    let made = operator.apply(FlowBatch::new(batch_of(&[], false)), &mut output);
    assert!(made.is_empty() || due.is_some_and(|due| due.0 <= to), "it said {due:?}, and made rows at {to}");
    told.add(&made, &output, None);
}

/// A store as steps see it whose entries left memory.
struct Shelf(BTreeMap<Box<[u8]>, Box<[u8]>>);

impl ColdEntries for Shelf {
    fn read(&self, key: &[u8], _: Save) -> Option<Vec<u8>> {
        self.0.get(key).map(|value| value.to_vec())
    }

    fn read_all(&self, begins: &[u8], each: EachStored<'_>) {
        self.0.iter().filter(|(key, _)| key.starts_with(begins)).for_each(|(key, value)| each(key, value, Save::UNKNOWN));
    }

    fn first_from(&self, from: &[u8]) -> Option<Vec<u8>> {
        self.0.range::<[u8], _>((Bound::Included(from), Bound::Unbounded)).next().map(|(key, _)| key.to_vec())
    }

    fn is_lost(&self, why: &dyn std::fmt::Display) {
        panic!("{why}");
    }
}

/// Some of what the store has leaves memory, or is not read in the first place: nobody shall see the difference.
fn spilled<O: Operator>(mut operator: O, make: &impl Fn() -> O, stored: &mut Stored, length: usize) -> O {
    let state: &mut dyn StepState = operator.state().expect("it has state");
    let before = (state.checksum(), state.len(), state.changed_len());
    let shelf = Arc::new(Shelf(stored.entries.clone()));
    let Some(spills) = state.spills() else { return operator };
    if length.is_multiple_of(2) {
        let mut again = make();
        let spills = again.state().and_then(|state| state.spills()).expect("it spilled a moment ago");
        spills.spill_to(shelf);
        stored.unlisted = stored.entries.clone();
        let listed = stored.list_some(spills, length / 4);
        if length.is_multiple_of(4) && !stored.unlisted.is_empty() && spills.list_later(listed.as_deref()) {
            return again;
        }
        stored.list_some(spills, usize::MAX);
        operator = again;
    } else {
        spills.spill_to(shelf);
        let cold = spills.cold_len();
        // As many as the cut is long, so that some stay.
        let left: usize = (0..length).map(|_| spills.spill(Save::number(9), 1)).sum();
        assert_eq!(spills.cold_len(), cold + left);
    }
    let state = operator.state().expect("it has state");
    assert_eq!((state.checksum(), state.len(), state.changed_len()), before, "an entry that left still counts");
    operator
}

/// A checkpoint of what changed.
fn save<O: Operator>(operator: &mut O, stored: &mut BTreeMap<Box<[u8]>, Box<[u8]>>) {
    let state: &mut dyn StepState = operator.state().expect("it has state");
    // Bit by bit, as a task does that will not wait for all of it.
    while state.changed_len() > 0 {
        for change in state.take_some(3, Save::number(7)) {
            assert!(change.stored != InStore::Nothing || !stored.contains_key(&change.key), "it is there: {change:?}");
            match change.value {
                Some(value) => stored.insert(change.key, value),
                None => stored.remove(&change.key),
            };
        }
    }
    assert_eq!(state.changed_len(), 0);
}

/// The state through a store, as a checkpoint and a restart do it.
pub(crate) fn store_and_load<O: Operator>(
    mut operator: O,
    make: &impl Fn() -> O,
    stored: &mut BTreeMap<Box<[u8]>, Box<[u8]>>,
) -> O {
    save(&mut operator, stored);
    let state: &mut dyn StepState = operator.state().expect("it has state");
    let (checksum, entries) = (state.checksum(), state.len());
    let mut again = make();
    let state = again.state().expect("it has state");
    state.restore(&*stored).expect("what was stored");
    assert_eq!((state.checksum(), state.len(), state.changed_len()), (checksum, entries, 0), "{stored:?}");
    for (key, value) in stored {
        for short in [0, value.len() / 2, value.len().saturating_sub(1)] {
            assert!(make().state().expect("it has state").restore([(key, &value[..short])]).is_err() || short == value.len());
        }
    }
    again
}

impl Told {
    fn add(&mut self, made: &FlowBatch, output: &Outcome, first: Option<usize>) {
        let line = |row: usize| {
            let origin = first.map_or("-".to_owned(), |first| (first + made.origin[row] as usize).to_string());
            let last = made.rows.num_columns() - 1;
            let cells: Vec<String> = made.rows.columns()[..last].iter().map(|column| cell(column.as_ref(), row)).collect();
            format!("{origin}: {} @{}", cells.join(" "), cell(made.rows.column(last).as_ref(), row))
        };
        assert!(made.origin.is_sorted(), "origins never descend");
        self.rows.extend((0..made.len()).map(line));
        for late in &output.late {
            self.late.extend(late.rows.origin.iter().map(|row| first.expect("only rows are late") + *row as usize));
        }
        self.dropped_late += output.dropped_late;
        self.late_partial += output.late_partial;
        self.dead.extend(output.dead.iter().map(|dead| dead.error.to_string()));
    }
}

/// A value; times as plain numbers, null as `-`.
pub(crate) fn cell(column: &dyn Array, row: usize) -> String {
    let column: ArrayRef = match column.data_type() {
        // A null may be an entry of the dictionary.
        DataType::Dictionary(_, values) => arrow_cast::cast(column, values).expect("a dictionary casts to its values"),
        DataType::Timestamp(TimeUnit::Microsecond, _) => arrow_cast::cast(column, &DataType::Int64).expect("a number"),
        _ => arrow_array::make_array(column.to_data()),
    };
    if column.is_null(row) {
        return "-".to_owned();
    }
    ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default()).expect("a known type").value(row).to_string()
}
