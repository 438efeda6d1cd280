//! A small JSON reader for configuration, test rows and `json` columns. It keeps numbers as text, so that nothing is lost before
//! the type is known, and brings no float parser into a component that reads no floats.

use std::borrow::Cow;

/// How deep arrays and objects may nest.
const DEPTH_MAX: usize = 64;

/// A `json` value: its compact text. Borrowed from the batch in events; owned or borrowed in outputs and state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json<'a>(pub Cow<'a, str>);

impl Json<'_> {
    /// Its text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Its parts. An error names the byte.
    pub fn value(&self) -> Result<Value<'_>, String> {
        parse(&self.0)
    }
}

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A number, as it is written.
    Number(&'a str),
    /// A string, unescaped.
    Text(Cow<'a, str>),
    /// An array.
    List(Vec<Value<'a>>),
    /// An object, in the order of its text.
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

impl<'a> Value<'a> {
    /// The member of that name; of repeated names the last one counts.
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        match self {
            Self::Object(members) => members.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    /// The text of a string.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Object(_) => None,
        }
    }

    /// What it is, in an error message.
    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// Reads one JSON value with nothing behind it. The error says what was expected and at which byte.
pub fn parse(text: &str) -> Result<Value<'_>, String> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.space();
    match reader.at == text.len() {
        true => Ok(value),
        false => Err(reader.fault("nothing more")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn fault(&self, expected: &str) -> String {
        format!("not JSON: expected {expected} at byte {}", self.at)
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, String> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.fault("a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, String> {
        if depth > DEPTH_MAX {
            return Err(format!("JSON nests deeper than {DEPTH_MAX} at byte {}", self.at));
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Value::Text),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) | None => Err(self.fault("a value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value<'a>, String> {
        let mut members = Vec::new();
        self.items(b'}', |reader| {
            reader.space();
            let name = reader.string()?;
            reader.space();
            if reader.peek() != Some(b':') {
                return Err(reader.fault("`:`"));
            }
            reader.at += 1;
            let value = reader.value(depth + 1)?;
            members.push((name, value));
            Ok(())
        })?;
        Ok(Value::Object(members))
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, String> {
        let mut values = Vec::new();
        self.items(b']', |reader| {
            let value = reader.value(depth + 1)?;
            values.push(value);
            Ok(())
        })?;
        Ok(Value::List(values))
    }

    /// Items between the bracket we stand on and `close`, separated by commas.
    fn items(&mut self, close: u8, mut item: impl FnMut(&mut Self) -> Result<(), String>) -> Result<(), String> {
        self.at += 1;
        self.space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            item(self)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(byte) if byte == close => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) | None => return Err(self.fault("`,` or the closing bracket")),
            }
        }
    }

    fn number(&mut self) -> Result<Value<'a>, String> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            Some(_) | None => return Err(self.fault("a digit")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Value::Number(&self.text[start..self.at]))
    }

    fn digits(&mut self) -> Result<(), String> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.fault("a digit"));
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<Cow<'a, str>, String> {
        if self.peek() != Some(b'"') {
            return Err(self.fault("a string"));
        }
        self.at += 1;
        let start = self.at;
        let mut owned: Option<String> = None;
        loop {
            let run = self.at;
            while matches!(self.peek(), Some(byte) if byte != b'"' && byte != b'\\' && byte >= 0x20) {
                self.at += 1;
            }
            if let Some(owned) = &mut owned {
                owned.push_str(&self.text[run..self.at]);
            }
            match self.peek() {
                Some(b'"') => {
                    let end = self.at;
                    self.at += 1;
                    return Ok(owned.map_or(Cow::Borrowed(&self.text[start..end]), Cow::Owned));
                }
                Some(b'\\') => {
                    let mut text = owned.take().unwrap_or_else(|| self.text[start..self.at].to_owned());
                    self.at += 1;
                    text.push(self.escape()?);
                    owned = Some(text);
                }
                Some(_) | None => return Err(self.fault("the string's end")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let byte = self.peek();
        self.at += 1;
        Ok(match byte {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let high = self.hex()?;
                let code = match high {
                    0xd800..=0xdbff if self.text[self.at..].starts_with("\\u") => {
                        self.at += 2;
                        let low = self.hex()?;
                        0x10000 + ((high - 0xd800) << 10) + low.wrapping_sub(0xdc00)
                    }
                    _ => high,
                };
                // A lone surrogate is no character; what stands for it is the replacement character, as in most readers.
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            Some(_) | None => return Err(self.fault("an escape")),
        })
    }

    fn hex(&mut self) -> Result<u32, String> {
        let digits = self.text.get(self.at..self.at + 4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or_else(|| self.fault("four hex digits"))?;
        self.at += 4;
        Ok(code)
    }
}

/// A string as JSON text, quotes included.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            character if character < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(character))),
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_values() {
        let value = parse(r#" {"a": [1, -2.5e3, true, null], "b\n": "x\u00e9\ud83d\ude00", "a": {}} "#).expect("is JSON");
        assert_eq!(value.get("b\n").and_then(Value::as_text), Some("xé😀"));
        assert_eq!(value.get("a"), Some(&Value::Object(Vec::new())));
        let Value::Object(members) = value else { panic!("an object") };
        assert_eq!(members[0].1, Value::List(vec![Value::Number("1"), Value::Number("-2.5e3"), Value::Bool(true), Value::Null]));
        assert_eq!(parse(&quote("a\"\\\n\u{1}é")), Ok(Value::Text("a\"\\\n\u{1}é".into())));
    }

    #[test]
    fn says_where_it_is_not_json() {
        let check = |text: &str, error: &str| assert_eq!(parse(text).expect_err(text), error);
        check("", "not JSON: expected a value at byte 0");
        check("{\"a\" 1}", "not JSON: expected `:` at byte 5");
        check("[1 2]", "not JSON: expected `,` or the closing bracket at byte 3");
        check("01", "not JSON: expected nothing more at byte 1");
        check("1.", "not JSON: expected a digit at byte 2");
        check("\"a", "not JSON: expected the string's end at byte 2");
        check("\"\\u12\"", "not JSON: expected four hex digits at byte 3");
        check(&"[".repeat(66), "JSON nests deeper than 64 at byte 65");
    }
}
