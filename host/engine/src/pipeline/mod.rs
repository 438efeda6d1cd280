//! The text of a pipeline, and what it says once it is checked for form.
//!
//! ```text
//! text (YAML or JSON) ─ document ─► nodes with lines ─ parse ─► PipelineDefinition
//! ```
//! Nothing here knows which streams, columns or components there are: that is [`crate::plan`]'s.

mod alert;
mod correlate;
mod definition;
pub(crate) mod document;
#[cfg(test)]
mod example;
mod functions;
mod join;
mod lookup;
mod machine;
mod meters;
mod object;
mod panes;
mod parse;
mod pattern;
mod patterns;
mod process;
mod rules;
mod scalar;
mod schema;
mod sources;
mod stages;
mod suggest;
mod target;
mod thin;
mod time;
mod ttl;
mod window;

pub(crate) use alert::{AlertText, Severity};
pub(crate) use correlate::{CorrelateText, KindsText, OriginStep};
pub(crate) use definition::{
    ComponentStep, FunctionUse, KeepRows, LimitOverrides, MatchRecognizeText, OnDivergence, OnTrim, PipelineDefinition, Run,
    Source, Start, Step, StepKind, Text,
};
pub(crate) use join::{JoinBound, JoinStep, direction_word, kind_word};
pub(crate) use lookup::{LookupStep, Matching};
pub(crate) use machine::{MachineText, StateText, TransitionText};
pub(crate) use meters::{MeterKind, MeterStep};
pub(crate) use object::listed;
pub(crate) use parse::{Reading, STEP_WORDS, parse, read_pipeline};
pub(crate) use pattern::{PatternComponent, PatternDefinition, SkipTo};
pub(crate) use patterns::PatternsStep;
pub(crate) use rules::{KEEPS_NONE, RuleText, RulesStep};
pub use schema::PIPELINE_SCHEMA;
pub(crate) use stages::{Body as StageBody, Element as StageElement};
pub(crate) use suggest::nearest;
pub(crate) use target::{FileTarget, OnRefused, Route, SideOf, Target, TargetKind, WebhookTarget};
pub(crate) use thin::{LimitStep, SampleStep};
pub(crate) use window::{OverStep, SessionGap, TopOrder, TopStep, WindowKind, WindowStep};
