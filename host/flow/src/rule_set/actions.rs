//! What a yes does to a row: columns that rules set, tags, routes, and the names of the rules.
//!
//! Rows may have such columns already, of a rule set before: what no rule of this one says stays what it was.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow_cast::cast;
use arrow_schema::{DataType, Field as ArrowField};
use arrow_select::interleave::interleave;
use serde_json::Value;
use tidemill_event::{Field, FieldType};

use crate::Computed;
use crate::batch::{columns_named, pick};
use crate::rule_set::component::{Asked, Said};
use crate::rule_set::{Emit, MatchRules, RuleSetSettings, SetRule};

/// The column of all rules that said yes, in order.
pub(crate) const RULES: &str = "rules";
/// The column of all tags, each once.
pub const TAGS: &str = "tags";
/// The column of the place a row shall go to.
pub const ROUTE: &str = "route";
/// The column that says why.
pub(crate) const TRACE: &str = "trace";

/// A row that goes on: which row of the batch, and which of the (row, rule) pairs are about it.
#[derive(Debug, Clone)]
pub(crate) struct Leaving {
    pub(crate) row: u32,
    pub(crate) pairs: Range<usize>,
}

impl Leaving {
    /// The rules that said yes, the most important first.
    fn rules<'a>(&self, set: &'a RuleSetSettings, pairs: &'a [(u32, u32)]) -> impl Iterator<Item = &'a SetRule> + use<'a> {
        pairs[self.pairs.clone()].iter().map(|(_, rule)| &set.rules[*rule as usize])
    }

    /// What a column is set to, and by which rule: the most important one that sets it.
    fn value(&self, set: &RuleSetSettings, pairs: &[(u32, u32)], column: u32) -> Option<(u32, u32)> {
        pairs[self.pairs.clone()].iter().find_map(|(_, rule)| {
            let (_, value) = set.rules[*rule as usize].sets.iter().find(|(sets, _)| *sets == column)?;
            Some((*value, *rule))
        })
    }
}

/// The columns that the step adds, in order. None that rules set is called as one of the step's own.
pub(crate) fn added_fields(set: &RuleSetSettings) -> Vec<Field> {
    let has_all = set.matches == MatchRules::All && set.emit == Emit::Rows;
    let json = |name: &str| Field::new(name, FieldType::Json, false);
    let mut fields = vec![Field::new(&set.named, FieldType::String, set.keeps_all)];
    fields.extend(has_all.then(|| json(RULES)));
    fields.extend(set.columns.iter().cloned());
    fields.extend(set.rules.iter().any(|rule| !rule.tags.is_empty()).then(|| json(TAGS)));
    fields.extend(set.rules.iter().any(|rule| rule.route.is_some()).then(|| Field::new(ROUTE, FieldType::String, true)));
    fields.extend(set.traces.then(|| json(TRACE)));
    fields
}

/// A value of the set, for the rows that need it.
struct Needed {
    /// Of the batch, ascending.
    rows: Vec<u32>,
    /// One for each of them.
    values: ArrayRef,
}

/// What rules set columns to.
pub(crate) struct Values {
    /// By place in the set; `None`: no row needs it.
    needed: Vec<Option<Needed>>,
    /// Rows that one failed on: which rule, and why.
    pub(crate) failed: Vec<(u32, u32, String)>,
}

impl Values {
    /// Computes what the rows need and nothing else.
    pub(crate) fn new(
        set: &RuleSetSettings,
        pairs: &[(u32, u32)],
        leaving: &[Leaving],
        rows: &RecordBatch,
        (components, said): (&[Asked], &[Said]),
    ) -> Self {
        let mut wanted: Vec<Vec<(u32, u32)>> = vec![Vec::new(); set.values.len()];
        for column in 0..set.columns.len() as u32 {
            for row in leaving {
                if let Some((value, rule)) = row.value(set, pairs, column) {
                    wanted[value as usize].push((row.row, rule));
                }
            }
        }
        let mut failed = Vec::new();
        let mut needed = Vec::with_capacity(wanted.len());
        for (shared, mut wanted) in set.values.iter().zip(wanted) {
            if wanted.is_empty() {
                needed.push(None);
                continue;
            }
            wanted.sort_unstable();
            wanted.dedup_by_key(|(row, _)| *row);
            let picked: Vec<u32> = wanted.iter().map(|(row, _)| *row).collect();
            let of = shared.of.and_then(|rule| Some(set.rules[rule as usize].asks.as_ref()?.place as usize));
            let some = match of {
                Some(of) => components[of].columns(&said[of], &shared.columns, &picked, rows),
                None => {
                    let columns = columns_named(rows, shared.columns.iter().cloned());
                    if picked.len() == rows.num_rows() { columns } else { pick(&columns, &picked) }
                }
            };
            let Computed { values, failed: errors } = shared.value.projection.compute(&some);
            let error =
                |(at, error): (usize, String)| (picked[at], wanted[at].1, format!("`{}`: {error}", shared.value.field.name));
            failed.extend(errors.into_iter().map(error));
            needed.push(Some(Needed { rows: picked, values }));
        }
        Self { needed, failed }
    }

    /// A column of the rows that leave.
    fn column(
        &self,
        place: u32,
        set: &RuleSetSettings,
        pairs: &[(u32, u32)],
        leaving: &[Leaving],
        rows: &RecordBatch,
    ) -> ArrayRef {
        let field = &set.columns[place as usize];
        let ty = field.ty.arrow();
        let plain = |column: &ArrayRef| cast(column, &ty).expect("a column of its own type, a dictionary of it perhaps");
        // What the rows had before, or null; then what rules say.
        let before = rows.column_by_name(&field.name).map(plain);
        let has_before = before.is_some();
        let mut sources = vec![before.unwrap_or_else(|| new_null_array(&ty, 1))];
        let mut numbers = vec![usize::MAX; self.needed.len()];
        let picks: Vec<(usize, usize)> = leaving
            .iter()
            .map(|row| match row.value(set, pairs, place) {
                None => (0, if has_before { row.row as usize } else { 0 }),
                Some((value, _)) => {
                    let at = value as usize;
                    let needed = self.needed[at].as_ref().expect("a value that a row needs was computed");
                    if numbers[at] == usize::MAX {
                        numbers[at] = sources.len();
                        sources.push(plain(&needed.values));
                    }
                    (numbers[at], needed.rows.binary_search(&row.row).expect("it was computed for the row"))
                }
            })
            .collect();
        let sources: Vec<&dyn Array> = sources.iter().map(AsRef::as_ref).collect();
        interleave(&sources, &picks).expect("columns of one type")
    }
}

/// All columns that the step adds, but for the trace.
pub(crate) fn columns(
    set: &RuleSetSettings,
    pairs: &[(u32, u32)],
    leaving: &[Leaving],
    rows: &RecordBatch,
    values: &Values,
) -> Vec<(ArrowField, ArrayRef)> {
    let text = |of: &dyn Fn(&Leaving) -> Option<String>| Arc::new(leaving.iter().map(of).collect::<StringArray>()) as ArrayRef;
    let mut set_column = 0;
    added_fields(set)
        .iter()
        .filter(|field| !(set.traces && &*field.name == TRACE))
        .enumerate()
        .map(|(at, field)| {
            let is_own = |name: &str| &*field.name == name;
            let before = || TextBefore::of(rows, &field.name);
            let column = if at == 0 {
                let before = before();
                text(&|row| row.rules(set, pairs).next().map(|rule| &*rule.name).or_else(|| before.at(row)).map(str::to_owned))
            } else if is_own(RULES) {
                text(&|row| Some(list(row.rules(set, pairs).map(|rule| &rule.name))))
            } else if is_own(TAGS) {
                let before = before();
                text(&|row| {
                    let mut tags = before.at(row).map_or_else(Vec::new, listed);
                    for tag in row.rules(set, pairs).flat_map(|rule| &rule.tags) {
                        if !tags.iter().any(|known| *known == **tag) {
                            tags.push(Value::from(&**tag));
                        }
                    }
                    Some(Value::Array(tags).to_string())
                })
            } else if is_own(ROUTE) {
                let before = before();
                text(&|row| {
                    let said = row.rules(set, pairs).find_map(|rule| rule.route.as_deref());
                    said.or_else(|| before.at(row)).map(str::to_owned)
                })
            } else {
                set_column += 1;
                values.column(set_column - 1, set, pairs, leaving, rows)
            };
            (field.arrow(), column)
        })
        .collect()
}

/// A column of text that the rows have already.
struct TextBefore(Option<ArrayRef>);

impl TextBefore {
    /// Planning refused one of another type, where the step keeps what it says.
    fn of(rows: &RecordBatch, name: &str) -> Self {
        Self(rows.column_by_name(name).and_then(|column| cast(column, &DataType::Utf8).ok()))
    }

    fn at(&self, row: &Leaving) -> Option<&str> {
        let (column, at) = (self.0.as_ref()?.as_string::<i32>(), row.row as usize);
        column.is_valid(at).then(|| column.value(at))
    }
}

/// The tags there are: a list's, or the one value that is no list.
fn listed(json: &str) -> Vec<Value> {
    match serde_json::from_str(json) {
        Ok(Value::Array(tags)) => tags,
        Ok(Value::Null) | Err(_) => Vec::new(),
        Ok(tag) => vec![tag],
    }
}

/// Names as a JSON list.
fn list<'a>(names: impl Iterator<Item = &'a Arc<str>>) -> String {
    Value::Array(names.map(|name| Value::from(&**name)).collect()).to_string()
}
