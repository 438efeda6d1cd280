//! How matches leave: each discards what its skip strategy says, and waits for runs that began before it.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::pattern::automaton::{Automaton, StageId};
use crate::pattern::buffer::{Buffer, Moment};
use crate::pattern::matcher::Matcher;
use crate::pattern::run::{Found, Held, KeyRuns, Trigger};
use crate::pattern::shape::Skip;

/// A match that its own pattern does not allow: the stage to skip to has no event in it, or is where it began.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a match cannot skip to stage `{0}`: it has no event there, or begins with it")]
pub struct SkipFailed(pub Arc<str>);

/// The strategy with its stage.
#[derive(Debug, Clone, Copy)]
pub(super) enum ResolvedSkip {
    None,
    ToNext,
    PastLast,
    To { stage: StageId, is_first: bool, must_exist: bool },
}

impl ResolvedSkip {
    /// # Panics
    /// If a stage is not there: the pattern was checked.
    pub(super) fn new(skip: &Skip, automaton: &Automaton) -> Self {
        let to = |stage: &str| automaton.stage(stage).expect("it was checked");
        match skip {
            Skip::None => Self::None,
            Skip::ToNext => Self::ToNext,
            Skip::PastLast => Self::PastLast,
            Skip::ToFirst(target) => Self::To { stage: to(&target.stage), is_first: true, must_exist: target.must_exist },
            Skip::ToLast(target) => Self::To { stage: to(&target.stage), is_first: false, must_exist: target.must_exist },
        }
    }
}

/// Which of two matches that are complete at once leaves first: that which began first, then that with more events, then that whose events
/// came first.
fn leaves_before(buffer: &Buffer, one: &Held, other: &Held) -> Ordering {
    let longer = || buffer.length(other.node).cmp(&buffer.length(one.node));
    // Chains are read from their ends; the first difference is the last one that is met.
    let sooner = || {
        let pairs = buffer.chain(one.node).zip(buffer.chain(other.node));
        pairs.map(|((_, of_one), (_, of_other))| of_one.moment.cmp(&of_other.moment)).filter(|order| order.is_ne()).last()
    };
    one.begun.cmp(&other.begun).then_with(longer).then_with(|| sooner().unwrap_or(Ordering::Equal))
}

/// What a match discards.
enum Prune {
    Nothing,
    /// All begun before.
    Before(Moment),
    /// All begun at or before.
    UpTo(Moment),
}

impl Matcher {
    /// Matches that may leave do, the earliest first, of one beginning the longest; the others wait for runs that began before them. One with nothing to skip to discards
    /// nothing and is not told, and the others leave all the same: the first of such is the error.
    pub(super) fn let_out(
        &mut self,
        key: &mut KeyRuns,
        buffer: &mut Buffer,
        mut matches: Vec<Held>,
        now: i64,
        trigger: Trigger,
        found: &mut Vec<Found>,
    ) -> Result<(), SkipFailed> {
        let out = |held: Held| Found { is_match: true, node: held.node, begun: held.begun, at: now, trigger };
        if let ResolvedSkip::None = self.skip {
            found.extend(matches.into_iter().map(out));
            return Ok(());
        }
        // The order of moves is that in which a loop was written, and says nothing about what is meant.
        matches.sort_by(|one, other| leaves_before(buffer, one, other));
        key.held.extend(matches);
        key.held.sort_by_key(|held| held.begun);
        let mut left = Ok(());
        while let Some(first) = key.held.first().copied() {
            if key.runs.iter().any(|run| run.begun < first.begun) {
                break;
            }
            key.held.remove(0);
            let prune = match self.prune(buffer, &first) {
                Ok(prune) => prune,
                Err(error) => {
                    buffer.release(first.node);
                    self.tally.skip_failed += 1;
                    left = left.and(Err(error));
                    continue;
                }
            };
            let is_gone = |begun: Moment| match prune {
                Prune::Nothing => false,
                Prune::Before(moment) => begun < moment,
                Prune::UpTo(moment) => begun <= moment,
            };
            key.runs.extract_if(.., |run| is_gone(run.begun)).for_each(|run| buffer.release(run.node));
            key.held.extract_if(.., |held| is_gone(held.begun)).for_each(|held| buffer.release(held.node));
            found.push(out(first));
        }
        left
    }

    fn prune(&self, buffer: &Buffer, found: &Held) -> Result<Prune, SkipFailed> {
        match self.skip {
            ResolvedSkip::None => Ok(Prune::Nothing),
            ResolvedSkip::ToNext => Ok(Prune::UpTo(found.begun)),
            ResolvedSkip::PastLast => {
                Ok(buffer.chain(found.node).map(|(_, taken)| taken.moment).max().map_or(Prune::Nothing, Prune::UpTo))
            }
            ResolvedSkip::To { stage, is_first, must_exist } => {
                let mut of_stage = buffer.chain(found.node).filter(|(of, _)| *of == stage).map(|(_, taken)| taken.moment);
                let to = if is_first { of_stage.last() } else { of_stage.next() };
                let failed = || SkipFailed(self.automaton.stages[usize::from(stage.0)].clone());
                match to {
                    None if must_exist => Err(failed()),
                    Some(to) if must_exist && to == found.begun => Err(failed()),
                    None => Ok(Prune::Nothing),
                    Some(to) => Ok(Prune::Before(to)),
                }
            }
        }
    }
}
