//! The step: what comes out of it, and that neither cuts of batches nor restarts nor the form of columns show.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, BooleanArray, RecordBatch};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidemill_event::batch::TIME_COLUMN;
use tidemill_event::{Field, FieldType};

use crate::recognize::pattern_text::PatternText;
use crate::recognize::{
    AfterMatch, Definition, End, MatchLimits, MatchSettings, MatchStep, NamedTerm, Place, RowsPerMatch, Term, TermPredicate,
    VariableId, VariableSet,
};
use crate::window::example::{Row, Schedule, any_rows, any_schedule, run};
use crate::{Aggregate, AggregateCall, Computed, Judged, NamedProjection, Predicate, Projection, StepId, Tested};

/// Compares the columns `left` and `right`, row by row.
struct Compare {
    left: &'static str,
    right: Option<&'static str>,
    holds: fn(Option<i64>, Option<i64>) -> bool,
}

fn value(rows: &RecordBatch, name: &str, row: usize) -> Option<i64> {
    let column = rows.column_by_name(name).unwrap_or_else(|| panic!("no `{name}`")).as_primitive::<Int64Type>();
    column.is_valid(row).then(|| column.value(row))
}

impl Predicate for Compare {
    fn test(&self, rows: &RecordBatch) -> Tested {
        let holds = |row| {
            let right = self.right.and_then(|right| value(rows, right, row));
            Some((self.holds)(value(rows, self.left, row), right))
        };
        let passes: BooleanArray = (0..rows.num_rows()).map(holds).collect();
        // A value that makes the condition fail.
        let failed = (0..rows.num_rows()).filter(|row| value(rows, self.left, *row) == Some(-5));
        Tested { passes, failed: failed.map(|row| (row, "unlucky".to_owned())).collect() }
    }
}

/// A term as it is; 8 fails.
struct Same(&'static str);

impl Projection for Same {
    fn compute(&self, rows: &RecordBatch) -> Computed {
        let values = rows.column_by_name(self.0).expect("a term").clone();
        let unlucky = |row: &usize| self.0 == "LAST(v)" && value(rows, self.0, *row) == Some(8);
        let failed = (0..rows.num_rows()).filter(unlucky).map(|row| (row, "eight".to_owned())).collect();
        Computed { values, failed }
    }
}

fn v(place: Place) -> Term {
    Term::Column { name: "v".into(), place }
}

fn named(name: &str, ty: FieldType, term: Term) -> NamedTerm {
    NamedTerm { field: Field::new(name, ty, true), term }
}

fn of(left: NamedTerm, right: Option<NamedTerm>, condition: Compare) -> Option<TermPredicate> {
    Some(TermPredicate { terms: std::iter::once(left).chain(right).collect(), predicate: Box::new(condition) })
}

/// A: any row. B: less than the row before. C: more than the row before. D: not more than the row behind it. E: the first row of all is less.
fn definitions() -> Vec<Definition> {
    let itself = || named("v", FieldType::Int64, v(Place::ITSELF));
    let at = |name: &str, physical| named(name, FieldType::Int64, v(Place { physical, ..Place::ITSELF }));
    let less = |left: Option<i64>, right: Option<i64>| left.zip(right).is_some_and(|(left, right)| left < right);
    let more = |left: Option<i64>, right: Option<i64>| left.zip(right).is_some_and(|(left, right)| left > right);
    let not_more = |left: Option<i64>, right: Option<i64>| left.zip(right).is_some_and(|(left, right)| left <= right);
    let begun = named("FIRST(v)", FieldType::Int64, v(Place { end: End::First, ..Place::ITSELF }));
    let compare = |right, holds| Compare { left: "v", right: Some(right), holds };
    vec![
        Definition::default(),
        Definition { of_row: of(itself(), Some(at("PREV(v)", -1)), compare("PREV(v)", less)), of_match: None },
        Definition { of_row: of(itself(), Some(at("PREV(v)", -1)), compare("PREV(v)", more)), of_match: None },
        Definition { of_row: of(itself(), Some(at("NEXT(v)", 1)), compare("NEXT(v)", not_more)), of_match: None },
        Definition { of_row: None, of_match: of(itself(), Some(begun), compare("FIRST(v)", more)) },
    ]
}

#[derive(Debug, Clone)]
struct Case {
    pattern: &'static str,
    skip: AfterMatch,
    within: Option<u64>,
    rows: RowsPerMatch,
    keyed: bool,
}

fn step(case: &Case) -> MatchStep {
    let variables: Vec<Arc<str>> = ["A", "B", "C", "D", "E"].map(Arc::from).into();
    let mut definitions = definitions();
    // What the pattern does not use is not waited for.
    for (definition, _) in definitions.iter_mut().zip(&variables).filter(|(_, name)| !case.pattern.contains(&***name)) {
        *definition = Definition::default();
    }
    let (key, value) = (Field::new("k", FieldType::String, true), Field::new("v", FieldType::Int64, true));
    let time = Field::new(TIME_COLUMN, FieldType::Timestamp(None), false);
    let fields = vec![key.clone(), value.clone()];
    let one = VariableSet::one(VariableId(0));
    let sum = AggregateCall { name: "sum(v)".into(), aggregate: Aggregate::Sum, argument: Some(value.clone()), filter: None };
    let count = AggregateCall { name: "FINAL count(A.*)".into(), aggregate: Aggregate::Count, argument: None, filter: None };
    let terms = vec![
        named("number", FieldType::Int64, Term::MatchNumber),
        named("CLASSIFIER()", FieldType::String, Term::Classifier(Place::ITSELF)),
        named("LAST(v)", FieldType::Int64, v(Place::ITSELF)),
        named("FIRST(A.v)", FieldType::Int64, v(Place { of: one, end: End::First, ..Place::ITSELF })),
        named("sum(v)", FieldType::Int64, Term::Aggregate { call: sum, of: VariableSet::ALL, is_final: false }),
        named("FINAL count(A.*)", FieldType::Int64, Term::Aggregate { call: count, of: one, is_final: true }),
    ];
    let measures = terms.iter().zip(["number", "CLASSIFIER()", "LAST(v)", "FIRST(A.v)", "sum(v)", "FINAL count(A.*)"]);
    let measure = |(at, (term, name)): (usize, (&NamedTerm, &'static str))| NamedProjection {
        field: Field::new(&format!("m{at}"), term.field.ty, true),
        projection: Box::new(Same(name)),
    };
    let measures = measures.enumerate().map(measure).collect();
    let kept = match case.rows {
        RowsPerMatch::One => vec![value],
        _ => vec![key.clone(), value, time],
    };
    MatchStep::new(MatchSettings {
        step: StepId(1),
        by: if case.keyed { vec![key] } else { Vec::new() },
        fields,
        kept,
        variables,
        pattern: PatternText::parse(case.pattern),
        definitions,
        skip: case.skip,
        within: case.within.map(Duration::from_micros),
        rows: case.rows,
        terms,
        measures,
        explained: None,
        limits: MatchLimits { rows_max: 8, ways_max: 20 },
        judged: Judged::ByLane,
    })
    .expect("a sound pattern")
}

const PATTERNS: [&str; 9] =
    ["A B+ C+", "A C", "A B* D", "(A C | A B) A?", "A+? E", "A*", "PERMUTE(B, C) A", "A {- B+ -} C", "D+ (B | E)??  C?"];

fn any_case() -> impl Strategy<Value = Case> {
    let skip = prop_oneof![
        3 => Just(AfterMatch::PastLast),
        2 => Just(AfterMatch::ToNext),
        1 => Just(AfterMatch::ToLast(VariableSet(0b11110))),
    ];
    let rows = prop_oneof![
        Just(RowsPerMatch::One),
        Just(RowsPerMatch::AllShowEmpty),
        Just(RowsPerMatch::AllOmitEmpty),
        Just(RowsPerMatch::AllWithUnmatched),
    ];
    let within = proptest::option::of(1u64..40);
    (proptest::sample::select(&PATTERNS[..]), skip, within, rows, any::<bool>())
        .prop_map(|(pattern, skip, within, rows, keyed)| Case { pattern, skip, within, rows, keyed })
}

proptest! {
    #[test]
    fn nothing_but_rows_and_time_shows(case in any_case(), rows in any_rows(30), schedule in any_schedule()) {
        let one_by_one = Schedule { cuts: vec![(1, false, false)], ..schedule.clone() };
        let told = run(|| step(&case), &rows, &schedule);
        let expected = run(|| step(&case), &rows, &one_by_one);
        prop_assert_eq!(told, expected);
    }
}

/// `k v@t`: rows in order, and what came out of them; at the end all rows are there.
fn check(case: Case, rows: &str, expected: Expect) {
    let row = |text: &str| {
        let (key, rest) = text.split_once(':').expect("k:v@t");
        let (value, time) = rest.split_once('@').expect("v@t");
        let number = |text: &str| text.parse::<i64>().expect("a number");
        Row { key: Some(key.as_bytes()[0] - b'a'), time: number(time), value: Some(number(value)) }
    };
    let rows: Vec<Row> = rows.split_whitespace().map(row).collect();
    let schedule = Schedule { cuts: vec![(3, true, true)], clock: [].into(), out_of_orderness: 0, ends: true };
    let told = run(|| step(&case), &rows, &schedule);
    let dead = told.dead.iter().map(|why| format!("dead: {why}"));
    expected.assert_eq(&told.rows.into_iter().chain(dead).collect::<Vec<_>>().join("\n"));
}

const V: &str = "a:7@1 b:1@1 a:5@2 a:3@3 b:2@3 a:4@4 a:6@5 a:6@6";

#[test]
fn a_price_that_falls_and_rises_is_one_row() {
    let case = Case { pattern: "A B+ C+", skip: AfterMatch::PastLast, within: None, rows: RowsPerMatch::One, keyed: true };
    check(case.clone(), V, expect!["7: a 1 C 6 7 25 1 @6"]);
    check(
        Case { skip: AfterMatch::ToNext, ..case },
        V,
        expect![[r#"
        7: a 1 C 6 7 25 1 @6
        7: a 2 C 6 5 18 1 @6"#]],
    );
}

#[test]
fn all_rows_of_it_have_what_was_known_at_each() {
    let case =
        Case { pattern: "A B+ C+", skip: AfterMatch::PastLast, within: None, rows: RowsPerMatch::AllShowEmpty, keyed: true };
    check(
        case.clone(),
        V,
        expect![[r#"
        7: a 7 1 A 7 7 7 1 @6
        7: a 5 1 B 5 7 12 1 @6
        7: a 3 1 B 3 7 15 1 @6
        7: a 4 1 C 4 7 19 1 @6
        7: a 6 1 C 6 7 25 1 @6"#]],
    );
    check(
        Case { rows: RowsPerMatch::AllWithUnmatched, ..case.clone() },
        V,
        expect![[r#"
        4: b 1 - - - - - - @3
        7: a 7 1 A 7 7 7 1 @6
        7: a 5 1 B 5 7 12 1 @6
        7: a 3 1 B 3 7 15 1 @6
        7: a 4 1 C 4 7 19 1 @6
        7: a 6 1 C 6 7 25 1 @6
        -: b 2 - - - - - - @6
        -: a 6 - - - - - - @6"#]],
    );
    check(
        Case { pattern: "A {- B+ -} C+", ..case },
        V,
        expect![[r#"
        7: a 7 1 A 7 7 7 1 @6
        7: a 4 1 C 4 7 19 1 @6
        7: a 6 1 C 6 7 25 1 @6"#]],
    );
}

#[test]
fn a_match_whose_time_is_over_is_known_at_its_last_instant() {
    let case = Case { pattern: "A C+", skip: AfterMatch::PastLast, within: Some(10), rows: RowsPerMatch::One, keyed: true };
    check(case, "a:1@0 a:2@5 b:1@12 b:3@30", expect!["2: a 1 C 2 1 3 1 @9"]);
}

#[test]
fn what_cannot_be_said_is_dead() {
    let case = Case { pattern: "A C", skip: AfterMatch::PastLast, within: None, rows: RowsPerMatch::One, keyed: true };
    check(
        case.clone(),
        "a:1@0 a:8@5 a:2@6 a:3@7",
        expect![[r#"
        3: a 2 C 3 2 5 1 @7
        dead: `m2`: eight"#]],
    );
    let to_b = AfterMatch::ToLast(VariableSet::one(VariableId(1)));
    check(
        Case { pattern: "A B? C", skip: to_b, ..case },
        "a:1@0 a:2@5 a:2@6",
        expect!["dead: the match has no row to skip to, or it is the match's first one; the next one begins a row further on"],
    );
}
