//! The state of windows with panes: a *cell* per key and window, with what it has seen and what it has said.
//!
//! ```text
//! (key, end) ──► cell ──► group of accumulators, rows that no pane has told, panes so far, what the last one said
//! queue      ──► the instant at which each cell does something by itself: an early pane, its end, to be forgotten
//! ```
//! Which rows belong to a cell and what it says is the operator's (`paned.rs`).

use std::collections::{BTreeMap, BTreeSet};

use crate::aggregate::Aggregates;
use crate::entries::Entries;
use crate::group::KeyIndex;
use crate::window::paned::rows::PaneKind;

/// A key in a window.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    pub(crate) slot: u32,
    pub(crate) start: i64,
    /// The first instant behind it; of a session the last one at which a row still joins.
    pub(crate) end: i64,
    /// Its greatest event time.
    pub(crate) newest: i64,
    /// How far its rows reach, if no length ends the session before.
    pub(crate) reach: i64,
    pub(crate) group: u32,
    /// Rows that no pane has told.
    pub(crate) rows: u64,
    pub(crate) panes: u64,
    /// Its end has passed.
    pub(crate) is_closed: bool,
    /// What is to be taken back with the next pane: of a session that several became, of each.
    pub(crate) told: Vec<Told>,
    at: Option<Place>,
}

/// What a pane said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) time: i64,
    pub(crate) number: u64,
    pub(crate) kind: PaneKind,
    pub(crate) group: u32,
}

/// Where a cell stands in the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    at: i64,
    /// It will say something then; else it is only forgotten.
    speaks: bool,
    /// It has rows that a clock may let it tell: before its end, or behind it.
    untold: Option<Side>,
}

/// Before or behind the end of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Early,
    Late,
}

/// What does not change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Windows are `[start, end)`; else the end is in them.
    pub(crate) is_half_open: bool,
    pub(crate) lateness: i64,
    /// How often a cell speaks early by event time.
    pub(crate) early_every: Option<i64>,
    /// That is counted from the window's start.
    pub(crate) is_aligned: bool,
}

impl Rules {
    /// Where a cell is found: windows of all keys by their ends, sessions by key.
    fn place(self, slot: u32, end: i64) -> (i64, i64) {
        if self.is_half_open { (end, i64::from(slot)) } else { (i64::from(slot), end) }
    }
}

/// All cells of a step.
pub(crate) struct Cells {
    pub(crate) index: KeyIndex,
    pub(crate) aggregates: Aggregates,
    pub(super) rules: Rules,
    pub(super) cells: Vec<Cell>,
    free: Vec<u32>,
    /// See [`Rules::place`].
    by_end: BTreeMap<(i64, i64), u32>,
    speaks: BTreeSet<(i64, u32)>,
    forgets: BTreeSet<(i64, u32)>,
    untold: [BTreeSet<u32>; 2],
    pub(super) entries: Entries,
    /// Everything due before it has happened.
    watermark: i64,
    /// When the clock was first told of rows that are untold, by side.
    since: [Option<i64>; 2],
    /// One of the last two is another one since the last checkpoint.
    pub(super) is_changed: bool,
}

impl Cells {
    pub(crate) fn new(index: KeyIndex, aggregates: Aggregates, rules: Rules) -> Self {
        Self {
            index,
            aggregates,
            rules,
            cells: Vec::new(),
            free: Vec::new(),
            by_end: BTreeMap::new(),
            speaks: BTreeSet::new(),
            forgets: BTreeSet::new(),
            untold: [BTreeSet::new(), BTreeSet::new()],
            entries: Entries::default(),
            watermark: i64::MIN,
            since: [None, None],
            is_changed: false,
        }
    }

    pub(crate) fn get(&self, id: u32) -> &Cell {
        &self.cells[id as usize]
    }

    /// To be followed by [`Self::touch`].
    pub(crate) fn get_mut(&mut self, id: u32) -> &mut Cell {
        &mut self.cells[id as usize]
    }

    /// The last instant at which a row can be on time for it.
    pub(crate) fn last(&self, id: u32) -> i64 {
        self.get(id).end - i64::from(self.rules.is_half_open)
    }

    /// The cell of a key whose window ends there.
    pub(crate) fn ending(&self, slot: u32, end: i64) -> Option<u32> {
        self.by_end.get(&self.rules.place(slot, end)).copied()
    }

    /// Sessions of a key that end at `time` or later, ascending.
    pub(crate) fn sessions(&self, slot: u32, time: i64) -> impl Iterator<Item = u32> {
        let slot = i64::from(slot);
        self.by_end.range((slot, time)..=(slot, i64::MAX)).map(|(_, id)| *id)
    }

    /// All keys of the window that ends there.
    pub(crate) fn of_window(&self, end: i64) -> impl Iterator<Item = u32> {
        self.by_end.range((end, i64::MIN)..=(end, i64::MAX)).map(|(_, id)| *id)
    }

    /// A cell that has seen nothing. To be followed by [`Self::touch`].
    pub(crate) fn open(&mut self, slot: u32, start: i64, end: i64) -> u32 {
        let group = self.aggregates.allocate();
        let cell = Cell { slot, start, end, group, newest: i64::MIN, reach: i64::MIN, ..Cell::default() };
        let id = match self.free.pop() {
            Some(id) => {
                self.cells[id as usize] = cell;
                id
            }
            None => {
                self.cells.push(cell);
                self.cells.len() as u32 - 1
            }
        };
        self.by_end.insert(self.rules.place(slot, end), id);
        self.index.hold(slot);
        id
    }

    /// A session is from there to there now. To be followed by [`Self::touch`].
    pub(crate) fn stretch_to(&mut self, id: u32, start: i64, end: i64) {
        let Cell { slot, start: old_start, end: old_end, .. } = *self.get(id);
        if end != old_end {
            self.by_end.remove(&self.rules.place(slot, old_end));
            self.by_end.insert(self.rules.place(slot, end), id);
        }
        if start != old_start {
            // The start is part of the entry's key.
            self.remove_entry(id);
        }
        let cell = self.get_mut(id);
        (cell.start, cell.end) = (start, end);
    }

    /// The cell has changed: for the checkpoint, and for when it does something by itself.
    pub(crate) fn touch(&mut self, id: u32) {
        self.entries.touch(id);
        self.enqueue(id);
    }

    /// Puts a cell to where it belongs in the queues.
    pub(super) fn enqueue(&mut self, id: u32) {
        let last = self.last(id);
        let cell = self.get(id);
        let has_untold = cell.rows > 0;
        let place = if cell.is_closed {
            let at = last.saturating_add(self.rules.lateness);
            Place { at, speaks: has_untold, untold: has_untold.then_some(Side::Late) }
        } else {
            let at = self.rules.early_every.filter(|_| has_untold).map_or(last, |every| self.next_early(cell, every).min(last));
            Place { at, speaks: true, untold: has_untold.then_some(Side::Early) }
        };
        self.put(id, Some(place));
    }

    /// Lets an open cell wait for its end only.
    pub(crate) fn await_end(&mut self, id: u32) {
        let at = self.last(id);
        let untold = self.get(id).at.and_then(|place| place.untold);
        self.put(id, Some(Place { at, speaks: true, untold }));
    }

    fn put(&mut self, id: u32, place: Option<Place>) {
        let before = std::mem::replace(&mut self.cells[id as usize].at, place);
        if before == place {
            return;
        }
        if let Some(Place { at, speaks, untold }) = before {
            let queue = if speaks { &mut self.speaks } else { &mut self.forgets };
            queue.remove(&(at, id));
            if let Some(side) = untold {
                self.untold[side as usize].remove(&id);
            }
        }
        if let Some(Place { at, speaks, untold }) = place {
            let queue = if speaks { &mut self.speaks } else { &mut self.forgets };
            queue.insert((at, id));
            if let Some(side) = untold {
                self.untold[side as usize].insert(id);
            }
        }
    }

    /// The last instant before the next multiple of `every` that the watermark has not reached.
    fn next_early(&self, cell: &Cell, every: i64) -> i64 {
        let base = if self.rules.is_aligned { i128::from(cell.start) } else { 0 };
        let from = i128::from(self.watermark.max(cell.start));
        if from == i128::from(i64::MIN) {
            return i64::MIN;
        }
        let behind = base + ((from - base).div_euclid(i128::from(every)) + 1) * i128::from(every);
        i64::try_from(behind - 1).unwrap_or(i64::MAX)
    }

    /// The cell is no more. Its group and what it told are the caller's to release, its key too.
    pub(crate) fn remove(&mut self, id: u32) -> Cell {
        self.put(id, None);
        self.remove_entry(id);
        self.free.push(id);
        let cell = std::mem::take(&mut self.cells[id as usize]);
        self.by_end.remove(&self.rules.place(cell.slot, cell.end));
        cell
    }

    /// Whether something is due before `watermark`.
    pub(crate) fn is_due(&self, watermark: i64) -> bool {
        // A session that another row made shorter may be due at a watermark that was there before.
        [&self.speaks, &self.forgets].into_iter().any(|queue| queue.first().is_some_and(|(at, _)| *at < watermark))
    }

    /// The watermark is there now.
    pub(crate) fn pass(&mut self, watermark: i64) {
        if watermark > self.watermark {
            self.watermark = watermark;
            self.is_changed = true;
        }
    }

    pub(crate) fn watermark(&self) -> i64 {
        self.watermark
    }

    /// The next instant before the watermark at which something happens, and all cells to which it does, by (end, key).
    pub(crate) fn due(&self) -> Option<(i64, Vec<u32>)> {
        let queues = [&self.speaks, &self.forgets];
        let at = queues.into_iter().filter_map(|queue| queue.first()).map(|(at, _)| *at).min()?;
        if at >= self.watermark {
            return None;
        }
        let ids = queues.into_iter().flat_map(|queue| queue.range((at, 0)..=(at, u32::MAX))).map(|(_, id)| *id).collect();
        Some((at, self.in_order(ids)))
    }

    /// By (end, key).
    pub(crate) fn in_order(&self, mut ids: Vec<u32>) -> Vec<u32> {
        self.index.sort(&mut ids, |id| self.get(*id).slot);
        ids.sort_by_key(|id| self.get(*id).end);
        ids
    }

    /// When something is said though no row comes.
    pub(crate) fn speaks_at(&self) -> Option<i64> {
        self.speaks.first().map(|(at, _)| *at)
    }

    /// Cells with rows that no pane has told.
    pub(crate) fn untold(&self, side: Side) -> Vec<u32> {
        self.untold[side as usize].iter().copied().collect()
    }

    pub(crate) fn has_untold(&self, side: Side) -> bool {
        !self.untold[side as usize].is_empty()
    }

    /// Since when the clock knows of them.
    pub(crate) fn since(&self, side: Side) -> Option<i64> {
        self.since[side as usize]
    }

    pub(crate) fn set_since(&mut self, side: Side, since: Option<i64>) {
        if self.since[side as usize] != since {
            self.since[side as usize] = since;
            self.is_changed = true;
        }
    }
}
