//! What the rules of a `rules` step said since the host started, as `status` shows it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use tidemill_flow::rule_set::RulesReport;

use crate::plan::{Plan, PlannedKind};

/// Rules that said yes most often are shown, so many of them.
const SHOWN_MAX: usize = 100;

/// A rule set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RulesStatus {
    /// How many rules it has.
    pub count: u64,
    /// Those that are off.
    pub off: u64,
    /// Rows that were judged.
    pub rows: u64,
    /// Those that some rule said yes to.
    pub matched: u64,
    /// Rules that have said yes to no row yet, and are on.
    pub never: u64,
    /// How often each rule said yes: the hundred that did most often.
    #[serde(serialize_with = "most")]
    pub by_rule: BTreeMap<String, u64>,
}

impl RulesStatus {
    /// Nothing was said yet; `None`: the step is no rule set.
    pub(crate) fn of(plan: &Plan, step: u32) -> Option<Self> {
        let PlannedKind::Rules(planned) = &plan.steps.get(step as usize)?.kind else { return None };
        let off = planned.rules.iter().filter(|rule| rule.off.is_some()).count() as u64;
        let count = planned.rules.len() as u64;
        Some(Self { count, off, rows: 0, matched: 0, never: count - off, by_rule: BTreeMap::new() })
    }

    /// Another plan goes on with the step: what its rules said before, if they are still there.
    pub(crate) fn carried(before: &Self, plan: &Plan, step: u32) -> Option<Self> {
        let new = Self::of(plan, step)?;
        let PlannedKind::Rules(planned) = &plan.steps.get(step as usize)?.kind else { return None };
        let is_there = |name: &str| planned.rules.iter().any(|rule| rule.off.is_none() && *rule.name == *name);
        let counts = before.by_rule.iter().filter(|(name, _)| is_there(name)).map(|(name, times)| (name.clone(), *times));
        let mut carried = Self { rows: before.rows, matched: before.matched, by_rule: counts.collect(), ..new };
        carried.count_never();
        Some(carried)
    }

    /// A batch was judged.
    pub(crate) fn judged(&mut self, report: &RulesReport, plan: &Plan) {
        let Some(PlannedKind::Rules(planned)) = plan.steps.get(report.step.0 as usize).map(|step| &step.kind) else { return };
        self.rows += report.rows;
        self.matched += report.matched;
        for (rule, times) in &report.by_rule {
            let name = &planned.rules[*rule as usize].name;
            match self.by_rule.get_mut(&**name) {
                Some(count) => *count += times,
                None => drop(self.by_rule.insert(name.to_string(), *times)),
            }
        }
        self.count_never();
    }

    /// What another task's said, of the same rules.
    pub(crate) fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.matched += other.matched;
        for (rule, times) in &other.by_rule {
            *self.by_rule.entry(rule.clone()).or_default() += times;
        }
        self.count_never();
    }

    fn count_never(&mut self) {
        self.never = (self.count - self.off).saturating_sub(self.by_rule.len() as u64);
    }
}

fn most<S: Serializer>(by_rule: &BTreeMap<String, u64>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut counts: Vec<(&String, u64)> = by_rule.iter().map(|(rule, times)| (rule, *times)).collect();
    counts.sort_by_key(|(_, times)| Reverse(*times));
    serializer.collect_map(counts.into_iter().take(SHOWN_MAX))
}
