//! The grammar of RFC 8259 over a slice: where a token ends and what is wrong with it. Nothing here allocates but what it copies.
//!
//! Every function takes the bytes and a place and answers the place behind the token. UTF-8 has been checked by the caller.

use crate::text::{CHUNK_BYTES, Chunk};

/// What breaks the grammar, and at which byte of the slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syntax {
    pub(crate) at: u32,
    pub(crate) kind: SyntaxKind,
}

/// What was expected where something else stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyntaxKind {
    End,
    Value,
    Name,
    Colon,
    CommaOrBrace,
    CommaOrBracket,
    Literal,
    Number,
    Escape,
    LoneSurrogate,
    ControlCharacter,
    TooDeep,
    Trailing,
    Utf8,
}

impl SyntaxKind {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::End => "it ends too early: close every text, object and array",
            Self::Value => "a value is expected here",
            Self::Name => "a field name in double quotes is expected here",
            Self::Colon => "a `:` is expected behind the field name",
            Self::CommaOrBrace => "a `,` or `}` is expected here",
            Self::CommaOrBracket => "a `,` or `]` is expected here",
            Self::Literal => "only `true`, `false` and `null` stand without quotes",
            Self::Number => "this is no JSON number: digits without leading zeros, then `.` and digits, then an exponent",
            Self::Escape => "no such escape: use one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX",
            Self::LoneSurrogate => "this \\u escape is half of a surrogate pair, which stands for no character: send both halves",
            Self::ControlCharacter => "a control character must be escaped inside a text",
            Self::TooDeep => "values nest too deep here",
            Self::Trailing => "something follows the value: send one value per row",
            Self::Utf8 => "this is not UTF-8: send UTF-8 text",
        }
    }
}

pub(crate) type Checked<T> = Result<T, Syntax>;

#[cold]
pub(crate) fn fault<T>(at: usize, kind: SyntaxKind) -> Checked<T> {
    Err(Syntax { at: at as u32, kind })
}

/// A fault where something is missing or wrong: the end of the slice is a fault of its own.
#[cold]
pub(crate) fn expected<T>(bytes: &[u8], at: usize, kind: SyntaxKind) -> Checked<T> {
    fault(at.min(bytes.len()), if at >= bytes.len() { SyntaxKind::End } else { kind })
}

/// The first place at or behind `at` that is no white space.
#[inline(always)]
pub(crate) fn skip_space(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at) {
        Some(byte) if *byte > b' ' => at,
        Some(_) => skip_some_space(bytes, at),
        None => at,
    }
}

fn skip_some_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// The first place at or behind `at` with `"`, `\` or a control character; the length if there is none.
#[inline(always)]
pub(crate) fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(rest) = bytes.get(at..) {
        let Some(chunk) = Chunk::first_of(rest) else { break };
        let length = chunk.plain_length();
        at += length;
        if length < CHUNK_BYTES {
            return at;
        }
    }
    last_plain_end(bytes, at)
}

/// As [`plain_end`], where less than a chunk is left.
#[inline(always)]
fn last_plain_end(bytes: &[u8], at: usize) -> usize {
    match bytes.last_chunk() {
        // The last chunk of all, without the bytes in it that are before `at`.
        Some(last) if at < bytes.len() => at + Chunk::new(*last).plain_length_from(at + CHUNK_BYTES - bytes.len()),
        _ => {
            let ends = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
            bytes.iter().skip(at).position(ends).map_or(bytes.len(), |length| at + length)
        }
    }
}

/// A text without escapes, of which `rest` begins behind the opening quote: its bytes, and what is behind the closing one. `None`
/// says only that it is written otherwise, or too near to the end of `rest`.
#[inline(always)]
pub(crate) fn plain_text(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut end = 0;
    loop {
        let length = Chunk::first_of(rest.get(end..)?)?.plain_length();
        end += length;
        if length < CHUNK_BYTES {
            break;
        }
    }
    let (b'"', behind) = rest.get(end..)?.split_first()? else { return None };
    Some((&rest[..end], behind))
}

/// The closing quote of a text whose first byte (behind the opening quote) is at `at`, and whether it has escapes.
#[inline(always)]
pub(crate) fn text_end(bytes: &[u8], at: usize) -> Checked<(usize, bool)> {
    let end = plain_end(bytes, at);
    if bytes.get(end) == Some(&b'"') {
        return Ok((end, false));
    }
    escaped_text_end(bytes, end)
}

fn escaped_text_end(bytes: &[u8], mut at: usize) -> Checked<(usize, bool)> {
    let mut escaped = false;
    loop {
        at = plain_end(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return Ok((at, escaped)),
            Some(b'\\') => {
                at = escape_end(bytes, at)?;
                escaped = true;
            }
            Some(_) => return fault(at, SyntaxKind::ControlCharacter),
            None => return fault(at, SyntaxKind::End),
        }
    }
}

/// Behind the escape that begins with the backslash at `at`; a surrogate pair is one escape.
fn escape_end(bytes: &[u8], at: usize) -> Checked<usize> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match hex(bytes, at + 2)? {
            0xd800..0xdc00 => {
                if bytes.get(at + 6..at + 8) == Some(b"\\u") && matches!(hex(bytes, at + 8)?, 0xdc00..0xe000) {
                    Ok(at + 12)
                } else {
                    fault(at, SyntaxKind::LoneSurrogate)
                }
            }
            0xdc00..0xe000 => fault(at, SyntaxKind::LoneSurrogate),
            _ => Ok(at + 6),
        },
        _ => expected(bytes, at + 1, SyntaxKind::Escape),
    }
}

/// The four hexadecimal digits at `at`.
fn hex(bytes: &[u8], at: usize) -> Checked<u32> {
    let mut value = 0;
    for place in at..at + 4 {
        match bytes.get(place).and_then(|byte| char::from(*byte).to_digit(16)) {
            Some(digit) => value = value * 16 + digit,
            None => return expected(bytes, place, SyntaxKind::Escape),
        }
    }
    Ok(value)
}

/// Appends what the inside of a checked text stands for.
pub(crate) fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while at < raw.len() {
        let run = memchr::memchr(b'\\', &raw[at..]).map_or(raw.len(), |length| at + length);
        out.extend_from_slice(&raw[at..run]);
        at = run;
        if at == raw.len() {
            return;
        }
        let plain = match raw[at + 1] {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let high = hex(raw, at + 2).unwrap_or(0xfffd);
                at += 6;
                let code = if matches!(high, 0xd800..0xdc00) {
                    let low = hex(raw, at + 2).unwrap_or(0xdc00);
                    at += 6;
                    0x10000 + ((high - 0xd800) << 10) + (low.wrapping_sub(0xdc00) & 0x3ff)
                } else {
                    high
                };
                let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            other => other,
        };
        out.push(plain);
        at += 2;
    }
}

/// Behind the number that begins at `at`.
pub(crate) fn number_end(bytes: &[u8], mut at: usize) -> Checked<usize> {
    let start = at;
    let digits = |mut at: usize| {
        while matches!(bytes.get(at), Some(b'0'..=b'9')) {
            at += 1;
        }
        at
    };
    if bytes.get(at) == Some(&b'-') {
        at += 1;
    }
    let first = at;
    at = digits(at);
    if at == first {
        return expected(bytes, at, SyntaxKind::Number);
    }
    if bytes[first] == b'0' && at > first + 1 {
        return fault(start, SyntaxKind::Number);
    }
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == at + 1 {
            return expected(bytes, fraction, SyntaxKind::Number);
        }
        at = fraction;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        if exponent == at + 1 + sign {
            return expected(bytes, exponent, SyntaxKind::Number);
        }
        at = exponent;
    }
    Ok(at)
}

/// Behind the value without parts (text, number, literal) at `at`.
pub(crate) fn scalar_end(bytes: &[u8], at: usize) -> Checked<usize> {
    match bytes.get(at) {
        Some(b'"') => Ok(text_end(bytes, at + 1)?.0 + 1),
        Some(b'-' | b'0'..=b'9') => number_end(bytes, at),
        Some(b't') => literal_end(bytes, at, b"true"),
        Some(b'f') => literal_end(bytes, at, b"false"),
        Some(b'n') => literal_end(bytes, at, b"null"),
        _ => expected(bytes, at, SyntaxKind::Value),
    }
}

/// Behind the literal `word` at `at`.
#[inline]
pub(crate) fn literal_end(bytes: &[u8], at: usize, word: &[u8]) -> Checked<usize> {
    match bytes.get(at..at + word.len()) {
        Some(found) if found == word => Ok(at + word.len()),
        Some(_) => fault(at, SyntaxKind::Literal),
        None => {
            let found = &bytes[at..];
            fault(at, if word.starts_with(found) { SyntaxKind::End } else { SyntaxKind::Literal })
        }
    }
}

/// A field name at `at` (its opening quote) with its colon: the place of its closing quote, whether it has escapes, and the place
/// of the value behind it.
pub(crate) fn name_end(bytes: &[u8], at: usize) -> Checked<(usize, bool, usize)> {
    if bytes.get(at) != Some(&b'"') {
        return expected(bytes, at, SyntaxKind::Name);
    }
    let (end, escaped) = text_end(bytes, at + 1)?;
    let colon = skip_space(bytes, end + 1);
    if bytes.get(colon) != Some(&b':') {
        return expected(bytes, colon, SyntaxKind::Colon);
    }
    Ok((end, escaped, skip_space(bytes, colon + 1)))
}
