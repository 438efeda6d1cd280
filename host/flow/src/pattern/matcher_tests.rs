//! Patterns and events as short text, matches as short text.
//!
//! `a ..b+` is a, then b by relaxed contiguity, once or more. Before a letter: `>` next, `..` followed by, `...` followed by any, `!>` not next, `!` not
//! followed by. Behind it: `?`, `+`, `*`, `{2,3}`, `{2,}`, then `g` greedy, `r` reluctant, `c` consecutive, `m` combinations, `~x` until x. `( a b | c )` is a
//! choice, `[ a b c ]` any order, each with what stands before it and behind it. An event is a letter, `@` and its time if it is not one later.

use expect_test::{Expect, expect};

use crate::pattern::{
    Body, Candidate, Contiguity, Element, Greed, Inner, Moment, NoJudge, Pattern, PatternMatcher, PredicateId, Quantifier,
    RunLimits, Skip, SkipTarget, Stage, Tally, TooManyRuns, Trigger,
};

fn bit(letter: char) -> PredicateId {
    PredicateId(u8::try_from(letter.to_ascii_lowercase() as u32 - 'a' as u32).expect("a letter"))
}

fn contiguity(token: &str) -> (Contiguity, &str) {
    for (mark, contiguity) in [
        ("...", Contiguity::FollowedByAny),
        ("..", Contiguity::FollowedBy),
        ("!>", Contiguity::NotNext),
        ("!", Contiguity::NotFollowedBy),
        (">", Contiguity::Next),
    ] {
        if let Some(rest) = token.strip_prefix(mark) {
            return (contiguity, rest);
        }
    }
    (Contiguity::Next, token)
}

fn quantifier(mut rest: &str) -> (Quantifier, Option<PredicateId>) {
    let mut read = Quantifier::ONCE;
    let mut until = None;
    while let Some(mark) = rest.chars().next() {
        rest = &rest[1..];
        match mark {
            '?' => read.is_optional = true,
            '+' => read.max = None,
            '*' => (read.is_optional, read.max) = (true, None),
            'g' => read.greed = Greed::Greedy,
            'r' => read.greed = Greed::Reluctant,
            'c' => read.inner = Inner::Consecutive,
            'm' => read.inner = Inner::Combinations,
            '~' => {
                until = rest.chars().next().map(bit);
                rest = &rest[1..];
            }
            '{' => {
                let (counts, behind) = rest.split_once('}').expect("a closed brace");
                let (min, max) = counts.split_once(',').unwrap_or((counts, counts));
                (read.min, read.max) = (min.parse().expect("a number"), max.parse().ok());
                rest = behind;
            }
            other => panic!("no quantifier {other}"),
        }
    }
    (read, until)
}

/// Rows of elements up to a closing mark; what stands behind that.
fn rows<'a>(tokens: &mut impl Iterator<Item = &'a str>) -> (Vec<Vec<Element>>, &'a str) {
    let mut all = vec![Vec::new()];
    while let Some(token) = tokens.next() {
        if let Some(rest) = token.strip_prefix([')', ']']) {
            return (all, rest);
        }
        let (contiguity, rest) = contiguity(token);
        let last = all.last_mut().expect("a row");
        match rest {
            "|" => all.push(Vec::new()),
            "(" | "[" => {
                let (mut inner, behind) = rows(tokens);
                let body = match (rest, inner.len()) {
                    ("[", _) => Body::AnyOrder(inner.remove(0)),
                    (_, 1) => Body::Group(inner.remove(0)),
                    _ => Body::OneOf(inner),
                };
                last.push(Element { contiguity, quantifier: quantifier(behind).0, body });
            }
            stage => {
                let (quantifier, until) = quantifier(&stage[1..]);
                let condition = bit(stage.chars().next().expect("a letter"));
                let stage = Stage { name: stage[..1].into(), condition, until };
                last.push(Element { contiguity, quantifier, body: Body::Stage(stage) });
            }
        }
    }
    (all, "")
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(rows(&mut text.split(' ')).0.remove(0))
}

/// Events in and what comes out, by event.
fn told(pattern: &Pattern, limits: RunLimits, events: &str) -> (String, Tally) {
    let mut matcher = PatternMatcher::new(pattern, limits).unwrap_or_else(|refused| panic!("{refused}"));
    let (mut time, mut lines, mut names) = (0, Vec::new(), Vec::new());
    for (number, event) in events.split(' ').enumerate() {
        let (name, at) = event.split_once('@').map_or((event, None), |(name, at)| (name, Some(at)));
        time = at.map_or(time + 1, |at| at.parse().expect("a time"));
        names.push(name);
        let (mut found, ended) = matcher.advance(time);
        ended.expect("something to skip to");
        let holds = name.chars().filter(char::is_ascii_alphabetic).fold(0, |all, letter| all | 1 << bit(letter).0);
        let moment = Moment { time, number: number as u64 };
        let (taken, ended) = matcher.take(&Candidate { moment, row: number as u32, holds, unknown: 0 }, &mut NoJudge);
        ended.expect("something to skip to");
        found.extend(taken);
        for finding in found {
            let events: Vec<&str> = finding.events.iter().map(|(_, row)| names[*row as usize]).collect();
            let how = match (finding.is_match, finding.trigger) {
                (true, Trigger::Event) => String::new(),
                (true, Trigger::Time) => format!(" known at {}", finding.at),
                (false, _) => format!(" over at {}", finding.at),
            };
            lines.push(format!("{name}: {}{how}", events.join(" ")));
        }
    }
    (lines.join("\n"), matcher.tally())
}

fn check(text: &str, events: &str, expected: Expect) {
    expected.assert_eq(&told(&pattern(text), RunLimits::default(), events).0);
}

fn check_within(text: &str, within: u64, events: &str, expected: Expect) {
    let pattern = Pattern { within: Some(std::time::Duration::from_micros(within)), ..pattern(text) };
    expected.assert_eq(&told(&pattern, RunLimits::default(), events).0);
}

#[test]
fn contiguity_says_what_is_passed_over() {
    check("a >b", "a c b1 b2", expect![""]);
    check("a ..b", "a c b1 b2", expect!["b1: a b1"]);
    check(
        "a ...b",
        "a c b1 b2",
        expect![[r#"
        b1: a b1
        b2: a b2"#]],
    );
}

#[test]
fn a_loop_matches_every_length_unless_it_is_greedy_or_reluctant() {
    check(
        "a ..b+ ..c",
        "a b1 b2 c",
        expect![[r#"
        c: a b1 c
        c: a b1 b2 c"#]],
    );
    check("a ..b+g ..c", "a b1 bc2 c", expect!["c: a b1 bc2 c"]);
    check("a ..b+r ..c", "a b1 bc2 c", expect!["bc2: a b1 bc2"]);
    check("a ..b+r", "a b1 b2", expect!["b1: a b1"]);
    check("a ..b+~x ..c", "a b1 x b2 c", expect!["c: a b1 c"]);
}

#[test]
fn one_of_takes_the_first_event_that_fits_any() {
    check("a ..( b | c >d )", "a x c d b", expect!["d: a c d"]);
    check("a ..( b | c )", "a x c b", expect!["c: a c"]);
    check("( a | b ){2,2} >c", "a b c", expect!["c: a b c"]);
}

#[test]
fn any_order_wants_each_once() {
    check("s ..[ ..a ..b ..c ] ..e", "s b x a c e", expect!["e: s b a c e"]);
    check("s ..[ ..a ..b ..c ] ..e", "s b b c e", expect![""]);
    check(
        "[ a >b ]",
        "b a b",
        expect![[r#"
        a: b a
        b: a b"#]],
    );
}

#[test]
fn an_absence_is_known_when_its_window_ends() {
    check_within("a !b", 3, "a1@1 b@2 a2@4 c@5 b@10 a3@11 b@13", expect!["b: a2 known at 7"]);
    check_within("a+ !b", 3, "a1@1 c@9", expect!["c: a1 known at 4"]);
}

#[test]
fn a_window_is_half_open_and_tells_what_it_ended() {
    check_within(
        "a ..b",
        3,
        "a1@1 a2@2 b@4",
        expect![[r#"
        b: a1 over at 4
        b: a2 b"#]],
    );
}

#[test]
fn bounds_are_kept_and_counted() {
    let limits = |too_many| RunLimits { runs_max: 2, events_max: 2, too_many };
    let of = |too_many| {
        let (lines, tally) = told(&pattern("a ..b"), limits(too_many), "a1 a2 a3 b");
        format!("{lines}; {} ended, {} refused", tally.ended, tally.refused).replace('\n', "; ")
    };
    expect!["b: a2 b; b: a3 b; 1 ended, 0 refused"].assert_eq(&of(TooManyRuns::EndOldest));
    expect!["b: a1 b; b: a2 b; 0 ended, 1 refused"].assert_eq(&of(TooManyRuns::RefuseNew));
    expect!["b: a1 b; b: a2 b; 0 ended, 0 refused"].assert_eq(&of(TooManyRuns::DeadLetter));
    // What is no beginning is refused as it was; an event that is a match by itself is one.
    let three = RunLimits { events_max: 3, ..limits(TooManyRuns::DeadLetter) };
    let (_, tally) = told(&pattern("a ..b+ ..c"), three, "a1 a2 b1 b2");
    assert_eq!((tally.buried, tally.refused > 0), (0, true), "{tally:?}");
    let (lines, tally) = told(&pattern("a ..b+ ..c"), limits(TooManyRuns::DeadLetter), "a1 a2 a3 a4");
    assert_eq!((lines.as_str(), tally.buried, tally.refused), ("", 2, 0));
    let (lines, tally) = told(&pattern("a ..b ..c"), limits(TooManyRuns::EndOldest), "a b c");
    assert_eq!((lines.as_str(), tally.ended, tally.refused), ("", 1, 0));
}

#[test]
fn a_run_that_would_take_too_much_ends_and_nothing_waits_for_it() {
    let limits = RunLimits { events_max: 3, ..RunLimits::default() };
    let past_last = Pattern { skip: Skip::PastLast, ..pattern("a+g ..b") };
    let (lines, tally) = told(&past_last, limits, "a1 a2 a3 a4 b x a5 b");
    expect![[r#"
        b: a3 a4 b
        b: a5 b"#]]
    .assert_eq(&lines);
    assert_eq!((tally.ended, tally.refused), (2, 0));
    // What needs no further event is as it was: the absence of one.
    let absence = Pattern { within: Some(std::time::Duration::from_micros(10)), ..pattern("a+ !b") };
    let limits = RunLimits { events_max: 2, ..RunLimits::default() };
    let (lines, tally) = told(&absence, limits, "a1@1 a2@2 a3@3 c@12");
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        ["c: a1 a2 known at 11", "c: a1 known at 11", "c: a2 a3 known at 12", "c: a2 known at 12"],
        "in whatever order those of one instant leave"
    );
    assert_eq!((tally.ended, tally.refused), (1, 0));
}

#[test]
fn of_matches_of_one_beginning_the_longest_leaves_first_however_a_loop_is_written() {
    for text in ["a+ ..b", "a{1,3} ..b", "a{1,4} ..b"] {
        let past_last = Pattern { skip: Skip::PastLast, ..pattern(text) };
        assert_eq!(told(&past_last, RunLimits::default(), "a1 a2 a3 b").0, "b: a1 a2 a3 b", "{text}");
    }
    // Of equally many events those that came first.
    let any = Pattern { skip: Skip::PastLast, ..pattern("a ...b ..c") };
    assert_eq!(told(&any, RunLimits::default(), "a b1 b2 c").0, "c: a b1 c");
}

#[test]
fn a_match_with_nothing_to_skip_to_is_told_by_the_name_of_the_stage() {
    let target = SkipTarget { stage: "b".into(), must_exist: true };
    let wanted = Pattern { skip: Skip::ToFirst(target), ..pattern("a ..b? ..c") };
    let mut matcher = PatternMatcher::new(&wanted, RunLimits::default()).expect("a sound pattern");
    let mut take = |letter: char, number: u64| {
        let moment = Moment { time: number as i64, number };
        let event = Candidate { moment, row: number as u32, holds: 1 << bit(letter).0, unknown: 0 };
        matcher.take(&event, &mut NoJudge).1
    };
    assert_eq!(take('a', 1), Ok(()));
    let error = take('c', 2).expect_err("there is no b").to_string();
    assert_eq!(error, "a match cannot skip to stage `b`: it has no event there, or begins with it");
}

#[test]
fn skipping_past_the_last_event_starts_over() {
    let pattern = Pattern { skip: Skip::PastLast, ..pattern("a{3}") };
    expect![[r#"
        a3: a1 a2 a3
        a6: a4 a5 a6"#]]
    .assert_eq(&told(&pattern, RunLimits::default(), "a1 a2 a3 a4 a5 a6").0);
}

#[test]
fn what_means_nothing_is_refused_with_words() {
    let refused = |text: &str| {
        let pattern = pattern(text);
        PatternMatcher::new(&pattern, RunLimits::default()).expect_err("it is refused").to_string()
    };
    let all =
        ["a ..a", "a !b", "a !b? ..c", "a ..b? !c ..d", "a{2}~x", "a+gm ..b", "ag ..b", "a+g ..b? ..c", "a{3,2}", "( a ..b )+g"]
            .map(|text| format!("{text}: {}", refused(text)));
    expect![[r#"
        a ..a: two stages are called `a`; every stage has a name of its own, in groups too
        a !b: `b` at the end of a pattern needs `within`: else nobody knows when it held
        a !b? ..c: `b` is a negation and takes no quantifier
        a ..b? !c ..d: the negation `c` may not follow an optional stage
        a{2}~x: `until` of `a` needs a loop without an upper bound
        a+gm ..b: `a` cannot be greedy and allow combinations
        ag ..b: `a` is there once: greedy and reluctant are for loops
        a+g ..b? ..c: the optional stage `b` may not follow a greedy one
        a{3,2}: `a` is there at least 3 times and at most 2 times
        ( a ..b )+g: a group cannot be greedy or reluctant"#]]
    .assert_eq(&all.join("\n"));
    assert_eq!(refused("a{70000}"), "the pattern is too large: it has more than 65536 states (loops in groups multiply)");
}
