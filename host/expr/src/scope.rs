//! The columns an expression may name, and how its names find them.

use tidemill_event::batch::TIME_COLUMN;
use tidemill_event::{Field, FieldType};

use crate::error::ExpressionError;

/// How many columns an error lists.
const LISTED_MAX: usize = 20;

/// A column and, where its source has a name of its own (`as: a`), that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeColumn {
    /// The source's name.
    pub qualifier: Option<String>,
    /// The field; its name may be a path.
    pub field: Field,
}

/// What an expression may name. `_time` is always among it.
///
/// In a batch a column is called by its field's name; where two sources have a field of the same name, `source.name`.
#[derive(Debug, Clone)]
pub struct Scope {
    columns: Vec<ScopeColumn>,
}

impl Scope {
    /// These columns and `_time`.
    pub fn new(mut columns: Vec<ScopeColumn>) -> Self {
        if !columns.iter().any(|column| &*column.field.name == TIME_COLUMN) {
            let first = columns.first().and_then(|column| column.qualifier.clone());
            let qualifier = first.filter(|first| columns.iter().all(|column| column.qualifier.as_ref() == Some(first)));
            columns.push(ScopeColumn { qualifier, field: Field::new(TIME_COLUMN, FieldType::Timestamp(None), false) });
        }
        Self { columns }
    }

    /// All columns, `_time` too.
    pub fn columns(&self) -> &[ScopeColumn] {
        &self.columns
    }

    /// What a column is called in a batch.
    pub(crate) fn batch_name(&self, index: usize) -> String {
        let ScopeColumn { qualifier, field } = &self.columns[index];
        match qualifier {
            Some(qualifier) if self.columns.iter().filter(|other| other.field.name == field.name).count() > 1 => {
                format!("{qualifier}.{}", field.name)
            }
            Some(_) | None => field.name.to_string(),
        }
    }

    /// The column a name or path stands for: a field's whole name, or a source's name and then a field's whole name.
    pub(crate) fn resolve(&self, path: &str) -> Result<usize, ExpressionError> {
        let found: Vec<usize> = (0..self.columns.len()).filter(|index| self.names(*index).any(|name| name == path)).collect();
        match found[..] {
            [index] => Ok(index),
            [] => Err(ExpressionError::new(format!("there is no column `{path}`"), self.remedy(path))),
            [..] => {
                let names: Vec<String> = found
                    .iter()
                    .map(|index| {
                        let ScopeColumn { qualifier, field } = &self.columns[*index];
                        match qualifier {
                            Some(qualifier) => format!("`{}`", quoted(&format!("{qualifier}.{}", field.name))),
                            None => format!("the field `{}`", field.name),
                        }
                    })
                    .collect();
                let names = names.join(" or ");
                Err(ExpressionError::new(
                    format!("`{path}` is ambiguous: {names}"),
                    "name the source, as in `a.name`, or give it another `as`",
                ))
            }
        }
    }

    fn names(&self, index: usize) -> impl Iterator<Item = String> {
        let ScopeColumn { qualifier, field } = &self.columns[index];
        let qualified = qualifier.as_ref().map(|qualifier| format!("{qualifier}.{}", field.name));
        qualified.into_iter().chain(std::iter::once(field.name.to_string()))
    }

    fn remedy(&self, path: &str) -> String {
        let inside = self.columns.iter().map(|column| &column.field).find(|field| {
            field.ty == FieldType::Json && path.strip_prefix(&*field.name).is_some_and(|rest| rest.starts_with('.'))
        });
        if let Some(field) = inside {
            return format!("`{}` is json and read as text; declare `{path}` as a field of the stream", field.name);
        }
        let names: Vec<String> = (0..self.columns.len()).flat_map(|index| self.names(index)).collect();
        let part_of = || names.iter().map(String::as_str).find(|name| name.split('-').any(|part| part == path));
        let nearest = nearest(path, names.iter().map(String::as_str)).or_else(part_of);
        let list = self.list();
        match nearest {
            Some(name) if name.eq_ignore_ascii_case(path) => {
                format!("did you mean `{}`? Names are case-sensitive. {list}", quoted(name))
            }
            Some(name) => format!("did you mean `{}`? {list}", quoted(name)),
            None => format!("{list}; texts stand in single quotes"),
        }
    }

    /// The columns in words, as they are to be written.
    pub(crate) fn list(&self) -> String {
        let mut names: Vec<String> =
            (0..self.columns.len()).take(LISTED_MAX).map(|index| quoted(&self.batch_name(index))).collect();
        if self.columns.len() > LISTED_MAX {
            names.push(format!("and {} more", self.columns.len() - LISTED_MAX));
        }
        format!("columns are {}", names.join(", "))
    }
}

/// A column's name as an expression must write it.
pub(crate) fn quoted(name: &str) -> String {
    let is_plain = |part: &str| {
        let mut characters = part.chars();
        characters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
            && characters.all(|character| character.is_alphanumeric() || character == '_')
    };
    if name.split('.').all(is_plain) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// The most alike of some names, if it is alike enough to be what was meant.
pub(crate) fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    let enough = (name.chars().count() / 3).clamp(1, 4);
    let best = among.map(|other| (distance(&wanted, &other.to_lowercase()), other)).min()?;
    (best.0 <= enough).then_some(best.1)
}

/// How many characters must be put in, taken out, changed or swapped with their neighbour to make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let mut cost = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost = cost.min(rows[i - 2][j - 2] + 1);
            }
            row.push(cost);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
