//! `process`: a component makes rows of rows and of timers, with tables beside its state and outputs beside the main one.
//!
//! ```text
//! rows ──up to the first whose key has a timer that fires before it──► call ──► rows, side rows, timers
//!                      ▲                                                             │
//!                      └── timers the watermark has passed, by (time, key) ──► call ─┘
//! ```
//! A row that comes out has the step's key in front, and the time of the row or timer it came from. Rows that timers made stand behind the
//! rows of the input row that let them out, by (time, key, name); so the output hangs on no cut either.

mod asked;
mod chains;
mod memory_entries;
mod remembered;
mod table;
mod timers;

#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, StringArray, TimestampMicrosecondArray, UInt32Array, new_empty_array};
use arrow_cast::cast;
use arrow_schema::DataType;
use arrow_select::take::take;
use tidemill_event::batch::time_field;
use tidemill_event::{Breaker, BreakerState, Field, MadeRows, NoteKind, ProcessAnswer, ProcessGuest, RowNote, Subject};

use crate::aside::set_aside;
use crate::batch::{assemble, field_of};
use crate::calls::{Calls, Decided, Fate};
use crate::columns::Columns;
use crate::process::chains::Chains;
use crate::process::remembered::Remembered;
use crate::process::table::Table;
use crate::process::timers::{Due, SetBy, Timers};
use crate::rule::null_outputs;
use crate::state_column::StateColumn;
use crate::{FlowBatch, Isolation, KeyedTable, OnFailing, Operator, Outcome, SideRows, StepId, StepState, Watermark};

pub use table::ProcessTable;

/// Timers of one call.
const TIMERS_TOGETHER: usize = 4_096;

/// What a process step is told by the plan.
pub struct ProcessSettings {
    /// Its place in the pipeline.
    pub step: StepId,
    /// The key's columns, as they come; all are in the batch.
    pub by: Vec<Field>,
    /// The columns the component reads, in its order; all are in the batch.
    pub columns: Vec<Field>,
    /// The columns it makes, in its order.
    pub outputs: Vec<Field>,
    /// Its state, with the first row of a key; no columns: none.
    pub state: KeyedTable,
    /// Whether it declares any.
    pub keeps_state: bool,
    /// Its tables, in its order.
    pub tables: Vec<ProcessTable>,
    /// The columns of each output beside the main one.
    pub sides: Vec<Vec<Field>>,
    /// What happens when the component keeps failing; rows cannot pass.
    pub isolation: Isolation,
}

/// The step.
pub struct ProcessStep {
    making: Making,
    calls: Calls<Remembered>,
    /// The columns of timers, while `calls` has those of rows.
    timer_columns: Columns,
    guest: Box<dyn ProcessGuest>,
}

impl ProcessStep {
    /// A step over a process whose declaration the settings repeat.
    pub fn new(settings: ProcessSettings, guest: Box<dyn ProcessGuest>) -> Self {
        let ProcessSettings { step, by, columns, outputs, state, keeps_state, tables, sides, isolation } = settings;
        let memory = Remembered {
            by: by.iter().map(|field| field.name.clone()).collect(),
            rows: state,
            keeps_state,
            tables: tables.into_iter().map(Table::new).collect(),
            timers: Timers::default(),
            subject: Subject::Rows,
            is_chain: false,
            chains: Chains::default(),
            rows_max: usize::MAX,
            answers_since: None,
        };
        Self {
            making: Making { step, by, outputs, sides },
            calls: Calls::new(step, columns, memory, isolation),
            timer_columns: Columns::new(Timers::fields()),
            guest,
        }
    }

    /// The fields of the rows that come out, for planning: the key, then the outputs; an output of a key's name takes its place.
    pub fn made_fields(by: &[Field], outputs: &[Field]) -> Vec<Field> {
        crate::extended_fields(by, outputs)
    }

    /// Takes rows from the left, up to the first before which something else has to happen. Answers with how many.
    fn take_rows(&mut self, input: &FlowBatch, output: &mut Outcome, made: &mut Vec<Made>) -> usize {
        let attempts = output.attempts(self.making.step);
        let Decided { fates, rows, next_number } = self.calls.decide(input, output, &mut *self.guest);
        self.calls.first_number = next_number;
        for (range, fate) in fates {
            let part = &*input.part(&range);
            match fate {
                Fate::Answered(answer) => made.push(self.making.take(part, answer, None, output)),
                Fate::Dead(ended) => output.bury_all(part, self.making.step, &ended),
                Fate::Passed => panic!("no row passes a process: the plan refuses that"),
                Fate::PutBack(wait) => output.put_back(self.making.step, part.compact(), wait, attempts),
            }
        }
        rows
    }

    /// Lets timers fire that the watermark has passed, those that they set included; of a component that is out, none.
    fn fire(&mut self, watermark: Watermark, held: &mut BTreeSet<Arc<[u8]>>, output: &mut Outcome, made: &mut Vec<Made>) {
        loop {
            let due = self.calls.memory.timers.due(watermark, held, TIMERS_TOGETHER);
            if due.is_empty() {
                return;
            }
            // Apart, because those have bounds and nobody else is to meet them.
            let (chained, first): (Vec<Due>, Vec<Due>) = due.into_iter().partition(|due| due.by.is_timer);
            for (due, is_chain) in [(first, false), (chained, true)] {
                if !due.is_empty() {
                    self.calls.memory.is_chain = is_chain;
                    self.fire_together(due, held, output, made);
                }
            }
        }
    }

    /// Lets timers of different keys fire, or the first of them.
    fn fire_together(&mut self, due: Vec<Due>, held: &mut BTreeSet<Arc<[u8]>>, output: &mut Outcome, made: &mut Vec<Made>) {
        let (input, due) = self.making.timers(due, output);
        std::mem::swap(&mut self.calls.columns, &mut self.timer_columns);
        self.calls.memory.subject = Subject::Timers;
        let Decided { fates, next_number, .. } = self.calls.decide(&input, output, &mut *self.guest);
        self.calls.first_number = next_number;
        self.calls.memory.subject = Subject::Rows;
        std::mem::swap(&mut self.calls.columns, &mut self.timer_columns);
        for (range, fate) in fates {
            let part = &*input.part(&range);
            match fate {
                Fate::Answered(answer) => made.push(self.making.take(part, answer, Some(&due[range]), output)),
                Fate::Dead(ended) => {
                    output.bury_all(part, self.making.step, &ended);
                    let timers = &mut self.calls.memory.timers;
                    due[range].iter().for_each(|due| timers.set(&due.key, &due.timer.name, None, SetBy::default()));
                }
                // They stay where they are, and are due with the next batch.
                Fate::Passed | Fate::PutBack(_) => held.extend(due[range].iter().map(|due| due.key.clone())),
            }
        }
    }
}

impl Operator for ProcessStep {
    fn step(&self) -> StepId {
        self.making.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let marks = output.marks();
        let (mut made, mut held, mut from) = (Vec::new(), BTreeSet::new(), 0);
        self.calls.first_number = 0;
        self.calls.memory.begin_batch();
        while from < input.len() {
            self.fire(marks.before(input.origin[from]), &mut held, output, &mut made);
            from += self.take_rows(&input.part(&(from..input.len())), output, &mut made);
        }
        self.fire(marks.end(), &mut held, output, &mut made);
        let memory = &mut self.calls.memory;
        memory.timers.end_batch();
        memory.rows.forget(output);
        memory.tables.iter_mut().for_each(|table| table.forget(output));
        self.making.together(made, output)
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        Some(&mut self.calls.memory)
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        let Isolation { on_failing, breaker } = &mut self.calls.isolation;
        Some((breaker, *on_failing))
    }

    /// While its component is out, no clock has to move time for timers that would not fire.
    fn due(&self) -> Option<Watermark> {
        let is_out = self.calls.isolation.breaker.state() != BreakerState::Closed;
        let earliest = self.calls.memory.timers.earliest().filter(|_| !is_out);
        earliest.map(|at| Watermark(at.saturating_add(1)))
    }
}

/// Where a made row belongs: behind which input row, and if a timer made it, which.
type Place = (u32, Option<(i64, Arc<[u8]>, Arc<str>)>);

/// What came of one call.
struct Made {
    main: (FlowBatch, Vec<Place>),
    sides: Vec<(FlowBatch, Vec<Place>)>,
}

/// What a process's answers make of rows.
struct Making {
    step: StepId,
    by: Vec<Field>,
    outputs: Vec<Field>,
    sides: Vec<Vec<Field>>,
}

impl Making {
    /// Timers as rows: their key, time and name. Their origin is the row that let them out.
    fn timers(&self, due: Vec<Due>, output: &Outcome) -> (FlowBatch, Vec<Due>) {
        let marks = output.marks();
        // Behind what set it, if that was a row of this batch.
        let origin = |due: &Due| marks.lets_out(due.timer.at).unwrap_or(0).max(due.by.row);
        let mut due: Vec<(u32, Due)> = due.into_iter().map(|due| (origin(&due), due)).collect();
        due.sort_by_key(|(origin, _)| *origin);
        let (origin, due): (Vec<u32>, Vec<Due>) = due.into_iter().unzip();
        let mut keys: Vec<StateColumn> = self.by.iter().map(|field| StateColumn::new(field.ty)).collect();
        for (slot, due) in due.iter().enumerate() {
            let mut bytes = &*due.key;
            for key in &mut keys {
                key.push_null();
                key.decode(slot, &mut bytes).expect("a key is its columns' values");
            }
        }
        let slots: Vec<u32> = (0..due.len() as u32).collect();
        let mut columns: Vec<ArrayRef> = keys.iter().map(|key| key.load(&slots)).collect();
        let times = TimestampMicrosecondArray::from_iter_values(due.iter().map(|due| due.timer.at)).with_timezone("UTC");
        let times: ArrayRef = Arc::new(times);
        let names = StringArray::from_iter_values(due.iter().map(|due| &*due.timer.name));
        columns.extend([times.clone(), Arc::new(names) as ArrayRef, times]);
        let named = Timers::fields();
        let mut fields: Vec<_> = self.by.iter().map(|field| Arc::new(field.arrow())).collect();
        fields.extend(named.iter().map(|field| Arc::new(field.arrow())));
        fields.push(Arc::new(time_field()));
        (FlowBatch { rows: assemble(fields, columns, due.len()), origin }, due)
    }

    /// The rows that an answer makes, without those of rows with trouble.
    fn take(&self, input: &FlowBatch, answer: ProcessAnswer, timers: Option<&[Due]>, output: &mut Outcome) -> Made {
        let ProcessAnswer { made, sides, mut notes, .. } = answer;
        if timers.is_some() {
            notes.iter_mut().for_each(|note: &mut RowNote| note.kind = NoteKind::Reject);
        }
        let outputs = std::iter::once((&self.outputs, &made)).chain(self.sides.iter().zip(&sides));
        let nulls = outputs.flat_map(|(fields, made)| {
            let of_source = |(row, reason, error)| (made.source_rows[row] as usize, reason, error);
            null_outputs(fields, &made.columns).into_iter().map(of_source)
        });
        let nulls = nulls.collect();
        let gone = set_aside(input, self.step, notes, nulls, output);
        let rows = |fields: &[Field], made: MadeRows| self.rows(input, fields, made, &gone, timers);
        let main = rows(&self.outputs, made);
        Made { main, sides: self.sides.iter().zip(sides).map(|(fields, made)| rows(fields, made)).collect() }
    }

    fn rows(
        &self,
        input: &FlowBatch,
        outputs: &[Field],
        made: MadeRows,
        gone: &[usize],
        timers: Option<&[Due]>,
    ) -> (FlowBatch, Vec<Place>) {
        let MadeRows { mut source_rows, mut columns } = made;
        if !gone.is_empty() {
            let stays = |row: &u32| gone.binary_search(&(source_rows[*row as usize] as usize)).is_err();
            let kept = UInt32Array::from_iter_values((0..source_rows.len() as u32).filter(stays));
            columns = columns.iter().map(|column| take(column, &kept, None).expect("rows of the answer")).collect();
            source_rows = kept.values().iter().map(|row| source_rows[*row as usize]).collect();
        }
        let count = source_rows.len();
        let origin: Vec<u32> = source_rows.iter().map(|row| input.origin[*row as usize]).collect();
        let place = |(row, origin): (&u32, &u32)| {
            let timer = timers.map(|due| {
                let Due { key, timer, .. } = &due[*row as usize];
                (timer.at, key.clone(), timer.name.clone())
            });
            (*origin, timer)
        };
        let places = source_rows.iter().zip(&origin).map(place).collect();
        let indices = UInt32Array::from(source_rows);
        let (mut fields, mut kept) = (Vec::new(), Vec::new());
        for field in &self.by {
            let column = input.rows.column_by_name(&field.name).expect("the key is in the batch");
            let column = take(&plain(column), &indices, None).expect("source rows are rows of the call");
            fields.push(Arc::new(field_of(field, &column)));
            kept.push(column);
        }
        let time = input.rows.columns().last().expect("an event batch has `_time`");
        fields.push(Arc::new(time_field()));
        kept.push(take(time, &indices, None).expect("source rows are rows of the call"));
        let added = outputs.iter().zip(columns).map(|(field, column)| {
            let column = plain(&column);
            (field_of(field, &column), column)
        });
        (FlowBatch { rows: assemble(fields, kept, count), origin }.with_columns(added.collect()), places)
    }

    fn nothing(&self, outputs: &[Field]) -> FlowBatch {
        let fields = Self::all_fields(&self.by, outputs);
        let columns = fields.iter().map(|field| new_empty_array(field.data_type())).collect();
        FlowBatch { rows: assemble(fields, columns, 0), origin: Vec::new() }
    }

    fn all_fields(by: &[Field], outputs: &[Field]) -> Vec<Arc<arrow_schema::Field>> {
        let mut fields: Vec<_> = ProcessStep::made_fields(by, outputs).iter().map(|field| Arc::new(field.arrow())).collect();
        fields.push(Arc::new(time_field()));
        fields
    }

    /// What all calls of a batch made, in the one order that no cut changes.
    fn together(&self, made: Vec<Made>, output: &mut Outcome) -> FlowBatch {
        let (mut main, mut sides) = (Vec::new(), vec![Vec::new(); self.sides.len()]);
        for Made { main: rows, sides: of_sides } in made {
            main.push(rows);
            sides.iter_mut().zip(of_sides).for_each(|(all, rows)| all.push(rows));
        }
        for (side, rows) in sides.into_iter().enumerate() {
            if let Some(rows) = in_order(rows) {
                output.sides.push(SideRows { step: self.step, side, rows });
            }
        }
        in_order(main).unwrap_or_else(|| self.nothing(&self.outputs))
    }
}

/// Rows of several calls as one batch, by place; `None`: there is none.
fn in_order(made: Vec<(FlowBatch, Vec<Place>)>) -> Option<FlowBatch> {
    let (batches, places): (Vec<FlowBatch>, Vec<Vec<Place>>) = made.into_iter().filter(|(rows, _)| !rows.is_empty()).unzip();
    if batches.is_empty() {
        return None;
    }
    let places = places.concat();
    let rows = FlowBatch::concat(batches);
    if places.is_sorted() {
        return Some(rows);
    }
    let mut order: Vec<u32> = (0..places.len() as u32).collect();
    order.sort_by(|a, b| places[*a as usize].cmp(&places[*b as usize]));
    let indices = UInt32Array::from(order);
    let sorted = arrow_select::take::take_record_batch(&rows.rows, &indices).expect("rows of the batch");
    let origin = indices.values().iter().map(|row| rows.origin[*row as usize]).collect();
    Some(FlowBatch { rows: sorted, origin })
}

/// A dictionary as plain text: rows of timers stand beside those of rows.
fn plain(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Dictionary(_, values) => cast(column, values).expect("a dictionary casts to its values"),
        _ => column.clone(),
    }
}
