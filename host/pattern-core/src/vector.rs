//! A vector's pattern as the matcher's, with its conditions by number.

use std::time::Duration;

use serde_json::Value;
use tidemill_flow::pattern::{
    Body, Contiguity, Element, Greed, Inner, Pattern, PatternRefused, PredicateId, Quantifier, Skip, SkipTarget, Stage,
};

/// A pattern, and what its predicates say.
pub(crate) struct Written {
    pub(crate) pattern: Pattern,
    pub(crate) conditions: Vec<Value>,
}

/// Reads a pattern. Errors: it is none of the form.
pub(crate) fn read(vector: &Value) -> Result<Written, String> {
    let mut conditions = Vec::new();
    let elements = row(&vector["pattern"]["stages"], &mut conditions)?;
    let mut pattern = Pattern::new(elements);
    for window in vector["pattern"]["within"].as_array().into_iter().flatten() {
        let length = Some(Duration::from_millis(window["ms"].as_u64().ok_or("a window without ms")?));
        match window["type"].as_str() {
            Some("first_and_last") => pattern.within = length,
            Some("previous_and_current") => pattern.within_last = length,
            other => return Err(format!("no window {other:?}")),
        }
    }
    pattern.skip = skip(&vector["after_match_skip"])?;
    Ok(Written { pattern, conditions })
}

fn skip(skip: &Value) -> Result<Skip, String> {
    let target = || SkipTarget {
        stage: skip["stage"].as_str().unwrap_or_default().into(),
        must_exist: skip["error_if_missing"] == Value::Bool(true),
    };
    Ok(match skip["strategy"].as_str() {
        None | Some("no_skip") => Skip::None,
        Some("skip_to_next") => Skip::ToNext,
        Some("skip_past_last_event") => Skip::PastLast,
        Some("skip_to_first") => Skip::ToFirst(target()),
        Some("skip_to_last") => Skip::ToLast(target()),
        Some(other) => return Err(format!("no strategy `{other}`")),
    })
}

fn row(stages: &Value, conditions: &mut Vec<Value>) -> Result<Vec<Element>, String> {
    let stages = stages.as_array().ok_or_else(|| format!("no stages: {stages}"))?;
    stages.iter().map(|stage| element(stage, conditions)).collect()
}

fn element(element: &Value, conditions: &mut Vec<Value>) -> Result<Element, String> {
    let contiguity = match element["contiguity"].as_str() {
        Some("begin" | "next") => Contiguity::Next,
        Some("followed_by") => Contiguity::FollowedBy,
        Some("followed_by_any") => Contiguity::FollowedByAny,
        Some("not_next") => Contiguity::NotNext,
        Some("not_followed_by") => Contiguity::NotFollowedBy,
        other => return Err(format!("no contiguity {other:?}")),
    };
    let quantifier = quantifier(&element["quantifier"])?;
    let body = if element.get("group").is_some() {
        Body::Group(row(&element["group"], conditions)?)
    } else {
        let name = element["name"].as_str().ok_or_else(|| format!("a stage without a name: {element}"))?;
        let condition = predicate(&element["where"], conditions)?;
        let until = element.get("until").map(|until| predicate(until, conditions)).transpose()?;
        Body::Stage(Stage { name: name.into(), condition, until })
    };
    Ok(Element { contiguity, quantifier, body })
}

/// Equal conditions are one predicate. One beyond the bound is refused when the pattern is compiled.
fn predicate(condition: &Value, conditions: &mut Vec<Value>) -> Result<PredicateId, String> {
    let at = conditions.iter().position(|known| known == condition).unwrap_or_else(|| {
        conditions.push(condition.clone());
        conditions.len() - 1
    });
    u8::try_from(at).map(PredicateId).map_err(|_| PatternRefused::TooManyPredicates.to_string())
}

fn quantifier(quantifier: &Value) -> Result<Quantifier, String> {
    if quantifier.is_null() {
        return Ok(Quantifier::ONCE);
    }
    let is = |name: &str| quantifier[name] == Value::Bool(true);
    let count = |name: &str| -> Result<u32, String> {
        let count = quantifier[name].as_u64().and_then(|count| u32::try_from(count).ok());
        count.ok_or_else(|| format!("`{name}` is no count in {quantifier}"))
    };
    let mut read = Quantifier { is_optional: is("optional"), ..Quantifier::ONCE };
    let is_loop = quantifier.get("min").is_some();
    if is_loop {
        read.min = count("min")?;
        read.max = if quantifier["max"].is_null() { None } else { Some(count("max")?) };
    }
    read.inner = match quantifier["inner"].as_str() {
        None | Some("relaxed") => Inner::Relaxed,
        Some("consecutive") => Inner::Consecutive,
        Some("combinations") => Inner::Combinations,
        Some(other) => return Err(format!("no `{other}` between rounds")),
    };
    // Greedy with exactly once, said as a loop, is the same as without.
    if is("greedy") && !(is_loop && read.min == 1 && read.max == Some(1)) {
        read.greed = Greed::Greedy;
    }
    read.gap = quantifier["gap_within_ms"].as_u64().map(Duration::from_millis);
    Ok(read)
}
