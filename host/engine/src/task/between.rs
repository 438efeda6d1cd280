//! Rows between two stages: the stage's columns, and behind them what a lane says of itself.
//!
//! ```text
//! user  amount   _lane  _watermark       _idle
//! u1    3        0                                a row of task 0 of the stage before
//! u9    1        0      1700000000000000          a row that was behind its writer's watermark, and that
//! ·     ·        0      1700000005000000 false    a mark: no earlier row of lane 0 follows
//! ·     ·        1      1700000002000000 true     a mark: nor of lane 1, which is silent and holds nothing back
//! ```
//! Marks are taken behind rows, or by themselves (`taken_at_once`). They stand in the same partition behind the rows they are about and in the same entry, so a reader that has taken a mark has taken the
//! rows, wherever it cut; and a replay that takes the same rows sees time go by in the same places.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray, new_null_array};
use arrow_schema::{Field as ArrowField, Schema};
use arrow_select::filter::filter_record_batch;
use tidemill_event::batch::times;
use tidemill_event::{Field, FieldType, Retention, StreamDefinition, StreamSchema, UnknownFields};
use tidemill_flow::{LaneId, Lanes, Marks, Watermark};

use crate::plan::Inner;

/// Columns that stand behind the stage's own.
const OWN: usize = 3;

/// The definition of a stream between two stages.
pub(crate) fn inner_definition(inner: &Inner, partitions: u32) -> StreamDefinition {
    // Marks have none of the columns.
    let own = [("_lane", FieldType::Int64), ("_watermark", FieldType::Int64), ("_idle", FieldType::Bool)];
    let columns = inner.schema.fields.iter().map(|field| Field::new(&field.name, field.ty, true));
    let own = own.into_iter().map(|(name, ty)| Field::new(name, ty, true));
    StreamDefinition {
        schema: StreamSchema { fields: columns.chain(own).collect(), unknown: inner.schema.unknown, infer: false },
        time: None,
        key: inner.key.clone(),
        partitions,
        // What its readers are done with is removed by them.
        retention: Retention::default(),
        compatibility: Default::default(),
    }
}

/// Rows of a lane as the stream has them. `behind`: for each row the watermark it was behind, if it was behind one.
pub(super) fn encode(rows: &RecordBatch, inner: &Inner, lane: u32, behind: Vec<Option<i64>>) -> RecordBatch {
    let count = rows.num_rows();
    let own: [ArrayRef; OWN] = [
        Arc::new(Int64Array::from_value(i64::from(lane), count)),
        Arc::new(Int64Array::from(behind)),
        Arc::new(BooleanArray::new_null(count)),
    ];
    assembled(rows.columns(), inner, own)
}

/// What a lane says of itself. `time` is any event time near it, for people.
pub(super) fn mark(inner: &Inner, lane: u32, head: Watermark, is_idle: bool, time: i64) -> RecordBatch {
    let mut columns: Vec<ArrayRef> = inner.schema.fields.iter().map(|field| new_null_array(&field.ty.arrow(), 1)).collect();
    if inner.schema.unknown == UnknownFields::Keep {
        columns.push(new_null_array(&arrow_schema::DataType::Utf8, 1));
    }
    columns.push(Arc::new(TimestampMicrosecondArray::from(vec![time]).with_timezone("UTC")));
    let head = (head > Watermark::NONE).then_some(head.0);
    let own: [ArrayRef; OWN] = [
        Arc::new(Int64Array::from(vec![i64::from(lane)])),
        Arc::new(Int64Array::from(vec![head])),
        Arc::new(BooleanArray::from(vec![is_idle])),
    ];
    assembled(&columns, inner, own)
}

/// The stage's columns, then the lane's, then the host's.
fn assembled(columns: &[ArrayRef], inner: &Inner, own: [ArrayRef; OWN]) -> RecordBatch {
    let definition = inner_definition(inner, 1);
    let (fields, rest) = columns.split_at(inner.schema.fields.len());
    let columns: Vec<ArrayRef> = fields.iter().cloned().chain(own).chain(rest.iter().cloned()).collect();
    let schema = definition.schema.arrow();
    // A string column may be a dictionary.
    let fields: Vec<ArrowField> = schema
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, column)| ArrowField::clone(field).with_data_type(column.data_type().clone()))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("the columns of the stream")
}

/// How many rows of a block are taken at once: its marks alone where it begins with some. What time lets out there has no row before it, and
/// what is let out is on time for the next step only if the watermark moves behind that.
pub(super) fn taken_at_once(block: &RecordBatch, schema: &StreamSchema) -> usize {
    let idle = block.columns().get(schema.fields.len() + 2).and_then(|column| column.as_boolean_opt());
    let marks = idle.map_or(0, |idle| (0..idle.len()).take_while(|row| idle.is_valid(*row)).count());
    if marks == 0 { block.num_rows() } else { marks }
}

/// Rows that were read, without the marks.
pub(super) struct Between {
    /// As the stage knows them.
    pub(super) rows: RecordBatch,
    /// How far each stands behind the first of the block; `None`: there were no marks among them.
    pub(super) places: Option<Vec<u32>>,
    /// What stood there, in order.
    runs: Vec<Run>,
}

enum Run {
    /// So many rows of a lane, and those of them that were behind.
    Rows(LaneId, usize, Vec<(u32, Watermark)>),
    Mark(LaneId, Watermark, bool),
}

/// Takes a block apart. The lanes of the stream begin at `first`, and there are `lanes`. The error says what no task writes.
pub(super) fn decode(block: &RecordBatch, schema: &StreamSchema, first: LaneId, lanes: u32) -> Result<Between, String> {
    let fields = schema.fields.len();
    let column = |at: usize| block.columns().get(fields + at).ok_or("a column is missing");
    let lane = column(0)?.as_primitive_opt::<Int64Type>().ok_or("`_lane` is no number")?;
    let watermark = column(1)?.as_primitive_opt::<Int64Type>().ok_or("`_watermark` is no number")?;
    let idle = column(2)?.as_boolean_opt().ok_or("`_idle` is not true or false")?;
    let mut runs: Vec<Run> = Vec::new();
    for row in 0..block.num_rows() {
        let own = lane.value(row);
        let id = u32::try_from(own).ok().filter(|own| *own < lanes).ok_or_else(|| format!("there is no lane {own}"))?;
        let id = LaneId(first.0 + id);
        let of_row = watermark.is_valid(row).then(|| Watermark(watermark.value(row)));
        if idle.is_valid(row) {
            runs.push(Run::Mark(id, of_row.unwrap_or(Watermark::NONE), idle.value(row)));
            continue;
        }
        match runs.last_mut() {
            Some(Run::Rows(of, count, behind)) if *of == id => {
                behind.extend(of_row.map(|watermark| (*count as u32, watermark)));
                *count += 1;
            }
            _ => runs.push(Run::Rows(id, 1, of_row.map(|watermark| (0, watermark)).into_iter().collect())),
        }
    }
    let marks = block.num_rows() - idle.null_count();
    let is_row = BooleanArray::from_iter((0..block.num_rows()).map(|row| Some(idle.is_null(row))));
    let kept = if marks == 0 { block.clone() } else { filter_record_batch(block, &is_row).map_err(|error| error.to_string())? };
    let places = (marks > 0).then(|| (0..).zip(is_row.values()).filter(|(_, is_row)| *is_row).map(|(at, _)| at).collect());
    let (own, rest) = kept.columns().split_at(fields);
    let columns: Vec<ArrayRef> = own.iter().chain(&rest[OWN..]).cloned().collect();
    let arrow = schema.arrow();
    let fields: Vec<ArrowField> = arrow
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, column)| ArrowField::clone(field).with_data_type(column.data_type().clone()))
        .collect();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| error.to_string())?;
    Ok(Between { rows, places, runs })
}

impl Between {
    /// Lets time go by as the lanes say.
    pub(super) fn pass(&self, lanes: &mut Lanes) -> Marks {
        let all = times(&self.rows);
        let (mut parts, mut from) = (Vec::with_capacity(self.runs.len()), 0);
        for run in &self.runs {
            match run {
                Run::Rows(lane, count, behind) => {
                    parts.push(lanes.written(*lane, &all.values()[from..from + count], behind, Watermark::NONE));
                    from += count;
                }
                Run::Mark(lane, head, is_idle) => {
                    parts.push(lanes.written(*lane, &[], &[], *head));
                    if *is_idle {
                        parts.push(lanes.leaves(*lane));
                    }
                }
            }
        }
        Marks::joined(&parts, lanes.watermark())
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::StringArray;
    use expect_test::expect;
    use tidemill_event::batch::{concat, time_field};
    use tidemill_flow::TimeSettings;

    use super::*;

    fn inner() -> Inner {
        let schema = StreamSchema {
            fields: vec![Field::new("user", FieldType::String, false)],
            unknown: UnknownFields::Drop,
            infer: false,
        };
        Inner { key: vec!["user".into()], schema, suffix: "stage-2".into() }
    }

    fn rows(of: &[(&str, i64)]) -> RecordBatch {
        let users: StringArray = of.iter().map(|(user, _)| Some(*user)).collect();
        let times = TimestampMicrosecondArray::from_iter_values(of.iter().map(|(_, time)| *time)).with_timezone("UTC");
        let fields = vec![ArrowField::new("user", arrow_schema::DataType::Utf8, false), time_field()];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::new(users), Arc::new(times)]).expect("two columns")
    }

    /// What a reader with two lanes makes of a block, cut into pieces.
    fn read(block: &RecordBatch, piece: usize) -> String {
        let settings = TimeSettings { idle_after: None, bound: None, drift_max: None };
        let mut lanes = Lanes::new(settings, &[std::time::Duration::ZERO; 2]);
        let mut told = String::new();
        for from in (0..block.num_rows()).step_by(piece) {
            let part = block.slice(from, piece.min(block.num_rows() - from));
            assert!(taken_at_once(&part, &inner().schema) > 0);
            let between = decode(&part, &inner().schema, LaneId(0), 2).expect("it was encoded");
            let marks = between.pass(&mut lanes);
            let users = between.rows.column(0).as_string::<i32>();
            for row in 0..between.rows.num_rows() {
                let shown =
                    |watermark: Watermark| if watermark == Watermark::NONE { "-".to_owned() } else { watermark.0.to_string() };
                let place = from as u32 + between.places.as_ref().map_or(row as u32, |places| places[row]);
                let (before, judge) = (marks.before(row as u32), marks.judge(row as u32));
                told += &format!("{place}:{} {} {}\n", users.value(row), shown(before), shown(judge));
            }
        }
        told + &format!("{}", lanes.watermark().0)
    }

    #[test]
    fn no_cut_shows_and_rows_keep_what_they_were_judged_by() {
        let inner = inner();
        let block = concat(&[
            encode(&rows(&[("a", 5), ("b", 1)]), &inner, 0, vec![None, Some(3)]),
            mark(&inner, 0, Watermark(10), false, 10),
            encode(&rows(&[("c", 7)]), &inner, 1, vec![None]),
            mark(&inner, 1, Watermark(7), false, 7),
            encode(&rows(&[("d", 12), ("e", 9)]), &inner, 0, vec![None, Some(10)]),
            mark(&inner, 1, Watermark(8), true, 8),
            encode(&rows(&[("f", 9)]), &inner, 1, vec![None]),
        ]);
        let whole = read(&block, 100);
        expect![[r#"
            0:a - -
            1:b - 3
            3:c - -
            5:d 7 10
            6:e 7 10
            8:f 10 10
            10"#]]
        .assert_eq(&whole);
        for piece in 1..=block.num_rows() {
            assert_eq!(read(&block, piece), whole, "{piece} rows at a time");
        }
    }

    #[test]
    fn a_lane_that_is_not_there_is_refused() {
        let block = encode(&rows(&[("a", 5)]), &inner(), 2, vec![None]);
        assert!(decode(&block, &inner().schema, LaneId(0), 2).is_err_and(|why| why.contains("lane 2")));
    }
}
