//! Rows to keys, keys to slots: the dense numbers under which operators keep what they know of a key.

mod index;
mod intern;
mod key_columns;
pub(crate) mod ordered;
mod row_keys;

pub(crate) use index::{KeyIndex, Wanted};
pub(crate) use intern::Intern;
pub(crate) use key_columns::{KeyColumns, put_row};
pub(crate) use row_keys::RowKeys;
