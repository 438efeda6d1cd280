//! Replay: committed ranges are taken again to rebuild state, and what comes out is compared with what was committed.
//!
//! Same rows, same cuts, same recordings. Outputs are thrown away: what was committed stands, whatever comes now. Of a commit in parts that is
//! not complete, what is missing is appended ([`super::appending`]).

use arrow_array::RecordBatch;
use tidemill_event::batch::concat;
use tidemill_event::{EventTime, Offset, OffsetRange};
use tidemill_flow::{FlowBatch, Group, Marks, Outcome, Side, Sources, StepId};
use tidemill_log::{ReadError, ReadLimit, Visibility};

use crate::pipeline::OnDivergence;
use crate::planted::Planted;
use crate::status::DivergenceStatus;
use crate::task::committing::Taken;
use crate::task::machine::{Task, Turn, cpu_time};
use crate::task::record::Commit;
use crate::task::returning::HOMELESS;

/// What a commit took: how it is named, which sources it came from, its rows.
type TakenAgain = (Taken, Sources, Again);

/// Rows that a commit took.
enum Again {
    /// With the watermark along them.
    Block(FlowBatch, Marks, Side),
    Time(Marks),
    Back(StepId, u32, FlowBatch),
    Buried(Group),
    Nothing,
}

impl Task {
    /// Takes a committed range again: same rows, same recordings; outputs are thrown away and compared.
    pub(super) fn replay(&mut self, committed: Commit) -> Result<Turn, String> {
        let begun = cpu_time();
        let is_last = self.recovered.commits.is_empty();
        let written = if is_last { self.recovered.written.take() } else { None };
        if committed.fresh {
            self.control.replace_instances();
        }
        let clock = self.prepare_again(&committed);
        let (taken, sources, rows) = match self.rows_again(&committed, clock) {
            Ok(Some(again)) => again,
            // What the commit took is not this plan's: nothing of it belongs into its state, and what was committed stands.
            Ok(None) => {
                if written.is_some() {
                    tracing::warn!(task = %self.shared.id, "the rest of what a batch made is lost: the plan does not take its rows any more");
                    let none = Outcome::replay(clock, Vec::new());
                    self.append(&committed, &self.nowhere(), self.nothing(), &none, 0)?;
                }
                return Ok(self.replayed_all().unwrap_or(Turn::Worked));
            }
            Err(turn) => return turn,
        };
        if self.parts.plants.has(Planted::ReplaySkipped) {
            if let Some(at) = self.inputs.named(&committed.stream) {
                self.took(at, Offset(committed.end));
            }
            return Ok(self.replayed_all().unwrap_or(Turn::Worked));
        }
        if let Err(why) = self.lookups.go_to(&committed) {
            self.hold(format!(
                "what a committed batch looked up cannot be looked up again, so its state cannot be rebuilt: {why}"
            ));
            return Ok(Turn::Ended);
        }
        let mut outcome = Outcome::replay(clock, committed.endings.iter().map(|ending| ending.recorded()).collect())
            .with_sources(&sources)
            .with_tables(self.lookups.tables());
        let output = match rows {
            Again::Block(rows, marks, side) => {
                outcome = outcome.with_marks(marks).from_side(side);
                self.chain.run(rows, &mut outcome)
            }
            Again::Time(marks) => {
                outcome = outcome.with_marks(marks);
                self.chain.run(self.no_rows(), &mut outcome)
            }
            Again::Back(step, attempts, rows) => {
                outcome = outcome.with_marks(self.time.steady(&sources)).entering(step, attempts);
                self.chain.run_from(step, rows, &mut outcome)
            }
            Again::Buried(group) => {
                group.bury(HOMELESS, &mut outcome);
                self.nothing()
            }
            Again::Nothing => self.nothing(),
        };
        self.lost.check()?;
        self.fresh = committed.fresh;
        let mut again = self.settle(taken, &sources, &output, &mut outcome, clock);
        // What was not listed yet is in no checksum.
        again.state = committed.state.map(|state| if self.is_listing() { state } else { self.state_checksum() });
        self.replace_after(&outcome);
        // Of another plan, another answer is no news: what was committed stands, and the state is this plan's.
        if committed.plan == self.plan_number {
            self.compare(&committed, &again);
        }
        if self.parts.plants.has(Planted::ReplayedOutputs) {
            let none = Outcome::replay(clock, Vec::new());
            self.append(&committed, &sources, output, &none, 0)?;
        } else if let Some(written) = written {
            let written = if self.parts.plants.has(Planted::PartsForgotten) { 0 } else { written };
            // Of another plan, what is there stays, and this one's rows follow behind as many.
            self.append(&committed, &sources, output, &outcome, written)?;
        }
        self.account(&committed, &outcome, cpu_time().saturating_sub(begun));
        self.account_for_state();
        self.spill_if_tight();
        self.shared.update(|seen| seen.replayed_rows += committed.end - committed.start);
        // Behind the counts: whoever sees that there is no lag finds every row counted.
        if let Some(at) = self.inputs.named(&committed.stream) {
            self.took(at, Offset(committed.end));
        }
        Ok(self.replayed_all().unwrap_or(Turn::Worked))
    }

    /// What a commit took, again. `Ok(None)`: it is not this plan's. `Err` is how the turn ends.
    fn rows_again(&mut self, committed: &Commit, clock: EventTime) -> Result<Option<TakenAgain>, Result<Turn, String>> {
        if let Some(back) = committed.back {
            let Some(group) = self.back_again(back, clock) else { return Ok(None) };
            let taken = Taken { back: Some(back), ..Taken::default() };
            return Ok(Some((taken, group.sources, Again::Back(group.step, group.attempts, group.rows))));
        }
        if !committed.homeless.is_empty() {
            let Some(group) = self.waiting.take_numbers(&committed.homeless).into_iter().next() else { return Ok(None) };
            let taken = Taken { homeless: committed.homeless.clone(), ..Taken::default() };
            return Ok(Some((taken, group.sources.clone(), Again::Buried(group))));
        }
        if !committed.replayed.is_empty() {
            self.take_in_again(&committed.replayed, clock);
            let taken = Taken { replayed: committed.replayed.clone(), ..Taken::default() };
            let nothing = Sources::each(self.nothing().rows.slice(0, 0), Vec::new());
            return Ok(Some((taken, nothing, Again::Nothing)));
        }
        if let Some(step) = committed.time.clone() {
            let (taken, sources, marks) = self.step_of_time(step);
            return Ok(Some((taken, sources, Again::Time(marks))));
        }
        let Some(at) = self.inputs.named(&committed.stream) else { return Ok(None) };
        let range = OffsetRange { start: Offset(committed.start), end: Offset(committed.end) };
        match self.read_exactly(at, range) {
            Ok(rows) => {
                let block = self.take_block(at, range, &rows, true).map_err(Err)?;
                Ok(Some((block.taken, block.sources, Again::Block(block.rows, block.marks, block.side))))
            }
            Err(ReadError::Trimmed { trim_point, .. }) => {
                let (start, stream) = (range.start, &committed.stream);
                self.hold(format!(
                    "rows [{start}, {trim_point}) of `{stream}`, which no checkpoint covers, were removed: state cannot be rebuilt"
                ));
                Err(Ok(Turn::Ended))
            }
            Err(error) => Err(Err(format!("`{}` cannot be read: {error}", committed.stream))),
        }
    }

    /// What follows when everything committed was taken again; `None` before.
    fn replayed_all(&mut self) -> Option<Turn> {
        self.recovered.commits.is_empty().then(|| self.replayed())
    }

    fn replayed(&mut self) -> Turn {
        self.control.set_replaying(false);
        self.fresh = true;
        self.out = self.open_breakers();
        let Some(divergence) = self.shared.seen().divergence else { return Turn::Worked };
        if self.plan.definition.on_divergence == OnDivergence::Stop && !self.accept_divergence {
            let component = divergence.component.as_deref().unwrap_or("no component");
            self.hold(format!(
                "replay differs from what was committed in {} ({component}), rows {}: {}; resume it to go on with the replayed state",
                divergence.step, divergence.range, divergence.detail
            ));
            return Turn::Ended;
        }
        // What was replayed is the state from here on: the next start must not replay these ranges into yet another one.
        self.take_checkpoint(false, None);
        Turn::Worked
    }

    fn compare(&mut self, committed: &Commit, again: &Commit) {
        let Some((step, detail)) = difference(committed, again) else { return };
        let name = step.map_or_else(|| "output".to_owned(), |step| self.plan.step_name(step));
        let component = step.and_then(|step| {
            let planned = self.plan.component_of(step, None)?;
            Some(format!("{} ({})", planned.label(), planned.pin.digest))
        });
        self.parts.metrics.divergences.inc();
        tracing::warn!(
            task = %self.shared.id, step = name, component, stream = committed.stream, start = committed.start, end = committed.end,
            "replay differs from what was committed, which stands: {detail}"
        );
        let range = format!("{} [{}, {})", committed.stream, committed.start, committed.end);
        let partition = self.partition.0;
        self.shared.update(|seen| match &mut seen.divergence {
            // What differs behind the first difference may only follow from it.
            Some(first) => first.commits += 1,
            None => {
                seen.divergence = Some(DivergenceStatus { partition, step: name, component, range, commits: 1, detail });
            }
        });
    }

    fn read_exactly(&self, at: usize, OffsetRange { start, end }: OffsetRange) -> Result<RecordBatch, ReadError> {
        let input = self.inputs.get(at);
        let mut blocks = Vec::new();
        let mut from = start;
        while from < end {
            let limit = ReadLimit { rows_max: (end.0 - from.0) as usize, bytes_max: usize::MAX };
            let Some(block) = input.partition.read(from, limit, Visibility::Sequenced)? else {
                let end = input.partition.end(Visibility::Sequenced);
                return Err(ReadError::BeyondEnd { from, end });
            };
            from = block.start.plus(block.rows.num_rows());
            // The range was taken before, so its rows fitted the plan then; a plan that they do not fit now takes none of them.
            let rows = input.planned(&self.plan, &block.rows, &block.schema.schema);
            blocks.push(rows.unwrap_or_else(|_| input.no_rows(&self.plan)));
        }
        Ok(concat(&blocks))
    }
}

/// The first thing that differs, with the step if it was a component's answer.
fn difference(committed: &Commit, again: &Commit) -> Option<(Option<u32>, String)> {
    for (then, now) in committed.answers.iter().zip(&again.answers) {
        if then.0 != now.0 {
            return Some((Some(then.0.min(now.0)), "other calls were made".to_owned()));
        }
        if then.1 != now.1 {
            return Some((Some(then.0), "the component answered otherwise to the same rows".to_owned()));
        }
    }
    if committed.answers.len() != again.answers.len() {
        let step = committed.answers.get(again.answers.len()).or_else(|| again.answers.get(committed.answers.len()));
        return Some((step.map(|answer| answer.0), "a call ended otherwise for the same rows".to_owned()));
    }
    let counts = |commit: &Commit| format!("{} rows out, {} dead, {} late", commit.rows, commit.dead, commit.late);
    if (committed.rows, committed.dead, committed.late) != (again.rows, again.dead, again.late) {
        return Some((None, format!("{} were committed, {} came now", counts(committed), counts(again))));
    }
    if committed.sum != again.sum {
        return Some((None, "the values of the rows that came out differ".to_owned()));
    }
    if committed.watermark != again.watermark {
        return Some((None, "the watermark differs".to_owned()));
    }
    (committed.state != again.state).then(|| (None, "the state differs".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::record::Hex;

    fn commit(answers: &[(u32, u64)], rows: u64, sum: u64, state: u64) -> Commit {
        Commit {
            run: 1,
            plan: 1,
            stream: "clicks".into(),
            start: 0,
            end: 9,
            fresh: false,
            rows,
            sum: Hex(sum),
            dead: 0,
            late: 0,
            state: Some(Hex(state)),
            watermark: None,
            time: None,
            answers: answers.iter().map(|(step, sum)| (*step, Hex(*sum))).collect(),
            endings: Vec::new(),
            clock: None,
            back: None,
            probe: false,
            homeless: Vec::new(),
            replayed: Vec::new(),
            tables: Default::default(),
            cuts: Default::default(),
        }
    }

    #[test]
    fn the_first_step_that_differs_is_named() {
        let committed = commit(&[(1, 10), (3, 30)], 5, 50, 70);
        let step = |again: &Commit| difference(&committed, again).map(|(step, _)| step);
        assert_eq!(step(&committed), None);
        assert_eq!(step(&commit(&[(1, 10), (3, 31)], 4, 51, 71)), Some(Some(3)));
        assert_eq!(step(&commit(&[(1, 11), (3, 31)], 4, 51, 71)), Some(Some(1)));
        assert_eq!(step(&commit(&[(1, 10)], 4, 51, 71)), Some(Some(3)), "a call that returned then did not now");
        assert_eq!(step(&commit(&[(1, 10), (3, 30)], 4, 50, 70)), Some(None));
        assert_eq!(step(&commit(&[(1, 10), (3, 30)], 5, 51, 70)), Some(None));
        assert_eq!(step(&commit(&[(1, 10), (3, 30)], 5, 50, 71)), Some(None));
    }
}
