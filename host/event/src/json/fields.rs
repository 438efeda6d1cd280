//! The names a decoder looks for: a tree along the dotted paths of a schema, with a guess at which name comes next.
//!
//! Rows of one stream tend to have their fields in one order, so each name remembers which name came behind it last time; the guess
//! is checked by comparing `"name":` with the bytes at hand, and only when it fails is a name scanned, unescaped and looked up.

use ahash::RandomState;
use hashbrown::HashTable;

use crate::StreamSchema;
use crate::batch::HOST_FIELDS;
use crate::text::word;

/// What stands behind a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The value of a column.
    Column(usize),
    /// An object on the path of columns.
    Object(usize),
    /// A name of the host, which is dropped.
    Host,
}

#[derive(Debug)]
pub(crate) struct Child {
    /// `"name":`, as most writers write it.
    quoted: Box<[u8]>,
    /// Its first 16 bytes as two words, and which bits of them count: compared without a call.
    words: [u64; 2],
    masks: [u64; 2],
    pub(crate) name: Box<[u8]>,
    pub(crate) target: Target,
}

/// An object of the schema: the row itself, or what a dotted path goes through.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) children: Vec<Child>,
    by_name: HashTable<usize>,
    /// For each child (+ 1; 0 is the object's beginning) the child that came behind it last time.
    next: Vec<usize>,
    /// The attempt in which this object was last seen: a second time in one attempt is a repeated name.
    pub(crate) seen: u64,
}

/// All nodes; the row itself is node 0.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) nodes: Vec<Node>,
    hash: RandomState,
}

impl Node {
    fn new() -> Self {
        Self { children: Vec::new(), by_name: HashTable::new(), next: vec![0], seen: 0 }
    }

    /// The child guessed behind `last` (0: the beginning), if the bytes at `at` are its name and a colon; with what stands behind it, and where.
    #[inline(always)]
    pub(crate) fn guess(&self, last: usize, bytes: &[u8], at: usize) -> Option<(usize, Target, usize)> {
        let guess = self.next[last];
        let child = self.children.get(guess)?;
        let end = at + child.quoted.len();
        if child.quoted.len() <= 16
            && let (Some(first), Some(second)) = (word(bytes, at), word(bytes, at + 8))
        {
            let differs = (first & child.masks[0]) ^ child.words[0] | (second & child.masks[1]) ^ child.words[1];
            return (differs == 0).then_some((guess, child.target, end));
        }
        (bytes.get(at..end)? == &*child.quoted).then_some((guess, child.target, end))
    }

    /// Remembers that `child` came behind `last`.
    pub(crate) fn learn(&mut self, last: usize, child: usize) {
        self.next[last] = child;
    }
}

impl Fields {
    pub(crate) fn new(schema: &StreamSchema) -> Self {
        let mut fields = Self { nodes: vec![Node::new()], hash: RandomState::new() };
        for (column, field) in schema.fields.iter().enumerate() {
            let mut node = 0;
            let mut path = field.name.split('.').peekable();
            while let Some(name) = path.next() {
                let known = fields.find(node, name.as_bytes(), fields.hash_of(name.as_bytes()));
                let target = match known {
                    Some(child) => fields.nodes[node].children[child].target,
                    None => {
                        let target = if path.peek().is_none() {
                            Target::Column(column)
                        } else {
                            fields.nodes.push(Node::new());
                            Target::Object(fields.nodes.len() - 1)
                        };
                        fields.add(node, name, target);
                        target
                    }
                };
                match target {
                    Target::Object(inner) => node = inner,
                    Target::Column(_) | Target::Host => break,
                }
            }
        }
        for name in HOST_FIELDS {
            fields.add(0, name, Target::Host);
        }
        fields
    }

    fn add(&mut self, node: usize, name: &str, target: Target) {
        let hash = self.hash_of(name.as_bytes());
        let quoted: Box<[u8]> = format!("{}:", serde_json::Value::from(name)).into_bytes().into();
        let (mut words, mut masks) = ([0; 2], [0; 2]);
        for (index, byte) in quoted.iter().take(16).enumerate() {
            words[index / 8] |= u64::from(*byte) << (index % 8 * 8);
            masks[index / 8] |= 0xff << (index % 8 * 8);
        }
        let node = &mut self.nodes[node];
        node.children.push(Child { quoted, words, masks, name: name.as_bytes().into(), target });
        // Until rows teach otherwise, names come in the order of the schema.
        node.next.push(node.children.len());
        let (children, hasher) = (&node.children, &self.hash);
        node.by_name.insert_unique(hash, children.len() - 1, |child| hasher.hash_one(&*children[*child].name));
    }

    /// Whether any column lies inside an object.
    pub(crate) fn is_nested(&self) -> bool {
        self.nodes.len() > 1
    }

    #[inline]
    pub(crate) fn hash_of(&self, name: &[u8]) -> u64 {
        self.hash.hash_one(name)
    }

    #[inline]
    pub(crate) fn find(&self, node: usize, name: &[u8], hash: u64) -> Option<usize> {
        let node = &self.nodes[node];
        node.by_name.find(hash, |child| *node.children[*child].name == *name).copied()
    }
}

impl Fields {
    /// The dotted path of a node; `None` for the row itself.
    pub(crate) fn path(&self, node: usize) -> Option<String> {
        let (parent, name) = self.nodes.iter().enumerate().find_map(|(parent, inner)| {
            let child = inner.children.iter().find(|child| child.target == Target::Object(node))?;
            Some((parent, String::from_utf8_lossy(&child.name).into_owned()))
        })?;
        Some(self.path(parent).map_or(name.clone(), |path| format!("{path}.{name}")))
    }
}
