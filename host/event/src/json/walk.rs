//! The walk of [`RowDecoder`] over one object: runs of members into columns, and what stops a run one by one, into columns, unknown
//! fields, or nothing.
//!
//! What is left behind when it stops in the middle is taken back by the caller.

use super::column::Reading;
use super::container;
use super::decode::RowDecoder;
use super::fault::{Misfit, Trouble};
use super::fields::{Before, Found, Target};
use super::number;
use super::run::{Run, Stop};
use super::syntax::{self, Syntax, SyntaxKind};
use crate::UnknownFields;

/// A member whose name was read: what it belongs to, and where its parts are.
#[derive(Clone, Copy)]
struct Member {
    /// Its place among its object's members, if it is remembered there.
    child: Option<usize>,
    target: Target,
    /// The opening and the closing quote of its name.
    name: (usize, usize),
    /// Where its value begins.
    value: usize,
}

impl RowDecoder {
    /// Walks the row whose opening brace is before `at`, and answers the place behind its closing one.
    ///
    /// `json` may go on behind the row, and should by some bytes: what is near its end is read the long way.
    #[inline(always)]
    pub(super) fn row_object(&mut self, json: &[u8], at: usize) -> Result<usize, Trouble> {
        let mut run = Run::behind_brace(json, at);
        let stop = run.go::<false>(&mut self.fields.nodes[0], &mut self.columns, self.attempts);
        self.filled += run.filled;
        if let (Stop::Stranger, true) = (stop, run.is_at_end()) {
            return Ok(json.len() - run.rest.len() + 1);
        }
        self.object(json, (run.rest, run.before), 0, 1)
    }

    /// Walks what is left of the object of `node`. Recursion goes along the paths of the schema only, which are short.
    fn object<'a>(
        &mut self,
        json: &'a [u8],
        (mut rest, mut before): (&'a [u8], Before),
        node: usize,
        depth: u32,
    ) -> Result<usize, Trouble> {
        loop {
            let object = &mut self.fields.nodes[node];
            let mut run = Run { rest, before, filled: 0, looked_up: 0 };
            let mut stop = run.go::<false>(object, &mut self.columns, self.attempts);
            if let (Stop::Stranger, false) = (&stop, run.is_at_end()) {
                stop = run.go::<true>(object, &mut self.columns, self.attempts);
            }
            Run { rest, before, .. } = run;
            self.filled += run.filled;
            self.looked_up_names += run.looked_up;
            let from = json.len() - rest.len();
            let found = match stop {
                Stop::Repeated => return Err(Trouble::Repeated),
                Stop::Stranger if run.is_at_end() => return Ok(from + 1),
                Stop::Stranger => None,
                Stop::Odd(found) => match self.unknown_scalar(node, rest, &found)? {
                    Some(behind) => {
                        (rest, before) = (behind, Before::child(found.child));
                        continue;
                    }
                    None => Some(found),
                },
            };
            // What is off the beaten path may cross white space, and must not cross the row's end with it.
            let row = &json[..self.row_end(json)];
            let member = match found {
                Some(Found { child, target, name, value }) => {
                    let value = json.len() - value.len() - usize::from(matches!(target, Target::Text(_)));
                    let value = syntax::skip_space(row, value);
                    Member { child: Some(child), target, name: (from + name.0, from + name.1), value }
                }
                None => match self.next_member(row, from, node, before)? {
                    NextMember::Member(member) => member,
                    NextMember::Last(end) => return Ok(end),
                },
            };
            before = member.child.map_or(Before::STRANGER, Before::child);
            let end = self.member((json, row), node, member, depth)?;
            rest = json.get(end..).unwrap_or_default();
        }
    }

    /// Where the row ends in a text that may go on behind it. A row of a body of lines ends at its line's end, which is looked for
    /// when it is needed.
    fn row_end(&mut self, json: &[u8]) -> usize {
        *self.row_end.get_or_insert_with(|| memchr::memchr(b'\n', json).unwrap_or(json.len()))
    }

    /// A member that was not guessed, or the object's end: `from` is behind the value or brace before it.
    fn next_member(&mut self, json: &[u8], from: usize, node: usize, before: Before) -> Result<NextMember, Trouble> {
        let at = syntax::skip_space(json, from);
        let at = match json.get(at) {
            Some(b'}') => return Ok(NextMember::Last(at + 1)),
            _ if before == Before::BRACE => at,
            Some(b',') => syntax::skip_space(json, at + 1),
            _ => return Err(Trouble::expected(json, at, SyntaxKind::CommaOrBrace)),
        };
        self.looked_up_names += 1;
        let object = &mut self.fields.nodes[node];
        let (end, escaped, value) = syntax::name_end(json, at)?;
        let raw = &json[at + 1..end];
        let mut child = if escaped {
            self.scratch.clear();
            syntax::unescape(raw, &mut self.scratch);
            object.find(&self.scratch)
        } else {
            object.find(raw)
        };
        if child.is_none() && self.keep != UnknownFields::Reject {
            child = self.strange_name(raw, node);
        }
        let Some(child) = child else {
            return Ok(NextMember::Member(Member { child: None, target: Target::Unknown, name: (at, end + 1), value }));
        };
        let object = &mut self.fields.nodes[node];
        let target = object.children[child].target;
        // A text that is none now is no sign of how it will come.
        let is_text = matches!(target, Target::Text(_));
        if !is_text || json.get(value) == Some(&b'"') {
            object.learn(before, child, &json[from..value + usize::from(is_text)], (at - from, end + 1 - from));
        }
        Ok(NextMember::Member(Member { child: Some(child), target, name: (at, end + 1), value }))
    }

    /// A name that neither the schema has nor rows had lately: its child from now on, if there is room.
    #[cold]
    fn strange_name(&mut self, raw: &[u8], node: usize) -> Option<usize> {
        let name = container::plain_name(raw);
        let child = self.fields.nodes[node].add_unknown(&name);
        if child.is_none() {
            self.no_room = true;
            if self.keep == UnknownFields::Keep {
                self.unknown_names.push(self.hash.hash_one((node, &*name)));
            }
        }
        child
    }

    /// Takes a member's value and answers the place behind it.
    fn member(&mut self, (json, row): (&[u8], &[u8]), node: usize, member: Member, depth: u32) -> Result<usize, Trouble> {
        let value = member.value;
        match member.target {
            Target::Column(index) | Target::Text(index) => {
                let column = &mut self.columns[index];
                if column.seen == self.attempts {
                    return Err(Trouble::Repeated);
                }
                column.seen = self.attempts;
                self.filled += 1;
                let rest = json.get(value..).unwrap_or_default();
                let rest = match member.target {
                    Target::Text(_) => rest.strip_prefix(b"\""),
                    _ => Some(rest),
                };
                if let Some(rest) = rest.and_then(|rest| column.take(rest)) {
                    return Ok(json.len() - rest.len());
                }
                let mut reading = Reading::new(row, &mut self.scratch, (depth, self.limits.depth_max));
                column.push(&mut reading, value).map_err(|refusal| Trouble::refusal(refusal, index, value))
            }
            Target::Object(inner) if row.get(value) == Some(&b'{') => {
                if depth >= self.limits.depth_max {
                    return Err(Trouble::Syntax(Syntax { at: value as u32, kind: SyntaxKind::TooDeep }));
                }
                self.inner_object((json, row), member, inner, depth)
            }
            Target::Host => self.drop_value(row, value, depth),
            Target::Object(inner) => {
                if self.fields.nodes[inner].seen == self.attempts {
                    return Err(Trouble::Repeated);
                }
                self.fields.nodes[inner].seen = self.attempts;
                if self.keep == UnknownFields::Reject && row.get(value) == Some(&b'n') {
                    // An object that is null has none of the fields inside it, which is nothing unknown.
                    self.drop_value(row, value, depth)
                } else {
                    self.unknown(row, node, member, depth)
                }
            }
            Target::Unknown => {
                if let Some(child) = member.child.filter(|_| self.keep == UnknownFields::Keep) {
                    let child = &mut self.fields.nodes[node].children[child];
                    if child.seen == self.attempts {
                        return Err(Trouble::Repeated);
                    }
                    child.seen = self.attempts;
                }
                self.unknown(row, node, member, depth)
            }
        }
    }

    /// An object on the path of columns. What it holds besides them is kept at its place in `_unknown`.
    fn inner_object(&mut self, (json, row): (&[u8], &[u8]), member: Member, inner: usize, depth: u32) -> Result<usize, Trouble> {
        if self.fields.nodes[inner].seen == self.attempts {
            return Err(Trouble::Repeated);
        }
        self.fields.nodes[inner].seen = self.attempts;
        let begin = (json.get(member.value + 1..).unwrap_or_default(), Before::BRACE);
        if self.keep != UnknownFields::Keep {
            return self.object(json, begin, inner, depth + 1);
        }
        let mark = self.unknown.data.len();
        self.unknown_name(row, member);
        self.unknown.data.push(b'{');
        let opened = self.unknown.data.len();
        let end = self.object(json, begin, inner, depth + 1)?;
        if self.unknown.data.len() == opened {
            self.unknown.data.truncate(mark);
        } else {
            self.unknown.data.push(b'}');
        }
        Ok(end)
    }

    /// Begins a member of `_unknown`: a comma or brace, the name as written, a colon.
    fn unknown_name(&mut self, json: &[u8], member: Member) {
        self.unknown.begin_member();
        self.unknown.data.extend_from_slice(&json[member.name.0..member.name.1]);
        self.unknown.data.push(b':');
    }

    /// Keeps an unknown member as it stands in `rest`, if its value is a text, a number or a flag of the usual form without white space
    /// before it; answers what is behind it.
    #[inline(always)]
    fn unknown_scalar<'a>(&mut self, node: usize, rest: &'a [u8], found: &Found<'a>) -> Result<Option<&'a [u8]>, Trouble> {
        let (from, to) = found.name;
        if found.target != Target::Unknown || self.keep != UnknownFields::Keep || rest.len() - found.value.len() != to + 1 {
            return Ok(None);
        }
        let behind = match found.value {
            [b'"', text @ ..] => syntax::plain_text(text).map(|(_, behind)| behind),
            [b'-' | b'0'..=b'9', ..] => number::short_end(found.value),
            [b't', b'r', b'u', b'e', behind @ ..] | [b'f', b'a', b'l', b's', b'e', behind @ ..] => Some(behind),
            _ => None,
        };
        let Some(behind) = behind else { return Ok(None) };
        let child = &mut self.fields.nodes[node].children[found.child];
        if child.seen == self.attempts {
            return Err(Trouble::Repeated);
        }
        child.seen = self.attempts;
        self.unknown.begin_member();
        self.unknown.data.extend_from_slice(&rest[from..rest.len() - behind.len()]);
        Ok(Some(behind))
    }

    /// A field the schema does not name.
    fn unknown(&mut self, json: &[u8], node: usize, member: Member, depth: u32) -> Result<usize, Trouble> {
        match self.keep {
            UnknownFields::Keep => {
                let (end, is_compact) = container::check_value(json, member.value, depth, self.limits.depth_max)?;
                self.unknown.begin_member();
                let data = &mut self.unknown.data;
                if is_compact && member.value == member.name.1 + 1 {
                    data.extend_from_slice(&json[member.name.0..end]);
                } else {
                    data.extend_from_slice(&json[member.name.0..member.name.1]);
                    data.push(b':');
                    container::copy_tokens(&json[member.value..end], data);
                }
                Ok(end)
            }
            UnknownFields::Drop => self.drop_value(json, member.value, depth),
            UnknownFields::Reject => Err(Trouble::Misfit(Misfit::Unknown { name: member.name.0, node })),
        }
    }

    fn drop_value(&mut self, json: &[u8], at: usize, depth: u32) -> Result<usize, Trouble> {
        Ok(container::check_value(json, at, depth, self.limits.depth_max)?.0)
    }
}

/// What follows a value or the opening brace.
enum NextMember {
    Member(Member),
    /// The object's end, before this place.
    Last(usize),
}
