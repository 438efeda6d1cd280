//! Rows of a file that go in one request, and where they stand in it.
//!
//! ```text
//! | header, of a table | row | row | blank | row |      at_byte: rows before it, in bytes; a name for the batch that lasts
//! ```

use std::io::{self, BufRead, Read};

/// Rows are gathered up to here; then they are a request.
const BATCH_BYTES: usize = 512 << 10;
/// The host takes no longer line; reading more of one would only grow memory.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// What one row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// A line that is not blank.
    Lines,
    /// Any line.
    AllLines,
    /// A record of a table, with the line ends inside its quotes. The first one is the header.
    Records,
}

/// Where a row stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Its first line in the file, from 1.
    line: u64,
    /// Where it ends in the body.
    end: usize,
}

/// The rows of one request.
#[derive(Debug)]
pub(super) struct Batch {
    form: Rows,
    body: Vec<u8>,
    header_bytes: usize,
    places: Vec<Place>,
    at_byte: u64,
    next_line: u64,
}

impl Batch {
    pub(super) fn new(form: Rows) -> Self {
        Self { form, body: Vec::new(), header_bytes: 0, places: Vec::new(), at_byte: 0, next_line: 1 }
    }

    /// The body of the request.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// How many rows it holds.
    pub(super) fn rows(&self) -> usize {
        self.places.len()
    }

    /// Whether it begins with a header.
    pub(super) fn has_header(&self) -> bool {
        self.header_bytes > 0
    }

    /// Where its rows begin, in bytes of all rows.
    pub(super) fn at_byte(&self) -> u64 {
        self.at_byte
    }

    /// Up to the end of the first row.
    pub(super) fn beginning(&self) -> &[u8] {
        &self.body[..self.places.first().map_or(self.body.len(), |first| first.end)]
    }

    /// The line of the file where a row begins.
    pub(super) fn line(&self, row: u64) -> Option<u64> {
        Some(self.places.get(usize::try_from(row).ok()?)?.line)
    }

    /// Adds whole rows up to the size of a request; true when the input ended.
    pub(super) fn fill(&mut self, input: &mut impl BufRead) -> io::Result<bool> {
        if self.form == Rows::Records && self.next_line == 1 {
            self.next_line += record(input, &mut self.body)?;
            self.header_bytes = self.body.len();
        }
        while self.body.len() < BATCH_BYTES {
            let begin = self.body.len();
            let lines = match self.form {
                Rows::Lines | Rows::AllLines => u64::from(line(input, &mut self.body)?),
                Rows::Records => record(input, &mut self.body)?,
            };
            if lines == 0 {
                return Ok(true);
            }
            // Blank lines are no rows, but of text.
            if self.form == Rows::AllLines || !self.body[begin..].trim_ascii().is_empty() {
                self.places.push(Place { line: self.next_line, end: self.body.len() });
            }
            self.next_line += lines;
        }
        Ok(false)
    }

    /// Drops everything but the header.
    pub(super) fn clear(&mut self) {
        self.cut(self.body.len());
        self.places.clear();
    }

    /// Drops the first `rows`; what is behind them stays for the next request.
    pub(super) fn drop_rows(&mut self, rows: usize) {
        if rows >= self.places.len() {
            return self.clear();
        }
        let end = rows.checked_sub(1).map_or(self.header_bytes, |last| self.places[last].end);
        self.places.drain(..rows);
        let cut = end - self.header_bytes;
        self.places.iter_mut().for_each(|place| place.end -= cut);
        self.cut(end);
    }

    fn cut(&mut self, end: usize) {
        self.at_byte += (end - self.header_bytes) as u64;
        self.body.drain(self.header_bytes..end);
    }
}

/// Appends a line; false at the input's end.
fn line(input: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<bool> {
    let begin = body.len();
    // A byte more than the host takes is enough for it to reject the line; the rest of the line is passed over.
    input.by_ref().take(LINE_BYTES_MAX + 2).read_until(b'\n', body)?;
    if body.len() == begin {
        return Ok(false);
    }
    end_line(input, body)?;
    Ok(true)
}

/// Passes over the rest of a line that is not whole, and ends it.
fn end_line(input: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    if body.last() != Some(&b'\n') {
        input.skip_until(b'\n')?;
        body.push(b'\n');
    }
    Ok(())
}

/// Appends one record of a table, with the line ends inside its quotes; how many lines it has, 0 at the input's end.
fn record(input: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<u64> {
    let (mut lines, mut quotes) = (0, 0);
    let begin = body.len();
    loop {
        let from = body.len();
        input.by_ref().take(LINE_BYTES_MAX + 2).read_until(b'\n', body)?;
        if body.len() == from {
            return Ok(lines);
        }
        lines += 1;
        quotes += body[from..].iter().filter(|byte| **byte == b'"').count();
        let is_whole = quotes % 2 == 0;
        // A record the host does not take anyhow is not gathered further than it takes to say so.
        if is_whole || (body.len() - begin) as u64 > LINE_BYTES_MAX {
            end_line(input, body)?;
            return Ok(lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn records_end_outside_quotes() {
        let mut input = BufReader::new(&b"a,b\n1,\"x\ny\"\n2,z"[..]);
        let mut next = || {
            let mut body = Vec::new();
            let lines = record(&mut input, &mut body).expect("reads");
            (lines, String::from_utf8(body).expect("UTF-8"))
        };
        assert_eq!(next(), (1, "a,b\n".to_owned()));
        assert_eq!(next(), (2, "1,\"x\ny\"\n".to_owned()));
        assert_eq!(next(), (1, "2,z\n".to_owned()));
        assert_eq!(next(), (0, String::new()));
    }

    #[test]
    fn rows_know_their_lines_and_what_is_behind_some_of_them_stays() {
        let check = |form, text: &str, body: &str, lines: &[u64], behind_one: (&str, u64)| {
            let mut batch = Batch::new(form);
            assert!(batch.fill(&mut text.as_bytes()).expect("reads"));
            assert_eq!(std::str::from_utf8(batch.body()), Ok(body));
            let found: Vec<u64> = (0..).map_while(|row| batch.line(row)).collect();
            assert_eq!(found, lines, "{text:?}");
            batch.drop_rows(1);
            assert_eq!((std::str::from_utf8(batch.body()), batch.at_byte()), (Ok(behind_one.0), behind_one.1));
            assert_eq!(batch.line(0), lines.get(1).copied());
            batch.drop_rows(9);
            assert_eq!(batch.rows(), 0);
        };
        check(Rows::Lines, "{}\n\n \nx", "{}\n\n \nx\n", &[1, 4], ("\n \nx\n", 3));
        check(Rows::AllLines, "a\n\nb\n", "a\n\nb\n", &[1, 2, 3], ("\nb\n", 2));
        check(Rows::Records, "h\n\"1\n\"\n\n2\n", "h\n\"1\n\"\n\n2\n", &[2, 5], ("h\n\n2\n", 5));
    }

    #[test]
    fn lines_are_never_cut_in_two_and_long_ones_do_not_grow_memory() {
        let long = "x".repeat(3 << 20);
        let text = format!("a\n{long}\nb");
        let (mut input, mut batch) = (BufReader::new(text.as_bytes()), Batch::new(Rows::Lines));
        let mut lines = Vec::new();
        loop {
            let ended = batch.fill(&mut input).expect("reads");
            lines.extend(batch.body().split_inclusive(|byte| *byte == b'\n').map(|line| line.trim_ascii_end().to_vec()));
            batch.clear();
            if ended {
                break;
            }
        }
        assert_eq!((lines[0].as_slice(), lines[2].as_slice(), lines.len()), (&b"a"[..], &b"b"[..], 3));
        assert_eq!(lines[1].len() as u64, LINE_BYTES_MAX + 2, "long enough to be rejected");
    }
}
