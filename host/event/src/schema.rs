//! What a stream's rows look like: fields, time, key, partitions.
//!
//! | type | Arrow, as declared | also, batch by batch |
//! |---|---|---|
//! | bool | Boolean | |
//! | int64 | Int64 | |
//! | float64 | Float64 | |
//! | decimal(p,s) | Decimal128(p, s) | |
//! | string | Utf8 | Dictionary(UInt32, Utf8) where few values repeat |
//! | bytes | Binary | |
//! | timestamp | Timestamp(µs, "UTC") | |
//! | json | Utf8, compact JSON text, metadata `tidemill.type = json` | |

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_schema::{DataType, Field as ArrowField, Schema as ArrowSchema, TimeUnit as ArrowTimeUnit};

/// The unit of a number that stands for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
}

impl TimeUnit {
    /// How many µs one of it has.
    pub fn micros(self) -> i64 {
        match self {
            Self::Seconds => 1_000_000,
            Self::Millis => 1_000,
            Self::Micros => 1,
        }
    }

    /// `s`, `ms` or `us`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Millis => "ms",
            Self::Micros => "us",
        }
    }
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// true or false.
    Bool,
    /// 64-bit signed.
    Int64,
    /// IEEE 754 double; never NaN or infinite when it comes from JSON.
    Float64,
    /// A decimal number of at most 38 digits.
    Decimal {
        /// All digits, 1 to 38.
        precision: u8,
        /// Digits behind the point, 0 to `precision`.
        scale: u8,
    },
    /// UTF-8.
    String,
    /// Any bytes; base64 in JSON.
    Bytes,
    /// µs since the epoch. With a unit it is a number of that unit in JSON, without one an RFC 3339 text.
    Timestamp(Option<TimeUnit>),
    /// Any JSON value, kept as compact text.
    Json,
}

/// Metadata key that tells json (and the host's own) columns from plain strings in an Arrow schema.
pub const TYPE_METADATA: &str = "tidemill.type";

impl FieldType {
    /// The Arrow type of a column as declared. A string column may be a dictionary in a batch.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(precision, scale as i8),
            Self::String | Self::Json => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Timestamp(_) => timestamp_type(),
        }
    }

    /// The type that holds values of an Arrow type, whoever made them: smaller integers and floats widen, all text is a string, dates and
    /// times are instants. `None`: no type of ours does.
    pub fn holding(values: &DataType) -> Option<Self> {
        Some(match values {
            DataType::Boolean => Self::Bool,
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
            | DataType::UInt64 => Self::Int64,
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Self::Float64,
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale)
                if *precision <= 38 =>
            {
                Self::Decimal { precision: *precision, scale: u8::try_from(*scale).ok()? }
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::String,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Self::Bytes,
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Self::Timestamp(None),
            _ => return None,
        })
    }
}

/// The metadata with which everybody marks a column of JSON texts: the canonical extension type `arrow.json`.
pub(crate) const EXTENSION_METADATA: &str = "ARROW:extension:name";
/// The value it has then.
pub(crate) const JSON_EXTENSION: &str = "arrow.json";

/// Whether the texts of a column are JSON: ours, or anybody's.
pub(crate) fn holds_json(field: &ArrowField) -> bool {
    let is = |key: &str, value: &str| field.metadata().get(key).is_some_and(|found| found == value);
    is(EXTENSION_METADATA, JSON_EXTENSION) || is(TYPE_METADATA, "json")
}

/// `Timestamp(µs, "UTC")`.
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(ArrowTimeUnit::Microsecond, Some("UTC".into()))
}

/// `Dictionary(UInt32, Utf8)`, the second form of a string column.
pub fn dictionary_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8))
}

/// One column of a stream. A dotted name (`user.address.country`) is the path of a nested value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name or path; never `_partition`, `_offset`, `_time`, `_unknown`.
    pub name: Arc<str>,
    /// What it holds.
    pub ty: FieldType,
    /// Whether it may be null or missing.
    pub nullable: bool,
    /// Found in data rather than declared: may widen by itself (int64 → float64, anything → json).
    pub inferred: bool,
}

impl Field {
    /// A declared field.
    pub fn new(name: &str, ty: FieldType, nullable: bool) -> Self {
        Self { name: name.into(), ty, nullable, inferred: false }
    }

    /// Its Arrow field, with json told apart by metadata.
    pub fn arrow(&self) -> ArrowField {
        let field = ArrowField::new(self.name.as_ref(), self.ty.arrow(), self.nullable);
        let kind = match self.ty {
            FieldType::Json => "json",
            FieldType::Timestamp(Some(unit)) => unit.as_str(),
            FieldType::Bool
            | FieldType::Int64
            | FieldType::Float64
            | FieldType::Decimal { .. }
            | FieldType::String
            | FieldType::Bytes
            | FieldType::Timestamp(None) => return field,
        };
        field.with_metadata(HashMap::from([(TYPE_METADATA.to_owned(), kind.to_owned())]))
    }

    /// The field an Arrow field stands for: a dictionary is a string, integers widen to int64. `None` for types no stream has.
    pub fn from_arrow(field: &ArrowField) -> Option<Self> {
        let kind = field.metadata().get(TYPE_METADATA).map(String::as_str);
        let ty = match field.data_type() {
            DataType::Boolean => FieldType::Bool,
            DataType::Int64 => FieldType::Int64,
            DataType::Float64 => FieldType::Float64,
            DataType::Decimal128(precision, scale) => {
                FieldType::Decimal { precision: *precision, scale: u8::try_from(*scale).ok()? }
            }
            DataType::Utf8 if kind == Some("json") => FieldType::Json,
            DataType::Utf8 => FieldType::String,
            DataType::Dictionary(_, value) if **value == DataType::Utf8 => FieldType::String,
            DataType::Binary => FieldType::Bytes,
            DataType::Timestamp(ArrowTimeUnit::Microsecond, _) => FieldType::Timestamp(match kind {
                Some("s") => Some(TimeUnit::Seconds),
                Some("ms") => Some(TimeUnit::Millis),
                Some("us") => Some(TimeUnit::Micros),
                Some(_) | None => None,
            }),
            _ => return None,
        };
        Some(Self { name: field.name().as_str().into(), ty, nullable: field.is_nullable(), inferred: false })
    }
}

/// What happens to fields the schema does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownFields {
    /// Kept in `_unknown`, and read back where they were.
    #[default]
    Keep,
    /// Dropped.
    Drop,
    /// The row is rejected.
    Reject,
}

/// Counts the schemas of one stream, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaVersion(pub u32);

/// The columns of a stream at one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSchema {
    /// Declared and inferred fields, in order; names are unique.
    pub fields: Vec<Field>,
    /// What happens to others.
    pub unknown: UnknownFields,
    /// `true` while fields are found in data: an undeclared stream before and after its first batch.
    pub infer: bool,
}

impl StreamSchema {
    /// The Arrow schema of an event batch of this stream: fields, `_unknown` if kept, `_time` (see [`crate::batch`]).
    pub fn arrow(&self) -> ArrowSchema {
        let mut fields: Vec<ArrowField> = self.fields.iter().map(Field::arrow).collect();
        if self.unknown == UnknownFields::Keep {
            fields.push(crate::batch::unknown_field());
        }
        fields.push(crate::batch::time_field());
        ArrowSchema::new(fields)
    }

    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| &*field.name == name)
    }
}

/// What happens to a row that lacks its stream's time field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingTime {
    /// It is rejected.
    #[default]
    Reject,
    /// It has the time of its arrival.
    Arrival,
}

/// Where rows have their event time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeField {
    /// A timestamp or int64 field of the schema.
    pub field: Arc<str>,
    /// The unit of an int64 field; `None` for a timestamp, which knows its own.
    pub unit: Option<TimeUnit>,
    /// What a row without it gets.
    pub missing: MissingTime,
}

/// How long rows are kept; `None` is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// The greatest age.
    pub age: Option<Duration>,
    /// The greatest size.
    pub bytes: Option<u64>,
}

/// Which changes of its schema a stream takes. Key, time and partitions never change, whatever the mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CompatibilityMode {
    /// Older rows are rows of the newer schema too: fields may be added nullable, become nullable, widen, or go.
    #[default]
    Backward,
    /// Newer rows are rows of the older schema too: fields may be added, and nullable ones may go.
    Forward,
    /// Both.
    Full,
    /// Any change.
    None,
}

impl CompatibilityMode {
    /// `backward`, `forward`, `full` or `none`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backward => "backward",
            Self::Forward => "forward",
            Self::Full => "full",
            Self::None => "none",
        }
    }
}

/// A stream as declared or inferred, at one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamDefinition {
    /// Its columns.
    pub schema: StreamSchema,
    /// Where event time stands; `None`: events have the time of their arrival.
    pub time: Option<TimeField>,
    /// The fields whose values place a row; empty: batches go round robin.
    pub key: Vec<Arc<str>>,
    /// How many partitions, at least 1; never changes.
    pub partitions: u32,
    /// How long rows are kept.
    pub retention: Retention,
    /// Which changes of the schema are taken.
    pub compatibility: CompatibilityMode,
}
