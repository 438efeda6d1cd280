//! Windows by processing time: a row's time is that of the clock when its batch is taken.
//!
//! ```text
//! batch, clock c ──► rows at c, watermark c ──► the window ──► what ended at c or before
//! no rows, clock c ────────────────────────────►
//! ```
//! The clock of a batch is recorded with it, so a replay puts the same rows into the same windows. It never goes back: neither within a run of the
//! host nor, because it is part of the state, from one to the next.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use tidemill_event::{Breaker, EventTime};

use crate::aggregate::bytes::take_i64;
use crate::batch::assemble;
use crate::checksum::checksum;
use crate::state::corrupt;
use crate::{
    FlowBatch, KeyChange, KeyState, Marks, OnFailing, Operator, Outcome, Save, StateCorrupt, StepId, StepState, Watermark,
};

/// The entry of the clock.
const CLOCK: u8 = 0xfe;

/// The step.
pub struct ByClock {
    state: Clocked,
}

/// The window's state, and the clock.
struct Clocked {
    window: Box<dyn Operator>,
    /// The clock of the last batch.
    clock: i64,
    is_changed: bool,
    /// How many entries the window has, and how many of them changed, as of the last look.
    counted: (usize, usize),
}

impl ByClock {
    /// `window` by the clock.
    ///
    /// # Panics
    /// If it keeps no state.
    pub fn new(mut window: Box<dyn Operator>) -> Self {
        assert!(window.state().is_some(), "a window keeps state");
        Self { state: Clocked { window, clock: i64::MIN, is_changed: false, counted: (0, 0) } }
    }
}

/// The same rows, all at one time.
fn at(rows: &FlowBatch, time: i64) -> FlowBatch {
    let batch = &rows.rows;
    let times = TimestampMicrosecondArray::from_value(time, rows.len()).with_timezone("UTC");
    let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
    *columns.last_mut().expect("`_time` is the last column") = Arc::new(times);
    let rows_at = assemble(batch.schema_ref().fields().iter().cloned().collect(), columns, rows.len());
    FlowBatch { rows: rows_at, origin: rows.origin.clone() }
}

impl Operator for ByClock {
    fn step(&self) -> StepId {
        self.state.window.step()
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let now = self.state.clock.max(output.clock().0);
        let outer = output.marks();
        // Where all time ends, the clock's does too.
        let end = if outer.end() == Watermark::END { outer.end() } else { Watermark(now) };
        let start = Watermark(self.state.clock);
        output.replace_marks(Arc::new(Marks::new(start, vec![now; outer.len()], None, end)));
        self.state.is_changed |= now != self.state.clock;
        self.state.clock = now;
        let made = self.state.window.apply(at(&input, now), output);
        output.replace_marks(outer);
        made
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        self.state.count();
        Some(&mut self.state)
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        self.state.window.breaker()
    }

    /// The rows' own time is nothing to it.
    fn due(&self) -> Option<Watermark> {
        None
    }

    fn due_at(&self) -> Option<EventTime> {
        let ends = self.state.window.due().filter(|due| *due < Watermark::END).map(|due| EventTime(due.0));
        ends.into_iter().chain(self.state.window.due_at()).min()
    }
}

impl Clocked {
    fn inner(&mut self) -> &mut dyn StepState {
        self.window.state().expect("it was asked for when the step was made")
    }

    fn count(&mut self) {
        let inner = self.inner();
        self.counted = (inner.len(), inner.changed_len());
    }
}

impl StepState for Clocked {
    fn len(&self) -> usize {
        self.counted.0
    }

    fn changed_len(&self) -> usize {
        self.counted.1 + usize::from(self.is_changed)
    }

    fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        let mut changes = self.inner().take_some(most, save);
        self.count();
        if std::mem::take(&mut self.is_changed) {
            changes.push(KeyChange::of_step([CLOCK], &self.clock.to_le_bytes()));
        }
        changes
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        if key != [CLOCK] {
            let restored = self.inner().restore_entry(key, value);
            self.count();
            return restored;
        }
        let mut rest = value;
        self.clock = take_i64(&mut rest).filter(|_| rest.is_empty()).ok_or_else(|| corrupt(key, "clock", 0))?;
        Ok(())
    }

    fn checksum(&mut self) -> u64 {
        let own = checksum(checksum(0, &[CLOCK]), &self.clock.to_le_bytes());
        self.inner().checksum().wrapping_add(own)
    }

    fn of_key(&mut self, key: &RecordBatch) -> Option<KeyState> {
        self.inner().of_key(key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use expect_test::expect;
    use tidemill_event::{Field, FieldType};

    use super::*;
    use crate::window::example::{Row, batch_of, cell, store_and_load};
    use crate::{
        Aggregate, AggregateCall, Early, Gap, Judged, Late, PaneSettings, PanedWindow, PanedWindows, Said, SlicedWindow, Slicing,
        WindowSettings,
    };

    fn settings() -> WindowSettings {
        let value = Some(Field::new("v", FieldType::Int64, true));
        WindowSettings {
            step: StepId(0),
            by: vec![Field::new("k", FieldType::String, true)],
            aggregates: vec![AggregateCall { name: "total".into(), aggregate: Aggregate::Sum, argument: value, filter: None }],
            components: Vec::new(),
            lateness: Duration::ZERO,
            judged: Judged::ByLane,
            top: None,
        }
    }

    fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// What happens is `clock: keys`; answers what came of it, and when the clock is wanted next. Every step goes through a store.
    fn told(make: impl Fn() -> Box<dyn Operator>, happens: &str) -> String {
        let make = || Kept(ByClock::new(make()));
        let (mut step, mut stored, mut lines) = (make(), BTreeMap::new(), Vec::new());
        for (number, line) in happens.split(", ").enumerate() {
            let (clock, keys) = line.split_once(':').expect("a clock");
            // The rows' own times are any.
            let row = |key: &str| Row { key: Some(key.as_bytes()[0] - b'a'), time: -7, value: Some(1 << number) };
            let rows: Vec<Row> = keys.split_whitespace().map(row).collect();
            let end = if clock == "end" { Watermark::END } else { Watermark(-7) };
            let now = clock.parse().unwrap_or(0);
            let marks = Marks::new(Watermark(-7), vec![-7; rows.len()], None, end);
            let mut output = Outcome::new(EventTime(now)).with_marks(marks.clone());
            let made = step.apply(FlowBatch::new(batch_of(&rows, false)), &mut output);
            assert!(output.needs_clock() && output.late.is_empty() && *output.marks() == marks);
            let columns = made.rows.columns();
            let row = |row: usize| columns.iter().map(|column| cell(column.as_ref(), row)).collect::<Vec<_>>().join(" ");
            let rows: Vec<String> = (0..made.len()).map(row).collect();
            let due = step.due_at().map_or("-".to_owned(), |due| due.0.to_string());
            lines.push(format!("{clock}: {} | {due}", rows.join(", ")));
            step = store_and_load(step, &make, &mut stored);
        }
        lines.join("\n")
    }

    /// As a type that has a size.
    struct Kept(ByClock);

    impl Operator for Kept {
        fn step(&self) -> StepId {
            self.0.step()
        }

        fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
            self.0.apply(input, output)
        }

        fn state(&mut self) -> Option<&mut dyn StepState> {
            self.0.state()
        }

        fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
            self.0.breaker()
        }

        fn due(&self) -> Option<Watermark> {
            self.0.due()
        }

        fn due_at(&self) -> Option<EventTime> {
            self.0.due_at()
        }
    }

    /// A clock that was set back stands still: 18 is not before 20.
    #[test]
    fn windows_end_by_the_clock() {
        let slicing = Slicing::tumbling(us(10), us(0)).expect("a length");
        let make = || -> Box<dyn Operator> { Box::new(SlicedWindow::new(slicing, settings()).expect("a sum")) };
        expect![[r#"
            3:  | 10
            9:  | 10
            10: a 0 10 3 9, b 0 10 1 9 | 20
            20: a 10 20 4 19 | -
            18:  | 30
            30: b 20 30 16 29 | -
            end:  | -"#]]
        .assert_eq(&told(make, "3:a b, 9:a, 10:a, 20:, 18:b, 30:, end:"));
    }

    #[test]
    fn sessions_end_by_the_clock() {
        let windows = || PanedWindows::Session { gap: Gap::Fixed(us(5)), longest: Some(us(8)) };
        let panes = PaneSettings { early: Some(Early::Clock(us(3))), late: Late::Rows(1), said: Said::Discarding, shows: true };
        let make = || -> Box<dyn Operator> { Box::new(PanedWindow::new(windows(), panes, settings()).expect("a sum")) };
        expect![[r#"
            3:  | 6
            5:  | 6
            6: a 3 10 3 early 0 10 | 11
            9:  | 12
            12: a 3 11 8 on_time 1 11, a 12 17 16 early 0 17 | 18
            15:  | 18
            20: a 12 17 - on_time 1 17 | -
            end:  | -"#]]
        .assert_eq(&told(make, "3:a, 5:a, 6:, 9:a, 12:a, 15:, 20:, end:"));
    }
}
