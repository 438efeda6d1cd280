//! The step: asks the rules, does what they say, and counts.

use arrow_array::BooleanArray;
use arrow_buffer::BooleanBufferBuilder;
use tidemill_event::{Breaker, BreakerState, Field, Reason};

use crate::batch::pick;
use crate::rule_set::actions::{Leaving, TRACE, Values, added_fields, columns};
use crate::rule_set::component::Asked;
use crate::rule_set::matching::{Batch, Guests, Matcher, Matches};
use crate::rule_set::trace::traces;
use crate::rule_set::{Emit, RuleSetSettings, RulesReport};
use crate::{FlowBatch, OnFailing, Operator, Outcome, StepId, StepState, Watermark};

/// A rule set as a step.
pub struct RuleSet {
    set: RuleSetSettings,
    matcher: Matcher,
    components: Vec<Asked>,
}

impl RuleSet {
    /// A step of these settings.
    ///
    /// # Panics
    /// If a rule names a predicate, a value, a column or a component that the settings do not have.
    pub fn new(mut set: RuleSetSettings) -> Self {
        let matcher = Matcher::new(&set.rules, set.predicates.len());
        let asked = |(place, component)| Asked::new(set.step, place, component);
        let components = (0..).zip(std::mem::take(&mut set.components)).map(asked).collect();
        Self { set, matcher, components }
    }

    /// The columns that a step of these settings adds, for planning.
    pub fn added(set: &RuleSetSettings) -> Vec<Field> {
        added_fields(set)
    }

    /// What becomes of each row; counts the rows that a rule dropped.
    fn leaving(&self, rows: u32, Matches { pairs, failed, gone, .. }: &Matches) -> (Vec<Leaving>, usize) {
        let (mut leaving, mut dropped) = (Vec::new(), 0);
        let (mut start, mut failed) = (0, failed.iter().map(|(row, ..)| *row).peekable());
        let mut gone = gone.iter().copied().peekable();
        for row in 0..rows {
            if failed.next_if_eq(&row).is_some() {
                while failed.next_if_eq(&row).is_some() {}
                continue;
            }
            if gone.next_if_eq(&row).is_some() {
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

    /// Rows that a component did not decide come back to the step, in their order.
    fn put_back(&self, input: &FlowBatch, Matches { undecided, failed, gone, .. }: &Matches, output: &mut Outcome) {
        let Some((from, wait)) = *undecided else { return };
        let has_ended = |row: &u32| failed.binary_search_by_key(row, |(row, ..)| *row).is_ok() || gone.binary_search(row).is_ok();
        let back: Vec<u32> = (from..input.len() as u32).filter(|row| !has_ended(row)).collect();
        let attempts = output.attempts(self.set.step);
        output.put_back(self.set.step, input.picked(&back), wait, attempts);
    }

    fn report(&self, rows: u32, pairs: &[(u32, u32)]) -> RulesReport {
        let mut rules: Vec<u32> = pairs.iter().map(|(_, rule)| *rule).collect();
        rules.sort_unstable();
        let by_rule = rules.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u64)).collect();
        let matched = pairs.chunk_by(|(a, _), (b, _)| a == b).count() as u64;
        RulesReport { step: self.set.step, rows: u64::from(rows), matched, by_rule }
    }
}

impl Operator for RuleSet {
    fn step(&self) -> StepId {
        self.set.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let numbers: Vec<Vec<u32>> = self.matcher.indexes.iter().map(|index| index.numbers(&input.rows)).collect();
        let RuleSetSettings { rules, predicates, matches, .. } = &self.set;
        let guests = Some(Guests { components: &mut self.components, input: &input, output });
        let batch = Batch { rows: &input.rows, numbers: &numbers, guests };
        let matches = self.matcher.matches(rules, predicates, *matches, batch);
        let decided = matches.undecided.map_or(input.len() as u32, |(from, _)| from);
        if decided > 0 {
            output.rules.push(self.report(decided, &matches.pairs));
        }
        self.put_back(&input, &matches, output);
        let (mut leaving, dropped) = self.leaving(decided, &matches);
        output.drop_rows(self.set.step, dropped);
        let Matches { pairs, mut failed, said, .. } = matches;
        let mut values = Values::new(&self.set, &pairs, &leaving, &input.rows, (&self.components, &said));
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
            added.push((field.arrow(), traces(&self.set, &self.matcher, &pairs, &leaving, (&input.rows, &said))));
        }
        picked(&input, &leaving).with_columns(added)
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        None
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        let is_out = |asked: &mut Asked| asked.breaker().0.state() != BreakerState::Closed;
        let at = self.components.iter_mut().position(is_out).unwrap_or(0);
        self.components.get_mut(at).map(Asked::breaker)
    }

    fn breakers(&mut self) -> Vec<(&mut Breaker, OnFailing)> {
        self.components.iter_mut().map(Asked::breaker).collect()
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
