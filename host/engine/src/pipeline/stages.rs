//! The stages of a pattern. The word says how a stage follows what was taken before it, its value which one it is.
//!
//! ```yaml
//! - {begin: a, where: x = 1}                              the first one
//! - {next: b, where: x = 2, optional: true}               the very next event
//! - {followed_by: c, where: x = 3, times: 2..5, inner: consecutive, gap: 3s}
//! - {followed_by_any: d, where: x = 4, times: 1.., until: x = 9, greedy: true}
//! - {not_next: e, where: x = 5}
//! - {not_followed_by: f, where: x = 6}
//! - {followed_by: [{begin: g}, {next: h}], times: 3}      a group
//! - {followed_by: {one_of: [[{begin: i}], [{begin: j}, {next: k}]]}}
//! - {followed_by: {any_order: [{followed_by: l}, {followed_by: m}]}}
//! ```

use tidemill_flow::pattern::{Contiguity, Greed, Inner, Quantifier};

use crate::Fault;
use crate::pipeline::Text;
use crate::pipeline::document::{Key, Node, NodeValue};
use crate::pipeline::object::{Object, listed, text_of};
use crate::pipeline::parse::list;
use crate::pipeline::suggest::nearest;

/// A stage, or several used as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) contiguity: Contiguity,
    pub(crate) quantifier: Quantifier,
    pub(crate) body: Body,
    pub(crate) path: String,
    pub(crate) line: usize,
}

/// What an element is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Stage {
        name: Text,
        /// `None`: every row fits.
        condition: Option<Text>,
        until: Option<Text>,
    },
    Group(Vec<Element>),
    OneOf(Vec<Vec<Element>>),
    AnyOrder(Vec<Element>),
}

/// How a stage follows. What comes first of all, or of a group, follows nothing: how does not matter then.
const WORDS: [(&str, Contiguity); 6] = [
    ("begin", Contiguity::Next),
    ("next", Contiguity::Next),
    ("followed_by", Contiguity::FollowedBy),
    ("followed_by_any", Contiguity::FollowedByAny),
    ("not_next", Contiguity::NotNext),
    ("not_followed_by", Contiguity::NotFollowedBy),
];
const KEYS: [&str; 14] = [
    "begin",
    "next",
    "followed_by",
    "followed_by_any",
    "not_next",
    "not_followed_by",
    "where",
    "times",
    "optional",
    "inner",
    "greedy",
    "reluctant",
    "until",
    "gap",
];
const EXAMPLE: &str = "{followed_by: b, where: amount > 500}";
/// Groups in groups: more are refused.
const DEPTH_MAX: usize = 16;

impl Element {
    /// The stages in it, with their names, in the order of the text.
    pub(crate) fn names<'a>(elements: &'a [Self], names: &mut Vec<(&'a Text, &'a Self)>) {
        for element in elements {
            match &element.body {
                Body::Stage { name, .. } => names.push((name, element)),
                Body::Group(row) | Body::AnyOrder(row) => Self::names(row, names),
                Body::OneOf(rows) => rows.iter().for_each(|row| Self::names(row, names)),
            }
        }
    }

    /// Whether the time between two events of a loop is bounded somewhere.
    pub(super) fn any_gap(elements: &[Self]) -> bool {
        elements.iter().any(|element| {
            element.quantifier.gap.is_some()
                || match &element.body {
                    Body::Stage { .. } => false,
                    Body::Group(row) | Body::AnyOrder(row) => Self::any_gap(row),
                    Body::OneOf(rows) => rows.iter().any(|row| Self::any_gap(row)),
                }
        })
    }
}

/// Reads stages in a row. `begins`: the first of them begins the row.
pub(super) fn stages(node: &Node, path: &str, begins: bool, faults: &mut Vec<Fault>) -> Option<Vec<Element>> {
    row(node, path, begins, 1, faults)
}

fn row(node: &Node, path: &str, begins: bool, depth: usize, faults: &mut Vec<Fault>) -> Option<Vec<Element>> {
    if depth > DEPTH_MAX {
        let error = format!("groups stand more than {DEPTH_MAX} deep in each other");
        faults.push(Fault::new(path, node.line, error, "write the stages out"));
        return None;
    }
    let items = list(node, path, "[{begin: a, where: amount > 500}]", faults);
    if items.is_empty() {
        faults.push(Fault::new(path, node.line, "there is no stage", "write `[{begin: a, where: amount > 500}]`"));
        return None;
    }
    let read = |(at, item): (usize, &Node)| element(item, format!("{path}[{at}]"), begins.then_some(at == 0), depth, faults);
    let elements: Vec<Option<Element>> = items.iter().enumerate().map(read).collect();
    elements.into_iter().collect()
}

/// `is_first`: whether it begins its row; `None`: any of its row may come first.
fn element(node: &Node, path: String, is_first: Option<bool>, depth: usize, faults: &mut Vec<Fault>) -> Option<Element> {
    let mut object = Object::of(node, &path, EXAMPLE, faults)?;
    let is_word = |key: &str| WORDS.iter().any(|(word, _)| *word == key);
    let words: Vec<&str> = object.keys().map(|key| key.name.as_str()).filter(|key| is_word(key)).collect();
    let [word] = words[..] else {
        let all: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
        if let [slip, ..] = slips(&object)[..] {
            let remedy = format!("did you mean `{}`?", nearest(&slip.name, all).unwrap_or_default());
            faults.push(Fault::new(object.member(&slip.name), slip.line, format!("there is no `{}`", slip.name), remedy));
        } else if words.is_empty() {
            let remedy = format!("say it with {}", listed(&all, "or"));
            faults.push(Fault::new(&path, node.line, "nothing says which stage this is, and how it follows", remedy));
            object.finish(&KEYS, faults);
        } else {
            let error = format!("{} in one stage", listed(&words, "and"));
            faults.push(Fault::new(&path, node.line, error, "write a stage for each: `- {next: b, where: …}`"));
        }
        return None;
    };
    let contiguity = WORDS.iter().find(|(known, _)| *known == word).map(|(_, contiguity)| *contiguity)?;
    match (is_first, word) {
        (Some(true), "next" | "followed_by" | "followed_by_any") => {
            let error = format!("the first stage follows nothing, and says `{word}`");
            faults.push(Fault::new(&path, node.line, error, format!("write `begin` instead of `{word}`")));
        }
        (Some(false) | None, "begin") => {
            let remedy = "write how it follows: `next`, `followed_by` or `followed_by_any`";
            faults.push(Fault::new(&path, node.line, "`begin` is for the stage that comes first", remedy));
        }
        _ => {}
    }
    let quantifier = quantifier(&mut object, faults);
    let is_negation = matches!(contiguity, Contiguity::NotNext | Contiguity::NotFollowedBy);
    if let Some(Quantifier { max: Some(1), gap: Some(_), .. }) = quantifier.filter(|_| !is_negation) {
        let remedy = "write `times: 2..`, or remove `gap`: between two stages `within_last` and `within` bound the time";
        faults.push(Fault::new(
            object.member("gap"),
            node.line,
            "`gap` is between two events of a loop, and here is one",
            remedy,
        ));
    }
    let body = body(&mut object, word, depth, faults);
    object.finish(&KEYS, faults);
    Some(Element { contiguity, quantifier: quantifier?, body: body?, path, line: node.line })
}

/// Keys that are no words of the grammar, and nearly say how a stage follows.
fn slips<'a>(object: &Object<'a>) -> Vec<&'a Key> {
    let words = || WORDS.iter().map(|(word, _)| *word);
    let is_slip = |key: &&Key| {
        let near = nearest(&key.name, KEYS);
        !KEYS.contains(&key.name.as_str()) && near.is_some_and(|near| words().any(|word| word == near))
    };
    object.keys().filter(is_slip).collect()
}

fn body(object: &mut Object<'_>, word: &str, depth: usize, faults: &mut Vec<Fault>) -> Option<Body> {
    let path = object.member(word);
    let value = object.take(word)?;
    match &value.value {
        NodeValue::Scalar { .. } => {
            let name = text_of(value, &path, faults);
            let condition = object.text("where", faults);
            let until = object.text("until", faults);
            let name = name?;
            let is_plain = |name: &str| {
                let mut characters = name.chars();
                characters.next().is_some_and(char::is_alphabetic) && characters.all(|any| any.is_alphanumeric() || any == '_')
            };
            if !is_plain(&name.text) {
                let remedy = "write a letter, then letters, digits or `_`: expressions say `name.column`";
                faults.push(Fault::new(&path, name.line, format!("`{}` cannot be the name of a stage", name.text), remedy));
                return None;
            }
            Some(Body::Stage { name, condition, until })
        }
        NodeValue::List(_) => row(value, &path, true, depth + 1, faults).map(Body::Group),
        NodeValue::Object(_) => {
            let mut several = Object::of(value, &path, "{one_of: [[{begin: a}], [{begin: b}]]}", faults)?;
            let of = |name: &str| format!("{path}.{name}");
            let made = match (several.take("one_of"), several.take("any_order")) {
                (Some(node), None) => {
                    let rows = list(node, &of("one_of"), "[[{begin: a}], [{begin: b}]]", faults);
                    let read =
                        |(at, node): (usize, &Node)| row(node, &format!("{}[{at}]", of("one_of")), true, depth + 1, faults);
                    let rows: Vec<Option<Vec<Element>>> = rows.iter().enumerate().map(read).collect();
                    rows.into_iter().collect::<Option<_>>().map(Body::OneOf)
                }
                (None, Some(node)) => row(node, &of("any_order"), false, depth + 1, faults).map(Body::AnyOrder),
                (None, None) | (Some(_), Some(_)) => {
                    let remedy =
                        "write `{one_of: [[{begin: a}], [{begin: b}]]}` or `{any_order: [{followed_by: a}, {followed_by: b}]}`";
                    faults.push(Fault::new(&path, value.line, "this is no stage, no group and no choice", remedy));
                    None
                }
            };
            several.finish(&["one_of", "any_order"], faults);
            made
        }
    }
}

fn quantifier(object: &mut Object<'_>, faults: &mut Vec<Fault>) -> Option<Quantifier> {
    let mut quantifier = Quantifier::ONCE;
    let times = object.text("times", faults);
    let read = times.as_ref().map(|times| times_of(&times.text));
    if let (Some(times), Some(None)) = (&times, &read) {
        let remedy = "write `times: 3`, `times: 2..5` or `times: 1..`";
        faults.push(Fault::new(object.member("times"), times.line, format!("`{}` says not how often", times.text), remedy));
    }
    if let Some(Some((min, max))) = read {
        (quantifier.min, quantifier.max) = (min, max);
    }
    quantifier.is_optional = object.flag("optional", faults).unwrap_or(false);
    let inners = [("relaxed", Inner::Relaxed), ("consecutive", Inner::Consecutive), ("combinations", Inner::Combinations)];
    quantifier.inner = object.choice("inner", &inners, faults).unwrap_or_default();
    let line = object.line;
    let greedy = object.flag("greedy", faults).unwrap_or(false);
    let reluctant = object.flag("reluctant", faults).unwrap_or(false);
    quantifier.greed = match (greedy, reluctant) {
        (true, true) => {
            faults.push(Fault::new(
                object.member("reluctant"),
                line,
                "a loop is greedy or reluctant, not both",
                "remove one of the two",
            ));
            return None;
        }
        (true, false) => Greed::Greedy,
        (false, true) => Greed::Reluctant,
        (false, false) => Greed::All,
    };
    quantifier.gap = object.duration("gap", faults);
    (!matches!(read, Some(None))).then_some(quantifier)
}

/// `3`, `2..5`, `1..`.
fn times_of(text: &str) -> Option<(u32, Option<u32>)> {
    match text.split_once("..") {
        None => text.trim().parse().ok().map(|times| (times, Some(times))),
        Some((min, "")) => min.trim().parse().ok().map(|min| (min, None)),
        Some((min, max)) => Some((min.trim().parse().ok()?, Some(max.trim().parse().ok()?))),
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::example::read_as;

    fn read(pattern: &str) -> String {
        let text = format!("from: a\nsteps:\n- pattern: {pattern}\nto: [stdout]\n");
        read_as(&text, |_| "read\n".to_owned())
    }

    /// A line for each fault, with these words in it; no other faults.
    fn check(pattern: &str, faults: &[&str]) {
        let read = read(pattern);
        assert_eq!(read.lines().count(), faults.len(), "{read}");
        for (line, words) in read.lines().zip(faults) {
            assert!(line.contains(words), "no `{words}` in {line}");
        }
    }

    #[test]
    fn a_misspelt_word_is_all_that_is_told() {
        let slip = "stages[1].folowed_by: there is no `folowed_by` -> did you mean `followed_by`?";
        check("{stages: [{begin: a}, {folowed_by: b, where: x = 1, times: 2}]}", &[slip]);
    }

    #[test]
    fn what_would_never_do_anything_is_refused() {
        check("{stages: [{begin: a, gap: 3s}]}", &["stages[0].gap: `gap` is between two events of a loop"]);
        check("{stages: [{begin: a}, {next: b}], timeouts: true}", &["timeouts: no partial match ever times out"]);
        assert_eq!(read("{stages: [{begin: a, times: 2, gap: 3s}], timeouts: true}"), "read\n");
        assert_eq!(read("{stages: [{begin: a}, {next: b}], within_last: 1s, timeouts: true}"), "read\n");
    }

    #[test]
    fn texts_that_are_not_there_are_told_apart() {
        check("{stages: [{begin: a, where: ''}]}", &["an empty text"]);
        check("{stages: [{begin: a}], select: {n: null}}", &["a null of its own says its type"]);
    }
}
