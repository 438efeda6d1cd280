//! The step: a batch in, what each pattern that it concerns made of it out.

use std::borrow::Cow;
use std::sync::Arc;

use tidemill_event::{Breaker, Field};

use crate::pattern::conditions::Tested;
use crate::pattern::list::SharedConditions;
use crate::pattern::list::conditions::Asked;
use crate::pattern::list::kept::{Kept, Member};
use crate::pattern::list::rows::{merged, nothing, pattern_field, widened};
use crate::pattern::order::{Ordered, Waiting};
use crate::pattern::tally::{PatternReport, PatternTally};
use crate::pattern::{PatternOrder, PatternSettings, PatternStep, PatternStepRefused, StageCondition};
use crate::{Extend, FlowBatch, Judged, OnFailing, Operator, Outcome, StepId, StepState, Watermark};

/// One pattern of a list.
pub struct ListedPattern {
    /// What it is called; no other of the list is.
    pub name: Arc<str>,
    /// What its state hangs on: with another text it begins anew.
    pub shape: String,
    /// The pattern. Its order and what is late are the list's.
    pub settings: PatternSettings,
    /// Computed of its matches.
    pub after: Option<Extend>,
}

/// What the step does.
pub struct PatternListSettings {
    /// Which step it is.
    pub step: StepId,
    /// The columns of rows that wait, `_time` aside.
    pub fields: Vec<Field>,
    /// The order of rows.
    pub order: PatternOrder,
    /// What decides that a row is late.
    pub judged: Judged,
    /// What the patterns ask of a row ([`StageCondition::Shared`]).
    pub conditions: SharedConditions,
    /// The patterns.
    pub patterns: Vec<ListedPattern>,
    /// The columns that come out behind the pattern's name.
    pub columns: Vec<Field>,
}

/// The step.
pub struct PatternList {
    step: StepId,
    asked: Asked,
    /// Per condition, the patterns that have it and which of their predicates it is.
    uses: Vec<Vec<(u32, u8)>>,
    after: Vec<Option<Extend>>,
    columns: Vec<Field>,
    reported: PatternTally,
    kept: Kept,
    /// Per pattern, the rows that some of its predicates hold of, with those; empty between two batches.
    hits: Vec<Vec<(u32, u64)>>,
}

impl PatternList {
    /// A step that has seen no row. Errors: a pattern, or one of its measures.
    ///
    /// # Panics
    /// If a pattern names a condition that is not there.
    pub fn new(settings: PatternListSettings) -> Result<Self, PatternStepRefused> {
        let PatternListSettings { step, fields, order, judged, conditions, patterns, columns } = settings;
        let mut uses: Vec<Vec<(u32, u8)>> = conditions.conditions.iter().map(|_| Vec::new()).collect();
        let (mut members, mut after) = (Vec::with_capacity(patterns.len()), Vec::with_capacity(patterns.len()));
        for (at, pattern) in (0u32..).zip(patterns) {
            for (predicate, condition) in (0u8..).zip(&pattern.settings.conditions) {
                if let StageCondition::Shared(condition) = condition {
                    uses[*condition as usize].push((at, predicate));
                }
            }
            members.push(Member::new(pattern.name, &pattern.shape, PatternStep::new(pattern.settings)?));
            after.push(pattern.after);
        }
        let hits = members.iter().map(|_| Vec::new()).collect();
        let kept = Kept::new(Waiting::new(order, judged, fields), members);
        let columns = [pattern_field()].into_iter().chain(columns).collect();
        Ok(Self { step, asked: Asked::new(conditions), uses, after, columns, reported: PatternTally::default(), kept, hits })
    }

    /// The columns that come out, `_time` aside.
    pub fn fields(&self) -> &[Field] {
        &self.columns
    }

    /// What all of them did so far.
    pub fn tally(&self) -> PatternTally {
        self.kept.members.iter().fold(PatternTally::default(), |sum, member| sum.with(&member.step.tally()))
    }

    /// Who has rows in the batch, and which.
    fn find(&mut self, ordered: &Ordered) {
        let answered = self.asked.ask(&ordered.rows.rows);
        for (row, condition) in answered.holds {
            for (pattern, predicate) in &self.uses[condition as usize] {
                let hits = &mut self.hits[*pattern as usize];
                match hits.last_mut().filter(|(last, _)| *last == row) {
                    Some((_, holds)) => *holds |= 1 << predicate,
                    None => hits.push((row, 1 << predicate)),
                }
            }
        }
        for condition in answered.failed {
            for (pattern, _) in &self.uses[condition as usize] {
                self.kept.members[*pattern as usize].step.count_failed();
            }
        }
    }
}

/// What a pattern is given of a batch: nothing where no row concerns it.
fn given<'a>(
    step: &PatternStep,
    hits: &[(u32, u64)],
    ordered: &'a Ordered,
    end: Watermark,
) -> Option<(Cow<'a, Ordered>, Tested)> {
    let mut begins = hits.iter().map(|(_, holds)| *holds).chain([0]).filter(|holds| step.begins(*holds));
    if step.entries().0 == 0 && begins.next().is_none() {
        return None;
    }
    if step.passes_over() {
        if hits.is_empty() && !step.is_due(end) {
            return None;
        }
        let (picked, holds): (Vec<u32>, Vec<u64>) = hits.iter().copied().unzip();
        return Some((Cow::Owned(ordered.picked(&picked, step.looks_at())), Tested { holds, ..Tested::default() }));
    }
    let mut tested = Tested { holds: vec![0; ordered.moments.len()], ..Tested::default() };
    hits.iter().for_each(|(row, holds)| tested.holds[*row as usize] = *holds);
    Some((Cow::Borrowed(ordered), tested))
}

impl Operator for PatternList {
    fn step(&self) -> StepId {
        self.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let marks = output.marks();
        let ordered = self.kept.waiting.pass(self.step, input, &marks, output);
        self.find(&ordered);
        let mut found = Vec::new();
        for ((member, after), hits) in self.kept.members.iter_mut().zip(&mut self.after).zip(&mut self.hits) {
            if let Some((rows, tested)) = given(&member.step, hits, &ordered, marks.end()) {
                let matches = member.step.meet(&rows, &tested, &marks, output);
                if !matches.is_empty() {
                    let matches = match after {
                        Some(after) => after.apply(matches, output),
                        None => matches,
                    };
                    found.push(widened(&matches, &member.name, &self.columns));
                }
            }
            hits.clear();
        }
        output.patterns.extend(PatternReport::of(self.step, self.tally(), &mut self.reported));
        if found.is_empty() { nothing(&self.columns) } else { merged(found) }
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        Some(&mut self.kept)
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        None
    }

    fn due(&self) -> Option<Watermark> {
        self.kept.members.iter().filter_map(|member| member.step.due()).chain(self.kept.waiting.due()).min()
    }
}
