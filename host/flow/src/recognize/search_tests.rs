//! Patterns as text over rows as text: what is found, and when it is known.

use expect_test::{Expect, expect};

use crate::pattern::Moment;
use crate::recognize::key_rows::{Found, KeyRow, KeyRows};
use crate::recognize::pattern_text::PatternText;
use crate::recognize::program::Program;
use crate::recognize::search::{Judge, MatchLimits, Now, Reach, Search};
use crate::recognize::shape::{AfterMatch, RowPattern, VariableId, VariableSet};

/// A row that may be taken for these variables, as lower case letters.
pub(crate) fn bits(text: &str) -> u64 {
    text.bytes().filter(u8::is_ascii_lowercase).fold(0, |bits, letter| bits | 1 << (letter - b'a'))
}

/// D only after an even number of A's.
pub(crate) struct EvenAs;

impl Judge for EvenAs {
    fn holds(&mut self, _: VariableId, _: &KeyRows, _: usize, taken: &[VariableId]) -> bool {
        taken.iter().filter(|variable| variable.0 == 0).count() % 2 == 0
    }
}

pub(crate) const D: u64 = 1 << 3;

/// `2: AB-c`: from the row of number 2 on, an A, a B, and a C that does not come out.
pub(crate) fn show(found: &Found) -> String {
    let letters = found.taken.iter().map(|taken| {
        let letter = char::from(b'A' + taken.variable.0);
        if taken.is_hidden { letter.to_ascii_lowercase() } else { letter }
    });
    let kind = if found.number.is_none() {
        "unmatched"
    } else if found.is_stuck {
        " stuck"
    } else {
        ""
    };
    format!("{}:{}{kind}", found.begun.number, letters.collect::<String>())
}

pub(crate) fn search(pattern: &RowPattern, skip: AfterMatch, reach: Reach, limits: MatchLimits) -> Search {
    Search::new(Program::new(pattern, skip).expect("a sound pattern"), reach, limits)
}

pub(crate) const REACH: Reach =
    Reach { looks_back: 0, within: None, before: 0, behind: 0, has_numbers: false, has_unmatched: false };

/// Rows are `ab@5`: what they may be taken for, and when; without a time they follow at one µs each. A line for each moment at which something was found.
fn check_with(pattern: &str, skip: AfterMatch, reach: Reach, limits: MatchLimits, rows: &str, expected: Expect) {
    let mut search = search(&PatternText::parse(pattern), skip, reach, limits);
    let (mut key, mut found, mut gone, mut told) = (KeyRows::default(), Vec::new(), Vec::new(), Vec::new());
    let mut tell = |when: String, found: &mut Vec<Found>| {
        if !found.is_empty() {
            told.push(format!("{when} {}", found.drain(..).map(|one| show(&one)).collect::<Vec<_>>().join(" ")));
        }
    };
    for (number, text) in (0u64..).zip(rows.split_whitespace()) {
        let (letters, time) =
            text.split_once('@').map_or((text, number as i64), |(letters, time)| (letters, time.parse().expect("µs")));
        let row = KeyRow { moment: Moment { time, number }, row: number as u32, holds: bits(letters) };
        key.rows.push_back(row);
        (key.arrived, key.judged) = (key.rows.len(), key.rows.len());
        search.run(&mut key, Now::Row, &mut EvenAs, &mut found, &mut gone);
        tell(number.to_string(), &mut found);
    }
    search.run(&mut key, Now::End, &mut EvenAs, &mut found, &mut gone);
    tell("end".to_owned(), &mut found);
    assert!(key.rows.is_empty() && gone.len() == rows.split_whitespace().count(), "every row is let go once");
    if search.tally.rows_given_up + search.tally.ways_given_up > 0 {
        told.push(format!("given up: {} rows, {} ways", search.tally.rows_given_up, search.tally.ways_given_up));
    }
    expected.assert_eq(&told.join("\n"));
}

fn check(pattern: &str, rows: &str, expected: Expect) {
    check_with(pattern, AfterMatch::PastLast, REACH, MatchLimits::default(), rows, expected);
}

#[test]
fn a_match_is_known_as_soon_as_nothing_can_change_it() {
    check(
        "A B",
        "a b x a b",
        expect![[r#"
        1 0:AB
        4 3:AB"#]],
    );
    // A greedy loop at the end waits for the row that ends it; a reluctant one does not.
    check("A B+", "a b b x", expect!["3 0:ABB"]);
    check("A B+?", "a b b x", expect!["1 0:AB"]);
    check("A B{1,2}", "a b b b", expect!["2 0:ABB"]);
    check("A B*", "a b b", expect!["end 0:ABB"]);
    // The longer one was preferred, and did not come about.
    check(
        "A (B C)?",
        "a b x a",
        expect![[r#"
        2 0:A
        end 3:A"#]],
    );
}

#[test]
fn choices_prefer_what_stands_first() {
    check("(A | A B) C?", "a b c", expect!["1 0:A"]);
    check("(A B | A) C?", "a b c", expect!["2 0:ABC"]);
    check("A (B | C)", "a bc", expect!["1 0:AB"]);
    check("A (C | B)", "a bc", expect!["1 0:AC"]);
    check("PERMUTE(A, B, C)", "c a b", expect!["2 0:CAB"]);
    check("PERMUTE(A, B, C)", "abc abc abc", expect!["2 0:ABC"]);
    check("A {- B+ -} C", "a b b c", expect!["3 0:AbbC"]);
}

#[test]
fn empty_matches_are_matches() {
    check(
        "A*",
        "x a a x",
        expect![[r#"
        0 0:
        3 1:AA 3:"#]],
    );
    check(
        "A*?",
        "a x",
        expect![[r#"
        0 0:
        1 1:"#]],
    );
    check("(A?)*  B", "a a b", expect!["2 0:AAB"]);
    check("(A* B*)*", "a b b a x", expect!["4 0:ABBA 4:"]);
}

#[test]
fn the_next_match_begins_where_it_was_said() {
    let check = |skip, expected| check_with("A B+ C", skip, REACH, MatchLimits::default(), "a ab ab c", expected);
    check(AfterMatch::PastLast, expect!["3 0:ABBC"]);
    check(AfterMatch::ToNext, expect!["3 0:ABBC 1:ABC"]);
    check(AfterMatch::ToFirst(VariableSet::one(VariableId(1))), expect!["3 0:ABBC 1:ABC"]);
    check(AfterMatch::ToLast(VariableSet::one(VariableId(1))), expect!["3 0:ABBC"]);
    let to_d = AfterMatch::ToLast(VariableSet::one(VariableId(3)));
    check_with("A D? C", to_d, REACH, MatchLimits::default(), "a c x", expect!["1 0:AC stuck"]);
}

#[test]
fn rows_without_a_match_are_told_once() {
    let reach = Reach { has_unmatched: true, ..REACH };
    check_with(
        "A B",
        AfterMatch::ToNext,
        reach,
        MatchLimits::default(),
        "x a b a",
        expect![[r#"
        0 0:unmatched
        2 1:AB
        end 3:unmatched"#]],
    );
}

#[test]
fn conditions_may_look_at_what_was_taken() {
    let reach = Reach { looks_back: D, ..REACH };
    // One A is odd, so that the greedy loop takes another one or none.
    check_with("A* D", AfterMatch::PastLast, reach, MatchLimits::default(), "a a ad d", expect!["3 0:AAD 3:D"]);
    check_with("A+ D", AfterMatch::PastLast, reach, MatchLimits::default(), "a a d", expect!["2 0:AAD"]);
}

#[test]
fn time_ends_a_match() {
    let reach = Reach { within: Some(std::time::Duration::from_micros(10)), ..REACH };
    check_with("A B+", AfterMatch::PastLast, reach, MatchLimits::default(), "a@0 b@9 b@10", expect!["2 0:AB"]);
    check_with("A B+ C", AfterMatch::PastLast, reach, MatchLimits::default(), "a@0 ab@5 b@9 c@10", expect!["3 1:ABC"]);
}

#[test]
fn what_a_key_may_hold_is_bounded() {
    let limits = MatchLimits { rows_max: 4, ways_max: 1_000 };
    // Nothing was found: the older half begins nothing any more.
    check_with(
        "A+ B",
        AfterMatch::PastLast,
        REACH,
        limits,
        "a a a a a a b",
        expect![[r#"
        6 3:AAAB
        given up: 3 rows, 0 ways"#]],
    );
    // What was found so far counts.
    check_with(
        "A+",
        AfterMatch::PastLast,
        REACH,
        limits,
        "a a a a a a x",
        expect![[r#"
        4 0:AAAAA
        6 5:A
        given up: 1 rows, 0 ways"#]],
    );
    let limits = MatchLimits { rows_max: 100, ways_max: 2 };
    let reach = Reach { looks_back: D, ..REACH };
    check_with("(A | B | C)+ D", AfterMatch::PastLast, reach, limits, "abc abc d", expect!["given up: 0 rows, 6 ways"]);
}
