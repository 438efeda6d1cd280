//! `alert`: a row of `{pipeline}.alerts` for each row that is one; the rows themselves go on as they came.
//!
//! ```text
//! rows ──► when ──► summary, labels ──► alert, severity, summary, labels, fingerprint, starts_at, …    to `{pipeline}.alerts`
//!   └─────────────────────────────────► the same rows
//! ```
//! An alert here is an event and nothing more: who is told, how often, and when it is over is for whoever reads the stream. For that the
//! fingerprint is the same for the same name and labels, in every pipeline, process and release. A row whose condition, summary or label fails is
//! dead, and no alert.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, StringArray};
use arrow_buffer::BooleanBuffer;
use arrow_cast::cast;
use arrow_schema::{DataType, Field as ArrowField};
use serde_json::{Map, Value};
use tidemill_event::batch::times;
use tidemill_event::{Breaker, Field, FieldType, Reason};

use crate::batch::assemble;
use crate::checksum::checksum;
use crate::outcome::SideRows;
use crate::where_step::without;
use crate::{
    Computed, FlowBatch, NamedProjection, OnFailing, Operator, Outcome, Predicate, StepId, StepState, Tested, Watermark,
};

/// The output beside the main one that alerts go to; no step has so many of its own.
pub const ALERTS: usize = usize::MAX;

/// What an alert step is told by the plan.
pub struct AlertSettings {
    /// Its place in the pipeline.
    pub step: StepId,
    /// What the alerts are called.
    pub name: Arc<str>,
    /// How bad they are.
    pub severity: Arc<str>,
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// The step's name.
    pub step_name: Arc<str>,
    /// Which rows are alerts; `None`: all.
    pub when: Option<Box<dyn Predicate>>,
    /// A text.
    pub summary: NamedProjection,
    /// Texts, by their names, which ascend. One that is null is left out.
    pub labels: Vec<NamedProjection>,
}

/// The step.
pub struct AlertStep(AlertSettings);

impl AlertStep {
    /// A step of these settings.
    ///
    /// # Panics
    /// If the names of labels do not ascend: the same labels would have another fingerprint.
    pub fn new(settings: AlertSettings) -> Self {
        assert!(settings.labels.is_sorted_by(|a, b| a.field.name < b.field.name), "names of labels ascend");
        Self(settings)
    }

    /// The columns of an alert, in their order.
    pub fn fields() -> Vec<Field> {
        let text = |name: &str, nullable: bool| Field::new(name, FieldType::String, nullable);
        vec![
            text("alert", false),
            text("severity", false),
            text("summary", true),
            Field::new("labels", FieldType::Json, false),
            text("fingerprint", false),
            Field::new("starts_at", FieldType::Timestamp(None), false),
            text("pipeline", false),
            text("step", false),
        ]
    }

    /// The alerts of some rows, with their texts.
    fn rows(&self, of: FlowBatch, summary: &ArrayRef, labels: &[ArrayRef]) -> FlowBatch {
        let AlertSettings { name, severity, pipeline, step_name, labels: named, .. } = &self.0;
        let rows = of.len();
        let texts: Vec<&StringArray> = labels.iter().map(AsArray::as_string::<i32>).collect();
        let (mut objects, mut prints) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        for row in 0..rows {
            let (mut object, mut print) = (Map::new(), checksum(0, name.as_bytes()));
            for (NamedProjection { field, .. }, texts) in named.iter().zip(&texts).filter(|(_, texts)| texts.is_valid(row)) {
                print = checksum(checksum(print, field.name.as_bytes()), texts.value(row).as_bytes());
                object.insert(field.name.to_string(), Value::from(texts.value(row)));
            }
            objects.push(Value::Object(object).to_string());
            prints.push(format!("{print:016x}"));
        }
        let same = |text: &Arc<str>| Arc::new(StringArray::from_iter_values((0..rows).map(|_| &**text))) as ArrayRef;
        let times: ArrayRef = Arc::new(times(&of.rows).clone());
        let columns = vec![
            same(name),
            same(severity),
            summary.clone(),
            Arc::new(StringArray::from(objects)),
            Arc::new(StringArray::from(prints)),
            times.clone(),
            same(pipeline),
            same(step_name),
            times,
        ];
        let own = of.rows.schema_ref().fields().last().expect("an event batch has a time").clone();
        let fields = Self::fields().iter().map(|field| Arc::new(field.arrow())).chain([own]).collect::<Vec<Arc<ArrowField>>>();
        FlowBatch { rows: assemble(fields, columns, rows), origin: of.origin }
    }
}

impl Operator for AlertStep {
    fn step(&self) -> StepId {
        self.0.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        if input.is_empty() {
            return input;
        }
        let AlertSettings { step, when, summary, labels, .. } = &self.0;
        let mut failures: Vec<(usize, Reason, String)> = Vec::new();
        let mut fail = |rows: Vec<(usize, String)>, place: &dyn Fn(usize) -> usize, what: &str| {
            failures.extend(rows.into_iter().map(|(row, error)| (place(row), Reason::Expression, format!("{what}: {error}"))));
        };
        let all = || BooleanArray::new(BooleanBuffer::new_set(input.len()), None);
        let passes = match when {
            None => all(),
            Some(when) => {
                let Tested { passes, failed } = when.test(&input.rows);
                let failing: Vec<usize> = failed.iter().map(|(row, _)| *row).collect();
                fail(failed, &|row| row, "`when`");
                without(passes, failing.into_iter())
            }
        };
        let places: Vec<usize> = (0..input.len()).filter(|row| passes.is_valid(*row) && passes.value(*row)).collect();
        let mut fired = input.filtered(&passes);
        let mut texts = Vec::with_capacity(labels.len() + 1);
        let mut gone = Vec::new();
        for NamedProjection { field, projection } in std::iter::once(summary).chain(labels) {
            let Computed { values, failed } = projection.compute(&fired.rows);
            gone.extend(failed.iter().map(|(row, _)| *row));
            fail(failed, &|row| places[row], &format!("`{}`", field.name));
            texts.push(cast(&values, &DataType::Utf8).expect("texts, a dictionary of them perhaps"));
        }
        if !gone.is_empty() {
            let keep = without(BooleanArray::new(BooleanBuffer::new_set(fired.len()), None), gone.into_iter());
            fired = fired.filtered(&keep);
            let kept = |text: &ArrayRef| arrow_select::filter::filter(text, &keep).expect("a text per row");
            texts = texts.iter().map(kept).collect();
        }
        if !fired.is_empty() {
            let rows = self.rows(fired, &texts[0], &texts[1..]);
            output.sides.push(SideRows { step: *step, side: ALERTS, rows });
        }
        if failures.is_empty() {
            return input;
        }
        // Stable, so that of several errors of a row the first expression's stays.
        failures.sort_by_key(|(row, ..)| *row);
        failures.dedup_by_key(|(row, ..)| *row);
        let keep = without(all(), failures.iter().map(|(row, ..)| *row));
        output.bury(&input, *step, failures);
        input.filtered(&keep)
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        None
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        None
    }

    fn due(&self) -> Option<Watermark> {
        None
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::types::Int64Type;
    use arrow_array::{Int64Array, RecordBatch};
    use expect_test::expect;
    use tidemill_event::EventTime;

    use super::*;
    use crate::Projection;
    use crate::example::{batch, show};

    /// More than three; 13 fails.
    struct Many;

    impl Predicate for Many {
        fn test(&self, rows: &RecordBatch) -> Tested {
            let values = values(rows);
            let failed = values.iter().enumerate().filter(|(_, v)| *v == Some(13)).map(|(row, _)| (row, "unlucky".to_owned()));
            Tested { passes: values.iter().map(|v| v.map(|v| v > 3)).collect(), failed: failed.collect() }
        }
    }

    /// `v` as a text; 7 fails.
    struct Text;

    impl Projection for Text {
        fn compute(&self, rows: &RecordBatch) -> Computed {
            let values = values(rows);
            let failed = values.iter().enumerate().filter(|(_, v)| *v == Some(7)).map(|(row, _)| (row, "odd".to_owned()));
            let texts: StringArray = values.iter().map(|v| v.map(|v| v.to_string())).collect();
            Computed { values: Arc::new(texts), failed: failed.collect() }
        }
    }

    /// The key.
    struct Key;

    impl Projection for Key {
        fn compute(&self, rows: &RecordBatch) -> Computed {
            let keys = cast(rows.column_by_name("k").expect("the key"), &DataType::Utf8).expect("text");
            Computed { values: keys, failed: Vec::new() }
        }
    }

    fn values(rows: &RecordBatch) -> Int64Array {
        rows.column_by_name("v").expect("a value").as_primitive::<Int64Type>().clone()
    }

    fn step(when: Option<Box<dyn Predicate>>) -> AlertStep {
        let text = |name: &str, projection: Box<dyn Projection>| NamedProjection {
            field: Field::new(name, FieldType::String, true),
            projection,
        };
        AlertStep::new(AlertSettings {
            step: StepId(3),
            name: "too-many".into(),
            severity: "critical".into(),
            pipeline: "p".into(),
            step_name: "steps[3].alert".into(),
            when,
            summary: text("summary", Box::new(Text)),
            labels: vec![text("key", Box::new(Key)), text("value", Box::new(Text))],
        })
    }

    fn alerts(output: &Outcome) -> String {
        let mut lines = Vec::new();
        for side in &output.sides {
            assert_eq!((side.step, side.side), (StepId(3), ALERTS));
            let text = |name: &str, row: usize| {
                let column = side.rows.rows.column_by_name(name).expect("a column").as_string::<i32>().clone();
                if column.is_valid(row) { column.value(row).to_owned() } else { "-".to_owned() }
            };
            lines.extend((0..side.rows.len()).map(|row| {
                let origin = side.rows.origin[row];
                format!("{origin} {} {} {}", text("summary", row), text("labels", row), text("fingerprint", row))
            }));
        }
        lines.join("\n")
    }

    #[test]
    fn rows_go_on_and_those_that_are_alerts_are_told_of() {
        let mut output = Outcome::new(EventTime(0));
        let out = step(Some(Box::new(Many))).apply(batch("a:1 b:5 a:13 a:7 a:9 -:9 b:5 c:-"), &mut output);
        expect!["0:a=1 1:b=5 4:a=9 5:-=9 6:b=5 7:c=- | 2:a=13 step 3 expression `when`: unlucky, 3:a=7 step 3 expression `summary`: odd"]
            .assert_eq(&show(&out, &output));
        // The same labels have the same fingerprint, and it never changes.
        expect![[r#"
            1 5 {"key":"b","value":"5"} cc49357b8685d6df
            4 9 {"key":"a","value":"9"} 0c1b4acd527c28b8
            5 9 {"value":"9"} b35a21ad03b8331e
            6 5 {"key":"b","value":"5"} cc49357b8685d6df"#]]
        .assert_eq(&alerts(&output));
        let mut output = Outcome::new(EventTime(0));
        let out = step(None).apply(batch("c:- c:1"), &mut output);
        assert_eq!((out.len(), alerts(&output).lines().count()), (2, 2));
        let mut output = Outcome::new(EventTime(0));
        assert!(step(None).apply(batch(""), &mut output).is_empty() && output.sides.is_empty());
    }
}
