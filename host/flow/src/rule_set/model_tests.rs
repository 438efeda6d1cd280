//! The step against a model that looks at one row and one rule after the other, under every cut of the rows into batches.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{BooleanArray, Int64Array, RecordBatch};
use proptest::prelude::*;
use tidemill_event::{CallFailure, Ending, EventTime, Field, FieldType, NoteKind, RowNote, RuleAnswer, RuleCall, Usage};

use crate::example::{batch, show};
use crate::rule_set::{
    AskedComponent, Constant, Emit, MatchRules, RuleComponent, RuleSet, RuleSetSettings, RuleTest, SetRule, SharedPredicate,
    SharedValue, TestKind,
};
use crate::{
    Computed, FlowBatch, Guest, Isolation, NamedProjection, Operator, Outcome, Predicate, Projection, StepId, Tested, Wait,
};

/// `v < limit`; 13 fails. It must be given `v` and nothing else.
pub(super) struct Less(pub(super) i64);

impl Predicate for Less {
    fn test(&self, rows: &RecordBatch) -> Tested {
        assert_eq!(rows.num_columns(), 1, "it reads one column");
        let values = rows.column(0).as_primitive::<Int64Type>();
        let passes: BooleanArray = values.iter().map(|v| v.map(|v| v < self.0)).collect();
        Tested { passes, failed: unlucky(values, 13) }
    }
}

/// `v + more`; 11 fails.
pub(super) struct Plus(pub(super) i64);

impl Projection for Plus {
    fn compute(&self, rows: &RecordBatch) -> Computed {
        let values = rows.column(0).as_primitive::<Int64Type>();
        let made: Int64Array = values.iter().map(|v| v.map(|v| v + self.0)).collect();
        Computed { values: Arc::new(made), failed: unlucky(values, 11) }
    }
}

/// The component of a rule: yes to odd numbers, with ten times the number as `score`, and no to null. 5 traps the call, 7 is rejected, 17 is to
/// come again, 19 has no score.
pub(super) struct Odd;

impl Guest<RuleAnswer> for Odd {
    fn call(&mut self, call: &RuleCall) -> Result<RuleAnswer, CallFailure> {
        assert_eq!((call.columns.num_columns(), call.state.is_none()), (1, true), "it reads one column, and keeps nothing");
        let values = call.columns.column(0).as_primitive::<Int64Type>();
        assert!(!values.is_empty(), "somebody is asked about");
        if values.iter().any(|v| v == Some(5)) {
            let (message, backtrace) = ("boom".to_owned(), String::new());
            return Err(CallFailure { ending: Ending::Trap, message, backtrace, usage: Usage::default() });
        }
        let note = |(row, v): (usize, Option<i64>)| {
            let (kind, text) = match v {
                Some(7) => (NoteKind::Reject, "unlucky"),
                Some(17) => (NoteKind::RetryAfter(Duration::from_secs(1)), "later"),
                Some(_) | None => return None,
            };
            Some(RowNote { row: row as u32, kind, text: text.to_owned() })
        };
        let score: Int64Array =
            values.iter().map(|v| if v == Some(19) { None } else { Some(v.unwrap_or_default() * 10) }).collect();
        Ok(RuleAnswer {
            verdicts: values.iter().map(|v| v.is_some_and(|v| v % 2 == 1)).collect::<Vec<bool>>().into(),
            columns: vec![Arc::new(score)],
            state: None,
            notes: values.iter().enumerate().filter_map(note).collect(),
            usage: Usage::default(),
        })
    }

    fn replace(&mut self) {}
}

/// `score + v`, of rows that the component said yes to.
struct Score;

impl Projection for Score {
    fn compute(&self, rows: &RecordBatch) -> Computed {
        assert_eq!(rows.num_columns(), 2, "it reads two columns");
        let column = |at: usize| rows.column(at).as_primitive::<Int64Type>().iter();
        let made: Int64Array =
            column(0).zip(column(1)).map(|(score, v)| Some(score.expect("never null") + v.expect("odd"))).collect();
        Computed { values: Arc::new(made), failed: Vec::new() }
    }
}

fn unlucky(values: &Int64Array, number: i64) -> Vec<(usize, String)> {
    values.iter().enumerate().filter(|(_, v)| *v == Some(number)).map(|(row, _)| (row, "unlucky".to_owned())).collect()
}

/// The thresholds of the predicates there are.
pub(super) const LIMITS: [i64; 3] = [3, 8, 20];
/// What is added by the values there are.
pub(super) const ADDED: [i64; 2] = [100, 200];

pub(super) fn settings(rules: Vec<SetRule>, matches: MatchRules, emit: Emit, keeps_all: bool, traces: bool) -> RuleSetSettings {
    let v: Arc<str> = "v".into();
    let value = |more: i64| SharedValue {
        columns: vec![v.clone()],
        value: NamedProjection {
            field: Field::new(&format!("v + {more}"), FieldType::Int64, true),
            projection: Box::new(Plus(more)),
        },
        of: None,
    };
    let score = |rule: u32| SharedValue {
        columns: vec!["score".into(), v.clone()],
        value: NamedProjection { field: Field::new("score + v", FieldType::Int64, true), projection: Box::new(Score) },
        of: Some(rule),
    };
    let component = |_: &u32| RuleComponent {
        columns: vec![Field::new("v", FieldType::Int64, true)],
        outputs: vec![Field::new("score", FieldType::Int64, false)],
        isolation: Isolation::never_out(),
        guest: Box::new(Odd),
    };
    // What such a rule sets from its component's answer stands behind the values there are, by the component's place.
    let mut asking = Vec::new();
    let mut rules = rules;
    for (at, rule) in (0..).zip(&mut rules) {
        let Some(asks) = &mut rule.asks else { continue };
        asks.place = asking.len() as u32;
        for (_, value) in rule.sets.iter_mut().filter(|(_, value)| *value >= ADDED.len() as u32) {
            *value = ADDED.len() as u32 + asks.place;
        }
        asking.push(at);
    }
    let predicate = |limit: i64| SharedPredicate { columns: vec![v.clone()], predicate: Box::new(Less(limit)) };
    RuleSetSettings {
        step: StepId(1),
        rules,
        predicates: LIMITS.map(predicate).into(),
        values: ADDED.into_iter().map(value).chain(asking.iter().copied().map(score)).collect(),
        components: asking.iter().map(component).collect(),
        // One that the rows have, one that is new.
        columns: vec![Field::new("v", FieldType::Int64, true), Field::new("w", FieldType::Int64, true)],
        matches,
        emit,
        keeps_all,
        named: "rule".into(),
        traces,
    }
}

/// A row of the model: its key, its value; its time is its place.
type Row = (Option<usize>, Option<i64>);

const KEYS: [&str; 3] = ["a", "b", "c"];

/// What becomes of a row that says neither yes nor no.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ends {
    /// It is dead, by this rule.
    Dead(String),
    /// It comes again.
    Later,
}

fn said(rule: &SetRule, place: usize, (k, v): Row) -> Result<bool, Ends> {
    let dead = || Ends::Dead(rule.name.to_string());
    let time = place as i64;
    if rule.off.is_some() || rule.from.is_some_and(|from| time < from) || rule.until.is_some_and(|until| time >= until) {
        return Ok(false);
    }
    for test in &rule.tests {
        if let TestKind::Is { any_of, .. } = &test.kind
            && !k.is_some_and(|k| any_of.contains(&Constant::Text(KEYS[k].into())))
        {
            return Ok(false);
        }
    }
    for test in &rule.tests {
        if let TestKind::Predicate(at) = test.kind {
            match v {
                Some(13) => return Err(dead()),
                Some(v) if v < LIMITS[at as usize] => {}
                Some(_) | None => return Ok(false),
            }
        }
    }
    match v {
        _ if rule.asks.is_none() => Ok(true),
        Some(5 | 7 | 19) => Err(dead()),
        Some(17) => Err(Ends::Later),
        v => Ok(v.is_some_and(|v| v % 2 == 1)),
    }
}

/// What comes out of one row, as [`show`] has it; or how it ends.
fn model(set: &RuleSetSettings, place: usize, row: Row) -> Result<Vec<String>, Ends> {
    let mut yes: Vec<&SetRule> = Vec::new();
    for rule in &set.rules {
        match said(rule, place, row) {
            Err(ends) => return Err(ends),
            Ok(false) => {}
            Ok(true) => {
                yes.push(rule);
                if set.matches == MatchRules::First {
                    break;
                }
            }
        }
    }
    if yes.is_empty() && !set.keeps_all || yes.iter().any(|rule| rule.drops) {
        return Ok(Vec::new());
    }
    let groups: Vec<Vec<&SetRule>> = match set.emit {
        Emit::Matches if !yes.is_empty() => yes.into_iter().map(|rule| vec![rule]).collect(),
        Emit::Matches | Emit::Rows => vec![yes],
    };
    let mut lines = Vec::new();
    for yes in groups {
        let value = |column: u32| {
            yes.iter().find_map(|rule| rule.sets.iter().find(|(to, _)| *to == column).map(|(_, value)| (*value, rule)))
        };
        let computed = |column: u32| -> Result<Option<Option<i64>>, Ends> {
            let Some((at, rule)) = value(column) else { return Ok(None) };
            let Some(more) = ADDED.get(at as usize) else { return Ok(Some(row.1.map(|v| 11 * v))) };
            if row.1 == Some(11) { Err(Ends::Dead(rule.name.to_string())) } else { Ok(Some(row.1.map(|v| v + more))) }
        };
        let (v, w) = (computed(0)?, computed(1)?);
        let shown = |value: Option<i64>| value.map_or("-".to_owned(), |value| value.to_string());
        let list =
            |names: Vec<&str>| format!("[{}]", names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(","));
        let mut line = format!("{}={}", row.0.map_or("-", |k| KEYS[k]), shown(v.unwrap_or(row.1)));
        write!(line, ",rule={}", yes.first().map_or("-", |rule| &rule.name)).expect("memory");
        if set.matches == MatchRules::All && set.emit == Emit::Rows {
            write!(line, ",rules={}", list(yes.iter().map(|rule| &*rule.name).collect())).expect("memory");
        }
        write!(line, ",w={}", shown(w.flatten())).expect("memory");
        if set.rules.iter().any(|rule| !rule.tags.is_empty()) {
            let mut tags: Vec<&str> = Vec::new();
            for tag in yes.iter().flat_map(|rule| &rule.tags) {
                if !tags.contains(&&**tag) {
                    tags.push(tag);
                }
            }
            write!(line, ",tags={}", list(tags)).expect("memory");
        }
        if set.rules.iter().any(|rule| rule.route.is_some()) {
            write!(line, ",route={}", yes.iter().find_map(|rule| rule.route.as_deref()).unwrap_or("-")).expect("memory");
        }
        lines.push(line);
    }
    Ok(lines)
}

fn rule() -> impl Strategy<Value = SetRule> {
    let is = proptest::option::weighted(0.6, proptest::collection::vec(0usize..3, 1..3));
    let predicates = proptest::collection::vec(0u32..3, 0..3);
    let sets = proptest::collection::vec((0u32..2, 0u32..2), 0..2);
    let bits = (any::<bool>(), proptest::option::weighted(0.2, 0i64..30), proptest::option::weighted(0.2, 0i64..30));
    let asks = proptest::option::weighted(0.3, any::<bool>());
    (is, predicates, sets, bits, 0u8..10, 0u8..10, asks).prop_map(
        |(is, predicates, mut sets, (is_tagged, from, until), off, ends, asks)| {
            if asks == Some(true) {
                sets.insert(0, (1, ADDED.len() as u32));
            }
            let text = |text: &str| Arc::from(text);
            let key = |any_of: Vec<usize>| RuleTest {
                text: text("k"),
                kind: TestKind::Is {
                    column: "k".into(),
                    any_of: any_of.iter().map(|k| Constant::Text(KEYS[*k].into())).collect(),
                },
            };
            let predicates = predicates.into_iter().map(|at| RuleTest { text: text("v"), kind: TestKind::Predicate(at) });
            let tests = predicates.chain(is.map(key)).collect();
            SetRule {
                name: text("?"),
                off: (off == 0).then(|| text("off")),
                from,
                until,
                tests,
                asks: asks.map(|_| AskedComponent { place: 0, text: text("odd@1") }),
                sets,
                tags: if is_tagged { vec![text("t"), text("u")] } else { Vec::new() },
                route: (ends == 0).then(|| text("there")),
                drops: ends == 1,
            }
        },
    )
}

proptest! {
    #[test]
    fn it_does_what_the_model_does_however_rows_are_cut(
        mut rules in proptest::collection::vec(rule(), 0..12),
        rows in proptest::collection::vec((proptest::option::weighted(0.9, 0usize..3), proptest::option::weighted(0.9, 0i64..24)), 1..40),
        (is_first, each, keeps_all, cut) in (any::<bool>(), any::<bool>(), any::<bool>(), 1usize..40),
    ) {
        rules.iter_mut().enumerate().for_each(|(at, rule)| rule.name = format!("r{at}").into());
        let matches = if is_first { MatchRules::First } else { MatchRules::All };
        let emit = if each { Emit::Matches } else { Emit::Rows };
        let set = || settings(rules.clone(), matches, emit, keeps_all, false);
        let text: Vec<String> =
            rows.iter().map(|(k, v)| format!("{}:{}", k.map_or("-", |k| KEYS[k]), v.map_or("-".to_owned(), |v| v.to_string()))).collect();
        let all = batch(&text.join(" "));
        let expected: Vec<Result<Vec<String>, Ends>> = rows.iter().enumerate().map(|(place, row)| model(&set(), place, *row)).collect();
        let mut step = RuleSet::new(set());
        for start in (0..rows.len()).step_by(cut) {
            let length = cut.min(rows.len() - start);
            let part = FlowBatch { rows: all.rows.slice(start, length), origin: (start as u32..).take(length).collect() };
            let mut output = Outcome::new(EventTime(0));
            let mut out = step.apply(part, &mut output);
            // What had cost enough comes before any new row.
            let mut put_back = std::mem::take(&mut output.put_back);
            while let Some(at) = put_back.iter().position(|back| back.wait == Wait::Not) {
                let back = put_back.remove(at);
                out = FlowBatch::concat(vec![out, step.apply(back.rows, &mut output)]);
                put_back.append(&mut output.put_back);
            }
            let mut later: Vec<u32> = put_back.iter().flat_map(|back| back.rows.origin.clone()).collect();
            later.sort_unstable();
            let wanted: Vec<u32> =
                (start..start + length).filter(|at| expected[*at] == Err(Ends::Later)).map(|at| at as u32).collect();
            prop_assert_eq!(later, wanted);
            let wanted: Vec<String> = (start..start + length)
                .flat_map(|at| expected[at].iter().flatten().map(move |line| format!("{at}:{line}")))
                .collect();
            let shown = show(&out, &output);
            prop_assert_eq!(shown.split(" | ").next().unwrap_or_default(), wanted.join(" "));
            let mut failed: Vec<u32> = output.dead.iter().map(|dead| dead.origin).collect();
            failed.sort_unstable();
            let is_dead = |at: &usize| matches!(expected[*at], Err(Ends::Dead(_)));
            let wanted: Vec<u32> = (start..start + length).filter(is_dead).map(|at| at as u32).collect();
            prop_assert_eq!(failed, wanted);
            for dead in &output.dead {
                let Err(Ends::Dead(rule)) = &expected[dead.origin as usize] else { unreachable!("it was looked for") };
                // Of several columns that fail, which one is told is for the step to choose.
                prop_assert!(dead.error.starts_with(&format!("rule `{rule}`")) || rows[dead.origin as usize].1 == Some(11), "{}", dead.error);
            }
        }
    }
}
