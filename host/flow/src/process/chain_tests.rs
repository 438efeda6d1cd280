//! Timers that set the next one, and keys that set too many: what they may, and that nobody else notices.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use tidemill_event::{
    CallFailure, Ending, EventTime, Field, FieldType, ProcessAnswer, ProcessGuest, Reason, RuleCall, Subject, TableEntries,
    TimerChange, Usage, Wanted,
};

use crate::example::counting_table;
use crate::process::chains::FIRINGS_MAX;
use crate::process::plain;
use crate::process::tests::{Row, batch, made};
use crate::{Isolation, Marks, Operator, Outcome, ProcessSettings, ProcessStep, StepId, Watermark};

/// Sets a timer for every row, and with a timer called `endless` the next one.
struct Ticking;

impl ProcessGuest for Ticking {
    fn wants(&mut self, _: Subject, _: &RuleCall) -> Result<Wanted, CallFailure> {
        panic!("it has no tables")
    }

    fn process(&mut self, subject: Subject, call: &RuleCall, _: &[TableEntries]) -> Result<ProcessAnswer, CallFailure> {
        let set =
            |row: usize, name: &str, at: i64| TimerChange { row: row as u32, name: name.to_owned(), at: Some(EventTime(at)) };
        let of_row = |row: usize| match subject {
            Subject::Rows => {
                let value = call.columns.column(0).as_primitive::<Int64Type>().value(row);
                let time = call.columns.column(1).as_primitive::<TimestampMicrosecondType>().value(row);
                Some(set(row, if value == 1 { "endless" } else { "once" }, time + 1))
            }
            Subject::Timers => {
                let at = call.columns.column(0).as_primitive::<TimestampMicrosecondType>().value(row);
                let name = call.columns.column(1).as_string::<i32>().value(row);
                (name == "endless").then(|| set(row, name, at + 1))
            }
        };
        let timers = (0..call.columns.num_rows()).filter_map(of_row).collect();
        let nothing = || made(&[]);
        Ok(ProcessAnswer {
            made: nothing(),
            state: call.state.as_ref().map(|state| state.rows.clone()),
            tables: Vec::new(),
            timers,
            sides: Vec::new(),
            notes: Vec::new(),
            usage: Usage::default(),
        })
    }

    fn replace(&mut self) {}
}

fn ticking() -> ProcessStep {
    let settings = ProcessSettings {
        step: StepId(0),
        by: vec![Field::new("k", FieldType::String, true)],
        columns: vec![Field::new("v", FieldType::Int64, true), Field::new("_time", FieldType::Timestamp(None), false)],
        outputs: vec![Field::new("n", FieldType::Int64, false)],
        state: counting_table(),
        keeps_state: true,
        tables: Vec::new(),
        sides: Vec::new(),
        isolation: Isolation::never_out(),
    };
    ProcessStep::new(settings, Box::new(Ticking))
}

#[test]
fn timers_that_set_each_other_without_end_are_cut_off_and_no_other_is() {
    let row = |key, value| Row { key, value, time: 0 };
    let rows = [row(0, 1), row(1, 0), row(2, 0)];
    // An hour of microseconds at once.
    let marks = || Marks::new(Watermark::NONE, vec![Watermark::NONE.0; 3], None, Watermark(3_600_000_000));
    let mut step = ticking();
    let mut output = Outcome::new(EventTime(0)).with_marks(marks());
    step.apply(batch(&rows), &mut output);
    let [dead] = &output.dead[..] else { panic!("one timer is at fault: {:?}", output.dead) };
    assert_eq!(dead.reason, Reason::Ending(Ending::OutOfFuel));
    assert!(dead.error.contains("of this key have set each other"), "{}", dead.error);
    let keys = plain(dead.event.rows.column_by_name("k").expect("the key"));
    assert_eq!(keys.as_string::<i32>().value(dead.event.row), "k0");
    assert!(output.put_back.is_empty());
    assert_eq!(step.due(), None, "the timers of the other keys have fired");
    let fired = output.calls.iter().filter(|call| call.ending.is_none()).map(|call| call.rows).sum::<usize>();
    assert_eq!(fired, 3 + 3 + FIRINGS_MAX as usize, "rows, their timers, and those that followed");

    // What is taken again is told what was left out.
    let mut again = ticking();
    let mut replay = Outcome::replay(EventTime(0), output.endings.clone()).with_marks(marks());
    again.apply(batch(&rows), &mut replay);
    assert_eq!((replay.dead.len(), &replay.endings), (1, &output.endings));
    let sum = |step: &mut ProcessStep| step.state().expect("it has state").checksum();
    assert_eq!(sum(&mut again), sum(&mut step));
}

#[test]
fn a_key_that_sets_more_timers_than_it_may_loses_the_row() {
    struct Hoarding;
    impl ProcessGuest for Hoarding {
        fn wants(&mut self, _: Subject, _: &RuleCall) -> Result<Wanted, CallFailure> {
            panic!("it has no tables")
        }
        fn process(&mut self, subject: Subject, call: &RuleCall, found: &[TableEntries]) -> Result<ProcessAnswer, CallFailure> {
            let mut answer = Ticking.process(subject, call, found)?;
            let value = |row: usize| call.columns.column(0).as_primitive::<Int64Type>().value(row);
            let names = |row: usize| {
                (0..value(row)).map(move |n| TimerChange {
                    row: row as u32,
                    name: format!("{}-{n}", value(row)),
                    at: Some(EventTime(1_000)),
                })
            };
            answer.timers = (0..call.columns.num_rows()).flat_map(names).collect();
            Ok(answer)
        }
        fn replace(&mut self) {}
    }
    let mut step = ticking();
    step.guest = Box::new(Hoarding);
    let row = |key, value| Row { key, value, time: 0 };
    let mut output = Outcome::new(EventTime(0));
    step.apply(batch(&[row(0, 400), row(1, 700), row(0, 599), row(0, 2), row(1, 300), row(0, 1)]), &mut output);
    assert_eq!(output.dead.iter().map(|dead| dead.origin).collect::<Vec<_>>(), [3]);
    assert!(output.dead[0].error.contains("more than 1000 timers"), "{}", output.dead[0].error);
}
