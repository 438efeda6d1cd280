//! Reads a lookup: `{table: airports, on: origin = iata, take: [state, city as town], missing: drop}`.
//!
//! ```text
//! on    one or more of  COLUMN = COLUMN  joined by `and`;  or  COLUMN in COLUMN  (networks);  or  COLUMN under COLUMN  (domains)
//!       left a column of the rows, right one of the table
//! take  COLUMN [as NAME], …
//! ```
//! A column is written as in an expression: `user.country`, or in quotes if it is no plain name.

use tidemill_flow::Missing;

use crate::Fault;
use crate::pipeline::Text;
use crate::pipeline::document::{Node, NodeValue};
use crate::pipeline::object::{Object, listed, text_of};
use crate::pipeline::parse::list;

/// How a row and a row of the table belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Matching {
    /// `=`.
    Equal,
    /// `in`: an address in a network.
    InNetwork,
    /// `under`: a host in a domain.
    UnderDomain,
}

impl Matching {
    /// Its word in the grammar.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::InNetwork => "in",
            Self::UnderDomain => "under",
        }
    }
}

/// A lookup as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LookupStep {
    pub(crate) table: Text,
    pub(crate) matching: Matching,
    /// Column of the rows, column of the table; at least one, and one unless they are equalities.
    pub(crate) on: Vec<(String, String)>,
    pub(crate) on_line: usize,
    /// Column of the table, and what it is called in the rows.
    pub(crate) take: Vec<(Text, String)>,
    pub(crate) missing: Missing,
}

/// A piece of `on` or `take`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A plain word: a column, or a word of the grammar.
    Word(String),
    /// A column in quotes.
    Quoted(String),
    Equals,
}

/// Reads the value of `lookup`.
pub(super) fn lookup(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<LookupStep> {
    let mut object = Object::of(node, path, "{table: airports, on: origin = iata, take: [state]}", faults)?;
    let needed = |name: &str, example: &str, faults: &mut Vec<Fault>| {
        if object.keys().all(|key| key.name != name) {
            object.missing(name, example, faults);
        }
    };
    needed("table", "table: airports", faults);
    needed("on", "on: origin = iata", faults);
    needed("take", "take: [state, city as town]", faults);
    let table = object.text("table", faults);
    let on_text = object.text("on", faults);
    let on = on_text.as_ref().and_then(|text| {
        let read = conditions(&text.text);
        read.map_err(|error| {
            let remedy = "write `origin = iata` (several with `and`), `ip in network`, or `host under domain`: the rows' column left, the table's right";
            faults.push(Fault::new(object.member("on"), text.line, error, remedy));
        })
        .ok()
    });
    let take_path = object.member("take");
    let take = object.take("take").map(|node| taken(node, &take_path, faults));
    let missing = missing(&mut object, faults);
    object.finish(&["table", "on", "take", "missing"], faults);
    let (matching, on) = on?;
    Some(LookupStep { table: table?, matching, on, on_line: on_text?.line, take: take??, missing })
}

/// `missing: null` is a word here, and nothing to YAML and JSON.
fn missing(object: &mut Object<'_>, faults: &mut Vec<Fault>) -> Missing {
    let Some(node) = object.take("missing") else { return Missing::Null };
    let said = match &node.value {
        NodeValue::Scalar { text, .. } => text.as_str(),
        NodeValue::List(_) | NodeValue::Object(_) => "",
    };
    match said {
        "drop" => Missing::Drop,
        "null" => Missing::Null,
        _ => {
            let error = format!("{} is none of the values there are", if said.is_empty() { node.what() } else { said });
            faults.push(Fault::new(
                object.member("missing"),
                node.line,
                error,
                format!("use {}", listed(&["drop", "null"], "or")),
            ));
            Missing::Null
        }
    }
}

fn taken(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<Vec<(Text, String)>> {
    let items = list(node, path, "take: [state, city as town]", faults);
    if items.is_empty() {
        faults.push(Fault::new(path, node.line, "no column is taken", "name columns of the table: `take: [state]`"));
        return None;
    }
    let mut taken: Vec<(Text, String)> = Vec::with_capacity(items.len());
    let mut is_right = true;
    for (at, item) in items.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let Some(text) = text_of(item, &path, faults) else {
            is_right = false;
            continue;
        };
        let fault = match column_and_name(&text.text) {
            None => Some((format!("`{}` is no column of a table", text.text), "write `state`, or `city as town`")),
            Some((_, name)) if name.starts_with('_') || name.is_empty() => Some((
                format!("`{name}` cannot be a column: names with `_` in front are the host's"),
                "choose another name with `as`",
            )),
            Some((_, name)) if taken.iter().any(|(_, other)| *other == name) => {
                Some((format!("`{name}` is taken twice"), "remove one of the two, or give it another name with `as`"))
            }
            Some((column, name)) => {
                taken.push((Text { text: column, line: text.line }, name));
                None
            }
        };
        if let Some((error, remedy)) = fault {
            faults.push(Fault::new(path, text.line, error, remedy));
            is_right = false;
        }
    }
    is_right.then_some(taken)
}

fn column_and_name(text: &str) -> Option<(String, String)> {
    match tokens(text).ok()?.as_slice() {
        [Token::Word(column) | Token::Quoted(column)] => Some((column.clone(), column.clone())),
        [Token::Word(column) | Token::Quoted(column), Token::Word(word), Token::Word(name) | Token::Quoted(name)]
            if word.eq_ignore_ascii_case("as") =>
        {
            Some((column.clone(), name.clone()))
        }
        _ => None,
    }
}

/// Reads `on`. The error says what is wrong with it.
fn conditions(text: &str) -> Result<(Matching, Vec<(String, String)>), String> {
    let tokens = tokens(text)?;
    let no_condition = || format!("`{text}` is no condition of a lookup");
    let mut on = Vec::new();
    let mut found: Option<Matching> = None;
    let mut rest = tokens.as_slice();
    loop {
        let [Token::Word(left) | Token::Quoted(left), operator, Token::Word(right) | Token::Quoted(right), behind @ ..] = rest
        else {
            return Err(no_condition());
        };
        let matching = match operator {
            Token::Equals => Matching::Equal,
            Token::Word(word) if word.eq_ignore_ascii_case("in") => Matching::InNetwork,
            Token::Word(word) if word.eq_ignore_ascii_case("under") => Matching::UnderDomain,
            Token::Word(_) | Token::Quoted(_) => return Err(no_condition()),
        };
        if found.is_some_and(|found| (found, matching) != (Matching::Equal, Matching::Equal)) {
            return Err(format!("`{text}`: `in` and `under` stand alone"));
        }
        found = Some(matching);
        on.push((left.clone(), right.clone()));
        rest = match behind {
            [] => return Ok((matching, on)),
            [Token::Word(and), behind @ ..] if and.eq_ignore_ascii_case("and") => behind,
            _ => return Err(no_condition()),
        };
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '=' => {
                tokens.push(Token::Equals);
                1
            }
            '"' => {
                let Some(end) = rest[1..].find('"') else { return Err(format!("`{text}` has an open quote")) };
                tokens.push(Token::Quoted(rest[1..=end].to_owned()));
                end + 2
            }
            _ => {
                let is_part = |part: char| part.is_alphanumeric() || matches!(part, '_' | '.');
                let end = rest.find(|part| !is_part(part)).unwrap_or(rest.len());
                if end == 0 {
                    return Err(format!("`{text}` has `{first}`, which means nothing here"));
                }
                tokens.push(Token::Word(rest[..end].to_owned()));
                end
            }
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use crate::pipeline::{StepKind, parse};

    #[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
    fn check(lookup: &str, expected: Expect) {
        let text = format!("from: a\nsteps:\n- lookup: {lookup}\nto: [stdout]\n");
        let shown = match parse(&"p".parse().expect("a name"), &text) {
            Ok(definition) => match &definition.steps[0].kind {
                StepKind::Lookup(lookup) => {
                    let on: Vec<String> =
                        lookup.on.iter().map(|(row, table)| format!("{row} {} {table}", lookup.matching.word())).collect();
                    let take: Vec<String> = lookup.take.iter().map(|(column, name)| format!("{}→{name}", column.text)).collect();
                    format!("{} on {} take {} {:?}", lookup.table.text, on.join(" and "), take.join(" "), lookup.missing)
                }
                other => panic!("{other:?}"),
            },
            Err(faults) => faults.iter().map(|fault| format!("{}: {} -> {}\n", fault.path, fault.error, fault.remedy)).collect(),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn lookups_are_read() {
        check(
            "{table: airports, on: origin = iata, take: [state, city as town], missing: drop}",
            expect!["airports on origin = iata take state→state city→town Drop"],
        );
        check(
            r#"{"table": "t", "on": "a.x=k AND \"user id\" = \"id=\"", "take": ["v.w as \"v w\""], "missing": null}"#,
            expect!["t on a.x = k and user id = id= take v.w→v w Null"],
        );
        check(
            "{table: t, on: ip in network, take: [owner], missing: 'null'}",
            expect!["t on ip in network take owner→owner Null"],
        );
        check("{table: t, on: host under domain, take: [list]}", expect!["t on host under domain take list→list Null"]);
    }

    #[test]
    fn what_is_no_lookup_is_named() {
        check(
            "{}",
            expect![[r#"
                steps[0].lookup.table: `table` is missing -> add `table: airports`
                steps[0].lookup.on: `on` is missing -> add `on: origin = iata`
                steps[0].lookup.take: `take` is missing -> add `take: [state, city as town]`
            "#]],
        );
        let on = |on: &str, expected| check(&format!("{{table: t, on: '{on}', take: [v]}}"), expected);
        on(
            "a == b",
            expect![[r#"
            steps[0].lookup.on: `a == b` is no condition of a lookup -> write `origin = iata` (several with `and`), `ip in network`, or `host under domain`: the rows' column left, the table's right
        "#]],
        );
        on(
            "a < b",
            expect![[r#"
            steps[0].lookup.on: `a < b` has `<`, which means nothing here -> write `origin = iata` (several with `and`), `ip in network`, or `host under domain`: the rows' column left, the table's right
        "#]],
        );
        on(
            "a = b and ip in net",
            expect![[r#"
            steps[0].lookup.on: `a = b and ip in net`: `in` and `under` stand alone -> write `origin = iata` (several with `and`), `ip in network`, or `host under domain`: the rows' column left, the table's right
        "#]],
        );
        check(
            "{table: t, on: a = b, take: [v, w as v, _x, a b, []], missing: keep, mising: drop}",
            expect![[r#"
                steps[0].lookup.take[1]: `v` is taken twice -> remove one of the two, or give it another name with `as`
                steps[0].lookup.take[2]: `_x` cannot be a column: names with `_` in front are the host's -> choose another name with `as`
                steps[0].lookup.take[3]: `a b` is no column of a table -> write `state`, or `city as town`
                steps[0].lookup.take[4]: a list where a text is needed -> write a text
                steps[0].lookup.missing: keep is none of the values there are -> use `drop` or `null`
                steps[0].lookup.mising: there is no `mising` -> did you mean `missing`?
            "#]],
        );
    }
}
