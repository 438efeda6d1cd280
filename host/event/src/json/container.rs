//! Objects and arrays over a slice: copied without white space, walked by member. Nothing recurses along what a client nests.

use super::syntax::{Checked, SyntaxKind, expected, fault, name_end, scalar_end, skip_space, text_end, unescape};

/// Copies the value at `at` without the white space between its tokens and answers the place behind it. `depth` is how many
/// objects and arrays are open around it, `depth_max` (at most 128) how many may be.
pub(crate) fn copy_value(bytes: &[u8], at: usize, depth: u32, depth_max: u32, out: &mut Vec<u8>) -> Checked<usize> {
    let (end, is_compact) = check_value(bytes, at, depth, depth_max)?;
    if is_compact {
        out.extend_from_slice(&bytes[at..end]);
    } else {
        copy_tokens(&bytes[at..end], out);
    }
    Ok(end)
}

/// Copies a checked value without the white space between its tokens.
pub(crate) fn copy_tokens(value: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        let end = match byte {
            b' ' | b'\n' | b'\r' | b'\t' => {
                at += 1;
                continue;
            }
            b'{' | b'}' | b'[' | b']' | b',' | b':' => at + 1,
            _ => scalar_end(value, at).unwrap_or(value.len()),
        };
        out.extend_from_slice(&value[at..end]);
        at = end;
    }
}

/// Checks the value at `at`; answers the place behind it, and whether it has no white space between its tokens. For the depths see
/// [`copy_value`].
#[inline]
pub(crate) fn check_value(bytes: &[u8], at: usize, depth: u32, depth_max: u32) -> Checked<(usize, bool)> {
    match bytes.get(at) {
        Some(b'{' | b'[') => check_container(bytes, at, depth, depth_max),
        _ => Ok((scalar_end(bytes, at)?, true)),
    }
}

fn check_container(bytes: &[u8], mut at: usize, depth: u32, depth_max: u32) -> Checked<(usize, bool)> {
    // One bit per open container, 1 for an object: no recursion, so hostile nesting costs no stack.
    let mut objects: u128 = 0;
    let mut open = 0;
    let mut is_compact = true;
    let mut skip = |at: usize| {
        let behind = skip_space(bytes, at);
        is_compact &= behind == at;
        behind
    };
    loop {
        // A value begins at `at`.
        let mut complete = true;
        match bytes.get(at) {
            Some(bracket @ (b'{' | b'[')) => {
                if depth + open >= depth_max.min(128) {
                    return fault(at, SyntaxKind::TooDeep);
                }
                let object = *bracket == b'{';
                objects = objects << 1 | u128::from(object);
                open += 1;
                at = skip(at + 1);
                if bytes.get(at) != Some(if object { &b'}' } else { &b']' }) {
                    complete = false;
                }
            }
            _ => {
                at = skip(scalar_end(bytes, at)?);
            }
        }
        // A value is complete, or a container was opened that is not empty.
        while complete {
            let object = objects & 1 == 1;
            match bytes.get(at) {
                Some(b',') => {
                    at = skip(at + 1);
                    complete = false;
                }
                Some(close @ (b'}' | b']')) if (*close == b'}') == object => {
                    objects >>= 1;
                    open -= 1;
                    at += 1;
                    if open == 0 {
                        return Ok((at, is_compact));
                    }
                    at = skip(at);
                }
                _ => {
                    let kind = if object { SyntaxKind::CommaOrBrace } else { SyntaxKind::CommaOrBracket };
                    return expected(bytes, at, kind);
                }
            }
        }
        if objects & 1 == 1 {
            if bytes.get(at) != Some(&b'"') {
                return expected(bytes, at, SyntaxKind::Name);
            }
            let (end, _) = text_end(bytes, at + 1)?;
            let colon = skip(end + 1);
            if bytes.get(colon) != Some(&b':') {
                return expected(bytes, colon, SyntaxKind::Colon);
            }
            at = skip(colon + 1);
        }
    }
}

/// Checks one whole value with white space around it and nothing else, and answers its compact text.
pub(crate) fn compact(bytes: &[u8], depth_max: u32) -> Checked<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let end = copy_value(bytes, skip_space(bytes, 0), 0, depth_max, &mut out)?;
    let end = skip_space(bytes, end);
    if end < bytes.len() { fault(end, SyntaxKind::Trailing) } else { Ok(out) }
}

/// The members of a checked, compact object: raw names (without quotes) and values, in order.
pub(crate) fn members(object: &[u8]) -> Members<'_> {
    Members { object, at: 1 }
}

/// See [`members`].
pub(crate) struct Members<'a> {
    object: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (end, _, value) = name_end(self.object, self.at).ok()?;
        let name = &self.object[self.at + 1..end];
        let value_end = value_end(self.object, value);
        self.at = value_end + 1;
        Some((name, &self.object[value..value_end]))
    }
}

/// Behind the value at `at` of a checked text.
pub(crate) fn value_end(bytes: &[u8], mut at: usize) -> usize {
    let mut open = 0usize;
    loop {
        match bytes.get(at) {
            Some(b'{' | b'[') => {
                open += 1;
                at += 1;
            }
            Some(b'}' | b']') => {
                open -= 1;
                at += 1;
            }
            Some(b',' | b':' | b' ' | b'\n' | b'\r' | b'\t') => at += 1,
            Some(_) => at = scalar_end(bytes, at).unwrap_or(bytes.len()),
            None => return bytes.len(),
        }
        if open == 0 {
            return at;
        }
    }
}

/// What a raw name stands for.
pub(crate) fn plain_name(raw: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if memchr::memchr(b'\\', raw).is_none() {
        return raw.into();
    }
    let mut name = Vec::with_capacity(raw.len());
    unescape(raw, &mut name);
    name.into()
}
