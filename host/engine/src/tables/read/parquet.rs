//! Parquet files: columns that have types already.
//!
//! What the file says of itself is looked at before anything is built: how many rows, how many bytes, which types. Packed with snappy,
//! zstd or not at all; other packings are refused by name.

use arrow_schema::{DataType, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::metadata::ParquetMetaData;
use tidemill_event::Field;
use tidemill_event::arrow::{Table, infer};

use super::{Gathering, TableRows, Unreadable};
use crate::tables::bounds::{BATCH_ROWS, COLUMNS_BYTES_MAX, ROWS_MAX};
use crate::tables::fields::definition;

/// Structs and lists inside each other. Beyond: the file is refused.
const DEPTH_MAX: usize = 16;

/// Gathers the rows of a file.
pub(super) fn gather(rows: &TableRows) -> Result<Gathering, Unreadable> {
    let broken =
        |error: &dyn std::fmt::Display| Unreadable::Body(format!("the body is no Parquet file that can be read: {error}"));
    let builder = ParquetRecordBatchReaderBuilder::try_new(rows.body.clone()).map_err(|error| broken(&error))?;
    bounds(builder.metadata())?;
    types(builder.schema())?;
    let schema = builder.schema().clone();
    let reader = builder.with_batch_size(BATCH_ROWS.min(8 << 10)).build().map_err(|error| broken(&error))?;
    let fields = match &rows.fields {
        Some(fields) => fields.clone(),
        None => found(&schema)?,
    };
    let mut gathering = Gathering::new(fields);
    let mut before = 0;
    for batch in reader {
        let table = Table::from_rows(batch.map_err(|error| broken(&error))?);
        for row in 0..table.rows() {
            gathering.row(before + row + 1, |decoder, time| decoder.table_row(&table, row, time))?;
        }
        before += table.rows();
    }
    Ok(gathering)
}

fn found(schema: &std::sync::Arc<Schema>) -> Result<Vec<Field>, Unreadable> {
    let empty = Table::from_rows(arrow_array::RecordBatch::new_empty(schema.clone()));
    let mut fields = infer(&definition(Vec::new(), true), &empty).map(|schema| schema.fields).unwrap_or_default();
    fields.iter_mut().for_each(|field| field.inferred = false);
    match fields.is_empty() {
        true => Err(Unreadable::Body("the file has no columns that a table can have".to_owned())),
        false => Ok(fields),
    }
}

fn bounds(metadata: &ParquetMetaData) -> Result<(), Unreadable> {
    let count = metadata.file_metadata().num_rows();
    if usize::try_from(count).is_ok_and(|count| count > ROWS_MAX) {
        return Err(Unreadable::TooLarge(format!("the file has {count} rows: a table has at most {ROWS_MAX}")));
    }
    let unpacked: i64 = metadata.row_groups().iter().map(|group| group.total_byte_size().max(0)).sum();
    if unpacked as u64 > COLUMNS_BYTES_MAX as u64 {
        let error = format!("the file unpacks to {unpacked} bytes: a table has at most {} MiB", COLUMNS_BYTES_MAX >> 20);
        return Err(Unreadable::TooLarge(error));
    }
    for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        match column.compression() {
            Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_) => {}
            other => {
                let name = column.column_path();
                return Err(Unreadable::Body(format!(
                    "column `{name}` is packed with {other}, which is not read: write the file with snappy or zstd, or not packed"
                )));
            }
        }
    }
    Ok(())
}

fn types(schema: &Schema) -> Result<(), Unreadable> {
    for field in schema.fields() {
        if !is_read(field.data_type(), 1) {
            return Err(Unreadable::Body(format!(
                "column `{}` has the type {}, which is not read: write it as a number, text, bytes, timestamp, boolean, struct or list",
                field.name(),
                field.data_type()
            )));
        }
    }
    Ok(())
}

fn is_read(ty: &DataType, depth: usize) -> bool {
    match ty {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float16
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_)
        | DataType::Date32
        | DataType::Date64
        | DataType::Timestamp(..) => true,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => u8::try_from(*scale).is_ok_and(|scale| scale <= *precision),
        DataType::Dictionary(_, values) => depth < DEPTH_MAX && is_read(values, depth + 1),
        DataType::Struct(fields) => depth < DEPTH_MAX && fields.iter().all(|field| is_read(field.data_type(), depth + 1)),
        DataType::List(item) | DataType::LargeList(item) => depth < DEPTH_MAX && is_read(item.data_type(), depth + 1),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float32Array, Int32Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::basic::ZstdLevel;
    use parquet::file::properties::WriterProperties;
    use tidemill_event::FieldType;

    use super::super::{TableFormat, read};
    use super::*;

    fn file(rows: &RecordBatch, packed: Compression) -> Vec<u8> {
        let properties = WriterProperties::builder().set_compression(packed).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).expect("a writer");
        writer.write(rows).expect("rows");
        writer.into_inner().expect("a file")
    }

    fn upload(body: Vec<u8>) -> TableRows {
        TableRows { format: TableFormat::Parquet, body: body.into(), key: vec!["iata".to_owned()], fields: None }
    }

    #[test]
    fn columns_have_the_types_of_the_file() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("iata", Arc::new(StringArray::from(vec!["ABE", "ABI"]))),
            ("elevation", Arc::new(Int32Array::from(vec![Some(393), None]))),
            ("lat", Arc::new(Float32Array::from(vec![40.5, 32.25]))),
        ];
        let rows = RecordBatch::try_from_iter(columns).expect("rows");
        // Whatever packs it the same rows come out; most writers pack with snappy.
        for packed in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())] {
            let body = file(&rows, packed);
            let table = read(&upload(body.clone())).expect("a table");
            let types: Vec<FieldType> = table.fields.iter().map(|field| field.ty).collect();
            assert_eq!(types, [FieldType::String, FieldType::Int64, FieldType::Float64]);
            assert_eq!(
                table.ndjson(0, 2),
                b"{\"iata\":\"ABE\",\"elevation\":393,\"lat\":40.5}\n{\"iata\":\"ABI\",\"elevation\":null,\"lat\":32.25}\n"
            );
            for cut in [0, 3, 4, body.len() / 2, body.len() - 1] {
                assert!(matches!(read(&upload(body[..cut].to_vec())), Err(Unreadable::Body(_))), "{cut}");
            }
        }
    }
}
