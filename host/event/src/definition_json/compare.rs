//! Whether a stream may go from one definition to another.
//!
//! | the new definition | backward | forward | full | none |
//! |---|---|---|---|---|
//! | adds a nullable field, drops one | yes | yes | yes | yes |
//! | adds a field that may not be null, makes one so | | yes | | yes |
//! | drops a field that may not be null, lets one be null | yes | | | yes |
//! | int64 → float64, anything → json | yes | | | yes |
//! | float64 → int64, json → anything | | yes | | yes |
//! | any other type, another unit | | | | yes |
//! | key, time, partitions, types of key and time | | | | |
//!
//! *Backward* reads: older rows are rows of the new schema. *Forward*: newer rows are rows of the old one. The mode that counts is the one
//! the stream has, not the one that is asked for: to loosen it is a step of its own.

use crate::json::type_name;
use crate::{CompatibilityMode, Field, FieldType, StreamDefinition};

/// What a new definition means for a stream that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compatibility {
    /// Nothing is new.
    Same,
    /// The stream's mode takes every change.
    Compatible {
        /// The definition to store: the old fields in their order, then the new ones.
        definition: Box<StreamDefinition>,
        /// Whether rows look different, so that the schema has a new version; else only retention or mode changed.
        schema_changed: bool,
    },
    /// It cannot; each difference with what to do. Never empty.
    Incompatible(Vec<String>),
}

/// A change of the schema, as the modes see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Older rows fit, newer ones may not fit the old schema.
    Loosens,
    /// Newer rows fit the old schema, older ones may not fit the new one.
    Tightens,
    /// Neither.
    Breaks,
}

impl Change {
    fn is_taken_by(self, mode: CompatibilityMode) -> bool {
        match (mode, self) {
            (CompatibilityMode::None, _) => true,
            (CompatibilityMode::Backward, Self::Loosens) | (CompatibilityMode::Forward, Self::Tightens) => true,
            (CompatibilityMode::Backward | CompatibilityMode::Forward | CompatibilityMode::Full, _) => false,
        }
    }

    /// The modes that take it, for a person.
    fn taken_by(self) -> &'static str {
        match self {
            Self::Loosens => "`backward` or `none`",
            Self::Tightens => "`forward` or `none`",
            Self::Breaks => "`none`",
        }
    }
}

/// Collects what stands in the way.
struct Differences {
    mode: CompatibilityMode,
    found: Vec<String>,
}

impl Differences {
    /// A change that only some modes take.
    fn change(&mut self, change: Change, what: String, remedy: &str) {
        if !change.is_taken_by(self.mode) {
            let (mode, taken_by) = (self.mode.as_str(), change.taken_by());
            self.found
                .push(format!("{what}, which `{mode}` does not take: {remedy}, or set \"compatibility\" to {taken_by} first"));
        }
    }

    /// What no mode takes.
    fn never(&mut self, what: String) {
        self.found.push(what);
    }
}

/// Compares what a stream has with what a client wants. `new` must be checked.
pub fn compare(old: &StreamDefinition, new: &StreamDefinition) -> Compatibility {
    let mut differences = Differences { mode: old.compatibility, found: Vec::new() };
    fixed(old, new, &mut differences);
    let mut merged = new.clone();
    merged.schema.fields = Vec::new();
    for field in &old.schema.fields {
        match new.schema.field(&field.name) {
            Some(wanted) => {
                let places = old.key.contains(&field.name) || old.time.as_ref().is_some_and(|time| time.field == field.name);
                changed(field, wanted, places, &mut differences);
                merged.schema.fields.push(wanted.clone());
            }
            // Asking to infer again says nothing about what was found.
            None if new.schema.infer => merged.schema.fields.push(field.clone()),
            None if field.nullable => {}
            None => {
                let what = format!("field `{}` is missing and may not be null in the stream", field.name);
                differences.change(Change::Loosens, what, "list it again");
            }
        }
    }
    for field in new.schema.fields.iter().filter(|field| old.schema.field(&field.name).is_none()) {
        if !field.nullable {
            let what = format!("field `{}` is new and may not be null, but older rows do not have it", field.name);
            differences.change(Change::Tightens, what, "make it nullable");
        }
        merged.schema.fields.push(field.clone());
    }
    // What was merged may cross where neither side did.
    if differences.found.is_empty()
        && let Err(faults) = super::check(&merged)
    {
        differences.found.extend(faults.0.into_iter().map(|fault| format!("{}: {}", fault.path, fault.error)));
    }
    if !differences.found.is_empty() {
        return Compatibility::Incompatible(differences.found);
    }
    if merged == *old {
        return Compatibility::Same;
    }
    let schema_changed = merged.schema != old.schema;
    Compatibility::Compatible { definition: Box::new(merged), schema_changed }
}

/// What never changes: rows that are there were placed and timed by it.
fn fixed(old: &StreamDefinition, new: &StreamDefinition, differences: &mut Differences) {
    if old.partitions != new.partitions {
        differences.never(format!(
            "partitions: the stream has {} and {} are asked for, which would place keys elsewhere: make another stream",
            old.partitions, new.partitions
        ));
    }
    if old.key != new.key {
        let list = |key: &[std::sync::Arc<str>]| format!("[{}]", key.join(", "));
        differences.never(format!(
            "key: the stream is keyed by {} and {} is asked for: make another stream",
            list(&old.key),
            list(&new.key)
        ));
    }
    if old.time != new.time {
        differences.never("time: where rows have their event time cannot change: make another stream".to_owned());
    }
    if new.schema.infer && !old.schema.infer {
        differences.never("schema: the stream's fields are declared: list them instead of \"infer\"".to_owned());
    }
}

/// A field of both definitions; `places`: its value places or times rows.
fn changed(old: &Field, new: &Field, places: bool, differences: &mut Differences) {
    if old.ty != new.ty {
        let what = format!("field `{}` is {} and {} is asked for", old.name, type_name(old.ty), type_name(new.ty));
        if places {
            differences.never(format!("{what}, but rows are placed or timed by it: leave its type, or make another stream"));
        } else if let Some(change) = type_change(old, new) {
            differences.change(change, what, "leave its type, add a field of another name");
        }
    }
    if old.nullable && !new.nullable {
        differences.change(Change::Tightens, format!("field `{}` may be null in older rows", old.name), "leave it nullable");
    }
    if !old.nullable && new.nullable {
        let what = format!("field `{}` may not be null for those who read the older schema", old.name);
        differences.change(Change::Loosens, what, "leave \"nullable\": false");
    }
}

/// How the modes see a change of type; `None` is one that a field makes by itself.
fn type_change(old: &Field, new: &Field) -> Option<Change> {
    let widens = matches!((old.ty, new.ty), (FieldType::Int64, FieldType::Float64) | (_, FieldType::Json));
    let narrows = matches!((old.ty, new.ty), (FieldType::Float64, FieldType::Int64) | (FieldType::Json, _));
    match (widens, narrows) {
        (true, _) if old.inferred => None,
        (true, _) => Some(Change::Loosens),
        (false, true) => Some(Change::Tightens),
        (false, false) => Some(Change::Breaks),
    }
}
