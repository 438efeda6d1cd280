//! A `process` step: its outputs have streams, its rows have the key in front.

use tidemill_event::{Field, StreamName, StreamSchema, UnknownFields};
use tidemill_flow::{OnFailing, ProcessSettings, ProcessStep, ProcessTable};
use tidemill_runtime::Kind;

use crate::pipeline::{ComponentStep, SideOf, Step, Text, nearest};
use crate::plan::check::Checker;
use crate::plan::columns::Columns;
use crate::plan::component::ttl;
use crate::plan::{PlannedComponent, PlannedKind};

impl Checker<'_> {
    pub(super) fn process(
        &mut self,
        at: u32,
        step: &Step,
        component: &ComponentStep,
        outputs: &[(Text, StreamName)],
        columns: Option<&Columns>,
    ) -> Option<(PlannedKind, Columns)> {
        let planned = self.component(at, step, component, Kind::Process, columns)?;
        let columns = columns?;
        if planned.on_failing == OnFailing::Pass {
            let error = "a row that skips a process would be none of its outputs";
            let path = format!("{}.on_failing", step.path);
            self.fault(path, component.reference.line, error, "write `on_failing: hold` or `stop`");
            return None;
        }
        let description = planned.component.description();
        let by: Vec<Field> = planned.by.iter().filter_map(|name| columns.field(name).cloned()).collect();
        let sides = &description.memory.sides;
        for (name, _) in outputs {
            if !sides.iter().any(|side| side.name == name.text) {
                let error = format!("`{}` has no output `{}`", component.reference.text, name.text);
                let remedy = match nearest(&name.text, sides.iter().map(|side| &*side.name)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if sides.is_empty() => "remove it: it has only its main output".to_owned(),
                    None => {
                        format!("it has {}", sides.iter().map(|side| format!("`{}`", side.name)).collect::<Vec<_>>().join(", "))
                    }
                };
                self.fault(format!("{}.outputs", step.path), name.line, error, remedy);
            }
        }
        for side in sides {
            self.sides.push((at, side.name.clone(), schema(ProcessStep::made_fields(&by, &side.columns))));
        }
        // Timers fire when all lanes have passed their time, and rows of both come out beside each other.
        self.has_changed_times |= description.memory.timers;
        let made = ProcessStep::made_fields(&by, &description.outputs).into_iter().map(|field| {
            let is_key = by.contains(&field) && !description.outputs.iter().any(|output| output.name == field.name);
            let copied = is_key.then(|| field.name.clone());
            (field, copied)
        });
        let columns = columns.replaced(&made.collect::<Vec<_>>());
        Some((PlannedKind::Process { component: planned, by }, columns))
    }

    /// What rows of a side output are like.
    pub(super) fn side_schema(&self, side: &SideOf) -> Option<&StreamSchema> {
        self.sides.iter().find(|(step, name, _)| *step == side.step && *name == side.output).map(|(.., schema)| schema)
    }
}

fn schema(fields: Vec<Field>) -> StreamSchema {
    StreamSchema { fields, unknown: UnknownFields::Drop, infer: false }
}

/// What the operator is told.
pub(super) fn settings(step: tidemill_flow::StepId, planned: &PlannedComponent, by: &[Field]) -> ProcessSettings {
    let description = planned.component.description();
    let table = |table: &tidemill_runtime::TableDescription| ProcessTable {
        name: table.name.as_str().into(),
        key: table.key.clone(),
        values: table.values.clone(),
        ttl: table.ttl.map(ttl),
        on_read: table.ttl.is_some_and(|lifetime| lifetime.on_read),
    };
    ProcessSettings {
        step,
        by: by.to_vec(),
        columns: description.columns.clone(),
        outputs: description.outputs.clone(),
        state: tidemill_flow::KeyedTable::new(description.first_row().clone()).living(planned.ttl),
        keeps_state: !description.state.is_empty(),
        tables: description.memory.tables.iter().map(table).collect(),
        sides: description.memory.sides.iter().map(|side| side.columns.clone()).collect(),
        isolation: tidemill_flow::Isolation::new(planned.on_failing),
    }
}
