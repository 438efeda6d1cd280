//! What a batch's way through the steps left beside its output rows: dead rows, rows put back for later, and endings of calls that must
//! not be repeated.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use tidemill_event::{CallFailure, Ending, EventTime, Reason, RuleCall, Usage};

use crate::aggregate::Lost;
use crate::calls::Answer;
use crate::correlate::CorrelateReport;
use crate::join::Side;
use crate::lookup::{LookupReport, LookupTable};
use crate::machine::MachineReport;
use crate::pattern::PatternReport;
use crate::rule_set::RulesReport;
use crate::window::LateRows;
use crate::{Evidence, FlowBatch, Guest, Marks, Place, Sources, Watermark};

/// A step of a pipeline, counted from 0 in the order of `steps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub u32);

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One row of a batch that others may share.
#[derive(Debug, Clone)]
pub struct RowOf {
    /// The batch; its schema names the columns.
    pub rows: Arc<RecordBatch>,
    /// The row.
    pub row: usize,
}

/// A row that could not go on.
#[derive(Debug, Clone)]
pub struct DeadRow {
    /// The row of the task's input batch it came from: stream, partition, offset and time follow from that.
    pub origin: u32,
    /// The step it failed in.
    pub step: StepId,
    /// In which of the step's components, as the plan lists them; `None`: in the step itself, or in the only one it is.
    pub component: Option<u32>,
    /// Why.
    pub reason: Reason,
    /// The expression's, component's or host's words.
    pub error: Arc<str>,
    /// Frames of the component; empty where there are none.
    pub backtrace: Arc<str>,
    /// The row as it stood before that step; what is wrong with a result, the result.
    pub event: RowOf,
    /// It is what the step would have said of many rows: none of them is to blame.
    pub is_result: bool,
}

/// A call that did not return, as it is recorded with a commit. A replay does not repeat it: an ending may hang on the machine's
/// load or memory, and what it did to the rows must stay as it was committed. Where the batch was cut afterwards follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedEnding {
    /// The step that called.
    pub step: StepId,
    /// Which of the step's calls for this batch, counted from 0.
    pub call: u32,
    /// How it ended.
    pub ending: Ending,
}

/// How a call ended, with the words for the dead letters. After a crash there are none: the letters were written.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) ending: Ending,
    message: Arc<str>,
    backtrace: Arc<str>,
}

/// When rows that were put back are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// At once, before any new row: a batch may only take so many failing calls.
    Not,
    /// So long after the time the batch was taken: the component asked for it.
    For(Duration),
    /// When the step's breaker lets a probe through.
    Held,
}

/// Rows that come back as the input of a step, later.
#[derive(Debug, Clone)]
pub struct PutBack {
    /// The step they come back to.
    pub step: StepId,
    /// As they stood before it, compact.
    pub rows: FlowBatch,
    /// When.
    pub wait: Wait,
    /// How often the component has asked for them to come back, this time included.
    pub attempts: u32,
}

/// One call that was really made: for metrics and limits.
#[derive(Debug, Clone, PartialEq)]
pub struct CallReport {
    /// The step that called.
    pub step: StepId,
    /// Rows in the call.
    pub rows: usize,
    /// How it ended; `None`: it returned.
    pub ending: Option<Ending>,
    /// What it took.
    pub usage: Usage,
}

/// Rows that a step gave to one of its other outputs.
#[derive(Debug, Clone)]
pub struct SideRows {
    /// The step.
    pub step: StepId,
    /// Which of its outputs, as declared.
    pub side: usize,
    /// They, with their times.
    pub rows: FlowBatch,
}

/// The tables that lookups look up, by step.
pub type Tables = Arc<[(StepId, Arc<dyn LookupTable>)]>;

/// What is collected while a batch goes through the steps.
#[derive(Debug)]
pub struct Outcome {
    /// Rows that could not go on, by step, then in row order.
    pub dead: Vec<DeadRow>,
    /// Rows that come back later, by step, then in row order.
    pub put_back: Vec<PutBack>,
    /// Calls that did not return, now or when this batch was first taken; to be recorded with the commit.
    pub endings: Vec<RecordedEnding>,
    /// Calls made, in order.
    pub calls: Vec<CallReport>,
    /// How lookups went, by step.
    pub lookups: Vec<LookupReport>,
    /// What machines did, by step.
    pub machines: Vec<MachineReport>,
    /// What correlations did, by step.
    pub correlations: Vec<CorrelateReport>,
    /// What rule sets said, by step.
    pub rules: Vec<RulesReport>,
    /// Rows that came too late, by step, then in row order.
    pub late: Vec<LateRows>,
    /// (row, window) pairs that came too late for each other.
    pub dropped_late: u64,
    /// Rows that missed some of their windows, but not all.
    pub late_partial: u64,
    /// Rows of outputs beside the main one, by step.
    pub sides: Vec<SideRows>,
    /// Rows that a step dropped because of others of their key, or by lot: by step, in order. No other step's drops are counted.
    pub dropped: Vec<(StepId, u64)>,
    /// What pattern steps did, by step.
    pub patterns: Vec<PatternReport>,
    /// What the matches of explained steps are made of, by step, in the order of their rows.
    pub evidence: Vec<Evidence>,
    marks: Arc<Marks>,
    side: Side,
    sources: Option<Sources>,
    tables: Tables,
    recorded: Vec<RecordedEnding>,
    is_replay: bool,
    clock: EventTime,
    clock_read: Cell<bool>,
    entry: Option<(StepId, u32)>,
}

impl Outcome {
    /// For a batch that is taken for the first time, at the time `clock`.
    pub fn new(clock: EventTime) -> Self {
        Self {
            dead: Vec::new(),
            put_back: Vec::new(),
            endings: Vec::new(),
            calls: Vec::new(),
            lookups: Vec::new(),
            rules: Vec::new(),
            machines: Vec::new(),
            correlations: Vec::new(),
            late: Vec::new(),
            dropped_late: 0,
            late_partial: 0,
            sides: Vec::new(),
            dropped: Vec::new(),
            patterns: Vec::new(),
            evidence: Vec::new(),
            marks: Arc::new(Marks::steady(Watermark::NONE, 0)),
            side: Side::Left,
            sources: None,
            tables: Arc::new([]),
            recorded: Vec::new(),
            is_replay: false,
            clock,
            clock_read: Cell::new(false),
            entry: None,
        }
    }

    /// For a batch that is taken again after a crash: calls with a recorded ending are not made. `clock` is what was recorded; if nothing
    /// was, nobody asked.
    pub fn replay(clock: EventTime, recorded: Vec<RecordedEnding>) -> Self {
        Self { recorded, is_replay: true, ..Self::new(clock) }
    }

    /// Whether the batch was taken before: what was decided by more than its rows was recorded then.
    pub(crate) fn is_replay(&self) -> bool {
        self.is_replay
    }

    /// The watermark along the batch. Without it there is none, and nothing is ever late or closes.
    pub fn with_marks(mut self, marks: Marks) -> Self {
        self.marks = Arc::new(marks);
        self
    }

    /// The batch is of that input of a join; of the left one unless said.
    pub fn from_side(mut self, side: Side) -> Self {
        self.side = side;
        self
    }

    /// Where the batch's rows came from. Without it nobody may ask.
    pub fn with_sources(mut self, sources: &Sources) -> Self {
        self.sources = Some(sources.clone());
        self
    }

    /// Where the event stands that a row of this origin was made of.
    ///
    /// # Panics
    /// If the driver did not say.
    pub(crate) fn place(&self, origin: u32) -> Place {
        self.sources.as_ref().expect("the driver says where rows came from").place(origin)
    }

    /// Which input of a join the batch is of.
    pub fn side(&self) -> Side {
        self.side
    }

    /// What the lookups of this batch look up: one version of a table for each such step. Which ones is recorded with the commit.
    pub fn with_tables(mut self, tables: Tables) -> Self {
        self.tables = tables;
        self
    }

    /// The table that a step looks up.
    pub(crate) fn table(&self, step: StepId) -> Option<Arc<dyn LookupTable>> {
        self.tables.iter().find(|(of, _)| *of == step).map(|(_, table)| table.clone())
    }

    /// The watermark along the batch.
    pub fn marks(&self) -> Arc<Marks> {
        self.marks.clone()
    }

    /// Another one, for a step whose time is another.
    pub(crate) fn replace_marks(&mut self, marks: Arc<Marks>) {
        self.marks = marks;
    }

    /// The batch comes back to `step`, whose component asked for that so often.
    pub fn entering(mut self, step: StepId, attempts: u32) -> Self {
        self.entry = Some((step, attempts));
        self
    }

    /// The time of this batch. Whoever asks makes it part of what is recorded.
    pub(crate) fn clock(&self) -> EventTime {
        self.clock_read.set(true);
        self.clock
    }

    /// Whether anything hung on the time: then it must be recorded with the commit.
    pub fn needs_clock(&self) -> bool {
        self.clock_read.get()
    }

    /// How often the rows that `step` is given were put back before.
    pub(crate) fn attempts(&self, step: StepId) -> u32 {
        self.entry.filter(|(entry, _)| *entry == step).map_or(0, |(_, attempts)| attempts)
    }

    /// Makes the call `number` of `step`, or lets it end as it did before. `Err` is an ending, already noted here.
    pub(crate) fn call<A: Answer>(
        &mut self,
        step: StepId,
        number: u32,
        guest: &mut dyn Guest<A>,
        call: &RuleCall,
    ) -> Result<A, Ended> {
        let rows = call.columns.num_rows();
        if let Some(at) = self.recorded.iter().position(|ending| ending.step == step && ending.call == number) {
            let recorded = self.recorded.swap_remove(at);
            self.endings.push(recorded);
            guest.replace();
            return Err(Ended { ending: recorded.ending, message: "".into(), backtrace: "".into() });
        }
        match guest.call(call) {
            Ok(answer) => {
                self.calls.push(CallReport { step, rows, ending: None, usage: answer.usage() });
                Ok(answer)
            }
            Err(CallFailure { ending, message, backtrace, usage }) => {
                self.calls.push(CallReport { step, rows, ending: Some(ending), usage });
                self.endings.push(RecordedEnding { step, call: number, ending });
                guest.replace();
                Err(Ended { ending, message: message.into(), backtrace: backtrace.into() })
            }
        }
    }

    /// `step` dropped so many rows because of others, or by lot.
    pub(crate) fn drop_rows(&mut self, step: StepId, rows: usize) {
        if rows > 0 {
            self.dropped.push((step, rows as u64));
        }
    }

    /// The recorded endings of a step that numbers its calls itself.
    pub(crate) fn take_recorded(&mut self, step: StepId) -> Vec<RecordedEnding> {
        self.recorded.extract_if(.., |ending| ending.step == step).collect()
    }

    /// Rows come back to `step` later.
    pub(crate) fn put_back(&mut self, step: StepId, rows: FlowBatch, wait: Wait, attempts: u32) {
        if let Wait::For(_) = wait {
            self.clock_read.set(true);
        }
        self.put_back.push(PutBack { step, rows, wait, attempts });
    }

    /// Every row of `input` ends in `step`, as its call did.
    pub(crate) fn bury_all(&mut self, input: &FlowBatch, step: StepId, ended: &Ended) {
        let rows = Arc::new(input.rows.clone());
        self.dead.extend(input.origin.iter().enumerate().map(|(row, origin)| DeadRow {
            origin: *origin,
            step,
            component: None,
            reason: Reason::Ending(ended.ending),
            error: ended.message.clone(),
            backtrace: ended.backtrace.clone(),
            event: RowOf { rows: rows.clone(), row },
            is_result: false,
        }));
    }

    /// Rows of `input` end in `step`, because an aggregate's component did not survive them.
    pub(crate) fn bury_lost(&mut self, input: &FlowBatch, step: StepId, lost: Vec<Lost>) {
        if lost.is_empty() {
            return;
        }
        let rows = Arc::new(input.rows.clone());
        self.dead.extend(lost.into_iter().map(|Lost { row, reason, error, backtrace }| DeadRow {
            origin: input.origin[row],
            step,
            component: None,
            reason,
            error,
            backtrace,
            event: RowOf { rows: rows.clone(), row },
            is_result: false,
        }));
    }

    /// Single results of `step` cannot be said. `errors` is ascending by row.
    pub(crate) fn bury_results(&mut self, results: &FlowBatch, step: StepId, errors: Vec<(usize, Reason, String)>) {
        let from = self.dead.len();
        self.bury(results, step, errors);
        self.dead[from..].iter_mut().for_each(|row| row.is_result = true);
    }

    /// Single rows of `input` end in `step`. `errors` is ascending by row.
    pub(crate) fn bury(&mut self, input: &FlowBatch, step: StepId, errors: Vec<(usize, Reason, String)>) {
        if errors.is_empty() {
            return;
        }
        let rows = Arc::new(input.rows.clone());
        let none: Arc<str> = "".into();
        self.dead.extend(errors.into_iter().map(|(row, reason, error)| DeadRow {
            origin: input.origin[row],
            step,
            component: None,
            reason,
            error: error.into(),
            backtrace: none.clone(),
            event: RowOf { rows: rows.clone(), row },
            is_result: false,
        }));
    }
}
