//! Applying a text.
//!
//! ```text
//! parse ─ check ─ make streams ─ old tasks to a checkpoint ─ one change of documents ─ new tasks from there
//! ```
//! Streams that were made and then not used do no harm; nothing else happens before the documents are changed.

use std::sync::Arc;

use tidemill_event::{PipelineName, StreamDefinition, StreamId, StreamName, TenantName};
use tidemill_log::{Stream, StreamError, Visibility};

use crate::deployed::{Deployed, Role};
use crate::deployments::Deployments;
use crate::open_patterns::OpenByStep;
use crate::own_streams::output_name;
use crate::pipeline::{PipelineDefinition, Reading, Run, document, read_pipeline};
use crate::plan::{Before, Graph, Pinning, Plan, PlannedSource, PlannedTarget, describe, difference, made, owner, owner_key};
use crate::sinks::marks_of_added;
use crate::status::PipelineState;
use crate::stored::{Pin, StoredPipeline, StoredSource, progress_name};
use crate::task::{inner_definition, progress_definition};
use crate::{Applied, ApplyError, Fault};

/// Documents to change, by key; `None` removes one.
pub(crate) type Documents = Vec<(String, Option<Vec<u8>>)>;

impl Deployments {
    pub(crate) fn apply(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        text: &str,
        dry_run: bool,
    ) -> Result<Applied, ApplyError> {
        let Reading { definition, gap, mut faults } = read_pipeline(name, text);
        let Some(definition) = definition else {
            faults.sort_by_key(|fault| fault.line);
            return Err(ApplyError::Faults { faults });
        };
        // Whoever only asks waits for nobody.
        let _turn = (!dry_run).then(|| self.turns.take(tenant, name));
        // Before the catalog is held: tasks are waited for.
        let asked = if dry_run { self.get(tenant, name).and_then(|before| self.open_patterns(&before)) } else { None };
        let mut catalog = self.changes.lock();
        if self.is_stopping() {
            return Err(ApplyError::Unavailable("the host is stopping".to_owned()));
        }
        let before = self.get(tenant, name);
        let previous = before.as_ref().map(|deployed| &deployed.stored);
        let mut plan = match self.check_new(tenant, definition.clone(), gap, previous) {
            Ok(plan) if faults.is_empty() => plan,
            checked => {
                // What is wrong with the form and what is wrong with the meaning are told together.
                faults.extend(checked.err().into_iter().flatten());
                faults.sort_by_key(|fault| fault.line);
                return Err(ApplyError::Faults { faults });
            }
        };
        let same = before.as_ref().is_some_and(|deployed| is_same(deployed, &plan, text));
        let new_run = before.as_deref().and_then(|before| new_run(before, &plan, same));
        let changed = new_run.is_some() || !same;
        let changes = |plan: &Plan, open: Option<&OpenByStep>| match &before {
            Some(before) if changed => {
                let was = Before { stored: &before.stored, plan: before.plan.as_deref().ok(), open };
                difference(plan, text, was, new_run.as_deref())
            }
            Some(_) | None => Vec::new(),
        };
        let changes_now = changes(&plan, asked.as_ref());
        let mut applied = Applied { created: before.is_none(), changed, changes: changes_now, plan: describe(&plan, previous) };
        if dry_run || !changed {
            return Ok(applied);
        }
        if let Some(replay) = self.get_replay(tenant, name) {
            let error =
                format!("run {} of `{name}` is a replay beside what is applied: promote or discard it first", replay.stored.run);
            return Err(ApplyError::Conflict(error));
        }
        if let Some(before) = &before {
            self.stop_aside(&mut catalog, before).map_err(ApplyError::Unavailable)?;
            if self.is_stopping() {
                return Err(ApplyError::Unavailable("the host is stopping".to_owned()));
            }
            // Meanwhile others may have changed what it was checked against.
            plan = self.check_new(tenant, definition, gap, previous).map_err(|mut faults| {
                self.go_on(before);
                faults.sort_by_key(|fault| fault.line);
                ApplyError::Faults { faults }
            })?;
            applied.changes = changes(&plan, self.open_when_stopped(before).as_ref());
        }
        self.make_streams(&plan).map_err(|error| {
            before.iter().for_each(|before| self.go_on(before));
            ApplyError::Unavailable(error.to_string())
        })?;
        let next = self.next_stored(&plan, text, before.as_deref(), new_run.is_some()).and_then(|stored| {
            self.make_progress(&plan, stored.run).map_err(|error| error.to_string())?;
            let old_plan =
                before.as_ref().filter(|before| before.stored.run == stored.run).and_then(|before| before.plan.as_ref().ok());
            let marks = old_plan
                .zip(self.output(&plan))
                .map_or_else(Vec::new, |(old, output)| marks_of_added(&plan, old, &output, self.threads.targets.random));
            self.store(tenant, name, &stored, Role::Main, [marks, owned(tenant, name, &plan.folders())].concat())?;
            Ok(stored)
        });
        let stored = match next {
            Ok(stored) => stored,
            Err(error) => {
                // The old plan is what counts, so it goes on.
                if let Some(before) = &before {
                    self.go_on(before);
                }
                return Err(ApplyError::Unavailable(error));
            }
        };
        let dropped = applied.changes.iter().filter_map(|change| change.dropped);
        self.threads.metrics.dropped(tenant, name, dropped.map(|dropped| dropped.partial_matches).sum());
        if let Some(before) = before.filter(|before| before.stored.run != stored.run) {
            self.forget(&before);
        }
        self.deploy(tenant.clone(), name.clone(), stored, Ok(Arc::new(plan)), Role::Main, false);
        Ok(applied)
    }

    /// The plan of a text, against everything there is now, and whether there is room for it; references mean what is the newest.
    fn check_new(
        &self,
        tenant: &TenantName,
        definition: PipelineDefinition,
        gap: Option<usize>,
        previous: Option<&StoredPipeline>,
    ) -> Result<Plan, Vec<Fault>> {
        let plan = self.check_alone(tenant, definition, gap, previous)?;
        self.refuse_crowd(&plan, Role::Main).map_err(|error| {
            let remedy = "use fewer component steps, a source with fewer partitions, or delete pipelines nobody needs";
            vec![Fault::new("steps", 1, error, remedy)]
        })?;
        Ok(plan)
    }

    /// The same without the room.
    pub(crate) fn check_alone(
        &self,
        tenant: &TenantName,
        definition: PipelineDefinition,
        gap: Option<usize>,
        previous: Option<&StoredPipeline>,
    ) -> Result<Plan, Vec<Fault>> {
        let of_tenant = |deployed: &&Arc<Deployed>| deployed.tenant == *tenant;
        let all = self.all();
        let graph: Graph =
            all.iter().filter(of_tenant).filter_map(|deployed| Some((deployed.name.clone(), deployed.streams()?))).collect();
        self.check(tenant, definition, gap, Pinning::Newest(previous), &graph)
    }

    /// Starts a run again as it was: a change of it did not come about.
    pub(crate) fn go_on(&self, deployed: &Deployed) {
        let plan = deployed.plan.as_ref().map(Arc::clone).map_err(Clone::clone);
        self.deploy(deployed.tenant.clone(), deployed.name.clone(), deployed.stored.clone(), plan, deployed.role, false);
    }

    /// A pipeline whose sandboxes the host has no room for.
    pub(crate) fn refuse_crowd(&self, plan: &Plan, role: Role) -> Result<(), String> {
        let others = self.runs();
        let itself = (&plan.tenant, &plan.definition.name, role);
        let others = others.iter().filter(|other| (&other.tenant, &other.name, other.role) != itself);
        let held: usize = others.filter_map(|other| other.plan.as_ref().ok()).map(|plan| plan.instances()).sum();
        let (wanted, room) = (plan.instances(), self.threads.instances_max.saturating_sub(held));
        if wanted <= room {
            return Ok(());
        }
        Err(format!(
            "it needs {wanted} sandboxes (component steps times its {} tasks), and the host has room for {room} more",
            plan.tasks()
        ))
    }

    /// The number of the next run of a name.
    pub(crate) fn next_run(&self, tenant: &TenantName, name: &PipelineName) -> u64 {
        let counted = self.threads.log.document(&StoredPipeline::run_key(tenant, name));
        counted.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse::<u64>().ok()).unwrap_or(0) + 1
    }

    /// Where the run begins and ends, and which one it is. The error says what of a source cannot be read.
    pub(crate) fn next_stored(
        &self,
        plan: &Plan,
        text: &str,
        before: Option<&Deployed>,
        new_run: bool,
    ) -> Result<StoredPipeline, String> {
        let (tenant, definition) = (&plan.tenant, &plan.definition);
        let number = before.map_or(1, |before| before.stored.plan + 1);
        let same_run = before.map(|before| &before.stored).filter(|_| !new_run);
        let sources = plan.sources.list.iter().map(|source| next_source(source, definition.run, same_run, number));
        let output = self.output(plan);
        let output_starts = match same_run {
            Some(stored) if !stored.output_starts.is_empty() => stored.output_starts.clone(),
            _ => output.map_or_else(Vec::new, |stream| {
                stream.partitions().iter().map(|partition| partition.end(Visibility::Durable).0).collect()
            }),
        };
        let letters_from =
            same_run.map_or_else(|| self.letters_end(tenant, &definition.name), |stored| stored.letters_from.clone());
        Ok(StoredPipeline {
            text: text.to_owned(),
            plan: number,
            run: same_run.map_or_else(|| self.next_run(tenant, &definition.name), |stored| stored.run),
            paused: same_run.is_some_and(|stored| stored.paused),
            sources: sources.collect::<Result<_, _>>()?,
            gathered: plan.sources.gathered.is_some(),
            stages: plan.stored_stages(),
            pinned: plan.pins().cloned().collect(),
            states: plan.native_states(),
            next_operator: plan.next_operator,
            output_starts,
            letters_from,
        })
    }

    /// Stores a run, and changes other documents with it: all or none.
    pub(crate) fn store(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        stored: &StoredPipeline,
        role: Role,
        mut changes: Documents,
    ) -> Result<(), String> {
        let document = serde_json::to_vec(stored).map_err(|error| error.to_string())?;
        let key = match role {
            Role::Main => StoredPipeline::key(tenant, name),
            Role::Replay => StoredPipeline::replay_key(tenant, name),
        };
        changes.push((key, Some(document)));
        // Runs are counted upwards, also past one that was discarded or promoted over.
        let last = (self.next_run(tenant, name) - 1).max(stored.run);
        changes.push((StoredPipeline::run_key(tenant, name), Some(last.to_string().into_bytes())));
        self.threads.log.put_documents(changes).map_err(|error| error.to_string())
    }

    /// The streams a plan writes that are not there yet.
    pub(crate) fn make_streams(&self, plan: &Plan) -> Result<(), StreamError> {
        for target in &plan.targets {
            if let PlannedTarget::Stream { name, there: None, definition, .. } = target {
                self.make_stream(&plan.tenant, name.clone(), definition.clone())?;
            }
        }
        let partitions = plan.tasks();
        for own in plan.own_streams() {
            self.make_stream(&plan.tenant, own.name(&plan.definition.name), own.definition(partitions))?;
        }
        if let Some(last) = plan.stages.last().filter(|_| plan.has_sinks()) {
            let name = output_name(&plan.definition.name);
            let output = self.make_stream(&plan.tenant, name, made(&plan.output, Vec::new(), last.tasks))?;
            if output.definition().schema != plan.output {
                self.threads.log.evolve_stream(output.id(), plan.output.clone())?;
            }
        }
        Ok(())
    }

    /// Where the tasks of a run keep what they took, and what they hand from stage to stage: a run of its own has other tasks, maybe more of
    /// them.
    pub(crate) fn make_progress(&self, plan: &Plan, run: u64) -> Result<(), StreamError> {
        let pipeline = &plan.definition.name;
        for (stage, inner) in plan.inner() {
            self.make_stream(&plan.tenant, inner.stream(pipeline, run), inner_definition(inner, stage.tasks))?;
        }
        let name = progress_name(pipeline, run);
        self.make_stream(&plan.tenant, name, progress_definition(plan.tasks())).map(drop)
    }

    pub(crate) fn make_stream(
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
}

/// The documents that say whose folders these are.
pub(crate) fn owned(tenant: &TenantName, name: &PipelineName, folders: &[String]) -> Documents {
    folders.iter().map(|path| (owner_key(path), Some(owner(tenant, name).into_bytes()))).collect()
}

/// Why a plan does not go on with the run there is, with its state and behind the rows it took; `None` if it does.
fn new_run(before: &Deployed, plan: &Plan, same: bool) -> Option<String> {
    let stored = &before.stored;
    let (was, is) = (stored.tasks(), plan.tasks());
    let was_once = before.plan.as_ref().is_ok_and(|plan| plan.definition.run == Run::Once);
    if before.state() == PipelineState::Finished {
        Some("it is finished, and runs again".to_owned())
    } else if !same && was_once && before.tasks.iter().any(|task| task.has_ended()) {
        // What it would read now would be late for windows that have closed because nothing was to come.
        Some("some of its tasks have come to their end".to_owned())
    } else if plan.sources.list.iter().all(|source| stored.source(&source.input).is_none()) {
        Some("it reads none of the streams it read before".to_owned())
    } else {
        let other = (was != is).then(|| format!("it has {is} tasks instead of {was}: keys lie elsewhere"));
        let stages = || stored.stages != plan.stored_stages();
        other.or_else(|| stages().then(|| "what one stage hands to the next has other columns or another key".to_owned()))
    }
}

/// What is stored of a source: as it was, or from where it begins now.
fn next_source(source: &PlannedSource, run: Run, same_run: Option<&StoredPipeline>, plan: u64) -> Result<StoredSource, String> {
    let before = same_run.and_then(|stored| stored.source(&source.input));
    let starts = || source.starts().map_err(|error| format!("`{}`: {error}", source.name()));
    Ok(StoredSource {
        stream: source.input.to_string(),
        since: before.map_or(plan, |before| before.since),
        version: source.version.0,
        starts: before.map_or_else(starts, |before| Ok(before.starts.clone()))?,
        ends: match run {
            Run::Live => None,
            Run::Once => Some(before.and_then(|before| before.ends.clone()).unwrap_or_else(|| source.ends())),
        },
    })
}

/// Whether a plan and its text are what runs already.
fn is_same(deployed: &Deployed, plan: &Plan, text: &str) -> bool {
    // A stream that has got a field since then takes a column that it dropped.
    let taken = |plan: &Plan| {
        let streams = plan.targets.iter().filter_map(|target| match target {
            PlannedTarget::Stream { definition, .. } => Some(definition.schema.fields.clone()),
            PlannedTarget::File(_) | PlannedTarget::Stdout | PlannedTarget::Webhook(_) => None,
        });
        streams.collect::<Vec<_>>()
    };
    let meaning = |text: &str| document::read(text).map(|node| node.json());
    let digests =
        |pins: Vec<&Pin>| pins.iter().map(|pin| (pin.step, pin.function.clone(), pin.digest.clone())).collect::<Vec<_>>();
    deployed.plan.as_ref().is_ok_and(|before| taken(before) == taken(plan))
        && meaning(&deployed.stored.text).ok() == meaning(text).ok()
        && plan
            .sources
            .list
            .iter()
            .all(|source| deployed.stored.source(&source.input).is_some_and(|stored| stored.version == source.version.0))
        && digests(deployed.stored.pinned.iter().collect()) == digests(plan.pins().collect())
}
