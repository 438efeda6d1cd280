//! The key of a step: which columns it is, and whether the rows of one key meet in one task.

use tidemill_event::Field;

use crate::pipeline::{Text, nearest};
use crate::plan::check::Checker;
use crate::plan::columns::Columns;

impl Checker<'_> {
    /// The columns of these names; a fault for each that is not there, and one if rows of a key would be in several tasks.
    pub(super) fn key_fields(&mut self, by: &[Text], line: usize, path: &str, columns: &Columns) -> Vec<Field> {
        let mut fields: Vec<Field> = Vec::with_capacity(by.len());
        for text in by {
            match columns.field(&text.text) {
                Some(field) if fields.contains(field) => {
                    self.fault(path, text.line, format!("`{}` is named twice", text.text), "remove one of the two");
                }
                Some(field) => fields.push(field.clone()),
                None => {
                    let remedy = match nearest(&text.text, columns.names()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => {
                            let names: Vec<String> = columns.names().map(|name| format!("`{name}`")).collect();
                            format!("there are {}", names.join(", "))
                        }
                    };
                    self.fault(path, text.line, format!("there is no column `{}`", text.text), remedy);
                }
            }
        }
        self.refuse_scattered(by, line, path, columns);
        fields
    }

    /// Rows of one key must meet in one task: by the source's key they do, or because there is only one task.
    pub(super) fn refuse_scattered(&mut self, by: &[Text], line: usize, path: &str, columns: &Columns) {
        let Some(sources) = self.sources.clone() else { return };
        let key = sources.key();
        let kept: Vec<_> = by.iter().map(|name| columns.source_of(&name.text)).collect();
        let co_located = !key.is_empty() && key.iter().all(|key| kept.contains(&Some(key)));
        if sources.tasks() <= 1 || co_located {
            return;
        }
        let error = format!("rows of one key would be in several of the {}", sources.described());
        let names: Vec<&str> = by.iter().map(|name| name.text.as_str()).collect();
        let what = if sources.list.len() > 1 { "streams that all have as many partitions," } else { "a stream" };
        let remedy = if names.is_empty() {
            "read streams with one partition: re-keying inside a pipeline is not in this version".to_owned()
        } else {
            format!(
                "read {what} with the key [{}], or with one partition: re-keying inside a pipeline is not in this version",
                names.join(", ")
            )
        };
        self.fault(path, line, error, remedy);
    }
}
