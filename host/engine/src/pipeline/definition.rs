//! A pipeline as its author wrote it, form checked, every piece with the line it stands on.

use std::time::Duration;

use tidemill_event::{EventTime, PipelineName, StreamName};
use tidemill_flow::{OnFailing, TimeSettings, Ttl};

use crate::pipeline::{
    AlertText, CorrelateText, JoinStep, LimitStep, LookupStep, MachineText, MeterStep, OriginStep, OverStep, PatternComponent,
    PatternDefinition, PatternsStep, RulesStep, SampleStep, Target, WindowStep,
};

/// A text with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// When a pipeline ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// Never.
    Live,
    /// Where its source ended when it was applied.
    Once,
}

/// What happens when replay gives something else than what was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnDivergence {
    /// It is counted and named; the pipeline goes on.
    Continue,
    /// The pipeline waits for a person.
    Stop,
}

/// Where a run begins in a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// At the first row kept.
    Earliest,
    /// Behind the last row there is.
    Latest,
    /// At these rows, one for each partition.
    Offsets(Vec<u64>),
    /// At the first row of each partition whose event time is not before this. Rows behind it may be older.
    Time(EventTime),
}

/// What happens when rows were removed that were not taken yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnTrim {
    /// The pipeline waits for a person, and names the range.
    Stop,
    /// They are counted and left out.
    Skip,
}

/// A stream it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) stream: StreamName,
    /// Expressions may say `alias.column`.
    pub(crate) alias: Option<String>,
    pub(crate) start: Start,
    pub(crate) on_trim: OnTrim,
    /// How far behind the newest row of its lane a row may be without being late.
    pub(crate) out_of_orderness: Duration,
    /// A lane of it that is silent so long holds no window open; `None`: it does for ever.
    pub(crate) idle: Option<Duration>,
    pub(crate) path: String,
    pub(crate) line: usize,
}

/// Which rows a rule lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeepRows {
    /// Those it says yes to.
    Matching,
    /// Those it says no to.
    Failing,
    /// Every row.
    All,
}

/// Limits a step sets itself; the others are the runtime's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LimitOverrides {
    pub(crate) fuel_per_row: Option<u64>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) output_bytes: Option<u64>,
    pub(crate) deadline: Option<Duration>,
}

/// A component as a step uses it, or expressions do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ComponentStep {
    /// `high-value@1`.
    pub(crate) reference: Text,
    /// JSON text, `{}` if there is none.
    pub(crate) config: String,
    pub(crate) config_line: usize,
    /// `None`: no `by`. Empty: one key for all.
    pub(crate) by: Option<Vec<Text>>,
    pub(crate) by_line: usize,
    /// How long its state lives; `None`: for ever.
    pub(crate) ttl: Option<Ttl>,
    pub(crate) limits: LimitOverrides,
    /// What becomes of rows while the component is out because it keeps failing.
    pub(crate) on_failing: OnFailing,
}

/// A name that expressions may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FunctionUse {
    pub(crate) name: Text,
    pub(crate) component: ComponentStep,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StepKind {
    /// Lets rows through.
    Where(Text),
    /// Replaces the row.
    Select(Vec<(Text, Text)>),
    /// Adds to the row.
    Extend(Vec<(Text, Text)>),
    /// Asks a rule.
    Rule {
        component: ComponentStep,
        keep: KeepRows,
        /// The answer as a column, with `keep: all`.
        answer: Option<Text>,
    },
    /// Puts columns of a table beside the row.
    Lookup(LookupStep),
    /// Asks a transform.
    Transform { component: ComponentStep, keep_input: bool },
    /// Asks a process. Its outputs beside the main one are among the targets.
    Process { component: ComponentStep, outputs: Vec<(Text, StreamName)> },
    /// Brings rows of two streams together; the first step.
    Join(JoinStep),
    /// Says something of the rows of a window.
    Window(WindowStep),
    /// Says something of each row and those before it.
    Over(OverStep),
    /// Finds rows of a key that follow each other.
    Pattern(PatternDefinition),
    /// The same, as a component says.
    PatternComponent(PatternComponent),
    /// Lets one row of a key through in a time.
    Dedupe(LimitStep),
    /// Lets so many rows of a key through in a time.
    Rate(LimitStep),
    /// Lets a share of the keys, or of the rows, through.
    Sample(SampleStep),
    /// Finds rows of a key that stand behind each other as SQL's `MATCH_RECOGNIZE` says: the text of its clauses.
    MatchRecognize(MatchRecognizeText),
    /// Tells of rows in the stream of alerts.
    Alert(Box<AlertText>),
    /// Measures rows.
    Metrics(Vec<MeterStep>),
    /// Finds events of a key that come together.
    Correlate(Box<CorrelateText>),
    /// Says where rows came from.
    Origin(OriginStep),
    /// Moves a machine for each key.
    Machine(Box<MachineText>),
    /// Finds rows that follow each other, in many ways.
    Patterns(PatternsStep),
    /// Asks many rules.
    Rules(RulesStep),
}

/// A `match_recognize` step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MatchRecognizeText {
    pub(crate) text: Text,
    /// Whether somebody may ask later why a match was told.
    pub(crate) explain: bool,
}

impl StepKind {
    /// Its word in the grammar.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Where(_) => "where",
            Self::Select(_) => "select",
            Self::Extend(_) => "extend",
            Self::Rule { .. } => "rule",
            Self::Lookup(_) => "lookup",
            Self::Transform { .. } => "transform",
            Self::Process { .. } => "process",
            Self::Join(_) => "join",
            Self::Window(_) => "window",
            Self::Over(_) => "over",
            Self::Pattern(_) | Self::PatternComponent(_) => "pattern",
            Self::Patterns(_) => "patterns",
            Self::Dedupe(_) => "dedupe",
            Self::Rate(_) => "rate",
            Self::Sample(_) => "sample",
            Self::MatchRecognize(_) => "match_recognize",
            Self::Alert(_) => "alert",
            Self::Metrics(_) => "metrics",
            Self::Rules(_) => "rules",
            Self::Machine(_) => "machine",
            Self::Correlate(_) => "correlate",
            Self::Origin(_) => "origin",
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) kind: StepKind,
    /// `steps[2]`.
    pub(crate) path: String,
    pub(crate) line: usize,
}

impl Step {
    /// `steps[2].rule`: how faults, dead letters and status name it.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.path, self.kind.word())
    }
}

/// A whole pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PipelineDefinition {
    pub(crate) name: PipelineName,
    pub(crate) run: Run,
    pub(crate) on_divergence: OnDivergence,
    /// How its time runs where no source says otherwise.
    pub(crate) time: TimeSettings,
    /// At least one; several are one stream, by column name.
    pub(crate) sources: Vec<Source>,
    /// Components that expressions call.
    pub(crate) functions: Vec<FunctionUse>,
    /// Rules that ask for one of these are on.
    pub(crate) tags: Vec<String>,
    pub(crate) steps: Vec<Step>,
    pub(crate) targets: Vec<Target>,
}

impl PipelineDefinition {
    /// Whether its sources are two sides, and not one stream.
    pub(crate) fn is_join(&self) -> bool {
        matches!(self.steps.first(), Some(Step { kind: StepKind::Join(_), .. }))
    }

    /// What each source is called in what is kept of the run: its stream, and where a join reads that a second time, `flights as b`.
    pub(crate) fn input_names(&self) -> Vec<String> {
        let name = |(at, source): (usize, &Source)| {
            let is_second = self.sources[..at].iter().any(|earlier| earlier.stream == source.stream);
            match &source.alias {
                Some(alias) if is_second => format!("{} as {alias}", source.stream),
                Some(_) | None => source.stream.to_string(),
            }
        };
        self.sources.iter().enumerate().map(name).collect()
    }
}
