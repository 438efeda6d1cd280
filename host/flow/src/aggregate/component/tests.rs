//! Windows over a component: what it says is what the native aggregates say of the same rows, whatever failed, was cut, merged or stored.

use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array};
use arrow_schema::Schema;
use proptest::prelude::*;
use tidemill_event::{Ending, EventTime, FieldType, NoteKind, RowNote, Usage};

use super::*;
use crate::example::batch;
use crate::window::example::{Told, any_rows, any_schedule, cell, run};
use crate::{
    Aggregate, AggregateCall, FlowBatch, Gap, Judged, Marks, Operator, Outcome, Over, OverSettings, SessionWindow, SlicedWindow,
    Slicing, StepId, Watermark, WindowSettings,
};

/// Sums and counts. `reject` has a note, `trap` ends the call; a sum over 900 ends `merge`, one over 800 `finish`.
struct Summing {
    reject: i64,
    trap: i64,
}

fn column(rows: &RecordBatch, at: usize) -> &Int64Array {
    rows.column(at).as_primitive::<Int64Type>()
}

fn ended(message: &str) -> CallFailure {
    CallFailure { ending: Ending::Trap, message: message.to_owned(), backtrace: "frame".to_owned(), usage: Usage::default() }
}

impl Summing {
    fn combine(call: &RuleCall, sign: i64) -> Result<Accumulated, CallFailure> {
        let state = call.state.as_ref().expect("accumulators");
        let mut columns: Vec<Vec<i64>> = (0..2).map(|at| column(&state.rows, at).values().to_vec()).collect();
        for (row, key) in state.row_to_key.iter().enumerate() {
            for (at, values) in columns.iter_mut().enumerate() {
                values[*key as usize] += sign * column(&call.columns, at).value(row);
            }
        }
        if sign > 0 && columns[0].iter().any(|sum| *sum > 900) {
            return Err(ended("too much to merge"));
        }
        Ok(accumulated(state.rows.schema(), columns, Vec::new()))
    }
}

fn accumulated(schema: arrow_schema::SchemaRef, columns: Vec<Vec<i64>>, notes: Vec<RowNote>) -> Accumulated {
    let columns = columns.into_iter().map(|values| Arc::new(Int64Array::from(values)) as ArrayRef).collect();
    let state = RecordBatch::try_new(schema, columns).expect("sums and counts");
    Accumulated { state, notes, usage: Usage::default() }
}

impl AggregateGuest for Summing {
    fn update(&mut self, call: &RuleCall) -> Result<Accumulated, CallFailure> {
        let values = column(&call.columns, 0);
        assert_eq!(arrow_array::Array::null_count(values), 0, "nobody tells it of nulls");
        if values.values().contains(&self.trap) {
            return Err(ended("boom"));
        }
        let state = call.state.as_ref().expect("accumulators");
        let mut columns: Vec<Vec<i64>> = (0..2).map(|at| column(&state.rows, at).values().to_vec()).collect();
        let mut notes = Vec::new();
        for (row, (key, value)) in state.row_to_key.iter().zip(values.values()).enumerate() {
            if *value == self.reject {
                notes.push(RowNote { row: row as u32, kind: NoteKind::Reject, text: "unlucky".to_owned() });
            } else {
                columns[0][*key as usize] += value;
                columns[1][*key as usize] += 1;
            }
        }
        Ok(accumulated(state.rows.schema(), columns, notes))
    }

    fn merge(&mut self, call: &RuleCall) -> Result<Accumulated, CallFailure> {
        Self::combine(call, 1)
    }

    fn retract(&mut self, call: &RuleCall) -> Result<Accumulated, CallFailure> {
        Self::combine(call, -1)
    }

    fn finish(&mut self, call: &RuleCall) -> Result<Values, CallFailure> {
        let (sums, counts) = (column(&call.columns, 0), column(&call.columns, 1));
        if sums.values().iter().any(|sum| *sum > 800) {
            return Err(ended("too much to finish"));
        }
        let values: Int64Array =
            sums.values().iter().zip(counts.values()).map(|(sum, count)| (*count > 0).then_some(*sum)).collect();
        Ok(Values { values: Arc::new(values), notes: Vec::new(), usage: Usage::default() })
    }

    fn replace(&mut self) {}
}

/// It as the column `name`, at `place`.
fn summing(name: &str, place: usize, retracts: bool, (reject, trap): (i64, i64)) -> ComponentAggregate {
    let field = |name| Field::new(name, FieldType::Int64, false);
    let schema = Arc::new(Schema::new(vec![field("sum").arrow(), field("rows").arrow()]));
    let zero = || Arc::new(Int64Array::from(vec![0])) as ArrayRef;
    ComponentAggregate {
        place,
        value: Field::new(name, FieldType::Int64, true),
        arguments: vec![AggregateArgument { column: "v".into(), declared: field("value") }],
        filter: None,
        first: RecordBatch::try_new(schema, vec![zero(), zero()]).expect("one row"),
        retracts,
        guest: Box::new(Summing { reject, trap }),
    }
}

/// `n` (rows), `own` (the component), `sum` (native), and if there are two, `more` (another component that dies of another value).
fn settings(retracts: bool, several: bool) -> WindowSettings {
    let value = Field::new("v", FieldType::Int64, true);
    let call = |name: &str, aggregate, argument| AggregateCall { name: name.into(), aggregate, argument, filter: None };
    let mut components = vec![summing("own", 1, retracts, (4, 5))];
    if several {
        components.push(summing("more", 3, retracts, (6, 7)));
    }
    WindowSettings {
        step: StepId(1),
        by: vec![Field::new("k", FieldType::String, true)],
        aggregates: vec![call("n", Aggregate::Count, None), call("sum", Aggregate::Sum, Some(value))],
        components,
        lateness: Duration::ZERO,
        judged: Judged::ByLane,
        top: None,
    }
}

/// Each result says the same twice, and is of rows at all.
fn check(told: &Told, bounds: usize, several: bool) {
    for row in &told.rows {
        let cells: Vec<&str> = row.split(' ').collect();
        let said = &cells[2 + bounds..];
        assert_eq!(said[1], said[2], "{row}");
        assert!(!several || said[1] == said[3], "{row}");
        assert_ne!(said[0], "0", "{row}");
    }
}

fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

proptest! {
    /// Overlapping windows retract or keep blocks, tumbling ones do neither; rows at fault count for nothing in any of them.
    #[test]
    fn components_count_the_rows_that_native_aggregates_count(
        (every, slices) in (1u64..5, 1u64..9), retracts in any::<bool>(), several in any::<bool>(), rows in any_rows(40), schedule in any_schedule()
    ) {
        let make = || {
            let slicing = Slicing::hopping(us(every * slices), us(every), us(0)).expect("a slide that fits");
            SlicedWindow::new(slicing, settings(retracts, several)).expect("sums of integers")
        };
        let told = run(make, &rows, &schedule);
        check(&told, 2, several);
        let is_dead = |value: i64| [4, 5].contains(&value) || several && [6, 7].contains(&value);
        let at_fault = rows.iter().enumerate().filter(|(row, _)| !told.late.contains(row)).filter_map(|(_, row)| row.value);
        prop_assert_eq!(told.dead.len(), at_fault.filter(|value| is_dead(*value)).count());
    }

    #[test]
    fn sessions_merge_them(gap in 1u64..9, several in any::<bool>(), rows in any_rows(40), schedule in any_schedule()) {
        let make = || SessionWindow::new(Gap::Fixed(us(gap)), settings(false, several)).expect("sums of integers");
        check(&run(make, &rows, &schedule), 2, several);
    }

    #[test]
    fn rows_look_back_with_them(size in 1u32..5, rows in any_rows(40), schedule in any_schedule()) {
        let make = || {
            let WindowSettings { step, by, aggregates, components, judged, .. } = settings(false, false);
            let fields = vec![by[0].clone(), Field::new("v", FieldType::Int64, true)];
            Over::new(OverSettings { step, by, rows: size, aggregates, components, fields, judged }).expect("sums of integers")
        };
        check(&run(make, &rows, &schedule), 1, false);
    }
}

fn global() -> SlicedWindow {
    SlicedWindow::new(Slicing::global(), settings(false, false)).expect("sums of integers")
}

/// A batch through a global window that ends behind it: its rows without bounds and time, and its dead rows.
fn once(window: &mut SlicedWindow, rows: &str, output: &mut Outcome) -> Vec<String> {
    let input = batch(rows);
    *output = std::mem::replace(output, Outcome::new(EventTime(0))).with_marks(Marks::new(
        Watermark::NONE,
        vec![i64::MIN; input.len()],
        None,
        Watermark::END,
    ));
    let made: FlowBatch = window.apply(input, output);
    let columns = &made.rows.columns()[..made.rows.num_columns() - 1];
    (0..made.len()).map(|row| columns.iter().map(|column| cell(column.as_ref(), row)).collect::<Vec<_>>().join(" ")).collect()
}

fn dead(output: &Outcome) -> Vec<String> {
    output.dead.iter().map(|dead| format!("{} {}: {}", dead.origin, dead.reason.as_str(), dead.error)).collect()
}

#[test]
fn rows_at_fault_are_letters_and_a_key_without_others_is_no_result() {
    let mut output = Outcome::new(EventTime(0));
    assert_eq!(once(&mut global(), "a:1 b:5 a:4 c:9 a:-", &mut output), ["a 2 1 1", "c 1 9 9"]);
    assert_eq!(dead(&output), ["1 trap: boom", "2 rejected_by_component: unlucky"]);
    assert_eq!(&*output.dead[0].backtrace, "frame");
}

#[test]
fn a_result_that_cannot_be_said_is_a_letter_of_its_own() {
    let mut output = Outcome::new(EventTime(0));
    assert_eq!(once(&mut global(), "a:1 b:850 c:2", &mut output), ["a 1 1 1", "c 1 2 2"]);
    assert_eq!(dead(&output), ["2 trap: `own`: too much to finish"]);
    // Of a key whose merge ends, nothing is said either.
    let slicing = Slicing::hopping(us(4), us(1), us(0)).expect("whole slides");
    let mut window = SlicedWindow::new(slicing, settings(false, false)).expect("sums of integers");
    let mut output = Outcome::new(EventTime(0));
    let made = once(&mut window, "a:700 a:700 b:1", &mut output);
    assert!(made.iter().all(|row| !row.contains("1400")), "{made:?}");
    assert!(dead(&output).iter().any(|dead| dead.ends_with("trap: `own`: too much to merge")), "{:?}", dead(&output));
}

#[test]
fn a_recorded_ending_is_not_called_again() {
    let mut first = Outcome::new(EventTime(0));
    let expected = once(&mut global(), "a:1 b:5 c:2", &mut first);
    assert!(!first.endings.is_empty());
    let mut settings = settings(false, false);
    // Nothing is a reason to trap any more; what was recorded still is one.
    settings.components = vec![summing("own", 1, false, (4, i64::MIN))];
    let mut window = SlicedWindow::new(Slicing::global(), settings).expect("sums of integers");
    let mut second = Outcome::replay(EventTime(0), first.endings.clone());
    assert_eq!(once(&mut window, "a:1 b:5 c:2", &mut second), expected);
    assert_eq!(dead(&second), ["1 trap: "]);
    assert_eq!(second.endings, first.endings);
}

#[test]
fn a_lost_accumulator_is_stored_as_lost() {
    use super::accumulators::{Combining, ComponentAccumulators};
    let mut own = ComponentAccumulators::new(summing("own", 0, false, (4, 5)));
    let mut calls = AggregateCalls::new();
    own.grow(2);
    let rows = batch("a:500 b:600").rows;
    assert!(own.update(&[0, 1], &rows, &mut calls).is_empty());
    own.combine(Combining::Merge, &[(0, 1)], &mut calls);
    let mut bytes = Vec::new();
    own.encode(0, &mut bytes);
    let mut again = ComponentAccumulators::new(summing("own", 0, false, (4, 5)));
    again.grow(2);
    let mut rest = &bytes[..];
    assert_eq!((again.decode(0, &mut rest), rest.len()), (Some(()), 0));
    for (own, words) in [(&mut own, "too much to merge"), (&mut again, "")] {
        let said = own.finish(&[0], &mut calls);
        let failed: Vec<(usize, &str, &str)> =
            said.failed.iter().map(|(place, reason, error)| (*place, reason.as_str(), &**error)).collect();
        assert_eq!((failed, said.values.len()), (vec![(0, "trap", words)], 1));
    }
    assert!((0..bytes.len()).all(|short| again.decode(1, &mut &bytes[..short]).is_none()));
}
