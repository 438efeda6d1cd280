//! One record with the names of its columns.
//!
//! ```text
//! | length u32 | bytes | length u32 | bytes | …      a null has the length u32::MAX and no bytes
//! ```
//! In this form a record is one run of bytes: it is kept until a stream's fields are found by copying it.

use std::sync::Arc;

use super::Header;
use crate::json::{is_plain_json, write_text};
use crate::{FieldType, StreamSchema};

/// The length of a null.
pub(super) const NULL: u32 = u32::MAX;

/// A record of the body, with as many fields as the header has columns, all of them UTF-8.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    header: &'a Arc<Header>,
    packed: &'a [u8],
}

impl<'a> Record<'a> {
    /// A record of what [`Record::packed`] answered, under the same header.
    pub fn new(header: &'a Arc<Header>, packed: &'a [u8]) -> Self {
        Self { header, packed }
    }

    /// The names of its columns.
    pub fn header(&self) -> &'a Arc<Header> {
        self.header
    }

    /// Its fields as one run of bytes.
    pub fn packed(&self) -> &'a [u8] {
        self.packed
    }

    /// Its fields; `None` is a null.
    pub fn fields(&self) -> impl Iterator<Item = Option<&'a [u8]>> + use<'a> {
        fields(self.packed)
    }

    /// Appends it as a JSON object: what is written like a JSON number, `true` or `false` is that, everything else a text.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        self.write_json_unless(|_| false, out);
    }

    /// As [`Record::write_json`], but what belongs to a text column of the schema is a text, whatever it is written like.
    pub fn write_json_for(&self, schema: &StreamSchema, out: &mut Vec<u8>) {
        let is_text = |name: &str| schema.field(name).is_some_and(|field| field.ty == FieldType::String);
        self.write_json_unless(is_text, out);
    }

    fn write_json_unless(&self, is_text: impl Fn(&str) -> bool, out: &mut Vec<u8>) {
        out.push(b'{');
        for (column, field) in self.fields().enumerate() {
            if column > 0 {
                out.push(b',');
            }
            out.extend_from_slice(self.header.member(column));
            match field {
                None => out.extend_from_slice(b"null"),
                Some(text) if is_plain_json(text) && !is_text(self.header.name(column)) => out.extend_from_slice(text),
                Some(text) => write_text(text, out),
            }
        }
        out.push(b'}');
    }
}

/// The fields of a packed record.
pub(super) fn fields(mut packed: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    std::iter::from_fn(move || {
        let (length, rest) = packed.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        let (field, rest) = if length == NULL {
            (None, rest)
        } else {
            rest.split_at_checked(length as usize).map(|(field, rest)| (Some(field), rest))?
        };
        packed = rest;
        Some(field)
    })
}
