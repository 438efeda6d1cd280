//! Cuts a body that arrives in chunks into its header and its records. Holds one record at most, and of a longer one its beginning.

use std::fmt;
use std::sync::Arc;

use csv_core::{ReadFieldResult, Reader};

use super::record::{NULL, Record, fields};
use super::{COLUMNS_MAX, Header, HeaderFault};
use crate::Reason;
use crate::json::{RowFault, TOO_LONG_KEPT_BYTES};

/// How much csv-core hands over at once.
const OUTPUT_BYTES: usize = 4 << 10;

/// A record of the body, or why there is none.
#[derive(Debug)]
pub enum Split<'a> {
    /// All of it.
    Record(Record<'a>),
    /// One that cannot be read, with the beginning of what its fields hold.
    Fault(RowFault, &'a [u8]),
}

/// See the module.
pub struct RecordSplitter {
    reader: Reader,
    header: Option<Arc<Header>>,
    record_bytes_max: usize,
    output: Box<[u8; OUTPUT_BYTES]>,
    /// The fields of the record so far, packed.
    packed: Vec<u8>,
    fields: usize,
    /// Where in `packed` the length of the open field stands.
    field_at: usize,
    /// Whether the open field begins with a quote; `None` while nothing of it has come.
    quoted: Option<bool>,
    /// Quotes of the open field: an odd number has one that is open.
    quotes: usize,
    /// Bytes of the record as they came.
    raw_bytes: usize,
    ascii: bool,
}

impl fmt::Debug for RecordSplitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordSplitter").field("header", &self.header).field("raw_bytes", &self.raw_bytes).finish_non_exhaustive()
    }
}

impl RecordSplitter {
    /// A splitter for records of at most `record_bytes_max` bytes, as they come.
    pub fn new(record_bytes_max: usize) -> Self {
        Self {
            reader: Reader::new(),
            header: None,
            record_bytes_max,
            output: Box::new([0; OUTPUT_BYTES]),
            packed: NULL.to_le_bytes().to_vec(),
            fields: 0,
            field_at: 0,
            quoted: None,
            quotes: 0,
            raw_bytes: 0,
            ascii: true,
        }
    }

    /// The header, as soon as it has come.
    pub fn header(&self) -> Option<&Arc<Header>> {
        self.header.as_ref()
    }

    /// Takes the next bytes and calls `each` with every record that ends in them, in order. After a fault nothing more may be pushed.
    pub fn push(&mut self, mut chunk: &[u8], each: &mut dyn FnMut(Split<'_>)) -> Result<(), HeaderFault> {
        while !chunk.is_empty() {
            self.look(chunk);
            let (result, read, written) = self.reader.read_field(chunk, &mut self.output[..]);
            if self.quoted == Some(true) {
                self.quotes += memchr::memchr_iter(b'"', &chunk[..read]).count();
            }
            self.raw_bytes += read;
            self.hold(written);
            chunk = &chunk[read..];
            self.stepped(&result, false, each)?;
        }
        Ok(())
    }

    /// Ends the body; calls `each` with the last record, if it has no line end. A body without a header is a fault.
    pub fn finish(&mut self, each: &mut dyn FnMut(Split<'_>)) -> Result<(), HeaderFault> {
        loop {
            let (result, _, written) = self.reader.read_field(&[], &mut self.output[..]);
            self.hold(written);
            match result {
                ReadFieldResult::Field { .. } | ReadFieldResult::OutputFull => self.stepped(&result, true, each)?,
                ReadFieldResult::End | ReadFieldResult::InputEmpty => break,
            }
        }
        match self.header {
            Some(_) => Ok(()),
            None => Err(HeaderFault::new("the body is empty: the first line names the columns")),
        }
    }

    /// Notes how the open field begins. Line ends before a record belong to none: csv-core passes over them.
    fn look(&mut self, chunk: &[u8]) {
        if self.quoted.is_some() {
            return;
        }
        let begin = if self.fields == 0 { chunk.iter().find(|byte| !matches!(byte, b'\r' | b'\n')) } else { chunk.first() };
        self.quoted = begin.map(|byte| *byte == b'"');
    }

    /// Keeps what csv-core handed over, as far as the record is within its bound.
    fn hold(&mut self, written: usize) {
        let output = &self.output[..written];
        self.ascii &= output.is_ascii();
        let too_long = self.raw_bytes > self.record_bytes_max;
        let room = if too_long { TOO_LONG_KEPT_BYTES.saturating_sub(self.packed.len()) } else { usize::MAX };
        self.packed.extend_from_slice(&output[..written.min(room)]);
    }

    fn stepped(&mut self, result: &ReadFieldResult, is_end: bool, each: &mut dyn FnMut(Split<'_>)) -> Result<(), HeaderFault> {
        let ReadFieldResult::Field { record_end } = result else { return Ok(()) };
        let is_open = is_end && self.quoted == Some(true) && self.quotes % 2 == 1;
        self.end_field(*record_end);
        if *record_end { self.end_record(is_open, each) } else { Ok(()) }
    }

    fn end_field(&mut self, record_end: bool) {
        self.fields += 1;
        let length = (self.packed.len() - self.field_at - 4) as u32;
        let length = if length == 0 && self.quoted != Some(true) { NULL } else { length };
        self.packed[self.field_at..self.field_at + 4].copy_from_slice(&length.to_le_bytes());
        (self.quoted, self.quotes) = (None, 0);
        // A record with more fields than any header has is none: what is behind them goes on in the last one.
        if !record_end && self.fields <= COLUMNS_MAX {
            self.field_at = self.packed.len();
            self.packed.extend_from_slice(&NULL.to_le_bytes());
        }
    }

    fn end_record(&mut self, is_open: bool, each: &mut dyn FnMut(Split<'_>)) -> Result<(), HeaderFault> {
        let outcome = match &self.header {
            None => self.begin(is_open),
            Some(header) => {
                match self.fault(header, is_open) {
                    None => each(Split::Record(Record::new(header, &self.packed))),
                    Some(error) => {
                        let start: Vec<u8> =
                            fields(&self.packed).map(Option::unwrap_or_default).collect::<Vec<_>>().join(&b","[..]);
                        let fault = RowFault { reason: Reason::Malformed, field: None, error };
                        let kept = if self.raw_bytes > self.record_bytes_max { TOO_LONG_KEPT_BYTES } else { usize::MAX };
                        each(Split::Fault(fault, &start[..start.len().min(kept)]));
                    }
                }
                Ok(())
            }
        };
        self.packed.clear();
        self.packed.extend_from_slice(&NULL.to_le_bytes());
        (self.fields, self.field_at, self.raw_bytes, self.ascii) = (0, 0, 0, true);
        outcome
    }

    fn begin(&mut self, is_open: bool) -> Result<(), HeaderFault> {
        if is_open || self.raw_bytes > self.record_bytes_max {
            let error = "the first line names the columns, and does not end: close its quotes";
            return Err(HeaderFault::new(error));
        }
        self.header = Some(Arc::new(Header::new(fields(&self.packed))?));
        Ok(())
    }

    /// Why the record cannot be read, if so.
    fn fault(&self, header: &Header, is_open: bool) -> Option<String> {
        if self.raw_bytes > self.record_bytes_max {
            let max = self.record_bytes_max;
            return Some(format!("the record is longer than {max} bytes: send smaller events, or close a quote that is open"));
        }
        if is_open {
            return Some("the body ends inside quotes: close them, or send the rest".to_owned());
        }
        if self.fields != header.columns() {
            let (found, wanted) = (self.fields, header.columns());
            return Some(format!("the record has {found} fields and the header names {wanted} columns: send one field for each"));
        }
        if self.ascii {
            return None;
        }
        let not_text = |field: Option<&[u8]>| field.is_some_and(|text| simdutf8::basic::from_utf8(text).is_err());
        let column = fields(&self.packed).position(not_text)?;
        Some(format!("field `{}` is not UTF-8: send UTF-8 text", header.name(column)))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    /// Each record as JSON, or why it is none; the same for every way to cut the body.
    fn split(body: &[u8], chunk_bytes: usize, record_bytes_max: usize) -> String {
        let mut lines = Vec::new();
        let mut splitter = RecordSplitter::new(record_bytes_max);
        let mut each = |split: Split<'_>| {
            lines.push(match split {
                Split::Record(record) => {
                    let mut json = Vec::new();
                    record.write_json(&mut json);
                    String::from_utf8(json).expect("UTF-8")
                }
                Split::Fault(fault, start) => format!("{fault} [{}]", String::from_utf8_lossy(start)),
            });
        };
        let pushed = body.chunks(chunk_bytes.max(1)).try_for_each(|chunk| splitter.push(chunk, &mut each));
        if let Err(fault) = pushed.and_then(|()| splitter.finish(&mut each)) {
            lines.push(fault.to_string());
        }
        lines.join("\n")
    }

    fn check(body: &str, expect: Expect) {
        let whole = split(body.as_bytes(), usize::MAX, 64);
        for chunk_bytes in 1..body.len() {
            assert_eq!(split(body.as_bytes(), chunk_bytes, 64), whole, "{body:?} in chunks of {chunk_bytes}");
        }
        expect.assert_eq(&whole);
    }

    #[test]
    fn records_end_where_quotes_say() {
        check("a,b\n1,x\n", expect![[r#"{"a":1,"b":"x"}"#]]);
        check(
            "a,b\r\n1,\"x\r\ny\"\r\n\r\n2,\"say \"\"hi\"\"\"",
            expect![[r#"
            {"a":1,"b":"x\r\ny"}
            {"a":2,"b":"say \"hi\""}"#]],
        );
        check(
            "a,b\n,\"\"\n\"\",\n",
            expect![[r#"
            {"a":null,"b":""}
            {"a":"","b":null}"#]],
        );
        check(
            "a\n007\n1e3\ntrue\n-0.50\n1,5\n",
            expect![[r#"
            {"a":"007"}
            {"a":1e3}
            {"a":true}
            {"a":-0.50}
            the record has 2 fields and the header names 1 columns: send one field for each [1,5]"#]],
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        check("a,b\n\"x", expect!["the body ends inside quotes: close them, or send the rest [x]"]);
        check("a,,b\n", expect!["column 2 has no name: the first line names every column"]);
        check("a, a \n", expect!["the header names `a` twice: rename one of the columns"]);
        check("", expect!["the body is empty: the first line names the columns"]);
        check(
            &format!("a\n{}\nb\n", "x".repeat(65)),
            expect![[r#"
                the record is longer than 64 bytes: send smaller events, or close a quote that is open [xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx]
                {"a":"b"}"#]],
        );
        assert_eq!(split(b"a,b\n1,\xff\n", 3, 64), "field `b` is not UTF-8: send UTF-8 text [1,\u{fffd}]");
    }

    proptest! {
        /// Whatever comes, in whatever pieces: no panic, and never more held than a record may have.
        #[test]
        fn any_bytes_are_split_alike_wherever_they_are_cut(body in proptest::collection::vec(prop_oneof![
            Just(b'"'), Just(b','), Just(b'\n'), Just(b'\r'), Just(b'a'), any::<u8>(),
        ], 0..300), chunk_bytes in 1..40usize) {
            prop_assume!(!body.starts_with(b"\xef"));
            prop_assert_eq!(split(&body, chunk_bytes, 64), split(&body, usize::MAX, 64));
        }
    }
}
