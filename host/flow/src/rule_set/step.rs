//! The step: asks the rules, does what they say, and counts.

use arrow_array::BooleanArray;
use arrow_buffer::BooleanBufferBuilder;
use tidemill_event::{Breaker, Field, Reason};

use crate::batch::pick;
use crate::rule_set::actions::{Leaving, TRACE, Values, added_fields, columns};
use crate::rule_set::matching::{Matcher, Matches};
use crate::rule_set::trace::traces;
use crate::rule_set::{Emit, RuleSetSettings, RulesReport};
use crate::{FlowBatch, OnFailing, Operator, Outcome, StepId, StepState, Watermark};

/// A rule set as a step.
pub struct RuleSet {
    set: RuleSetSettings,
    matcher: Matcher,
}

impl RuleSet {
    /// A step of these settings.
    ///
    /// # Panics
    /// If a rule names a predicate, a value or a column that the settings do not have.
    pub fn new(set: RuleSetSettings) -> Self {
        let matcher = Matcher::new(&set.rules, set.predicates.len());
        Self { set, matcher }
    }

    /// The columns that a step of these settings adds, for planning.
    pub fn added(set: &RuleSetSettings) -> Vec<Field> {
        added_fields(set)
    }

    /// What becomes of each row; counts the rows that a rule dropped.
    fn leaving(&self, rows: usize, Matches { pairs, failed }: &Matches) -> (Vec<Leaving>, usize) {
        let (mut leaving, mut dropped) = (Vec::new(), 0);
        let (mut start, mut failed) = (0, failed.iter().map(|(row, ..)| *row).peekable());
        for row in 0..rows as u32 {
            if failed.next_if_eq(&row).is_some() {
                while failed.next_if_eq(&row).is_some() {}
                continue;
            }
            let end = start + pairs[start..].iter().take_while(|(of, _)| *of == row).count();
            let said = start..end;
            start = end;
            if said.is_empty() {
                leaving.extend(self.set.keeps_all.then_some(Leaving { row, pairs: said }));
            } else if pairs[said.clone()].iter().any(|(_, rule)| self.set.rules[*rule as usize].drops) {
                dropped += 1;
            } else {
                match self.set.emit {
                    Emit::Rows => leaving.push(Leaving { row, pairs: said }),
                    Emit::Matches => leaving.extend(said.map(|pair| Leaving { row, pairs: pair..pair + 1 })),
                }
            }
        }
        (leaving, dropped)
    }

    fn report(&self, rows: usize, pairs: &[(u32, u32)]) -> RulesReport {
        let mut rules: Vec<u32> = pairs.iter().map(|(_, rule)| *rule).collect();
        rules.sort_unstable();
        let by_rule = rules.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u64)).collect();
        let matched = pairs.chunk_by(|(a, _), (b, _)| a == b).count() as u64;
        RulesReport { step: self.set.step, rows: rows as u64, matched, by_rule }
    }
}

impl Operator for RuleSet {
    fn step(&self) -> StepId {
        self.set.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let numbers: Vec<Vec<u32>> = self.matcher.indexes.iter().map(|index| index.numbers(&input.rows)).collect();
        let RuleSetSettings { rules, predicates, matches, .. } = &self.set;
        let said = self.matcher.matches(rules, predicates, *matches, &input.rows, &numbers);
        if !input.is_empty() {
            output.rules.push(self.report(input.len(), &said.pairs));
        }
        let (mut leaving, dropped) = self.leaving(input.len(), &said);
        output.drop_rows(self.set.step, dropped);
        let Matches { pairs, mut failed } = said;
        let mut values = Values::new(&self.set, &pairs, &leaving, &input.rows);
        failed.append(&mut values.failed);
        failed.sort_by_key(|(row, ..)| *row);
        failed.dedup_by_key(|(row, ..)| *row);
        if !failed.is_empty() {
            leaving.retain(|leaving| failed.binary_search_by_key(&leaving.row, |(row, ..)| *row).is_err());
            let error = |(row, rule, error): (u32, u32, String)| {
                (row as usize, Reason::Expression, format!("rule `{}`: {error}", self.set.rules[rule as usize].name))
            };
            output.bury(&input, self.set.step, failed.into_iter().map(error).collect());
        }
        let mut added = columns(&self.set, &pairs, &leaving, &input.rows, &values);
        if self.set.traces {
            let field =
                added_fields(&self.set).pop().filter(|field| &*field.name == TRACE).expect("the trace is the last column");
            added.push((field.arrow(), traces(&self.set, &self.matcher, &pairs, &leaving, &input.rows)));
        }
        picked(&input, &leaving).with_columns(added)
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        None
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        None
    }

    fn due(&self) -> Option<Watermark> {
        None
    }
}

/// The rows that leave, some of them perhaps several times.
fn picked(input: &FlowBatch, leaving: &[Leaving]) -> FlowBatch {
    if leaving.is_sorted_by(|a, b| a.row < b.row) {
        let mut keep = BooleanBufferBuilder::new(input.len());
        keep.append_n(input.len(), false);
        leaving.iter().for_each(|leaving| keep.set_bit(leaving.row as usize, true));
        return input.filtered(&BooleanArray::new(keep.finish(), None));
    }
    let rows: Vec<u32> = leaving.iter().map(|leaving| leaving.row).collect();
    let origin = rows.iter().map(|row| input.origin[*row as usize]).collect();
    FlowBatch { rows: pick(&input.rows, &rows), origin }
}
