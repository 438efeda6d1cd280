//! Tumbling, hopping, cumulating and global windows as a step.
//!
//! ```text
//! rows ── which slice? ─┬─ none of its windows has ended ──────────────► update, many rows at once
//!                       ├─ some have ended and still take rows ────────► alone: what is due first, then update, then those windows again
//!                       ├─ some are forgotten (lateness passed) ───────► a part of the slice that counts for the others only
//!                       └─ all are ────────────────────────────────────► late
//! watermark ── past the end of windows ──► panes, by (window, key)
//! ```
//! A row is judged by the watermark before it, so where a batch is cut does not show. Panes of windows that ended within a run of rows
//! are emitted behind the run: none of its rows could have been in them.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_buffer::BooleanBufferBuilder;
use tidemill_event::batch::times;
use tidemill_event::{Breaker, Field};

use crate::aggregate::bytes::take_i64;
use crate::aggregate::{AggregateRefused, Aggregates};
use crate::checksum::checksum;
use crate::cold::STUB_BYTES;
use crate::group::KeyIndex;
use crate::state::corrupt;
use crate::time::{Marks, Watermark};
use crate::window::asked::{WINDOWS_MAX, open_windows};
use crate::window::blocks::{Blocks, Gone};
use crate::window::pane::{Pane, rows_of};
use crate::window::running::Running;
use crate::window::slices::{Member, PartId, SLICE, Slices};
use crate::window::slicing::Stretch;
use crate::window::{Bounds, Judged, LateList, Slicing, Top, WindowSettings, output_fields};
use crate::{
    ColdEntries, Extend, FlowBatch, KeyChange, KeyState, OnFailing, Operator, Outcome, Save, Spills, StateCorrupt, StepId,
    StepState,
};

/// Panes that are made into rows at once.
const PANES_MAX: usize = 16_384;
/// A window of fewer keys does not become rows by itself.
const COPIED_MAX: usize = 64;
/// The entry of the step itself.
const STEP: u8 = 0xff;

/// The step.
pub struct SlicedWindow {
    step: StepId,
    slicing: Slicing,
    bounds: Bounds,
    lateness: i64,
    judged: Judged,
    /// What is computed of a pane before keys are ranked.
    computed: Option<Extend>,
    top: Option<Top>,
    state: WindowState,
    overlap: Overlap,
    /// Per slot, its place in the pane being merged.
    merged: Vec<u32>,
}

/// How the slices of a window come together.
enum Overlap {
    /// Each time anew: windows of few slices.
    Each,
    /// What can forget.
    Running(Running),
    /// Many slices of what cannot.
    Blocks(Blocks),
}

/// What it remembers.
struct WindowState {
    slicing: Slicing,
    slices: Slices,
    /// Windows that end there or before have been emitted.
    emitted: i64,
    /// The greatest time of a row.
    newest: i64,
    /// `emitted` or `newest` changed since the last checkpoint.
    is_changed: bool,
}

/// What is under way while a batch is taken.
#[derive(Default)]
struct Emission {
    panes: Vec<Pane>,
    gone: Gone,
    pieces: Vec<FlowBatch>,
}

/// What becomes of a row.
enum Fate {
    Taken(PartId),
    /// Taken by windows that have been emitted: the first one that still takes rows.
    Again(PartId),
    Late,
    /// It is in no window: the slide is greater than the size.
    Between,
}

impl SlicedWindow {
    /// Windows without a row. Errors: an aggregate that does not go with its argument.
    pub fn new(slicing: Slicing, settings: WindowSettings) -> Result<Self, AggregateRefused> {
        let WindowSettings { step, by, aggregates, components, lateness, judged, top } = settings;
        let mut aggregates = Aggregates::with_components(&aggregates, components)?;
        let overlap = match slicing.blocks() {
            Some(_) if aggregates.are_reversible() => Overlap::Running(Running::default()),
            Some((slices, length, offset)) if slices >= 4 => Overlap::Blocks(Blocks::new(length, offset)),
            Some(_) | None => Overlap::Each,
        };
        Ok(Self {
            step,
            slicing,
            bounds: if slicing.has_bounds() { Bounds::Times } else { Bounds::None },
            lateness: micros(lateness),
            judged,
            computed: None,
            top,
            state: WindowState {
                slicing,
                slices: Slices::new(KeyIndex::new(by), aggregates),
                emitted: i64::MIN,
                newest: i64::MIN,
                is_changed: false,
            },
            overlap,
            merged: Vec::new(),
        })
    }

    /// Computes more columns of a pane's own before keys are ranked, so that they can be ranked by them. A pane on which one fails is a dead row.
    pub fn computing(self, computed: Extend) -> Self {
        Self { computed: Some(computed), ..self }
    }

    /// The columns that come out, `_time` and what is computed aside.
    pub fn fields(&self) -> Vec<Field> {
        let Slices { index, aggregates, .. } = &self.state.slices;
        output_fields(index.by(), self.bounds, aggregates.fields(), self.top.as_ref().map(|top| &top.rank))
    }

    fn fate(&self, stretch: &Stretch, judge: Watermark, output: &mut Outcome) -> Fate {
        let Stretch { start, first, last, .. } = *stretch;
        if last < first {
            return Fate::Between;
        }
        if judge.0 < first {
            return Fate::Taken(PartId { start, from: first });
        }
        // Windows that end there or before are forgotten.
        let forgotten = judge.0.saturating_sub(self.lateness);
        output.dropped_late += self.slicing.ended(first, last, forgotten);
        if forgotten >= last {
            return Fate::Late;
        }
        let from = if forgotten < first {
            first
        } else {
            output.late_partial += 1;
            self.slicing.next_end(forgotten)
        };
        let id = PartId { start, from };
        if from <= judge.0 { Fate::Again(id) } else { Fate::Taken(id) }
    }

    /// Windows that have ended at `watermark`, ascending.
    fn emit(&mut self, watermark: Watermark, marks: &Marks, emission: &mut Emission, output: &mut Outcome) {
        while let Some(end) = self.next_end().filter(|end| *end <= watermark.0) {
            let origin = marks.lets_out(end.saturating_sub(1)).unwrap_or(0);
            self.emit_window(end, origin, emission, output);
            self.state.emitted = end;
            self.state.is_changed = true;
            self.forget(watermark, &mut emission.gone);
            // Many windows may end at once, and each has groups of its own under way.
            if emission.panes.len() >= PANES_MAX {
                self.finish(emission, output);
            }
        }
        if watermark.0 > self.state.emitted {
            self.state.emitted = watermark.0;
            self.state.is_changed = true;
        }
        self.forget(watermark, &mut emission.gone);
    }

    fn push_panes(&self, members: Vec<Member>, end: i64, origin: u32, emission: &mut Emission) {
        let start = self.slicing.start_of(end);
        let time = self.slicing.last_instant(end, self.state.newest);
        emission.panes.extend(members.into_iter().map(|Member { slot, group }| Pane { slot, group, start, end, time, origin }));
    }

    /// Panes of the window that ends there.
    fn emit_window(&mut self, end: i64, origin: u32, emission: &mut Emission, output: &mut Outcome) {
        let start = self.slicing.start_of(end);
        let slices = &mut self.state.slices;
        slices.thaw_between(start, end);
        // What this window does not count a later one may: what is merged is of no use to that.
        let has_later = slices.has_later_parts(start, end, end);
        match &mut self.overlap {
            Overlap::Each => {
                let members = self.merge_window(start, end, &mut emission.gone);
                self.push_panes(members, end, origin, emission);
            }
            Overlap::Blocks(blocks) => {
                let members = blocks.pane(slices, start, end, &mut emission.gone);
                if has_later {
                    blocks.clear(&mut emission.gone);
                }
                self.push_panes(members, end, origin, emission);
            }
            Overlap::Running(running) => {
                let mut members = running.pane(slices, start, end, &mut emission.gone);
                let is_small = members.len() < COPIED_MAX;
                if is_small {
                    copy(&mut members, slices, &mut emission.gone);
                }
                self.push_panes(members, end, origin, emission);
                if !is_small {
                    // The groups go on with the next window.
                    self.finish(emission, output);
                }
                let next = self.slicing.start_of(self.slicing.next_end(end));
                let Overlap::Running(running) = &mut self.overlap else { return };
                if has_later {
                    running.clear(&mut emission.gone);
                } else {
                    running.leave(&mut self.state.slices, start, end, next, &mut emission.gone);
                }
            }
        }
    }

    /// The end of the next window that has a row.
    fn next_end(&self) -> Option<i64> {
        let emitted = self.state.emitted;
        let stretch =
            self.state.slices.starts().map(|start| self.slicing.stretch(start)).find(|stretch| stretch.last > emitted)?;
        Some(stretch.first.max(self.slicing.next_end(emitted)))
    }

    /// All keys of a window in their order, by merging every slice: for windows of few slices, and for those that a late row changed.
    fn merge_window(&mut self, start: i64, end: i64, gone: &mut Gone) -> Vec<Member> {
        let WindowState { slices, .. } = &mut self.state;
        let slots = slices.index.slots();
        let mut parts = slices.of_window(start, end);
        let mut members: Vec<Member> = parts.next().unwrap_or_default().to_vec();
        let mut second = parts.next();
        if second.is_some() {
            // A key's place among the members, by slot; and what else it has, in the order of time.
            let (mut pairs, mut is_shared) = (Vec::new(), vec![false; members.len()]);
            self.merged.resize(slots, u32::MAX);
            (0u32..).zip(&members).for_each(|(place, member)| self.merged[member.slot as usize] = place);
            while let Some(part) = second {
                for member in part {
                    let place = &mut self.merged[member.slot as usize];
                    if *place == u32::MAX {
                        *place = members.len() as u32;
                        members.push(*member);
                        is_shared.push(false);
                    } else {
                        is_shared[*place as usize] = true;
                        pairs.push((*place, member.group));
                    }
                }
                second = parts.next();
            }
            drop(parts);
            members.iter().for_each(|member| self.merged[member.slot as usize] = u32::MAX);
            // A key in several parts gets a group of its own.
            let mut merges = Vec::with_capacity(pairs.len() * 2);
            for (member, _) in members.iter_mut().zip(&is_shared).filter(|(_, is_shared)| **is_shared) {
                let group = slices.aggregates.allocate();
                gone.groups.push(group);
                merges.push((group, member.group));
                member.group = group;
            }
            merges.extend(pairs.iter().map(|(place, from)| (members[*place as usize].group, *from)));
            slices.aggregates.merge(&merges);
        } else {
            drop(parts);
        }
        slices.index.sort(&mut members, |member| member.slot);
        members
    }

    /// Slices whose last window takes no rows any more.
    fn forget(&mut self, watermark: Watermark, gone: &mut Gone) {
        loop {
            let first = self.state.slices.starts().next().map(|start| self.slicing.stretch(start).last);
            if first.is_none_or(|last| last > self.state.emitted || last.saturating_add(self.lateness) > watermark.0) {
                break;
            }
            gone.members.extend(self.state.slices.pop());
        }
    }

    /// Windows that a row changed after they were emitted, ascending.
    fn emit_again(&mut self, row: u32, id: PartId, watermark: Watermark, emission: &mut Emission) {
        let slot = self.state.slices.last_slot(0);
        let last = self.slicing.stretch(id.start).last;
        let mut end = id.from;
        while end <= last && end <= watermark.0 {
            let start = self.slicing.start_of(end);
            self.state.slices.thaw_between(start, end);
            let members = if self.top.is_some() {
                // Another key may have lost its place.
                self.merge_window(start, end, &mut emission.gone)
            } else {
                let slices = &mut self.state.slices;
                let group = slices.aggregates.allocate();
                emission.gone.groups.push(group);
                let merges: Vec<(u32, u32)> = slices.of_key(start, end, slot).map(|from| (group, from)).collect();
                slices.aggregates.merge(&merges);
                vec![Member { slot, group }]
            };
            self.push_panes(members, end, row, emission);
            end = self.slicing.next_end(end);
        }
    }

    /// Panes as rows; their groups go.
    fn finish(&mut self, emission: &mut Emission, output: &mut Outcome) {
        let Slices { index, aggregates, .. } = &self.state.slices;
        let rows = rows_of(&emission.panes, index, aggregates, self.bounds, self.step, output);
        let rows = match &mut self.computed {
            Some(computed) => computed.apply(rows, output),
            None => rows,
        };
        let rows = match &self.top {
            Some(top) => top.of(rows),
            None => rows,
        };
        emission.panes.clear();
        emission.gone.release(&mut self.state.slices);
        emission.pieces.push(rows);
    }

    /// Slices that panes have been made of are others now.
    fn forget_merges(&mut self, gone: &mut Gone) {
        match &mut self.overlap {
            Overlap::Each => {}
            Overlap::Running(running) => running.clear(gone),
            Overlap::Blocks(blocks) => blocks.clear(gone),
        }
    }

    fn take(&mut self, rows: &FlowBatch, range: Range<usize>, runs: &mut Vec<(usize, PartId)>, output: &mut Outcome) {
        if !runs.is_empty() {
            let lost = self.state.slices.update(&rows.rows.slice(range.start, range.len()), runs);
            if !lost.is_empty() {
                output.bury_lost(&rows.slice(&range), self.step, lost);
            }
            self.state.is_changed = true;
            runs.clear();
        }
    }
}

/// Groups of their own, for panes that are made into rows later.
fn copy(members: &mut [Member], slices: &mut Slices, gone: &mut Gone) {
    let mut merges = Vec::with_capacity(members.len());
    for member in members {
        let group = slices.aggregates.allocate();
        gone.groups.push(group);
        merges.push((group, member.group));
        member.group = group;
    }
    slices.aggregates.merge(&merges);
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Counts rows that follow each other into the same part.
fn push_run(runs: &mut Vec<(usize, PartId)>, id: PartId) {
    match runs.last_mut() {
        Some((count, last)) if *last == id => *count += 1,
        _ => runs.push((1, id)),
    }
}

impl Operator for SlicedWindow {
    fn step(&self) -> StepId {
        self.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let marks = output.marks();
        self.state.slices.aggregates.begin(self.step, output);
        let (mut runs, mut run_from) = (Vec::new(), 0);
        let (mut kept, mut late) = (BooleanBufferBuilder::new(input.len()), LateList::default());
        // First the fate of every row; what is not taken leaves, and what is taken alone is noted.
        let mut alone: Vec<(usize, PartId, u32)> = Vec::new();
        let mut stretch: Option<Stretch> = None;
        let mut taken: Vec<PartId> = Vec::with_capacity(input.len());
        // A row came to slices that panes have been made of.
        let mut is_changed_behind = false;
        for (row, time) in times(&input.rows).values().iter().enumerate() {
            let here = stretch.filter(|stretch| (stretch.start..stretch.end).contains(time));
            let here = here.unwrap_or_else(|| self.slicing.stretch(*time));
            stretch = Some(here);
            let origin = input.origin[row];
            let judge = match self.judged {
                Judged::ByLane => marks.judge(origin),
                Judged::ByTask => marks.before(origin),
            };
            let fate = self.fate(&here, judge, output);
            let is_taken = matches!(fate, Fate::Taken(_) | Fate::Again(_));
            match fate {
                Fate::Taken(id) => {
                    is_changed_behind |= id.from > here.first;
                    taken.push(id);
                }
                Fate::Again(id) => {
                    alone.push((taken.len(), id, origin));
                    taken.push(id);
                }
                Fate::Late => {
                    let window = self.bounds.of(self.slicing.start_of(here.first), here.last);
                    late.push(row as u32, judge, window);
                }
                Fate::Between => {}
            }
            kept.append(is_taken);
            if is_taken {
                self.state.newest = self.state.newest.max(*time);
            }
        }
        late.tell(self.step, &input, output);
        let rows = if taken.len() == input.len() { input } else { input.filtered(&BooleanArray::new(kept.finish(), None)) };
        let mut emission = Emission::default();
        for (at, id, origin) in alone {
            taken[run_from..at].iter().for_each(|id| push_run(&mut runs, *id));
            self.take(&rows, run_from..at, &mut runs, output);
            if is_changed_behind {
                self.forget_merges(&mut emission.gone);
            }
            let watermark = marks.before(origin);
            self.emit(watermark, &marks, &mut emission, output);
            if !emission.panes.is_empty() {
                self.finish(&mut emission, output);
            }
            push_run(&mut runs, id);
            self.take(&rows, at..at + 1, &mut runs, output);
            self.emit_again(origin, id, watermark, &mut emission);
            self.finish(&mut emission, output);
            is_changed_behind = true;
            run_from = at + 1;
        }
        taken[run_from..].iter().for_each(|id| push_run(&mut runs, *id));
        self.take(&rows, run_from..taken.len(), &mut runs, output);
        if is_changed_behind {
            self.forget_merges(&mut emission.gone);
        }
        self.emit(marks.end(), &marks, &mut emission, output);
        if !emission.panes.is_empty() || emission.pieces.is_empty() {
            self.finish(&mut emission, output);
        }
        emission.gone.release(&mut self.state.slices);
        self.state.slices.aggregates.end(output);
        FlowBatch::concat(emission.pieces)
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        Some(&mut self.state)
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        None
    }

    fn due(&self) -> Option<Watermark> {
        self.next_end().map(Watermark)
    }
}

impl WindowState {
    fn own(&self) -> Vec<u8> {
        let mut bytes = self.emitted.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.newest.to_le_bytes());
        bytes
    }
}

impl StepState for WindowState {
    fn len(&self) -> usize {
        self.slices.len()
    }

    fn changed_len(&self) -> usize {
        self.slices.changed_len() + usize::from(self.is_changed)
    }

    fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        let mut changes = self.slices.take_some(most, save);
        if std::mem::take(&mut self.is_changed) {
            changes.push(KeyChange::of_step([STEP], &self.own()));
        }
        changes
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        match key.first() {
            Some(&SLICE) => self.slices.restore(key, value),
            Some(&STEP) => {
                let mut rest = value;
                let times = take_i64(&mut rest).zip(take_i64(&mut rest)).filter(|_| rest.is_empty());
                let (emitted, newest) = times.ok_or_else(|| corrupt(key, "emitted, newest", value.len() - rest.len()))?;
                (self.emitted, self.newest) = (emitted, newest);
                Ok(())
            }
            _ => Err(corrupt(key, "a window", 0)),
        }
    }

    fn checksum(&mut self) -> u64 {
        let own = checksum(checksum(0, &[STEP]), &self.own());
        self.slices.checksum().wrapping_add(own)
    }

    fn spills(&mut self) -> Option<&mut dyn Spills> {
        Some(self)
    }

    /// A row for each window of the key that has not ended.
    fn of_key(&mut self, key: &RecordBatch) -> Option<KeyState> {
        let Self { slicing, slices, emitted, newest, .. } = self;
        let slot = slices.asked(key);
        let mut ends = BTreeSet::new();
        for part in slices.parts_of(slot) {
            let last = slicing.stretch(part.start).last;
            let mut end = part.from.max(slicing.next_end(*emitted));
            while end <= last && ends.len() < WINDOWS_MAX {
                ends.insert(end);
                match slicing.next_end(end) {
                    next if next > end => end = next,
                    _ => break,
                }
            }
        }
        let mut panes = Vec::with_capacity(ends.len());
        for end in ends {
            let (start, group) = (slicing.start_of(end), slices.aggregates.allocate());
            let merges: Vec<(u32, u32)> = slices.of_key(start, end, slot).map(|from| (group, from)).collect();
            slices.aggregates.merge(&merges);
            panes.push(Pane { slot, group, start, end, time: slicing.last_instant(end, *newest), origin: 0 });
        }
        let bounds = if slicing.has_bounds() { Bounds::Times } else { Bounds::None };
        let state = open_windows(&panes, &slices.aggregates, bounds);
        panes.iter().for_each(|pane| slices.aggregates.release(pane.group));
        Some(state)
    }
}

impl Spills for WindowState {
    fn spill_to(&mut self, store: Arc<dyn ColdEntries>) {
        self.slices.cold().spill_to(store);
    }

    fn cold_len(&self) -> usize {
        self.slices.cold_len()
    }

    fn cold_bytes(&self) -> u64 {
        self.cold_len() as u64 * STUB_BYTES
    }

    fn spill(&mut self, saved: Save, most: usize) -> usize {
        self.slices.spill(saved, most)
    }

    fn restore_cold(&mut self, key: &[u8], value: &[u8], save: Save) -> Result<(), StateCorrupt> {
        match key.first() {
            Some(&SLICE) => {
                self.slices.restore_cold(key, value, save);
                Ok(())
            }
            // It was read when the step began.
            _ if self.slices.cold().is_listing() => Ok(()),
            _ => self.restore_entry(key, value),
        }
    }

    fn list_later(&mut self, up_to: Option<&[u8]>) -> bool {
        let own = self.slices.cold().look(&[STEP]);
        if own.is_some_and(|own| self.restore_entry(&[STEP], &own).is_err()) {
            // Whoever reads all of it says so.
            return false;
        }
        self.slices.list_later(up_to);
        true
    }

    fn has_listed(&mut self) {
        self.slices.cold().has_listed();
    }
}
