//! `time`, beside `from`: how a pipeline's event time runs when rows do not come.

use std::time::Duration;

use tidemill_flow::TimeSettings;

use crate::Fault;
use crate::pipeline::document::Node;
use crate::pipeline::object::Object;

/// A lane that is silent so long holds nothing back, unless its source says otherwise.
pub(crate) const IDLE: Duration = Duration::from_secs(30);
/// When all is silent so long, time goes on at the clock's speed, unless `bound` says otherwise.
const BOUND: Duration = Duration::from_secs(30);

/// Reads `time`; what it does not say is as it is by default: no window hangs for ever, and no source waits for another.
pub(super) fn time(node: Option<&Node>, faults: &mut Vec<Fault>) -> TimeSettings {
    let mut settings = TimeSettings { idle_after: Some(IDLE), bound: Some(BOUND), drift_max: None };
    let Some(mut object) = node.and_then(|node| Object::of(node, "time", "{bound: 30s, max_drift: 10m}", faults)) else {
        return settings;
    };
    if let Some(bound) = object.duration_or_off("bound", faults) {
        settings.bound = bound;
    }
    if let Some(drift) = object.duration_or_off("max_drift", faults) {
        settings.drift_max = drift;
    }
    object.finish(&["bound", "max_drift"], faults);
    settings
}
