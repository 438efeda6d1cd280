//! Reading one object of the document: keys are taken one by one, and what nobody took is refused by name.

use tidemill_event::units;

use crate::Fault;
use crate::pipeline::Text;
use crate::pipeline::document::{Key, Node, NodeValue};
use crate::pipeline::suggest::nearest;

/// Words of the grammar that this version does not have yet. They are refused by name rather than as unknown.
const LATER: [&str; 5] = ["postgres", "kafka", "delta", "shadow", "canary"];

/// Whether the grammar has that word, in a later version.
pub(crate) fn is_later(word: &str) -> bool {
    LATER.contains(&word)
}

/// An object that is being read.
pub(crate) struct Object<'a> {
    members: &'a [(Key, Node)],
    taken: Vec<bool>,
    pub(crate) path: String,
    pub(crate) line: usize,
}

impl<'a> Object<'a> {
    /// `node` as an object, or a fault that shows what it should be.
    pub(crate) fn of(node: &'a Node, path: &str, example: &str, faults: &mut Vec<Fault>) -> Option<Self> {
        match &node.value {
            NodeValue::Object(members) => {
                let mut object = Self { members, taken: vec![false; members.len()], path: path.to_owned(), line: node.line };
                object.refuse_repeats(faults);
                Some(object)
            }
            NodeValue::Scalar { .. } | NodeValue::List(_) => {
                faults.push(Fault::new(
                    path,
                    node.line,
                    format!("{} where an object is needed", node.what()),
                    format!("write `{example}`"),
                ));
                None
            }
        }
    }

    /// The keys there are, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a Key> + use<'a> {
        self.members.iter().map(|(key, _)| key)
    }

    /// A key's value, which is yet to be taken.
    pub(crate) fn peek(&self, name: &str) -> Option<&'a Node> {
        self.members.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// Takes a key's value.
    pub(crate) fn take(&mut self, name: &str) -> Option<&'a Node> {
        let at = self.members.iter().position(|(key, _)| key.name == name)?;
        self.taken[at] = true;
        Some(&self.members[at].1)
    }

    /// The path of a member.
    pub(crate) fn member(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Takes a text. Unquoted words that look like numbers or booleans are texts here.
    pub(crate) fn text(&mut self, name: &str, faults: &mut Vec<Fault>) -> Option<Text> {
        let node = self.take(name)?;
        text_of(node, &self.member(name), faults)
    }

    /// Takes a value of a closed set.
    pub(crate) fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)], faults: &mut Vec<Fault>) -> Option<T> {
        let text = self.text(name, faults)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text.text) {
            return Some(*value);
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        faults.push(Fault::new(
            self.member(name),
            text.line,
            format!("`{}` is none of the values there are", text.text),
            format!("use {}", listed(&words, "or")),
        ));
        None
    }

    /// Takes true or false.
    pub(crate) fn flag(&mut self, name: &str, faults: &mut Vec<Fault>) -> Option<bool> {
        self.choice(name, &[("true", true), ("false", false)], faults)
    }

    /// Takes a whole number.
    pub(crate) fn number(&mut self, name: &str, faults: &mut Vec<Fault>) -> Option<u64> {
        let text = self.text(name, faults)?;
        self.converted(name, &text, text.text.parse().ok(), "a whole number: `5000`", faults)
    }

    /// Takes a duration.
    pub(crate) fn duration(&mut self, name: &str, faults: &mut Vec<Fault>) -> Option<std::time::Duration> {
        let text = self.text(name, faults)?;
        self.converted(name, &text, units::duration(&text.text), "an integer and ms, s, m, h or d: `50ms`", faults)
    }

    /// Takes a duration, or `off`.
    pub(crate) fn duration_or_off(&mut self, name: &str, faults: &mut Vec<Fault>) -> Option<Option<std::time::Duration>> {
        let text = self.text(name, faults)?;
        let value = if text.text == "off" { Some(None) } else { units::duration(&text.text).map(Some) };
        self.converted(name, &text, value, "an integer and ms, s, m, h or d, `30s`, or `off`", faults)
    }

    /// Takes a size.
    pub(crate) fn size(&mut self, name: &str, faults: &mut Vec<Fault>) -> Option<u64> {
        let text = self.text(name, faults)?;
        self.converted(name, &text, units::size(&text.text), "an integer and KiB, MiB or GiB: `16MiB`", faults)
    }

    fn converted<T>(&self, name: &str, text: &Text, value: Option<T>, form: &str, faults: &mut Vec<Fault>) -> Option<T> {
        if value.is_none() {
            let is_negative = text.text.trim_start().starts_with('-');
            let error = format!("`{}` is {}", text.text, if is_negative { "negative, and may not be" } else { "no such value" });
            faults.push(Fault::new(self.member(name), text.line, error, format!("write {form}")));
        }
        value
    }

    /// A fault at this object for a key it lacks.
    pub(crate) fn missing(&self, name: &str, example: &str, faults: &mut Vec<Fault>) {
        faults.push(Fault::new(self.member(name), self.line, format!("`{name}` is missing"), format!("add `{example}`")));
    }

    /// Refuses what nobody took. `known` are the keys that could stand here.
    pub(crate) fn finish(self, known: &[&str], faults: &mut Vec<Fault>) {
        for ((key, _), taken) in self.members.iter().zip(&self.taken) {
            if !taken {
                faults.push(self.unknown(key, known));
            }
        }
    }

    fn unknown(&self, key: &Key, known: &[&str]) -> Fault {
        let path = self.member(&key.name);
        if is_later(&key.name) {
            return Fault::new(
                path,
                key.line,
                format!("`{}` is not in this version", key.name),
                format!("here it can be {}", listed(known, "or")),
            );
        }
        if known.contains(&key.name.as_str()) {
            return Fault::new(path, key.line, format!("`{}` cannot stand here", key.name), "remove it");
        }
        let remedy = match nearest(&key.name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "remove it: nothing can stand beside this step".to_owned(),
            None => format!("here it can be {}", listed(known, "or")),
        };
        Fault::new(path, key.line, format!("there is no `{}`", key.name), remedy)
    }

    fn refuse_repeats(&mut self, faults: &mut Vec<Fault>) {
        for (at, (key, _)) in self.members.iter().enumerate() {
            if self.members[..at].iter().any(|(earlier, _)| earlier.name == key.name) {
                self.taken[at] = true;
                faults.push(Fault::new(
                    self.member(&key.name),
                    key.line,
                    format!("`{}` stands here twice", key.name),
                    "remove one of the two",
                ));
            }
        }
    }
}

/// A scalar's text.
pub(crate) fn text_of(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<Text> {
    match &node.value {
        NodeValue::Scalar { text, plain } if !(text.is_empty() || *plain && node.json().is_null()) => {
            Some(Text { text: text.clone(), line: node.line })
        }
        NodeValue::Scalar { .. } if !node.json().is_null() => {
            let remedy = "write what belongs here, or remove it";
            faults.push(Fault::new(path, node.line, "an empty text where one is needed that says something", remedy));
            None
        }
        NodeValue::Scalar { .. } | NodeValue::List(_) | NodeValue::Object(_) => {
            faults.push(Fault::new(path, node.line, format!("{} where a text is needed", node.what()), "write a text"));
            None
        }
    }
}

/// `` `a`, `b` or `c` ``.
pub(crate) fn listed(words: &[&str], last: &str) -> String {
    match words {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [first @ .., end] => {
            let first: Vec<String> = first.iter().map(|word| format!("`{word}`")).collect();
            format!("{} {last} `{end}`", first.join(", "))
        }
    }
}
