//! The key of a step: which columns it is.

use tidemill_event::Field;

use crate::pipeline::{Text, nearest};
use crate::plan::check::Checker;
use crate::plan::columns::Columns;

impl Checker<'_> {
    /// The columns of these names; a fault for each that is not there. If rows of a key are in several tasks, a stage begins there (`stage.rs`).
    pub(super) fn key_fields(&mut self, by: &[Text], path: &str, columns: &Columns) -> Vec<Field> {
        let fields = self.named_fields(by, path, columns);
        self.meet(by, path, columns);
        fields
    }

    /// The columns of these names; a fault for each that is not there.
    pub(super) fn named_fields(&mut self, by: &[Text], path: &str, columns: &Columns) -> Vec<Field> {
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
        fields
    }
}
