//! The step: rows of many keys in, matches and timeouts out.
//!
//! ```text
//! rows ──► order (by time, or as they come) ──► predicates, a bit per row ──► each key's matcher ──► matches by what let them out ──► rows
//!                                                                    timers ──┘ W ≥ first + within
//! ```
//! A row that begins no run is looked up among the keys that have one, and leaves nothing behind; where a pattern passes over whatever fits no stage, not even that. What comes out is in the order of (input row that let it out, instant, event), so that
//! neither the cut of batches nor the order of keys in memory shows.

use std::sync::Arc;

use arrow_array::RecordBatch;
use tidemill_event::{Breaker, Field};

use crate::group::KeyIndex;
use crate::pattern::asking::Asking;
use crate::pattern::automaton::StageId;
use crate::pattern::condition::Bits;
use crate::pattern::conditions::{StageCondition, of_runs, test_rows};
use crate::pattern::kept::Kept;
use crate::pattern::matcher::Matcher;
use crate::pattern::order::{PatternOrder, Waiting};
use crate::pattern::output::MatchOutput;
use crate::pattern::running::Running;
use crate::pattern::settings::{PatternSettings, PatternStepRefused};
use crate::pattern::tally::{PatternReport, PatternTally};
use crate::rows::Rows;
use crate::{Explained, FlowBatch, OnFailing, Operator, Outcome, StepId, StepState, Watermark};

/// The step.
pub struct PatternStep {
    pub(super) step: StepId,
    pub(super) order: PatternOrder,
    pub(super) conditions: Vec<StageCondition>,
    pub(super) of_runs: u64,
    pub(super) asking: Option<Asking>,
    pub(super) output: MatchOutput,
    pub(super) explained: Explained,
    /// Its place in a list and its name, if it stands in one.
    pub(super) listed: Option<(u32, Arc<str>)>,
    pub(super) tally: PatternTally,
    /// What was reported last.
    reported: PatternTally,
    pub(super) kept: Kept,
    /// What a batch without a match becomes, once there was one.
    pub(super) nothing: Option<RecordBatch>,
}

impl PatternStep {
    /// A step that has seen no row. Errors: the pattern, or a measure.
    ///
    /// # Panics
    /// If a predicate of the pattern has no condition.
    pub fn new(settings: PatternSettings) -> Result<Self, PatternStepRefused> {
        let PatternSettings { step, by, fields, kept, pattern, conditions, values, order, .. } = settings;
        let PatternSettings { asked, limits, measures, timeouts, explained, judged, draining, .. } = settings;
        let mut matcher = Matcher::new(&pattern, limits)?;
        if draining {
            matcher.automaton.begin_nothing();
        }
        assert!(matcher.automaton.predicates <= conditions.len(), "a condition for each predicate");
        let running = Running::new(values, &kept, |stage| matcher.automaton.stage(stage));
        let mut output = MatchOutput::new(measures, timeouts, order, |stage| matcher.automaton.stage(stage))?;
        output.has_ids = explained.is_some();
        let of_runs = of_runs(&conditions);
        let kept = Kept::new(KeyIndex::new(by), Waiting::new(order, judged, fields), matcher, kept, running);
        let asking = asked.map(|asked| Asking::new(step, asked));
        Ok(Self {
            step,
            order,
            conditions,
            of_runs,
            asking,
            output,
            explained,
            listed: None,
            tally: PatternTally::default(),
            reported: PatternTally::default(),
            kept,
            nothing: None,
        })
    }

    /// As one of a list: its place there, and its name.
    pub(crate) fn listed(self, at: u32, name: Arc<str>) -> Self {
        Self { listed: Some((at, name)), ..self }
    }

    /// The columns that come out, `_time` aside.
    pub fn fields(&self) -> Vec<Field> {
        self.output.fields(&self.kept.index)
    }

    /// The stage of a name: for conditions over runs.
    pub fn stage(&self, name: &str) -> Option<StageId> {
        self.kept.matcher.automaton.stage(name)
    }

    /// What it did so far.
    pub fn tally(&self) -> PatternTally {
        PatternTally { bounded: self.kept.matcher.tally, runs: self.kept.open, ..self.tally }
    }

    /// Entries of its runs, and how many of them changed.
    pub(crate) fn entries(&self) -> (usize, usize) {
        (self.kept.entries.len(), self.kept.entries.changed_len())
    }

    /// Whether a row of which these predicates hold may begin a run.
    pub(crate) fn begins(&self, holds: u64) -> bool {
        self.kept.matcher.automaton.may_begin(Bits { holds, unknown: self.of_runs })
    }

    /// Whether rows of which no predicate holds need not be looked at.
    pub(crate) fn passes_over(&self) -> bool {
        self.of_runs == 0 && self.kept.matcher.automaton.passes_over && self.order == PatternOrder::Time
    }

    /// Its keys.
    pub(super) fn index(&self) -> &KeyIndex {
        &self.kept.index
    }

    /// When the next run's time is over.
    pub(super) fn deadline(&self) -> Option<i64> {
        self.kept.deadlines.seen()
    }

    /// The columns of rows that it looks at.
    pub(crate) fn looks_at(&self) -> &[Field] {
        self.kept.waiting.fields()
    }

    /// It is one of many that keep rows of the same batches.
    pub(super) fn among_others(mut self) -> Self {
        self.kept.rows = Rows::new(self.kept.rows.fields().to_vec()).shared();
        self
    }

    /// A predicate that somebody else asked failed on a row.
    pub(crate) fn count_failed(&mut self) {
        self.tally.failed += 1;
    }

    /// What it did since it was last asked, if it did anything.
    fn report(&mut self) -> Option<PatternReport> {
        PatternReport::of(self.step, self.tally(), &mut self.reported)
    }
}

impl Operator for PatternStep {
    fn step(&self) -> StepId {
        self.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let marks = output.marks();
        let ordered = self.kept.waiting.pass(self.step, input, &marks, output);
        let tested = test_rows(&self.conditions, &ordered.rows.rows);
        let rows = self.meet(&ordered, &tested, &marks, output);
        output.patterns.extend(self.report());
        rows
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
