//! Dead letters that are sent through again: those of a step by the task that had them, those of a target by its sink.
//!
//! ```text
//! chosen ─► reason ─┬─ refused_by_target ─► the sink of that target and partition: it sends them once more
//!                   └─ any other ─────────► the task of that partition: they wait before their step, due at once
//! ```
//! Whoever takes a letter notes that on disk before the answer, so each goes once unless somebody insists.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;
use serde_json::Value;
use tidemill_event::{Offset, PipelineName, Reason, TenantName};

use crate::ControlError;
use crate::dead_letters::{DeadLetterChoice, DeadLetterId, DeadLetterQuery, RefusedLetter, ReplayedLetters};
use crate::deployed::Deployed;
use crate::deployments::Deployments;
use crate::status::PipelineState;
use crate::task::TaskShared;

/// Dead letters that one request replays; ask again for more.
const REPLAYED_MAX: usize = 10_000;
/// How long a replay waits for its tasks.
const REPLAY_WAIT: Duration = Duration::from_secs(30);

/// Letters by whoever is to take them.
#[derive(Default)]
struct Sorted {
    /// By the step they failed in, and the partition of what its stage reads.
    of_tasks: BTreeMap<(String, u32), Vec<DeadLetterId>>,
    /// By target and partition; each letter with the size of its row.
    of_sinks: BTreeMap<(String, u32), Vec<(DeadLetterId, u64)>>,
    missing: Vec<DeadLetterId>,
}

impl Deployments {
    /// Has dead letters taken again. Blocking until that is on disk.
    pub(crate) fn replay_letters(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        choice: DeadLetterChoice,
        force: bool,
    ) -> Result<ReplayedLetters, ControlError> {
        let deployed = self.find(tenant, name)?;
        let conflict = || ControlError::Conflict(format!("`{name}` is not running: resume it, then replay"));
        // What is paused has no sinks that run; a `once` that is through has no tasks, and its sinks still listen.
        if deployed.stored.paused || deployed.plan.is_err() {
            return Err(conflict());
        }
        let Sorted { of_tasks, of_sinks, missing } = sorted(self.chosen(&deployed, choice, force)?);
        if !of_tasks.is_empty() && !matches!(deployed.state(), PipelineState::Running | PipelineState::Held) {
            return Err(conflict());
        }
        let refused = |ids: Vec<DeadLetterId>, why: &str| {
            ids.into_iter().map(|id| RefusedLetter { id, why: why.to_owned() }).collect::<Vec<_>>()
        };
        let mut answer = ReplayedLetters { replayed: 0, refused: refused(missing, "there is no such dead letter") };
        for ((step, partition), ids) in of_tasks {
            let task = deployed.plan.as_ref().map_or(partition, |plan| plan.task_with(&step, partition));
            // One task that takes all partitions has the letters of all.
            let is_its = |shared: &&Arc<TaskShared>| deployed.stored.gathered || shared.id.partition.0 == task;
            let Some(shared) = deployed.tasks.iter().find(is_its) else {
                answer.refused.extend(refused(ids, "the pipeline has no task for its partition any more"));
                continue;
            };
            let (done, told) = bounded(1);
            self.threads.workers.replay(&shared.id, ids, force, done);
            let gone = || ControlError::Unavailable("its task did not answer: ask for its status, then try again".to_owned());
            answer.add(told.recv_timeout(REPLAY_WAIT).map_err(|_| gone())?.map_err(ControlError::Unavailable)?);
        }
        for ((target, partition), letters) in of_sinks {
            answer.add(self.send_again(&deployed, &target, partition, letters, force)?);
        }
        answer.refused.sort_by_key(|refused| refused.id);
        Ok(answer)
    }

    fn send_again(
        &self,
        deployed: &Deployed,
        target: &str,
        partition: u32,
        letters: Vec<(DeadLetterId, u64)>,
        force: bool,
    ) -> Result<ReplayedLetters, ControlError> {
        let sink = deployed.sinks.iter().find(|sink| sink.target == target && sink.partition.key().partition.0 == partition);
        let Some(receiver) = sink.and_then(|sink| sink.receiver.as_ref()) else {
            let why = format!("the pipeline has no such target any more ({target})");
            let refused = letters.into_iter().map(|(id, _)| RefusedLetter { id, why: why.clone() }).collect();
            return Ok(ReplayedLetters { replayed: 0, refused });
        };
        let letters: Vec<(Offset, u64)> = letters.into_iter().map(|(id, bytes)| (id.offset, bytes)).collect();
        let taken = receiver.again.ask(&letters, receiver.bounds, force);
        let taken = taken.map_err(|error| ControlError::Unavailable(error.to_string()))?;
        self.threads.sinks.wake(&deployed.tenant, &deployed.name, target);
        Ok(taken)
    }

    fn chosen(
        &self,
        deployed: &Deployed,
        choice: DeadLetterChoice,
        force: bool,
    ) -> Result<Vec<(DeadLetterId, Option<Value>)>, ControlError> {
        let (tenant, name) = (&deployed.tenant, &deployed.name);
        let letters = match choice {
            DeadLetterChoice::Ids(mut ids) => {
                ids.sort_unstable();
                ids.dedup();
                ids.truncate(REPLAYED_MAX);
                ids.into_iter().map(|id| Ok((id, self.dead_letter(tenant, name, id)?))).collect::<Result<_, _>>()?
            }
            DeadLetterChoice::Query(query) => {
                let limit = query.limit.unwrap_or(REPLAYED_MAX).min(REPLAYED_MAX);
                // Asked for in bulk, those that were replayed are not meant.
                let query = DeadLetterQuery { limit: Some(limit), open: query.open || !force, ..query };
                let letters = self.dead_letters(tenant, name, &query)?;
                // Nor those of a run before this one, unless a target refused them: that goes on through all runs.
                let is_meant = |id: &DeadLetterId, letter: &Value| {
                    let from = deployed.stored.letters_from.get(id.partition.0 as usize).copied().unwrap_or(0);
                    force || id.offset.0 >= from || letter["reason"] == Reason::RefusedByTarget.as_str()
                };
                let with_id = |letter: Value| Some((letter["id"].as_str()?.parse::<DeadLetterId>().ok()?, letter));
                let letters = letters.into_iter().filter_map(with_id).filter(|(id, letter)| is_meant(id, letter));
                letters.map(|(id, letter)| (id, Some(letter))).collect()
            }
        };
        Ok(letters)
    }
}

impl ReplayedLetters {
    fn add(&mut self, other: Self) {
        self.replayed += other.replayed;
        self.refused.extend(other.refused);
    }
}

fn sorted(letters: Vec<(DeadLetterId, Option<Value>)>) -> Sorted {
    let mut sorted = Sorted::default();
    for (id, letter) in letters {
        let Some((partition, letter)) = letter.as_ref().and_then(|letter| Some((letter.get("partition")?.as_u64()?, letter)))
        else {
            sorted.missing.push(id);
            continue;
        };
        let partition = u32::try_from(partition).unwrap_or(u32::MAX);
        if letter["reason"] == Reason::RefusedByTarget.as_str() {
            let target = letter["step"].as_str().unwrap_or_default().to_owned();
            // As the line of a request has it, about.
            let bytes = letter["event"].to_string().len() as u64 + 1;
            sorted.of_sinks.entry((target, partition)).or_default().push((id, bytes));
        } else {
            let step = letter["step"].as_str().unwrap_or_default().to_owned();
            sorted.of_tasks.entry((step, partition)).or_default().push(id);
        }
    }
    sorted
}
