//! Lines of a body that arrives in chunks. A line that lies inside one chunk is handed on without being copied.

/// The beginning of a line that is too long, as far as it is kept.
pub const TOO_LONG_KEPT_BYTES: usize = 4096;

/// A line without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// All of it; may be empty.
    Complete(&'a [u8]),
    /// Longer than lines may be; the rest was skipped.
    TooLong {
        /// Its first [`TOO_LONG_KEPT_BYTES`] at most.
        bytes_start: &'a [u8],
    },
}

/// Cuts chunks into lines at LF; a CR before LF belongs to the line's end, the last line needs no LF. Holds one line at most.
#[derive(Debug)]
pub struct LineSplitter {
    line_bytes_max: usize,
    held: Vec<u8>,
    too_long: bool,
}

impl LineSplitter {
    /// A splitter for lines of at most `line_bytes_max` bytes, their end not counted.
    pub fn new(line_bytes_max: usize) -> Self {
        Self { line_bytes_max, held: Vec::new(), too_long: false }
    }

    /// Takes the next bytes and calls `each` with every line that ends in them, in order.
    pub fn push(&mut self, chunk: &[u8], each: &mut dyn FnMut(Line<'_>)) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', chunk) {
            let part = &chunk[start..end];
            start = end + 1;
            if self.held.is_empty() && !self.too_long {
                self.hand_over(part, each, true);
            } else {
                self.hold(part);
                self.end_held(each, true);
            }
        }
        self.hold(&chunk[start..]);
    }

    /// Whether what comes next begins a line.
    pub fn is_between_lines(&self) -> bool {
        self.held.is_empty() && !self.too_long
    }

    /// Ends the body: calls `each` with the last line, if it has no LF. Ready for another body afterwards.
    pub fn finish(&mut self, each: &mut dyn FnMut(Line<'_>)) {
        if self.too_long || !self.held.is_empty() {
            self.end_held(each, false);
        }
    }

    fn end_held(&mut self, each: &mut dyn FnMut(Line<'_>), by_line_feed: bool) {
        let mut held = std::mem::take(&mut self.held);
        if self.too_long {
            each(Line::TooLong { bytes_start: &held });
        } else {
            self.hand_over(&held, each, by_line_feed);
        }
        held.clear();
        self.held = held;
        self.too_long = false;
    }

    fn hand_over(&self, line: &[u8], each: &mut dyn FnMut(Line<'_>), by_line_feed: bool) {
        let line = if by_line_feed { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        if line.len() > self.line_bytes_max {
            each(Line::TooLong { bytes_start: &line[..line.len().min(TOO_LONG_KEPT_BYTES)] });
        } else {
            each(Line::Complete(line));
        }
    }

    /// Keeps a part of a line; one byte more than allowed, which may be the CR of its end.
    fn hold(&mut self, part: &[u8]) {
        if self.too_long {
            return;
        }
        if self.held.len() + part.len() > self.line_bytes_max + 1 {
            self.too_long = true;
            let room = TOO_LONG_KEPT_BYTES.saturating_sub(self.held.len()).min(part.len());
            self.held.extend_from_slice(&part[..room]);
            self.held.truncate(TOO_LONG_KEPT_BYTES);
        } else {
            self.held.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(body: &[u8], chunk_bytes: usize, line_bytes_max: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let mut splitter = LineSplitter::new(line_bytes_max);
        let mut each = |line: Line<'_>| {
            lines.push(match line {
                Line::Complete(line) => String::from_utf8_lossy(line).into_owned(),
                Line::TooLong { bytes_start } => format!("too long: {}", String::from_utf8_lossy(bytes_start)),
            });
        };
        for chunk in body.chunks(chunk_bytes) {
            splitter.push(chunk, &mut each);
        }
        splitter.finish(&mut each);
        lines
    }

    fn check(body: &str, lines: &[&str]) {
        for chunk_bytes in 1..=body.len().max(1) {
            assert_eq!(split(body.as_bytes(), chunk_bytes, 5), lines, "{body:?} in chunks of {chunk_bytes}");
        }
    }

    #[test]
    fn lines_end_at_line_feeds_wherever_chunks_do() {
        check("", &[]);
        check("a", &["a"]);
        check("a\n", &["a"]);
        check("a\r\nb", &["a", "b"]);
        check("\n\r\n\n", &["", "", ""]);
        check("a\rb\n", &["a\rb"]);
        check("a\r", &["a\r"]);
        check("12345\r\n12345\n12345", &["12345", "12345", "12345"]);
        check("123456\nx\n", &["too long: 123456", "x"]);
    }
}
