//! State out of the store when a task starts: of the last true checkpoint, or of the one before if that one is damaged.
//!
//! The checkpoint's record says how many keys it wrote and their checksum. A store that lost its tail, or holds other bytes, is noticed here
//! and not when an answer is wrong. Falling back costs the replay of one checkpoint's commits more; commits and input are kept for that.

use tidemill_flow::Chain;
use tidemill_state::{CheckpointId, Cold, StateError, StateStore, TaskId, Written};

use crate::plan::Plan;
use crate::planted::Planted;
use crate::task::drawing::Drawn;
use crate::task::input::Inputs;
use crate::task::keeping::{self, KEPT_FROM, Kept};
use crate::task::listing::Listing;
use crate::task::machine::TaskParts;
use crate::task::record::Checkpoint;
use crate::task::recovery::Recovered;
use crate::task::restore::Restoring;
use crate::task::spilling::{Lost, Sees, spill_to};
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
    /// What it has not read of its state.
    pub(super) listing: Option<Listing>,
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
            Ok(loaded) => return Ok(loaded),
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
    let loaded =
        load_one(parts, plan, (task, is_followed), recovered.checkpoint.as_ref(), CheckpointId(id), &begin).map_err(|error| {
            format!("{told}, and so is checkpoint {id} before it ({error}): restore a named checkpoint or a backup")
        })?;
    parts.metrics.checkpoint_fallbacks.inc();
    Ok(Loaded { fallback: Some(format!("{told}: it went on from checkpoint {id}")), ..loaded })
}

fn load_one(
    parts: &TaskParts,
    plan: &Plan,
    (task, is_followed): (&TaskId, bool),
    checkpoint: Option<&Checkpoint>,
    before: CheckpointId,
    begin: impl Fn(Option<&Checkpoint>) -> Begun,
) -> Result<Loaded, String> {
    let id = checkpoint.map_or(CheckpointId::EMPTY, |checkpoint| CheckpointId(checkpoint.id));
    let decides = parts.plants.has(Planted::StoreDecides);
    let asked = if decides { CheckpointId(u64::MAX) } else { id };
    let mut begun = begin(checkpoint);
    let sees = Sees::up_to(asked);
    let lost = spill_to(&parts.store, task, &sees, plan, &mut begun.chain);
    // Rows that come need room too.
    let room = parts.state_budget.free(&task.tenant) / 2;
    let mut restoring = Restoring::new(plan, &mut begun.chain, room);
    let mut loading = parts.store.loading(task, asked, before);
    let failed = |error: StateError| error.to_string();
    let mut listing = None;
    let has_all = loading.some(parts.listed_at_once, |entry| restoring.take(entry)).map_err(failed)?;
    let can_wait = !has_all && !decides && !parts.suspects.has(task) && is_sealed(&parts.store, task, id).map_err(failed)?;
    if can_wait && restoring.list_later() {
        restoring.own = parts.store.read_from(task, KEPT_FROM, asked).map_err(failed)?;
        listing = Some(Listing::new(loading, checkpoint.cloned(), before < id, sees));
    } else {
        if !has_all {
            loading.some(usize::MAX, |entry| restoring.take(entry)).map_err(failed)?;
        }
        let written = loading.finish().map_err(failed)?;
        sees.everything();
        if let Some(checkpoint) = checkpoint.filter(|_| !decides) {
            intact(checkpoint, written, before < id)?;
        }
    }
    let (own, seen) = restoring.finish()?;
    let kept = keeping::restore(plan, &mut begun.chain, (&mut begun.time, &begun.inputs), &own)?;
    if parts.plants.has(Planted::TimeNotKept) {
        begun.time = TaskTime::new(plan, &begun.inputs, is_followed);
    }
    let mut drawn = Drawn::default();
    seen.into_iter().for_each(|(step, (entries, bytes))| drawn.saw(step, entries, bytes));
    Ok(Loaded { begun, kept, drawn, lost, listing, fallback: None })
}

/// Whether the store has the last thing that a checkpoint writes, its task's time: then it did not lose its tail, and is no older one.
fn is_sealed(store: &StateStore, task: &TaskId, checkpoint: CheckpointId) -> Result<bool, StateError> {
    Ok(Cold::new(store.clone(), task, keeping::TIME).get(&[], checkpoint)?.is_some())
}

/// Whether what a checkpoint wrote is there.
pub(super) fn intact(checkpoint: &Checkpoint, found: Written, is_newest: bool) -> Result<(), String> {
    let said = checkpoint.written();
    // The word that keys went is cleared away once another checkpoint is behind it.
    let is_whole = found.live == said.live && found.sum == said.sum && (!is_newest || found.gone == said.gone);
    if is_whole {
        return Ok(());
    }
    Err(format!("it wrote {} keys and removed {}, the store has {} and {} of it", said.live, said.gone, found.live, found.gone))
}
