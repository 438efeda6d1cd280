//! What the log keeps of a pipeline: its text, what its references meant when it was applied, and where its run began and ends.

use serde::{Deserialize, Serialize};
use tidemill_event::{PipelineName, StreamName, TenantName};

/// Keys of the documents of replays begin with this.
pub(crate) const REPLAYS: &str = "replay/";

/// The document `pipeline/{tenant}/{name}`, and for a replay `replay/{tenant}/{name}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredPipeline {
    /// The text as it was sent.
    pub(crate) text: String,
    /// Counts the plans of this name, from 1.
    pub(crate) plan: u64,
    /// Counts the runs of this name, from 1, through deletion and making anew: state and progress of another run do not count.
    pub(crate) run: u64,
    /// Somebody paused it.
    pub(crate) paused: bool,
    /// What it reads, in the order of the text.
    pub(crate) sources: Vec<StoredSource>,
    /// One task takes all partitions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) gathered: bool,
    /// Its stages, if it has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) stages: Vec<StoredStage>,
    /// What each component reference means.
    pub(crate) pinned: Vec<Pin>,
    /// The state of the host's own steps: windows, joins. That of components is pinned with them.
    #[serde(default)]
    pub(crate) states: Vec<StoredState>,
    /// The next number for a step with state.
    pub(crate) next_operator: u32,
    /// Per partition of `{pipeline}.output`, where files and standard output begin.
    pub(crate) output_starts: Vec<u64>,
    /// Per partition of `{pipeline}.dead-letters`, where those of this run begin: it took the events of earlier ones itself.
    #[serde(default)]
    pub(crate) letters_from: Vec<u64>,
}

/// A stream that is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredSource {
    /// Its name; where a join reads it a second time, `flights as b`.
    pub(crate) stream: String,
    /// The plan that began to read it. Places that plans before it recorded do not count: it was left out in between, or is another
    /// stream of that name.
    pub(crate) since: u64,
    /// The schema version it was planned against.
    pub(crate) version: u32,
    /// Per partition, where the run begins.
    pub(crate) starts: Vec<u64>,
    /// Per partition, where a `once` ends.
    pub(crate) ends: Option<Vec<u64>>,
}

/// A stage of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredStage {
    pub(crate) tasks: u32,
    /// The streams it reads of the stage before: what each is called behind the pipeline's name, and what its rows are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) reads: Vec<(String, String)>,
}

/// What a component reference means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pin {
    /// The step, from 0.
    pub(crate) step: u32,
    /// As it was written.
    pub(crate) reference: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// `sha256:…`.
    pub(crate) digest: String,
    /// The number under which the step's state is kept; `None` without state. It stays when a change of plan keeps the state.
    pub(crate) operator: Option<u32>,
    /// What the state depends on: the key and the state's fields.
    pub(crate) state_shape: Option<String>,
    /// The name by which expressions call it; `None`: it is a step's. A function is of no step: `step` is the greatest number there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) function: Option<String>,
}

impl Pin {
    /// Of a component that nobody has uploaded.
    pub(crate) fn on_trial(reference: &str, digest: &str) -> Self {
        Self {
            step: 0,
            reference: reference.to_owned(),
            name: reference.to_owned(),
            version: "0.0.0".to_owned(),
            digest: digest.to_owned(),
            operator: None,
            state_shape: None,
            function: None,
        }
    }
}

/// The state of a step of the host's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredState {
    /// The step, from 0.
    pub(crate) step: u32,
    /// `window`, `over`, ….
    pub(crate) word: String,
    /// The number under which it is kept. It stays when a change of plan keeps the state.
    pub(crate) operator: u32,
    /// What it depends on.
    pub(crate) shape: String,
}

/// The stream in which the tasks of a run keep what they took.
pub(crate) fn progress_name(pipeline: &PipelineName, run: u64) -> StreamName {
    let first = StreamName::derived(pipeline.as_str(), "progress");
    if run == 1 { first } else { first.of_run(run) }
}

impl StoredPipeline {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The number and shape of the state that a step had.
    pub(crate) fn state_of(&self, step: u32) -> Option<(u32, &str)> {
        let pinned = self.pinned.iter().find(|pin| pin.step == step);
        let of_component = pinned.and_then(|pin| Some((pin.operator?, pin.state_shape.as_deref()?)));
        let own = || self.states.iter().find(|state| state.step == step).map(|state| (state.operator, state.shape.as_str()));
        of_component.or_else(own)
    }

    /// Whether it kept state under this number.
    pub(crate) fn has_state(&self, operator: u32) -> bool {
        self.pinned.iter().any(|pin| pin.operator == Some(operator)) || self.states.iter().any(|state| state.operator == operator)
    }

    pub(crate) fn source(&self, stream: &str) -> Option<&StoredSource> {
        self.sources.iter().find(|source| source.stream == stream)
    }

    /// How many tasks it has.
    pub(crate) fn tasks(&self) -> u32 {
        if self.gathered {
            return 1;
        }
        if !self.stages.is_empty() {
            return self.stages.iter().map(|stage| stage.tasks).sum();
        }
        self.sources.iter().map(|source| source.starts.len() as u32).max().unwrap_or(0)
    }

    /// The streams between its stages.
    pub(crate) fn inner_streams(&self, pipeline: &PipelineName) -> Vec<StreamName> {
        let of_run = |name: StreamName| if self.run == 1 { name } else { name.of_run(self.run) };
        let reads = self.stages.iter().flat_map(|stage| &stage.reads);
        reads.map(|(suffix, _)| of_run(StreamName::derived(pipeline.as_str(), suffix))).collect()
    }

    pub(crate) fn prefix(tenant: &TenantName) -> String {
        format!("pipeline/{tenant}/")
    }

    pub(crate) fn key(tenant: &TenantName, name: &PipelineName) -> String {
        format!("pipeline/{tenant}/{name}")
    }

    /// The document of a replay beside it.
    pub(crate) fn replay_key(tenant: &TenantName, name: &PipelineName) -> String {
        format!("{REPLAYS}{tenant}/{name}")
    }

    /// The document that counts the runs of a name and outlives the pipeline.
    pub(crate) fn run_key(tenant: &TenantName, name: &PipelineName) -> String {
        format!("pipeline-run/{tenant}/{name}")
    }
}
