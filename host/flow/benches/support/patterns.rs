//! Pattern steps over payments: what those that are measured have in common.

use std::time::Duration;

use tidemill_event::Field;
use tidemill_flow::pattern::{Measure, Pattern, PatternOrder, PatternSettings, RunLimits, StageCondition};
use tidemill_flow::{Aggregate, AggregateCall, Judged, StepId};

use super::payments::{field, fields};

pub(crate) const STEP: StepId = StepId(0);
pub(crate) const WITHIN: Duration = Duration::from_secs(60);
pub(crate) const DECLINED: &str = "status = 'declined'";

pub(crate) fn measure(name: &str, stage: Option<&str>, aggregate: Aggregate, argument: Option<Field>) -> Measure {
    Measure { stage: stage.map(Into::into), call: AggregateCall { name: name.into(), aggregate, argument, filter: None } }
}

pub(crate) fn settings(
    by: &str,
    pattern: Pattern,
    conditions: Vec<StageCondition>,
    asked: &[&str],
    measures: Vec<Measure>,
) -> PatternSettings {
    let kept: Vec<Field> = measures.iter().filter_map(|measure| measure.call.argument.clone()).collect();
    let needed = |one: &Field| &*one.name == by || asked.contains(&&*one.name) || kept.contains(one);
    PatternSettings {
        step: STEP,
        by: vec![field(by)],
        fields: fields().into_iter().filter(needed).collect(),
        kept: kept.clone(),
        pattern,
        conditions,
        values: Vec::new(),
        asked: None,
        order: PatternOrder::Time,
        limits: RunLimits::default(),
        measures,
        explained: None,
        timeouts: false,
        judged: Judged::ByLane,
        draining: false,
    }
}
