//! One way of a file of events through one component: the operators of the host, over its sandbox.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use serde_json::Value;
use tidemill_event::batch::{TIME_COLUMN, times};
use tidemill_event::json::{DecodeLimits, RowDecoder, RowEncoder, is_blank};
use tidemill_event::{EventTime, Field, FieldType, Reason, Retention, StreamDefinition, StreamSchema, UnknownFields};
use tidemill_flow::{FlowBatch, Marks, Operator, Outcome, ProcessStep, Wait, Watermark};
use tidemill_runtime::{Component, Kind, Runtime, SideOutput};

use crate::exit::Failure;
use crate::trial_pattern::pattern_step;
use crate::trial_step::{Sandbox, VERDICT_COLUMN, step};

/// A file of events as one batch.
pub(crate) struct Events {
    rows: RecordBatch,
    fields: Vec<Field>,
    /// The line, from 1, of each row.
    lines: Vec<usize>,
    /// How many rows there are.
    pub(crate) count: usize,
    /// What did not fit, a line each.
    pub(crate) rejected: Vec<String>,
}

/// Decodes lines as a stream would that has the columns the component reads, and the key. What expressions call may meet a null anywhere.
/// `time` is the field that says when a row was.
pub(crate) fn read_events(text: &[u8], component: &Component, by: &[String], time: &str) -> Result<Events, Failure> {
    let in_expressions = matches!(component.kind(), Kind::Function | Kind::Aggregate);
    let columns = component.description().columns.iter().filter(|field| &*field.name != TIME_COLUMN);
    let mut fields: Vec<Field> =
        columns.map(|field| Field { nullable: field.nullable || in_expressions, ..field.clone() }).collect();
    for name in by {
        if !fields.iter().any(|field| *field.name == **name) {
            fields.push(Field::new(name.as_str(), FieldType::Json, true));
        }
    }
    let schema = StreamSchema { fields: fields.clone(), unknown: UnknownFields::Keep, infer: false };
    let definition = StreamDefinition {
        schema,
        time: None,
        key: Vec::new(),
        partitions: 1,
        retention: Retention::default(),
        compatibility: Default::default(),
    };
    let mut decoder = RowDecoder::new(Arc::new(definition), DecodeLimits::default());
    let (mut lines, mut rejected) = (Vec::new(), Vec::new());
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !is_blank(line)) {
        match decoder.row(line, time_of(line, time)) {
            Ok(()) => lines.push(number + 1),
            Err(fault) => rejected.push(format!("line {}: {}", number + 1, fault.error)),
        }
    }
    if lines.is_empty() && rejected.is_empty() {
        return Err(Failure::wrong_use("the file has no events"));
    }
    Ok(Events { rows: decoder.finish(), fields, count: lines.len(), lines, rejected })
}

/// A time as text, if it has one; other events are all of one moment.
fn time_of(line: &[u8], field: &str) -> EventTime {
    let mentions = line.windows(field.len().max(1)).any(|window| window == field.as_bytes());
    let row: Option<BTreeMap<String, Value>> = mentions.then(|| serde_json::from_slice(line).ok()).flatten();
    let time = row.and_then(|row| EventTime::parse_rfc3339(row.get(field)?.as_str()?));
    time.unwrap_or(EventTime(0))
}

/// How rows are cut into calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// The most rows in a call.
    pub(crate) call_rows: usize,
    /// Whether every call has an instance of its own.
    pub(crate) fresh: bool,
}

/// A row that came out.
pub(crate) struct OutRow {
    line: usize,
    /// JSON.
    pub(crate) text: String,
}

/// What came out of one cut, and what it took.
pub(crate) struct Trial {
    pub(crate) cut: Cut,
    pub(crate) rows: Vec<OutRow>,
    /// How often a rule said yes.
    pub(crate) yes: Option<usize>,
    /// Rows that could not go on, with line and reason.
    pub(crate) dead: Vec<String>,
    /// Rows on which the component's call did not return, with backtraces.
    pub(crate) endings: Vec<String>,
    pub(crate) calls: usize,
    pub(crate) fuel: u64,
    pub(crate) fuel_max: u64,
    pub(crate) time: Duration,
    pub(crate) memory_bytes: u64,
    state: u64,
    /// The newest time of the rows before: time goes on with them, for what waits for it.
    newest: Watermark,
    keeps_time: bool,
    /// The outputs beside the main one: name, and how its rows are written.
    sides: Vec<(String, RowEncoder)>,
}

impl Trial {
    /// Sends every row through. An error is a component that does not open; what its calls do is in the trial.
    pub(crate) fn run(
        runtime: &Runtime,
        component: &Arc<Component>,
        events: &Events,
        cut: Cut,
        config: &str,
        by: &[String],
    ) -> Result<Self, Failure> {
        let mut sandbox = Sandbox::new(runtime, component, config, cut.fresh);
        sandbox.open().map_err(|failure| Failure::failed(format!("the component does not open with this config: {failure}")))?;
        let description = component.description();
        let (mut step, fields) = match component.kind() {
            Kind::Pattern => pattern_step(component, &events.fields, by, sandbox)?,
            _ => step(component, &events.fields, by, sandbox),
        };
        let schema = StreamSchema { fields, unknown: UnknownFields::Keep, infer: false };
        let encoder = RowEncoder::new(&schema, None);
        let mut trial = Self::empty(cut, component.kind());
        if component.kind() == Kind::Process {
            let by: Vec<Field> =
                by.iter().filter_map(|name| events.fields.iter().find(|field| *field.name == **name).cloned()).collect();
            let side = |side: &SideOutput| {
                let fields = ProcessStep::made_fields(&by, &side.columns);
                (side.name.clone(), RowEncoder::new(&StreamSchema { fields, unknown: UnknownFields::Drop, infer: false }, None))
            };
            trial.sides = description.memory.sides.iter().map(side).collect();
        }
        let mut begin = 0;
        while begin < events.count {
            let length = cut.call_rows.min(events.count - begin);
            let (rows, lines) = (events.rows.slice(begin, length), &events.lines[begin..begin + length]);
            trial.batch(&mut *step, FlowBatch::new(rows), &encoder, lines);
            begin += length;
        }
        if !description.state.is_empty() || matches!(component.kind(), Kind::Process | Kind::Pattern) {
            trial.state = step.state().map_or(0, |state| state.checksum());
        }
        if matches!(component.kind(), Kind::Aggregate | Kind::Process | Kind::Pattern) {
            // Time runs out: every group says what it is, every timer fires, every partial match ends.
            let mut outcome = Outcome::new(EventTime(0)).with_marks(Marks::passing(trial.newest, Watermark::END));
            let out = step.apply(FlowBatch::new(events.rows.slice(0, 0)), &mut outcome);
            trial.take(&out, &outcome, &encoder, &events.lines);
        }
        Ok(trial)
    }

    /// One batch, and what of it was put back because it took too many failing calls.
    fn batch(&mut self, step: &mut dyn Operator, rows: FlowBatch, encoder: &RowEncoder, lines: &[usize]) {
        let mut next = Some(rows);
        while let Some(rows) = next.take() {
            // Without a breaker nothing hangs on the time.
            let mut outcome = Outcome::new(EventTime(0)).with_marks(self.marks(&rows));
            let out = step.apply(rows, &mut outcome);
            self.take(&out, &outcome, encoder, lines);
            for back in outcome.put_back {
                match back.wait {
                    Wait::Not | Wait::Held => next = Some(back.rows),
                    Wait::For(wait) => self.dead.extend(back.rows.origin.iter().map(|origin| {
                        format!("line {}: the component wants it again after {} ms", lines[*origin as usize], wait.as_millis())
                    })),
                }
            }
        }
    }

    /// The watermark along a batch: its rows' times, as if none came out of order.
    fn marks(&mut self, rows: &FlowBatch) -> Marks {
        if !self.keeps_time {
            return Marks::steady(Watermark::NONE, rows.len());
        }
        let start = self.newest;
        let before = times(&rows.rows).values().iter().map(|time| {
            let before = self.newest;
            self.newest = before.max(Watermark(*time));
            before.0
        });
        let before = before.collect();
        Marks::new(start, before, None, self.newest)
    }

    fn empty(cut: Cut, kind: Kind) -> Self {
        Self {
            cut,
            rows: Vec::new(),
            yes: (kind == Kind::Rule).then_some(0),
            dead: Vec::new(),
            endings: Vec::new(),
            calls: 0,
            fuel: 0,
            fuel_max: 0,
            time: Duration::ZERO,
            memory_bytes: 0,
            state: 0,
            newest: Watermark::NONE,
            keeps_time: matches!(kind, Kind::Process | Kind::Pattern),
            sides: Vec::new(),
        }
    }

    fn take(&mut self, out: &FlowBatch, outcome: &Outcome, encoder: &RowEncoder, lines: &[usize]) {
        for (row, origin) in out.origin.iter().enumerate() {
            self.rows.push(OutRow { line: lines[*origin as usize], text: encoder.one(&out.rows, row) });
        }
        for side in &outcome.sides {
            let (name, encoder) = &self.sides[side.side];
            for (row, origin) in side.rows.origin.iter().enumerate() {
                let text = format!("{{{}:{}}}", Value::from(name.as_str()), encoder.one(&side.rows.rows, row));
                self.rows.push(OutRow { line: lines[*origin as usize], text });
            }
        }
        if let (Some(yes), Some(verdicts)) = (&mut self.yes, out.rows.column_by_name(VERDICT_COLUMN)) {
            *yes += verdicts.as_boolean().true_count();
        }
        let dead =
            |row: &tidemill_flow::DeadRow| format!("line {}: {}: {}", lines[row.origin as usize], row.reason.as_str(), row.error);
        self.dead.extend(outcome.dead.iter().map(dead));
        self.endings.extend(outcome.dead.iter().filter(|row| matches!(row.reason, Reason::Ending(_))).map(|row| {
            let mut text = dead(row);
            for frame in row.backtrace.lines() {
                text.push_str(&format!("\n  {frame}"));
            }
            text
        }));
        for call in &outcome.calls {
            self.calls += 1;
            self.fuel += call.usage.fuel;
            self.fuel_max = self.fuel_max.max(call.usage.fuel);
            self.time += call.usage.time;
            self.memory_bytes = self.memory_bytes.max(call.usage.memory_bytes);
        }
    }

    /// The first thing in which the two differ, in words.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        for at in 0..self.rows.len().max(other.rows.len()) {
            let (mine, others) = (self.rows.get(at), other.rows.get(at));
            let of = |row: Option<&OutRow>| row.map_or_else(|| "no row".to_owned(), |row| row.text.clone());
            if mine.map(|row| (row.line, &row.text)) != others.map(|row| (row.line, &row.text)) {
                let line = [mine, others].into_iter().flatten().map(|row| row.line).min().unwrap_or(0);
                return Some(format!(
                    "line {line}\n  in calls of {} rows: {}\n  in calls of {} rows: {}",
                    self.cut.call_rows,
                    of(mine),
                    other.cut.call_rows,
                    of(others)
                ));
            }
        }
        if self.dead != other.dead {
            let first = self.dead.iter().zip(&other.dead).position(|(mine, others)| mine != others);
            let at = first.unwrap_or(self.dead.len().min(other.dead.len()));
            let of = |dead: &[String]| dead.get(at).cloned().unwrap_or_else(|| "no dead row".to_owned());
            return Some(format!("dead rows: {} or {}", of(&self.dead), of(&other.dead)));
        }
        (self.state != other.state).then(|| "every row has the same answer, but the state at the end is another one".to_owned())
    }
}
