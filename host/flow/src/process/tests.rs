//! A process against a model that takes rows one by one: tables with times to live, timers that set timers, side outputs, poison; whatever the
//! cut into batches, and over restarts from what was stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use proptest::prelude::*;
use tidemill_event::batch::times;
use tidemill_event::{
    CallFailure, Ending, EventTime, Field, FieldType, MadeRows, ProcessAnswer, ProcessGuest, RuleCall, Subject, TableEntries,
    TableKeys, TableWrite, TableWrites, TimerChange, Usage, Wanted,
};

use crate::example::{Stored, counting_table, keep, rows_of};
use crate::{
    FlowBatch, Isolation, Marks, Operator, Outcome, ProcessSettings, ProcessStep, ProcessTable, StepId, Ttl, TtlClock, Watermark,
};

const TABLE_TTL: i64 = 20;
const STATE_TTL: i64 = 40;
const BEHIND: i64 = 2;
const POISON: i64 = 666;

/// What a row asks for, by its value.
#[derive(Debug, Clone, Copy)]
enum Ask {
    Add(i64),
    Delete(i64),
    Look(i64),
    Set(i64, i64),
    Clear(i64),
}

impl Ask {
    fn of(value: i64) -> Self {
        let part = value / 5;
        match value % 5 {
            0 => Self::Add(part % 3),
            1 => Self::Delete(part % 3),
            2 => Self::Set(part % 2, 1 + part % 11),
            3 => Self::Clear(part % 2),
            _ => Self::Look(part % 3),
        }
    }

    fn entry(self) -> i64 {
        match self {
            Self::Add(entry) | Self::Delete(entry) | Self::Look(entry) => entry,
            Self::Set(..) | Self::Clear(_) => 0,
        }
    }
}

/// What a row or timer may do, whoever keeps it.
trait World {
    fn get(&mut self, entry: i64) -> Option<i64>;
    fn put(&mut self, entry: i64, value: i64);
    fn delete(&mut self, entry: i64);
    fn count(&mut self) -> &mut i64;
    fn set(&mut self, name: &str, at: Option<i64>);
    fn emit(&mut self, n: i64);
    fn aside(&mut self, n: i64);
}

fn on_row(world: &mut impl World, value: i64, time: i64) {
    *world.count() += 1;
    let count = *world.count();
    match Ask::of(value) {
        Ask::Add(entry) => {
            let before = world.get(entry).unwrap_or(0);
            world.put(entry, before + 1);
            world.emit(before + 1);
        }
        Ask::Delete(entry) => {
            let before = world.get(entry);
            world.delete(entry);
            world.emit(before.unwrap_or(-1));
        }
        Ask::Look(entry) => {
            let before = world.get(entry);
            world.aside(before.unwrap_or(-1));
        }
        Ask::Set(name, after) => world.set(&format!("t{name}"), Some(time + after)),
        Ask::Clear(name) => world.set(&format!("t{name}"), None),
    }
    if count % 4 == 0 {
        world.emit(1_000 + count);
    }
}

fn on_timer(world: &mut impl World, name: &str, at: i64) {
    *world.count() += 1;
    let count = *world.count();
    let before = world.get(0).unwrap_or(0);
    world.emit(2_000 + before);
    world.put(0, before + 10);
    if count % 3 == 0 {
        world.set(name, Some(at + 4));
    }
    if name == "t1" {
        world.set("t0", None);
        world.aside(3_000 + count);
    }
}

/// The component: the same program over batches, as an SDK would run it.
struct Native;

/// One row of a batch under way.
struct InBatch<'a> {
    row: u32,
    /// The entry that the row wants, as its number among the different ones.
    entry: usize,
    values: &'a mut Vec<Option<i64>>,
    writes: &'a mut Vec<TableWrite>,
    count: &'a mut i64,
    timers: &'a mut Vec<TimerChange>,
    main: &'a mut Vec<(u32, i64)>,
    side: &'a mut Vec<(u32, i64)>,
}

impl World for InBatch<'_> {
    fn get(&mut self, _entry: i64) -> Option<i64> {
        self.values[self.entry]
    }
    fn put(&mut self, _entry: i64, value: i64) {
        self.values[self.entry] = Some(value);
        self.writes.push(TableWrite { row: self.row, entry: self.entry as u32, is_put: true });
    }
    fn delete(&mut self, _entry: i64) {
        if self.values[self.entry].take().is_some() {
            self.writes.push(TableWrite { row: self.row, entry: self.entry as u32, is_put: false });
        }
    }
    fn count(&mut self) -> &mut i64 {
        self.count
    }
    fn set(&mut self, name: &str, at: Option<i64>) {
        self.timers.push(TimerChange { row: self.row, name: name.to_owned(), at: at.map(EventTime) });
    }
    fn emit(&mut self, n: i64) {
        self.main.push((self.row, n));
    }
    fn aside(&mut self, n: i64) {
        self.side.push((self.row, n));
    }
}

pub(super) fn made(rows: &[(u32, i64)]) -> MadeRows {
    let values = Int64Array::from_iter_values(rows.iter().map(|(_, n)| *n));
    MadeRows { source_rows: rows.iter().map(|(row, _)| *row).collect(), columns: vec![Arc::new(values)] }
}

impl ProcessGuest for Native {
    fn wants(&mut self, subject: Subject, call: &RuleCall) -> Result<Wanted, CallFailure> {
        let rows = call.columns.num_rows();
        let entries: Vec<i64> = match subject {
            Subject::Rows => {
                call.columns.column(0).as_primitive::<Int64Type>().values().iter().map(|value| Ask::of(*value).entry()).collect()
            }
            Subject::Timers => vec![0; rows],
        };
        let field = Field::new("entry", FieldType::Int64, false).arrow();
        let schema = Arc::new(arrow_schema::Schema::new(vec![field]));
        let keys = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(entries))]).expect("a key each");
        Ok(Wanted { tables: vec![TableKeys { rows: (0..rows as u32).collect(), keys }], usage: Usage::default() })
    }

    fn process(&mut self, subject: Subject, call: &RuleCall, found: &[TableEntries]) -> Result<ProcessAnswer, CallFailure> {
        let state = call.state.as_ref().expect("keyed");
        let mut counts = state.rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        let given = found[0].values.column(0).as_primitive::<Int64Type>();
        let mut values: Vec<Option<i64>> = (0..given.len()).map(|at| found[0].there.value(at).then(|| given.value(at))).collect();
        let (mut writes, mut timers, mut main, mut side) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for row in 0..call.columns.num_rows() {
            let mut world = InBatch {
                row: row as u32,
                entry: found[0].numbers[row] as usize,
                values: &mut values,
                writes: &mut writes,
                count: &mut counts[state.row_to_key[row] as usize],
                timers: &mut timers,
                main: &mut main,
                side: &mut side,
            };
            match subject {
                Subject::Rows => {
                    let value = call.columns.column(0).as_primitive::<Int64Type>().value(row);
                    if value == POISON {
                        let message = "boom".to_owned();
                        return Err(CallFailure {
                            ending: Ending::Trap,
                            message,
                            backtrace: String::new(),
                            usage: Usage::default(),
                        });
                    }
                    let time = call.columns.column(1).as_primitive::<TimestampMicrosecondType>().value(row);
                    on_row(&mut world, value, time);
                }
                Subject::Timers => {
                    let at = call.columns.column(0).as_primitive::<TimestampMicrosecondType>().value(row);
                    on_timer(&mut world, call.columns.column(1).as_string::<i32>().value(row), at);
                }
            }
        }
        let counts = RecordBatch::try_new(state.rows.schema(), vec![Arc::new(Int64Array::from(counts))]).expect("a count a key");
        let values =
            RecordBatch::try_new(found[0].values.schema(), vec![Arc::new(Int64Array::from(values))]).expect("a value each");
        Ok(ProcessAnswer {
            made: made(&main),
            state: Some(counts),
            tables: vec![TableWrites { writes, values }],
            timers,
            sides: vec![made(&side)],
            notes: Vec::new(),
            usage: Usage::default(),
        })
    }

    fn replace(&mut self) {}
}

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) key: u8,
    pub(super) value: i64,
    pub(super) time: i64,
}

fn step() -> ProcessStep {
    step_of(Box::new(Native))
}

fn step_of(guest: Box<dyn ProcessGuest>) -> ProcessStep {
    let ttl = |micros: i64| Some(Ttl::new(Duration::from_micros(micros as u64), TtlClock::EventTime));
    let int = |name: &str, nullable| Field::new(name, FieldType::Int64, nullable);
    let settings = ProcessSettings {
        step: StepId(0),
        by: vec![Field::new("k", FieldType::String, true)],
        columns: vec![int("v", true), Field::new("_time", FieldType::Timestamp(None), false)],
        outputs: vec![int("n", false)],
        state: counting_table().living(ttl(STATE_TTL)),
        keeps_state: true,
        tables: vec![ProcessTable {
            name: "entries".into(),
            key: vec![int("entry", false)],
            values: vec![int("value", false)],
            ttl: ttl(TABLE_TTL),
            on_read: true,
        }],
        sides: vec![vec![int("n", false)]],
        isolation: Isolation::never_out(),
    };
    ProcessStep::new(settings, guest)
}

pub(super) fn batch(rows: &[Row]) -> FlowBatch {
    let keys = StringArray::from_iter_values(rows.iter().map(|row| format!("k{}", row.key)));
    let batch = rows_of(Arc::new(keys), rows.iter().map(|row| Some(row.value)).collect());
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.time)).with_timezone("UTC");
    let mut columns = batch.columns().to_vec();
    *columns.last_mut().expect("`_time`") = Arc::new(times);
    FlowBatch::new(RecordBatch::try_new(batch.schema(), columns).expect("the same columns"))
}

fn watermarks(rows: &[Row]) -> Vec<i64> {
    let mut watermarks = vec![i64::MIN];
    for row in rows {
        let before = *watermarks.last().expect("one more than rows");
        watermarks.push(before.max(row.time - BEHIND));
    }
    watermarks
}

fn shown(rows: &FlowBatch) -> Vec<String> {
    let (keys, n) = (rows.rows.column_by_name("k").expect("the key"), rows.rows.column_by_name("n").expect("the output"));
    // Where there are no rows the key is what the step declares, a dictionary.
    let keys = super::plain(keys);
    let (keys, n) = (keys.as_string::<i32>(), n.as_primitive::<Int64Type>());
    (0..rows.len()).map(|row| format!("{}@{} {}", keys.value(row), times(&rows.rows).value(row), n.value(row))).collect()
}

/// The slow way: one row after the other, one timer after the other.
#[derive(Default)]
struct Model {
    entries: BTreeMap<(u8, i64), (i64, i64)>,
    counts: BTreeMap<u8, (i64, i64)>,
    timers: BTreeMap<(i64, u8, String), ()>,
    main: Vec<String>,
    side: Vec<String>,
}

struct OneRow<'a> {
    model: &'a mut Model,
    key: u8,
    /// What it writes is written then, and it sees what is there later than `seen`.
    time: i64,
    seen: i64,
    /// A timer fires no earlier.
    watermark: i64,
    count: i64,
}

impl World for OneRow<'_> {
    fn get(&mut self, entry: i64) -> Option<i64> {
        let (value, expiry) = self.model.entries.get_mut(&(self.key, entry))?;
        (self.seen < *expiry).then_some(*value)
    }
    fn put(&mut self, entry: i64, value: i64) {
        let seen = self.seen;
        let before = self
            .model
            .entries
            .get(&(self.key, entry))
            .filter(|(_, expiry)| seen < *expiry)
            .map_or(i64::MIN, |(_, expiry)| *expiry);
        self.model.entries.insert((self.key, entry), (value, before.max(self.time + TABLE_TTL)));
    }
    fn delete(&mut self, entry: i64) {
        // What a row does not see it cannot delete.
        if self.model.entries.get(&(self.key, entry)).is_some_and(|(_, expiry)| self.seen < *expiry) {
            self.model.entries.remove(&(self.key, entry));
        }
    }
    fn count(&mut self) -> &mut i64 {
        &mut self.count
    }
    fn set(&mut self, name: &str, at: Option<i64>) {
        let key = self.key;
        self.model.timers.retain(|(_, of, other), ()| (*of, other.as_str()) != (key, name));
        if let Some(at) = at {
            self.model.timers.insert((at.max(self.watermark), key, name.to_owned()), ());
        }
    }
    fn emit(&mut self, n: i64) {
        self.model.main.push(format!("k{}@{} {n}", self.key, self.time));
    }
    fn aside(&mut self, n: i64) {
        self.model.side.push(format!("k{}@{} {n}", self.key, self.time));
    }
}

impl Model {
    fn handle(&mut self, key: u8, time: i64, watermark: i64, entry: i64, with: impl FnOnce(&mut OneRow<'_>)) {
        let seen = time.max(watermark);
        let (count, expiry) = self.counts.get(&key).copied().unwrap_or((0, i64::MIN));
        let (count, expiry) = if seen < expiry { (count, expiry) } else { (0, expiry) };
        // An entry that is wanted lives on.
        if let Some((_, expiry)) = self.entries.get_mut(&(key, entry)).filter(|(_, expiry)| seen < *expiry) {
            *expiry = (*expiry).max(time + TABLE_TTL);
        }
        let mut row = OneRow { model: self, key, time, seen, watermark, count };
        with(&mut row);
        let count = row.count;
        self.counts.insert(key, (count, expiry.max(time + STATE_TTL)));
    }

    fn fire(&mut self, watermark: i64) {
        while let Some(((at, key, name), ())) = self.timers.first_key_value() {
            if *at >= watermark {
                break;
            }
            let (at, key, name) = (*at, *key, name.clone());
            self.timers.pop_first();
            self.handle(key, at, i64::MIN, 0, |world| on_timer(world, &name, at));
        }
    }

    fn run(rows: &[Row]) -> Self {
        let mut model = Self::default();
        for (row, watermark) in rows.iter().zip(watermarks(rows)) {
            model.fire(watermark);
            if row.value != POISON {
                let entry = Ask::of(row.value).entry();
                model.handle(row.key, row.time, watermark, entry, |world| on_row(world, row.value, row.time));
            }
        }
        model.fire(i64::MAX);
        model
    }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let value = prop_oneof![20 => 0i64..200, 1 => Just(POISON)];
    let row = (0u8..3, value, 0i64..7, -3i64..4);
    proptest::collection::vec(row, 0..60).prop_map(|rows| {
        let mut now = 0;
        let mut next = |(key, value, ahead, off)| {
            now += ahead;
            Row { key, value, time: now + off }
        };
        rows.into_iter().map(&mut next).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn rows_timers_and_memory_are_those_of_the_model(rows in rows(), cuts in proptest::collection::vec((1usize..20, any::<bool>()), 1..8)) {
        let (model, watermarks) = (Model::run(&rows), watermarks(&rows));
        let (mut process, mut stored) = (step(), Stored::new());
        let (mut from, mut main, mut side) = (0, Vec::new(), Vec::new());
        let take = |process: &mut ProcessStep, rows: &[Row], marks: Marks, main: &mut Vec<String>, side: &mut Vec<String>| {
            let mut output = Outcome::new(EventTime(0)).with_marks(marks);
            let made = process.apply(batch(rows), &mut output);
            assert!(output.put_back.is_empty() && made.origin.is_sorted());
            let poison = rows.iter().filter(|row| row.value == POISON).count();
            assert_eq!(output.dead.len(), poison);
            main.extend(shown(&made));
            output.sides.iter().for_each(|rows| side.extend(shown(&rows.rows)));
        };
        for (length, restarts) in cuts.iter().cycle() {
            if from >= rows.len() {
                break;
            }
            let to = rows.len().min(from + length);
            let marks =
                Marks::new(Watermark(watermarks[from]), watermarks[from..to].to_vec(), None, Watermark(watermarks[to]));
            take(&mut process, &rows[from..to], marks, &mut main, &mut side);
            if *restarts {
                let state = process.state().expect("it remembers");
                keep(&mut stored, state);
                prop_assert_eq!(stored.len(), state.len());
                let checksum = state.checksum();
                process = step();
                let state = process.state().expect("it remembers");
                state.restore(&stored).expect("what was stored");
                prop_assert_eq!(state.checksum(), checksum);
            }
            from = to;
        }
        let end = Watermark(*watermarks.last().expect("one more than rows"));
        take(&mut process, &[], Marks::passing(end, Watermark::END), &mut main, &mut side);
        prop_assert_eq!(main, model.main);
        prop_assert_eq!(side, model.side);
        prop_assert_eq!(process.due(), None);
        prop_assert_eq!(process.state().expect("it remembers").len(), 0, "at the end of time nothing lives");
    }
}

/// [`Native`], whose answers have no room for more than two rows; counts what it is asked.
struct Narrow(Arc<AtomicUsize>);

impl ProcessGuest for Narrow {
    fn wants(&mut self, subject: Subject, call: &RuleCall) -> Result<Wanted, CallFailure> {
        Native.wants(subject, call)
    }

    fn process(&mut self, subject: Subject, call: &RuleCall, found: &[TableEntries]) -> Result<ProcessAnswer, CallFailure> {
        self.0.fetch_add(1, Ordering::Relaxed);
        if call.columns.num_rows() > 2 {
            let (ending, message, backtrace) = (Ending::TooMuchOutput, "full".to_owned(), String::new());
            return Err(CallFailure { ending, message, backtrace, usage: Usage::default() });
        }
        Native.process(subject, call, found)
    }

    fn replace(&mut self) {}
}

#[test]
fn answers_near_their_bound_do_not_cost_a_search_each() {
    let rows: Vec<Row> = (0..300).map(|at| Row { key: (at % 7) as u8, value: 0, time: at }).collect();
    let run = |guest: Box<dyn ProcessGuest>| {
        let mut output = Outcome::new(EventTime(0));
        let out = step_of(guest).apply(batch(&rows), &mut output);
        assert_eq!((out.len() >= rows.len(), output.dead.len()), (true, 0));
        shown(&out)
    };
    let calls = Arc::new(AtomicUsize::new(0));
    assert_eq!(run(Box::new(Narrow(calls.clone()))), run(Box::new(Native)));
    // 150 that return, a fourth as many that look whether more would fit, and the way down from 300.
    assert!((150..=200).contains(&calls.load(Ordering::Relaxed)), "{calls:?}");
}

#[test]
fn a_key_says_its_state_its_entries_and_its_timers() {
    let row = |key, value, time| Row { key, value, time };
    // Two entries and a timer of one key; of another, one entry.
    let rows = [row(1, 0, 5), row(1, 5, 6), row(1, 2, 7), row(2, 0, 7)];
    let (mut process, watermarks) = (step(), watermarks(&rows));
    let marks = Marks::new(Watermark(i64::MIN), watermarks[..4].to_vec(), None, Watermark(watermarks[4]));
    process.apply(batch(&rows), &mut Outcome::new(EventTime(0)).with_marks(marks));
    let mut said = |key: u8| {
        let asked = batch(&[row(key, 0, 0)]).rows;
        let columns = ["k", "_time"].map(|name| asked.schema().index_of(name).expect("a column"));
        let held = process.state().expect("a process has state").of_key(&asked.project(&columns).expect("both columns"));
        let held = crate::evidence::encoded(held.expect("it says what it holds"));
        let parts = |row: String| {
            let row: serde_json::Value = serde_json::from_str(&row).expect("an encoder writes JSON");
            serde_json::json!([row["is"], row["name"], row["key"], row["value"]])
        };
        held.into_iter().map(parts).collect::<Vec<_>>()
    };
    let entry = |entry: i64| serde_json::json!(["entry", "entries", {"entry": entry}, {"value": 1}]);
    let state = |count: i64| serde_json::json!(["state", null, null, {"count": count}]);
    assert_eq!(said(1), [state(3), entry(0), entry(1), serde_json::json!(["timer", "t0", null, null])]);
    assert_eq!(said(2), [state(1), entry(0)]);
    assert_eq!(said(3), [] as [serde_json::Value; 0]);
}
