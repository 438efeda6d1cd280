//! Where a task's watermark comes from: the lanes it reads, each one writer's rows in order.
//!
//! ```text
//! lane of clients      W = greatest time so far − out-of-orderness, row by row
//! lane of a task       W = what its commits name; rows behind it are listed
//! the task             W = the least over lanes that are not idle; it never falls
//! ```
//! No clock is read here. What hangs on one is proposed by `tick`, recorded by the task, and done by `apply`, live and in a replay alike.
//! Silence is what the task says it is: `nothing` when it found nothing to read at the end of a lane, `busy` when it did not look or was held back. Neither
//! idleness nor the bound counts time in which a lane was busy.

use std::time::Duration;

use tidemill_event::EventTime;

use crate::time::{ClockStep, Marks, Watermark};

/// Bytes that a checkpoint keeps of a lane.
pub const LANE_BYTES: usize = 17;

/// A lane of a task, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(pub u32);

/// How a task's time runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeSettings {
    /// A lane that is silent so long holds nothing back, unless it is told another time; `None`: it does for ever.
    pub idle_after: Option<Duration>,
    /// When all lanes are silent so long, time goes on at the clock's speed, so that windows close; `None`: it stands still.
    pub bound: Option<Duration>,
    /// A lane so far ahead of the slowest is not read; `None`: it always is.
    pub drift_max: Option<Duration>,
}

/// One lane as `status` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneView {
    /// Its own watermark.
    pub watermark: Watermark,
    /// Its greatest event time; `None`: it had no row yet.
    pub newest: Option<EventTime>,
    /// It holds nothing back.
    pub is_idle: bool,
    /// It is so far ahead of the others that it is not read.
    pub is_ahead: bool,
    /// The task's watermark would be further on without it.
    pub holds_back: bool,
}

#[derive(Debug, Clone, Copy)]
struct Lane {
    out_of_orderness: i64,
    idle_after: Option<Duration>,
    newest: i64,
    watermark: i64,
    is_idle: bool,
    /// Since when there was nothing to read.
    silent: Option<EventTime>,
}

/// All lanes of a task.
#[derive(Debug, Clone)]
pub struct Lanes {
    settings: TimeSettings,
    lanes: Vec<Lane>,
    watermark: i64,
    /// Others read what the task writes, and want to hear that nothing comes.
    is_followed: bool,
}

impl Lanes {
    /// Lanes without a row; for each how far behind its newest a row may be without being late. A lane of a task has 0.
    ///
    /// # Panics
    /// If there is none.
    pub fn new(settings: TimeSettings, out_of_orderness: &[Duration]) -> Self {
        assert!(!out_of_orderness.is_empty(), "a task reads something");
        let lane = |bound: &Duration| Lane {
            out_of_orderness: micros(*bound),
            idle_after: settings.idle_after,
            newest: i64::MIN,
            watermark: i64::MIN,
            is_idle: false,
            silent: None,
        };
        Self { settings, lanes: out_of_orderness.iter().map(lane).collect(), watermark: i64::MIN, is_followed: false }
    }

    /// After how long a silent lane holds nothing back, where that is not what holds for all.
    pub fn set_idle(&mut self, id: LaneId, after: Option<Duration>) {
        self.lanes[id.0 as usize].idle_after = after;
    }

    /// Whether others read what the task writes: then it matters that a lane is idle though nobody here waits for time.
    pub fn set_followed(&mut self, is_followed: bool) {
        self.is_followed = is_followed;
    }

    /// Rows of clients, by their times.
    pub fn rows(&mut self, id: LaneId, times: &[i64]) -> Marks {
        if times.is_empty() {
            return Marks::steady(self.watermark(), 0);
        }
        self.wake(id);
        let start = self.watermark;
        let others = self.least_but(id);
        let lane = &mut self.lanes[id.0 as usize];
        let mut own = Vec::with_capacity(times.len());
        let (mut newest, mut watermark) = (lane.newest, lane.watermark);
        for time in times {
            own.push(watermark);
            newest = newest.max(*time);
            watermark = watermark.max(newest.saturating_sub(lane.out_of_orderness));
        }
        (lane.newest, lane.watermark) = (newest, watermark);
        self.advance(start, others, own, watermark)
    }

    /// Rows that a task wrote with a commit whose head is `head`. `behind`: rows that were behind their writer's watermark, ascending,
    /// with that; all others were on time.
    pub fn written(&mut self, id: LaneId, times: &[i64], behind: &[(u32, Watermark)], head: Watermark) -> Marks {
        self.wake(id);
        let start = self.watermark;
        let others = self.least_but(id);
        let lane = &mut self.lanes[id.0 as usize];
        let mut own = vec![lane.watermark; times.len()];
        behind.iter().for_each(|(row, watermark)| own[*row as usize] = watermark.0.max(lane.watermark));
        let before = lane.watermark;
        lane.watermark = before.max(head.0);
        lane.newest = times.iter().fold(lane.newest, |newest, time| newest.max(*time));
        let after = lane.watermark;
        // Before each row the lane itself stands where it stood: the head comes with the last one.
        let task = from_start(start, vec![start.max(others.min(before)); times.len()]);
        self.watermark = start.max(others.min(after));
        Marks::new(Watermark(start), task, Some(own), self.watermark())
    }

    /// A task that wrote here says that nothing is expected of it until it writes again: it holds nothing back. Answers the batch without rows
    /// that says so.
    pub fn leaves(&mut self, id: LaneId) -> Marks {
        let start = self.watermark();
        self.lanes[id.0 as usize].is_idle = true;
        self.watermark = self.watermark.max(self.least());
        Marks::passing(start, self.watermark())
    }

    /// Nothing is expected of any lane until one has rows again.
    pub fn are_idle(&self) -> bool {
        self.lanes.iter().all(|lane| lane.is_idle || lane.watermark == i64::MAX)
    }

    fn advance(&mut self, start: i64, others: i64, own: Vec<i64>, after: i64) -> Marks {
        self.watermark = start.max(others.min(after));
        let end = self.watermark();
        // One lane alone is the task: nothing is made twice.
        if others == i64::MAX && own[0] == start {
            return Marks::new(Watermark(start), own, None, end);
        }
        let task = from_start(start, own.iter().map(|own| start.max(others.min(*own))).collect());
        Marks::new(Watermark(start), task, Some(own), end)
    }

    /// A lane that comes back starts at the task's watermark.
    fn wake(&mut self, id: LaneId) {
        let lane = &mut self.lanes[id.0 as usize];
        lane.silent = None;
        lane.is_idle = false;
        lane.watermark = lane.watermark.max(self.watermark);
    }

    /// The lane has reached its end: nothing follows. Answers the batch without rows that says so.
    pub fn end(&mut self, id: LaneId) -> Marks {
        let start = self.watermark();
        self.lanes[id.0 as usize].watermark = i64::MAX;
        self.watermark = self.watermark.max(self.least());
        Marks::passing(start, self.watermark())
    }

    /// There was nothing to read at the end of the lane.
    pub fn nothing(&mut self, id: LaneId, now: EventTime) {
        self.lanes[id.0 as usize].silent.get_or_insert(now);
    }

    /// The lane was not looked at, or held back: its silence does not count.
    pub fn busy(&mut self, id: LaneId) {
        self.lanes[id.0 as usize].silent = None;
    }

    /// What the clock has to say at `now`; `None`: nothing. The watermark moves only if that matters to somebody: `wanted` is the least
    /// watermark at which some step would act.
    pub fn tick(&self, now: EventTime, wanted: Option<Watermark>) -> Option<ClockStep> {
        let silent_for = |lane: &Lane| lane.silent.map(|since| now.0.saturating_sub(since.0));
        let is_over = |lane: &Lane, limit: Option<Duration>| {
            limit.zip(silent_for(lane)).is_some_and(|(limit, silent)| silent >= micros(limit))
        };
        let is_heard = self.is_heard(wanted);
        let idle: Vec<LaneId> = (0u32..)
            .zip(&self.lanes)
            .filter(|(_, lane)| is_heard && !lane.is_idle && lane.watermark < i64::MAX && is_over(lane, lane.idle_after))
            .map(|(id, _)| LaneId(id))
            .collect();
        // An idle task whose lanes all left would have no least: then the greatest of them holds.
        let open = || self.lanes.iter().filter(|lane| lane.watermark < i64::MAX);
        let all_silent = open().next().is_some() && open().all(|lane| is_over(lane, self.settings.bound));
        let reached = if all_silent {
            // From the last row on, at the clock's speed.
            open()
                .filter(|lane| lane.newest > i64::MIN)
                .filter_map(|lane| Some(lane.newest.saturating_sub(lane.out_of_orderness).saturating_add(silent_for(lane)?)))
                .max()
        } else {
            None
        };
        let watermark = reached
            .filter(|reached| *reached > self.watermark && wanted.is_some_and(|wanted| wanted.0 <= *reached))
            .map(Watermark);
        (watermark.is_some() || !idle.is_empty()).then_some(ClockStep { idle, watermark })
    }

    /// Whether it matters to anybody that a lane is idle: others go on without it, and somebody waits for that or is held by it.
    fn is_heard(&self, wanted: Option<Watermark>) -> bool {
        self.is_followed || (self.lanes.len() > 1 && (wanted.is_some() || self.settings.drift_max.is_some()))
    }

    /// When `tick` has something to say at the earliest, if everything stays as silent as it is; `None`: never.
    pub fn wakes_at(&self, wanted: Option<Watermark>) -> Option<EventTime> {
        let open = || self.lanes.iter().filter(|lane| lane.watermark < i64::MAX);
        let until_idle = |lane: &Lane| Some(lane.silent?.0.saturating_add(micros(lane.idle_after?)));
        let idle = open().filter(|lane| self.is_heard(wanted) && !lane.is_idle).filter_map(until_idle).min();
        let bound = self.settings.bound.zip(wanted).filter(|_| open().next().is_some()).and_then(|(bound, wanted)| {
            let silent: Option<Vec<i64>> = open().map(|lane| Some(lane.silent?.0)).collect();
            let over = silent?.into_iter().max()?.saturating_add(micros(bound));
            let reaches = |lane: &Lane| {
                let ahead = wanted.0.saturating_sub(lane.newest.saturating_sub(lane.out_of_orderness));
                lane.silent.map(|since| since.0.saturating_add(ahead))
            };
            let reached = open().filter(|lane| lane.newest > i64::MIN).filter_map(reaches).min()?;
            (reached < i64::MAX).then_some(over.max(reached))
        });
        idle.into_iter().chain(bound).min().map(EventTime)
    }

    /// Does what a clock decided. Answers the batch without rows that says so.
    pub fn apply(&mut self, step: &ClockStep) -> Marks {
        let start = self.watermark();
        step.idle.iter().for_each(|id| self.lanes[id.0 as usize].is_idle = true);
        self.watermark = self.watermark.max(self.least());
        if let Some(watermark) = step.watermark {
            self.watermark = self.watermark.max(watermark.0);
            // Rows are judged by what was promised, whatever lane they come from.
            self.lanes.iter_mut().for_each(|lane| lane.watermark = lane.watermark.max(watermark.0));
        }
        Marks::passing(start, self.watermark())
    }

    /// Whether the lane may be read: it is not too far ahead of the slowest.
    pub fn may_read(&self, id: LaneId) -> bool {
        let Some(drift) = self.settings.drift_max else { return true };
        let others = self.least_but(id);
        others == i64::MAX || self.lanes[id.0 as usize].watermark <= others.saturating_add(micros(drift))
    }

    /// The task's watermark.
    pub fn watermark(&self) -> Watermark {
        Watermark(self.watermark)
    }

    /// Each lane, in order.
    pub fn view(&self) -> Vec<LaneView> {
        let least = self.least();
        (0u32..)
            .zip(&self.lanes)
            .map(|(id, lane)| LaneView {
                watermark: Watermark(lane.watermark),
                newest: (lane.newest > i64::MIN).then_some(EventTime(lane.newest)),
                is_idle: lane.is_idle,
                is_ahead: !self.may_read(LaneId(id)),
                holds_back: self.lanes.len() > 1 && !lane.is_idle && lane.watermark == least && least < i64::MAX,
            })
            .collect()
    }

    /// What a checkpoint keeps of a lane: its newest, its watermark, and whether it is idle. The task's watermark is kept beside.
    pub fn encode(&self, id: LaneId) -> [u8; LANE_BYTES] {
        let lane = &self.lanes[id.0 as usize];
        let mut bytes = [0; LANE_BYTES];
        bytes[..8].copy_from_slice(&lane.newest.to_le_bytes());
        bytes[8..16].copy_from_slice(&lane.watermark.to_le_bytes());
        bytes[16] = u8::from(lane.is_idle);
        bytes
    }

    /// Takes over the task's watermark, before the lanes.
    pub fn restore(&mut self, watermark: Watermark) {
        self.watermark = watermark.0;
    }

    /// Takes over what was kept of a lane. `None`: these bytes are of no lane, and nothing changes.
    pub fn decode(&mut self, id: LaneId, bytes: &[u8]) -> Option<()> {
        let (newest, rest) = bytes.split_first_chunk::<8>()?;
        let (watermark, rest) = rest.split_first_chunk::<8>()?;
        let [is_idle @ (0 | 1)] = rest else { return None };
        let lane = &mut self.lanes[id.0 as usize];
        lane.newest = i64::from_le_bytes(*newest);
        lane.watermark = i64::from_le_bytes(*watermark);
        lane.is_idle = *is_idle == 1;
        Some(())
    }

    /// Whether the lane has ended.
    pub fn has_ended(&self, id: LaneId) -> bool {
        self.lanes[id.0 as usize].watermark == i64::MAX
    }

    fn least(&self) -> i64 {
        if self.lanes.iter().all(|lane| lane.watermark == i64::MAX) {
            return i64::MAX;
        }
        // All that have not ended are idle: time stands still until a clock or a row moves it.
        let open = self.lanes.iter().filter(|lane| !lane.is_idle && lane.watermark < i64::MAX);
        open.map(|lane| lane.watermark).min().unwrap_or(self.watermark)
    }

    fn least_but(&self, id: LaneId) -> i64 {
        let others = (0u32..).zip(&self.lanes).filter(|(other, lane)| *other != id.0 && !lane.is_idle);
        others.map(|(_, lane)| lane.watermark).min().unwrap_or(i64::MAX)
    }
}

/// Before the first row the task stands where the batch begins, also if its lane was ahead of all and idle until now: what such a lane lets out
/// as it wakes is let out by that row, and on time for whoever comes next.
fn from_start(start: i64, mut task: Vec<i64>) -> Vec<i64> {
    if let Some(first) = task.first_mut() {
        *first = start;
    }
    task
}

/// Settings are bounded far below what i64 µs can hold; a longer one is for ever.
fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
