//! Which rules say yes to which rows of a batch.

use arrow_array::RecordBatch;
use hashbrown::HashMap;
use tidemill_event::batch::times;

use crate::rule_set::answers::Answers;
use crate::rule_set::index::ColumnIndex;
use crate::rule_set::row_set::RowSet;
use crate::rule_set::{MatchRules, SetRule, SharedPredicate, TestKind};

/// A rule, ready to be asked.
struct Ready {
    /// Which column, and which numbers of its values, ascending.
    is: Vec<(u32, Vec<u32>)>,
    /// In the order of the text.
    predicates: Vec<u32>,
    /// It is found by rows of some value; else it is asked about every row.
    is_indexed: bool,
}

/// All rules, ready to be asked.
pub(crate) struct Matcher {
    pub(crate) indexes: Vec<ColumnIndex>,
    rules: Vec<Ready>,
    /// Rules that no index leads to, and that are on.
    everywhere: Vec<u32>,
    /// How many rules have each predicate.
    uses: Vec<u32>,
    /// Per rule, the rows that an index led to; empty between two batches.
    found: Vec<Vec<u32>>,
}

/// What the rules said.
pub(crate) struct Matches {
    /// (row, rule), ascending; only of rows that nothing failed on.
    pub(crate) pairs: Vec<(u32, u32)>,
    /// Rows that a rule failed on, ascending: which rule, and why.
    pub(crate) failed: Vec<(u32, u32, String)>,
}

impl Matcher {
    pub(crate) fn new(rules: &[SetRule], predicates: usize) -> Self {
        let mut indexes: Vec<ColumnIndex> = Vec::new();
        let mut uses = vec![0; predicates];
        let mut ready: Vec<Ready> = Vec::with_capacity(rules.len());
        // How many rules have each value of each column: a rule is found by the one that fewest others have.
        let mut shared: HashMap<(u32, u32), u32> = HashMap::default();
        for rule in rules {
            let mut one = Ready { is: Vec::new(), predicates: Vec::new(), is_indexed: false };
            for test in &rule.tests {
                match &test.kind {
                    TestKind::Is { column, any_of } => {
                        let at = indexes.iter().position(|index| index.column == *column).unwrap_or_else(|| {
                            indexes.push(ColumnIndex::new(column.clone()));
                            indexes.len() - 1
                        });
                        let mut numbers: Vec<u32> = any_of.iter().map(|value| indexes[at].number(value)).collect();
                        numbers.sort_unstable();
                        numbers.dedup();
                        numbers.iter().for_each(|number| *shared.entry((at as u32, *number)).or_default() += 1);
                        one.is.push((at as u32, numbers));
                    }
                    TestKind::Predicate(predicate) => {
                        uses[*predicate as usize] += 1;
                        one.predicates.push(*predicate);
                    }
                }
            }
            ready.push(one);
        }
        let mut everywhere = Vec::new();
        for ((at, rule), one) in (0u32..).zip(rules).zip(&mut ready) {
            if rule.off.is_some() {
                continue;
            }
            let cost = |(column, numbers): &&(u32, Vec<u32>)| -> u64 {
                numbers.iter().map(|number| u64::from(shared[&(*column, *number)])).sum()
            };
            match one.is.iter().min_by_key(cost) {
                Some((column, numbers)) => {
                    numbers.iter().for_each(|number| indexes[*column as usize].add(*number, at));
                    one.is_indexed = true;
                }
                None => everywhere.push(at),
            }
        }
        let found = rules.iter().map(|_| Vec::new()).collect();
        Self { indexes, rules: ready, everywhere, uses, found }
    }

    /// The answers that are yet to be asked for.
    pub(crate) fn answers<'a>(&'a self, rows: &'a RecordBatch, predicates: &'a [SharedPredicate]) -> Answers<'a> {
        Answers::new(rows, predicates, &self.uses)
    }

    /// Asks the rules. `numbers`: of each index, the numbers of the rows' values.
    pub(crate) fn matches(
        &mut self,
        rules: &[SetRule],
        predicates: &[SharedPredicate],
        mode: MatchRules,
        rows: &RecordBatch,
        numbers: &[Vec<u32>],
    ) -> Matches {
        let mut found = std::mem::take(&mut self.found);
        let asked = self.candidates(numbers, &mut found);
        let mut asking = Asking {
            answers: self.answers(rows, predicates),
            open: RowSet::all(rows.num_rows()),
            mode,
            matches: Matches { pairs: Vec::new(), failed: Vec::new() },
        };
        for rule in asked {
            let (ready, candidates) = (&self.rules[rule as usize], std::mem::take(&mut found[rule as usize]));
            let SetRule { from, until, .. } = rules[rule as usize];
            if ready.is_indexed {
                asking.some_rows(rule, ready, candidates, (from, until), rows, numbers);
            } else {
                asking.every_row(rule, ready, (from, until), rows);
            }
            if mode == MatchRules::First && asking.open.is_empty() {
                break;
            }
        }
        let Asking { mut matches, .. } = asking;
        found.iter_mut().for_each(Vec::clear);
        self.found = found;
        matches.pairs.sort_unstable();
        matches.failed.sort_unstable_by_key(|(row, ..)| *row);
        if !matches.failed.is_empty() {
            let failed = &matches.failed;
            matches.pairs.retain(|(row, _)| failed.binary_search_by_key(row, |(row, ..)| *row).is_err());
        }
        matches
    }

    /// The rules to ask, in order; the rows of those that an index leads to.
    fn candidates(&self, numbers: &[Vec<u32>], found: &mut [Vec<u32>]) -> Vec<u32> {
        let mut asked = self.everywhere.clone();
        for (index, numbers) in self.indexes.iter().zip(numbers).filter(|(index, _)| index.leads_to_rules()) {
            for (row, number) in (0u32..).zip(numbers) {
                for rule in index.rules(*number) {
                    let rows = &mut found[*rule as usize];
                    if rows.is_empty() {
                        asked.push(*rule);
                    }
                    rows.push(row);
                }
            }
        }
        asked.sort_unstable();
        asked
    }
}

/// The rules being asked about one batch.
struct Asking<'a> {
    answers: Answers<'a>,
    /// Rows that nothing failed on and, where the first rule counts, that no rule said yes to.
    open: RowSet,
    mode: MatchRules,
    matches: Matches,
}

impl Asking<'_> {
    fn some_rows(
        &mut self,
        rule: u32,
        ready: &Ready,
        mut candidates: Vec<u32>,
        on: (Option<i64>, Option<i64>),
        rows: &RecordBatch,
        numbers: &[Vec<u32>],
    ) {
        let times = times(rows).values();
        candidates.retain(|row| {
            let at = *row as usize;
            let is = |(column, values): &(u32, Vec<u32>)| values.binary_search(&numbers[*column as usize][at]).is_ok();
            self.open.contains(*row) && is_on(on, times[at]) && ready.is.iter().all(is)
        });
        for predicate in &ready.predicates {
            if candidates.is_empty() {
                return;
            }
            let (open, failed) = (&mut self.open, &mut self.matches.failed);
            self.answers.keep(*predicate, &mut candidates, |row, error| {
                open.remove(row);
                failed.push((row, rule, error.to_owned()));
            });
        }
        for row in candidates {
            self.matched(row, rule);
        }
    }

    fn every_row(&mut self, rule: u32, ready: &Ready, on: (Option<i64>, Option<i64>), rows: &RecordBatch) {
        let mut left = self.open.clone();
        if on != (None, None) {
            let bits = times(rows).values().iter().map(|time| is_on(on, *time)).collect();
            left.keep(&RowSet::of(&bits));
        }
        for predicate in &ready.predicates {
            if left.is_empty() {
                return;
            }
            let answer = self.answers.answer_for_all(*predicate);
            if answer.has_failed() {
                for (row, error) in left.iter().filter_map(|row| Some((row, answer.failure(row)?))) {
                    self.open.remove(row);
                    self.matches.failed.push((row, rule, error.to_owned()));
                }
            }
            left.keep(&answer.yes);
        }
        for row in left.iter() {
            self.matched(row, rule);
        }
    }

    fn matched(&mut self, row: u32, rule: u32) {
        self.matches.pairs.push((row, rule));
        if self.mode == MatchRules::First {
            self.open.remove(row);
        }
    }
}

/// Whether a rule is on at a time.
pub(crate) fn is_on((from, until): (Option<i64>, Option<i64>), time: i64) -> bool {
    from.is_none_or(|from| from <= time) && until.is_none_or(|until| time < until)
}
