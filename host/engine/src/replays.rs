//! Replays: a run beside the one there is, over rows that were taken before, with its own state and its own output streams.
//!
//! ```text
//!  replay ─► run 7 beside run 1: `matches@7`, `p.dead-letters@7`, `p.output@7`, silent, without files
//!              │                                          │
//!         promote: both up to one cut, then run 7       discard: its streams and state go
//!         writes on in `matches`, behind run 1's rows
//! ```
//! `matches` therefore has every row's outcome once: of run 1 before the cut, of run 7 from it on. What run 7 made of the rows before the
//! cut is in `matches@7`, for whoever wants to read history as it should have been: readers keep their offsets and move over when they
//! choose to. A crash before the documents are changed leaves both runs as they were.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use serde::Serialize;
use tidemill_event::{PipelineName, StreamName, TenantName};
use tidemill_log::{StreamError, Visibility};

use crate::ControlError;
use crate::deployed::{Deployed, Role};
use crate::deployments::{Deployments, STOP_WAIT};
use crate::own_streams::output_name;
use crate::pipeline::Start;
use crate::plan::{Plan, PlannedSource, PlannedTarget};
use crate::status::PipelineState;
use crate::stored::{StoredPipeline, StoredSource};

/// A replay with more rows before it than that is not promoted: both runs would stand still for too long.
const PROMOTE_LAG_MAX: u64 = 1_000_000;
/// How often it is looked whether both runs have reached the cut.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Where a replay begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayFrom(Places);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Places {
    Everywhere(Start),
    /// The others begin where the pipeline once began.
    Of(BTreeMap<String, Start>),
}

impl ReplayFrom {
    /// `"earliest"`, an RFC 3339 time, an offset, a list of one offset for each partition, or an object of such by stream. The error says
    /// what to write.
    pub fn parse(value: &serde_json::Value) -> Result<Self, String> {
        match value {
            serde_json::Value::Object(streams) => {
                let places = streams.iter().map(|(stream, value)| Ok((stream.clone(), place(value)?)));
                Ok(Self(Places::Of(places.collect::<Result<_, String>>()?)))
            }
            other => Ok(Self(Places::Everywhere(place(other)?))),
        }
    }

    fn of(&self, stream: &str) -> Option<&Start> {
        match &self.0 {
            Places::Everywhere(start) => Some(start),
            Places::Of(streams) => streams.get(stream),
        }
    }
}

fn place(value: &serde_json::Value) -> Result<Start, String> {
    let start = match value {
        serde_json::Value::String(text) => Start::parse(text),
        serde_json::Value::Number(offset) => offset.as_u64().map(|offset| Start::Offsets(vec![offset])),
        serde_json::Value::Array(offsets) => {
            offsets.iter().map(serde_json::Value::as_u64).collect::<Option<_>>().map(Start::Offsets)
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Object(_) => None,
    };
    start.ok_or_else(|| {
        format!(
            "`{value}` is no place to begin: write `earliest`, a time such as 2026-01-31T12:00:00Z, an offset, or an offset for each partition"
        )
    })
}

/// A replay was promoted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Promoted {
    /// The run that is the pipeline's now.
    pub run: u64,
    /// For each stream it writes, where its rows are.
    pub streams: Vec<MovedStream>,
}

/// Where the rows of a promoted run are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MovedStream {
    /// The pipeline's target.
    pub stream: String,
    /// Per partition, the offset from which on the promoted run writes there.
    pub from: Vec<u64>,
    /// The stream with what it made of the rows before.
    pub history: String,
}

/// A run to begin beside the pipeline's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeginReplay {
    /// Where it begins.
    pub from: ReplayFrom,
    /// What it runs: another text than the pipeline's, which need not be there at all. `None`: the pipeline's.
    pub text: Option<String>,
    /// It ends with the rows that are there now, and time does not.
    pub ends_now: bool,
}

impl From<ReplayFrom> for BeginReplay {
    /// A replay of the pipeline's own text that goes on.
    fn from(from: ReplayFrom) -> Self {
        Self { from, text: None, ends_now: false }
    }
}

impl Deployments {
    /// Starts a run beside the one there is.
    pub(crate) fn replay(&self, tenant: &TenantName, name: &PipelineName, asked: &BeginReplay) -> Result<u64, ControlError> {
        let _turn = self.turns.take(tenant, name);
        let _changes = self.changes.lock();
        let main = match (self.find(tenant, name), &asked.text) {
            (Err(ControlError::Unknown(_)), Some(_)) => None,
            (main, _) => Some(main?),
        };
        if let Some(there) = self.get_replay(tenant, name) {
            let error = format!("run {} of `{name}` is a replay already: promote or discard it first", there.stored.run);
            return Err(ControlError::Conflict(error));
        }
        let (plan, stored) = match (&asked.text, &main) {
            (Some(text), main) => self.plan_trial(tenant, name, text, main.as_deref())?,
            (None, Some(main)) => {
                let plan = self.plan_stored(tenant, name, &main.stored).map_err(ControlError::Conflict)?;
                (plan, StoredPipeline { run: self.next_run(tenant, name), ..main.stored.clone() })
            }
            (None, None) => return Err(ControlError::Unknown(name.clone())),
        };
        self.refuse_crowd(&plan, Role::Replay).map_err(ControlError::Conflict)?;
        let run = stored.run;
        let begins = |source| begin(source, asked, &stored, main.as_ref().map(|main| &main.stored));
        let sources = plan.sources.list.iter().map(begins).collect::<Result<_, _>>().map_err(ControlError::Conflict)?;
        let stored = StoredPipeline { paused: false, sources, output_starts: Vec::new(), letters_from: Vec::new(), ..stored };
        self.make_streams_of_run(&plan, run).map_err(|error| ControlError::Unavailable(error.to_string()))?;
        self.store(tenant, name, &stored, Role::Replay, Vec::new()).map_err(ControlError::Unavailable)?;
        self.deploy(tenant.clone(), name.clone(), stored, Ok(plan), Role::Replay, false);
        Ok(run)
    }

    pub(crate) fn make_streams_of_run(&self, plan: &Plan, run: u64) -> Result<(), StreamError> {
        let there = |name: &StreamName| self.stream(&plan.tenant, name.clone()).map(|stream| (*stream.definition()).clone());
        for (name, of_run) in outputs(plan, run) {
            let planned = self.planned_definition(plan, &name);
            // What files get has this plan's columns; all else goes where the pipeline's own rows would.
            let is_output = name == output_name(&plan.definition.name);
            let definition = if is_output { planned } else { there(&name).or(planned) };
            if let Some(definition) = definition {
                self.make_stream(&plan.tenant, of_run, definition)?;
            }
        }
        self.make_progress(plan, run)
    }

    /// The replay becomes the pipeline's run.
    pub(crate) fn promote(&self, tenant: &TenantName, name: &PipelineName) -> Result<Promoted, ControlError> {
        let _turn = self.turns.take(tenant, name);
        let mut changes = self.changes.lock();
        let replay = self.get_replay(tenant, name);
        let main = self.find(tenant, name).map_err(|error| match replay {
            Some(_) => ControlError::Conflict(format!("`{name}` itself is not there: discard its replay, and apply its text")),
            None => error,
        })?;
        let replay = replay.ok_or_else(|| no_replay(name))?;
        for (deployed, what) in [(&main, "the pipeline"), (&replay, "its replay")] {
            match deployed.state() {
                PipelineState::Running | PipelineState::Finished => {}
                PipelineState::Paused => return Err(ControlError::Conflict(format!("{what} is paused: resume it first"))),
                PipelineState::Held | PipelineState::Failed => {
                    let error = format!("{what} does not run: `tidemill status {name}` says why");
                    return Err(ControlError::Conflict(error));
                }
            }
        }
        let lag: u64 = replay.tasks.iter().map(|task| task.lag()).sum();
        if lag > PROMOTE_LAG_MAX {
            let error = format!("the replay has {lag} rows to take still: promote it when it has less than {PROMOTE_LAG_MAX}");
            return Err(ControlError::Conflict(error));
        }
        let stored = StoredPipeline {
            plan: main.stored.plan + 1,
            output_starts: main.stored.output_starts.clone(),
            ..replay.stored.clone()
        };
        let adopted = self.adopt_trial(&main, &replay)?;
        // That takes as long as the replay is behind; only the change itself is for everybody to wait for.
        let together = MutexGuard::unlocked(&mut changes, || self.bring_together(&main, &replay));
        let stored = StoredPipeline { letters_from: self.letters_end(tenant, name), ..stored };
        let stored = match &replay.plan {
            Ok(plan) => stored.without_ends(plan),
            Err(_) => stored,
        };
        let brought = together.and_then(|()| {
            let replaced = (StoredPipeline::replay_key(tenant, name), None);
            self.store(tenant, name, &stored, Role::Main, [adopted, vec![replaced]].concat())
        });
        let plan = match (brought, &replay.plan) {
            (Ok(()), Ok(plan)) => plan.clone(),
            (brought, _) => {
                // The documents say what they said, so both go on.
                let _ = MutexGuard::unlocked(&mut changes, || self.stop(&main).and_then(|()| self.stop(&replay)));
                if !self.is_stopping() {
                    [&main, &replay].into_iter().for_each(|deployed| self.go_on(deployed));
                }
                let why = brought.err().unwrap_or_else(|| "its plan is gone".to_owned());
                return Err(ControlError::Unavailable(why));
            }
        };
        let run = stored.run;
        let streams = self.moved(&plan, run);
        self.adopt_letters(&main, run);
        self.forget(&main);
        self.replays.write().remove(&(tenant.clone(), name.clone()));
        self.deploy(tenant.clone(), name.clone(), stored, Ok(plan), Role::Main, false);
        Ok(Promoted { run, streams })
    }

    /// Lets both runs take every row up to one cut, and none behind it. Nothing runs of either then.
    fn bring_together(&self, main: &Arc<Deployed>, replay: &Arc<Deployed>) -> Result<(), String> {
        self.stop(main)?;
        self.stop(replay)?;
        let mut cut: BTreeMap<(String, u32), u64> = BTreeMap::new();
        for (place, offset) in main.places().into_iter().chain(replay.places()) {
            let end = cut.entry(place).or_default();
            *end = (*end).max(offset);
        }
        for deployed in [main, replay] {
            let Ok(plan) = &deployed.plan else { return Err("it has no plan".to_owned()) };
            let stored = StoredPipeline { sources: ended(&deployed.stored.sources, &cut), ..deployed.stored.clone() };
            self.deploy(deployed.tenant.clone(), deployed.name.clone(), stored, Ok(plan.clone()), deployed.role, false);
        }
        let until = Instant::now() + STOP_WAIT;
        let key = (&main.tenant, &main.name);
        loop {
            let both = [self.get(key.0, key.1), self.get_replay(key.0, key.1)];
            let states: Vec<PipelineState> = both.iter().flatten().map(|deployed| deployed.state()).collect();
            if states == [PipelineState::Finished; 2] {
                // Files and standard output have what there is; nobody listens any more.
                return both.iter().flatten().try_for_each(|deployed| self.stop(deployed));
            }
            if states.len() < 2 || states.contains(&PipelineState::Failed) || states.contains(&PipelineState::Held) {
                return Err("one of the two runs stopped on the way to the cut: both go on as before".to_owned());
            }
            if self.is_stopping() {
                return Err("the host is stopping".to_owned());
            }
            if Instant::now() > until {
                return Err("the two runs did not come together in a minute: both go on as before, try again".to_owned());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn moved(&self, plan: &Plan, run: u64) -> Vec<MovedStream> {
        let targets = plan.targets.iter().filter_map(|target| match target {
            PlannedTarget::Stream { name, .. } => Some(name),
            PlannedTarget::File(_) | PlannedTarget::Webhook(_) | PlannedTarget::Stdout => None,
        });
        let moved = targets.filter_map(|name| {
            let stream = self.stream(&plan.tenant, name.clone())?;
            let from = stream.partitions().iter().map(|partition| partition.end(Visibility::Durable).0).collect();
            Some(MovedStream { stream: name.to_string(), from, history: name.of_run(run).to_string() })
        });
        moved.collect()
    }

    /// Ends a replay and forgets it.
    pub(crate) fn discard(&self, tenant: &TenantName, name: &PipelineName) -> Result<(), ControlError> {
        let _turn = self.turns.take(tenant, name);
        let mut changes = self.changes.lock();
        let main = self.find(tenant, name);
        let replay = self.get_replay(tenant, name).ok_or_else(|| main.err().unwrap_or_else(|| no_replay(name)))?;
        self.end_replay(&mut changes, &replay).map_err(ControlError::Unavailable)
    }

    pub(crate) fn end_replay(&self, changes: &mut MutexGuard<'_, ()>, replay: &Deployed) -> Result<(), String> {
        let (tenant, name) = (&replay.tenant, &replay.name);
        self.stop_aside(changes, replay)?;
        let removed = vec![(StoredPipeline::replay_key(tenant, name), None)];
        self.threads.log.put_documents(removed).map_err(|error| error.to_string())?;
        self.forget(replay);
        self.replays.write().remove(&(tenant.clone(), name.clone()));
        if let Ok(plan) = &replay.plan {
            outputs(plan, replay.stored.run).into_iter().for_each(|(_, of_run)| self.drop_stream(tenant, of_run));
        }
        Ok(())
    }
}

/// The streams a plan writes, each with its name in a run that is a replay.
pub(crate) fn outputs(plan: &Plan, run: u64) -> Vec<(StreamName, StreamName)> {
    let mut streams: Vec<StreamName> = plan
        .targets
        .iter()
        .filter_map(|target| match target {
            PlannedTarget::Stream { name, .. } => Some(name.clone()),
            PlannedTarget::File(_) | PlannedTarget::Webhook(_) | PlannedTarget::Stdout => None,
        })
        .collect();
    streams.extend(plan.own_streams().map(|own| own.name(&plan.definition.name)));
    if plan.has_sinks() {
        streams.push(output_name(&plan.definition.name));
    }
    streams.into_iter().map(|stream| (stream.clone(), stream.of_run(run))).collect()
}

/// Where a run beside `main` begins in a source, and where it ends.
fn begin(
    source: &PlannedSource,
    asked: &BeginReplay,
    stored: &StoredPipeline,
    main: Option<&StoredPipeline>,
) -> Result<StoredSource, String> {
    let own = stored.source(&source.input).ok_or_else(|| format!("it is not stored where `{}` begins", source.name()))?;
    let before = main.and_then(|main| main.source(&source.input)).unwrap_or(own);
    let partitions = source.stream.partitions();
    let starts = match asked.from.of(source.name()) {
        None => partitions.iter().zip(&before.starts).map(|(partition, start)| (*start).max(partition.trim_point().0)).collect(),
        Some(start) => {
            if let Start::Offsets(offsets) = start
                && let Some(wrong) = source.misplaced(offsets)
            {
                return Err(wrong);
            }
            source.places(start).map_err(|error| format!("`{}`: {error}", source.name()))?
        }
    };
    let ends = if asked.ends_now { Some(source.ends()) } else { own.ends.clone() };
    Ok(StoredSource { starts, ends, ..own.clone() })
}

fn ended(sources: &[StoredSource], cut: &BTreeMap<(String, u32), u64>) -> Vec<StoredSource> {
    let ends = |source: &StoredSource| {
        let end =
            |(partition, start): (usize, &u64)| cut.get(&(source.stream.clone(), partition as u32)).copied().unwrap_or(*start);
        source.starts.iter().enumerate().map(end).collect()
    };
    sources.iter().map(|source| StoredSource { ends: Some(ends(source)), ..source.clone() }).collect()
}

fn no_replay(name: &PipelineName) -> ControlError {
    ControlError::Conflict(format!("`{name}` has no replay: begin one with `tidemill replay {name} --from earliest`"))
}
