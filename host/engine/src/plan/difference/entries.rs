//! Lists inside a step, of patterns or rules: which entry was added, removed or changed, each in a line with what follows from it.
//!
//! ```text
//! patterns[declined]: draining: (not said) → true; 12 partial matches of 9 keys are brought to their end
//! patterns[declined]: added
//! ```
//! An entry that says the same but for `draining` is the same entry; what is left is paired by its name.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::plan::difference::partial::Fates;
use crate::plan::difference::steps::members_changed;

/// How many names of a list are told.
const NAMES_MAX: usize = 3;

/// One of a list, as it is written.
type Entry = Map<String, Value>;

/// The entries of a list in which each has a name.
pub(super) fn entries(value: &Value) -> Option<Vec<&Entry>> {
    let list = value.as_array().filter(|list| !list.is_empty())?;
    list.iter().map(|entry| entry.as_object().filter(|entry| entry.get("name").is_some_and(Value::is_string))).collect()
}

/// `declined, testing, slow and 4 more`.
pub(super) fn named(value: &Value) -> Option<String> {
    let entries = entries(value)?;
    let names: Vec<&str> = entries.iter().take(NAMES_MAX).map(|entry| name(entry)).collect();
    let more = entries.len() - names.len();
    Some(if more == 0 { names.join(", ") } else { format!("{} and {more} more", names.join(", ")) })
}

fn name(entry: &Entry) -> &str {
    entry.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// What differs between two lists, in the order of the new one, removed ones behind.
pub(super) fn entries_changed(list: &str, old: &[&Entry], new: &[&Entry], fates: &Fates) -> Vec<String> {
    let mut lines = Vec::new();
    for (was, is) in paired(old, new) {
        let (what, entry) = match (was, is) {
            (Some(was), Some(is)) if old[was] == new[is] => continue,
            (Some(was), Some(is)) => (members_changed(old[was], new[is], &Fates::of_nothing()).join(", "), new[is]),
            (None, Some(is)) => ("added".to_owned(), new[is]),
            (Some(was), None) => ("removed".to_owned(), old[was]),
            (None, None) => continue,
        };
        let fate = fates.of_entry(was, is).map_or_else(String::new, |fate| format!("; {fate}"));
        lines.push(format!("{list}[{}]: {what}{fate}", name(entry)));
    }
    lines
}

/// Places of entries side by side.
fn paired(old: &[&Entry], new: &[&Entry]) -> Vec<(Option<usize>, Option<usize>)> {
    // What is left of the old ones, by name: few have the same.
    let mut left: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (was, entry) in old.iter().enumerate() {
        left.entry(name(entry)).or_default().push(was);
    }
    let mut take = |is: &Entry, is_it: &dyn Fn(usize) -> bool| {
        let of_name = left.get_mut(name(is))?;
        let at = of_name.iter().position(|was| is_it(*was))?;
        Some(of_name.remove(at))
    };
    let mut pairs: Vec<(Option<usize>, Option<usize>)> =
        (0..new.len()).map(|is| (take(new[is], &|was| same_but_draining(old[was], new[is])), Some(is))).collect();
    for (is, (was, _)) in pairs.iter_mut().enumerate().filter(|(_, (was, _))| was.is_none()) {
        *was = take(new[is], &|_| true);
    }
    let mut removed: Vec<usize> = left.into_values().flatten().collect();
    removed.sort_unstable();
    pairs.extend(removed.into_iter().map(|was| (Some(was), None)));
    pairs
}

fn same_but_draining(was: &Entry, is: &Entry) -> bool {
    let says = |entry: &Entry| entry.iter().filter(|(key, _)| *key != "draining").count();
    says(was) == says(is) && was.iter().filter(|(key, _)| *key != "draining").all(|(key, value)| is.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(old: &Value, new: &Value, expected: &[&str]) {
        let (old, new) = (entries(old).expect("names"), entries(new).expect("names"));
        assert_eq!(entries_changed("rules", &old, &new, &Fates::of_nothing()), expected);
    }

    #[test]
    fn entries_are_known_by_their_names() {
        let one = || json!({"name": "one", "when": "a > 1"});
        let changed = json!({"name": "one", "when": "a > 2"});
        let drained = json!({"name": "one", "when": "a > 1", "draining": true});
        let two = || json!({"name": "two", "when": "b"});
        check(&json!([one(), two()]), &json!([two(), one()]), &[]);
        check(&json!([one()]), &json!([changed, two()]), &["rules[one]: when: a > 1 → a > 2", "rules[two]: added"]);
        check(&json!([one(), two()]), &json!([two()]), &["rules[one]: removed"]);
        check(&json!([one()]), &json!([changed, drained]), &["rules[one]: added", "rules[one]: draining: (not said) → true"]);
        check(&json!([changed, drained]), &json!([changed]), &["rules[one]: removed"]);
        assert_eq!(named(&json!([one(), two(), one(), two(), one()])).as_deref(), Some("one, two, one and 2 more"));
        assert_eq!(named(&json!(["a", "b"])), None);
    }
}
