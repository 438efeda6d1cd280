//! The search against a matcher written straight from the standard's words: all readings in order of preference, one after the other, over all rows at once.

use std::time::Duration;

use proptest::prelude::*;

use crate::pattern::Moment;
use crate::recognize::attempt::Taken;
use crate::recognize::key_rows::{Found, KeyRow, KeyRows};
use crate::recognize::program::Program;
use crate::recognize::search::{Judge, MatchLimits, Now, Reach};
use crate::recognize::search_tests::{D, EvenAs, REACH, search, show};
use crate::recognize::shape::{AfterMatch, RowPattern, VariableId, VariableSet};

/// Rows behind one start.
struct Rows<'a> {
    rows: &'a [(i64, u64)],
    looks_back: bool,
}

type Next<'n> = &'n mut dyn FnMut(&mut Vec<Taken>) -> bool;

impl Rows<'_> {
    /// Tries all readings of a pattern, the preferred one first, each with whatever comes behind it; answers whether one went through.
    fn read(&self, pattern: &RowPattern, is_hidden: bool, taken: &mut Vec<Taken>, next: Next<'_>) -> bool {
        match pattern {
            RowPattern::Variable(variable) => self.row(*variable, is_hidden, taken, next),
            RowPattern::Empty => next(taken),
            RowPattern::Sequence(parts) => self.sequence(&parts.iter().collect::<Vec<_>>(), is_hidden, taken, next),
            RowPattern::Choice(parts) => parts.iter().any(|part| self.read(part, is_hidden, taken, next)),
            RowPattern::Permute(parts) => {
                orders(&parts.iter().collect::<Vec<_>>()).iter().any(|order| self.sequence(order, is_hidden, taken, next))
            }
            RowPattern::Repeat { pattern, min, max, is_greedy } => {
                self.rounds(pattern, 0, (*min, *max, *is_greedy), is_hidden, taken, next)
            }
            RowPattern::Exclude(inner) => self.read(inner, true, taken, next),
        }
    }

    fn row(&self, variable: VariableId, is_hidden: bool, taken: &mut Vec<Taken>, next: Next<'_>) -> bool {
        let Some((_, bits)) = self.rows.get(taken.len()) else { return false };
        let before: Vec<VariableId> = taken.iter().map(|taken| taken.variable).collect();
        let is_even = || EvenAs.holds(variable, &KeyRows::default(), 0, &before);
        let looks_back = self.looks_back && VariableSet(D).has(variable);
        if !VariableSet(*bits).has(variable) || looks_back && !is_even() {
            return false;
        }
        taken.push(Taken { variable, is_hidden });
        let ended = next(taken);
        if !ended {
            taken.pop();
        }
        ended
    }

    fn sequence(&self, parts: &[&RowPattern], is_hidden: bool, taken: &mut Vec<Taken>, next: Next<'_>) -> bool {
        match parts {
            [] => next(taken),
            [first, rest @ ..] => self.read(first, is_hidden, taken, &mut |taken| self.sequence(rest, is_hidden, taken, next)),
        }
    }

    fn rounds(
        &self,
        pattern: &RowPattern,
        done: u32,
        of: (u32, Option<u32>, bool),
        is_hidden: bool,
        taken: &mut Vec<Taken>,
        next: Next<'_>,
    ) -> bool {
        let (min, max, is_greedy) = of;
        if done >= min && !is_greedy && next(taken) {
            return true;
        }
        let length = taken.len();
        let must_have_a_row = done >= min && max.is_none();
        let another = max.is_none_or(|max| done < max)
            && self.read(pattern, is_hidden, taken, &mut |taken| {
                !(must_have_a_row && taken.len() == length) && self.rounds(pattern, done + 1, of, is_hidden, taken, next)
            });
        another || done >= min && is_greedy && next(taken)
    }
}

/// All orders, those first that come first when places are compared from left to right.
fn orders<'p>(parts: &[&'p RowPattern]) -> Vec<Vec<&'p RowPattern>> {
    if parts.is_empty() {
        return vec![Vec::new()];
    }
    let behind = |at: usize| {
        let rest: Vec<&RowPattern> = parts.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, part)| *part).collect();
        orders(&rest).into_iter().map(move |order| [vec![parts[at]], order].concat())
    };
    (0..parts.len()).flat_map(behind).collect()
}

/// All matches, one start after the other.
fn model(case: &Case) -> Vec<String> {
    let (mut start, mut matched, mut told) = (0, 0, Vec::new());
    while start < case.rows.len() {
        let rows = &case.rows[start..];
        let rows = match case.within {
            Some(within) => &rows[..rows.iter().take_while(|(time, _)| time - rows[0].0 < within as i64).count()],
            None => rows,
        };
        let mut taken = Vec::new();
        let is_match = Rows { rows, looks_back: case.looks_back }.read(&case.pattern, false, &mut taken, &mut |_| true);
        let begun = Moment { time: rows[0].0, number: start as u64 };
        let found = |number, taken, is_stuck| Found { begun, number, rows: Vec::new(), before: 0, taken, is_stuck };
        if !is_match {
            if start >= matched {
                told.push(show(&found(None, Vec::new(), false)));
            }
            start += 1;
            continue;
        }
        let place = match case.skip {
            AfterMatch::PastLast => Some(taken.len()),
            AfterMatch::ToNext => Some(1),
            AfterMatch::ToFirst(to) => taken.iter().position(|taken| to.has(taken.variable)),
            AfterMatch::ToLast(to) => taken.iter().rposition(|taken| to.has(taken.variable)),
        };
        let place = if taken.is_empty() { Some(1) } else { place.filter(|place| *place > 0) };
        matched = matched.max(start + taken.len().max(1));
        told.push(show(&found(Some(1), taken, place.is_none())));
        start += place.unwrap_or(1);
    }
    told
}

#[derive(Debug, Clone)]
struct Case {
    pattern: RowPattern,
    skip: AfterMatch,
    looks_back: bool,
    within: Option<u64>,
    rows: Vec<(i64, u64)>,
    /// After which rows the search is made anew of what is stored.
    restarts: u32,
    /// How many rows a row waits for behind it.
    behind: usize,
}

fn any_pattern() -> impl Strategy<Value = RowPattern> {
    let variable = || (0u8..4).prop_map(|variable| RowPattern::Variable(VariableId(variable)));
    let leaf = prop_oneof![8 => variable(), 1 => Just(RowPattern::Empty)];
    leaf.prop_recursive(3, 14, 3, move |inner| {
        let parts = || proptest::collection::vec(inner.clone(), 1..4);
        let loops = prop_oneof![
            Just((0, None)),
            Just((1, None)),
            Just((0, Some(1))),
            Just((2, None)),
            (0u32..3, 1u32..3).prop_map(|(min, more)| (min, Some(min + more))),
            Just((2, Some(2))),
        ];
        prop_oneof![
            3 => parts().prop_map(RowPattern::Sequence),
            2 => parts().prop_map(RowPattern::Choice),
            1 => parts().prop_map(RowPattern::Permute),
            3 => (inner.clone(), loops, any::<bool>()).prop_map(|(pattern, (min, max), is_greedy)| {
                RowPattern::Repeat { pattern: Box::new(pattern), min, max, is_greedy }
            }),
            1 => inner.clone().prop_map(|pattern| RowPattern::Exclude(Box::new(pattern))),
        ]
    })
}

fn any_case() -> impl Strategy<Value = Case> {
    let to = || (1u64..16).prop_map(VariableSet);
    let skip = prop_oneof![
        3 => Just(AfterMatch::PastLast),
        2 => Just(AfterMatch::ToNext),
        1 => to().prop_map(AfterMatch::ToFirst),
        1 => to().prop_map(AfterMatch::ToLast),
    ];
    let rows = proptest::collection::vec((0i64..4, 0u64..16), 0..14);
    let flags = (any::<bool>(), proptest::option::of(1u64..20), any::<u32>(), 0usize..3);
    (any_pattern(), skip, flags, rows).prop_map(|(pattern, skip, (looks_back, within, restarts, behind), rows)| {
        let mut now = 0;
        let rows = rows.into_iter().map(|(step, bits)| {
            now += step;
            (now, bits)
        });
        Case { pattern, skip, looks_back, within, rows: rows.collect(), restarts, behind }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn matches_are_those_of_the_standard(case in any_case()) {
        prop_assume!(Program::new(&case.pattern, case.skip).is_ok());
        let within = case.within.map(Duration::from_micros);
        let looks_back = if case.looks_back { D } else { 0 };
        let reach = Reach { looks_back, within, behind: case.behind, has_unmatched: true, ..REACH };
        // Readings that nobody can tell apart are not bounded here, but the model takes its time for them.
        let mut search = search(&case.pattern, case.skip, reach, MatchLimits { rows_max: 100, ways_max: 100_000 });
        let (mut key, mut found, mut gone) = (KeyRows::default(), Vec::new(), Vec::new());
        for (number, (time, holds)) in (0u64..).zip(&case.rows) {
            while let Some(deadline) = search.deadline(&key).filter(|deadline| deadline <= time) {
                key.judged = search.complete(&key, key.rows.len(), Now::Time(deadline));
                search.run(&mut key, Now::Time(deadline), &mut EvenAs, &mut found, &mut gone);
            }
            key.rows.push_back(KeyRow { moment: Moment { time: *time, number }, row: number as u32, holds: *holds });
            key.arrived = key.rows.len();
            key.judged = search.complete(&key, key.rows.len(), Now::Row);
            search.run(&mut key, Now::Row, &mut EvenAs, &mut found, &mut gone);
            if case.restarts >> (number % 32) & 1 == 1 {
                key.attempt = None;
            }
        }
        key.judged = key.rows.len();
        search.run(&mut key, Now::End, &mut EvenAs, &mut found, &mut gone);
        prop_assert!(key.rows.is_empty());
        prop_assert_eq!(gone.len(), case.rows.len());
        let told: Vec<String> = found.iter().map(show).collect();
        prop_assert_eq!(told, model(&case));
    }
}
