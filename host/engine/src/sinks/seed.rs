//! What a sink is made of, and the sinks of a plan.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidemill_connect::{
    BatchBounds, FileSink, OutputSink, Promise, Secrets, SharedOutput, Sink, SinkError, WebhookSink, WebhookTarget,
};
use tidemill_event::{Clock, Offset, PipelineName, TenantName};
use tidemill_log::{Disk, Partition, Stream};

use super::Sinks;
use super::again::Again;
use super::mark::again_key;
use super::refused::DeadLetters;
use super::shared::{Receiver, Siblings, SinkShared};
use crate::pipeline::{OnRefused, Run};
use crate::plan::{Plan, PlannedTarget};
use crate::stored::StoredPipeline;
use crate::task::{TaskShared, TaskState};

/// The standard output takes pieces of this many rows and bytes at most.
const OUTPUT_BOUNDS: BatchBounds = BatchBounds { rows: 65_536, bytes: 8 << 20, every: Duration::ZERO };
/// A file is closed at these bounds unless its target says otherwise.
const FILE_ROWS: u64 = 10_000_000;
const FILE_BYTES: u64 = 128 << 20;

/// What targets are opened with.
pub(crate) struct SinkParts {
    /// The folder of all files.
    pub(crate) files: PathBuf,
    /// Where they lie.
    pub(crate) disk: Arc<dyn Disk>,
    /// How long rows wait for their file to fill, unless the target says otherwise.
    pub(crate) file_linger: Duration,
    pub(crate) stdout: SharedOutput,
    pub(crate) random: fn() -> u64,
    pub(crate) clock: Arc<dyn Clock>,
    /// The folder of all secrets.
    pub(crate) secrets: PathBuf,
    /// Webhooks may go to addresses that are not public.
    pub(crate) webhooks_private: bool,
}

impl SinkParts {
    /// The secrets that a tenant's pipelines may name.
    pub(crate) fn secrets_of(&self, tenant: &TenantName) -> Secrets {
        Secrets::new(self.secrets.join(tenant.as_str()))
    }
}

/// Which thread a sink runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaneKind {
    Files,
    Stdout,
    Own,
}

type Open = Box<dyn Fn() -> Result<Box<dyn Sink>, SinkError> + Send>;

/// A sink to run: a maker, because a target that cannot be opened now may be later.
pub(crate) struct SinkSeed {
    pub(crate) tenant: TenantName,
    pub(crate) pipeline: PipelineName,
    pub(crate) shared: Arc<SinkShared>,
    pub(super) siblings: Arc<Siblings>,
    pub(super) lane: LaneKind,
    pub(super) open: Open,
    pub(super) bounds: BatchBounds,
    /// Where it begins if neither the target nor a mark of ours says so.
    pub(super) start: Offset,
    /// Whether all rows there will ever be are there; `None`: there is no end.
    pub(super) is_over: Box<dyn Fn() -> Option<bool> + Send>,
    pub(super) random: fn() -> u64,
    /// Where its refused rows are.
    pub(super) letters: DeadLetters,
    /// More of them go there; else it stays with a batch that is refused.
    pub(super) buries: bool,
}

/// One target of one partition, before its siblings are known.
struct Made {
    shared: Arc<SinkShared>,
    lane: LaneKind,
    open: Open,
    bounds: BatchBounds,
    /// Rows it refuses for good go to the dead letters.
    buries: bool,
}

/// Starts the sinks of a plan, whose tasks these are.
pub(crate) fn start_sinks(
    sinks: &Sinks,
    parts: &SinkParts,
    plan: &Plan,
    stored: &StoredPipeline,
    (output, dead_letters): (&Stream, &Arc<Stream>),
    tasks: &[Arc<TaskShared>],
) -> Vec<Arc<SinkShared>> {
    // One client and one circuit breaker for all partitions of a target.
    let webhooks: Vec<_> = plan.sinks().map(|(_, target)| webhook(parts, plan, target)).collect();
    let mut all = Vec::new();
    for partition in output.partitions() {
        let at = partition.key().partition.0 as usize;
        let start = Offset(stored.output_starts.get(at).copied().unwrap_or(0));
        let targets = plan.sinks().zip(&webhooks);
        let letters = |target: String| DeadLetters {
            log: sinks.log.clone(),
            stream: dead_letters.clone(),
            pipeline: plan.definition.name.to_string(),
            target,
            partition: partition.clone(),
        };
        let receiver = |name: &str, webhook: &Arc<WebhookTarget>, bounds| {
            let key = again_key(&plan.tenant, &plan.definition.name, name, partition.key().partition);
            let life = format!("{:016x}", (parts.random)());
            let again = Again::open(sinks.log.clone(), key, letters(name.to_owned()).place(), life);
            Receiver { webhook: webhook.clone(), again: Arc::new(again), bounds }
        };
        let made: Vec<Made> = targets
            .filter_map(|((name, target), webhook)| {
                let receiver = webhook.as_ref().map(|(webhook, bounds)| receiver(&name, webhook, *bounds));
                make(parts, name, target, receiver, partition, start)
            })
            .collect();
        let shared: Vec<_> = made.iter().map(|made| made.shared.clone()).collect();
        let siblings = Siblings::new(partition.clone(), shared.clone());
        for Made { shared, lane, open, bounds, buries } in made {
            let letters = letters(shared.target.clone());
            let (tenant, pipeline, random) = (plan.tenant.clone(), plan.definition.name.clone(), parts.random);
            let (siblings, is_over) = (siblings.clone(), is_over(plan, tasks));
            sinks.add(SinkSeed {
                tenant,
                pipeline,
                shared,
                siblings,
                lane,
                open,
                bounds,
                start,
                is_over,
                random,
                letters,
                buries,
            });
        }
        all.extend(shared);
    }
    all
}

fn webhook(parts: &SinkParts, plan: &Plan, target: &PlannedTarget) -> Option<(Arc<WebhookTarget>, BatchBounds)> {
    let PlannedTarget::Webhook(webhook) = target else { return None };
    let (secrets, clock) = (parts.secrets_of(&plan.tenant), parts.clock.clone());
    let target = WebhookTarget::new(webhook.settings.clone(), secrets, clock, parts.webhooks_private);
    Some((Arc::new(target), webhook.batch))
}

fn make(
    parts: &SinkParts,
    name: String,
    target: &PlannedTarget,
    receiver: Option<Receiver>,
    partition: &Arc<Partition>,
    start: Offset,
) -> Option<Made> {
    let webhook = receiver.as_ref().map(|receiver| receiver.webhook.clone());
    let shared = |promise| SinkShared::new(name, promise, receiver, partition.clone(), start);
    match target {
        PlannedTarget::Stream { .. } => None,
        PlannedTarget::File(file) => {
            let (disk, root, path) = (parts.disk.clone(), parts.files.clone(), file.path.clone());
            let (number, format, roll) = (partition.key().partition, file.format, file.roll);
            let open: Open = Box::new(move || Ok(Box::new(FileSink::open(disk.clone(), &root, &path, number, format)?)));
            let bounds = BatchBounds {
                rows: roll.rows.unwrap_or(FILE_ROWS),
                bytes: roll.bytes.unwrap_or(FILE_BYTES),
                every: roll.every.unwrap_or(parts.file_linger),
            };
            let shared = shared(Promise::ExactlyOnce);
            Some(Made { shared, lane: LaneKind::Files, open, bounds, buries: false })
        }
        PlannedTarget::Webhook(settings) => {
            let target = webhook?;
            let open: Open = Box::new(move || Ok(Box::new(WebhookSink::new(target.clone()))));
            let shared = shared(Promise::OncePerKey);
            let buries = settings.on_refused == OnRefused::DeadLetters;
            Some(Made { shared, lane: LaneKind::Own, open, bounds: settings.batch, buries })
        }
        PlannedTarget::Stdout => {
            let output = parts.stdout.clone();
            let open: Open = Box::new(move || Ok(Box::new(OutputSink::new(output.clone()))));
            let shared = shared(Promise::AtLeastOnce);
            Some(Made { shared, lane: LaneKind::Stdout, open, bounds: OUTPUT_BOUNDS, buries: false })
        }
    }
}

fn is_over(plan: &Plan, tasks: &[Arc<TaskShared>]) -> Box<dyn Fn() -> Option<bool> + Send> {
    match plan.definition.run {
        Run::Live => Box::new(|| None),
        Run::Once => {
            let tasks = tasks.to_vec();
            Box::new(move || Some(tasks.iter().all(|task| task.state() == TaskState::Finished)))
        }
    }
}
