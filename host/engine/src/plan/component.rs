//! A component step, resolved: which bytes, with which configuration, limits and state.

use std::sync::Arc;

use tidemill_event::{Field, FieldType};
use tidemill_flow::{OnFailing, Ttl, TtlClock};
use tidemill_runtime::{Component, Description, Kind, Lifetime, Limits};

use crate::pipeline::LimitOverrides;
use crate::stored::Pin;

/// A component as one step uses it.
pub(crate) struct PlannedComponent {
    /// `steps[2].rule`.
    pub(crate) step_name: String,
    pub(crate) pin: Pin,
    pub(crate) component: Arc<Component>,
    pub(crate) config: String,
    pub(crate) limits: Limits,
    /// The key of its state.
    pub(crate) by: Vec<Arc<str>>,
    /// How long its state lives.
    pub(crate) ttl: Option<Ttl>,
    /// What becomes of rows while it is out.
    pub(crate) on_failing: OnFailing,
}

impl PlannedComponent {
    /// `high-value@1.0.0`.
    pub(crate) fn label(&self) -> String {
        format!("{}@{}", self.pin.name, self.pin.version)
    }
}

/// The runtime's defaults with a step's own limits in their place.
pub(crate) fn limits(overrides: &LimitOverrides) -> Limits {
    let mut limits = Limits::default();
    if let Some(fuel) = overrides.fuel_per_row {
        limits.fuel_per_row = fuel;
    }
    if let Some(bytes) = overrides.memory_bytes {
        limits.memory_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    if let Some(bytes) = overrides.output_bytes {
        // What an author sets is the whole bound of a call, whatever its rows.
        limits.output_bytes_base = usize::try_from(bytes).unwrap_or(usize::MAX);
        limits.output_bytes_per_row = 0;
    }
    if let Some(deadline) = overrides.deadline {
        limits.deadline = deadline;
    }
    limits
}

/// What a step's state depends on: with another shape the old state means nothing.
pub(crate) fn state_shape(description: &Description, by: &[Arc<str>]) -> String {
    let named = |field: &Field| format!("{}:{}{}", field.name, type_name(field.ty), if field.nullable { "?" } else { "" });
    let list = |fields: &[Field]| fields.iter().map(named).collect::<Vec<_>>().join(", ");
    let mut shape = format!("by [{}] keeps [{}]", by.join(", "), list(&description.state_fields()));
    // Times to live may change: what is there lives by the new rule from its next write on.
    for table in &description.memory.tables {
        shape.push_str(&format!(" and {} [{}] by [{}]", table.name, list(&table.values), list(&table.key)));
    }
    if description.memory.timers {
        shape.push_str(" and timers");
    }
    shape
}

/// How long a component says that something lives, as operators take it.
pub(crate) fn ttl(lifetime: Lifetime) -> Ttl {
    Ttl::new(lifetime.after, if lifetime.by_wall_clock { TtlClock::WallClock } else { TtlClock::EventTime })
}

/// A column where a component wants one: the same type, and never null if it must not be.
pub(crate) fn column_fits(wanted: &Field, there: &Field) -> Result<(), String> {
    if type_name(plain(wanted.ty)) != type_name(plain(there.ty)) {
        return Err(format!("`{}` is {}, the component needs {}", there.name, type_name(there.ty), type_name(wanted.ty)));
    }
    if there.nullable && !wanted.nullable {
        return Err(format!("`{}` may be null, and the component needs it never null", there.name));
    }
    Ok(())
}

/// `a rule`, `an aggregate`.
pub(crate) fn a(kind: Kind) -> &'static str {
    match kind {
        Kind::Rule => "a rule",
        Kind::Transform => "a transform",
        Kind::Function => "a function",
        Kind::Aggregate => "an aggregate",
        Kind::Process => "a process",
        Kind::Pattern => "a pattern",
    }
}

/// A timestamp's unit is how it looks in JSON, not what it is.
pub(crate) fn plain(ty: FieldType) -> FieldType {
    match ty {
        FieldType::Timestamp(_) => FieldType::Timestamp(None),
        FieldType::Bool
        | FieldType::Int64
        | FieldType::Float64
        | FieldType::Decimal { .. }
        | FieldType::String
        | FieldType::Bytes
        | FieldType::Json => ty,
    }
}

/// The type as a stream's definition writes it.
pub(crate) fn type_name(ty: FieldType) -> String {
    match ty {
        FieldType::Bool => "bool".to_owned(),
        FieldType::Int64 => "int64".to_owned(),
        FieldType::Float64 => "float64".to_owned(),
        FieldType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        FieldType::String => "string".to_owned(),
        FieldType::Bytes => "bytes".to_owned(),
        FieldType::Timestamp(_) => "timestamp".to_owned(),
        FieldType::Json => "json".to_owned(),
    }
}
