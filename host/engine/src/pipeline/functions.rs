//! `functions`, beside `from`: names that expressions may call, and the components behind them.

use tidemill_flow::OnFailing;

use crate::Fault;
use crate::pipeline::document::{Node, NodeValue};
use crate::pipeline::object::{Object, text_of};
use crate::pipeline::parse::component;
use crate::pipeline::{ComponentStep, FunctionUse, LimitOverrides, Text};

/// Names are refused beyond so many.
const FUNCTIONS_MAX: usize = 64;
const EXAMPLE: &str = "{entropy: entropy@2}";

/// Reads them, in the order of the text.
pub(super) fn functions(node: &Node, faults: &mut Vec<Fault>) -> Vec<FunctionUse> {
    let Some(_) = Object::of(node, "functions", EXAMPLE, faults) else { return Vec::new() };
    let NodeValue::Object(members) = &node.value else { return Vec::new() };
    if members.len() > FUNCTIONS_MAX {
        let remedy = format!("at most {FUNCTIONS_MAX} are possible: name those that expressions call");
        faults.push(Fault::new("functions", node.line, format!("{} functions", members.len()), remedy));
        return Vec::new();
    }
    let one = |(key, value): &(crate::pipeline::document::Key, Node)| {
        let path = format!("functions.{}", key.name);
        if !is_name(&key.name) {
            let error = format!("`{}` is no name that expressions can call", key.name);
            let remedy = "write lower-case letters, digits and `_`, a letter first: `entropy`";
            faults.push(Fault::new(&path, key.line, error, remedy));
        }
        let component = used(value, &path, faults)?;
        Some(FunctionUse { name: Text { text: key.name.clone(), line: key.line }, component })
    };
    members.iter().filter_map(one).collect()
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= 63
        && name.chars().all(|any| any.is_ascii_lowercase() || any.is_ascii_digit() || any == '_')
}

/// A reference alone, or one with settings.
fn used(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<ComponentStep> {
    if let NodeValue::Scalar { .. } = node.value {
        return Some(ComponentStep {
            reference: text_of(node, path, faults)?,
            config: "{}".to_owned(),
            config_line: node.line,
            by: None,
            by_line: node.line,
            ttl: None,
            limits: LimitOverrides::default(),
            on_failing: OnFailing::Hold,
        });
    }
    let mut object = Object::of(node, path, "{component: entropy@2, config: {least_bytes: 4}}", faults)?;
    let Some(reference) = object.take("component") else {
        object.missing("component", "component: entropy@2", faults);
        return None;
    };
    let used = component(reference, &object.member("component"), &mut object, faults);
    if let Some(ComponentStep { by: Some(_), by_line, .. }) = &used {
        let remedy = "remove it: a window's `by` says which rows are summed up together";
        faults.push(Fault::new(object.member("by"), *by_line, "`by` is for steps that keep state", remedy));
    }
    if let Some(ComponentStep { ttl: Some(_), by_line, .. }) = &used {
        faults.push(Fault::new(object.member("ttl"), *by_line, "`ttl` is for steps that keep state", "remove it"));
    }
    object.finish(&["component", "config", "limits", "on_failing"], faults);
    used
}
