//! The walk of [`RowDecoder`] over one object: member by member into columns, unknown fields, or nothing.
//!
//! What is left behind when it stops in the middle is taken back by the caller.

use super::column::Reading;
use super::container;
use super::decode::RowDecoder;
use super::fault::{Misfit, Trouble};
use super::fields::Target;
use super::syntax::{self, Syntax, SyntaxKind};
use crate::UnknownFields;

impl RowDecoder {
    /// Walks the object of `node` whose opening brace is before `at`, and answers the place behind its closing one. Recursion goes
    /// along the paths of the schema only, which are short.
    pub(super) fn object(&mut self, json: &[u8], at: usize, node: usize, depth: u32) -> Result<usize, Trouble> {
        let depth_max = self.limits.depth_max;
        let mut at = syntax::skip_space(json, at);
        if json.get(at) == Some(&b'}') {
            return Ok(at + 1);
        }
        let mut last = 0;
        loop {
            // Members that come as guessed and are columns, which nearly all are: nothing else is touched in between.
            let object = &self.fields.nodes[node];
            let (columns, attempts) = (self.columns.as_mut_slice(), self.attempts);
            while let Some((child, Target::Column(index), value)) = object.guess(last, json, at) {
                last = child + 1;
                let column = &mut columns[index];
                if column.seen == attempts {
                    return Err(Trouble::Repeated);
                }
                column.seen = attempts;
                self.filled += 1;
                let value = syntax::skip_space(json, value);
                let mut reading = Reading { bytes: json, scratch: &mut self.scratch, depth, depth_max };
                let end = column.push(&mut reading, value).map_err(|refusal| Trouble::refusal(refusal, index, value))?;
                match member_end(json, end)? {
                    MemberEnd::Another(next) => at = next,
                    MemberEnd::Last(end) => return Ok(end),
                }
            }
            let (child, value) = self.name(json, at, node, last)?;
            last = child.map_or(last, |child| child + 1);
            let target = child.map(|child| self.fields.nodes[node].children[child].target);
            let end = match target {
                Some(Target::Column(index)) => {
                    let column = &mut self.columns[index];
                    if column.seen == self.attempts {
                        return Err(Trouble::Repeated);
                    }
                    column.seen = self.attempts;
                    self.filled += 1;
                    let mut reading = Reading { bytes: json, scratch: &mut self.scratch, depth, depth_max };
                    column.push(&mut reading, value).map_err(|refusal| Trouble::refusal(refusal, index, value))?
                }
                Some(Target::Object(inner)) if json.get(value) == Some(&b'{') => {
                    if depth >= depth_max {
                        return Err(Trouble::Syntax(Syntax { at: value as u32, kind: SyntaxKind::TooDeep }));
                    }
                    self.inner_object(json, at, value, inner, depth)?
                }
                Some(Target::Host) => self.drop_value(json, value, depth)?,
                Some(Target::Object(inner)) => {
                    if self.fields.nodes[inner].seen == self.attempts {
                        return Err(Trouble::Repeated);
                    }
                    self.fields.nodes[inner].seen = self.attempts;
                    if self.keep == UnknownFields::Reject && json.get(value) == Some(&b'n') {
                        // An object that is null has none of the fields inside it, which is nothing unknown.
                        self.drop_value(json, value, depth)?
                    } else {
                        self.unknown(json, at, value, node, depth)?
                    }
                }
                None => self.unknown(json, at, value, node, depth)?,
            };
            match member_end(json, end)? {
                MemberEnd::Another(next) => at = next,
                MemberEnd::Last(end) => return Ok(end),
            }
        }
    }

    /// A name that was not guessed: the child it belongs to, and where its value begins.
    #[inline(never)]
    fn name(&mut self, json: &[u8], at: usize, node: usize, last: usize) -> Result<(Option<usize>, usize), Trouble> {
        let (end, escaped, value) = syntax::name_end(json, at)?;
        let raw = &json[at + 1..end];
        let name = if escaped {
            self.scratch.clear();
            syntax::unescape(raw, &mut self.scratch);
            &self.scratch
        } else {
            raw
        };
        let hash = self.fields.hash_of(name);
        let child = self.fields.find(node, name, hash);
        match child {
            Some(child) => self.fields.nodes[node].learn(last, child),
            None if self.keep == UnknownFields::Keep => self.unknown_names.push(hash.rotate_left(node as u32)),
            None => {}
        }
        Ok((child, value))
    }

    /// An object on the path of columns. What it holds besides them is kept at its place in `_unknown`.
    fn inner_object(&mut self, json: &[u8], name: usize, at: usize, inner: usize, depth: u32) -> Result<usize, Trouble> {
        if self.fields.nodes[inner].seen == self.attempts {
            return Err(Trouble::Repeated);
        }
        self.fields.nodes[inner].seen = self.attempts;
        if self.keep != UnknownFields::Keep {
            return self.object(json, at + 1, inner, depth + 1);
        }
        let mark = self.unknown.data.len();
        self.unknown_name(json, name)?;
        self.unknown.data.push(b'{');
        let opened = self.unknown.data.len();
        let end = self.object(json, at + 1, inner, depth + 1)?;
        if self.unknown.data.len() == opened {
            self.unknown.data.truncate(mark);
        } else {
            self.unknown.data.push(b'}');
        }
        Ok(end)
    }

    /// Begins a member of `_unknown`: a comma or brace, the name as written, a colon.
    fn unknown_name(&mut self, json: &[u8], at: usize) -> Result<(), Trouble> {
        let begin = self.unknown.offsets[self.times.len()] as usize;
        if self.unknown.data.len() == begin {
            self.unknown.data.push(b'{');
        } else if self.unknown.data.last() != Some(&b'{') {
            self.unknown.data.push(b',');
        }
        let (end, _, _) = syntax::name_end(json, at)?;
        self.unknown.data.extend_from_slice(&json[at..=end]);
        self.unknown.data.push(b':');
        Ok(())
    }

    /// A field the schema does not name.
    fn unknown(&mut self, json: &[u8], name: usize, at: usize, node: usize, depth: u32) -> Result<usize, Trouble> {
        match self.keep {
            UnknownFields::Keep => {
                self.unknown_name(json, name)?;
                Ok(container::copy_value(json, at, depth, self.limits.depth_max, &mut self.unknown.data)?)
            }
            UnknownFields::Drop => self.drop_value(json, at, depth),
            UnknownFields::Reject => Err(Trouble::Misfit(Misfit::Unknown { name, node })),
        }
    }

    fn drop_value(&mut self, json: &[u8], at: usize, depth: u32) -> Result<usize, Trouble> {
        self.scratch.clear();
        Ok(container::copy_value(json, at, depth, self.limits.depth_max, &mut self.scratch)?)
    }
}

/// What follows a member of an object.
enum MemberEnd {
    /// Another one, at this place.
    Another(usize),
    /// The object's end, before this place.
    Last(usize),
}

/// What follows the member whose value ends before `at`.
#[inline(always)]
fn member_end(json: &[u8], at: usize) -> Result<MemberEnd, Syntax> {
    let at = syntax::skip_space(json, at);
    match json.get(at) {
        Some(b',') => Ok(MemberEnd::Another(syntax::skip_space(json, at + 1))),
        Some(b'}') => Ok(MemberEnd::Last(at + 1)),
        _ => syntax::expected(json, at, SyntaxKind::CommaOrBrace),
    }
}
