//! From Arrow columns to the one buffer of a call: nothing is copied here, only where each piece will stand is worked out.
//!
//! Slices are taken as they are: offsets of rows, bits and texts are moved while they are written. A dictionary much larger than the
//! batch is written out as plain text instead, because all of its entries would cross for a few rows.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType, UInt32Type};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::DataType;
use tidemill_event::{Field, FieldType, KeyedState, TableEntries};

use crate::boundary::{Layouts, Pieces};
use crate::piece::Piece;
use crate::room::{Kept, Room};
use crate::wire::{Encoding, NO_NULLS, WireBatch, WireColumn, WireFound};

/// A dictionary crosses as one while it has at most this many entries more than twice the rows.
const SPARE_ENTRIES: usize = 64;

/// Memory that one call leaves to the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    columns: Vec<u8>,
    state: Vec<u8>,
    found: Vec<u8>,
    pieces: Vec<Piece<'static>>,
    /// Of a component whose arguments may keep their place.
    kept: Option<Kept>,
}

impl Scratch {
    /// Of nothing yet; `arguments_stay` is what the component says.
    pub(crate) fn new(arguments_stay: bool) -> Self {
        Self { kept: arguments_stay.then(Kept::nothing), ..Self::default() }
    }
}

/// Calls `with` on the batch as it crosses; gives it back its scratch.
///
/// # Panics
/// If the columns are not the declared ones: whoever plans a pipeline has checked them.
pub(crate) fn batch<R>(
    scratch: &mut Scratch,
    declared: (&[Field], &[Field]),
    columns: &RecordBatch,
    state: Option<&KeyedState>,
    found: &[TableEntries],
    with: impl FnOnce(WireBatch<'_>, WireFound<'_>) -> R,
) -> Result<R, TooLarge> {
    let (declared_columns, declared_state) = declared;
    let rows = columns.num_rows();
    let flat_columns = flattened(columns.columns(), rows);
    let numbers = entry_numbers(found);
    let flat_state = state.and_then(|state| flattened(state.rows.columns(), state.rows.num_rows()));

    let mut buffer = Buffer { pieces: recycled(std::mem::take(&mut scratch.pieces)), bytes: 0 };
    scratch.columns.clear();
    scratch.state.clear();
    scratch.found.clear();
    buffer.columns(declared_columns, flat_columns.as_deref().unwrap_or(columns.columns()), &mut scratch.columns);
    let (mut keys, mut row_keys) = (0, 0);
    if let Some(state) = state {
        assert_eq!(state.row_to_key.len(), rows, "every row has a key");
        keys = state.rows.num_rows();
        row_keys = buffer.push(Piece::Bytes(arrow_buffer::ToByteSlice::to_byte_slice(&*state.row_to_key)));
        buffer.columns(declared_state, flat_state.as_deref().unwrap_or(state.rows.columns()), &mut scratch.state);
    }
    let mut entries = 0;
    if !found.is_empty() {
        entries = buffer.push(Piece::Bytes(arrow_buffer::ToByteSlice::to_byte_slice(numbers.as_slice())));
        for table in found {
            buffer.column(&there(), &table.there).store(&mut scratch.found);
            for (field, column) in table.values.schema_ref().fields().iter().zip(table.values.columns()) {
                let field = Field::from_arrow(field).expect("values are of types an event may have");
                buffer.column(&field, column.as_ref()).store(&mut scratch.found);
            }
        }
    }
    let Buffer { pieces, bytes } = buffer;
    let result = if u32::try_from(bytes).is_ok() {
        let Scratch { columns, state, found, kept, .. } = &mut *scratch;
        let layouts = [&*columns, &*state, &*found].map(|layouts: &Vec<u8>| layouts.len().next_multiple_of(8));
        let room = Room::new(kept.as_ref(), layouts.into_iter().sum::<usize>() + bytes.next_multiple_of(8));
        let batch = WireBatch {
            rows: index(rows),
            columns: Layouts { columns, room: &room },
            keys: index(keys),
            row_keys,
            state: Layouts { columns: state, room: &room },
            data: Pieces { pieces: &pieces, bytes, room: &room },
        };
        let result = with(batch, WireFound { entries, columns: Layouts { columns: found, room: &room } });
        if let Some(kept) = kept {
            room.keep(kept);
        }
        Ok(result)
    } else {
        Err(TooLarge { bytes })
    };
    scratch.pieces = recycled(pieces);
    result
}

/// How many different entries each table has, then the numbers of those that are wanted.
fn entry_numbers(found: &[TableEntries]) -> Vec<u32> {
    let counts = found.iter().map(|table| index(table.there.len()));
    counts.chain(found.iter().flat_map(|table| table.numbers.iter().copied())).collect()
}

/// Whether an entry is there, as a column.
fn there() -> Field {
    Field::new("there", FieldType::Bool, false)
}

/// A batch that no guest could hold.
#[derive(Debug)]
pub(crate) struct TooLarge {
    pub(crate) bytes: usize,
}

/// An empty vector in the same allocation: collecting in place is what the standard library does here.
fn recycled<'to>(mut pieces: Vec<Piece<'_>>) -> Vec<Piece<'to>> {
    pieces.clear();
    pieces.into_iter().map(|_| Piece::Bytes(&[])).collect()
}

/// The columns with oversized dictionaries, and those with null entries, written out as text. `None` where there are none.
fn flattened(columns: &[ArrayRef], rows: usize) -> Option<Vec<ArrayRef>> {
    let oversized = |column: &ArrayRef| {
        let values = column.as_any_dictionary_opt().map(|dictionary| dictionary.values());
        values.is_some_and(|values| values.len() > 2 * rows + SPARE_ENTRIES || values.null_count() > 0)
    };
    if !columns.iter().any(oversized) {
        return None;
    }
    let flat = |column: &ArrayRef| match column.as_dictionary_opt::<UInt32Type>() {
        Some(dictionary) if oversized(column) => match dictionary.downcast_dict::<StringArray>() {
            Some(texts) => Arc::new(texts.into_iter().collect::<StringArray>()) as ArrayRef,
            None => Arc::clone(column),
        },
        Some(_) | None => Arc::clone(column),
    };
    Some(columns.iter().map(flat).collect())
}

struct Buffer<'a> {
    pieces: Vec<Piece<'a>>,
    bytes: usize,
}

impl<'a> Buffer<'a> {
    fn push(&mut self, piece: Piece<'a>) -> u32 {
        let at = self.bytes;
        self.bytes += piece.padded();
        self.pieces.push(piece);
        index(at)
    }

    fn columns(&mut self, declared: &[Field], columns: &'a [ArrayRef], layouts: &mut Vec<u8>) {
        assert_eq!(declared.len(), columns.len(), "as many columns as the component declared");
        for (field, column) in declared.iter().zip(columns) {
            self.column(field, column.as_ref()).store(layouts);
        }
    }

    fn column(&mut self, field: &Field, column: &'a dyn Array) -> WireColumn {
        let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
        let validity = nulls.map_or(NO_NULLS, |nulls| self.push(Piece::Bits(nulls.inner())));
        let mut layout = WireColumn {
            encoding: Encoding::Words,
            validity,
            values: 0,
            entry_offsets: 0,
            entries: 0,
            bytes: 0,
            bytes_length: 0,
        };
        match (field.ty, column.data_type()) {
            (FieldType::Bool, DataType::Boolean) => {
                layout.encoding = Encoding::Bits;
                layout.values = self.push(Piece::Bits(column.as_boolean().values()));
            }
            (FieldType::Int64, DataType::Int64) => {
                layout.values = self.push(Piece::Bytes(column.as_primitive::<Int64Type>().values().inner().as_slice()));
            }
            (FieldType::Float64, DataType::Float64) => {
                layout.values = self.push(Piece::Bytes(column.as_primitive::<Float64Type>().values().inner().as_slice()));
            }
            (FieldType::Timestamp(_), DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, _)) => {
                let values = column.as_primitive::<TimestampMicrosecondType>().values();
                layout.values = self.push(Piece::Bytes(values.inner().as_slice()));
            }
            (FieldType::Decimal { scale, .. }, DataType::Decimal128(_, column_scale))
                if i32::from(scale) == i32::from(*column_scale) =>
            {
                layout.encoding = Encoding::Wide;
                layout.values = self.push(Piece::Bytes(column.as_primitive::<Decimal128Type>().values().inner().as_slice()));
            }
            (FieldType::String | FieldType::Json, DataType::Utf8) => {
                let texts = column.as_string::<i32>();
                self.texts(&mut layout, texts.value_offsets(), texts.value_data());
            }
            (FieldType::Bytes, DataType::Binary) => {
                let values = column.as_binary::<i32>();
                self.texts(&mut layout, values.value_offsets(), values.value_data());
            }
            (FieldType::String, DataType::Dictionary(key, value)) if **key == DataType::UInt32 && **value == DataType::Utf8 => {
                let dictionary = column.as_dictionary::<UInt32Type>();
                let entries = dictionary.values().as_string::<i32>();
                layout.encoding = Encoding::Dictionary;
                layout.values = self.push(Piece::Bytes(dictionary.keys().values().inner().as_slice()));
                let (entry_offsets, bytes, bytes_length) = self.run(entries.value_offsets(), entries.value_data());
                layout.entries = index(entries.len());
                layout.entry_offsets = entry_offsets;
                layout.bytes = bytes;
                layout.bytes_length = bytes_length;
            }
            (ty, found) => {
                panic!("column `{}` is {found:?} where the component declared {ty:?}; the plan checks this", field.name)
            }
        }
        layout
    }

    fn texts(&mut self, layout: &mut WireColumn, offsets: &'a [i32], data: &'a [u8]) {
        layout.encoding = Encoding::Offsets;
        (layout.values, layout.bytes, layout.bytes_length) = self.run(offsets, data);
    }

    /// Offsets, and the bytes they point into; nothing before or behind them.
    fn run(&mut self, offsets: &'a [i32], data: &'a [u8]) -> (u32, u32, u32) {
        let bound =
            |offset: Option<&i32>| offset.map_or(0, |offset| usize::try_from(*offset).expect("Arrow offsets are not negative"));
        let data = &data[bound(offsets.first())..bound(offsets.last())];
        (self.push(Piece::offsets(offsets)), self.push(Piece::Bytes(data)), index(data.len()))
    }
}

/// Positions are checked as a whole: a batch whose buffer is larger than 4 GiB is refused before it crosses.
fn index(value: usize) -> u32 {
    value as u32
}
