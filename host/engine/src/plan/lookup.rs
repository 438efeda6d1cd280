//! A lookup against the tables there are: which table, found by which of its columns, giving which.

use std::sync::Arc;

use tidemill_event::{Field, FieldType};
use tidemill_flow::Missing;

use crate::pipeline::{LookupStep, Matching, Step, nearest};
use crate::plan::PlannedKind;
use crate::plan::check::Checker;
use crate::plan::columns::Columns;
use crate::plan::component::{plain, type_name};
use crate::tables::{TableHandle, TableUse};

/// A lookup, resolved.
#[derive(Debug)]
pub(crate) struct PlannedLookup {
    /// `steps[2].lookup`.
    pub(crate) step_name: String,
    pub(crate) table: Arc<TableHandle>,
    /// The rows' columns that make the key.
    pub(crate) keys: Vec<Arc<str>>,
    /// How the table is asked.
    pub(crate) wanted: TableUse,
    /// What the taken columns are in the rows.
    pub(crate) take: Vec<Field>,
    pub(crate) missing: Missing,
}

impl Checker<'_> {
    pub(super) fn lookup(
        &mut self,
        step: &Step,
        lookup: &LookupStep,
        columns: Option<&Columns>,
    ) -> Option<(PlannedKind, Columns)> {
        let path = step.name();
        let table = match self.catalog().tables.handle(self.catalog().tenant, &lookup.table.text) {
            Ok(table) => table,
            Err(error) => {
                let remedy =
                    format!("put it: `tidemill table put {} FILE`; `GET /v1/tables` lists what there is", lookup.table.text);
                self.fault(format!("{path}.table"), lookup.table.line, error, remedy);
                return None;
            }
        };
        let version = table.current();
        let there = version.fields();
        let faults_before = self.faults.len();
        let mut on = Vec::new();
        let mut keys = Vec::new();
        for (of_rows, of_table) in &lookup.on {
            let entry = self.table_column(&format!("{path}.on"), lookup.on_line, of_table, there, table.name.as_str());
            let column = columns.and_then(|columns| self.row_column(&format!("{path}.on"), lookup.on_line, of_rows, columns));
            let (Some(entry), Some(column)) = (entry, column) else { continue };
            self.refuse_other_types(&format!("{path}.on"), lookup, &column, &entry);
            keys.push(column.name.clone());
            on.push(entry);
        }
        let mut taken = Vec::new();
        let mut take = Vec::new();
        for (column, name) in &lookup.take {
            let entry = self.table_column(&format!("{path}.take"), column.line, &column.text, there, table.name.as_str());
            let Some(entry) = entry else { continue };
            take.push(Field::new(name, entry.ty, true));
            taken.push(entry);
        }
        let columns = columns?;
        if self.faults.len() > faults_before {
            return None;
        }
        let wanted = TableUse { matching: lookup.matching, on, take: taken };
        // The index is made here, off the tasks' threads, and says whether the column holds what it must.
        if let Err(error) = version.looked_up(&wanted) {
            let remedy = if table.kept.is_some() { "write `on` so" } else { "correct the table and put it again" };
            self.fault(format!("{path}.on"), lookup.on_line, format!("`{}`: {error}", table.name), remedy);
            return None;
        }
        let added: Vec<_> = take.iter().map(|field| (field.clone(), None)).collect();
        let columns = columns.extended(&added);
        let planned = PlannedLookup { step_name: path, table, keys, wanted, take, missing: lookup.missing };
        Some((PlannedKind::Lookup(Arc::new(planned)), columns))
    }

    fn table_column(&mut self, path: &str, line: usize, name: &str, there: &[Field], table: &str) -> Option<Field> {
        let found = there.iter().find(|field| &*field.name == name);
        if found.is_none() {
            let remedy = match nearest(name, there.iter().map(|field| &*field.name)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    format!("there are {}", there.iter().map(|field| format!("`{}`", field.name)).collect::<Vec<_>>().join(", "))
                }
            };
            self.fault(path, line, format!("the table `{table}` has no column `{name}`"), remedy);
        }
        found.cloned()
    }

    /// A column of the rows, with the source's name in front or not.
    fn row_column(&mut self, path: &str, line: usize, name: &str, columns: &Columns) -> Option<Field> {
        let found = columns.resolve(name).cloned();
        if found.is_none() {
            let remedy = match nearest(name, columns.names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", columns.names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
            };
            self.fault(path, line, format!("there is no column `{name}`"), remedy);
        }
        found
    }

    /// Nothing is coerced: two columns that can never be alike are a slip.
    fn refuse_other_types(&mut self, path: &str, lookup: &LookupStep, column: &Field, entry: &Field) {
        let (left, right) = (type_name(plain(column.ty)), type_name(plain(entry.ty)));
        let said = format!("`{}` is {left} and the table's `{}` is {right}", column.name, entry.name);
        let word = lookup.matching.word();
        match lookup.matching {
            Matching::Equal if left != right => {
                let remedy = format!(
                    "make them alike: `extend: {{{}: cast({} as …)}}` in a step before, or put the table with a `schema` that says {left}",
                    column.name, column.name
                );
                self.fault(path, lookup.on_line, said, remedy);
            }
            Matching::Equal if entry.ty == FieldType::Json => {
                let remedy = format!("look up by a field inside it: `extend: {{part: {}.…}}` in a step before", column.name);
                self.fault(path, lookup.on_line, format!("{said}: json is not compared"), remedy);
            }
            Matching::InNetwork | Matching::UnderDomain if (column.ty, entry.ty) != (FieldType::String, FieldType::String) => {
                self.fault(path, lookup.on_line, said, format!("`{word}` compares texts: both must be string"));
            }
            Matching::Equal | Matching::InNetwork | Matching::UnderDomain => {}
        }
    }
}
