//! Columns of what expressions look at, a row per view of a match.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow_schema::Field as ArrowField;
use arrow_select::concat::concat;
use arrow_select::take::take;
use tidemill_event::batch::{TIME_COLUMN, time_field};
use tidemill_event::{Field, Reason};

use crate::aggregate::{AggregateRefused, Aggregates};
use crate::batch::{assemble, field_of};
use crate::recognize::output::NamedTerm;
use crate::recognize::shape::VariableSet;
use crate::recognize::terms::{Place, Term, View};
use crate::rows::Rows;

/// Columns by their terms.
pub(crate) struct TermColumns {
    terms: Vec<(Field, Source)>,
    names: Vec<Arc<str>>,
    within: Option<i64>,
}

/// Where a column comes from.
enum Source {
    /// A kept column, by its place.
    Column(usize, Place),
    Classifier(Place),
    Number,
    Aggregate(Box<Running>),
}

struct Running {
    aggregate: Aggregates,
    of: VariableSet,
    is_final: bool,
}

/// The columns, and views of which one of them could not be said.
pub(crate) type Said = (RecordBatch, Vec<(usize, Reason, String)>);

impl TermColumns {
    /// `names`: of the variables. `kept`: the columns of the rows that are kept.
    ///
    /// # Panics
    /// If a term is of a column that is not kept: names were checked when the pipeline was applied.
    pub(crate) fn new(
        terms: Vec<NamedTerm>,
        names: Vec<Arc<str>>,
        kept: &[Field],
        within: Option<i64>,
    ) -> Result<Self, AggregateRefused> {
        let source = |NamedTerm { field, term }: NamedTerm| {
            let source = match term {
                Term::Column { name, place } => {
                    let at = kept.iter().position(|kept| kept.name == name);
                    Source::Column(at.unwrap_or_else(|| panic!("`{name}` is not kept")), place)
                }
                Term::Classifier(place) => Source::Classifier(place),
                Term::MatchNumber => Source::Number,
                Term::Aggregate { call, of, is_final } => {
                    Source::Aggregate(Box::new(Running { aggregate: Aggregates::new(&[call])?, of, is_final }))
                }
            };
            Ok((field, source))
        };
        Ok(Self { terms: terms.into_iter().map(source).collect::<Result<_, AggregateRefused>>()?, names, within })
    }

    /// A row for each view; `_time` is the last column, and means nothing where no term asked for it.
    pub(crate) fn of(&mut self, views: &[View<'_>], kept: &Rows) -> Said {
        let Self { terms, names, within } = self;
        let (mut fields, mut columns, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for (field, source) in &mut *terms {
            let column: ArrayRef = match source {
                Source::Column(at, place) => kept.column(*at, views.iter().map(|view| view.locate(*place, *within))),
                Source::Classifier(place) => {
                    let name = |view: &View<'_>| {
                        let at = view.anchor(*place)?.checked_add_signed(place.physical as isize)?;
                        Some(&*names[usize::from(view.taken(true).get(at)?.0)])
                    };
                    Arc::new(views.iter().map(name).collect::<StringArray>())
                }
                Source::Number => Arc::new(views.iter().map(|view| Some(view.number as i64)).collect::<Int64Array>()),
                Source::Aggregate(running) => running.of(views, kept, &mut failed),
            };
            fields.push(Arc::new(field_of(field, &column).with_nullable(true)));
            columns.push(column);
        }
        if terms.iter().all(|(field, _)| &*field.name != TIME_COLUMN) {
            fields.push(Arc::new(time_field()));
            columns.push(Arc::new(TimestampMicrosecondArray::from(vec![0; views.len()]).with_timezone("UTC")));
        }
        // The first term that fails speaks for its row.
        failed.sort_by_key(|(at, ..)| *at);
        failed.dedup_by_key(|(at, ..)| *at);
        (assemble(fields, columns, views.len()), failed)
    }
}

impl Running {
    fn of(&mut self, views: &[View<'_>], kept: &Rows, failed: &mut Vec<(usize, Reason, String)>) -> ArrayRef {
        let is_same = |view: &View<'_>, other: &View<'_>| view.of == other.of;
        let is_running = !self.is_final && views.windows(2).any(|pair| is_same(&pair[0], &pair[1]));
        // Of a match whose rows all come out, with what came so far, each row is said before the next one counts.
        let (mut values, mut from): (Vec<ArrayRef>, usize) = (Vec::new(), 0);
        let mut groups = Vec::new();
        let (mut of, mut rows, mut group_of) = (Vec::new(), Vec::new(), Vec::new());
        for (at, view) in views.iter().enumerate() {
            let is_new = at == 0 || !is_same(&views[at - 1], view);
            if is_new {
                groups.push(self.aggregate.allocate());
                from = 0;
            }
            let group = *groups.last().expect("a group for each match");
            group_of.push(groups.len() as u32 - 1);
            let taken = view.taken(self.is_final);
            for (place, of_row) in taken.iter().enumerate().skip(std::mem::replace(&mut from, taken.len())) {
                if self.of.has(*of_row) {
                    let (row, _) = view.row(place as isize).expect("a row of the match");
                    of.push(group);
                    rows.push(row);
                }
            }
            if is_running {
                self.update(&of, &rows, kept);
                of.clear();
                rows.clear();
                values.push(self.finish(&[group], at, failed));
            }
        }
        let column = if is_running {
            concat(&values.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>()).expect("values of one type")
        } else {
            self.update(&of, &rows, kept);
            let mut own = Vec::new();
            let values = self.finish(&groups, 0, &mut own);
            for (place, view) in group_of.iter().enumerate() {
                failed.extend(
                    own.iter().filter(|(at, ..)| *at == *view as usize).map(|(_, reason, why)| (place, *reason, why.clone())),
                );
            }
            take(&values, &UInt32Array::from(group_of), None).expect("a value for each match")
        };
        groups.into_iter().for_each(|group| self.aggregate.release(group));
        column
    }

    fn update(&mut self, of: &[u32], rows: &[u32], kept: &Rows) {
        if rows.is_empty() {
            return;
        }
        let fields: Vec<Arc<ArrowField>> =
            kept.fields().iter().map(|field| Arc::new(field.arrow().with_nullable(true))).collect();
        let columns = kept.gather(rows.iter().map(|row| Some(*row)));
        let lost = self.aggregate.update(of, &assemble(fields, columns, rows.len()));
        assert!(lost.is_empty(), "no aggregate of a match is a component");
    }

    fn finish(&self, groups: &[u32], first: usize, failed: &mut Vec<(usize, Reason, String)>) -> ArrayRef {
        let results = self.aggregate.finish(groups);
        failed.extend(results.failed.into_iter().map(|(at, reason, why)| (first + at, reason, why)));
        let (_, values) = results.columns.into_iter().next().expect("one aggregate");
        values
    }
}
