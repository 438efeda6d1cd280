//! A run that begins with a named checkpoint: beside the pipeline's own, as a replay does, with its own state and output streams. `promote`
//! puts it in the pipeline's place, `discard` forgets it; the checkpoint stays as it is.
//!
//! State is found by operator: the same component keeping the same fields by the same key. What the plan has and the checkpoint has not is
//! refused with the reason, because a step that silently begins empty gives wrong answers.

use std::collections::BTreeMap;

use serde::Serialize;
use tidemill_event::{PartitionId, PipelineName, TenantName};
use tidemill_state::{TaskId, Written};

use crate::ControlError;
use crate::checkpoints::{CheckpointName, ONLY, StoredCheckpoint};
use crate::deployed::Role;
use crate::deployments::Deployments;
use crate::pipeline::OnTrim;
use crate::plan::{Plan, PlannedSource};
use crate::stored::{Pin, StoredPipeline, StoredSource, StoredState, progress_name};
use crate::task::{Checkpoint, KEPT_FROM, begin_progress};

/// A run began with a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The run.
    pub run: u64,
    /// State of the checkpoint that no step of the plan goes on with, a line each.
    pub lost: Vec<String>,
}

/// A step that keeps state.
struct Keeper<'a> {
    operator: u32,
    what: &'a str,
    shape: &'a str,
}

impl Deployments {
    /// Starts a run beside the one there is, with the state of a checkpoint and behind the rows it had taken.
    pub(crate) fn restore_checkpoint(
        &self,
        tenant: &TenantName,
        pipeline: &PipelineName,
        name: &CheckpointName,
    ) -> Result<Restored, ControlError> {
        let _turn = self.turns.take(tenant, pipeline);
        let _changes = self.changes.lock();
        let main = self.find(tenant, pipeline)?;
        if let Some(there) = self.get_replay(tenant, pipeline) {
            let error = format!("run {} of `{pipeline}` is a replay already: promote or discard it first", there.stored.run);
            return Err(ControlError::Conflict(error));
        }
        let checkpoint = self.stored_checkpoint(tenant, pipeline, name)?;
        let plan = self.plan_stored(tenant, pipeline, &main.stored).map_err(ControlError::Conflict)?;
        self.refuse_crowd(&plan, Role::Replay).map_err(ControlError::Conflict)?;
        let (was, is) = (checkpoint.pipeline.tasks(), plan.tasks());
        if was != is {
            let error = format!("checkpoint `{name}` has the state of {was} tasks, and the plan has {is}: keys lie elsewhere");
            return Err(ControlError::Conflict(error));
        }
        if checkpoint.pipeline.stages != plan.stored_stages() {
            let error = format!("checkpoint `{name}` is of a plan whose stages hand on other columns, or by another key");
            return Err(ControlError::Conflict(error));
        }
        let (operators, lost) = matched(&checkpoint.pipeline, &main.stored)
            .map_err(|why| ControlError::Conflict(format!("checkpoint `{name}` does not fit this plan: {why}")))?;
        let sources = plan.sources.list.iter().map(|source| begins(source, &checkpoint.pipeline, &main.stored));
        let sources: Vec<StoredSource> = sources.collect::<Result<_, _>>().map_err(ControlError::Conflict)?;
        let run = self.next_run(tenant, pipeline);
        let stored = StoredPipeline {
            run,
            paused: false,
            sources,
            output_starts: Vec::new(),
            letters_from: Vec::new(),
            ..main.stored.clone()
        };
        let unavailable = |error: String| ControlError::Unavailable(error);
        // A crash from here on leaves a number that is used up, and streams that the next try takes.
        self.count_run(tenant, pipeline, run).map_err(unavailable)?;
        self.make_streams_of_run(&plan, run).map_err(|error| unavailable(error.to_string()))?;
        self.begin_run(&plan, &checkpoint, &stored, &operators).map_err(|error| {
            self.forget_state(tenant, pipeline, run, was);
            ControlError::Unavailable(error)
        })?;
        self.store(tenant, pipeline, &stored, Role::Replay, Vec::new()).map_err(unavailable)?;
        self.deploy(tenant.clone(), pipeline.clone(), stored, Ok(plan), Role::Replay, false);
        Ok(Restored { run, lost })
    }

    fn count_run(&self, tenant: &TenantName, pipeline: &PipelineName, run: u64) -> Result<(), String> {
        let counted = vec![(StoredPipeline::run_key(tenant, pipeline), Some(run.to_string().into_bytes()))];
        self.threads.log.put_documents(counted).map_err(|error| error.to_string())
    }

    /// Copies the state, and makes it the first checkpoint of the run.
    fn begin_run(
        &self,
        plan: &Plan,
        checkpoint: &StoredCheckpoint,
        stored: &StoredPipeline,
        operators: &BTreeMap<u32, Option<u32>>,
    ) -> Result<(), String> {
        let (tenant, pipeline) = (&plan.tenant, &plan.definition.name);
        let task = |run, partition| TaskId { tenant: tenant.clone(), pipeline: pipeline.clone(), run, partition };
        let mut first = Vec::new();
        for partition in (0..stored.tasks()).map(PartitionId) {
            let (mut found, mut bytes) = (Written::default(), 0);
            let changes = self.threads.store.snapshot().of_task(&task(checkpoint.state_run, partition), ONLY);
            let mapped = changes.filter_map(|change| {
                let mut change = match change {
                    Ok(change) => change,
                    Err(error) => return Some(Err(error)),
                };
                found.count(&change);
                change.operator = match operators.get(&change.operator) {
                    Some(operator) => (*operator)?,
                    // What a task keeps beside its steps; or state of a step that was gone already.
                    None if change.operator >= KEPT_FROM => change.operator,
                    None => return None,
                };
                Some(Ok(change))
            });
            let written = self.copy(&task(stored.run, partition), mapped, &mut bytes).map_err(|error| error.to_string())?;
            let said = checkpoint.written.get(partition.0 as usize).copied().unwrap_or_default();
            if said != (found.live, found.sum) {
                return Err(format!("its state is damaged: it had {} keys, the store has {} of them", said.0, found.live));
            }
            let (stage, place) = plan.stage_of(partition);
            let outer = plan.sources.of_task(place).filter(|_| stage == 0).filter_map(|(_, source, taken)| {
                let number = taken.key().partition;
                let start = stored.source(&source.input)?.starts.get(number.0 as usize)?;
                Some((plan.sources.input_name(source, number).to_string(), *start))
            });
            // Between stages everything was taken, and the run has streams of its own.
            let inner = plan.stages[stage].reads.iter().map(|inner| (inner.name(pipeline).to_string(), 0));
            let places = outer.chain(inner);
            let mut record = Checkpoint {
                run: stored.run,
                plan: stored.plan,
                id: ONLY.0,
                as_of: 0,
                state: Default::default(),
                input: places.collect(),
                totals: Default::default(),
                keys: 0,
                gone: 0,
                sum: Default::default(),
            };
            record.set_written(written);
            first.push((partition, record));
        }
        self.threads.store.sync().map_err(|error| error.to_string())?;
        let progress = self.stream(tenant, progress_name(pipeline, stored.run)).ok_or("its progress stream is gone")?;
        begin_progress(&self.threads.log, progress, first, self.threads.targets.clock.now())
    }
}

fn keepers<'a>(stored: &'a StoredPipeline) -> impl Iterator<Item = Keeper<'a>> {
    let of_component =
        |pin: &'a Pin| Some(Keeper { operator: pin.operator?, what: &pin.name, shape: pin.state_shape.as_deref()? });
    let own = |state: &'a StoredState| Keeper { operator: state.operator, what: &state.word, shape: &state.shape };
    stored.pinned.iter().filter_map(of_component).chain(stored.states.iter().map(own))
}

/// For each operator of the checkpoint, the one of the plan that goes on with its state, and what is lost. The error says which step of the
/// plan finds no state, and why.
#[expect(clippy::type_complexity, reason = "a map and what is not in it, used in one place")]
fn matched(was: &StoredPipeline, is: &StoredPipeline) -> Result<(BTreeMap<u32, Option<u32>>, Vec<String>), String> {
    let mut operators: BTreeMap<u32, Option<u32>> = keepers(was).map(|keeper| (keeper.operator, None)).collect();
    // A number that both have is the same step; only what is left is found by what it is.
    let mut wanted: Vec<Keeper<'_>> = keepers(is).collect();
    let is_same = |a: &Keeper<'_>, b: &Keeper<'_>| a.what == b.what && a.shape == b.shape;
    for by_number in [true, false] {
        wanted.retain(|keeper| {
            let free = |old: &Keeper<'_>| operators[&old.operator].is_none() && (!by_number || old.operator == keeper.operator);
            let found = keepers(was).find(|old| is_same(old, keeper) && free(old));
            let Some(old) = found else { return true };
            operators.insert(old.operator, Some(keeper.operator));
            false
        });
    }
    if let Some(missing) = wanted.first() {
        let other = keepers(was).find(|old| old.what == missing.what && operators[&old.operator].is_none());
        return Err(match other {
            Some(old) => format!("`{}` is {}, and was {}", missing.what, missing.shape, old.shape),
            None => format!("it has no state of `{}`, which is {}", missing.what, missing.shape),
        });
    }
    let lost = keepers(was).filter(|old| operators[&old.operator].is_none());
    let lost = lost.map(|old| format!("`{}`, which was {}: no step of the plan goes on with it", old.what, old.shape)).collect();
    Ok((operators, lost))
}

/// Where a source goes on: where the checkpoint left it, or where the pipeline once began to read it.
fn begins(source: &PlannedSource, was: &StoredPipeline, main: &StoredPipeline) -> Result<StoredSource, String> {
    let name = &*source.input;
    let stored = main.source(name).ok_or_else(|| format!("it is not stored where `{name}` begins"))?;
    let starts = was.source(name).map_or(&stored.starts, |was| &was.starts).clone();
    for (partition, start) in source.stream.partitions().iter().zip(&starts) {
        let (trim_point, number) = (partition.trim_point().0, partition.key().partition);
        if *start < trim_point && source.on_trim == OnTrim::Stop {
            return Err(format!(
                "rows [{start}, {trim_point}) of partition {number} of `{name}` are gone: apply the pipeline with `on_trim: skip` to go on without them"
            ));
        }
        let end = partition.end(tidemill_log::Visibility::Durable).0;
        if *start > end {
            return Err(format!(
                "partition {number} of `{name}` ends at {end}, and the checkpoint goes on at {start}: these are other rows"
            ));
        }
    }
    Ok(StoredSource { starts, ends: stored.ends.clone(), ..stored.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name/shape` of each step with state, numbered from `first`.
    fn pipeline(first: u32, steps: &str) -> StoredPipeline {
        let pin = |(at, step): (usize, &str)| {
            let (name, shape) = step.split_once('/').expect("a name and a shape");
            Pin {
                step: at as u32,
                reference: name.into(),
                name: name.into(),
                version: "1.0.0".into(),
                digest: "sha256:0".into(),
                operator: Some(first + at as u32),
                state_shape: Some(shape.into()),
                function: None,
            }
        };
        StoredPipeline {
            text: String::new(),
            plan: 1,
            run: 1,
            paused: false,
            sources: Vec::new(),
            pinned: steps.split_whitespace().enumerate().map(pin).collect(),
            gathered: false,
            stages: Vec::new(),
            states: Vec::new(),
            next_operator: 9,
            output_starts: Vec::new(),
            letters_from: Vec::new(),
        }
    }

    fn check(was: &StoredPipeline, is: &StoredPipeline) -> String {
        match matched(was, is) {
            Ok((operators, lost)) => {
                let pairs = operators.iter().filter_map(|(was, is)| Some(format!("{was}→{}", is.as_ref()?)));
                pairs.chain(lost.into_iter().map(|lost| format!("lost {lost}"))).collect::<Vec<_>>().join(" ")
            }
            Err(why) => why,
        }
    }

    #[test]
    fn state_is_found_by_what_keeps_it() {
        assert_eq!(check(&pipeline(0, "a/x b/y"), &pipeline(0, "a/x b/y")), "0→0 1→1");
        assert_eq!(check(&pipeline(0, "a/x a/x"), &pipeline(5, "a/x a/x")), "0→5 1→6");
        assert_eq!(check(&pipeline(0, "b/y a/x"), &pipeline(4, "a/x b/y")), "0→5 1→4");
        assert_eq!(check(&pipeline(0, "a/x"), &pipeline(0, "a/z")), "`a` is z, and was x");
        assert_eq!(check(&pipeline(0, "a/x"), &pipeline(0, "a/x b/y")), "it has no state of `b`, which is y");
        assert_eq!(
            check(&pipeline(0, "a/x b/y"), &pipeline(1, "b/y")),
            "1→1 lost `a`, which was x: no step of the plan goes on with it"
        );
    }
}
