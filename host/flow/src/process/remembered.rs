//! What a process remembers, and how one call is made with it: state rows and entries of tables in, those and timers out.
//!
//! ```text
//! rows ─ gather ─► keys, state rows ─ wants ─► entries ─ process ─► answer ─ in order? ─► state, entries, timers are written
//!                                                                              └ no ─► nothing is; fewer rows, then what has to come first
//! ```
//! Rows of one key must meet what those before them left, whatever the cut into batches: a timer that fires between two of them fires
//! between them, and an entry that runs out between them is gone for the second. What the rows of a call set and wrote is only known when
//! it has answered, so an answer in which that would have happened is thrown away, and the rows up to there are asked about again. That is
//! right because a call is a function of its rows, and rare because few timers are nearer than the rows of a batch are long.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use tidemill_event::batch::times;
use tidemill_event::{
    CallFailure, Ending, EventTime, ProcessAnswer, ProcessGuest, RuleCall, Subject, TableEntries, TimerChange, Usage,
};

use crate::calls::{Answer, Called, Remembers};
use crate::gathered::{Gathered, Together};
use crate::process::chains::Chains;
use crate::process::table::{Found, Table};
use crate::process::timers::{SetBy, TIMERS_MAX, Timers};
use crate::ttl::Now;
use crate::{FlowBatch, Guest, KeyedTable, Outcome, StepId, Ttl, Watermark};

/// The memory of a process.
pub(crate) struct Remembered {
    pub(crate) by: Vec<Arc<str>>,
    pub(crate) rows: KeyedTable,
    /// Whether it declares state; without, `rows` only numbers keys.
    pub(crate) keeps_state: bool,
    pub(crate) tables: Vec<Table>,
    pub(crate) timers: Timers,
    /// What the calls under way are about.
    pub(crate) subject: Subject,
    /// Whether that are timers which timers of this batch have set.
    pub(crate) is_chain: bool,
    pub(crate) chains: Chains,
    /// No call takes more rows, until it has shown that it may. Per batch: how calls were cut is part of what a replay repeats.
    pub(crate) rows_max: usize,
    /// A call of this batch has not returned: so many have since, of which none may take more rows than the one before.
    pub(crate) answers_since: Option<u32>,
}

/// So many calls have to return after one that did not, before one may take twice as many rows: where every answer is near its bound, a fourth of
/// the calls is lost to looking, and a poisoned row costs its neighbours a few calls.
const ANSWERS_TO_GROW: u32 = 4;

impl Answer for ProcessAnswer {
    fn usage(&self) -> Usage {
        self.usage
    }

    fn take_state(&mut self) -> Option<RecordBatch> {
        self.state.take()
    }
}

impl Remembers<ProcessAnswer> for Remembered {
    type Guest = dyn ProcessGuest;

    // Timers that the first rows set may have to fire before the next.
    const STOPS_BETWEEN_CALLS: bool = true;

    fn call(
        &mut self,
        step: StepId,
        number: u32,
        columns: RecordBatch,
        input: &FlowBatch,
        output: &mut Outcome,
        guest: &mut Self::Guest,
    ) -> Called<ProcessAnswer> {
        if input.len() > self.rows_max {
            return Called::Fewer(self.rows_max);
        }
        let watermarks = self.watermarks(input, output);
        let gathered = match self.rows.gather_as_of(input, &self.by, output, |row| watermarks[row]) {
            Together::All(gathered) => gathered,
            Together::Rows(rows) => return Called::Fewer(rows),
        };
        let keys: Vec<Box<[u8]>> = gathered.slots.iter().map(|slot| self.rows.keys[*slot as usize].clone()).collect();
        if let Some(row) = self.fires_before(&gathered, &keys, &watermarks, &[]) {
            self.rows.abandon(gathered);
            self.rows_max = 2 * row;
            return Called::Until(row);
        }
        // The clock is asked for here, where it is known whether anything lives by it.
        let by_clock = self.lives_by_clock().then(|| output.clock().0);
        let row_times = times(&input.rows).clone();
        let now = |ttl: Ttl, row: u32| ttl.at(row_times.value(row as usize), watermarks[row as usize], by_clock);
        let state = Some(self.rows.state(&gathered));
        // A replay takes what was taken.
        let is_bounded = self.is_chain && self.subject == Subject::Timers && !output.is_replay();
        let chains = is_bounded.then_some(&mut self.chains);
        let mut asking = Asking {
            guest,
            subject: self.subject,
            tables: &self.tables,
            timers: &self.timers,
            chains,
            keys: &keys,
            row_to_key: &gathered.row_to_key,
            times: row_times.values(),
            now: &now,
            found: Vec::new(),
        };
        let answer = output.call(step, number, &mut asking, &RuleCall { columns, state });
        let found = std::mem::take(&mut asking.found);
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(ended) => {
                self.rows.abandon(gathered);
                // The rest of the batch is not halved from the top again.
                self.rows_max = (input.len() / 2).max(1);
                self.answers_since = Some(0);
                return Called::Ended(ended);
            }
        };
        let lives: Vec<_> = self
            .tables
            .iter()
            .zip(&found)
            .zip(&answer.tables)
            .map(|((table, found), writes)| table.lives(found, writes, &now))
            .collect();
        let over = lives.iter().filter_map(|(_, over)| *over).min().map(|row| row as usize);
        let fires = self.fires_before(&gathered, &keys, &watermarks, &answer.timers);
        if let Some(row) = [over, fires].into_iter().flatten().min().filter(|row| *row > 0) {
            self.rows.abandon(gathered);
            self.rows_max = 2 * row;
            return Called::Until(row);
        }
        self.grow(input.len());
        self.write(input, gathered, &watermarks, &keys, found, lives.into_iter().map(|(lives, _)| lives), &mut answer);
        Called::Answered(answer)
    }
}

impl Remembered {
    /// A batch begins: nothing is known of how many rows a call may take.
    pub(crate) fn begin_batch(&mut self) {
        (self.rows_max, self.answers_since) = (usize::MAX, None);
        self.chains.begin();
    }

    /// A call of so many rows returned.
    fn grow(&mut self, rows: usize) {
        if let Some(answers) = &mut self.answers_since {
            *answers += 1;
            if *answers < ANSWERS_TO_GROW {
                return;
            }
            *answers = 0;
        }
        self.rows_max = self.rows_max.max(rows.saturating_mul(2));
    }

    /// What rows see: the watermark before each. A timer sees what there was at its time, however far the watermark jumped.
    fn watermarks(&self, input: &FlowBatch, output: &Outcome) -> Vec<Watermark> {
        match self.subject {
            Subject::Rows => {
                let marks = output.marks();
                input.origin.iter().map(|origin| marks.before(*origin)).collect()
            }
            Subject::Timers => vec![Watermark::NONE; input.len()],
        }
    }

    fn lives_by_clock(&self) -> bool {
        self.tables
            .iter()
            .any(|table| table.entries.expiries.as_ref().is_some_and(|expiries| expiries.ttl.clock == crate::TtlClock::WallClock))
    }

    /// The first row before which a timer of its key has to fire: one that was there, or one that a row before it sets (`changes`).
    fn fires_before(
        &self,
        gathered: &Gathered,
        keys: &[Box<[u8]>],
        watermarks: &[Watermark],
        changes: &[TimerChange],
    ) -> Option<usize> {
        let (first, last) = (*watermarks.first()?, *watermarks.last()?);
        let time_stands = first == last && changes.is_empty();
        if self.subject == Subject::Timers || time_stands || (self.timers.len() == 0 && changes.is_empty()) {
            return None;
        }
        // What was due before the first row has been tried, and is held.
        let pending: Vec<Option<i64>> = keys.iter().map(|key| self.timers.earliest_of(key).filter(|at| *at >= first.0)).collect();
        let mut set = BTreeMap::<(u32, &str), Option<i64>>::new();
        let mut changes = changes.iter().peekable();
        for (row, (key, watermark)) in gathered.row_to_key.iter().zip(watermarks).enumerate() {
            let of_key = set.range((*key, "")..(key + 1, "")).filter_map(|(_, at)| *at);
            let replaced = pending[*key as usize].filter(|_| !set.range((*key, "")..(key + 1, "")).any(|_| true));
            if row > 0 && of_key.chain(replaced).any(|at| at < watermark.0) {
                return Some(row);
            }
            while let Some(change) = changes.next_if(|change| change.row as usize == row) {
                set.insert((*key, &change.name), fires_at(change, *watermark));
            }
        }
        None
    }

    #[expect(clippy::too_many_arguments, reason = "what was asked, what was found and what was answered, each of another kind")]
    fn write(
        &mut self,
        input: &FlowBatch,
        gathered: Gathered,
        watermarks: &[Watermark],
        keys: &[Box<[u8]>],
        found: Vec<Found>,
        lives: impl Iterator<Item = Vec<Option<i64>>>,
        answer: &mut ProcessAnswer,
    ) {
        let row_to_key = gathered.row_to_key.clone();
        match answer.take_state().filter(|_| self.keeps_state) {
            Some(state) => self.rows.scatter(gathered, &state),
            None => self.rows.abandon(gathered),
        }
        for (((table, found), lives), writes) in self.tables.iter_mut().zip(found).zip(lives).zip(&answer.tables) {
            table.write(found, lives, writes);
        }
        if self.subject == Subject::Timers {
            let names = input.rows.column_by_name("timer.name").expect("a batch of timers has their names");
            let names = names.as_string::<i32>();
            for (row, key) in row_to_key.iter().enumerate() {
                self.timers.set(&keys[*key as usize], names.value(row), None, SetBy::default());
            }
        }
        for change in &answer.timers {
            let row = change.row as usize;
            let by = SetBy { row: input.origin[row], is_timer: self.subject == Subject::Timers };
            self.timers.set(&keys[row_to_key[row] as usize], &change.name, fires_at(change, watermarks[row]), by);
        }
    }
}

/// When a timer fires that a row sets which sees that watermark: not before it. At an earlier time it would see entries that are over and
/// may be gone, and what it makes would be late.
fn fires_at(change: &TimerChange, watermark: Watermark) -> Option<i64> {
    change.at.map(|at| at.0.max(watermark.0))
}

/// One call: what it wants is asked for, looked up and handed over.
struct Asking<'a> {
    guest: &'a mut (dyn ProcessGuest + 'static),
    subject: Subject,
    tables: &'a [Table],
    timers: &'a Timers,
    /// Of timers that timers have set.
    chains: Option<&'a mut Chains>,
    keys: &'a [Box<[u8]>],
    row_to_key: &'a [u32],
    /// Of the rows, or of the timers.
    times: &'a [i64],
    now: &'a (dyn Fn(Ttl, u32) -> Now + Sync),
    found: Vec<Found>,
}

impl Guest<ProcessAnswer> for Asking<'_> {
    fn call(&mut self, call: &RuleCall) -> Result<ProcessAnswer, CallFailure> {
        if let Some(chains) = &self.chains {
            chains.check(self.keys)?;
        }
        let (mut entries, mut before): (Vec<TableEntries>, _) = (Vec::new(), Usage::default());
        if !self.tables.is_empty() {
            let wanted = self.guest.wants(self.subject, call)?;
            before = wanted.usage;
            for (table, wanted) in self.tables.iter().zip(&wanted.tables) {
                let of_row = |row: u32| &*self.keys[self.row_to_key[row as usize] as usize];
                let (found, given) = table.find(wanted, of_row, self.now);
                self.found.push(found);
                entries.push(given);
            }
        }
        let mut answer = self.guest.process(self.subject, call, &entries)?;
        answer.usage.fuel += before.fuel;
        answer.usage.time += before.time;
        answer.usage.output_bytes += before.output_bytes;
        if let Some(chains) = &mut self.chains {
            chains.fired(self.keys, &answer.usage);
        }
        self.check_timers(call, &answer)?;
        Ok(answer)
    }

    fn replace(&mut self) {
        self.guest.replace();
    }
}

impl Asking<'_> {
    /// Whether the timers that an answer sets are such that can be kept.
    fn check_timers(&self, call: &RuleCall, answer: &ProcessAnswer) -> Result<(), CallFailure> {
        let failure = |ending, message| Err(CallFailure { ending, message, backtrace: String::new(), usage: answer.usage });
        let is_early = |change: &&TimerChange| change.at.is_some_and(|at| at.0 <= self.times[change.row as usize]);
        let mut firing = Vec::new();
        if self.subject == Subject::Timers {
            if let Some(early) = answer.timers.iter().find(is_early) {
                let (name, at) = (&early.name, early.at.unwrap_or(EventTime(0)));
                let message = format!("a timer that fires sets `{name}` to {at}, which is not later than its own time");
                return failure(Ending::InvalidOutput, message);
            }
            let names = call.columns.column_by_name("timer.name").expect("a call for timers has their names").as_string::<i32>();
            firing = self.row_to_key.iter().enumerate().map(|(row, key)| (*key, names.value(row))).collect();
        }
        let changes =
            answer.timers.iter().map(|change| (self.row_to_key[change.row as usize], &*change.name, change.at.is_some()));
        match self.timers.first_too_many(self.keys, &firing, changes) {
            Some(at) => {
                let name = &answer.timers[at].name;
                failure(Ending::TooMuchOutput, format!("with `{name}` its key would have more than {TIMERS_MAX} timers"))
            }
            None => Ok(()),
        }
    }
}
