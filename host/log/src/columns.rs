//! Rows as bytes: plain column buffers, one behind the other, the payload of a frame.
//!
//! ```text
//! per column: tag u8, [validity bits], values         (nothing is padded; the schema is known by stream and version)
//! ```
//! An Arrow IPC message of one small row is 1 KiB, this with its heads is 130 bytes. Work per row is copying of buffers only.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType, UInt32Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray, UInt32Array, new_null_array,
};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;

use crate::layout::Layout;
use crate::wire::{Malformed, Put, Take};

#[cfg(target_endian = "big")]
compile_error!("column buffers are stored as they lie in memory: little-endian");

const PLAIN: u8 = 0;
const DICTIONARY: u8 = 1;
const ALL_NULL: u8 = 2;
const HAS_VALIDITY: u8 = 0x10;

/// No fewer bytes than [`encode_rows`] writes.
pub(crate) fn encoded_bytes_max(rows: &RecordBatch) -> usize {
    let count = rows.num_rows();
    let column_bytes = |column: &ArrayRef| {
        let values = match column.data_type() {
            DataType::Boolean => count.div_ceil(8),
            DataType::Decimal128(..) => count * 16,
            DataType::Utf8 => 4 * count + text_bytes(column.as_string::<i32>().offsets()),
            DataType::Binary => 4 * count + text_bytes(column.as_binary::<i32>().offsets()),
            DataType::Dictionary(..) => {
                let (values, written_out) = dictionary_bytes(column.as_dictionary::<UInt32Type>());
                if keeps_dictionary(column.as_dictionary::<UInt32Type>()) {
                    4 + values + 4 * count
                } else {
                    4 * count + written_out
                }
            }
            _ => count * 8,
        };
        1 + count.div_ceil(8) + values
    };
    rows.columns().iter().map(column_bytes).sum()
}

fn text_bytes(offsets: &OffsetBuffer<i32>) -> usize {
    (offsets[offsets.len() - 1] - offsets[0]) as usize
}

/// Bytes of the dictionary itself, and of its values written out row by row.
fn dictionary_bytes(column: &DictionaryArray<UInt32Type>) -> (usize, usize) {
    let values = column.values().as_string::<i32>();
    let own = 4 * values.len() + text_bytes(values.offsets());
    if keeps_dictionary(column) {
        return (own, 0);
    }
    let written_out = column.keys().iter().flatten().map(|key| values.value_length(key as usize) as usize).sum();
    (own, written_out)
}

/// A dictionary that most of its own rows do not use (a slice of a larger batch) is written out instead.
fn keeps_dictionary(column: &DictionaryArray<UInt32Type>) -> bool {
    column.values().len() <= column.len() && column.values().null_count() == 0
}

/// Appends the payload of an event batch.
///
/// # Panics
/// If a column has a type no stream has: [`Layout::fit`] goes first.
pub(crate) fn encode_rows(rows: &RecordBatch, out: &mut Vec<u8>) {
    for column in rows.columns() {
        encode_column(column, out);
    }
}

fn encode_column(column: &ArrayRef, out: &mut Vec<u8>) {
    let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
    if nulls.is_some_and(|nulls| nulls.null_count() == nulls.len()) {
        out.put_u8(ALL_NULL);
        return;
    }
    let dictionary = column.as_dictionary_opt::<UInt32Type>();
    let written_out: ArrayRef;
    let (form, column) = match dictionary {
        Some(dictionary) if keeps_dictionary(dictionary) => (DICTIONARY, column),
        Some(dictionary) => {
            written_out = write_out(dictionary);
            (PLAIN, &written_out)
        }
        None => (PLAIN, column),
    };
    out.put_u8(form | if nulls.is_some() { HAS_VALIDITY } else { 0 });
    if let Some(nulls) = nulls {
        out.extend_from_slice(&nulls.inner().sliced());
    }
    match column.data_type() {
        DataType::Boolean => out.extend_from_slice(&column.as_boolean().values().sliced()),
        DataType::Int64 => out.extend_from_slice(column.as_primitive::<Int64Type>().values().inner()),
        DataType::Float64 => out.extend_from_slice(column.as_primitive::<Float64Type>().values().inner()),
        DataType::Timestamp(..) => out.extend_from_slice(column.as_primitive::<TimestampMicrosecondType>().values().inner()),
        DataType::Decimal128(..) => out.extend_from_slice(column.as_primitive::<Decimal128Type>().values().inner()),
        DataType::Utf8 => {
            let column = column.as_string::<i32>();
            encode_texts(column.offsets(), column.values(), out);
        }
        DataType::Binary => {
            let column = column.as_binary::<i32>();
            encode_texts(column.offsets(), column.values(), out);
        }
        DataType::Dictionary(..) => {
            let column = column.as_dictionary::<UInt32Type>();
            let values = column.values().as_string::<i32>();
            out.put_u32(values.len() as u32);
            encode_texts(values.offsets(), values.values(), out);
            out.extend_from_slice(column.keys().values().inner());
        }
        other => unreachable!("no stream has a column of type {other}"),
    }
}

/// The ends of each text, counted from the first one's start, then the texts.
fn encode_texts(offsets: &OffsetBuffer<i32>, values: &Buffer, out: &mut Vec<u8>) {
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    if first == 0 {
        out.extend_from_slice(&offsets.inner().inner()[4..]);
    } else {
        out.extend(offsets[1..].iter().flat_map(|end| (end - first).to_le_bytes()));
    }
    out.extend_from_slice(&values[first as usize..last as usize]);
}

/// A dictionary column as plain strings.
pub(crate) fn write_out(column: &DictionaryArray<UInt32Type>) -> ArrayRef {
    let values = column.values().as_string::<i32>();
    let texts = column
        .keys()
        .iter()
        .map(|key| key.map(|key| key as usize).filter(|key| values.is_valid(*key)).map(|key| values.value(key)));
    Arc::new(StringArray::from_iter(texts))
}

/// Reads a payload back. Never panics, whatever the bytes are.
pub(crate) fn decode_rows(payload: &[u8], rows: usize, layout: &Layout) -> Result<RecordBatch, Malformed> {
    let mut take = Take(payload);
    let mut dictionaries = Vec::new();
    let mut columns = Vec::with_capacity(layout.schema.fields().len());
    for (index, field) in layout.schema.fields().iter().enumerate() {
        let tag = take.u8()?;
        let form = tag & !HAS_VALIDITY;
        if form == ALL_NULL {
            columns.push(new_null_array(field.data_type(), rows));
            continue;
        }
        let nulls = if tag & HAS_VALIDITY != 0 { Some(NullBuffer::new(bits(&mut take, rows)?)) } else { None };
        let column = match form {
            PLAIN => decode_plain(&mut take, rows, field.data_type(), nulls)?,
            DICTIONARY if layout.is_string(index) => {
                dictionaries.push(index);
                decode_dictionary(&mut take, rows, nulls)?
            }
            _ => return Err(Malformed),
        };
        columns.push(column);
    }
    if !take.is_empty() {
        return Err(Malformed);
    }
    RecordBatch::try_new(layout.physical(&dictionaries), columns).map_err(|_| Malformed)
}

fn decode_plain(take: &mut Take<'_>, rows: usize, ty: &DataType, nulls: Option<NullBuffer>) -> Result<ArrayRef, Malformed> {
    Ok(match ty {
        DataType::Boolean => Arc::new(BooleanArray::new(bits(take, rows)?, nulls)),
        DataType::Int64 => Arc::new(Int64Array::new(scalars(take, rows)?, nulls)),
        DataType::Float64 => Arc::new(Float64Array::new(scalars(take, rows)?, nulls)),
        DataType::Timestamp(..) => {
            let values = TimestampMicrosecondArray::new(scalars(take, rows)?, nulls);
            Arc::new(values.with_data_type(ty.clone()))
        }
        DataType::Decimal128(..) => {
            let values = Decimal128Array::new(scalars(take, rows)?, nulls);
            Arc::new(values.with_data_type(ty.clone()))
        }
        DataType::Utf8 => {
            let (offsets, values) = texts(take, rows)?;
            Arc::new(StringArray::try_new(offsets, values, nulls).map_err(|_| Malformed)?)
        }
        DataType::Binary => {
            let (offsets, values) = texts(take, rows)?;
            Arc::new(BinaryArray::try_new(offsets, values, nulls).map_err(|_| Malformed)?)
        }
        _ => return Err(Malformed),
    })
}

fn decode_dictionary(take: &mut Take<'_>, rows: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef, Malformed> {
    let count = take.u32()? as usize;
    let (offsets, values) = texts(take, count)?;
    let values = StringArray::try_new(offsets, values, None).map_err(|_| Malformed)?;
    let keys = UInt32Array::new(scalars(take, rows)?, nulls);
    Ok(Arc::new(DictionaryArray::try_new(keys, Arc::new(values)).map_err(|_| Malformed)?))
}

fn bits(take: &mut Take<'_>, rows: usize) -> Result<BooleanBuffer, Malformed> {
    let bytes = take.take(rows.div_ceil(8))?;
    Ok(BooleanBuffer::new(aligned(bytes), 0, rows))
}

fn scalars<T: ArrowNativeType>(take: &mut Take<'_>, rows: usize) -> Result<ScalarBuffer<T>, Malformed> {
    let bytes = take.take(rows.checked_mul(size_of::<T>()).ok_or(Malformed)?)?;
    Ok(ScalarBuffer::new(aligned(bytes), 0, rows))
}

fn texts(take: &mut Take<'_>, rows: usize) -> Result<(OffsetBuffer<i32>, Buffer), Malformed> {
    let ends = take.take(rows.checked_mul(4).ok_or(Malformed)?)?;
    let mut offsets = MutableBuffer::with_capacity(ends.len() + 4);
    offsets.extend_from_slice(&0i32.to_le_bytes());
    offsets.extend_from_slice(ends);
    let offsets: ScalarBuffer<i32> = ScalarBuffer::new(offsets.into(), 0, rows + 1);
    // `OffsetBuffer::new` panics on what goes down; bytes from a disk must not.
    if offsets.windows(2).any(|pair| pair[1] < pair[0]) {
        return Err(Malformed);
    }
    let bytes = offsets.last().copied().unwrap_or(0) as usize;
    let values = aligned(take.take(bytes)?);
    Ok((OffsetBuffer::new(offsets), values))
}

fn aligned(bytes: &[u8]) -> Buffer {
    let mut buffer = MutableBuffer::with_capacity(bytes.len());
    buffer.extend_from_slice(bytes);
    buffer.into()
}

#[cfg(test)]
mod tests {
    use arrow_array::{Decimal128Array, UInt32Array};
    use proptest::prelude::*;
    use tidemill_event::{Field, FieldType, Retention, StreamDefinition, StreamSchema, UnknownFields};

    use super::*;

    fn layout() -> Layout {
        let types = [
            FieldType::Bool,
            FieldType::Int64,
            FieldType::Float64,
            FieldType::Decimal { precision: 20, scale: 3 },
            FieldType::String,
            FieldType::Bytes,
            FieldType::Timestamp(None),
            FieldType::Json,
        ];
        let fields = types.iter().enumerate().map(|(index, ty)| Field::new(&format!("f{index}"), *ty, true)).collect();
        let schema = StreamSchema { fields, unknown: UnknownFields::Keep, infer: false };
        let definition = StreamDefinition {
            schema,
            time: None,
            key: Vec::new(),
            partitions: 1,
            retention: Retention::default(),
            compatibility: Default::default(),
        };
        Layout::new(tidemill_event::SchemaVersion(1), definition)
    }

    type Row = (Option<bool>, Option<i64>, Option<f64>, Option<i64>, Option<String>, Option<Vec<u8>>, Option<i64>, i64);

    fn batch(rows: &[Row], layout: &Layout, dictionary: bool) -> RecordBatch {
        let text: StringArray = rows.iter().map(|row| row.4.as_deref()).collect();
        let json: StringArray = rows.iter().map(|row| row.1.map(|number| number.to_string())).collect();
        let text: ArrayRef = if dictionary {
            let mut values: Vec<&str> = rows.iter().filter_map(|row| row.4.as_deref()).collect();
            values.sort_unstable();
            values.dedup();
            let key = |text: &str| values.binary_search(&text).expect("one of them") as u32;
            let keys: UInt32Array = rows.iter().map(|row| row.4.as_deref().map(key)).collect();
            Arc::new(DictionaryArray::new(keys, Arc::new(StringArray::from(values))))
        } else {
            Arc::new(text)
        };
        let decimals: Decimal128Array = rows.iter().map(|row| row.3.map(i128::from)).collect();
        let times: TimestampMicrosecondArray = rows.iter().map(|row| row.6).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|row| row.0).collect::<BooleanArray>()),
            Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
            Arc::new(decimals.with_precision_and_scale(20, 3).expect("in range")),
            text,
            Arc::new(rows.iter().map(|row| row.5.as_deref()).collect::<BinaryArray>()),
            Arc::new(times.with_timezone("UTC")),
            Arc::new(json.clone()),
            Arc::new(json),
            Arc::new(rows.iter().map(|row| Some(row.7)).collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
        ];
        RecordBatch::try_new(layout.physical(if dictionary { &[4] } else { &[] }), columns).expect("columns fit")
    }

    fn texts(rows: &RecordBatch) -> RecordBatch {
        let mut columns = rows.columns().to_vec();
        if let Some(dictionary) = columns[4].as_dictionary_opt::<UInt32Type>() {
            columns[4] = write_out(dictionary);
        }
        RecordBatch::try_new(layout().physical(&[]), columns).expect("columns fit")
    }

    fn row() -> impl Strategy<Value = Row> {
        let text = prop_oneof![Just(None), "[a-c]{0,2}".prop_map(Some), "\\PC{0,20}".prop_map(Some)];
        let bytes = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9));
        (
            any::<Option<bool>>(),
            any::<Option<i64>>(),
            proptest::option::of(-1e300..1e300),
            any::<Option<i64>>(),
            text,
            bytes,
            any::<Option<i64>>(),
            any::<i64>(),
        )
    }

    proptest! {
        #[test]
        fn rows_come_back_as_they_were(rows in proptest::collection::vec(row(), 1..70), dictionary: bool, cut in 0usize..70) {
            let layout = layout();
            let whole = batch(&rows, &layout, dictionary);
            let from = cut % rows.len();
            for rows in [whole.clone(), whole.slice(from, rows.len() - from), whole.slice(0, from + 1)] {
                let mut bytes = vec![7];
                encode_rows(&rows, &mut bytes);
                prop_assert!(bytes.len() - 1 <= encoded_bytes_max(&rows));
                let back = decode_rows(&bytes[1..], rows.num_rows(), &layout).expect("decodes");
                prop_assert_eq!(texts(&back), texts(&rows));
                // Joined with itself, whatever form the strings have.
                let twice = tidemill_event::batch::concat(&[rows.clone(), back.clone()]);
                prop_assert_eq!(texts(&twice.slice(rows.num_rows(), rows.num_rows())), texts(&rows));
            }
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..300), rows in 1usize..20) {
            let _ = decode_rows(&bytes, rows, &layout());
        }

        #[test]
        fn changed_bytes_decode_or_fail(rows in proptest::collection::vec(row(), 1..20), dictionary: bool, at: usize, to: u8) {
            let layout = layout();
            let mut bytes = Vec::new();
            encode_rows(&batch(&rows, &layout, dictionary), &mut bytes);
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = decode_rows(&bytes, rows.len(), &layout);
        }
    }

    #[test]
    fn a_row_of_six_columns_is_small() {
        let types =
            [FieldType::Int64, FieldType::Int64, FieldType::Float64, FieldType::String, FieldType::String, FieldType::String];
        let fields = types.iter().enumerate().map(|(index, ty)| Field::new(&format!("f{index}"), *ty, false)).collect();
        let schema = StreamSchema { fields, unknown: UnknownFields::Drop, infer: false };
        let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![1])),
            Arc::new(Int64Array::from(vec![2])),
            Arc::new(Float64Array::from(vec![3.5])),
            text("ord-12"),
            text("de"),
            text("open"),
            Arc::new(TimestampMicrosecondArray::from(vec![4]).with_timezone("UTC")),
        ];
        let rows = RecordBatch::try_new(Arc::new(schema.arrow()), columns).expect("columns fit");
        let mut bytes = Vec::new();
        encode_rows(&rows, &mut bytes);
        assert!(crate::group::entry_bytes(1, bytes.len()) < 140, "{} bytes", bytes.len());
    }
}
