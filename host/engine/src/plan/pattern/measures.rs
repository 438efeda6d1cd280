//! What a match says of its events: the `select` of a pattern. Aggregates over the events of a stage, or of all, and what is computed of them.

use std::collections::BTreeMap;

use tidemill_event::Field;
use tidemill_expr::{Expression, ExpressionError, StageCall, Staged};
use tidemill_flow::pattern::Measure;
use tidemill_flow::{Aggregate, AggregateCall};
use tidemill_runtime::Kind;

use crate::pipeline::{PatternDefinition, Text};
use crate::plan::aggregates::{AGGREGATE_IT, Selecting, aggregate_of, planned_rest};
use crate::plan::check::Checker;
use crate::plan::columns::Columns;
use crate::plan::component::type_name;
use crate::plan::pattern::conditions::Asking;

/// A `select` over the events of a match.
#[derive(Default)]
pub(super) struct Measured {
    pub(super) measures: Vec<Measure>,
    /// Computed of the measures.
    pub(super) after: Vec<(Field, Expression)>,
    /// What was asked for, in order.
    pub(super) selected: Vec<Field>,
}

impl Checker<'_> {
    /// Reads it. `None`: with a fault for everything that is wrong with it.
    pub(super) fn measures(
        &mut self,
        wanted: &PatternDefinition,
        path: &str,
        asking: &mut Asking,
        columns: &Columns,
        beside: &[Field],
    ) -> Option<Measured> {
        let faults_before = self.faults.len();
        let names: Vec<String> =
            self.names_of(Kind::Aggregate).into_iter().map(str::to_owned).chain(Aggregate::names().map(str::to_owned)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut read: Vec<(&Text, &Text, Staged)> = Vec::new();
        for (name, text) in &wanted.select {
            match asking.staged(&text.text, &names) {
                Ok(staged) => read.push((name, text, staged)),
                Err(error) => {
                    let error = asking.unknown_stage(&text.text, &names, columns).unwrap_or(error);
                    self.expression_fault(&format!("{path}.{}", name.text), text, error);
                }
            }
        }
        let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
        read.iter().flat_map(|(.., read)| &read.calls).for_each(|call| *uses.entry(&call.call.name).or_default() += 1);
        let (mut measured, mut results): (Measured, Vec<Field>) = (Measured::default(), Vec::new());
        for (name, text, staged) in &read {
            for call in &staged.calls {
                let column = if is_own(staged) && uses[call.call.name.as_str()] == 1 { &name.text } else { &call.call.name };
                if results.iter().any(|known| *known.name == **column) {
                    continue;
                }
                match self.measure(call, column, asking, columns, &mut measured) {
                    Ok(field) => results.push(field),
                    Err(error) => {
                        let error = asking.unknown_stage(&text.text, &names, columns).unwrap_or(error);
                        self.expression_fault(&format!("{path}.{}", name.text), text, error);
                    }
                }
            }
        }
        let place = Selecting { path, input: columns, beside };
        self.refuse_taken(&wanted.select, &results, place);
        if self.faults.len() > faults_before {
            return None;
        }
        let known: Vec<&Field> = beside.iter().chain(&results).collect();
        for (name, text, staged) in &read {
            if let Some(field) = results.iter().find(|field| *field.name == *name.text && is_own(staged)) {
                measured.selected.push(field.clone());
                continue;
            }
            match planned_rest(&staged.rest, &known, columns, &of_an_event(staged, asking)) {
                Ok(expression) => {
                    let field = Field::new(&name.text, expression.field_type(), expression.nullable());
                    measured.selected.push(field.clone());
                    measured.after.push((field, expression));
                }
                Err(error) => {
                    let error = asking.unknown_stage(&text.text, &names, columns).unwrap_or(error);
                    self.expression_fault(&format!("{path}.{}", name.text), text, error);
                }
            }
        }
        (self.faults.len() == faults_before).then_some(measured)
    }

    fn measure(
        &mut self,
        StageCall { stage, call }: &StageCall,
        column: &str,
        asking: &mut Asking,
        columns: &Columns,
        measured: &mut Measured,
    ) -> Result<Field, ExpressionError> {
        let with_place = |mut error: ExpressionError| {
            error.at = error.at.or(call.at);
            error
        };
        if self.named(&call.function, Kind::Aggregate).is_some() {
            let error = format!("`{}` is a component, and a pattern's `select` takes the host's own aggregates", call.function);
            let remedy = "collect the values, `array_agg(b.amount)`, and call a function of them in a step behind";
            return Err(with_place(ExpressionError::new(error, remedy)));
        }
        let (aggregate, argument) = aggregate_of(call).map_err(with_place)?;
        let argument = argument.map(|part| self.computed(part, columns, &mut asking.before)).transpose()?;
        let (ty, nullable) = aggregate.output(argument.as_ref().map(|field| field.ty)).map_err(|refused| {
            let of = argument.as_ref().map_or_else(String::new, |field| format!(": `{}` is {}", field.name, type_name(field.ty)));
            let remedy = "convert the argument, `cast(b.x as double)`, or use another aggregate";
            with_place(ExpressionError::new(format!("{refused}{of}"), remedy))
        })?;
        let call = AggregateCall { name: column.into(), aggregate, argument, filter: None };
        measured.measures.push(Measure { stage: stage.as_deref().map(Into::into), call });
        Ok(Field::new(column, ty, nullable))
    }
}

/// What to write in place of a column of which nobody knows which event's it is.
fn of_an_event(staged: &Staged, asking: &Asking) -> String {
    let Some(stage) = asking.stages.first() else { return AGGREGATE_IT.to_owned() };
    let column = if staged.rest.is_name() { staged.rest.to_string() } else { "amount".to_owned() };
    format!("say of which event: `{stage}.{column}` is that of the last one in `{stage}`, `max({stage}.{column})` the greatest")
}

/// Whether there is nothing to it but one aggregate.
fn is_own(staged: &Staged) -> bool {
    staged.rest.is_name() && staged.calls.len() == 1
}
