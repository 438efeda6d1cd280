//! The step by examples: what comes out, what is counted, and what a trace says.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{BooleanArray, Int64Array, RecordBatch};
use expect_test::{Expect, expect};
use tidemill_event::{BreakerState, EventTime, Field, FieldType};

use crate::example::{batch, show};
use crate::rule_set::model_tests::settings;
use crate::rule_set::{
    AskedComponent, Constant, Emit, MatchRules, RuleSet, RuleTest, SetRule, SharedPredicate, SharedValue, TestKind,
};
use crate::{Computed, Isolation, NamedProjection, OnFailing, Operator, Outcome, Predicate, Projection, Tested, Wait};

/// `name k=a,b v<0 odd set=w:0 tag=t route=r drop off from=3`: `v<0` is the predicate of that place, `odd` the component; `set=w:2` takes its
/// score.
fn rule(text: &str) -> SetRule {
    let mut words = text.split_whitespace();
    let name = words.next().expect("a name");
    let mut rule = SetRule {
        name: name.into(),
        off: None,
        from: None,
        until: None,
        tests: Vec::new(),
        asks: None,
        sets: Vec::new(),
        tags: Vec::new(),
        route: None,
        drops: false,
    };
    for word in words {
        let value = || word.split_once(['=', '<']).expect("a value").1;
        match word.split(['=', '<']).next().expect("a word") {
            "k" => {
                let any_of = value().split(',').map(|value| Constant::Text(value.into())).collect();
                rule.tests.push(RuleTest { text: word.into(), kind: TestKind::Is { column: "k".into(), any_of } });
            }
            "v" => {
                let at = value().parse().expect("a place");
                rule.tests.push(RuleTest { text: word.into(), kind: TestKind::Predicate(at) });
            }
            "set" => {
                let (column, at) = value().split_once(':').expect("column:value");
                rule.sets.push((u32::from(column == "w"), at.parse().expect("a place")));
            }
            "odd" => rule.asks = Some(AskedComponent { place: 0, text: "odd@1".into() }),
            "tag" => rule.tags.push(value().into()),
            "route" => rule.route = Some(value().into()),
            "drop" => rule.drops = true,
            "off" => rule.off = Some("it has a tag that is off".into()),
            "from" => rule.from = Some(value().parse().expect("a time")),
            other => panic!("`{other}`"),
        }
    }
    rule
}

#[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
fn check(rules: &[&str], (matches, emit, keeps_all): (MatchRules, Emit, bool), rows: &str, expected: Expect) {
    let rules = rules.iter().map(|text| rule(text)).collect();
    let mut output = Outcome::new(EventTime(0));
    let out = RuleSet::new(settings(rules, matches, emit, keeps_all, false)).apply(batch(rows), &mut output);
    let counts: Vec<String> =
        output.rules.iter().map(|report| format!("{}/{} {:?}", report.matched, report.rows, report.by_rule)).collect();
    let dropped: u64 = output.dropped.iter().map(|(_, rows)| rows).sum();
    expected.assert_eq(&format!("{}\n{} dropped {dropped}", show(&out, &output).replace(' ', "\n"), counts.join(", ")));
}

const FIRST: (MatchRules, Emit, bool) = (MatchRules::First, Emit::Rows, false);

#[test]
fn the_first_rule_counts_and_the_others_are_not_asked() {
    check(
        &["white k=c drop", "small k=a v<0 set=w:0 route=x", "mid v<1 set=v:1 tag=t", "rest k=b"],
        FIRST,
        "a:1 a:7 b:9 b:12 c:1 a:- -:2",
        expect![[r#"
            0:a=1,rule=small,w=101,tags=[],route=x
            1:a=207,rule=mid,w=-,tags=["t"],route=-
            2:b=9,rule=rest,w=-,tags=[],route=-
            3:b=12,rule=rest,w=-,tags=[],route=-
            6:-=202,rule=mid,w=-,tags=["t"],route=-
            |

            6/7 [(0, 1), (1, 1), (2, 2), (3, 2)] dropped 1"#]],
    );
}

#[test]
fn all_rules_count_and_the_most_important_one_sets_a_column() {
    check(
        &["one v<0 set=w:0 tag=x", "two v<1 set=w:1 set=v:1 tag=y tag=x", "never k=a off"],
        (MatchRules::All, Emit::Rows, true),
        "a:1 a:7 a:9",
        expect![[r#"
            0:a=201,rule=one,rules=["one","two"],w=101,tags=["x","y"]
            1:a=207,rule=two,rules=["two"],w=207,tags=["y","x"]
            2:a=9,rule=-,rules=[],w=-,tags=[]
            |

            2/3 [(0, 1), (1, 2)] dropped 0"#]],
    );
    check(
        &["one v<0 set=w:0", "two v<1 set=w:1"],
        (MatchRules::All, Emit::Matches, false),
        "a:1 a:7 a:9",
        expect![[r#"
            0:a=1,rule=one,w=101
            0:a=1,rule=two,w=201
            1:a=7,rule=two,w=207
            |

            2/3 [(0, 1), (1, 2)] dropped 0"#]],
    );
}

#[test]
fn what_a_rule_set_before_said_stays_where_no_rule_says_otherwise() {
    let set = |rules: &[&str]| {
        let rules = rules.iter().map(|text| rule(text)).collect();
        RuleSet::new(settings(rules, MatchRules::First, Emit::Rows, true, false))
    };
    let mut output = Outcome::new(EventTime(0));
    let first = set(&["one v<0 tag=x tag=y route=r"]).apply(batch("a:1 b:1 b:9"), &mut output);
    let second = set(&["three k=b tag=y tag=w", "four k=c route=s"]).apply(first, &mut output);
    assert_eq!(
        show(&second, &output).split(' ').collect::<Vec<_>>()[..3],
        [
            r#"0:a=1,rule=one,w=-,tags=["x","y"],route=r"#,
            r#"1:b=1,rule=three,w=-,tags=["x","y","w"],route=r"#,
            r#"2:b=9,rule=three,w=-,tags=["y","w"],route=-"#
        ]
    );
}

#[test]
fn a_rule_that_fails_ends_the_row_if_it_is_asked() {
    // 13 fails where a predicate is asked, 11 where a column is set.
    check(
        &["first k=b", "second v<2 set=w:0"],
        FIRST,
        "a:13 b:13 a:11 b:11 a:1",
        expect![[r#"
            1:b=13,rule=first,w=-
            3:b=11,rule=first,w=-
            4:a=1,rule=second,w=101
            |
            0:a=13
            step
            1
            expression
            rule
            `second`:
            unlucky,
            2:a=11
            step
            1
            expression
            rule
            `second`:
            `v
            +
            100`:
            unlucky
            4/5 [(0, 2), (1, 2)] dropped 0"#]],
    );
    check(
        &["any"],
        FIRST,
        "",
        expect![[r#"

        |

         dropped 0"#]],
    );
}

#[test]
fn a_component_is_asked_about_what_the_tests_leave_and_ends_rows_in_the_name_of_its_rule() {
    check(
        &["first k=b", "odd k=a odd set=w:2", "rest"],
        FIRST,
        "a:1 b:5 a:5 a:7 a:17 a:19 a:2 a:-",
        expect![[r#"
        0:a=1,rule=odd,w=11
        1:b=5,rule=first,w=-
        6:a=2,rule=rest,w=-
        7:a=-,rule=rest,w=-
        |
        2:a=5
        step
        1
        trap
        rule
        `odd`:
        boom,
        3:a=7
        step
        1
        rejected_by_component
        rule
        `odd`:
        unlucky,
        5:a=19
        step
        1
        invalid_output
        rule
        `odd`:
        the
        component
        gave
        null
        for
        `score`,
        which
        it
        declared
        as
        never
        null
        |
        4:a=17
        again
        in
        1000
        ms,
        1
        4/8 [(0, 1), (1, 1), (2, 2)] dropped 0"#]],
    );
    check(
        &["one k=a", "odd odd tag=t", "any"],
        (MatchRules::All, Emit::Rows, true),
        "a:5 a:3 b:17 b:4",
        expect![[r#"
        1:a=3,rule=one,rules=["one","odd","any"],w=-,tags=["t"]
        3:b=4,rule=any,rules=["any"],w=-,tags=[]
        |
        0:a=5
        step
        1
        trap
        rule
        `odd`:
        boom
        |
        2:b=17
        again
        in
        1000
        ms,
        1
        2/4 [(0, 1), (1, 1), (2, 2)] dropped 0"#]],
    );
}

/// Batches (one a line) through two rules that ask, of which the first is taken out: what comes out, what waits and what each breaker thinks.
#[test]
fn a_component_that_keeps_failing_is_taken_out_alone() {
    // Few enough that a batch may isolate each.
    let all_fail = vec!["a:5"; 20].join(" ");
    for on_failing in [OnFailing::Hold, OnFailing::Pass] {
        let rules = ["odd k=a odd set=w:2", "even k=b odd", "rest"].map(rule).into();
        let mut set = settings(rules, MatchRules::First, Emit::Rows, true, true);
        set.components.iter_mut().for_each(|component| component.isolation = Isolation::new(on_failing));
        let mut step = RuleSet::new(set);
        let mut output = Outcome::new(EventTime(0));
        (0..2).for_each(|_| drop(step.apply(batch(&all_fail), &mut output)));
        let states: Vec<bool> = step.breakers().iter().map(|(breaker, _)| breaker.state() == BreakerState::Closed).collect();
        assert_eq!(states, [false, true]);
        // Where it holds, rows stop at the first that needs it; the one before goes on. Where rows pass, the rule says no.
        let mut output = Outcome::new(EventTime(1));
        let out = step.apply(batch("b:3 a:3 b:9"), &mut output);
        let rows: Vec<&str> = out.rows.column_by_name("rule").expect("a rule").as_string::<i32>().iter().flatten().collect();
        let waits: Vec<(u32, Wait)> = output.put_back.iter().map(|back| (back.rows.origin[0], back.wait)).collect();
        let trace = out.rows.column_by_name("trace").expect("a trace").as_string::<i32>();
        match on_failing {
            OnFailing::Hold | OnFailing::Stop => assert_eq!((rows, waits), (vec!["even"], vec![(1, Wait::Held)])),
            OnFailing::Pass => {
                assert_eq!((rows, waits), (vec!["even", "rest", "even"], Vec::new()));
                assert!(trace.value(1).contains(r#"{"at":"odd@1","is":"skipped","rule":"odd"}"#), "{}", trace.value(1));
            }
        }
    }
}

#[test]
fn recorded_endings_cut_rows_as_they_did() {
    let rules = || ["odd k=a odd set=w:2", "even odd", "rest"].map(rule).into();
    let run = |output: &mut Outcome| {
        let out = RuleSet::new(settings(rules(), MatchRules::All, Emit::Matches, true, false))
            .apply(batch("a:1 a:5 b:5 b:3 a:4"), output);
        show(&out, output).split(" | ").next().unwrap_or_default().to_owned()
    };
    let mut first = Outcome::new(EventTime(0));
    let shown = run(&mut first);
    let mut again = Outcome::replay(EventTime(0), first.endings.clone());
    assert_eq!(run(&mut again), shown);
    assert_eq!(again.endings, first.endings);
    // The dead say in which of the step's components they died.
    let died = |output: &Outcome| output.dead.iter().map(|dead| (dead.origin, dead.component)).collect::<Vec<_>>();
    assert_eq!((died(&first), died(&again)), (vec![(1, Some(0)), (2, Some(1))], vec![(1, Some(0)), (2, Some(1))]));
}

/// Needs no column: seven for each row, or yes.
struct Constant7;

impl Projection for Constant7 {
    fn compute(&self, rows: &RecordBatch) -> Computed {
        Computed { values: Arc::new(Int64Array::from(vec![7; rows.num_rows()])), failed: Vec::new() }
    }
}

impl Predicate for Constant7 {
    fn test(&self, rows: &RecordBatch) -> Tested {
        Tested { passes: BooleanArray::from(vec![true; rows.num_rows()]), failed: Vec::new() }
    }
}

#[test]
fn an_expression_without_columns_is_asked_about_as_many_rows() {
    let mut set = settings(vec![rule("one k=a v<0 set=w:0")], MatchRules::First, Emit::Rows, true, false);
    set.values[0] = SharedValue {
        columns: Vec::new(),
        value: NamedProjection { field: Field::new("w", FieldType::Int64, true), projection: Box::new(Constant7) },
        of: None,
    };
    set.predicates[0] = SharedPredicate { columns: Vec::new(), predicate: Box::new(Constant7) };
    let mut output = Outcome::new(EventTime(0));
    let out = RuleSet::new(set).apply(batch("b:1 b:2 b:3 b:4 b:5 b:6 b:7 b:8 a:9 b:10"), &mut output);
    assert_eq!(show(&out, &output).split(' ').nth(8), Some("8:a=9,rule=one,w=7"));
}

#[test]
fn a_trace_says_who_was_asked_and_where_each_stopped() {
    let rules = ["far k=b", "off k=a off", "late from=1 v<2", "null v<0", "small k=a v<2", "behind k=a"];
    let rules = rules.iter().map(|text| rule(text)).collect();
    let mut output = Outcome::new(EventTime(0));
    let out = RuleSet::new(settings(rules, MatchRules::First, Emit::Rows, true, true)).apply(batch("a:5 c:- a:4"), &mut output);
    let trace = out.rows.column_by_name("trace").expect("a trace");
    let lines: Vec<&str> = trace.as_string::<i32>().iter().flatten().collect();
    expect![[r#"
        {"asked":5,"no":[{"at":"k=b","is":"false","rule":"far"},{"at":"enabled","is":"it has a tag that is off","rule":"off"},{"at":"enabled","is":"not yet","rule":"late"},{"at":"v<0","is":"false","rule":"null"}],"unlisted":0,"yes":[{"because":["k=a","v<2"],"rule":"small"}]}
        {"asked":6,"no":[{"at":"k=b","is":"false","rule":"far"},{"at":"enabled","is":"it has a tag that is off","rule":"off"},{"at":"v<2","is":"null","rule":"late"},{"at":"v<0","is":"null","rule":"null"},{"at":"k=a","is":"false","rule":"small"},{"at":"k=a","is":"false","rule":"behind"}],"unlisted":0,"yes":[]}
        {"asked":3,"no":[{"at":"k=b","is":"false","rule":"far"},{"at":"enabled","is":"it has a tag that is off","rule":"off"}],"unlisted":0,"yes":[{"because":["v<2"],"rule":"late"}]}"#]]
    .assert_eq(&lines.join("\n"));
    let many: Vec<SetRule> = (0..40).map(|at| SetRule { name: Arc::from(format!("r{at}")), ..rule("r k=z") }).collect();
    let out = RuleSet::new(settings(many, MatchRules::All, Emit::Rows, true, true)).apply(batch("a:5"), &mut output);
    let trace = out.rows.column_by_name("trace").expect("a trace").as_string::<i32>().value(0).to_owned();
    assert!(
        trace.starts_with(r#"{"asked":40,"no":[{"at":"k=z","is":"false","rule":"r0"},"#) && trace.contains(r#""unlisted":8"#),
        "{trace}"
    );
}
