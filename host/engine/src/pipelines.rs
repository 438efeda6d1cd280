//! The pipelines of all tenants: apply, look at, pause, delete.
//!
//! ```text
//! apply: parse ─ check ─ make streams ─ old tasks to a checkpoint ─ one change of documents ─ new tasks from there
//! ```
//! What counts is the document: a crash before it leaves the old plan, a crash behind it the new one. One change at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::bounded;
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use tidemill_connect::{FileSink, OutputSink, Sink};
use tidemill_event::{
    Offset, PartitionId, PipelineName, StreamDefinition, StreamId, StreamName, TenantName, rejection_definition,
};
use tidemill_log::{Partition, Stream, StreamError, Visibility};
use tidemill_state::TaskId;

use crate::deployed::Deployed;
use crate::engine::Threads;
use crate::pipeline::{PipelineDefinition, Run, Start, document, parse};
use crate::plan::{Catalog, Graph, Pinning, Plan, PlannedTarget, check, describe, made};
use crate::sinks::{SinkSeed, SinkShared, mark_prefix};
use crate::status::PipelineState;
use crate::stored::StoredPipeline;
use crate::task::{TaskSeed, TaskShared, TaskState, progress_definition};
use crate::{Components, Fault, Status};

/// How long a change of plan waits for the old tasks' checkpoints. Nothing is changed if it is not enough.
const STOP_WAIT: Duration = Duration::from_secs(60);

/// What applying did, or with `dry_run` would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// There was no pipeline of that name.
    pub created: bool,
    /// `false`: exactly this is applied already.
    pub changed: bool,
    /// The plan: steps with their columns, pinned components, targets, what would change.
    pub plan: Value,
}

/// Why a pipeline was not applied. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The text is wrong (422). Never empty.
    #[error("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faults {
        /// Every one.
        faults: Vec<Fault>,
    },
    /// The log failed, or the host is stopping (503).
    #[error("{0}")]
    Unavailable(String),
}

/// Why a pipeline was not paused, resumed or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No such pipeline (404).
    #[error("there is no pipeline `{0}`")]
    Unknown(PipelineName),
    /// Not in this state (409).
    #[error("{0}")]
    Conflict(String),
    /// The log failed, or the host is stopping (503).
    #[error("{0}")]
    Unavailable(String),
}

/// A pipeline as applied.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineEntry {
    /// Its name.
    pub name: PipelineName,
    /// The document as applied, references pinned; and `pinned`: step, reference, version and digest of each.
    pub document: Value,
}

/// The pipelines of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct Pipelines {
    deployments: Arc<Deployments>,
}

type Key = (TenantName, PipelineName);

/// Everything that is applied.
pub(crate) struct Deployments {
    threads: Arc<Threads>,
    components: Components,
    changes: Arc<Mutex<()>>,
    deployed: RwLock<BTreeMap<Key, Arc<Deployed>>>,
}

impl Pipelines {
    pub(crate) fn new(deployments: Deployments) -> Self {
        Self { deployments: Arc::new(deployments) }
    }

    pub(crate) fn deployments(&self) -> &Deployments {
        &self.deployments
    }

    /// Checks a text (YAML or JSON) and puts it in place of what runs under that name. Blocking.
    pub fn apply(&self, tenant: &TenantName, name: &PipelineName, text: &str, dry_run: bool) -> Result<Applied, ApplyError> {
        self.deployments.apply(tenant, name, text, dry_run)
    }

    /// A pipeline as applied.
    pub fn get(&self, tenant: &TenantName, name: &PipelineName) -> Option<PipelineEntry> {
        self.deployments.get(tenant, name).map(|deployed| entry(&deployed))
    }

    /// All pipelines of a tenant, by name.
    pub fn list(&self, tenant: &TenantName) -> Vec<PipelineEntry> {
        self.deployments.all().iter().filter(|deployed| deployed.tenant == *tenant).map(|deployed| entry(deployed)).collect()
    }

    /// How it stands.
    pub fn status(&self, tenant: &TenantName, name: &PipelineName) -> Option<Status> {
        self.deployments.get(tenant, name).map(|deployed| deployed.status())
    }

    /// Stops its tasks behind a checkpoint. Pausing a paused one does nothing. Blocking.
    pub fn pause(&self, tenant: &TenantName, name: &PipelineName) -> Result<(), ControlError> {
        self.deployments.pause(tenant, name)
    }

    /// Starts a paused, held or failed one where it stopped. A held one goes on with its replayed state. Blocking.
    pub fn resume(&self, tenant: &TenantName, name: &PipelineName) -> Result<(), ControlError> {
        self.deployments.resume(tenant, name)
    }

    /// Stops and forgets it. Its target streams and dead letters stay. Blocking.
    pub fn delete(&self, tenant: &TenantName, name: &PipelineName) -> Result<(), ControlError> {
        self.deployments.delete(tenant, name)
    }

    /// Which pipelines read or write a stream, sorted: such a stream is not to be deleted.
    pub fn using_stream(&self, tenant: &TenantName, stream: &StreamName) -> Vec<PipelineName> {
        let uses = |deployed: &&Arc<Deployed>| {
            deployed.tenant == *tenant
                && deployed.streams().is_some_and(|(source, targets)| source == *stream || targets.contains(stream))
        };
        self.deployments.all().iter().filter(uses).map(|deployed| deployed.name.clone()).collect()
    }
}

fn entry(deployed: &Deployed) -> PipelineEntry {
    let stored = &deployed.stored;
    let mut document = document::read(&stored.text).map_or(Value::Null, |node| node.json());
    for pin in &stored.pinned {
        for word in ["rule", "transform"] {
            if let Some(reference) = document.pointer_mut(&format!("/steps/{}/{word}", pin.step)) {
                *reference = json!(format!("{}@{}", pin.name, pin.version));
            }
        }
    }
    if let Some(members) = document.as_object_mut() {
        members.insert("pipeline".to_owned(), json!(deployed.name.as_str()));
        let pinned = stored.pinned.iter().map(|pin| {
            json!({"step": format!("steps[{}]", pin.step), "reference": pin.reference, "name": pin.name, "version": pin.version, "digest": pin.digest})
        });
        members.insert("pinned".to_owned(), pinned.collect());
    }
    PipelineEntry { name: deployed.name.clone(), document }
}

impl Deployments {
    pub(crate) fn new(threads: Arc<Threads>, components: Components, changes: Arc<Mutex<()>>) -> Self {
        Self { threads, components, changes, deployed: RwLock::default() }
    }

    /// All, by tenant and name.
    pub(crate) fn all(&self) -> Vec<Arc<Deployed>> {
        self.deployed.read().values().cloned().collect()
    }

    fn get(&self, tenant: &TenantName, name: &PipelineName) -> Option<Arc<Deployed>> {
        self.deployed.read().get(&(tenant.clone(), name.clone())).cloned()
    }

    fn put(&self, deployed: Deployed) {
        self.deployed.write().insert((deployed.tenant.clone(), deployed.name.clone()), Arc::new(deployed));
    }

    fn is_stopping(&self) -> bool {
        self.threads.stopping.load(Ordering::Acquire)
    }

    /// Starts what the log knows of.
    pub(crate) fn start_stored(&self) {
        let _changes = self.changes.lock();
        for (key, bytes) in self.threads.log.documents("pipeline/") {
            let mut parts = key.splitn(3, '/').skip(1);
            let names = (|| Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?)))();
            let Some((tenant, name)): Option<Key> = names else { continue };
            match StoredPipeline::read(&bytes) {
                Ok(stored) => {
                    let plan = self.plan_stored(&tenant, &name, &stored);
                    self.deploy(tenant, name, stored, plan, false);
                }
                Err(error) => tracing::error!(key, "a stored pipeline cannot be read: {error}"),
            }
        }
    }

    fn plan_stored(&self, tenant: &TenantName, name: &PipelineName, stored: &StoredPipeline) -> Result<Arc<Plan>, String> {
        let said = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let definition = parse(name, &stored.text).map_err(said)?;
        // Cycles were refused when it was applied; whoever applied later was checked against it.
        let plan = self.check(tenant, definition, Pinning::As(stored), &Graph::new()).map_err(said)?;
        Ok(Arc::new(plan))
    }

    fn check(
        &self,
        tenant: &TenantName,
        definition: PipelineDefinition,
        pinning: Pinning<'_>,
        graph: &Graph,
    ) -> Result<Plan, Vec<Fault>> {
        let catalog = Catalog {
            tenant,
            log: &self.threads.log,
            runtime: &self.threads.runtime,
            components: &self.components,
            grants: &self.threads.grants,
            graph,
        };
        check(definition, &catalog, pinning)
    }

    fn apply(&self, tenant: &TenantName, name: &PipelineName, text: &str, dry_run: bool) -> Result<Applied, ApplyError> {
        let definition = parse(name, text).map_err(|faults| ApplyError::Faults { faults })?;
        let _changes = self.changes.lock();
        if self.is_stopping() {
            return Err(ApplyError::Unavailable("the host is stopping".to_owned()));
        }
        let before = self.get(tenant, name);
        let previous = before.as_ref().map(|deployed| &deployed.stored);
        let graph: Graph = self
            .all()
            .iter()
            .filter(|deployed| deployed.tenant == *tenant)
            .filter_map(|deployed| Some((deployed.name.clone(), deployed.streams()?)))
            .collect();
        let plan =
            self.check(tenant, definition, Pinning::Newest(previous), &graph).map_err(|faults| ApplyError::Faults { faults })?;
        self.refuse_crowd(&plan)?;
        let described = describe(&plan, previous);
        let runs_again = before.as_ref().is_some_and(|deployed| deployed.state() == PipelineState::Finished);
        let changed = runs_again || !before.as_ref().is_some_and(|deployed| is_same(deployed, &plan, text));
        let created = before.is_none();
        if dry_run || !changed {
            return Ok(Applied { created, changed, plan: described });
        }
        self.make_streams(&plan).map_err(|error| ApplyError::Unavailable(error.to_string()))?;
        if let Some(before) = &before {
            self.stop(before).map_err(ApplyError::Unavailable)?;
        }
        let stored = self.next_stored(&plan, text, before.as_deref(), runs_again);
        if let Err(error) = self.store(tenant, name, &stored) {
            // The old plan is what counts, so it goes on.
            if let Some(before) = before {
                let plan = before.plan.as_ref().map(Arc::clone).map_err(Clone::clone);
                self.deploy(tenant.clone(), name.clone(), before.stored.clone(), plan, false);
            }
            return Err(ApplyError::Unavailable(error));
        }
        if let Some(before) = before.filter(|before| before.stored.run != stored.run) {
            self.forget(&before);
        }
        self.deploy(tenant.clone(), name.clone(), stored, Ok(Arc::new(plan)), false);
        Ok(Applied { created, changed, plan: described })
    }

    /// A pipeline whose sandboxes the host has no room for.
    fn refuse_crowd(&self, plan: &Plan) -> Result<(), ApplyError> {
        let others = self.all();
        let others = others.iter().filter(|other| (&other.tenant, &other.name) != (&plan.tenant, &plan.definition.name));
        let held: usize = others.filter_map(|other| other.plan.as_ref().ok()).map(|plan| plan.instances()).sum();
        let (wanted, room) = (plan.instances(), self.threads.instances_max.saturating_sub(held));
        if wanted <= room {
            return Ok(());
        }
        let error = format!(
            "it needs {wanted} sandboxes (component steps times the {} partitions of its source), and the host has room for {room} more",
            plan.source.partitions().len()
        );
        let remedy = "use fewer component steps, a source with fewer partitions, or delete pipelines nobody needs";
        Err(ApplyError::Faults { faults: vec![Fault::new("steps", 1, error, remedy)] })
    }

    /// Where the run begins and ends, and which one it is.
    fn next_stored(&self, plan: &Plan, text: &str, before: Option<&Deployed>, runs_again: bool) -> StoredPipeline {
        let (tenant, definition) = (&plan.tenant, &plan.definition);
        let ends = || plan.source.partitions().iter().map(|partition| partition.end(Visibility::Durable).0).collect();
        let old_source = before.and_then(|before| before.plan.as_ref().ok()).map(|plan| plan.source.id());
        let same_run = before.filter(|_| !runs_again && old_source == Some(plan.source.id())).map(|before| &before.stored);
        let last_run = || {
            let counted = self.threads.log.document(&StoredPipeline::run_key(tenant, &definition.name));
            counted.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse::<u64>().ok()).unwrap_or(0)
        };
        let output = self.output(plan);
        let output_starts = match same_run {
            Some(stored) if !stored.output_starts.is_empty() => stored.output_starts.clone(),
            _ => output.map_or_else(Vec::new, |stream| {
                stream.partitions().iter().map(|partition| partition.end(Visibility::Durable).0).collect()
            }),
        };
        StoredPipeline {
            text: text.to_owned(),
            plan: before.map_or(1, |before| before.stored.plan + 1),
            run: same_run.map_or_else(|| last_run() + 1, |stored| stored.run),
            paused: same_run.is_some_and(|stored| stored.paused),
            source_version: plan.source_version.0,
            starts: match (same_run, definition.source.start) {
                (Some(stored), _) => stored.starts.clone(),
                (None, Start::Earliest) => plan.source.partitions().iter().map(|partition| partition.trim_point().0).collect(),
                (None, Start::Latest) => ends(),
            },
            ends: match definition.run {
                Run::Live => None,
                Run::Once => Some(same_run.and_then(|stored| stored.ends.clone()).unwrap_or_else(ends)),
            },
            pinned: plan.components().map(|(_, planned)| planned.pin.clone()).collect(),
            next_operator: plan.next_operator,
            output_starts,
        }
    }

    fn store(&self, tenant: &TenantName, name: &PipelineName, stored: &StoredPipeline) -> Result<(), String> {
        let document = serde_json::to_vec(stored).map_err(|error| error.to_string())?;
        let changes = vec![
            (StoredPipeline::key(tenant, name), Some(document)),
            (StoredPipeline::run_key(tenant, name), Some(stored.run.to_string().into_bytes())),
        ];
        self.threads.log.put_documents(changes).map_err(|error| error.to_string())
    }

    /// The streams a plan writes that are not there yet.
    fn make_streams(&self, plan: &Plan) -> Result<(), StreamError> {
        for target in &plan.targets {
            if let PlannedTarget::Stream { name, there: None, definition } = target {
                self.make_stream(&plan.tenant, name.clone(), definition.clone())?;
            }
        }
        let partitions = plan.source.partitions().len() as u32;
        let name = plan.definition.name.as_str();
        self.make_stream(&plan.tenant, StreamName::derived(name, "progress"), progress_definition(partitions))?;
        self.make_stream(&plan.tenant, StreamName::derived(name, "dead-letters"), rejection_definition(partitions))?;
        if plan.has_sinks() {
            let output =
                self.make_stream(&plan.tenant, StreamName::derived(name, "output"), made(&plan.output, Vec::new(), partitions))?;
            if output.definition().schema != plan.output {
                self.threads.log.evolve_stream(output.id(), plan.output.clone())?;
            }
        }
        Ok(())
    }

    fn make_stream(
        &self,
        tenant: &TenantName,
        name: StreamName,
        definition: StreamDefinition,
    ) -> Result<Arc<Stream>, StreamError> {
        let id = StreamId::new(tenant.clone(), name);
        if let Some(stream) = self.threads.log.stream(&id) {
            return Ok(stream);
        }
        match self.threads.log.create_stream(&id, definition) {
            Err(StreamError::Exists(id)) => self.threads.log.stream(&id).ok_or(StreamError::Missing(id)),
            other => other,
        }
    }

    fn stream(&self, tenant: &TenantName, name: StreamName) -> Option<Arc<Stream>> {
        self.threads.log.stream(&StreamId::new(tenant.clone(), name))
    }

    fn output(&self, plan: &Plan) -> Option<Arc<Stream>> {
        plan.has_sinks()
            .then(|| self.stream(&plan.tenant, StreamName::derived(plan.definition.name.as_str(), "output")))
            .flatten()
    }

    /// Puts a pipeline into the catalog and starts its tasks and sinks unless it is paused.
    fn deploy(
        &self,
        tenant: TenantName,
        name: PipelineName,
        stored: StoredPipeline,
        plan: Result<Arc<Plan>, String>,
        accept_divergence: bool,
    ) {
        let started = match &plan {
            Ok(plan) if !stored.paused => self.start(plan, &stored, accept_divergence),
            Ok(_) => Ok((Vec::new(), Vec::new())),
            Err(error) => Err(error.clone()),
        };
        match started {
            Ok((tasks, sinks)) => self.put(Deployed { tenant, name, stored, plan, tasks, sinks }),
            Err(error) => {
                tracing::error!(pipeline = %name, "pipeline does not start: {error}");
                self.put(Deployed { tenant, name, stored, plan: Err(error), tasks: Vec::new(), sinks: Vec::new() });
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "tasks and sinks of one pipeline, used in one place")]
    fn start(
        &self,
        plan: &Arc<Plan>,
        stored: &StoredPipeline,
        accept_divergence: bool,
    ) -> Result<(Vec<Arc<TaskShared>>, Vec<Arc<SinkShared>>), String> {
        let name = plan.definition.name.as_str();
        let internal = |suffix: &str| {
            self.stream(&plan.tenant, StreamName::derived(name, suffix))
                .ok_or_else(|| format!("the stream `{name}.{suffix}` is gone"))
        };
        let (progress, dead_letters) = (internal("progress")?, internal("dead-letters")?);
        let mut outputs = Vec::new();
        for target in &plan.targets {
            if let PlannedTarget::Stream { name, .. } = target {
                let stream = self.stream(&plan.tenant, name.clone());
                outputs.push(stream.ok_or_else(|| format!("the stream `{name}` is gone: apply the pipeline again"))?);
            }
        }
        let mut sinks = Vec::new();
        if plan.has_sinks() {
            let output = internal("output")?;
            sinks = self.start_sinks(plan, stored, &output);
            outputs.push(output);
        }
        let mut tasks = Vec::new();
        for source in plan.source.partitions() {
            let partition = source.key().partition;
            let at = partition.0 as usize;
            let shared = Arc::new(TaskShared::new(task_id(plan, stored.run, partition), source.clone()));
            self.threads.workers.start_task(TaskSeed {
                plan: plan.clone(),
                plan_number: stored.plan,
                shared: shared.clone(),
                progress: progress.clone(),
                dead_letters: dead_letters.clone(),
                outputs: outputs.clone(),
                start: Offset(stored.starts.get(at).copied().unwrap_or(0)),
                end: stored.ends.as_ref().map(|ends| Offset(ends.get(at).copied().unwrap_or(0))),
                accept_divergence,
            });
            tasks.push(shared);
        }
        Ok((tasks, sinks))
    }

    fn start_sinks(&self, plan: &Plan, stored: &StoredPipeline, output: &Arc<Stream>) -> Vec<Arc<SinkShared>> {
        let mut sinks = Vec::new();
        for target in &plan.targets {
            for partition in output.partitions() {
                let at = partition.key().partition.0 as usize;
                let start = Offset(stored.output_starts.get(at).copied().unwrap_or(0));
                if let Some(seed) = self.sink_seed(plan, target, partition, start) {
                    sinks.push(seed.shared.clone());
                    self.threads.sinks.add(seed);
                }
            }
        }
        sinks
    }

    fn sink_seed(&self, plan: &Plan, target: &PlannedTarget, partition: &Arc<Partition>, start: Offset) -> Option<SinkSeed> {
        let seed = |target: String, open| SinkSeed {
            tenant: plan.tenant.clone(),
            pipeline: plan.definition.name.clone(),
            shared: SinkShared::new(target, partition.clone()),
            open,
            start,
        };
        match target {
            PlannedTarget::Stream { .. } => None,
            PlannedTarget::File { path } => {
                let (root, folder) = (self.threads.files.clone(), path.clone());
                Some(seed(
                    format!("file: {path}"),
                    Box::new(move || FileSink::open(&root, &folder).map(|sink| Box::new(sink) as Box<dyn Sink>)),
                ))
            }
            PlannedTarget::Stdout => {
                let output = self.threads.stdout.clone();
                Some(seed("stdout".to_owned(), Box::new(move || Ok(Box::new(OutputSink::new(output.clone())) as Box<dyn Sink>))))
            }
        }
    }

    /// Ends its tasks behind a checkpoint, and its sinks behind what is on disk. The error leaves nothing running.
    fn stop(&self, deployed: &Deployed) -> Result<(), String> {
        let (done, told) = bounded(deployed.tasks.len().max(1));
        for task in &deployed.tasks {
            self.threads.workers.stop_task(&task.id, done.clone());
        }
        drop(done);
        for _ in &deployed.tasks {
            // Disconnected: a checkpoint failed, and its task says why. The last true one stands, and the next tasks begin there.
            if told.recv_timeout(STOP_WAIT) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
                return Err("the tasks of the plan before did not stop in a minute: try again".to_owned());
            }
        }
        if !deployed.sinks.is_empty() {
            let (done, told) = bounded(1);
            self.threads.sinks.stop(&deployed.tenant, &deployed.name, done);
            let _ = told.recv_timeout(STOP_WAIT);
        }
        Ok(())
    }

    /// State of a run that nobody will ask for again.
    fn forget(&self, deployed: &Deployed) {
        for task in &deployed.tasks {
            if let Err(error) = self.threads.store.forget(&task.id) {
                tracing::warn!(task = %task.id, "old state is not cleared away: {error}");
            }
        }
    }

    fn find(&self, tenant: &TenantName, name: &PipelineName) -> Result<Arc<Deployed>, ControlError> {
        if self.is_stopping() {
            return Err(ControlError::Unavailable("the host is stopping".to_owned()));
        }
        self.get(tenant, name).ok_or_else(|| ControlError::Unknown(name.clone()))
    }

    fn pause(&self, tenant: &TenantName, name: &PipelineName) -> Result<(), ControlError> {
        let _changes = self.changes.lock();
        let deployed = self.find(tenant, name)?;
        if deployed.state() == PipelineState::Finished {
            return Err(ControlError::Conflict(format!("`{name}` is finished: there is nothing to pause")));
        }
        if deployed.stored.paused {
            return Ok(());
        }
        let stored = StoredPipeline { paused: true, ..deployed.stored.clone() };
        self.store(tenant, name, &stored).map_err(ControlError::Unavailable)?;
        self.stop(&deployed).map_err(ControlError::Unavailable)?;
        let plan = deployed.plan.as_ref().map(Arc::clone).map_err(Clone::clone);
        // The tasks that ended stay to be looked at.
        let (tasks, sinks) = (deployed.tasks.clone(), deployed.sinks.clone());
        self.put(Deployed { tenant: tenant.clone(), name: name.clone(), stored, plan, tasks, sinks });
        Ok(())
    }

    fn resume(&self, tenant: &TenantName, name: &PipelineName) -> Result<(), ControlError> {
        let _changes = self.changes.lock();
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
        self.stop(&deployed).map_err(ControlError::Unavailable)?;
        let stored = StoredPipeline { paused: false, ..deployed.stored.clone() };
        self.store(tenant, name, &stored).map_err(ControlError::Unavailable)?;
        let plan = self.plan_stored(tenant, name, &stored);
        self.deploy(tenant.clone(), name.clone(), stored, plan, state == PipelineState::Held);
        Ok(())
    }

    fn delete(&self, tenant: &TenantName, name: &PipelineName) -> Result<(), ControlError> {
        let _changes = self.changes.lock();
        let deployed = self.find(tenant, name)?;
        // The run's number stays: whatever is left of this run in progress and state is not the next one's.
        let mut removed = vec![(StoredPipeline::key(tenant, name), None)];
        removed.extend(self.threads.log.documents(&mark_prefix(tenant, name)).into_iter().map(|(key, _)| (key, None)));
        self.threads.log.put_documents(removed).map_err(|error| ControlError::Unavailable(error.to_string()))?;
        self.stop(&deployed).map_err(ControlError::Unavailable)?;
        for task in &deployed.tasks {
            task.update(|seen| seen.state = TaskState::Stopped);
        }
        self.forget(&deployed);
        self.deployed.write().remove(&(tenant.clone(), name.clone()));
        Ok(())
    }
}

fn task_id(plan: &Plan, run: u64, partition: PartitionId) -> TaskId {
    TaskId { tenant: plan.tenant.clone(), pipeline: plan.definition.name.clone(), run, partition }
}

/// Whether a plan and its text are what runs already.
fn is_same(deployed: &Deployed, plan: &Plan, text: &str) -> bool {
    let meaning = |text: &str| document::read(text).map(|node| node.json());
    let digests = |pins: Vec<&crate::stored::Pin>| pins.iter().map(|pin| (pin.step, pin.digest.clone())).collect::<Vec<_>>();
    deployed.plan.is_ok()
        && meaning(&deployed.stored.text).ok() == meaning(text).ok()
        && deployed.stored.source_version == plan.source_version.0
        && digests(deployed.stored.pinned.iter().collect())
            == digests(plan.components().map(|(_, planned)| &planned.pin).collect())
}
