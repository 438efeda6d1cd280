//! Where rows go, checked: does a stream that is there take them, and what will one look like that is not.

use std::sync::Arc;

use tidemill_event::{Field, FieldType, Retention, StreamDefinition, StreamName, StreamSchema, UnknownFields};
use tidemill_log::Stream;

use crate::pipeline::{FileTarget, Route, SideOf, WebhookTarget};
use crate::plan::component::type_name;

/// A target of a plan.
pub(crate) enum PlannedTarget {
    /// A stream; `None` where it has yet to be made, as `definition` says.
    Stream {
        name: StreamName,
        there: Option<Arc<Stream>>,
        definition: StreamDefinition,
        /// The step's output whose rows it takes; `None`: those that come out behind the last step.
        of: Option<SideOf>,
        /// It takes rows of these routes alone; none: every row.
        routes: Vec<Route>,
        /// Columns that come out and that it drops, since it does not know them.
        left_out: Vec<Arc<str>>,
    },
    /// A folder inside `files/`.
    File(FileTarget),
    /// The host's standard output.
    Stdout,
    /// A receiver of HTTP requests.
    Webhook(Box<WebhookTarget>),
}

/// The definition of a stream made for rows of `output`.
pub(crate) fn made(output: &StreamSchema, key: Vec<Arc<str>>, partitions: u32) -> StreamDefinition {
    StreamDefinition {
        schema: output.clone(),
        time: None,
        key,
        partitions,
        retention: Retention::default(),
        compatibility: Default::default(),
    }
}

/// Why rows of `output` do not fit a stream, each with what to change.
pub(crate) fn misfits(output: &StreamSchema, target: &StreamDefinition) -> Vec<(String, String)> {
    let mut misfits = Vec::new();
    for wanted in &target.schema.fields {
        match output.field(&wanted.name) {
            None if wanted.nullable => {}
            None => misfits.push((
                format!("the stream needs `{}` ({}), and no step makes it", wanted.name, type_name(wanted.ty)),
                format!("add it: `extend: {{{}: …}}`", wanted.name),
            )),
            Some(made) if !type_fits(made, wanted) => misfits.push((
                format!("`{}` is {} here and {} in the stream", made.name, type_name(made.ty), type_name(wanted.ty)),
                format!("`select` it as {}, or write to another stream", type_name(wanted.ty)),
            )),
            Some(made) if made.nullable && !wanted.nullable => misfits.push((
                format!("`{}` may be null here and never in the stream", made.name),
                format!("use `coalesce({}, …)`, or declare the stream's field nullable", made.name),
            )),
            Some(_) => {}
        }
    }
    if target.schema.unknown == UnknownFields::Reject && !target.schema.infer {
        for made in &output.fields {
            if target.schema.field(&made.name).is_none() {
                misfits.push((
                    format!("the stream has no `{}` and rejects unknown fields", made.name),
                    "leave it out with `select`, or write to another stream".to_owned(),
                ));
            }
        }
    }
    misfits
}

/// Columns of `output` that a stream takes without keeping them.
pub(crate) fn left_out(output: &StreamSchema, target: &StreamDefinition) -> Vec<Arc<str>> {
    if target.schema.unknown != UnknownFields::Drop || target.schema.infer {
        return Vec::new();
    }
    let unknown = output.fields.iter().filter(|made| target.schema.field(&made.name).is_none());
    unknown.map(|made| Arc::clone(&made.name)).collect()
}

fn type_fits(made: &Field, wanted: &Field) -> bool {
    type_name(made.ty) == type_name(wanted.ty)
        || (made.ty == FieldType::Int64 && wanted.ty == FieldType::Float64)
        || wanted.ty == FieldType::Json
}
