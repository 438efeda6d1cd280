//! `ttl`: how long a component's state lives after its key was last seen.
//!
//! ```yaml
//! ttl: 1h                  # by the events' own time
//! ttl: {wall_clock: 1h}    # by the host's
//! ```

use std::time::Duration;

use tidemill_event::units;
use tidemill_flow::{Ttl, TtlClock};

use crate::Fault;
use crate::pipeline::document::{Node, NodeValue};
use crate::pipeline::object::{Object, text_of};

const EXAMPLE: &str = "{wall_clock: 1h}";

/// Reads what stands behind `ttl:`.
pub(super) fn ttl(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<Ttl> {
    if let NodeValue::Scalar { .. } = node.value {
        let text = text_of(node, path, faults)?;
        let after = units::duration(&text.text);
        if after.is_none() {
            let error = format!("`{}` is no such value", text.text);
            faults.push(Fault::new(path, text.line, error, "write an integer and ms, s, m, h or d: `1h`, or `{wall_clock: 1h}`"));
        }
        return some_time(after?, TtlClock::EventTime, node, path, faults);
    }
    let mut object = Object::of(node, path, EXAMPLE, faults)?;
    let by_event = object.duration("event_time", faults);
    let by_clock = object.duration("wall_clock", faults);
    let named = object.keys().filter(|key| matches!(key.name.as_str(), "event_time" | "wall_clock")).count();
    object.finish(&["event_time", "wall_clock"], faults);
    if named != 1 {
        let error = if named == 0 { "nothing says by which time" } else { "by two clocks at once" };
        faults.push(Fault::new(path, node.line, error, "write one of `event_time` and `wall_clock`: `{wall_clock: 1h}`"));
        return None;
    }
    match (by_event, by_clock) {
        (Some(after), _) => some_time(after, TtlClock::EventTime, node, path, faults),
        (None, Some(after)) => some_time(after, TtlClock::WallClock, node, path, faults),
        (None, None) => None,
    }
}

fn some_time(after: Duration, clock: TtlClock, node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<Ttl> {
    if after.is_zero() {
        faults.push(Fault::new(path, node.line, "state that lives no time is none", "write a longer time: `1h`"));
        return None;
    }
    Some(Ttl::new(after, clock))
}
