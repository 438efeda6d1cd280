//! The header row: which column has which name.

use hashbrown::HashSet;

/// Columns a header may name.
pub const COLUMNS_MAX: usize = 4_096;
/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// The names of a body's columns, in order: neither empty nor twice the same.
#[derive(Debug)]
pub struct Header {
    names: Vec<Box<str>>,
    /// Each as a member of a JSON object begins: `"name":`.
    members: Vec<Box<[u8]>>,
}

/// A header row that names no columns. Nothing of the body was taken; it must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct HeaderFault {
    /// What is wrong and what to change.
    pub error: String,
}

impl HeaderFault {
    pub(super) fn new(error: impl Into<String>) -> Self {
        Self { error: error.into() }
    }
}

impl Header {
    /// The header whose fields these are; `None` is an empty one.
    pub(super) fn new<'a>(fields: impl Iterator<Item = Option<&'a [u8]>>) -> Result<Self, HeaderFault> {
        let mut names: Vec<Box<str>> = Vec::new();
        let mut known = HashSet::new();
        for (column, field) in fields.enumerate() {
            let column = column + 1;
            let name = std::str::from_utf8(field.unwrap_or_default())
                .map_err(|_| HeaderFault::new(format!("the name of column {column} is not UTF-8: send UTF-8 text")))?
                .trim();
            if name.is_empty() {
                let error = format!("column {column} has no name: the first line names every column");
                return Err(HeaderFault::new(error));
            }
            if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
                let error = format!(
                    "the name of column {column} has control characters or more than {NAME_BYTES_MAX} bytes: the first line names the columns"
                );
                return Err(HeaderFault::new(error));
            }
            if column > COLUMNS_MAX {
                return Err(HeaderFault::new(format!("the header names more than {COLUMNS_MAX} columns: send fewer")));
            }
            if !known.insert(name.to_owned()) {
                return Err(HeaderFault::new(format!("the header names `{name}` twice: rename one of the columns")));
            }
            names.push(name.into());
        }
        let member = |name: &str| format!("{}:", serde_json::Value::from(name)).into_bytes().into();
        Ok(Self { members: names.iter().map(|name| member(name)).collect(), names })
    }

    /// How many columns there are.
    pub fn columns(&self) -> usize {
        self.names.len()
    }

    /// The name of each column.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// The name of a column.
    pub(crate) fn name(&self, column: usize) -> &str {
        &self.names[column]
    }

    /// `"name":` of a column.
    pub(crate) fn member(&self, column: usize) -> &[u8] {
        &self.members[column]
    }
}
