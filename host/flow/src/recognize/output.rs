//! The rows that come out: one for each match, or one for each row of it.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow_buffer::BooleanBuffer;
use arrow_schema::Field as ArrowField;
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take;
use tidemill_event::batch::{TIME_COLUMN, time_field};
use tidemill_event::{Field, FieldType, Reason};

use crate::batch::assemble;
use crate::group::KeyIndex;
use crate::recognize::columns::TermColumns;
use crate::recognize::explaining::{Explaining, id};
use crate::recognize::key_rows::Found;
use crate::recognize::shape::VariableId;
use crate::recognize::terms::{Surroundings, Term, View, variables};
use crate::rows::Rows;
use crate::where_step::without;
use crate::{FlowBatch, MATCH_ID, NamedProjection, Outcome, StepId};

/// Which rows come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsPerMatch {
    /// `ONE ROW PER MATCH`: the key and the measures; of an empty match too.
    One,
    /// `ALL ROWS PER MATCH SHOW EMPTY MATCHES`: each row of a match with the measures; of an empty match the row it stands before.
    AllShowEmpty,
    /// `… OMIT EMPTY MATCHES`: nothing of an empty match.
    AllOmitEmpty,
    /// `… WITH UNMATCHED ROWS`: also the rows that no match has, without measures.
    AllWithUnmatched,
}

/// A term and the column it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTerm {
    /// The column. Terms of one name are one term.
    pub field: Field,
    /// What it is.
    pub term: Term,
}

/// What was found, with its key, the input row that let it out, and the time that its rows have.
#[derive(Debug)]
pub(crate) struct Emitted {
    pub(crate) found: Found,
    pub(crate) slot: u32,
    pub(crate) origin: u32,
    pub(crate) time: i64,
    /// The clock let it out, or the end of all rows.
    pub(crate) by_time: bool,
}

/// Makes rows of what was found.
pub(crate) struct MatchOutput {
    rows: RowsPerMatch,
    columns: TermColumns,
    measures: Vec<NamedProjection>,
    explaining: Option<Explaining>,
}

/// One row that comes out.
struct Line {
    emitted: usize,
    /// How many rows of the match it looks at; `None`: it is part of no match.
    taken: Option<usize>,
    /// The kept row whose columns come out with it.
    row: u32,
}

impl MatchOutput {
    pub(crate) fn new(
        rows: RowsPerMatch,
        columns: TermColumns,
        measures: Vec<NamedProjection>,
        explaining: Option<Explaining>,
    ) -> Self {
        Self { rows, columns, measures, explaining }
    }

    /// The columns, `_time` aside.
    pub(crate) fn fields(&self, index: &KeyIndex, input: &[Field]) -> Vec<Field> {
        let mut fields = match self.rows {
            RowsPerMatch::One => index.by().to_vec(),
            RowsPerMatch::AllShowEmpty | RowsPerMatch::AllOmitEmpty | RowsPerMatch::AllWithUnmatched => input.to_vec(),
        };
        fields.extend(self.explaining.is_some().then(|| self.id_field()));
        fields.extend(self.measures.iter().map(|measure| measure.field.clone()));
        fields
    }

    /// A row that no match has has no id.
    fn id_field(&self) -> Field {
        Field::new(MATCH_ID, FieldType::String, self.rows == RowsPerMatch::AllWithUnmatched)
    }

    fn lines(&self, emitted: &[Emitted]) -> Vec<Line> {
        let mut lines = Vec::new();
        for (at, Emitted { found, .. }) in emitted.iter().enumerate() {
            let row = |place: usize| found.rows[found.before + place].0;
            match (self.rows, found.number, found.taken.len()) {
                (RowsPerMatch::One, Some(_), taken) => lines.push(Line { emitted: at, taken: Some(taken), row: row(0) }),
                (RowsPerMatch::AllWithUnmatched, None, _) => lines.push(Line { emitted: at, taken: None, row: row(0) }),
                (_, None, _) | (RowsPerMatch::AllOmitEmpty, Some(_), 0) => {}
                (_, Some(_), 0) => lines.push(Line { emitted: at, taken: Some(0), row: row(0) }),
                (_, Some(_), _) => {
                    let shown = found.taken.iter().enumerate().filter(|(_, taken)| !taken.is_hidden);
                    lines.extend(shown.map(|(place, _)| Line { emitted: at, taken: Some(place + 1), row: row(place) }));
                }
            }
        }
        lines
    }

    /// The rows of what was found, in its order. What cannot be said is dead.
    pub(crate) fn tell(
        &mut self,
        step: StepId,
        emitted: &[Emitted],
        index: &KeyIndex,
        kept: &Rows,
        output: &mut Outcome,
    ) -> FlowBatch {
        let lines = self.lines(emitted);
        let taken: Vec<Vec<VariableId>> = emitted.iter().map(|one| variables(&one.found.taken)).collect();
        let mut views = Vec::with_capacity(lines.len());
        // The view of each line; a row that no match has has none.
        let view_of: UInt32Array = lines
            .iter()
            .map(|line| {
                let (found, all) = (&emitted[line.emitted].found, &taken[line.emitted]);
                let (rows, number) = (Surroundings::Found(found), found.number.unwrap_or_default());
                views.push(View { rows, taken: &all[..line.taken?], all, number, of: line.emitted });
                Some(views.len() as u32 - 1)
            })
            .collect();
        let (terms, failed) = self.columns.of(&views, kept);
        let mut why: Vec<Option<(Reason, String)>> = vec![None; views.len()];
        failed.into_iter().for_each(|(view, reason, words)| why[view] = Some((reason, words)));
        for (view, why) in views.iter().zip(&mut why) {
            if emitted[view.of].found.is_stuck {
                let words =
                    "the match has no row to skip to, or it is the match's first one; the next one begins a row further on";
                *why = Some((Reason::Expression, words.to_owned()));
            }
        }
        let mut columns = self.beside(&lines, emitted, index, kept);
        if let Some(explaining) = &self.explaining {
            // Lines of one match stand together.
            let mut told: Vec<usize> = lines.iter().filter(|line| line.taken.is_some()).map(|line| line.emitted).collect();
            told.dedup();
            let told: Vec<&Emitted> = told.into_iter().map(|at| &emitted[at]).collect();
            output.evidence.extend(explaining.evidence(step, &told, index, kept));
            let id = |line: &Line| line.taken.map(|_| id(step, &emitted[line.emitted], index).to_string());
            columns.push((self.id_field(), Arc::new(lines.iter().map(id).collect::<StringArray>())));
        }
        for measure in &self.measures {
            let computed = measure.projection.compute(&terms);
            for (view, words) in computed.failed {
                why[view].get_or_insert_with(|| (Reason::Expression, format!("`{}`: {words}", measure.field.name)));
            }
            columns.push((measure.field.clone(), take(&computed.values, &view_of, None).expect("rows of the terms")));
        }
        let times: Vec<i64> = lines.iter().map(|line| emitted[line.emitted].time).collect();
        let origin: Vec<u32> = lines.iter().map(|line| emitted[line.emitted].origin).collect();
        let mut dead = Vec::new();
        for (line, view) in view_of.iter().enumerate() {
            let why = view.and_then(|view| why[view as usize].take());
            dead.extend(why.map(|(reason, words)| (line, reason, words)));
        }
        rows_of(columns, times, origin, dead, step, output)
    }

    /// The columns beside the measures: the key's, or those of the row.
    fn beside(&self, lines: &[Line], emitted: &[Emitted], index: &KeyIndex, kept: &Rows) -> Vec<(Field, ArrayRef)> {
        match self.rows {
            RowsPerMatch::One => {
                let columns = index.columns(lines.iter().map(|line| emitted[line.emitted].slot));
                index.by().iter().cloned().zip(columns).collect()
            }
            RowsPerMatch::AllShowEmpty | RowsPerMatch::AllOmitEmpty | RowsPerMatch::AllWithUnmatched => {
                let columns = kept.gather(lines.iter().map(|line| Some(line.row)));
                let columns = kept.fields().iter().cloned().zip(columns);
                columns.filter(|(field, _)| &*field.name != TIME_COLUMN).collect()
            }
        }
    }
}

/// One batch of them. What is dead may have nulls where no other row has.
fn rows_of(
    columns: Vec<(Field, ArrayRef)>,
    times: Vec<i64>,
    origin: Vec<u32>,
    dead: Vec<(usize, Reason, String)>,
    step: StepId,
    output: &mut Outcome,
) -> FlowBatch {
    let field_of = |field: &Field, column: &ArrayRef| field.arrow().with_data_type(column.data_type().clone());
    let mut fields: Vec<ArrowField> = columns.iter().map(|(field, column)| field_of(field, column)).collect();
    fields.push(time_field());
    let mut arrays: Vec<ArrayRef> = columns.into_iter().map(|(_, column)| column).collect();
    arrays.push(Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")));
    let with = |fields: Vec<ArrowField>, arrays: Vec<ArrayRef>, rows: usize| {
        assemble(fields.into_iter().map(Arc::new).collect(), arrays, rows)
    };
    if dead.is_empty() {
        let rows: RecordBatch = with(fields, arrays, origin.len());
        return FlowBatch { rows, origin };
    }
    let loose = fields.iter().map(|field| field.clone().with_nullable(true)).collect();
    let all = FlowBatch { rows: with(loose, arrays, origin.len()), origin };
    let keep = without(BooleanArray::new(BooleanBuffer::new_set(all.len()), None), dead.iter().map(|(row, ..)| *row));
    output.bury(&all, step, dead);
    let rows = filter_record_batch(&all.rows, &keep).expect("a bit per row");
    let origin = keep.values().set_indices().map(|row| all.origin[row]).collect();
    FlowBatch { rows: with(fields, rows.columns().to_vec(), rows.num_rows()), origin }
}
