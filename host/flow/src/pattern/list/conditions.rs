//! What all patterns of a list ask of a row, each condition once: a rule set's own way of finding who says yes.

use std::sync::Arc;

use arrow_array::RecordBatch;

use crate::rule_set::{Batch, FailedTest, MatchRules, Matcher, RuleTest, SetRule, SharedPredicate, TestKind};

/// The conditions of a list of patterns.
#[derive(Default)]
pub struct SharedConditions {
    /// Conditions by number, each as tests that must all hold.
    pub conditions: Vec<Vec<TestKind>>,
    /// What tests name.
    pub predicates: Vec<SharedPredicate>,
}

/// The same, ready to be asked.
pub(super) struct Asked {
    rules: Vec<SetRule>,
    predicates: Vec<SharedPredicate>,
    matcher: Matcher,
}

/// What they say of a batch.
pub(super) struct Answered {
    /// (row, condition), ascending.
    pub(super) holds: Vec<(u32, u32)>,
    /// Conditions that failed on a row: that is no. (condition, how often.)
    pub(super) failed: Vec<u32>,
}

impl Asked {
    /// # Panics
    /// If a test names a predicate that is not there.
    pub(super) fn new(SharedConditions { conditions, predicates }: SharedConditions) -> Self {
        let nameless: Arc<str> = "".into();
        let rule = |tests: Vec<TestKind>| SetRule {
            name: nameless.clone(),
            off: None,
            from: None,
            until: None,
            tests: tests.into_iter().map(|kind| RuleTest { text: nameless.clone(), kind }).collect(),
            asks: None,
            sets: Vec::new(),
            tags: Vec::new(),
            route: None,
            drops: false,
        };
        let rules: Vec<SetRule> = conditions.into_iter().map(rule).collect();
        let matcher = Matcher::new(&rules, predicates.len()).failing(FailedTest::IsNo);
        Self { rules, predicates, matcher }
    }

    pub(super) fn ask(&mut self, rows: &RecordBatch) -> Answered {
        let numbers: Vec<Vec<u32>> = self.matcher.indexes.iter().map(|index| index.numbers(rows)).collect();
        let said =
            self.matcher.matches(&self.rules, &self.predicates, MatchRules::All, Batch { rows, numbers: &numbers, guests: None });
        Answered { holds: said.pairs, failed: said.failed.into_iter().map(|(_, condition, _)| condition).collect() }
    }
}
