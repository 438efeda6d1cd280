//! Which rules say yes to which rows of a batch.

use arrow_array::RecordBatch;
use hashbrown::HashMap;
use tidemill_event::batch::times;

use crate::rule_set::answers::Answers;
use crate::rule_set::component::{Asked, Said};
use crate::rule_set::index::ColumnIndex;
use crate::rule_set::row_set::RowSet;
use crate::rule_set::{MatchRules, SetRule, SharedPredicate, TestKind};
use crate::{FlowBatch, Outcome, Wait};

/// A rule, ready to be asked.
struct Ready {
    /// Which column, and which numbers of its values, ascending.
    is: Vec<(u32, Vec<u32>)>,
    /// In the order of the text.
    predicates: Vec<u32>,
    /// It is found by rows of some value; else it is asked about every row.
    is_indexed: bool,
    /// Asked last, if there is one.
    component: Option<u32>,
}

/// What a test that fails on a row means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailedTest {
    /// Nothing is known of the row: no rule says yes to it.
    EndsTheRow,
    /// That rule does not say yes to it.
    IsNo,
}

/// All rules, ready to be asked.
pub(crate) struct Matcher {
    pub(crate) indexes: Vec<ColumnIndex>,
    rules: Vec<Ready>,
    /// Rules that no index leads to, and that are on.
    everywhere: Vec<u32>,
    /// How many rules have each predicate.
    uses: Vec<u32>,
    failing: FailedTest,
    /// Per rule, the rows that an index led to; empty between two batches.
    found: Vec<Vec<u32>>,
}

/// What the rules said.
pub(crate) struct Matches {
    /// (row, rule), ascending; only of rows that are decided, and that nothing failed on.
    pub(crate) pairs: Vec<(u32, u32)>,
    /// Rows that a rule's test failed on, ascending: which rule, and why.
    pub(crate) failed: Vec<(u32, u32, String)>,
    /// Rows that a component has dealt with, ascending: they are dead, or come back by themselves.
    pub(crate) gone: Vec<u32>,
    /// From this row on a component did not decide, and when the rows shall come back. Those of them that failed or are gone do not.
    pub(crate) undecided: Option<(u32, Wait)>,
    /// What components said, by their place.
    pub(crate) said: Vec<Said>,
}

/// What rules are asked about.
pub(crate) struct Batch<'a> {
    pub(crate) rows: &'a RecordBatch,
    /// Of each index, the numbers of the rows' values.
    pub(crate) numbers: &'a [Vec<u32>],
    /// `None` where no rule asks one.
    pub(crate) guests: Option<Guests<'a>>,
}

/// Components that rules ask, and what they answer about.
pub(crate) struct Guests<'a> {
    pub(crate) components: &'a mut [Asked],
    /// The rows of the batch.
    pub(crate) input: &'a FlowBatch,
    pub(crate) output: &'a mut Outcome,
}

impl Matcher {
    pub(crate) fn new(rules: &[SetRule], predicates: usize) -> Self {
        let mut indexes: Vec<ColumnIndex> = Vec::new();
        let mut uses = vec![0; predicates];
        let mut ready: Vec<Ready> = Vec::with_capacity(rules.len());
        // How many rules have each value of each column: a rule is found by the one that fewest others have.
        let mut shared: HashMap<(u32, u32), u32> = HashMap::default();
        for rule in rules {
            let mut one = Ready { is: Vec::new(), predicates: Vec::new(), is_indexed: false, component: None };
            one.component = rule.asks.as_ref().map(|asks| asks.place);
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
        Self { indexes, rules: ready, everywhere, uses, failing: FailedTest::EndsTheRow, found }
    }

    /// The same, where a test that fails means that.
    pub(crate) fn failing(self, failing: FailedTest) -> Self {
        Self { failing, ..self }
    }

    /// The answers that are yet to be asked for.
    pub(crate) fn answers<'a>(&'a self, rows: &'a RecordBatch, predicates: &'a [SharedPredicate]) -> Answers<'a> {
        Answers::new(rows, predicates, &self.uses)
    }

    /// Asks the rules.
    pub(crate) fn matches(
        &mut self,
        rules: &[SetRule],
        predicates: &[SharedPredicate],
        mode: MatchRules,
        batch: Batch<'_>,
    ) -> Matches {
        let mut found = std::mem::take(&mut self.found);
        let asked = self.candidates(batch.numbers, &mut found);
        let said = batch.guests.iter().flat_map(|guests| guests.components.iter().map(|_| Said::default())).collect();
        let mut asking = Asking {
            answers: self.answers(batch.rows, predicates),
            open: RowSet::all(batch.rows.num_rows()),
            mode,
            failing: self.failing,
            matches: Matches { pairs: Vec::new(), failed: Vec::new(), gone: Vec::new(), undecided: None, said },
            guests: batch.guests,
            rows: batch.rows,
            numbers: batch.numbers,
        };
        for rule in asked {
            let (ready, candidates) = (&self.rules[rule as usize], std::mem::take(&mut found[rule as usize]));
            let set_rule = &rules[rule as usize];
            if ready.is_indexed {
                asking.some_rows(rule, ready, candidates, set_rule);
            } else {
                asking.every_row(rule, ready, set_rule);
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
        matches.gone.sort_unstable();
        let ends = self.failing == FailedTest::EndsTheRow && !matches.failed.is_empty();
        if ends || !matches.gone.is_empty() || matches.undecided.is_some() {
            let Matches { failed, gone, undecided, pairs, .. } = &mut matches;
            let is_decided = |row: &u32| undecided.as_ref().is_none_or(|(from, _)| row < from);
            let has_failed = |row: &u32| ends && failed.binary_search_by_key(row, |(row, ..)| *row).is_ok();
            pairs.retain(|(row, _)| is_decided(row) && !has_failed(row) && gone.binary_search(row).is_err());
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
    /// Rows that nothing failed on, that no component left undecided and, where the first rule counts, that no rule said yes to.
    open: RowSet,
    mode: MatchRules,
    failing: FailedTest,
    matches: Matches,
    rows: &'a RecordBatch,
    numbers: &'a [Vec<u32>],
    guests: Option<Guests<'a>>,
}

impl Asking<'_> {
    fn some_rows(&mut self, rule: u32, ready: &Ready, mut candidates: Vec<u32>, text: &SetRule) {
        let (on, numbers) = ((text.from, text.until), self.numbers);
        let times = times(self.rows).values();
        candidates.retain(|row| {
            let at = *row as usize;
            let is = |(column, values): &(u32, Vec<u32>)| values.binary_search(&numbers[*column as usize][at]).is_ok();
            self.open.contains(*row) && is_on(on, times[at]) && ready.is.iter().all(is)
        });
        for predicate in &ready.predicates {
            if candidates.is_empty() {
                return;
            }
            let (open, failing, failed) = (&mut self.open, self.failing, &mut self.matches.failed);
            self.answers.keep(*predicate, &mut candidates, |row, error| {
                if failing == FailedTest::EndsTheRow {
                    open.remove(row);
                }
                failed.push((row, rule, error.to_owned()));
            });
        }
        match ready.component {
            Some(component) => self.ask(rule, component, &candidates, &text.name),
            None => candidates.into_iter().for_each(|row| self.matched(row, rule)),
        }
    }

    fn every_row(&mut self, rule: u32, ready: &Ready, text: &SetRule) {
        let (mut left, on) = (self.open.clone(), (text.from, text.until));
        if on != (None, None) {
            let bits = times(self.rows).values().iter().map(|time| is_on(on, *time)).collect();
            left.keep(&RowSet::of(&bits));
        }
        for predicate in &ready.predicates {
            if left.is_empty() {
                return;
            }
            let answer = self.answers.answer_for_all(*predicate);
            if answer.has_failed() {
                for (row, error) in left.iter().filter_map(|row| Some((row, answer.failure(row)?))) {
                    if self.failing == FailedTest::EndsTheRow {
                        self.open.remove(row);
                    }
                    self.matches.failed.push((row, rule, error.to_owned()));
                }
            }
            left.keep(&answer.yes);
        }
        match ready.component {
            Some(component) => self.ask(rule, component, &left.iter().collect::<Vec<_>>(), &text.name),
            None => left.iter().for_each(|row| self.matched(row, rule)),
        }
    }

    /// The component of a rule has the last word on the rows that its tests let through.
    fn ask(&mut self, rule: u32, component: u32, rows: &[u32], name: &str) {
        let Some(Guests { components, input, output }) = self.guests.as_mut().filter(|_| !rows.is_empty()) else { return };
        let said = components[component as usize].ask(name, rows, input, output);
        said.gone.iter().for_each(|row| self.open.remove(*row));
        self.matches.gone.extend(&said.gone);
        if let Some((from, wait)) = said.undecided {
            // It was asked about rows before the last such row alone: this one is before it.
            self.open.cut(from);
            self.matches.undecided = Some((from, wait));
        }
        said.yes.iter().for_each(|row| self.matched(*row, rule));
        self.matches.said[component as usize] = said;
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
