//! One JSON value that arrives in chunks, cut into the rows it holds: the elements of an array, or the value itself.
//!
//! The whole body is checked as it comes, to its end: a state per byte, one bit per open object or array, UTF-8 per chunk. So
//! what is not JSON is known with its byte, whatever rows came before it; a row that is JSON but too deep, too long or no object
//! is handed on, for the decoder to refuse alone.

use super::syntax::plain_end;

/// A body that is not JSON to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {byte}: {error}")]
pub struct SyntaxFault {
    /// The first byte at fault, counted from 0 over the whole body.
    pub byte: u64,
    /// What is wrong and what to change.
    pub error: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value must begin.
    Value,
    /// A value or the end of the array just opened.
    FirstValue,
    /// A field name must begin.
    Name,
    /// A field name or the end of the object just opened.
    FirstName,
    Colon,
    /// A value has ended.
    After,
    /// Inside a text; which is a name, if so.
    Text {
        name: bool,
    },
    Escape {
        name: bool,
    },
    Hex {
        name: bool,
        left: u8,
    },
    Literal {
        word: &'static [u8],
        at: usize,
    },
    Number(Number),
    /// The value is complete: only white space may follow.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

/// See the module. Holds one row at most, cut where it is longer than rows may be.
#[derive(Debug)]
pub struct BodySplitter {
    state: State,
    /// One bit per open container, 1 for an object; `depth` of them.
    objects: Vec<u64>,
    depth: usize,
    /// Whether the body is an array, whose elements are the rows.
    rows_in_array: bool,
    /// Whether a row has begun that has not ended.
    in_row: bool,
    /// What earlier chunks had of it.
    held: Vec<u8>,
    row_bytes_max: usize,
    taken: u64,
    utf8: Utf8Tail,
    fault: Option<SyntaxFault>,
}

/// The bytes of a character that the last chunk began.
#[derive(Debug, Default)]
struct Utf8Tail {
    bytes: [u8; 4],
    length: usize,
}

impl BodySplitter {
    /// A splitter that hands on at most `row_bytes_max + 1` bytes of a row: a longer one is one the decoder refuses as too long.
    pub fn new(row_bytes_max: usize) -> Self {
        Self {
            state: State::Value,
            objects: Vec::new(),
            depth: 0,
            rows_in_array: false,
            in_row: false,
            held: Vec::new(),
            row_bytes_max,
            taken: 0,
            utf8: Utf8Tail::default(),
            fault: None,
        }
    }

    /// Takes the next bytes and calls `each` with every row that ends in them, in order, without white space around it.
    ///
    /// After a fault every further call answers it again: nothing of the body counts then.
    pub fn push(&mut self, chunk: &[u8], each: &mut dyn FnMut(&[u8])) -> Result<(), SyntaxFault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let (valid, utf8_fault) = self.utf8.check(chunk);
        let outcome = self.walk(&chunk[..valid], each);
        let outcome = outcome.and(if utf8_fault { Err((valid, "this is not UTF-8: send UTF-8 text")) } else { Ok(()) });
        let result = outcome.map_err(|(at, error)| SyntaxFault { byte: self.taken + at as u64, error: error.to_owned() });
        self.taken += chunk.len() as u64;
        self.fault = result.clone().err();
        result
    }

    /// Ends the body; calls `each` with the row if the body was a bare number. A body that lacks its end is a fault.
    pub fn finish(&mut self, each: &mut dyn FnMut(&[u8])) -> Result<(), SyntaxFault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        if let State::Number(number) = self.state
            && number.may_end()
            && self.depth == 0
        {
            self.state = State::End;
            each(&std::mem::take(&mut self.held));
        }
        if self.state == State::End && self.utf8.length == 0 {
            return Ok(());
        }
        let error = if self.taken == 0 {
            "the body is empty: send an event or an array of events"
        } else {
            "it ends too early: close every text, object and array"
        };
        Err(SyntaxFault { byte: self.taken, error: error.to_owned() })
    }

    fn top_is_object(&self) -> bool {
        let at = self.depth - 1;
        self.objects[at / 64] >> (at % 64) & 1 == 1
    }

    fn open(&mut self, object: bool) {
        let (word, bit) = (self.depth / 64, self.depth % 64);
        if word == self.objects.len() {
            self.objects.push(0);
        }
        self.objects[word] = self.objects[word] & !(1 << bit) | u64::from(object) << bit;
        self.depth += 1;
        self.state = if object { State::FirstName } else { State::FirstValue };
    }

    /// How many containers are open around a row.
    fn row_depth(&self) -> usize {
        usize::from(self.rows_in_array)
    }

    /// The state machine over a chunk of valid UTF-8. A fault is its place and its words.
    fn walk(&mut self, chunk: &[u8], each: &mut dyn FnMut(&[u8])) -> Result<(), (usize, &'static str)> {
        let mut at = 0;
        let mut row_start = 0;
        while at < chunk.len() {
            let byte = chunk[at];
            match self.state {
                State::Text { name } => {
                    let end = plain_end(chunk, at);
                    match chunk.get(end) {
                        Some(b'"') => {
                            self.state = if name { State::Colon } else { State::After };
                            at = end + 1;
                            if !name {
                                self.value_ended(chunk, row_start, at, each);
                            }
                        }
                        Some(b'\\') => {
                            self.state = State::Escape { name };
                            at = end + 1;
                        }
                        Some(_) => return Err((end, "a control character must be escaped inside a text")),
                        None => at = end,
                    }
                    continue;
                }
                State::Escape { name } => {
                    self.state = match byte {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => State::Text { name },
                        b'u' => State::Hex { name, left: 4 },
                        _ => return Err((at, "no such escape: use one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX")),
                    };
                }
                State::Hex { name, left } => {
                    if !byte.is_ascii_hexdigit() {
                        return Err((at, "four hexadecimal digits follow \\u"));
                    }
                    self.state = if left == 1 { State::Text { name } } else { State::Hex { name, left: left - 1 } };
                }
                State::Literal { word, at: matched } => {
                    if byte != word[matched] {
                        return Err((at, "only `true`, `false` and `null` stand without quotes"));
                    }
                    if matched + 1 == word.len() {
                        self.state = State::After;
                        at += 1;
                        self.value_ended(chunk, row_start, at, each);
                        continue;
                    }
                    self.state = State::Literal { word, at: matched + 1 };
                }
                State::Number(number) => match number.next(byte) {
                    Some(next) => self.state = State::Number(next),
                    None if number.may_end() => {
                        self.state = State::After;
                        self.value_ended(chunk, row_start, at, each);
                        continue;
                    }
                    None => {
                        return Err((
                            at,
                            "this is no JSON number: digits without leading zeros, then `.` and digits, then an exponent",
                        ));
                    }
                },
                State::Value | State::FirstValue | State::Name | State::FirstName | State::Colon | State::After | State::End => {
                    if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                        at += 1;
                        continue;
                    }
                    let begins_value = matches!(self.state, State::Value) || (self.state == State::FirstValue && byte != b']');
                    if begins_value && !self.in_row && (self.depth > 0 || byte != b'[') {
                        self.in_row = true;
                        row_start = at;
                    }
                    if self.structure(byte).map_err(|error| (at, error))? {
                        at += 1;
                        self.value_ended(chunk, row_start, at, each);
                        continue;
                    }
                }
            }
            at += 1;
        }
        if self.in_row {
            self.hold(&chunk[row_start..]);
        }
        Ok(())
    }

    /// A byte between tokens; whether it ended an object or array.
    fn structure(&mut self, byte: u8) -> Result<bool, &'static str> {
        match (self.state, byte) {
            (State::FirstValue, b']') | (State::FirstName, b'}') => return self.close(byte),
            (State::Value | State::FirstValue, _) => match byte {
                b'{' => self.open(true),
                b'[' => {
                    if self.depth == 0 {
                        self.rows_in_array = true;
                    }
                    self.open(false);
                }
                b'"' => self.state = State::Text { name: false },
                b'-' => self.state = State::Number(Number::Minus),
                b'0' => self.state = State::Number(Number::Zero),
                b'1'..=b'9' => self.state = State::Number(Number::Whole),
                b't' => self.state = State::Literal { word: b"true", at: 1 },
                b'f' => self.state = State::Literal { word: b"false", at: 1 },
                b'n' => self.state = State::Literal { word: b"null", at: 1 },
                _ => return Err("a value is expected here"),
            },
            (State::Name | State::FirstName, b'"') => self.state = State::Text { name: true },
            (State::Name | State::FirstName, _) => return Err("a field name in double quotes is expected here"),
            (State::Colon, b':') => self.state = State::Value,
            (State::Colon, _) => return Err("a `:` is expected behind the field name"),
            (State::After, b',') if self.depth > 0 => {
                self.state = if self.top_is_object() { State::Name } else { State::Value };
            }
            (State::After, b'}' | b']') if self.depth > 0 => return self.close(byte),
            (State::After, _) => {
                return Err(if self.top_is_object() { "a `,` or `}` is expected here" } else { "a `,` or `]` is expected here" });
            }
            (State::End, _) => return Err("something follows the value: send one value, or an array of events"),
            (State::Text { .. } | State::Escape { .. } | State::Hex { .. } | State::Literal { .. } | State::Number(_), _) => {
                unreachable!("tokens are walked before structure")
            }
        }
        Ok(false)
    }

    fn close(&mut self, byte: u8) -> Result<bool, &'static str> {
        if self.top_is_object() != (byte == b'}') {
            return Err(if self.top_is_object() { "a `,` or `}` is expected here" } else { "a `,` or `]` is expected here" });
        }
        self.depth -= 1;
        self.state = State::After;
        Ok(true)
    }

    /// A value ended before `at`: at the depth of rows it is one.
    fn value_ended(&mut self, chunk: &[u8], row_start: usize, at: usize, each: &mut dyn FnMut(&[u8])) {
        if self.in_row && self.depth == self.row_depth() {
            self.in_row = false;
            if self.held.is_empty() {
                let row = &chunk[row_start..at];
                each(&row[..row.len().min(self.row_bytes_max + 1)]);
            } else {
                self.hold(&chunk[row_start..at]);
                each(&self.held);
                self.held.clear();
            }
        }
        if self.depth == 0 {
            self.state = State::End;
        }
    }

    fn hold(&mut self, part: &[u8]) {
        let room = (self.row_bytes_max + 1).saturating_sub(self.held.len());
        self.held.extend_from_slice(&part[..part.len().min(room)]);
    }
}

impl Number {
    fn may_end(self) -> bool {
        match self {
            Self::Zero | Self::Whole | Self::Fraction | Self::ExponentDigits => true,
            Self::Minus | Self::Point | Self::Exponent | Self::ExponentSign => false,
        }
    }

    fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Whole, b'0'..=b'9') => Some(Self::Whole),
            (Self::Zero | Self::Whole, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Some(Self::Exponent),
            (Self::Exponent, b'+' | b'-') => Some(Self::ExponentSign),
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => Some(Self::ExponentDigits),
            _ => None,
        }
    }
}

impl Utf8Tail {
    /// How many bytes of the chunk are valid, given what the last one began, and whether the byte behind them is at fault.
    fn check(&mut self, chunk: &[u8]) -> (usize, bool) {
        let mut start = 0;
        while self.length > 0 && start < chunk.len() {
            self.bytes[self.length] = chunk[start];
            self.length += 1;
            start += 1;
            match std::str::from_utf8(&self.bytes[..self.length]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_none() && self.length < 4 => {}
                Err(_) => return (start - 1, true),
            }
        }
        match simdutf8::compat::from_utf8(&chunk[start..]) {
            Ok(_) => (chunk.len(), false),
            Err(error) if error.error_len().is_none() => {
                let tail = &chunk[start + error.valid_up_to()..];
                self.bytes[..tail.len()].copy_from_slice(tail);
                self.length = tail.len();
                // The begun character is walked now: only texts hold such bytes, and a fault in it is found with the next chunk.
                (chunk.len(), false)
            }
            Err(error) => (start + error.valid_up_to(), true),
        }
    }
}
