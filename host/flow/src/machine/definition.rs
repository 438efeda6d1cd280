//! A machine as it was planned.

use arrow_array::RecordBatch;
use tidemill_event::Field;

use crate::pattern::PatternOrder;
use crate::{Judged, NamedProjection, Predicate, Projection, StepId};

/// The column of the state that a row left.
pub const FROM: &str = "from_state";
/// The column of the state that a row led to.
pub const TO: &str = "to_state";
/// The column that says what moved the machine: `event`, `timeout`, or `illegal` if nothing did.
pub const KIND: &str = "moved_by";

/// A place among the variables or columns of a machine, and what is put there.
pub struct Assigned {
    /// The place.
    pub place: u32,
    /// The value.
    pub value: Box<dyn Projection>,
}

/// A way from some states to another.
pub struct Transition {
    /// The states that it leaves, ascending.
    pub from: Vec<u16>,
    /// The state that it leads to; `None`: the machine stays where it is, and its timer goes on.
    pub to: Option<u16>,
    /// The number of its trigger.
    pub trigger: u32,
    /// Over the row and the variables.
    pub guard: Option<Box<dyn Predicate>>,
    /// Variables, over the row and the variables before.
    pub set: Vec<Assigned>,
    /// Columns, over the row and the variables behind `set`.
    pub emit: Vec<Assigned>,
    /// Whether a row tells of it.
    pub tells: bool,
}

/// What time does to a machine that stays in a state.
pub struct MachineTimeout {
    /// So long after it entered, µs; above 0.
    pub after_micros: i64,
    /// The state that it goes to. No state is reached from itself by timeouts alone.
    pub to: u16,
    /// Variables, over the variables.
    pub set: Vec<Assigned>,
    /// Columns, over the variables behind `set`.
    pub emit: Vec<Assigned>,
}

/// A state.
pub struct MachineState {
    /// Its name.
    pub name: Box<str>,
    /// A machine that reaches it is gone.
    pub is_final: bool,
    /// Columns of the row that tells of coming here, over the variables.
    pub entry: Vec<Assigned>,
    /// Columns of the row that tells of leaving.
    pub exit: Vec<Assigned>,
    /// What time does.
    pub timeout: Option<MachineTimeout>,
}

/// A machine.
pub struct MachineSettings {
    /// Which step it is.
    pub step: StepId,
    /// The key's columns; none: one key for all.
    pub by: Vec<Field>,
    /// The columns of rows that anything looks at, the key's among them.
    pub fields: Vec<Field>,
    /// The order of rows.
    pub order: PatternOrder,
    /// What decides that a row is late.
    pub judged: Judged,
    /// The states.
    pub states: Vec<MachineState>,
    /// The one where a machine begins.
    pub initial: u16,
    /// Conditions over a row.
    pub triggers: Vec<Box<dyn Predicate>>,
    /// In the order in which they are tried.
    pub transitions: Vec<Transition>,
    /// One row: what each variable begins with. No row has a column of such a name.
    pub variables: RecordBatch,
    /// What rows that tell have beside the key and the states; nullable.
    pub columns: Vec<Field>,
    /// Whether a row tells of each illegal one.
    pub tells_illegal: bool,
}

/// What a machine did in a batch, and how its keys stand behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineReport {
    /// The step.
    pub step: StepId,
    /// Transitions that rows made.
    pub moved: u64,
    /// Transitions that time made.
    pub timeouts: u64,
    /// Rows that pulled a trigger for which the state has no transition.
    pub illegal: u64,
    /// Rows whose every transition had a guard that said no.
    pub guarded: u64,
    /// Expressions that failed as time moved a machine: what they would have said is null.
    pub unsaid: u64,
    /// Keys in each state.
    pub states: Vec<u64>,
    /// When the key that has been in its state longest came there, µs, by state.
    pub oldest: Vec<Option<i64>>,
}

impl Assigned {
    /// By name: for planning.
    pub fn new(place: u32, named: NamedProjection) -> Self {
        Self { place, value: named.projection }
    }
}
