//! A pattern step whose stages a component answers, and whose matches it may shape.
//!
//! ```text
//! rows ──► judge: a hidden bool column per predicate ──► the pattern, whose stages look at those columns ──► shape ──► rows
//!             └── dead, put back: as a rule's (`calls.rs`)      └── conditions over runs (`asking.rs`)        └── dead
//! ```
//! To the driver it is one step: one number, one state, and the breaker of `judge`. Rows come back to `judge`, before anything was done with them.
//! Behind it they cannot: runs have taken what came after them. So whatever else the component fails at ends in the dead letters.

use std::sync::Arc;

use tidemill_event::{Breaker, EventTime, Field, FieldType};

use crate::composed::only;
use crate::functions::Marked;
use crate::{
    FlowBatch, Isolation, Judge, Keep, OnFailing, Operator, Outcome, RuleSettings, RuleStep, StepId, StepState, Watermark,
};

/// Calls for matches have numbers behind those for conditions, and those for rows behind both: the first ones are those of functions that expressions of
/// the step call.
const FIRST_SHAPE: u32 = 1 << 29;
const FIRST_JUDGE: u32 = 1 << 30;

/// What the step is told.
pub struct ComponentPattern {
    /// The pattern: its conditions look at the predicates' columns.
    pub operator: Box<dyn Operator>,
    /// The columns of a row that the component reads.
    pub columns: Vec<Field>,
    /// The predicates, each a column of its own.
    pub predicates: Vec<Field>,
    /// Who answers them.
    pub judge: Box<Judge>,
    /// What happens when the component keeps failing at that.
    pub isolation: Isolation,
    /// What it reads of a match, what it makes of it, and who does. `None`: a match stays as it is.
    pub shape: Option<(Vec<Field>, Vec<Field>, Box<Judge>)>,
    /// The columns that come out.
    pub told: Vec<Arc<str>>,
}

/// The step.
pub struct ByComponent {
    judge: RuleStep,
    operator: Box<dyn Operator>,
    shape: Option<RuleStep>,
    hidden: Vec<Arc<str>>,
    told: Vec<Arc<str>>,
}

impl ByComponent {
    /// The column of a predicate. No column of a user begins with a null byte.
    pub fn predicate(number: usize) -> Field {
        Field::new(&format!("\0predicate {number}"), FieldType::Bool, false)
    }

    /// A step that has seen no row.
    pub fn new(settings: ComponentPattern) -> Self {
        let ComponentPattern { operator, columns, predicates, judge, isolation, shape, told } = settings;
        let step = operator.step();
        let hidden = predicates.iter().map(|predicate| predicate.name.clone()).collect();
        let rule =
            |columns, outputs, keep, isolation| RuleSettings { step, columns, outputs, keep, flag: None, keyed: None, isolation };
        let judge = RuleStep::new(rule(columns, predicates, Keep::All, isolation), judge).numbered_from(FIRST_JUDGE);
        let shape = shape.map(|(found, outputs, guest)| {
            let settings = rule(found, outputs, Keep::Matching, Isolation::never_out());
            RuleStep::new(settings, guest).numbered_from(FIRST_SHAPE)
        });
        Self { judge, operator, shape, hidden, told }
    }
}

impl Operator for ByComponent {
    fn step(&self) -> StepId {
        self.operator.step()
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let before = Marked::of(output);
        let judged = self.judge.apply(input, output);
        let matches = self.operator.apply(judged, output);
        before.hide(&self.hidden, output);
        let told = match &mut self.shape {
            Some(shape) => shape.apply_now(&matches, output),
            None => matches,
        };
        FlowBatch { rows: only(&told.rows, self.told.iter()), origin: told.origin }
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        self.operator.state()
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        self.judge.breaker()
    }

    fn due(&self) -> Option<Watermark> {
        self.operator.due()
    }

    fn due_at(&self) -> Option<EventTime> {
        self.operator.due_at()
    }
}
