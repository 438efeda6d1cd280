//! A task's time: one lane for each input, whose least is the task's watermark; and steps of it that no row makes.
//!
//! ```text
//! rows of an input ─► its lane ─► marks beside the batch ─► the steps
//! silence          ─► the clock says: idle, or time goes on ─┐
//! `once`, its end  ─► the lane has ended ────────────────────┴─► an empty batch with marks, a commit that says why
//! ```
//! What a clock decided is in the commit that took it. A replay reads it there, so that the same rows are late and the same windows close.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{RecordBatch, TimestampMicrosecondArray};
use arrow_schema::Schema;
use tidemill_event::batch::{time_field, times};
use tidemill_event::{EventTime, Offset, PartitionId, StreamSchema};
use tidemill_flow::{ClockStep, FlowBatch, LANE_BYTES, LaneId, LaneView, Lanes, Marks, Outcome, Place, Sources, Watermark};

use crate::pipeline::Run;
use crate::plan::Plan;
use crate::status::{HeldBack, TimeStatus};
use crate::task::between::{self, Between};
use crate::task::committing::Taken;
use crate::task::input::{Input, Inputs};
use crate::task::machine::{Task, cpu_time};
use crate::task::placing::Head;
use crate::task::record::TimeStep;

/// Of so many reads one goes by turns.
const READS_PER_TURN: u32 = 16;
/// So many lanes that hold a pipeline back are named.
const HELD_BACK_SHOWN_MAX: usize = 16;

/// The lanes of a task, by number of its inputs.
pub(super) struct TaskTime {
    lanes: Lanes,
    /// Of each input, its first lane, and how many it has.
    of_inputs: Vec<(LaneId, u32)>,
    /// The last step forward was a clock's.
    by_clock: bool,
    /// Reads since one went by turns.
    reads: u32,
}

impl TaskTime {
    /// Before any row.
    pub(super) fn new(plan: &Plan, inputs: &Inputs, is_followed: bool) -> Self {
        let (mut of_inputs, mut bounds, mut idle) = (Vec::new(), Vec::new(), Vec::new());
        for input in inputs.iter() {
            let lanes = input.writers().max(1);
            of_inputs.push((LaneId(bounds.len() as u32), lanes));
            // Tasks say themselves how far they are, and that they are silent.
            let source = input.source(plan).map(|source| (source.out_of_orderness, source.idle));
            let (bound, idle_after) = source.unwrap_or((Duration::ZERO, None));
            (0..lanes).for_each(|_| {
                bounds.push(bound);
                idle.push(idle_after);
            });
        }
        let mut lanes = Lanes::new(plan.time, &bounds);
        (0..).map(LaneId).zip(idle).for_each(|(lane, idle)| lanes.set_idle(lane, idle));
        lanes.set_followed(is_followed);
        Self { lanes, of_inputs, by_clock: false, reads: 0 }
    }

    /// The lanes of an input.
    fn lanes_of(&self, at: usize) -> impl Iterator<Item = LaneId> + use<> {
        let (LaneId(first), count) = self.of_inputs[at];
        (first..first + count).map(LaneId)
    }

    /// Rows between two stages are taken apart.
    pub(super) fn between(&self, at: usize, block: &RecordBatch, schema: &StreamSchema) -> Result<Between, String> {
        let (first, count) = self.of_inputs[at];
        between::decode(block, schema, first, count)
    }

    /// And taken.
    pub(super) fn rows_between(&mut self, between: &Between) -> Marks {
        self.by_clock &= between.rows.num_rows() == 0;
        between.pass(&mut self.lanes)
    }

    /// What readers are told. `may_be_idle`: nothing is still to come of rows that were taken.
    pub(super) fn head(&self, may_be_idle: bool) -> Head {
        Head { watermark: self.lanes.watermark(), is_idle: may_be_idle && self.lanes.are_idle() }
    }

    /// Rows of an input are taken.
    pub(super) fn rows(&mut self, at: usize, rows: &RecordBatch) -> Marks {
        self.by_clock &= rows.num_rows() == 0;
        self.lanes.rows(self.of_inputs[at].0, times(rows).values())
    }

    /// Rows are taken that were judged when they first came: time stands still.
    pub(super) fn steady(&self, sources: &Sources) -> Marks {
        Marks::steady(self.lanes.watermark(), sources.rows.num_rows())
    }

    /// The task's watermark.
    pub(super) fn watermark_now(&self) -> Watermark {
        self.lanes.watermark()
    }

    /// The task's watermark; `None` before there is one.
    pub(super) fn watermark(&self) -> Option<i64> {
        Some(self.lanes.watermark().0).filter(|watermark| *watermark > Watermark::NONE.0)
    }

    /// What others see.
    pub(super) fn seen(&self) -> SeenTime {
        SeenTime { watermark: self.lanes.watermark(), lanes: self.views(), by_clock: self.by_clock }
    }

    /// How far each input is: the least of its lanes.
    fn views(&self) -> Vec<LaneView> {
        let lanes = self.lanes.view();
        let of = |(LaneId(first), count): &(LaneId, u32)| {
            let own = &lanes[*first as usize..(*first + *count) as usize];
            let busy = own.iter().filter(|lane| !lane.is_idle).map(|lane| lane.watermark).min();
            LaneView {
                watermark: busy.or_else(|| own.iter().map(|lane| lane.watermark).max()).unwrap_or(Watermark::NONE),
                newest: own.iter().filter_map(|lane| lane.newest).max(),
                is_idle: own.iter().all(|lane| lane.is_idle),
                is_ahead: own.iter().all(|lane| lane.is_ahead),
                holds_back: own.iter().any(|lane| lane.holds_back),
            }
        };
        self.of_inputs.iter().map(of).collect()
    }

    /// Which inputs may be read, and in which order. If somebody `waits` for time, the one that is furthest behind in it comes first: so two
    /// streams of a backfill stay together, and little has to be kept of the one that is ahead. Now and then turns decide all the same: one whose
    /// time stands still may not keep the others from being read for ever.
    pub(super) fn order(&mut self, inputs: &Inputs, waits: bool) -> Vec<usize> {
        let mut order = inputs.in_turn();
        if order.len() > 1 {
            order.retain(|at| self.lanes_of(*at).any(|lane| self.lanes.may_read(lane)));
            self.reads = (self.reads + 1) % READS_PER_TURN;
            if waits && self.reads > 0 {
                let lanes = self.views();
                order.sort_by_key(|at| lanes[*at].watermark);
            }
        }
        order
    }

    fn step(&mut self, step: &TimeStep, inputs: &Inputs) -> Marks {
        let start = self.lanes.watermark();
        let lanes =
            |streams: &[String]| -> Vec<LaneId> { streams.iter().filter_map(|stream| self.lane_named(stream, inputs)).collect() };
        let (ended, idle) = (lanes(&step.ended), lanes(&step.idle));
        for lane in ended {
            self.lanes.end(lane);
        }
        let clock = ClockStep { idle, watermark: step.clock.map(Watermark) };
        self.lanes.apply(&clock);
        if *step != TimeStep::default() {
            self.by_clock = step.clock.is_some();
        }
        Marks::passing(start, self.lanes.watermark())
    }

    /// As `docs/formats/engine.md` has it.
    pub(super) fn to_bytes(&self, inputs: &Inputs) -> Vec<u8> {
        let mut bytes = self.lanes.watermark().0.to_le_bytes().to_vec();
        for (at, input) in inputs.iter().enumerate() {
            for (number, lane) in self.lanes_of(at).enumerate() {
                let name = lane_name(input, number);
                bytes.extend((name.len() as u16).to_le_bytes());
                bytes.extend(name.as_bytes());
                bytes.extend(self.lanes.encode(lane));
            }
        }
        bytes
    }

    /// The lane of that name.
    fn lane_named(&self, name: &str, inputs: &Inputs) -> Option<LaneId> {
        self.input_named(name, inputs).map(|(_, lane)| lane)
    }

    fn input_named(&self, name: &str, inputs: &Inputs) -> Option<(usize, LaneId)> {
        let (input, number) = match name.split_once('#') {
            Some((input, number)) => (input, number.parse::<usize>().ok()?),
            None => (name, 0),
        };
        let at = inputs.named(input)?;
        Some((at, self.lanes_of(at).nth(number)?))
    }

    /// Takes over what was kept. A lane that is read anew begins where the task stands. `None`: the bytes are damaged.
    pub(super) fn restore(&mut self, bytes: &[u8], inputs: &Inputs) -> Option<()> {
        let (watermark, mut rest) = bytes.split_first_chunk::<8>()?;
        self.lanes.restore(Watermark(i64::from_le_bytes(*watermark)));
        while !rest.is_empty() {
            let (length, behind) = rest.split_first_chunk::<2>()?;
            let (name, behind) = behind.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
            let (kept, behind) = behind.split_at_checked(LANE_BYTES)?;
            let named = self.input_named(std::str::from_utf8(name).ok()?, inputs);
            if let Some((_, lane)) = named.filter(|(at, _)| inputs.get(*at).goes_on()) {
                self.lanes.decode(lane, kept)?;
            }
            rest = behind;
        }
        Some(())
    }
}

/// What others see of a task's time.
#[derive(Debug, Clone)]
pub(crate) struct SeenTime {
    pub(crate) watermark: Watermark,
    /// In the order of the inputs.
    pub(crate) lanes: Vec<LaneView>,
    /// The last step forward was a clock's.
    pub(crate) by_clock: bool,
}

impl SeenTime {
    /// Of a task with these inputs. `clock` is the time.
    pub(crate) fn status(&self, inputs: &[(String, PartitionId)], clock: EventTime) -> TimeStatus {
        let held = self.lanes.iter().zip(inputs).filter(|(lane, _)| lane.holds_back);
        let held_back_by = held.map(|(_, input)| held_back(input)).collect();
        TimeStatus {
            watermark: shown(self.watermark),
            behind_clock_ms: is_time(self.watermark).then(|| clock.0.saturating_sub(self.watermark.0) / 1000),
            moved_by_clock: self.by_clock,
            held_back_by,
        }
    }

    /// Of several tasks, with their inputs: that of the one that is furthest behind.
    pub(crate) fn together(tasks: &[(Self, Vec<(String, PartitionId)>)], clock: EventTime) -> TimeStatus {
        let Some((least, ..)) = tasks.iter().min_by_key(|(time, ..)| time.watermark) else { return TimeStatus::default() };
        let all_alike = tasks.iter().all(|(time, ..)| time.watermark == least.watermark);
        let mut together = least.status(&[], clock);
        for (time, inputs) in tasks.iter().filter(|(time, ..)| time.watermark == least.watermark) {
            let own = time.status(inputs, clock).held_back_by;
            if own.is_empty() && !all_alike {
                // It reads one lane, and that is what others are ahead of.
                together.held_back_by.extend(inputs.first().map(held_back));
            }
            together.held_back_by.extend(own);
        }
        together.held_back_by.truncate(HELD_BACK_SHOWN_MAX);
        together
    }
}

fn held_back((stream, partition): &(String, PartitionId)) -> HeldBack {
    HeldBack { stream: stream.clone(), partition: partition.0 }
}

/// A watermark as people read it; `None`: there is none.
pub(crate) fn shown(watermark: Watermark) -> Option<String> {
    (watermark > Watermark::NONE).then(|| watermark.to_string())
}

/// Whether it is a time, and not the end of all or none.
fn is_time(watermark: Watermark) -> bool {
    (Watermark(i64::MIN + 1)..Watermark::END).contains(&watermark)
}

impl Default for SeenTime {
    fn default() -> Self {
        Self { watermark: Watermark::NONE, lanes: Vec::new(), by_clock: false }
    }
}

impl Task {
    /// Lets time go by that no row moves, if it has to. `None`: there was nothing of the kind.
    pub(super) fn time_goes_by(&mut self) -> Result<bool, String> {
        let step = self.end_of_inputs().or_else(|| self.clock_step()).or_else(|| self.clock_is_due());
        let Some(step) = step else { return Ok(false) };
        let begun = cpu_time();
        let (taken, sources, marks) = self.step_of_time(step);
        let mut outcome = Outcome::new(self.clock).with_marks(marks).with_tables(self.lookups.tables());
        let output = self.chain.run(self.no_rows(), &mut outcome);
        let commit = self.settle(taken, &sources, &output, &mut outcome, self.clock);
        self.commit(commit, &sources, output, &outcome, begun)?;
        Ok(true)
    }

    /// Does a step of time. Rows it lets out have come from nowhere, which stands in for the events they were made of.
    pub(super) fn step_of_time(&mut self, step: TimeStep) -> (Taken, Sources, Marks) {
        let marks = self.time.step(&step, &self.inputs);
        (Taken { time: Some(step), ..Taken::default() }, self.nowhere(), marks)
    }

    /// What stands in for the event of rows that time lets out.
    pub(super) fn nowhere(&self) -> Sources {
        let newest = self.time.lanes.view().iter().filter_map(|lane| lane.newest).max().unwrap_or(EventTime(0));
        let time = TimestampMicrosecondArray::from(vec![newest.0]).with_timezone("UTC");
        let nowhere = RecordBatch::try_new(Arc::new(Schema::new(vec![time_field()])), vec![Arc::new(time)]).expect("one column");
        let place = Place { stream: NOWHERE.into(), partition: self.partition, offset: Offset(0) };
        Sources::block(nowhere, place)
    }

    /// No rows, as they come to the first step.
    pub(super) fn no_rows(&self) -> FlowBatch {
        let first = self.plan.stages[self.stage].steps.start;
        FlowBatch::new(RecordBatch::new_empty(Arc::new(self.plan.step_input(first).arrow())))
    }

    /// When the clock has something to say, if all stays silent.
    pub(super) fn wakes_at(&self) -> Option<EventTime> {
        self.time.lanes.wakes_at(self.chain.due()).into_iter().chain(self.chain.due_at()).min()
    }

    /// A step waits for the clock itself: it is given no rows, and the clock, which it makes part of the commit by asking for it.
    fn clock_is_due(&self) -> Option<TimeStep> {
        self.chain.due_at().filter(|due| *due <= self.clock).map(|_| TimeStep::default())
    }

    /// A `once` has taken all of some inputs. Rows that wait come first: they are not late because others had ended.
    fn end_of_inputs(&self) -> Option<TimeStep> {
        if self.plan.definition.run != Run::Once || !self.waiting.is_empty() {
            return None;
        }
        let inputs = self.inputs.iter().enumerate();
        // Tasks that write say themselves that they have ended.
        let own = inputs.filter(|(_, input)| input.writers() == 0);
        let ended = own.filter(|(at, input)| input.is_at_end() && !self.time.lanes.has_ended(self.time.of_inputs[*at].0));
        let ended: Vec<String> = ended.map(|(_, input)| input.name().to_owned()).collect();
        (!ended.is_empty()).then(|| TimeStep { ended, ..TimeStep::default() })
    }

    /// What the clock has to say now that it was looked at every input.
    fn clock_step(&mut self) -> Option<TimeStep> {
        for (at, input) in self.inputs.iter().enumerate() {
            // What has rows is not silent, though it may have to wait for others; what is at its end says nothing any more. Nor is the stage
            // before silent while it has something to take.
            let comes = input.writers() > 0 && !self.shared.neighbours.is_quiet_before();
            let is_busy = input.is_at_end() || input.has_rows() || comes;
            for lane in self.time.lanes_of(at) {
                if is_busy {
                    self.time.lanes.busy(lane);
                } else {
                    self.time.lanes.nothing(lane, self.clock);
                }
            }
        }
        let ClockStep { idle, watermark } = self.time.lanes.tick(self.clock, self.chain.due())?;
        let name = |lane: &LaneId| {
            let at = self.time.of_inputs.iter().rposition(|(first, _)| first <= lane).expect("a lane of an input");
            lane_name(self.inputs.get(at), (lane.0 - self.time.of_inputs[at].0.0) as usize)
        };
        Some(TimeStep { idle: idle.iter().map(name).collect(), clock: watermark.map(|to| to.0), ended: Vec::new() })
    }
}

/// The stream of what time made: no stream has such a name.
pub(super) const NOWHERE: &str = "";

/// What a lane is called in what is kept: its input, and of one that several tasks write, which of them.
fn lane_name(input: &Input, number: usize) -> String {
    if input.writers() == 0 { input.name().to_owned() } else { format!("{}#{number}", input.name()) }
}
