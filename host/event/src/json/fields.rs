//! The names a decoder looks for: a tree along the dotted paths of a schema, with a guess at what comes next.
//!
//! Rows of one stream tend to have their members in one order and one form, so each member remembers the [`Glue`] that came behind
//! it; only when that does not match is a name scanned, unescaped and looked up. Unknown names are remembered too, as far as there
//! is room.

use super::glue::Glue;
use crate::batch::HOST_FIELDS;
use crate::text::{Chunk, Key, Places, same_long};
use crate::{FieldType, StreamSchema};

/// Unknown names of one object that are remembered. When there are more, all of them are forgotten.
const UNKNOWN_NAMES_MAX: usize = 64;
/// The longest of them.
const UNKNOWN_NAME_BYTES_MAX: usize = 64;

/// What stands behind a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The value of a column.
    Column(usize),
    /// The value of a string column.
    Text(usize),
    /// An object on the path of columns.
    Object(usize),
    /// A name of the host, which is dropped.
    Host,
    /// No field of the schema.
    Unknown,
}

/// What comes before a member: a place in [`Node::next`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Before(usize);

impl Before {
    /// The brace that opens the object.
    pub(crate) const BRACE: Self = Self(0);
    /// A member that is not remembered: nothing is known of what follows it.
    pub(crate) const STRANGER: Self = Self(1);

    /// The member of that place.
    #[inline(always)]
    pub(crate) fn child(place: usize) -> Self {
        Self(place + 2)
    }
}

/// A member whose name is known.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) child: usize,
    pub(crate) target: Target,
    /// Where its quoted name is behind the value before.
    pub(crate) name: (usize, usize),
    /// What stands behind its colon; of a string column, behind the opening quote of its text.
    pub(crate) value: &'a [u8],
}

#[derive(Debug)]
pub(crate) struct Child {
    name: Box<[u8]>,
    pub(crate) target: Target,
    /// The attempt in which an unknown name was last seen: a second time in one attempt is a repeated name.
    pub(crate) seen: u64,
}

/// An object of the schema: the row itself, or what a dotted path goes through.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) children: Vec<Child>,
    /// How many of them the schema or the host names.
    named: usize,
    places: Places,
    /// What came behind the brace, a stranger, and each child.
    next: Vec<Glue>,
    /// The child that came there when the guess failed last, and how often in a row.
    candidates: Vec<(usize, u32)>,
    /// The attempt in which this object was last seen: a second time in one attempt is a repeated name.
    pub(crate) seen: u64,
}

/// All nodes; the row itself is node 0.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) nodes: Vec<Node>,
}

impl Node {
    fn new() -> Self {
        let nothing = Before::child(0).0;
        Self {
            children: Vec::new(),
            named: 0,
            places: Places::new(),
            next: vec![Glue::NONE; nothing],
            candidates: vec![(usize::MAX, 0); nothing],
            seen: 0,
        }
    }

    /// What probably comes behind `before`.
    #[inline(always)]
    pub(crate) fn guess(&self, before: Before) -> &Glue {
        &self.next[before.0]
    }

    /// Remembers what came behind `before`, once it has come three times in a row: so that members without an order cost nothing.
    #[inline(always)]
    pub(crate) fn learn(&mut self, before: Before, child: usize, glue: &[u8], name: (usize, usize)) {
        let candidate = &mut self.candidates[before.0];
        if candidate.0 != child {
            *candidate = (child, 0);
        } else if candidate.1 < 1 {
            candidate.1 += 1;
        } else if before != Before::STRANGER {
            self.remember(before, child, glue, name);
        }
    }

    #[inline(never)]
    fn remember(&mut self, before: Before, child: usize, glue: &[u8], name: (usize, usize)) {
        if let Some(glue) = Glue::new(glue, name, child, self.children[child].target) {
            self.next[before.0] = glue;
        }
    }

    /// The child of a name of at most 16 bytes: the first `length` ones of the chunk.
    #[inline(always)]
    pub(crate) fn find_short(&self, chunk: Chunk, length: usize) -> Option<usize> {
        self.places.find(&Key::short(chunk, length), |_| true).ok().map(|child| child as usize)
    }

    /// The member that `rest` begins with behind `before`, if it has a short known name and is written without white space.
    #[inline(always)]
    pub(crate) fn short_member<'a>(&mut self, before: Before, rest: &'a [u8]) -> Option<Found<'a>> {
        let comma = usize::from(before != Before::BRACE);
        let name = rest.get(comma..)?.strip_prefix(b"\"")?;
        if comma == 1 && rest[0] != b',' {
            return None;
        }
        let chunk = Chunk::first_of(name)?;
        let length = chunk.plain_length();
        let mut value = name.get(length..)?.strip_prefix(b"\":")?;
        let child = self.find_short(chunk, length)?;
        let target = self.children[child].target;
        if let Target::Text(_) = target {
            value = value.strip_prefix(b"\"")?;
        }
        let name = (comma, comma + length + 2);
        self.learn(before, child, &rest[..rest.len() - value.len()], name);
        Some(Found { child, target, name, value })
    }

    #[inline]
    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        let is = |child: usize| same_long(&self.children[child].name, name);
        self.places.find(&self.places.key(name), is).ok().map(|child| child as usize)
    }

    fn add(&mut self, name: &[u8], target: Target) -> usize {
        let key = self.places.key(name);
        let is = |child: usize| same_long(&self.children[child].name, name);
        match self.places.find(&key, is) {
            Ok(child) => child as usize,
            Err(at) => {
                self.children.push(Child { name: name.into(), target, seen: 0 });
                self.next.push(Glue::NONE);
                self.candidates.push((usize::MAX, 0));
                self.places.add(at, key) as usize
            }
        }
    }

    /// Remembers an unknown name, if there is room; its place.
    pub(crate) fn add_unknown(&mut self, name: &[u8]) -> Option<usize> {
        let room = self.children.len() - self.named < UNKNOWN_NAMES_MAX && name.len() <= UNKNOWN_NAME_BYTES_MAX;
        room.then(|| self.add(name, Target::Unknown))
    }

    /// Whether no more unknown names can be remembered.
    pub(crate) fn is_full(&self) -> bool {
        self.children.len() - self.named >= UNKNOWN_NAMES_MAX
    }

    /// Forgets all unknown names and what came behind what.
    #[cold]
    fn forget_unknown(&mut self) {
        self.children.truncate(self.named);
        self.next.truncate(Before::child(self.named).0);
        self.next.fill(Glue::NONE);
        self.candidates.truncate(self.next.len());
        self.candidates.fill((usize::MAX, 0));
        self.places.clear();
        for child in &self.children {
            let key = self.places.key(&child.name);
            if let Err(at) = self.places.find(&key, |_| false) {
                self.places.add(at, key);
            }
        }
    }

    /// Until rows teach otherwise, members come in the order of the schema, without white space.
    fn expect_schema(&mut self) {
        let mut before = Before::BRACE;
        for (place, child) in self.children.iter().enumerate() {
            if child.target == Target::Host {
                break;
            }
            let mut glue = if before == Before::BRACE { Vec::new() } else { vec![b','] };
            let start = glue.len();
            super::write_text(&child.name, &mut glue);
            let end = glue.len();
            glue.push(b':');
            if matches!(child.target, Target::Text(_)) {
                glue.push(b'"');
            }
            if let Some(glue) = Glue::new(&glue, (start, end), place, child.target) {
                self.next[before.0] = glue;
            }
            before = Before::child(place);
        }
        self.named = self.children.len();
    }
}

impl Fields {
    pub(crate) fn new(schema: &StreamSchema) -> Self {
        let mut fields = Self { nodes: vec![Node::new()] };
        for (column, field) in schema.fields.iter().enumerate() {
            let mut node = 0;
            let mut path = field.name.split('.').peekable();
            while let Some(name) = path.next() {
                let known = fields.nodes[node].find(name.as_bytes());
                let target = match known {
                    Some(child) => fields.nodes[node].children[child].target,
                    None => {
                        let target = if path.peek().is_some() {
                            fields.nodes.push(Node::new());
                            Target::Object(fields.nodes.len() - 1)
                        } else if field.ty == FieldType::String {
                            Target::Text(column)
                        } else {
                            Target::Column(column)
                        };
                        fields.nodes[node].add(name.as_bytes(), target);
                        target
                    }
                };
                match target {
                    Target::Object(inner) => node = inner,
                    Target::Column(_) | Target::Text(_) | Target::Host | Target::Unknown => break,
                }
            }
        }
        for name in HOST_FIELDS {
            fields.nodes[0].add(name.as_bytes(), Target::Host);
        }
        fields.nodes.iter_mut().for_each(Node::expect_schema);
        fields
    }

    /// Whether any column lies inside an object.
    pub(crate) fn is_nested(&self) -> bool {
        self.nodes.len() > 1
    }

    /// What stands behind a name in the object of that node, if the schema or the host has it, or rows had it lately.
    pub(crate) fn target(&self, node: usize, name: &[u8]) -> Option<Target> {
        self.nodes[node].find(name).map(|child| self.nodes[node].children[child].target)
    }

    /// Makes room for unknown names where there is none left. Not within a row: what was seen in it would be forgotten.
    #[cold]
    pub(crate) fn make_room(&mut self) {
        self.nodes.iter_mut().filter(|node| node.is_full()).for_each(Node::forget_unknown);
    }

    /// The dotted path of a node; `None` for the row itself.
    pub(crate) fn path(&self, node: usize) -> Option<String> {
        let (parent, name) = self.nodes.iter().enumerate().find_map(|(parent, inner)| {
            let child = inner.children.iter().find(|child| child.target == Target::Object(node))?;
            Some((parent, String::from_utf8_lossy(&child.name).into_owned()))
        })?;
        Some(self.path(parent).map_or(name.clone(), |path| format!("{path}.{name}")))
    }
}
