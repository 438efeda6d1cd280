//! State out of the store when a task starts: of the last true checkpoint, or of the one before if that one is damaged.
//!
//! The checkpoint's record says how many keys it wrote and their checksum. A store that lost its tail, or holds other bytes, is noticed here
//! and not when an answer is wrong. Falling back costs the replay of one checkpoint's commits more; commits and input are kept for that.

use tidemill_flow::Chain;
use tidemill_state::{CheckpointId, TaskId, Written};

use crate::plan::Plan;
use crate::planted::Planted;
use crate::task::drawing::Drawn;
use crate::task::input::Inputs;
use crate::task::keeping::{self, Kept};
use crate::task::machine::TaskParts;
use crate::task::record::Checkpoint;
use crate::task::recovery::Recovered;
use crate::task::restore::Restoring;
use crate::task::spilling::{Lost, spill_to};
use crate::task::time::TaskTime;

/// A task before it has state.
pub(super) struct Begun {
    pub(super) chain: Chain,
    pub(super) inputs: Inputs,
    pub(super) time: TaskTime,
}

/// Where a task begins.
pub(super) struct Loaded {
    pub(super) begun: Begun,
    pub(super) kept: Kept,
    pub(super) drawn: Drawn,
    pub(super) lost: Lost,
    /// Why it is not the last checkpoint.
    pub(super) fallback: Option<String>,
}

/// Loads what `recovered` says; where that is damaged, `recovered` says the one before afterwards.
pub(super) fn load(
    parts: &TaskParts,
    plan: &Plan,
    (task, is_followed): (&TaskId, bool),
    recovered: &mut Recovered,
    begin: impl Fn(Option<&Checkpoint>) -> Begun,
) -> Result<Loaded, String> {
    let (last, damage) =
        match load_one(parts, plan, (task, is_followed), recovered.checkpoint.as_ref(), recovered.before_id(), &begin) {
            Ok((begun, kept, drawn, lost)) => return Ok(Loaded { begun, kept, drawn, lost, fallback: None }),
            Err(damage) => (recovered.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.id), damage),
        };
    let told = format!("checkpoint {last} is damaged ({damage})");
    if !recovered.fall_back() {
        return Err(format!(
            "{told}, and there is none before it: restore a named checkpoint or a backup, or replay the pipeline"
        ));
    }
    let id = recovered.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.id);
    tracing::error!(%task, "{told}: falling back to checkpoint {id}");
    let (begun, kept, drawn, lost) =
        load_one(parts, plan, (task, is_followed), recovered.checkpoint.as_ref(), CheckpointId(id), &begin).map_err(|error| {
            format!("{told}, and so is checkpoint {id} before it ({error}): restore a named checkpoint or a backup")
        })?;
    parts.metrics.checkpoint_fallbacks.inc();
    Ok(Loaded { begun, kept, drawn, lost, fallback: Some(format!("{told}: it went on from checkpoint {id}")) })
}

fn load_one(
    parts: &TaskParts,
    plan: &Plan,
    (task, is_followed): (&TaskId, bool),
    checkpoint: Option<&Checkpoint>,
    before: CheckpointId,
    begin: impl Fn(Option<&Checkpoint>) -> Begun,
) -> Result<(Begun, Kept, Drawn, Lost), String> {
    let id = checkpoint.map_or(CheckpointId::EMPTY, |checkpoint| CheckpointId(checkpoint.id));
    let decides = parts.plants.has(Planted::StoreDecides);
    let asked = if decides { CheckpointId(u64::MAX) } else { id };
    let mut begun = begin(checkpoint);
    let lost = spill_to(&parts.store, task, plan, &mut begun.chain);
    // Rows that come need room too.
    let room = parts.state_budget.free(&task.tenant) / 2;
    let mut restoring = Restoring::new(plan, &mut begun.chain, room);
    let written = parts.store.load_each(task, asked, before, |entry| restoring.take(entry)).map_err(|error| error.to_string())?;
    let restored = restoring.finish();
    if let Some(checkpoint) = checkpoint.filter(|_| !decides) {
        intact(checkpoint, written, before < id)?;
    }
    let (own, seen) = restored?;
    let kept = keeping::restore(plan, &mut begun.chain, (&mut begun.time, &begun.inputs), &own)?;
    if parts.plants.has(Planted::TimeNotKept) {
        begun.time = TaskTime::new(plan, &begun.inputs, is_followed);
    }
    let mut drawn = Drawn::default();
    seen.into_iter().for_each(|(step, (entries, bytes))| drawn.saw(step, entries, bytes));
    Ok((begun, kept, drawn, lost))
}

/// Whether what a checkpoint wrote is there.
fn intact(checkpoint: &Checkpoint, found: Written, is_newest: bool) -> Result<(), String> {
    let said = checkpoint.written();
    // The word that keys went is cleared away once another checkpoint is behind it.
    let is_whole = found.live == said.live && found.sum == said.sum && (!is_newest || found.gone == said.gone);
    if is_whole {
        return Ok(());
    }
    Err(format!("it wrote {} keys and removed {}, the store has {} and {} of it", said.live, said.gone, found.live, found.gone))
}
