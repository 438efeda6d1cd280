//! Panes of cells as rows: which pane each is, and what takes back what.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int64Array, StringArray};
use tidemill_event::{EventTime, Field};

use crate::window::pane::{Pane, rows_beside};
use crate::window::paned::cells::{Cells, Told};
use crate::window::paned::settings::PaneSettings;
use crate::window::paned::settings::{PANE, PANE_NO, RETRACTED};
use crate::window::{Bounds, Top};
use crate::{Extend, FlowBatch, Operator, Outcome, StepId};

/// Where a pane stands to the end of its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PaneKind {
    Early,
    OnTime,
    Late,
}

const KINDS: [(PaneKind, &str); 3] = [(PaneKind::Early, "early"), (PaneKind::OnTime, "on_time"), (PaneKind::Late, "late")];

impl PaneKind {
    pub(crate) fn as_str(self) -> &'static str {
        KINDS[usize::from(self.byte())].1
    }

    pub(crate) fn byte(self) -> u8 {
        self as u8
    }

    pub(crate) fn of_byte(byte: u8) -> Option<Self> {
        KINDS.get(usize::from(byte)).map(|(kind, _)| *kind)
    }
}

/// Something to say.
struct Saying {
    slot: u32,
    told: Told,
    /// It was said before and is taken back.
    is_retracted: bool,
    origin: u32,
}

/// Panes under way to rows: until then, their keys are held and their groups stay.
#[derive(Default)]
pub(crate) struct PaneRows {
    sayings: Vec<Saying>,
    /// Groups that nobody needs behind that.
    gone: Vec<u32>,
    pieces: Vec<FlowBatch>,
}

/// What makes rows of them.
pub(crate) struct Speaker {
    pub(crate) step: StepId,
    pub(crate) bounds: Bounds,
    pub(crate) settings: PaneSettings,
    /// What is computed of a pane before keys are ranked.
    pub(crate) computed: Option<Extend>,
    pub(crate) top: Option<Top>,
}

impl PaneRows {
    /// How many wait to become rows.
    pub(crate) fn len(&self) -> usize {
        self.sayings.len()
    }

    pub(crate) fn say(&mut self, cells: &mut Cells, slot: u32, told: Told, is_retracted: bool, origin: u32) {
        cells.index.hold(slot);
        self.sayings.push(Saying { slot, told, is_retracted, origin });
    }

    /// Nobody needs the group once panes are rows.
    pub(crate) fn release(&mut self, group: u32) {
        self.gone.push(group);
    }

    /// Makes rows of them, in their order.
    pub(crate) fn finish(&mut self, cells: &mut Cells, speaker: &mut Speaker, output: &mut Outcome) {
        let pane = |saying: &Saying| {
            let Told { start, end, time, group, .. } = saying.told;
            Pane { slot: saying.slot, group, start, end, time: EventTime(time), origin: saying.origin }
        };
        let panes: Vec<Pane> = self.sayings.iter().map(pane).collect();
        let fields: Vec<Field> = speaker.settings.fields();
        let beside = fields.iter().map(|field| (field.arrow(), self.column(&field.name))).collect();
        let rows = rows_beside(&panes, &cells.index, &cells.aggregates, speaker.bounds, beside);
        // What could not be said was a dead row then; it is not another one now.
        let sayings = &self.sayings;
        let rows = rows.without_failed(speaker.step, output, |place| !sayings[place].is_retracted);
        let rows = match &mut speaker.computed {
            Some(computed) => computed.apply(rows, output),
            None => rows,
        };
        let rows = match &speaker.top {
            Some(top) => top.of(rows),
            None => rows,
        };
        self.pieces.push(rows);
        self.sayings.drain(..).for_each(|saying| cells.index.release(saying.slot));
        self.gone.drain(..).for_each(|group| cells.aggregates.release(group));
    }

    fn column(&self, name: &str) -> ArrayRef {
        let sayings = self.sayings.iter();
        match name {
            PANE => Arc::new(StringArray::from_iter_values(sayings.map(|saying| saying.told.kind.as_str()))),
            PANE_NO => Arc::new(Int64Array::from_iter_values(sayings.map(|saying| saying.told.number as i64))),
            RETRACTED => Arc::new(sayings.map(|saying| Some(saying.is_retracted)).collect::<BooleanArray>()),
            other => unreachable!("no column `{other}` says which pane a row is"),
        }
    }

    /// All rows there are.
    pub(crate) fn into_rows(mut self, cells: &mut Cells, speaker: &mut Speaker, output: &mut Outcome) -> FlowBatch {
        if !self.sayings.is_empty() || self.pieces.is_empty() {
            self.finish(cells, speaker, output);
        }
        self.gone.drain(..).for_each(|group| cells.aggregates.release(group));
        FlowBatch::concat(self.pieces)
    }
}
