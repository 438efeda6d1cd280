//! One state field of all keys: a growing column indexed by slot, and how one value of it is written for a checkpoint.
//!
//! ```text
//! value:  00                          null
//!         01 value                    bool: one byte; int64, timestamp, float64: 8 bytes; decimal: 16 bytes; little-endian
//!         01 length(u32) bytes        string, bytes, json
//! ```

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, BooleanArray, Float64Array, PrimitiveArray, TimestampMicrosecondArray};
use arrow_schema::DataType;
use tidemill_event::FieldType;

/// Values of one type; a slot without one is null.
#[derive(Debug)]
pub(crate) enum StateColumn {
    Bool(Vec<Option<bool>>),
    Int64(Vec<Option<i64>>),
    Timestamp(Vec<Option<i64>>),
    /// As bits, so that a NaN equals itself.
    Float64(Vec<Option<u64>>),
    Decimal(Vec<Option<i128>>, u8, i8),
    Text(Vec<Option<Box<[u8]>>>),
    Bytes(Vec<Option<Box<[u8]>>>),
}

impl StateColumn {
    pub(crate) fn new(ty: FieldType) -> Self {
        match ty {
            FieldType::Bool => Self::Bool(Vec::new()),
            FieldType::Int64 => Self::Int64(Vec::new()),
            FieldType::Timestamp(_) => Self::Timestamp(Vec::new()),
            FieldType::Float64 => Self::Float64(Vec::new()),
            FieldType::Decimal { precision, scale } => Self::Decimal(Vec::new(), precision, scale as i8),
            FieldType::String | FieldType::Json => Self::Text(Vec::new()),
            FieldType::Bytes => Self::Bytes(Vec::new()),
        }
    }

    /// The slot's value is null, and what it held is given back.
    pub(crate) fn clear(&mut self, slot: usize) {
        match self {
            Self::Bool(values) => values[slot] = None,
            Self::Int64(values) | Self::Timestamp(values) => values[slot] = None,
            Self::Float64(values) => values[slot] = None,
            Self::Decimal(values, ..) => values[slot] = None,
            Self::Text(values) | Self::Bytes(values) => values[slot] = None,
        }
    }

    /// The value of slot `into` becomes that of another column's `from`.
    ///
    /// # Panics
    /// If that column is of another type.
    pub(crate) fn copy_from(&mut self, other: &Self, from: usize, into: usize) {
        match (self, other) {
            (Self::Bool(values), Self::Bool(others)) => values[into] = others[from],
            (Self::Int64(values), Self::Int64(others)) | (Self::Timestamp(values), Self::Timestamp(others)) => {
                values[into] = others[from];
            }
            (Self::Float64(values), Self::Float64(others)) => values[into] = others[from],
            (Self::Decimal(values, ..), Self::Decimal(others, ..)) => values[into] = others[from],
            (Self::Text(values), Self::Text(others)) | (Self::Bytes(values), Self::Bytes(others)) => {
                values[into].clone_from(&others[from]);
            }
            (values, others) => panic!("{others:?} is no column like {values:?}"),
        }
    }

    /// One more slot, null.
    pub(crate) fn push_null(&mut self) {
        match self {
            Self::Bool(values) => values.push(None),
            Self::Int64(values) | Self::Timestamp(values) => values.push(None),
            Self::Float64(values) => values.push(None),
            Self::Decimal(values, ..) => values.push(None),
            Self::Text(values) | Self::Bytes(values) => values.push(None),
        }
    }

    /// The value of slot `into` becomes that of `from`.
    pub(crate) fn copy(&mut self, from: usize, into: usize) {
        match self {
            Self::Bool(values) => values[into] = values[from],
            Self::Int64(values) | Self::Timestamp(values) => values[into] = values[from],
            Self::Float64(values) => values[into] = values[from],
            Self::Decimal(values, ..) => values[into] = values[from],
            Self::Text(values) | Self::Bytes(values) => values[into] = values[from].clone(),
        }
    }

    /// The values of these slots, in this order.
    pub(crate) fn load(&self, slots: &[u32]) -> ArrayRef {
        fn primitive<T: ArrowPrimitiveType>(values: &[Option<T::Native>], slots: &[u32]) -> PrimitiveArray<T> {
            slots.iter().map(|slot| values[*slot as usize]).collect()
        }
        match self {
            Self::Bool(values) => Arc::new(slots.iter().map(|slot| values[*slot as usize]).collect::<BooleanArray>()),
            Self::Int64(values) => Arc::new(primitive::<Int64Type>(values, slots)),
            Self::Timestamp(values) => {
                let array: TimestampMicrosecondArray = primitive::<TimestampMicrosecondType>(values, slots);
                Arc::new(array.with_timezone("UTC"))
            }
            Self::Float64(values) => {
                Arc::new(slots.iter().map(|slot| values[*slot as usize].map(f64::from_bits)).collect::<Float64Array>())
            }
            Self::Decimal(values, precision, scale) => {
                Arc::new(primitive::<Decimal128Type>(values, slots).with_data_type(DataType::Decimal128(*precision, *scale)))
            }
            Self::Text(values) => {
                let mut builder = StringBuilder::with_capacity(slots.len(), 0);
                for slot in slots {
                    let value = values[*slot as usize].as_deref();
                    builder.append_option(value.map(|bytes| str::from_utf8(bytes).expect("stored text is UTF-8")));
                }
                Arc::new(builder.finish())
            }
            Self::Bytes(values) => {
                let mut builder = BinaryBuilder::with_capacity(slots.len(), 0);
                slots.iter().for_each(|slot| builder.append_option(values[*slot as usize].as_deref()));
                Arc::new(builder.finish())
            }
        }
    }

    /// Puts row i of `column` into slot i of `slots`; `changed[i]` becomes true where the value is another than before.
    ///
    /// # Panics
    /// If the column is of another type: the runtime checks what a component returns.
    pub(crate) fn store(&mut self, slots: &[u32], column: &dyn Array, changed: &mut [bool]) {
        fn each<T: PartialEq>(
            values: &mut [Option<T>],
            slots: &[u32],
            changed: &mut [bool],
            mut value: impl FnMut(usize) -> Option<T>,
        ) {
            for (row, slot) in slots.iter().enumerate() {
                let (old, new) = (&mut values[*slot as usize], value(row));
                if *old != new {
                    *old = new;
                    changed[row] = true;
                }
            }
        }
        fn bytes(
            values: &mut [Option<Box<[u8]>>],
            slots: &[u32],
            changed: &mut [bool],
            value: impl Fn(usize) -> Option<Box<[u8]>>,
        ) {
            each(values, slots, changed, value);
        }
        fn primitive<T: ArrowPrimitiveType>(column: &dyn Array) -> impl Fn(usize) -> Option<T::Native> {
            let column = column.as_primitive::<T>().clone();
            move |row| column.is_valid(row).then(|| column.value(row))
        }
        match self {
            Self::Bool(values) => {
                let column = column.as_boolean();
                each(values, slots, changed, |row| column.is_valid(row).then(|| column.value(row)));
            }
            Self::Int64(values) => each(values, slots, changed, primitive::<Int64Type>(column)),
            Self::Timestamp(values) => each(values, slots, changed, primitive::<TimestampMicrosecondType>(column)),
            Self::Float64(values) => {
                let value = primitive::<Float64Type>(column);
                each(values, slots, changed, |row| value(row).map(f64::to_bits));
            }
            Self::Decimal(values, ..) => each(values, slots, changed, primitive::<Decimal128Type>(column)),
            Self::Text(values) => {
                let plain = arrow_cast::cast(column, &DataType::Utf8).expect("a text column");
                let column = plain.as_string::<i32>();
                bytes(values, slots, changed, |row| column.is_valid(row).then(|| column.value(row).as_bytes().into()));
            }
            Self::Bytes(values) => {
                let column = column.as_binary::<i32>();
                bytes(values, slots, changed, |row| column.is_valid(row).then(|| column.value(row).into()));
            }
        }
    }

    /// Appends the value of a slot.
    pub(crate) fn encode(&self, slot: usize, out: &mut Vec<u8>) {
        fn value(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
            out.push(u8::from(bytes.is_some()));
            out.extend_from_slice(bytes.unwrap_or_default());
        }
        match self {
            Self::Bool(values) => value(values[slot].map(|value| [u8::from(value)]).as_ref().map(<[u8; 1]>::as_slice), out),
            Self::Int64(values) | Self::Timestamp(values) => {
                value(values[slot].map(i64::to_le_bytes).as_ref().map(<[u8; 8]>::as_slice), out);
            }
            Self::Float64(values) => value(values[slot].map(u64::to_le_bytes).as_ref().map(<[u8; 8]>::as_slice), out),
            Self::Decimal(values, ..) => value(values[slot].map(i128::to_le_bytes).as_ref().map(<[u8; 16]>::as_slice), out),
            Self::Text(values) | Self::Bytes(values) => match &values[slot] {
                Some(bytes) => {
                    out.push(1);
                    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                    out.extend_from_slice(bytes);
                }
                None => out.push(0),
            },
        }
    }

    /// Reads a value into a slot that is there already, and moves `bytes` behind it. `None`: these bytes are no such value.
    pub(crate) fn decode(&mut self, slot: usize, bytes: &mut &[u8]) -> Option<()> {
        fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
            let (head, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Some(head)
        }
        fn fixed<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
            take(bytes, N)?.try_into().ok()
        }
        let is_value = match fixed::<1>(bytes)? {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        match self {
            Self::Bool(values) => {
                values[slot] = if is_value {
                    match fixed::<1>(bytes)? {
                        [byte @ (0 | 1)] => Some(byte == 1),
                        _ => return None,
                    }
                } else {
                    None
                };
            }
            Self::Int64(values) | Self::Timestamp(values) => {
                values[slot] = if is_value { Some(i64::from_le_bytes(fixed(bytes)?)) } else { None };
            }
            Self::Float64(values) => values[slot] = if is_value { Some(u64::from_le_bytes(fixed(bytes)?)) } else { None },
            Self::Decimal(values, ..) => {
                values[slot] = if is_value { Some(i128::from_le_bytes(fixed(bytes)?)) } else { None };
            }
            Self::Text(values) => {
                values[slot] = if is_value {
                    let length = u32::from_le_bytes(fixed(bytes)?) as usize;
                    Some(str::from_utf8(take(bytes, length)?).ok()?.as_bytes().into())
                } else {
                    None
                };
            }
            Self::Bytes(values) => {
                values[slot] = if is_value {
                    let length = u32::from_le_bytes(fixed(bytes)?) as usize;
                    Some(take(bytes, length)?.into())
                } else {
                    None
                };
            }
        }
        Some(())
    }
}
