//! The step against a model that looks at one row and one rule after the other, under every cut of the rows into batches.

use std::fmt::Write;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{BooleanArray, Int64Array, RecordBatch};
use proptest::prelude::*;
use tidemill_event::{EventTime, Field, FieldType};

use crate::example::{batch, show};
use crate::rule_set::{
    Constant, Emit, MatchRules, RuleSet, RuleSetSettings, RuleTest, SetRule, SharedPredicate, SharedValue, TestKind,
};
use crate::{Computed, FlowBatch, NamedProjection, Operator, Outcome, Predicate, Projection, StepId, Tested};

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
    };
    let predicate = |limit: i64| SharedPredicate { columns: vec![v.clone()], predicate: Box::new(Less(limit)) };
    RuleSetSettings {
        step: StepId(1),
        rules,
        predicates: LIMITS.map(predicate).into(),
        values: ADDED.map(value).into(),
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

fn said(rule: &SetRule, place: usize, (k, v): Row) -> Result<bool, ()> {
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
                Some(13) => return Err(()),
                Some(v) if v < LIMITS[at as usize] => {}
                Some(_) | None => return Ok(false),
            }
        }
    }
    Ok(true)
}

/// What comes out of one row, as [`show`] has it; or the rule that failed.
fn model(set: &RuleSetSettings, place: usize, row: Row) -> Result<Vec<String>, String> {
    let mut yes: Vec<&SetRule> = Vec::new();
    for rule in &set.rules {
        match said(rule, place, row) {
            Err(()) => return Err(rule.name.to_string()),
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
        let computed = |column: u32| -> Result<Option<Option<i64>>, String> {
            let Some((at, rule)) = value(column) else { return Ok(None) };
            if row.1 == Some(11) { Err(rule.name.to_string()) } else { Ok(Some(row.1.map(|v| v + ADDED[at as usize]))) }
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
    (is, predicates, sets, bits, 0u8..10, 0u8..10).prop_map(|(is, predicates, sets, (is_tagged, from, until), off, ends)| {
        let text = |text: &str| Arc::from(text);
        let key = |any_of: Vec<usize>| RuleTest {
            text: text("k"),
            kind: TestKind::Is { column: "k".into(), any_of: any_of.iter().map(|k| Constant::Text(KEYS[*k].into())).collect() },
        };
        let predicates = predicates.into_iter().map(|at| RuleTest { text: text("v"), kind: TestKind::Predicate(at) });
        let tests = predicates.chain(is.map(key)).collect();
        SetRule {
            name: text("?"),
            off: (off == 0).then(|| text("off")),
            from,
            until,
            tests,
            sets,
            tags: if is_tagged { vec![text("t"), text("u")] } else { Vec::new() },
            route: (ends == 0).then(|| text("there")),
            drops: ends == 1,
        }
    })
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
        let expected: Vec<Result<Vec<String>, String>> = rows.iter().enumerate().map(|(place, row)| model(&set(), place, *row)).collect();
        let mut step = RuleSet::new(set());
        for start in (0..rows.len()).step_by(cut) {
            let length = cut.min(rows.len() - start);
            let part = FlowBatch { rows: all.rows.slice(start, length), origin: (start as u32..).take(length).collect() };
            let mut output = Outcome::new(EventTime(0));
            let out = step.apply(part, &mut output);
            let wanted: Vec<String> = (start..start + length)
                .flat_map(|at| expected[at].iter().flatten().map(move |line| format!("{at}:{line}")))
                .collect();
            let shown = show(&out, &output);
            prop_assert_eq!(shown.split(" | ").next().unwrap_or_default(), wanted.join(" "));
            let failed: Vec<(u32, bool)> = output.dead.iter().map(|dead| (dead.origin, true)).collect();
            let wanted: Vec<(u32, bool)> = (start..start + length).filter(|at| expected[*at].is_err()).map(|at| (at as u32, true)).collect();
            prop_assert_eq!(failed, wanted);
            for dead in &output.dead {
                let rule = expected[dead.origin as usize].as_ref().expect_err("it was one");
                // Of several columns that fail, which one is told is for the step to choose.
                prop_assert!(dead.error.starts_with(&format!("rule `{rule}`")) || rows[dead.origin as usize].1 == Some(11), "{}", dead.error);
            }
        }
    }
}
