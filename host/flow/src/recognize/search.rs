//! The search through the rows of one key: a start, all rows behind it, the match or none, the next start.
//!
//! A match is told as soon as no row that may come can change it: with its last row if nothing longer is preferred, with the row that ends a greedy
//! loop, when `WITHIN` is over, or at the end of all rows.

use std::time::Duration;

use crate::recognize::attempt::{Attempt, Rules, Scratch};
use crate::recognize::key_rows::{Found, KeyRow, KeyRows};
use crate::recognize::program::Program;
use crate::recognize::shape::VariableId;
use crate::recognize::skip::rows_to_next;

/// Bounds for each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatchLimits {
    /// Rows that wait for a match to be decided. One more ends the attempt: what it has found so far counts; if that is nothing, the older half of the
    /// rows begins no match any more.
    pub rows_max: usize,
    /// Readings of the same rows at a time. More are not followed: the least preferred ones are given up.
    pub ways_max: usize,
}

impl Default for MatchLimits {
    fn default() -> Self {
        Self { rows_max: 10_000, ways_max: 1_000 }
    }
}

/// What the bounds and conditions did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MatchTally {
    /// Matches, empty ones too.
    pub matches: u64,
    /// Rows that were given up as starts, or attempts that ended early, because a key had too many rows.
    pub rows_given_up: u64,
    /// Readings that were not followed.
    pub ways_given_up: u64,
    /// Conditions that failed on a row: no, and counted.
    pub failed: u64,
}

/// What conditions over a match say.
pub(crate) trait Judge {
    /// Whether the row at `at` may be taken for a variable, behind what was taken from `start` on; asked only if the conditions over the row itself
    /// hold.
    fn holds(&mut self, variable: VariableId, key: &KeyRows, at: usize, taken: &[VariableId]) -> bool;
}

/// What is known of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Now {
    /// A row has come.
    Row,
    /// No row before this time comes any more.
    Time(i64),
    /// No row comes any more.
    End,
}

/// The search.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) program: Program,
    /// Variables with a condition that looks at the match.
    pub(crate) looks_back: u64,
    /// In µs.
    pub(crate) within: Option<i64>,
    /// How many rows before another, and behind it, expressions may look.
    pub(crate) before: usize,
    pub(crate) behind: usize,
    /// Matches have numbers, so that a key that had one is not forgotten.
    has_numbers: bool,
    /// Rows that no match has are told.
    has_unmatched: bool,
    pub(crate) limits: MatchLimits,
    pub(crate) tally: MatchTally,
    scratch: Scratch,
}

/// What a search is made of, beside its program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    pub(crate) looks_back: u64,
    pub(crate) within: Option<Duration>,
    pub(crate) before: usize,
    pub(crate) behind: usize,
    pub(crate) has_numbers: bool,
    pub(crate) has_unmatched: bool,
}

impl Search {
    pub(crate) fn new(program: Program, reach: Reach, limits: MatchLimits) -> Self {
        let Reach { looks_back, within, before, behind, has_numbers, has_unmatched } = reach;
        let within = within.map(|within| i64::try_from(within.as_micros()).unwrap_or(i64::MAX));
        let (tally, scratch) = (MatchTally::default(), Scratch::default());
        Self { program, looks_back, within, before, behind, has_numbers, has_unmatched, limits, tally, scratch }
    }

    /// Whether nothing need be kept of the key.
    pub(crate) fn is_over(&self, key: &KeyRows) -> bool {
        key.rows.is_empty() && !(self.has_numbers && key.matches > 0)
    }

    /// How many of the first `arrived` rows have all neighbours that expressions may look at: `NEXT` reaches as many rows as somebody asks for, and
    /// not beyond `WITHIN`.
    pub(crate) fn complete(&self, key: &KeyRows, arrived: usize, now: Now) -> usize {
        let newest = arrived.checked_sub(1).map_or(i64::MIN, |last| key.rows[last].moment.time);
        let newest = match now {
            Now::Row => newest,
            Now::Time(time) => newest.max(time),
            Now::End => return arrived,
        };
        let mut complete = arrived.saturating_sub(self.behind);
        if let Some(within) = self.within {
            complete +=
                key.rows.range(complete..arrived).take_while(|row| row.moment.time.saturating_add(within) <= newest).count();
        }
        complete
    }

    /// When time alone does something to the key: its attempt is over, or the rows kept for `PREV` are too old.
    pub(crate) fn deadline(&self, key: &KeyRows) -> Option<i64> {
        let within = self.within?;
        if key.start >= key.arrived {
            let is_kept = key.arrived == key.rows.len();
            return Some(key.rows.back().filter(|_| is_kept)?.moment.time.saturating_add(within));
        }
        let over = key.rows[key.start].moment.time.saturating_add(within);
        // A row that waits for `NEXT` is waited for.
        let incomplete = self.complete(key, key.arrived, Now::Row).max(key.start);
        let waiting = key.rows.range(incomplete..key.arrived).take_while(|row| row.moment.time < over).last();
        Some(waiting.map_or(over, |row| row.moment.time.saturating_add(within)))
    }

    /// Goes as far as the rows that are there allow.
    pub(crate) fn run(
        &mut self,
        key: &mut KeyRows,
        now: Now,
        judge: &mut dyn Judge,
        found: &mut Vec<Found>,
        gone: &mut Vec<u32>,
    ) {
        while let Some(begun) = key.rows.get(key.start).copied().filter(|_| key.start < key.arrived) {
            let ready = self.complete(key, key.arrived, now).min(key.judged);
            if key.attempt.is_none() {
                if key.start >= ready {
                    break;
                }
                if !self.program.may_be_empty && begun.holds & self.program.first.0 == 0 {
                    self.pass_by(key, 1, found);
                    continue;
                }
            }
            let mut attempt = key
                .attempt
                .take()
                .unwrap_or_else(|| Box::new(Attempt::new(rules(&self.program, self.looks_back, self.limits), &mut self.scratch)));
            let is_over = self.feed(key, &mut attempt, begun, ready, now, judge);
            let is_full = key.arrived - key.start > self.limits.rows_max;
            if !is_over && !attempt.is_decided() && !is_full {
                key.attempt = Some(attempt);
                break;
            }
            let is_given_up = is_full && !is_over && !attempt.is_decided();
            match attempt.best() {
                Some(taken) => {
                    self.tally.rows_given_up += u64::from(is_given_up);
                    key.matches += 1;
                    self.tally.matches += 1;
                    let next = rows_to_next(self.program.skip, &taken);
                    let mut one = self.found(key, begun, taken.len());
                    (one.number, one.is_stuck) = (Some(key.matches), next.is_err());
                    one.taken = taken;
                    key.matched = key.matched.max(key.start + one.taken.len().max(1));
                    found.push(one);
                    key.start += next.unwrap_or(1);
                }
                None if is_given_up => {
                    let rows = (key.arrived - key.start) / 2 + 1;
                    self.tally.rows_given_up += rows as u64;
                    self.pass_by(key, rows, found);
                }
                None => self.pass_by(key, 1, found),
            }
        }
        if let Now::Time(time) = now
            && key.start == key.rows.len()
            && self.deadline(key).is_some_and(|deadline| deadline <= time)
        {
            key.forget(gone);
        }
        key.trim(self.before, gone);
    }

    /// Gives the attempt the rows that are there. Answers whether no further row can be part of it.
    fn feed(
        &mut self,
        key: &KeyRows,
        attempt: &mut Attempt,
        begun: KeyRow,
        ready: usize,
        now: Now,
        judge: &mut dyn Judge,
    ) -> bool {
        let rules = rules(&self.program, self.looks_back, self.limits);
        let deadline = self.within.map(|within| begun.moment.time.saturating_add(within));
        while !attempt.is_decided() {
            let at = key.start + attempt.length;
            if at >= key.arrived {
                return match now {
                    Now::Row => false,
                    Now::Time(time) => deadline.is_some_and(|deadline| deadline <= time),
                    Now::End => true,
                };
            }
            let row = key.rows[at];
            if deadline.is_some_and(|deadline| row.moment.time >= deadline) {
                return true;
            }
            if at >= ready {
                return false;
            }
            let looks_back = self.looks_back;
            let given_up = attempt.take(rules, &mut self.scratch, |variable, taken| {
                let bit = 1 << variable.0;
                row.holds & bit != 0 && (looks_back & bit == 0 || judge.holds(variable, key, at, taken))
            });
            self.tally.ways_given_up += given_up;
        }
        false
    }

    /// No match begins with the next rows.
    fn pass_by(&self, key: &mut KeyRows, rows: usize, found: &mut Vec<Found>) {
        for _ in 0..rows {
            if self.has_unmatched && key.start >= key.matched {
                let begun = key.rows[key.start];
                found.push(self.found(key, begun, 1));
            }
            key.start += 1;
        }
    }

    /// So many rows from the start on, with their neighbours.
    fn found(&self, key: &KeyRows, begun: KeyRow, rows: usize) -> Found {
        let first = key.start.saturating_sub(self.before);
        let end = (key.start + rows.max(1) + self.behind).min(key.rows.len());
        Found {
            begun: begun.moment,
            number: None,
            rows: key.rows.range(first..end).map(|row| (row.row, row.moment.time)).collect(),
            before: key.start - first,
            taken: Vec::new(),
            is_stuck: false,
        }
    }
}

fn rules(program: &Program, looks_back: u64, limits: MatchLimits) -> Rules<'_> {
    Rules { program, looks_back: looks_back != 0, ways_max: limits.ways_max.max(1) }
}
