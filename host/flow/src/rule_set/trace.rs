//! Why a row got what it got: which rules were asked, which said yes and because of what, and where the others stopped.
//!
//! ```text
//! {"asked": 4, "yes": [{"rule": "b", "because": ["country = 'DE'", "amount > 100"]}],
//!  "no": [{"rule": "a", "at": "amount > 1000", "is": "false"}], "unlisted": 2}
//! ```
//! `no` lists the most important ones; `unlisted` counts the others. A test that an earlier one settled has no answer. A rule's component comes
//! last, by its name; `skipped`: it was taken out, and the row passed without an answer.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use serde_json::{Value, json};
use tidemill_event::batch::times;

use crate::batch::columns_named;
use crate::rule_set::actions::Leaving;
use crate::rule_set::answers::Answers;
use crate::rule_set::component::Said;
use crate::rule_set::index::{ColumnIndex, OTHER};
use crate::rule_set::matching::{Matcher, is_on};
use crate::rule_set::{Constant, MatchRules, RuleSetSettings, SetRule, TestKind};

/// So many rules that said no are listed.
const LISTED_MAX: usize = 32;

/// The trace of each row that leaves.
pub(crate) fn traces(
    set: &RuleSetSettings,
    matcher: &Matcher,
    pairs: &[(u32, u32)],
    leaving: &[Leaving],
    (rows, said): (&RecordBatch, &[Said]),
) -> ArrayRef {
    let mut tracing = Tracing { set, rows, said, answers: matcher.answers(rows, &set.predicates) };
    // Of rows that come out several times, the last one.
    let mut last: Option<(u32, String)> = None;
    let mut all = |row: &Leaving| match &last {
        Some((of, text)) if *of == row.row => text.clone(),
        Some(_) | None => {
            // Of a row that comes out once for each rule, every rule.
            let before = pairs[..row.pairs.start].iter().rev().take_while(|(of, _)| *of == row.row).count();
            let said: Vec<u32> =
                pairs[row.pairs.start - before..].iter().take_while(|(of, _)| *of == row.row).map(|(_, rule)| *rule).collect();
            let text = tracing.trace(row.row, &said).to_string();
            last = Some((row.row, text.clone()));
            text
        }
    };
    Arc::new(leaving.iter().map(|row| Some(all(row))).collect::<StringArray>())
}

struct Tracing<'a> {
    set: &'a RuleSetSettings,
    rows: &'a RecordBatch,
    /// What the components said, by their place.
    said: &'a [Said],
    answers: Answers<'a>,
}

impl Tracing<'_> {
    /// `said`: the rules that said yes, ascending.
    fn trace(&mut self, row: u32, said: &[u32]) -> Value {
        let set = self.set;
        let because = |rule: &SetRule| {
            let component = rule.asks.iter().map(|asks| &asks.text);
            rule.tests.iter().map(|test| &test.text).chain(component).map(|text| Value::from(&**text)).collect::<Value>()
        };
        let yes: Vec<Value> = said
            .iter()
            .map(|rule| &set.rules[*rule as usize])
            .map(|rule| json!({"rule": &*rule.name, "because": because(rule)}))
            .collect();
        let asked = match (set.matches, said.first()) {
            (MatchRules::First, Some(first)) => *first as usize + 1,
            (MatchRules::First, None) | (MatchRules::All, _) => set.rules.len(),
        };
        let mut no = Vec::new();
        for (at, rule) in (0u32..).zip(&set.rules[..asked]) {
            if no.len() == LISTED_MAX {
                break;
            }
            if said.binary_search(&at).is_err() {
                let (test, is) = self.stopped(rule, row);
                no.push(json!({"rule": &*rule.name, "at": test, "is": is}));
            }
        }
        let unlisted = asked - said.len() - no.len();
        json!({"asked": asked, "yes": yes, "no": no, "unlisted": unlisted})
    }

    /// Where a rule that said no stopped.
    fn stopped(&mut self, rule: &SetRule, row: u32) -> (String, String) {
        if let Some(why) = &rule.off {
            return ("enabled".to_owned(), why.to_string());
        }
        let time = times(self.rows).value(row as usize);
        if !is_on((rule.from, rule.until), time) {
            let is = if rule.from.is_some_and(|from| time < from) { "not yet" } else { "over" };
            return ("enabled".to_owned(), is.to_owned());
        }
        // As they are asked: what cannot fail comes first.
        let (is, predicates): (Vec<_>, Vec<_>) = rule.tests.iter().partition(|test| matches!(test.kind, TestKind::Is { .. }));
        for test in is.into_iter().chain(predicates) {
            let answer = match &test.kind {
                TestKind::Is { column, any_of } => self.is(column, any_of, row),
                TestKind::Predicate(predicate) => {
                    let answer = self.answers.answer_for_all(*predicate);
                    if answer.yes.contains(row) {
                        Some("true")
                    } else if answer.is_null(row) {
                        None
                    } else {
                        Some("false")
                    }
                }
            };
            match answer {
                Some("true") => {}
                Some(is) => return (test.text.to_string(), is.to_owned()),
                None => return (test.text.to_string(), "null".to_owned()),
            }
        }
        let asks = rule.asks.as_ref().expect("a rule that is on and whose every test is true says yes, if it asks no component");
        let is_skipped = self.said[asks.place as usize].passed.binary_search(&row).is_ok();
        (asks.text.to_string(), if is_skipped { "skipped" } else { "false" }.to_owned())
    }

    fn is(&self, column: &Arc<str>, any_of: &[Constant], row: u32) -> Option<&'static str> {
        let mut index = ColumnIndex::new(column.clone());
        any_of.iter().for_each(|value| {
            index.number(value);
        });
        let one = columns_named(self.rows, std::iter::once(column.clone())).slice(row as usize, 1);
        if one.column(0).is_null(0) {
            return None;
        }
        Some(if index.numbers(&one)[0] == OTHER { "false" } else { "true" })
    }
}
