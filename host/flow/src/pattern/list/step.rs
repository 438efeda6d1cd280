//! The step: a batch in, what each pattern that it concerns made of it out.

use std::sync::Arc;

use tidemill_event::{Breaker, Field};

use crate::group::RowKeys;
use crate::pattern::found::Batch;
use crate::pattern::list::SharedConditions;
use crate::pattern::list::conditions::Asked;
use crate::pattern::list::kept::{Kept, Member, Sees, tally_of};
use crate::pattern::list::offers::Offers;
use crate::pattern::list::rows::{merged, nothing, pattern_field, widened};
use crate::pattern::order::{Ordered, Waiting};
use crate::pattern::tally::{PatternReport, PatternTally};
use crate::pattern::{PatternOrder, PatternSettings, PatternStep, PatternStepRefused, StageCondition};
use crate::{Extend, FlowBatch, Judged, Marks, OnFailing, Operator, Outcome, StepId, StepState, Watermark};

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
    /// The columns of rows that some pattern looks at.
    looked_at: Vec<Field>,
    reported: PatternTally,
    kept: Kept,
    offers: Offers,
}

impl PatternList {
    /// A step that has seen no row. Errors: a pattern, or one of its measures.
    ///
    /// # Panics
    /// If a pattern names a condition that is not there, or there is no pattern.
    pub fn new(settings: PatternListSettings) -> Result<Self, PatternStepRefused> {
        let PatternListSettings { step, fields, order, judged, conditions, patterns, columns } = settings;
        let by = patterns.first().expect("a list has patterns").settings.by.clone();
        let mut uses: Vec<Vec<(u32, u8)>> = conditions.conditions.iter().map(|_| Vec::new()).collect();
        let (mut members, mut after) = (Vec::with_capacity(patterns.len()), Vec::with_capacity(patterns.len()));
        let mut looked_at: Vec<Field> = Vec::new();
        for (at, pattern) in (0u32..).zip(patterns) {
            for (predicate, condition) in (0u8..).zip(&pattern.settings.conditions) {
                if let StageCondition::Shared(condition) = condition {
                    uses[*condition as usize].push((at, predicate));
                }
            }
            let step = PatternStep::new(pattern.settings)?.listed(at, pattern.name.clone());
            for field in step.looks_at() {
                if !looked_at.iter().any(|known| known.name == field.name) {
                    looked_at.push(field.clone());
                }
            }
            members.push(Member::new(pattern.name, &pattern.shape, step));
            after.push(pattern.after);
        }
        let offers = Offers::new(members.len());
        let kept = Kept::new(Waiting::new(order, judged, fields), members, by);
        let columns = [pattern_field()].into_iter().chain(columns).collect();
        let (asked, reported) = (Asked::new(conditions), PatternTally::default());
        Ok(Self { step, asked, uses, after, columns, looked_at, reported, kept, offers })
    }

    /// The columns that come out, `_time` aside.
    pub fn fields(&self) -> &[Field] {
        &self.columns
    }

    /// What all of them did so far.
    pub fn tally(&self) -> PatternTally {
        tally_of(&self.kept.members)
    }

    /// Who is given which rows of the batch.
    fn offer(&mut self, ordered: &Ordered) {
        let answered = self.asked.ask(&ordered.rows.rows);
        for (row, condition) in answered.holds {
            for (pattern, predicate) in &self.uses[condition as usize] {
                self.offers.add(*pattern, row, 1 << predicate);
            }
        }
        for condition in answered.failed {
            for (pattern, _) in &self.uses[condition as usize] {
                self.kept.members[*pattern as usize].step.count_failed();
                self.kept.tally = None;
            }
        }
        self.offer_rows_of_keys(ordered);
        let members = &self.kept.members;
        // One without runs is given nothing unless a row begins one.
        self.offers.withdraw(|pattern, rows| {
            let step = &members[pattern as usize].step;
            step.entries().0 == 0 && !rows.iter().any(|(_, holds)| step.begins(*holds))
        });
    }

    /// Rows that fit nothing of a pattern which has to see them all the same.
    fn offer_rows_of_keys(&mut self, ordered: &Ordered) {
        let Self { kept: Kept { members, seeing_all, holders, .. }, offers, .. } = self;
        let mut begins: Vec<(u32, u32)> = Vec::new();
        for pattern in offers.given().iter().copied() {
            let Member { sees, step, .. } = &members[pattern as usize];
            if *sees == Sees::ItsKeys {
                let beginning = offers.of(pattern).iter().filter(|(_, holds)| step.begins(*holds));
                begins.extend(beginning.map(|(row, _)| (*row, pattern)));
            }
        }
        begins.sort_unstable();
        holders.rows(&ordered.rows.rows, &begins, |row, pattern| offers.add_behind(pattern, row));
        for pattern in seeing_all.iter().copied() {
            (0..ordered.moments.len() as u32).for_each(|row| offers.add_behind(pattern, row));
        }
        offers.put_in_order(|pattern| members[pattern as usize].sees != Sees::Fitting);
    }

    /// The rows to these patterns, ascending, and the clock behind them. Answers with the matches of each.
    fn follow(&mut self, ordered: &Ordered, patterns: &[u32], marks: &Marks, output: &mut Outcome) -> Vec<FlowBatch> {
        let Self { step: step_id, kept, offers, looked_at, after, columns, .. } = self;
        let mut tally = kept.tally();
        let picked = offers.gather(ordered);
        let rows = ordered.picked(&picked, looked_at);
        let keys = RowKeys::new(kept.members[0].step.index(), &rows.rows.rows);
        let (mut found, mut arrivals, mut batch) = (Vec::new(), Vec::new(), Batch::default());
        for pattern in patterns.iter().copied() {
            let Member { step, name, sees, .. } = &mut kept.members[pattern as usize];
            arrivals.clear();
            step.arrivals(offers.of(pattern), &keys, &mut arrivals);
            if arrivals.is_empty() && step.deadline().is_none_or(|due| due > marks.end().0) {
                continue;
            }
            let before = step.tally();
            batch.keys = (*sees == Sees::ItsKeys).then(Vec::new);
            let matches = step.follow(&rows, &arrivals, marks, &mut batch, output);
            tally = tally.moved(&before, &step.tally());
            kept.deadlines.set(pattern, step.deadline());
            for (key, has_runs) in batch.keys.take().into_iter().flatten() {
                kept.holders.note(&key, pattern, has_runs);
            }
            let failed = batch.failed.drain(..).map(|(row, reason, error)| (picked[row] as usize, reason, error));
            output.bury(&ordered.rows, *step_id, failed.collect());
            if let Some(matches) = matches.filter(|matches| !matches.is_empty()) {
                let matches = match &mut after[pattern as usize] {
                    Some(after) => after.apply(matches, output),
                    None => matches,
                };
                found.push(widened(&matches, name, columns));
            }
        }
        kept.tally = Some(tally);
        found
    }
}

impl Operator for PatternList {
    fn step(&self) -> StepId {
        self.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let marks = output.marks();
        let ordered = self.kept.waiting.pass(self.step, input, &marks, output);
        self.offer(&ordered);
        let mut patterns = self.offers.given().to_vec();
        while let Some(pattern) = self.kept.deadlines.pop(marks.end().0) {
            if self.offers.of(pattern).is_empty() {
                patterns.push(pattern);
            }
        }
        patterns.sort_unstable();
        let found = if patterns.is_empty() { Vec::new() } else { self.follow(&ordered, &patterns, &marks, output) };
        self.offers.clear();
        // What is due is looked up without being able to change anything.
        self.kept.deadlines.next();
        let tally = self.kept.tally();
        output.patterns.extend(PatternReport::of(self.step, tally, &mut self.reported));
        if found.is_empty() { nothing(&self.columns) } else { merged(found) }
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        Some(&mut self.kept)
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        None
    }

    fn due(&self) -> Option<Watermark> {
        let timer = self.kept.deadlines.seen().map(Watermark);
        self.kept.waiting.due().into_iter().chain(timer).min()
    }
}
