//! Why a row was not taken, in words: the field, what was found, what to change.

use std::sync::Arc;

use super::DecodeLimits;
use super::column::{Refusal, Why};
use super::container::{plain_name, value_end};
use super::number::Unfit;
use super::syntax::{Syntax, SyntaxKind, name_end};
use crate::{Field, FieldType, Reason, StreamDefinition};

/// A row that a decoder did not take. Nothing of it is in the batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct RowFault {
    /// [`Reason::Malformed`] or [`Reason::Schema`].
    pub reason: Reason,
    /// The field at fault, where there is one: dotted if it lies inside an object.
    pub field: Option<Arc<str>>,
    /// What is wrong and what to change.
    pub error: String,
}

/// Why an attempt stopped, without words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    Syntax(Syntax),
    NoObject,
    Repeated,
    Misfit(Misfit),
}

/// A row that is JSON, but not as the schema says. Places are in the text of the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfit {
    Value { column: usize, at: usize, why: Why },
    Missing { column: usize },
    TimeRange { column: usize },
    Unknown { name: usize, node: usize },
}

impl From<Syntax> for Trouble {
    fn from(syntax: Syntax) -> Self {
        Self::Syntax(syntax)
    }
}

impl Trouble {
    /// What a column said of the value at `at`.
    #[cold]
    pub(crate) fn refusal(refusal: Refusal, column: usize, at: usize) -> Self {
        match refusal {
            Refusal::Syntax(syntax) => Self::Syntax(syntax),
            Refusal::Unfit(why) => Self::Misfit(Misfit::Value { column, at, why }),
        }
    }

    /// Something else than expected, or nothing.
    #[cold]
    pub(crate) fn expected(json: &[u8], at: usize, kind: SyntaxKind) -> Self {
        Self::Syntax(Syntax { at: at.min(json.len()) as u32, kind: if at >= json.len() { SyntaxKind::End } else { kind } })
    }

    #[cold]
    pub(crate) fn missing(column: usize) -> Self {
        Self::Misfit(Misfit::Missing { column })
    }

    pub(crate) fn time_range(column: usize) -> Self {
        Self::Misfit(Misfit::TimeRange { column })
    }
}

impl RowFault {
    /// What is wrong with a value, as JSON text, for its field.
    pub(crate) fn value(field: &Field, json: &[u8], why: Why) -> Self {
        let error = value_error(&field.name, field.ty, json, why);
        Self { reason: Reason::Schema, field: Some(Arc::clone(&field.name)), error }
    }

    fn malformed(error: String) -> Self {
        Self { reason: Reason::Malformed, field: None, error }
    }

    pub(crate) fn too_long(line_bytes_max: usize) -> Self {
        Self::malformed(format!("the row is longer than {line_bytes_max} bytes: send smaller events"))
    }

    pub(crate) fn not_utf8(bytes: &[u8]) -> Self {
        let at = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
        Self::malformed(format!("byte {at}: {}", SyntaxKind::Utf8.text()))
    }

    pub(crate) fn syntax(syntax: Syntax, limits: &DecodeLimits) -> Self {
        let Syntax { at, kind } = syntax;
        Self::malformed(match kind {
            SyntaxKind::TooDeep => {
                format!("byte {at}: {}, at most {} levels are read: flatten the event", kind.text(), limits.depth_max)
            }
            _ => format!("byte {at}: {}", kind.text()),
        })
    }

    pub(crate) fn no_object(json: &[u8]) -> Self {
        let error = format!("an event is a JSON object, and this is {}: send {{\"field\": value}}", found(json));
        Self { reason: Reason::Schema, field: None, error }
    }

    /// The words for what stopped an attempt over `json`.
    pub(crate) fn trouble(trouble: Trouble, json: &[u8], definition: &StreamDefinition) -> Self {
        let fields = &definition.schema.fields;
        match trouble {
            Trouble::Syntax(syntax) => Self::syntax(syntax, &DecodeLimits::default()),
            Trouble::NoObject => Self::no_object(json),
            Trouble::Repeated => Self::malformed("a field stands there twice: send each field once".to_owned()),
            Trouble::Misfit(misfit) => {
                let (field, error) = match misfit {
                    Misfit::Value { column, at, why } => {
                        return Self::value(&fields[column], &json[at..value_end(json, at)], why);
                    }
                    Misfit::Missing { column } => {
                        let name = &fields[column].name;
                        let time = definition.time.as_ref().filter(|time| time.field == *name && fields[column].nullable);
                        let error = match time {
                            Some(_) => format!(
                                "field `{name}` holds the event time and is missing or null: send it, or declare \"missing\": \"arrival\""
                            ),
                            None => format!("field `{name}` is missing and may not be null: send it, or declare it nullable"),
                        };
                        (Arc::clone(name), error)
                    }
                    Misfit::TimeRange { column } => {
                        let name = &fields[column].name;
                        let error = format!(
                            "field `{name}` is no time within 64-bit microseconds: send another value, or declare another unit"
                        );
                        (Arc::clone(name), error)
                    }
                    Misfit::Unknown { name, node } => {
                        let name = unknown_path(json, name, node, definition);
                        let error = format!(
                            "field `{name}` is not in the schema and unknown fields are rejected: leave it out, or add it to the schema"
                        );
                        (name, error)
                    }
                };
                Self { reason: Reason::Schema, field: Some(field), error }
            }
        }
    }
}

fn value_error(name: &str, ty: FieldType, value: &[u8], why: Why) -> String {
    let found = found(value);
    let kind = type_name(ty);
    let wanted = wanted(ty);
    match why {
        Why::Null => format!("field `{name}` is null and may not be: send {wanted}, or declare it nullable"),
        Why::Kind => format!("field `{name}` is {kind} and got {found}: send {wanted}"),
        Why::Rfc3339 => format!("field `{name}` is {kind} and got {found}, which is no RFC 3339 time: send {wanted}"),
        Why::Base64 => format!("field `{name}` is {kind} and got {found}, which is no base64: send {wanted}"),
        Why::Number(Unfit::NotInteger) => {
            format!("field `{name}` is {kind} and got {found}: send digits without point or exponent, or declare float64")
        }
        Why::Number(Unfit::Digits) => {
            format!(
                "field `{name}` is {kind} and got {found}, which has more digits behind the point: send {wanted}, or declare a larger scale"
            )
        }
        Why::Number(Unfit::Range) => {
            format!("field `{name}` is {kind} and got {found}, which is out of its range: send {wanted}")
        }
    }
}

/// A type as a definition writes it.
pub(crate) fn type_name(ty: FieldType) -> String {
    match ty {
        FieldType::Bool => "bool".to_owned(),
        FieldType::Int64 => "int64".to_owned(),
        FieldType::Float64 => "float64".to_owned(),
        FieldType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        FieldType::String => "string".to_owned(),
        FieldType::Bytes => "bytes".to_owned(),
        FieldType::Timestamp(None) => "timestamp".to_owned(),
        FieldType::Timestamp(Some(unit)) => format!("timestamp in {}", unit.as_str()),
        FieldType::Json => "json".to_owned(),
    }
}

fn wanted(ty: FieldType) -> String {
    match ty {
        FieldType::Bool => "true or false".to_owned(),
        FieldType::Int64 => "a number from -9223372036854775808 to 9223372036854775807".to_owned(),
        FieldType::Float64 => "a number that a 64-bit float can hold".to_owned(),
        FieldType::Decimal { precision, scale } => {
            format!("a number or a text of digits, at most {precision} of them and {scale} behind the point")
        }
        FieldType::String => "a text".to_owned(),
        FieldType::Bytes => "a text in base64 (A-Z a-z 0-9 + / and = to a multiple of four)".to_owned(),
        FieldType::Timestamp(None) => "a text like 2026-01-31T12:00:00Z, or declare its unit if it is a number".to_owned(),
        FieldType::Timestamp(Some(unit)) => {
            format!("a number of {} since 1970, or a text like 2026-01-31T12:00:00Z", unit.as_str())
        }
        FieldType::Json => "any JSON value".to_owned(),
    }
}

/// What a value is, for a person, with its beginning.
fn found(value: &[u8]) -> String {
    const SHOWN_CHARACTERS: usize = 40;
    let text = String::from_utf8_lossy(&value[..value.len().min(4 * SHOWN_CHARACTERS + 4)]);
    let mut short: String = text.chars().take(SHOWN_CHARACTERS).collect();
    if value.len() > short.len() {
        short.push('…');
    }
    match value.first() {
        Some(b'"') => format!("the text {short}"),
        Some(b'{') => format!("the object {short}"),
        Some(b'[') => format!("the array {short}"),
        Some(b'-' | b'0'..=b'9') => format!("the number {short}"),
        Some(_) | None => short,
    }
}

/// The dotted path of the unknown field whose name is at `at`: found again by where its object's known columns lie.
fn unknown_path(json: &[u8], at: usize, node: usize, definition: &StreamDefinition) -> Arc<str> {
    let name = match name_end(json, at) {
        Ok((end, _, _)) => String::from_utf8_lossy(&plain_name(&json[at + 1..end])).into_owned(),
        Err(_) => String::new(),
    };
    super::fields::Fields::new(&definition.schema).path(node).map_or(name.clone(), |path| format!("{path}.{name}")).into()
}
