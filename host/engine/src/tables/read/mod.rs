//! A body becomes the rows of a table: wholly, or not at all with every row at fault named.
//!
//! ```text
//! CSV, NDJSON ─ rows with their lines ─► types found in all of them, unless they were declared ─► RowDecoder ─► columns
//! Parquet, MaxMind DB ──────────────────────────────────────────────────────────────────────────┘
//! ```
//! Values are taken as a stream takes them (an integer where a float is declared, nothing else is coerced). A CSV column that is neither
//! all numbers nor all true or false is text, as it was written.

mod lines;
mod mmdb;
mod parquet;

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::cast;
use arrow_schema::DataType;
use arrow_select::concat::concat;
use bytes::Bytes;
use serde::Serialize;
use tidemill_event::json::{DecodeLimits, RowDecoder, RowFault};
use tidemill_event::{EventTime, Field, StreamDefinition, UnknownFields};
use tidemill_flow::{KeyFault, check_key};

use crate::pipeline::nearest;
use crate::tables::TableContent;
use crate::tables::bounds::{BATCH_ROWS, COLUMNS_BYTES_MAX, FAULTS_LISTED_MAX, KEY_COLUMNS_MAX, LINE_BYTES_MAX, ROWS_MAX};
use crate::tables::fields::definition;

/// The form of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// A header row, then records (RFC 4180).
    Csv,
    /// A JSON object a line.
    Ndjson,
    /// A Parquet file.
    Parquet,
    /// A MaxMind DB file: a row for each network.
    Mmdb,
}

/// A body, and what its sender said of it.
#[derive(Debug, Clone)]
pub struct TableRows {
    /// Its form.
    pub format: TableFormat,
    /// All of it.
    pub body: Bytes,
    /// Columns by which no two rows may be alike; empty: any may.
    pub key: Vec<String>,
    /// What the columns are; `None`: found in the rows.
    pub fields: Option<Vec<Field>>,
}

/// A row that is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableRowFault {
    /// Where it begins: the line of a text, from 1, its header counted; the row of a Parquet file, the network of a MaxMind DB, from 1.
    pub line: usize,
    /// The field at fault, where there is one.
    pub field: Option<String>,
    /// What is wrong and what to change.
    pub error: String,
}

/// Why a body is no table. Nothing was taken.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// Some of its rows.
    Rows(Faults),
    /// All of it: the text says what to change.
    Body(String),
    /// More than a table may have.
    TooLarge(String),
}

/// Rows at fault: the first ones, and how many.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) listed: Vec<TableRowFault>,
    pub(super) total: usize,
}

impl Faults {
    fn add(&mut self, line: usize, field: Option<String>, error: impl FnOnce() -> String) {
        self.total += 1;
        if self.listed.len() < FAULTS_LISTED_MAX {
            self.listed.push(TableRowFault { line, field, error: error() });
        }
    }
}

/// Reads a body.
pub(super) fn read(rows: &TableRows) -> Result<TableContent, Unreadable> {
    if rows.key.len() > KEY_COLUMNS_MAX {
        return Err(Unreadable::Body(format!("a key of {} columns: at most {KEY_COLUMNS_MAX} are possible", rows.key.len())));
    }
    let gathered = match rows.format {
        TableFormat::Csv | TableFormat::Ndjson => lines::gather(rows),
        TableFormat::Parquet => parquet::gather(rows),
        TableFormat::Mmdb => mmdb::gather(rows),
    }?;
    gathered.finish(&rows.key)
}

/// Rows on their way into columns.
struct Gathering {
    decoder: RowDecoder,
    fields: Vec<Field>,
    batches: Vec<RecordBatch>,
    /// The line of each row.
    lines: Vec<u32>,
    bytes: usize,
    faults: Faults,
}

impl Gathering {
    fn new(fields: Vec<Field>) -> Self {
        let definition = definition(fields.clone(), false);
        Self::of(fields, definition)
    }

    /// Rows may have members that are no column; they are left out.
    fn of_some_members(fields: Vec<Field>) -> Self {
        let mut definition = definition(fields.clone(), false);
        Arc::make_mut(&mut definition).schema.unknown = UnknownFields::Drop;
        Self::of(fields, definition)
    }

    fn of(fields: Vec<Field>, definition: Arc<StreamDefinition>) -> Self {
        let limits = DecodeLimits { line_bytes_max: LINE_BYTES_MAX, ..DecodeLimits::default() };
        Self {
            decoder: RowDecoder::new(definition, limits),
            fields,
            batches: Vec::new(),
            lines: Vec::new(),
            bytes: 0,
            faults: Faults::default(),
        }
    }

    /// One more row, which `decode` puts into the decoder.
    fn row(
        &mut self,
        line: usize,
        decode: impl FnOnce(&mut RowDecoder, EventTime) -> Result<(), RowFault>,
    ) -> Result<(), Unreadable> {
        match decode(&mut self.decoder, EventTime(0)) {
            Ok(()) => self.lines.push(line as u32),
            Err(fault) => self.faults.add(line, fault.field.map(|field| field.to_string()), || fault.error),
        }
        if self.lines.len() > ROWS_MAX {
            return Err(Unreadable::TooLarge(format!("more than {ROWS_MAX} rows: a table has at most so many")));
        }
        if self.decoder.rows() >= BATCH_ROWS || self.decoder.bytes() >= 64 << 20 {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Unreadable> {
        let batch = self.decoder.finish();
        self.bytes += tidemill_event::batch::bytes(&batch);
        if self.bytes > COLUMNS_BYTES_MAX {
            let error =
                format!("the rows take more than {} MiB as columns: a table has at most so many", COLUMNS_BYTES_MAX >> 20);
            return Err(Unreadable::TooLarge(error));
        }
        self.batches.push(batch);
        Ok(())
    }

    fn finish(mut self, key: &[String]) -> Result<TableContent, Unreadable> {
        self.flush()?;
        if self.faults.total > 0 {
            return Err(Unreadable::Rows(self.faults));
        }
        let columns = (0..self.fields.len()).map(|at| self.column(at)).collect::<Result<Vec<_>, _>>()?;
        let key: Vec<Arc<str>> = key.iter().map(|name| name.as_str().into()).collect();
        let content = TableContent::new(std::mem::take(&mut self.fields), key, columns, self.lines.len());
        self.refuse_repeats(&content)?;
        Ok(content)
    }

    /// A column of all rows, texts written out.
    fn column(&self, at: usize) -> Result<ArrayRef, Unreadable> {
        let too_large = |error: arrow_schema::ArrowError| {
            Unreadable::TooLarge(format!("column `{}` is too large for a table: {error}", self.fields[at].name))
        };
        let plain = |batch: &RecordBatch| match batch.column(at).data_type() {
            DataType::Dictionary(_, values) => cast(batch.column(at), values),
            _ => Ok(batch.column(at).clone()),
        };
        let parts = self.batches.iter().map(plain).collect::<Result<Vec<_>, _>>().map_err(too_large)?;
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        concat(&parts).map_err(too_large)
    }

    /// Two rows of one key, if a key was declared.
    fn refuse_repeats(&mut self, content: &TableContent) -> Result<(), Unreadable> {
        if content.key.is_empty() {
            return Ok(());
        }
        let mut columns = Vec::new();
        for name in &content.key {
            let Some((_, column)) = content.column(name) else {
                let near = nearest(name, content.fields.iter().map(|field| &*field.name));
                let said = near.map_or_else(String::new, |near| format!(": did you mean `{near}`?"));
                return Err(Unreadable::Body(format!("the key names `{name}`, and the rows have no such column{said}")));
            };
            columns.push(column.clone());
        }
        let key = content.key.join(", ");
        for fault in check_key(&columns) {
            match fault {
                KeyFault::Null { row } => {
                    let line = self.lines[row] as usize;
                    self.faults.add(line, None, || format!("its key [{key}] is null: give it one, or leave the row out"));
                }
                KeyFault::Repeated { row, first } => {
                    let (line, first) = (self.lines[row] as usize, self.lines[first]);
                    self.faults.add(line, None, || {
                        format!(
                            "its key [{key}] is that of line {first} too: leave one of them out, or put the table without a key"
                        )
                    });
                }
            }
        }
        if self.faults.total == 0 { Ok(()) } else { Err(Unreadable::Rows(std::mem::take(&mut self.faults))) }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::tables::{fields_json, parse_fields};

    fn rows(format: TableFormat, body: &str, key: &str, fields: Option<&str>) -> TableRows {
        let fields = fields.map(|fields| parse_fields(&serde_json::from_str(fields).expect("JSON")).expect("fields"));
        let key = key.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        TableRows { format, body: body.to_owned().into(), key, fields }
    }

    fn shown(rows: &TableRows) -> String {
        match read(rows) {
            Ok(content) => {
                let names: Vec<String> = fields_json(&content.fields)
                    .as_array()
                    .expect("fields")
                    .iter()
                    .map(|field| format!("{} {}", field["name"].as_str().unwrap_or("?"), field["type"].as_str().unwrap_or("?")))
                    .collect();
                format!("{} rows of {}", content.rows.num_rows(), names.join(", "))
            }
            Err(Unreadable::Body(error) | Unreadable::TooLarge(error)) => error,
            Err(Unreadable::Rows(faults)) => {
                let line = |fault: &TableRowFault| {
                    format!("{} {}: {}\n", fault.line, fault.field.as_deref().unwrap_or("-"), fault.error)
                };
                faults.listed.iter().map(line).collect()
            }
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
    fn check(rows: &TableRows, expected: Expect) {
        expected.assert_eq(&shown(rows));
    }

    fn csv(body: &str, key: &str) -> TableRows {
        rows(TableFormat::Csv, body, key, None)
    }

    fn ndjson(body: &str, key: &str) -> TableRows {
        rows(TableFormat::Ndjson, body, key, None)
    }

    #[test]
    fn types_are_found_in_all_rows() {
        check(
            &csv("\u{feff}iata,lat,zip,n,none\r\nABE,40.65,01234,1,\r\n\"ABI\n2\",32,92000,2,\r\n", "iata"),
            expect!["2 rows of iata string, lat float64, zip string, n int64, none string"],
        );
        check(&csv("a,b\n", ""), expect!["0 rows of a string, b string"]);
        check(
            &ndjson("{\"a\":1}\n\n{\"a\":2.5,\"b\":{\"c\":[1]}}\n{\"d\":true,\"a\":null}", ""),
            expect!["3 rows of a float64, b json, d bool"],
        );
    }

    /// Line and field of every fault.
    fn faults(rows: &TableRows) -> Vec<(usize, Option<String>)> {
        match read(rows) {
            Err(Unreadable::Rows(faults)) => faults.listed.into_iter().map(|fault| (fault.line, fault.field)).collect(),
            other => panic!("no row is at fault: {other:?}"),
        }
    }

    #[test]
    fn declared_types_are_what_counts() {
        let fields = r#"[{"name": "zip", "type": "string"}, {"name": "n", "type": "int64", "nullable": false}]"#;
        check(&rows(TableFormat::Csv, "zip,n\n123,1\n", "zip", Some(fields)), expect!["1 rows of zip string, n int64"]);
        check(&rows(TableFormat::Ndjson, "", "zip", Some(fields)), expect!["0 rows of zip string, n int64"]);
        let wrong = rows(TableFormat::Csv, "zip,n\n123,x\n\n123,\n5,6\n", "", Some(fields));
        assert_eq!(faults(&wrong), [(2, Some("n".to_owned())), (4, Some("n".to_owned()))]);
    }

    #[test]
    fn rows_at_fault_are_named_by_line() {
        assert_eq!(faults(&ndjson("{\"a\":1}\n{\"a\":1\n\n[1]\n{\"a\":3}", "")), [(2, None), (4, None)]);
        check(&csv("a,a\n1,2\n", ""), expect!["the header names `a` twice: rename one of the columns"]);
        check(&ndjson("\n", ""), expect!["no row says what the columns are: send rows, or declare them with `schema`"]);
    }

    #[test]
    fn a_declared_key_is_unique_and_there() {
        check(
            &csv("k,v\na,1\nb,2\n,3\na,4\na,5\n", "k"),
            expect![[r#"
                4 -: its key [k] is null: give it one, or leave the row out
                5 -: its key [k] is that of line 2 too: leave one of them out, or put the table without a key
                6 -: its key [k] is that of line 2 too: leave one of them out, or put the table without a key
            "#]],
        );
        check(&csv("k,v\na,1\na,2\n", "k,v"), expect!["2 rows of k string, v int64"]);
        check(&csv("k,v\na,1\n", "kk"), expect!["the key names `kk`, and the rows have no such column: did you mean `k`?"]);
    }
}
