//! What is looked at in a message before anything is built from it: types that are read, and sizes that are bearable.

use arrow_ipc::{DateUnit, Field, Precision, RecordBatch, Schema, TimeUnit, Type};

use hashbrown::HashSet;

use super::TableFault;

/// Columns of a schema, those inside structs and lists counted. Beyond: the stream is refused.
const COLUMNS_MAX: usize = 4_096;
/// Structs and lists inside each other. Beyond: the stream is refused.
const DEPTH_MAX: usize = 16;
/// Rows of a record batch, and values of a list column. Beyond: the stream is refused.
const ROWS_MAX: i64 = 1 << 22;

/// Whether every column has a type that is read.
pub(super) fn check_schema(schema: &Schema<'_>) -> Result<(), TableFault> {
    let fields = schema.fields().ok_or_else(|| TableFault::new("the schema has no columns"))?;
    if schema.endianness() != arrow_ipc::Endianness::Little {
        return Err(TableFault::new("big-endian streams are not read"));
    }
    let mut columns = 0;
    distinct(fields.iter())?;
    fields.iter().try_for_each(|field| check_field(&field, 1, &mut columns))
}

/// Columns beside each other must be told apart by name.
fn distinct<'a>(fields: impl Iterator<Item = Field<'a>>) -> Result<(), TableFault> {
    let mut names = HashSet::new();
    for field in fields {
        let name = field.name().unwrap_or_default();
        if !names.insert(name) {
            return Err(TableFault::new(format!("two columns are called `{name}`: rename one of them")));
        }
    }
    Ok(())
}

fn check_field(field: &Field<'_>, depth: usize, columns: &mut usize) -> Result<(), TableFault> {
    *columns += 1;
    let name = field.name().unwrap_or_default();
    if *columns > COLUMNS_MAX || depth > DEPTH_MAX {
        let error = format!(
            "the schema has more than {COLUMNS_MAX} columns, or more than {DEPTH_MAX} inside each other at `{name}`: send fewer"
        );
        return Err(TableFault::new(error));
    }
    let children: Vec<Field<'_>> = field.children().map(|children| children.iter().collect()).unwrap_or_default();
    let is_int = |int: Option<arrow_ipc::Int<'_>>| int.is_some_and(|int| matches!(int.bitWidth(), 8 | 16 | 32 | 64));
    let is_unit = |unit: TimeUnit| unit.variant_name().is_some();
    let is_leaf = children.is_empty();
    let is_read = match field.type_type() {
        Type::Bool | Type::Utf8 | Type::LargeUtf8 | Type::Utf8View | Type::Binary | Type::LargeBinary | Type::BinaryView => {
            is_leaf
        }
        Type::Int => is_leaf && is_int(field.type_as_int()),
        Type::FloatingPoint => {
            let known = [Precision::HALF, Precision::SINGLE, Precision::DOUBLE];
            is_leaf && field.type_as_floating_point().is_some_and(|float| known.contains(&float.precision()))
        }
        Type::Decimal => {
            is_leaf
                && field.type_as_decimal().is_some_and(|decimal| {
                    let (precision, scale) = (decimal.precision(), decimal.scale());
                    let digits_max = match decimal.bitWidth() {
                        32 => 9,
                        64 => 18,
                        128 => 38,
                        _ => 0,
                    };
                    (1..=digits_max).contains(&precision) && (0..=precision).contains(&scale)
                })
        }
        Type::Date => {
            let known = [DateUnit::DAY, DateUnit::MILLISECOND];
            is_leaf && field.type_as_date().is_some_and(|date| known.contains(&date.unit()))
        }
        Type::Timestamp => is_leaf && field.type_as_timestamp().is_some_and(|time| is_unit(time.unit())),
        Type::FixedSizeBinary => is_leaf && field.type_as_fixed_size_binary().is_some_and(|bytes| bytes.byteWidth() > 0),
        Type::Struct_ => !is_leaf,
        Type::List | Type::LargeList => children.len() == 1,
        _ => false,
    };
    let index_is_read = match field.dictionary() {
        None => true,
        Some(dictionary) => is_leaf && is_int(dictionary.indexType()),
    };
    if !is_read || !index_is_read || field.name().is_none() {
        let kind = field.type_type().variant_name().unwrap_or("unknown");
        return Err(TableFault::new(format!(
            "column `{name}` has the type {kind} in a form that is not read: send integers, floats, decimals, texts, bytes, timestamps, dates, booleans, structs or lists"
        )));
    }
    distinct(children.iter().copied())?;
    children.iter().try_for_each(|child| check_field(child, depth + 1, columns))
}

/// Whether a batch is one that may be built.
pub(super) fn check_batch(batch: &RecordBatch<'_>) -> Result<(), TableFault> {
    let is_bearable = |rows: i64| (0..=ROWS_MAX).contains(&rows);
    let nodes_are = batch.nodes().is_some_and(|nodes| {
        nodes.iter().all(|node| is_bearable(node.length()) && (0..=node.length()).contains(&node.null_count()))
    });
    if !is_bearable(batch.length()) || !nodes_are {
        return Err(TableFault::new(format!("a record batch has more than {ROWS_MAX} rows, or none: write smaller batches")));
    }
    Ok(())
}
