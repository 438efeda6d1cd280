//! Everything that is applied: started from the log's documents, stopped, paused, resumed, deleted. One change at a time.
//!
//! What counts is the document: a crash before it is changed leaves what was, a crash behind it what shall be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use parking_lot::{Mutex, RwLock};
use tidemill_event::{Offset, PartitionId, PipelineName, StreamId, StreamName, TenantName};
use tidemill_log::{Hold, Stream};
use tidemill_state::TaskId;

use crate::deployed::{Deployed, Role};
use crate::engine::Threads;
use crate::logs::PipelineLogs;
use crate::own_streams::{OwnStream, output_name};
use crate::pipeline::{PipelineDefinition, parse};
use crate::plan::{Catalog, Graph, Pinning, Plan, PlannedTarget, check};
use crate::sinks::{SinkShared, mark_prefix, start_sinks};
use crate::status::{PipelineState, Status};
use crate::stored::{REPLAYS, StoredPipeline, progress_name};
use crate::task::{InputSeed, Neighbours, TaskSeed, TaskShared, TaskState};
use crate::turns::Turns;
use crate::{Components, ControlError, Fault, Tables};

/// How long a change waits for the checkpoints of the tasks before it. Nothing is changed if it is not enough.
pub(crate) const STOP_WAIT: Duration = Duration::from_secs(60);

type Key = (TenantName, PipelineName);

/// Everything that is applied.
pub(crate) struct Deployments {
    pub(crate) threads: Arc<Threads>,
    components: Components,
    pub(crate) tables: Tables,
    /// Held while the catalog is looked at and changed; see `turns.rs`.
    pub(crate) changes: Arc<Mutex<()>>,
    pub(crate) turns: Turns,
    deployed: RwLock<BTreeMap<Key, Arc<Deployed>>>,
    /// Runs beside them.
    pub(crate) replays: RwLock<BTreeMap<Key, Arc<Deployed>>>,
    /// What named checkpoints need of their inputs, by the key of their document.
    pub(crate) checkpoint_holds: Mutex<BTreeMap<String, Vec<Hold>>>,
    /// Everything stored was started: what it needs of its streams is held.
    pub(crate) started: AtomicBool,
}

impl Deployments {
    pub(crate) fn new(threads: Arc<Threads>, components: Components, tables: Tables, changes: Arc<Mutex<()>>) -> Self {
        Self {
            threads,
            components,
            tables,
            changes,
            turns: Turns::default(),
            deployed: RwLock::default(),
            replays: RwLock::default(),
            checkpoint_holds: Mutex::default(),
            started: AtomicBool::new(false),
        }
    }

    /// All, by tenant and name.
    pub(crate) fn all(&self) -> Vec<Arc<Deployed>> {
        self.deployed.read().values().cloned().collect()
    }

    /// Everything that has tasks: pipelines, and the replays beside them.
    pub(crate) fn runs(&self) -> Vec<Arc<Deployed>> {
        self.all().into_iter().chain(self.replays.read().values().cloned()).collect()
    }

    pub(crate) fn get_replay(&self, tenant: &TenantName, name: &PipelineName) -> Option<Arc<Deployed>> {
        self.replays.read().get(&(tenant.clone(), name.clone())).cloned()
    }

    pub(crate) fn get(&self, tenant: &TenantName, name: &PipelineName) -> Option<Arc<Deployed>> {
        self.deployed.read().get(&(tenant.clone(), name.clone())).cloned()
    }

    pub(crate) fn put(&self, deployed: Deployed) {
        let runs = match deployed.role {
            Role::Main => &self.deployed,
            Role::Replay => &self.replays,
        };
        runs.write().insert((deployed.tenant.clone(), deployed.name.clone()), Arc::new(deployed));
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.threads.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn status(&self, tenant: &TenantName, name: &PipelineName) -> Option<Status> {
        let replay = self.get_replay(tenant, name);
        self.get(tenant, name).map(|deployed| deployed.status(replay.as_deref(), self.threads.targets.clock.now()))
    }

    /// Starts what the log knows of.
    pub(crate) fn start_stored(&self) {
        let _changes = self.changes.lock();
        self.tables.open_kept();
        let stored = |prefix, role| self.threads.log.documents(prefix).into_iter().map(move |(key, bytes)| (key, bytes, role));
        for (key, bytes, role) in stored("pipeline/", Role::Main).chain(stored(REPLAYS, Role::Replay)) {
            let mut parts = key.splitn(3, '/').skip(1);
            let names = (|| Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?)))();
            let Some((tenant, name)): Option<Key> = names else { continue };
            match StoredPipeline::read(&bytes) {
                Ok(stored) => {
                    let plan = self.plan_stored(&tenant, &name, &stored);
                    self.deploy(tenant, name, stored, plan, role, false);
                }
                Err(error) => tracing::error!(key, "a stored pipeline cannot be read: {error}"),
            }
        }
        self.hold_for_stored_checkpoints();
        self.started.store(true, Ordering::Release);
    }

    pub(crate) fn plan_stored(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        stored: &StoredPipeline,
    ) -> Result<Arc<Plan>, String> {
        let said = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let definition = parse(name, &stored.text).map_err(said)?;
        // Cycles were refused when it was applied; whoever applied later was checked against it.
        let plan = self.check(tenant, definition, None, Pinning::As(stored), &Graph::new()).map_err(said)?;
        Ok(Arc::new(plan))
    }

    pub(crate) fn check(
        &self,
        tenant: &TenantName,
        definition: PipelineDefinition,
        gap: Option<usize>,
        pinning: Pinning<'_>,
        graph: &Graph,
    ) -> Result<Plan, Vec<Fault>> {
        let catalog = Catalog {
            tenant,
            log: &self.threads.log,
            runtime: &self.threads.runtime,
            components: &self.components,
            tables: &self.tables,
            grants: &self.threads.grants,
            targets: &self.threads.targets,
            graph,
        };
        check(definition, gap, &catalog, pinning)
    }

    pub(crate) fn stream(&self, tenant: &TenantName, name: StreamName) -> Option<Arc<Stream>> {
        self.threads.log.stream(&StreamId::new(tenant.clone(), name))
    }

    pub(crate) fn output(&self, plan: &Plan) -> Option<Arc<Stream>> {
        plan.has_sinks().then(|| self.stream(&plan.tenant, output_name(&plan.definition.name))).flatten()
    }

    /// Puts a pipeline into the catalog and starts its tasks and sinks unless it is paused.
    pub(crate) fn deploy(
        &self,
        tenant: TenantName,
        name: PipelineName,
        stored: StoredPipeline,
        plan: Result<Arc<Plan>, String>,
        role: Role,
        accept_divergence: bool,
    ) {
        let before = match role {
            Role::Main => self.get(&tenant, &name),
            Role::Replay => self.get_replay(&tenant, &name),
        };
        let new_logs = || Arc::new(PipelineLogs::new((self.threads.targets.random)()));
        let logs = before.as_ref().map_or_else(new_logs, |before| before.logs.clone());
        let started = match &plan {
            Ok(plan) if !stored.paused => self.start(plan, &stored, role, &logs, before.as_deref(), accept_divergence),
            Ok(_) => Ok((Vec::new(), Vec::new())),
            Err(error) => Err(error.clone()),
        };
        match started {
            Ok((tasks, sinks)) => self.put(Deployed { tenant, name, role, stored, logs, plan, tasks, sinks }),
            Err(error) => {
                tracing::error!(pipeline = %name, "pipeline does not start: {error}");
                let (tasks, sinks) = (Vec::new(), Vec::new());
                self.put(Deployed { tenant, name, role, stored, logs, plan: Err(error), tasks, sinks });
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "tasks and sinks of one pipeline, used in one place")]
    fn start(
        &self,
        plan: &Arc<Plan>,
        stored: &StoredPipeline,
        role: Role,
        logs: &Arc<PipelineLogs>,
        before: Option<&Deployed>,
        accept_divergence: bool,
    ) -> Result<(Vec<Arc<TaskShared>>, Vec<Arc<SinkShared>>), String> {
        let found = |stream: StreamName| {
            self.stream(&plan.tenant, stream.clone())
                .ok_or_else(|| format!("the stream `{stream}` is gone: apply the pipeline again"))
        };
        let progress = found(progress_name(&plan.definition.name, stored.run))?;
        let output = |stream: StreamName| found(role.output(stream, stored.run));
        let own = |own: OwnStream| output(own.name(&plan.definition.name));
        let if_written = |wanted: OwnStream| plan.own_streams().find(|there| *there == wanted).map(own).transpose();
        let dead_letters = own(OwnStream::DeadLetters)?;
        let (late, alerts) = (if_written(OwnStream::Late)?, if_written(OwnStream::Alerts)?);
        let matches = if_written(OwnStream::Matches)?;
        let mut outputs = Vec::new();
        for target in &plan.targets {
            if let PlannedTarget::Stream { name, of, .. } = target {
                outputs.push((output(name.clone())?, of.clone()));
            }
        }
        let output = if plan.has_sinks() { Some(output(output_name(&plan.definition.name))?) } else { None };
        outputs.extend(output.clone().map(|output| (output, None)));
        let letters_at = |task: PartitionId| task.0 as usize % dead_letters.partitions().len();
        let letters_from = |task: PartitionId| stored.letters_from.get(letters_at(task)).copied().unwrap_or(0);
        let mut stages = Vec::new();
        for number in 0..plan.stages.len() {
            let tasks = plan.tasks_of(number).map(PartitionId).map(|task| {
                let place = plan.stage_of(task);
                let inputs = self.inputs(plan, stored, place)?;
                let task_before = before.and_then(|before| before.tasks.iter().find(|other| other.id.partition == task));
                let worked = task_before.map(|task| task.worked(plan)).unwrap_or_default();
                let shared = TaskShared::new(task_id(plan, stored.run, task), place, &inputs, worked);
                Ok((Arc::new(shared), inputs))
            });
            stages.push(tasks.collect::<Result<Vec<_>, String>>()?);
        }
        let shared: Vec<Vec<Arc<TaskShared>>> =
            stages.iter().map(|tasks| tasks.iter().map(|(shared, _)| shared.clone()).collect()).collect();
        Neighbours::link(&shared);
        for (number, tasks) in stages.into_iter().enumerate() {
            let is_last = number + 1 == plan.stages.len();
            let reads = plan.stages.get(number + 1).map_or(&[][..], |next| &next.reads);
            let next = reads.iter().map(|inner| {
                let name = inner.stream(&plan.definition.name, stored.run);
                Ok((found(name)?, inner.clone()))
            });
            let next: Vec<_> = next.collect::<Result<_, String>>()?;
            for (shared, inputs) in tasks {
                self.threads.workers.start_task(TaskSeed {
                    plan: plan.clone(),
                    plan_number: stored.plan,
                    letters_from: Offset(letters_from(shared.id.partition)),
                    shared,
                    progress: progress.clone(),
                    dead_letters: dead_letters.clone(),
                    late: late.clone(),
                    alerts: alerts.clone(),
                    matches: matches.clone(),
                    // A stage before the last one writes only what its steps give to outputs of their own.
                    outputs: outputs.iter().filter(|(_, of)| is_last || of.is_some()).cloned().collect(),
                    next: next.clone(),
                    inputs,
                    logs: (role == Role::Main).then(|| logs.clone()),
                    accept_divergence,
                });
            }
        }
        let tasks: Vec<Arc<TaskShared>> = shared.into_iter().flatten().collect();
        // Nothing of a replay leaves the host.
        let sinks = output.filter(|_| role == Role::Main).map_or_else(Vec::new, |output| {
            start_sinks(&self.threads.sinks, &self.threads.targets, plan, stored, (&output, &dead_letters), &tasks)
        });
        for sink in &sinks {
            let same = before.and_then(|before| before.sinks.iter().find(|there| there.is_same(sink)));
            same.inspect(|same| sink.go_on_from(same));
        }
        Ok((tasks, sinks))
    }

    /// What one task takes, by its stage and its place in that.
    fn inputs(
        &self,
        plan: &Plan,
        stored: &StoredPipeline,
        (stage, place): (usize, PartitionId),
    ) -> Result<Vec<InputSeed>, String> {
        if stage > 0 {
            let pipeline = &plan.definition.name;
            let writers = plan.stages[stage - 1].tasks;
            let reads = plan.stages[stage].reads.iter().enumerate().map(|(number, inner)| {
                let name = inner.stream(pipeline, stored.run);
                let gone = || format!("the stream `{name}` is gone: apply the pipeline again");
                let stream = self.stream(&plan.tenant, name.clone()).ok_or_else(gone)?;
                let partition = stream.partition(place).ok_or_else(gone)?.clone();
                let name = inner.name(pipeline).as_str().into();
                Ok(InputSeed { name, number, writers, partition, start: Offset(0), end: None, since: 0 })
            });
            return reads.collect();
        }
        plan.sources
            .of_task(place)
            .map(|(number, source, partition)| {
                let name = &*source.input;
                let number_of = partition.key().partition;
                let place = |offsets: &[u64]| Offset(offsets.get(number_of.0 as usize).copied().unwrap_or(0));
                let stored =
                    stored.source(name).ok_or_else(|| format!("it is not stored where `{name}` begins: apply it again"))?;
                Ok(InputSeed {
                    name: plan.sources.input_name(source, number_of),
                    number,
                    writers: 0,
                    partition: partition.clone(),
                    start: place(&stored.starts),
                    end: stored.ends.as_deref().map(place),
                    since: stored.since,
                })
            })
            .collect()
    }

    /// Ends its tasks behind a checkpoint, and its sinks behind what is on disk. The error leaves nothing running.
    pub(crate) fn stop(&self, deployed: &Deployed) -> Result<(), String> {
        let (done, told) = bounded(deployed.tasks.len().max(1));
        for task in &deployed.tasks {
            self.threads.workers.stop_task(&task.id, done.clone());
        }
        drop(done);
        for _ in &deployed.tasks {
            // Disconnected: a checkpoint failed, and its task says why. The last true one stands, and the next tasks begin there.
            if told.recv_timeout(STOP_WAIT) == Err(RecvTimeoutError::Timeout) {
                return Err("the tasks of the plan before did not stop in a minute: try again".to_owned());
            }
        }
        if !deployed.sinks.is_empty() {
            let ended = self.threads.sinks.stop(&deployed.tenant, &deployed.name).wait(Instant::now() + STOP_WAIT);
            if !ended {
                return Err("a sink of the plan before did not stop in a minute: try again".to_owned());
            }
        }
        Ok(())
    }

    /// State of a run that nobody will ask for again.
    pub(crate) fn forget(&self, deployed: &Deployed) {
        // By number, not by task: one that was paused through a restart has none.
        for partition in 0..deployed.stored.tasks() {
            let task = TaskId {
                tenant: deployed.tenant.clone(),
                pipeline: deployed.name.clone(),
                run: deployed.stored.run,
                partition: PartitionId(partition),
            };
            if let Err(error) = self.threads.store.forget(&task) {
                tracing::warn!(%task, "old state is not cleared away: {error}");
            }
        }
        self.drop_stream(&deployed.tenant, progress_name(&deployed.name, deployed.stored.run));
        for inner in deployed.stored.inner_streams(&deployed.name) {
            self.drop_stream(&deployed.tenant, inner);
        }
    }

    pub(crate) fn find(&self, tenant: &TenantName, name: &PipelineName) -> Result<Arc<Deployed>, ControlError> {
        if self.is_stopping() {
            return Err(ControlError::Unavailable("the host is stopping".to_owned()));
        }
        self.get(tenant, name).ok_or_else(|| ControlError::Unknown(name.clone()))
    }

    pub(crate) fn pause(&self, tenant: &TenantName, name: &PipelineName) -> Result<(), ControlError> {
        let _turn = self.turns.take(tenant, name);
        let mut changes = self.changes.lock();
        let deployed = self.find(tenant, name)?;
        if deployed.state() == PipelineState::Finished {
            return Err(ControlError::Conflict(format!("`{name}` is finished: there is nothing to pause")));
        }
        if deployed.stored.paused {
            return Ok(());
        }
        let stored = StoredPipeline { paused: true, ..deployed.stored.clone() };
        self.stop_aside(&mut changes, &deployed).map_err(ControlError::Unavailable)?;
        self.store(tenant, name, &stored, Role::Main, Vec::new()).map_err(|error| {
            self.go_on(&deployed);
            ControlError::Unavailable(error)
        })?;
        let plan = deployed.plan.as_ref().map(Arc::clone).map_err(Clone::clone);
        // The tasks that ended stay to be looked at.
        let (logs, tasks, sinks) = (deployed.logs.clone(), deployed.tasks.clone(), deployed.sinks.clone());
        self.put(Deployed { tenant: tenant.clone(), name: name.clone(), role: Role::Main, stored, logs, plan, tasks, sinks });
        Ok(())
    }

    pub(crate) fn resume(&self, tenant: &TenantName, name: &PipelineName) -> Result<(), ControlError> {
        let _turn = self.turns.take(tenant, name);
        let mut changes = self.changes.lock();
        let deployed = self.find(tenant, name)?;
        let state = deployed.state();
        match state {
            PipelineState::Running => return Ok(()),
            PipelineState::Finished => {
                return Err(ControlError::Conflict(format!("`{name}` is finished: apply it again for a new run")));
            }
            PipelineState::Paused | PipelineState::Held | PipelineState::Failed => {}
        }
        // A pipeline with one task that failed has others that run: all begin again together.
        self.stop_aside(&mut changes, &deployed).map_err(ControlError::Unavailable)?;
        let stored = StoredPipeline { paused: false, ..deployed.stored.clone() };
        self.store(tenant, name, &stored, Role::Main, Vec::new()).map_err(ControlError::Unavailable)?;
        let plan = self.plan_stored(tenant, name, &stored);
        self.deploy(tenant.clone(), name.clone(), stored, plan, Role::Main, state == PipelineState::Held);
        Ok(())
    }

    pub(crate) fn delete(&self, tenant: &TenantName, name: &PipelineName) -> Result<(), ControlError> {
        let _turn = self.turns.take(tenant, name);
        let mut changes = self.changes.lock();
        let deployed = self.find(tenant, name)?;
        if let Some(replay) = self.get_replay(tenant, name) {
            self.end_replay(&mut changes, &replay).map_err(ControlError::Unavailable)?;
        }
        // Before the documents go: until then its streams and folders are its own, and nobody else may write there.
        self.stop_aside(&mut changes, &deployed).map_err(ControlError::Unavailable)?;
        // The run's number stays: whatever is left of this run in progress and state is not the next one's.
        let mut removed = vec![(StoredPipeline::key(tenant, name), None)];
        removed.extend(self.threads.log.documents(&mark_prefix(tenant, name)).into_iter().map(|(key, _)| (key, None)));
        let checkpoints = self.checkpoints_of(tenant, name);
        removed.extend(checkpoints.iter().map(|(key, _)| (key.clone(), None)));
        if let Err(error) = self.threads.log.put_documents(removed) {
            if !deployed.stored.paused {
                self.go_on(&deployed);
            }
            return Err(ControlError::Unavailable(error.to_string()));
        }
        for task in &deployed.tasks {
            task.update(|seen| seen.state = TaskState::Stopped);
        }
        self.forget(&deployed);
        checkpoints.iter().for_each(|(key, stored)| self.let_go_of(tenant, name, key, stored));
        self.deployed.write().remove(&(tenant.clone(), name.clone()));
        // Behind that: whoever reads metrics gives every pipeline that is there its series.
        self.threads.metrics.forget(tenant, name);
        Ok(())
    }
}

fn task_id(plan: &Plan, run: u64, partition: PartitionId) -> TaskId {
    TaskId { tenant: plan.tenant.clone(), pipeline: plan.definition.name.clone(), run, partition }
}
