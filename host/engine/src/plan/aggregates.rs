//! What `select` says of many rows, taken apart: arguments before the operator, aggregates in it, what is computed of them behind it.
//!
//! ```text
//! {n: count(*), per_km: sum(fare * 100) / sum(km)}
//!     before   "fare * 100"
//!     calls    n = count(*) · "sum(fare * 100)" = sum of "fare * 100" · "sum(km)" = sum of km
//!     after    per_km = "sum(fare * 100)" / "sum(km)"
//! ```
//! Columns that nobody asked for by name are called by their text, and do not come out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidemill_event::batch::TIME_COLUMN;
use tidemill_event::{Field, FieldType};
use tidemill_expr::{AggregateText, Aggregated, Expression, ExpressionError, Part, Scope, ScopeColumn};
use tidemill_flow::{Aggregate, AggregateArgument, AggregateCall};
use tidemill_runtime::Kind;

use crate::pipeline::{Text, nearest};
use crate::plan::check::Checker;
use crate::plan::columns::Columns;
use crate::plan::component::{PlannedComponent, state_shape, type_name};

/// A `select` over many rows.
#[derive(Default)]
pub(crate) struct PlannedAggregates {
    /// Computed of each row, hidden.
    pub(crate) before: Vec<(Field, Expression)>,
    pub(crate) calls: Vec<AggregateCall>,
    /// Those that are components.
    pub(crate) components: Vec<PlannedAggregate>,
    /// Computed of what the aggregates say.
    pub(crate) after: Vec<(Field, Expression)>,
    /// What was asked for, in order.
    pub(crate) selected: Vec<Field>,
}

/// An aggregate that is a component.
pub(crate) struct PlannedAggregate {
    /// Its place among all of the step.
    pub(crate) place: usize,
    /// The column it makes.
    pub(crate) value: Field,
    pub(crate) arguments: Vec<AggregateArgument>,
    pub(crate) filter: Option<Arc<str>>,
    pub(crate) component: Arc<PlannedComponent>,
}

impl PlannedAggregates {
    /// What state of these depends on: `sum(fare * 100) of int64`.
    pub(super) fn shape(&self) -> String {
        let call = |call: &AggregateCall| {
            let of = call.argument.as_ref().map_or_else(String::new, |field| format!(" {} {}", field.name, type_name(field.ty)));
            let filter = call.filter.as_ref().map_or_else(String::new, |name| format!(" where {name}"));
            format!("{:?}{of}{filter}", call.aggregate)
        };
        let filtered = |filter: &Option<Arc<str>>| filter.as_ref().map_or_else(String::new, |name| format!(" where {name}"));
        // Another version may mean something else by the same fields.
        let component = |own: &PlannedAggregate| {
            let of: Vec<&str> = own.arguments.iter().map(|argument| &*argument.column).collect();
            let state = state_shape(own.component.component.description(), &[]);
            format!("{} of ({}){} {state}", own.component.label(), of.join(", "), filtered(&own.filter))
        };
        self.calls.iter().map(call).chain(self.components.iter().map(component)).collect::<Vec<_>>().join(", ")
    }
}

/// Where a `select` stands.
#[derive(Clone, Copy)]
pub(super) struct Selecting<'a> {
    /// `steps[2].window.select`.
    pub(super) path: &'a str,
    /// The rows' own columns.
    pub(super) input: &'a Columns,
    /// What stands beside the results, and may be named beside them.
    pub(super) beside: &'a [Field],
}

impl Checker<'_> {
    /// Reads a `select` over many rows. `None`: with a fault for everything that is wrong with it.
    pub(super) fn aggregates(&mut self, select: &[(Text, Text)], place: Selecting<'_>) -> Option<PlannedAggregates> {
        let faults_before = self.faults.len();
        let names: Vec<String> =
            self.names_of(Kind::Aggregate).into_iter().map(str::to_owned).chain(Aggregate::names().map(str::to_owned)).collect();
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let read: Vec<(&Text, &Text, Aggregated)> = select
            .iter()
            .filter_map(|(name, text)| match Aggregated::parse(&text.text, &known) {
                Ok(read) => Some((name, text, read)),
                Err(error) => {
                    self.expression_fault(&format!("{}.{}", place.path, name.text), text, error);
                    None
                }
            })
            .collect();
        let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
        read.iter().flat_map(|(.., read)| &read.calls).for_each(|call| *uses.entry(&call.name).or_default() += 1);
        let mut planned = PlannedAggregates::default();
        let (mut results, mut refused): (Vec<Field>, BTreeSet<&str>) = (Vec::new(), BTreeSet::new());
        for (name, text, aggregated) in &read {
            let path = format!("{}.{}", place.path, name.text);
            for call in &aggregated.calls {
                let column = if is_own(aggregated) && uses[call.name.as_str()] == 1 { &name.text } else { &call.name };
                if results.iter().any(|known| &*known.name == column) || refused.contains(call.name.as_str()) {
                    continue;
                }
                match self.call(call, column, place, &mut planned) {
                    Ok(field) => results.push(field),
                    Err(error) => {
                        refused.insert(&call.name);
                        self.expression_fault(&path, text, error);
                    }
                }
            }
        }
        self.refuse_taken(select, &results, place);
        let functions: Vec<String> = self.names_of(Kind::Function).into_iter().map(str::to_owned).collect();
        let callable: Vec<&str> = functions.iter().map(String::as_str).collect();
        let columns: Vec<&Field> = place.beside.iter().chain(&results).collect();
        for (name, text, aggregated) in &read {
            if let Some(field) = results.iter().find(|field| *field.name == *name.text && is_own(aggregated)) {
                planned.selected.push(field.clone());
                continue;
            }
            // What a call without a type would be part of is not known either.
            if aggregated.calls.iter().any(|call| refused.contains(call.name.as_str())) {
                continue;
            }
            let rest =
                no_calls(&aggregated.rest, &callable).and_then(|rest| planned_rest(rest, &columns, place.input, AGGREGATE_IT));
            match rest.map_err(|error| among_aggregates(error, &known)) {
                Ok(expression) => {
                    let field = Field::new(&name.text, expression.field_type(), expression.nullable());
                    planned.selected.push(field.clone());
                    planned.after.push((field, expression));
                }
                Err(error) => self.expression_fault(&format!("{}.{}", place.path, name.text), text, error),
            }
        }
        (self.faults.len() == faults_before).then_some(planned)
    }

    /// Results that are called as what stands beside them.
    pub(super) fn refuse_taken(&mut self, select: &[(Text, Text)], results: &[Field], place: Selecting<'_>) {
        let is_beside = |name: &str| place.beside.iter().any(|known| *known.name == *name);
        for (name, _) in select.iter().filter(|(name, _)| is_beside(&name.text)) {
            let error = format!("`{}` is a column that comes out beside the results", name.text);
            self.fault(format!("{}.{}", place.path, name.text), name.line, error, "give the result another name");
        }
        let is_asked_for = |field: &Field| select.iter().any(|(name, _)| *name.text == *field.name);
        if let Some(hidden) = results.iter().find(|field| is_beside(&field.name) && !is_asked_for(field)) {
            let error = format!("`{}` is a column and an aggregate", hidden.name);
            let line = select.first().map_or(1, |(name, _)| name.line);
            self.fault(place.path, line, error, "name the column otherwise in an `extend` before");
        }
    }

    /// One call: its column, with what has to be computed before it.
    fn call(
        &mut self,
        call: &AggregateText,
        column: &str,
        place: Selecting<'_>,
        planned: &mut PlannedAggregates,
    ) -> Result<Field, ExpressionError> {
        let with_place = |mut error: ExpressionError| {
            error.at = error.at.or(call.at);
            error
        };
        if let Some(component) = self.named(&call.function, Kind::Aggregate) {
            return self.component_call(call, column, place, planned, component).map_err(with_place);
        }
        let (aggregate, argument) = aggregate_of(call).map_err(with_place)?;
        let argument = argument.map(|part| self.computed(part, place.input, &mut planned.before)).transpose()?;
        let filter = self.filter(call, place, planned).map_err(with_place)?;
        let (ty, nullable) = aggregate.output(argument.as_ref().map(|field| field.ty)).map_err(|refused| {
            let of = argument.as_ref().map_or_else(String::new, |field| format!(": `{}` is {}", field.name, type_name(field.ty)));
            with_place(ExpressionError::new(format!("{refused}{of}"), other_type(&call.function, argument.as_ref())))
        })?;
        planned.calls.push(AggregateCall { name: column.into(), aggregate, argument, filter });
        Ok(Field::new(column, ty, nullable))
    }

    /// One call of a component.
    fn component_call(
        &mut self,
        call: &AggregateText,
        column: &str,
        place: Selecting<'_>,
        planned: &mut PlannedAggregates,
        component: Arc<PlannedComponent>,
    ) -> Result<Field, ExpressionError> {
        if call.is_distinct {
            let error = format!("`{}` takes no `distinct`", call.function);
            return Err(ExpressionError::new(error, "leave it out: every row counts for it"));
        }
        let parts: Vec<Part> =
            call.arguments.iter().map(|part| self.without_calls(part, place.input)).collect::<Result<_, _>>()?;
        let told = self.arguments(&component, &call.function, &parts, place.input)?;
        let argument = |((declared, expression), part): ((Field, Expression), &Part)| {
            let column = self.hidden(part, expression, place.input, &mut planned.before)?.name;
            Ok(AggregateArgument { column, declared })
        };
        let arguments = told.into_iter().zip(&parts).map(argument).collect::<Result<_, ExpressionError>>()?;
        let filter = self.filter(call, place, planned)?;
        let value = &component.component.description().outputs[0];
        let value = Field::new(column, value.ty, value.nullable);
        let place = planned.calls.len() + planned.components.len();
        planned.components.push(PlannedAggregate { place, value: value.clone(), arguments, filter, component });
        Ok(value)
    }

    /// The column of `filter (where …)`.
    fn filter(
        &mut self,
        call: &AggregateText,
        place: Selecting<'_>,
        planned: &mut PlannedAggregates,
    ) -> Result<Option<Arc<str>>, ExpressionError> {
        Ok(match &call.filter {
            None => None,
            Some(part) => {
                let field = self.computed(part, place.input, &mut planned.before)?;
                if field.ty != FieldType::Bool {
                    let error = format!("`filter (where {part})` is {}, not true or false", type_name(field.ty));
                    return Err(ExpressionError::new(error, "compare it with something: `filter (where amount > 0)`"));
                }
                Some(field.name)
            }
        })
    }

    /// The column that an argument is, or the hidden one that is computed of it.
    pub(super) fn computed(
        &mut self,
        part: &Part,
        input: &Columns,
        before: &mut Vec<(Field, Expression)>,
    ) -> Result<Field, ExpressionError> {
        let part = self.without_calls(part, input)?;
        let expression = part.plan(&self.scope(input))?;
        self.hidden(&part, expression, input, before)
    }

    /// The column that an expression is, or the hidden one that it becomes.
    fn hidden(
        &self,
        part: &Part,
        expression: Expression,
        input: &Columns,
        before: &mut Vec<(Field, Expression)>,
    ) -> Result<Field, ExpressionError> {
        if part.is_name()
            && let [column] = expression.columns()
            && let Some(field) = input.field(column)
            && field.ty == expression.field_type()
        {
            return Ok(field.clone());
        }
        let (text, ty) = (part.to_string(), expression.field_type());
        // What is wanted as it is by one aggregate may be wanted converted by another.
        let is_there = |column: &Arc<str>| input.field(column).is_some() || **column == *TIME_COLUMN;
        let is_column = part.is_name() && expression.columns().iter().any(is_there);
        let is_converted = is_column || before.iter().any(|(known, _)| *known.name == *text && known.ty != ty);
        let name = if is_converted { format!("{text} as {}", type_name(ty)) } else { text };
        let field = Field::new(&name, ty, expression.nullable());
        if input.field(&field.name).is_some() {
            let error = format!("`{}` is a column and an expression", field.name);
            return Err(ExpressionError::new(error, "name the column otherwise in an `extend` before"));
        }
        if before.iter().all(|(known, _)| known.name != field.name) {
            before.push((field.clone(), expression));
        }
        Ok(field)
    }

    /// A fault of an expression, on its own line.
    pub(super) fn expression_fault(&mut self, path: &str, text: &Text, mut error: ExpressionError) {
        let named = error.unknown_function.as_ref().and_then(|name| {
            let known = self.names_of(Kind::Function).into_iter().chain(self.names_of(Kind::Aggregate));
            nearest(name, known)
        });
        if let Some(near) = named {
            error.remedy = format!("did you mean `{near}`?");
        }
        let line = text.line + error.at.map_or(0, |(line, _)| line.saturating_sub(1) as usize);
        self.fault(path, line, error.message, error.remedy);
    }
}

/// What to write where an aggregate does not take a column of that type.
fn other_type(aggregate: &str, argument: Option<&Field>) -> &'static str {
    match argument.map(|field| field.ty) {
        _ if aggregate == "top_k" => "convert the argument, `top_k(cast(x as varchar), 3)`, or use another aggregate",
        Some(FieldType::Bool) => "use `bool_and`, `bool_or` or `ratio`, or convert it: `cast(x as bigint)`",
        _ => "convert the argument, `cast(x as double)`, or use another aggregate",
    }
}

/// Whether there is nothing to it but one aggregate.
fn is_own(aggregated: &Aggregated) -> bool {
    aggregated.rest.is_name() && aggregated.calls.len() == 1
}

/// A component is asked about rows before the step, and the results come behind it.
fn no_calls<'a>(rest: &'a Part, functions: &[&str]) -> Result<&'a Part, ExpressionError> {
    match rest.without_calls(functions)?.0.first() {
        None => Ok(rest),
        Some(call) => {
            let name = &call.function;
            let error =
                format!("`{name}` is called outside of an aggregate, and functions of components are not called on results");
            let remedy =
                format!("call it inside of one, `max({name}(x))`, or on the result in a step behind: `extend: {{y: {name}(x)}}`");
            Err(ExpressionError { at: call.at, ..ExpressionError::new(error, remedy) })
        }
    }
}

/// Who writes a function that nobody knows where aggregates stand means one, mostly.
fn among_aggregates(error: ExpressionError, known: &[&str]) -> ExpressionError {
    let Some(name) = &error.unknown_function else { return error };
    let remedy = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if error.remedy.starts_with("did you mean") => return error,
        None => {
            let list: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            format!("the aggregates are {}", list.join(", "))
        }
    };
    ExpressionError { remedy, unknown_function: None, ..error }
}

/// What to do about a column of single rows among aggregates.
pub(super) const AGGREGATE_IT: &str = "aggregate it, `max(x)`, or name it in `by`";

/// What is computed of the results; a column of single rows in it is named as what it is.
/// `remedy` is for that.
pub(super) fn planned_rest(
    rest: &Part,
    columns: &[&Field],
    input: &Columns,
    remedy: &str,
) -> Result<Expression, ExpressionError> {
    let column = |field: &Field| ScopeColumn { qualifier: None, field: field.clone() };
    let scope: Vec<ScopeColumn> = columns.iter().map(|field| column(field)).collect();
    rest.plan(&Scope::new(scope.clone())).map_err(|error| {
        let known = |field: &Field| columns.iter().any(|known| known.name == field.name);
        let of_rows = input.scope().columns().iter().filter(|column| !known(&column.field)).cloned().collect::<Vec<_>>();
        match rest.plan(&Scope::new(scope.into_iter().chain(of_rows).collect())) {
            Ok(_) => {
                let error = ExpressionError::new(format!("`{rest}` has a column of single rows outside of an aggregate"), remedy);
                ExpressionError { at: error.at, ..error }
            }
            Err(_) => error,
        }
    })
}

/// Which aggregate a call means, and its argument.
pub(super) fn aggregate_of(call: &AggregateText) -> Result<(Aggregate, Option<&Part>), ExpressionError> {
    let name = call.function.as_str();
    let refused = |error: String, remedy: &str| Err(ExpressionError::new(error, remedy));
    if call.is_distinct && name != "count" {
        return refused(format!("`{name}` takes no `distinct`"), "there is `count(distinct x)`");
    }
    let number = |part: &Part| part.number().and_then(|digits| digits.parse::<f64>().ok());
    let form = match name {
        "top_k" => "top_k(x, 10)".to_owned(),
        "array_agg" => "array_agg(x, 10)".to_owned(),
        other => format!("{other}(x, 0.95)"),
    };
    match (name, call.arguments.as_slice()) {
        (_, [of, wanted]) if Aggregate::takes_number(name) => {
            match number(wanted).and_then(|number| Aggregate::with_number(name, number)) {
                Some(Ok(aggregate)) => Ok((aggregate, Some(of))),
                Some(Err(needs)) => refused(format!("{needs}, and not `{wanted}`"), &format!("write `{form}`")),
                None => refused(format!("`{name}` takes a column and a number"), &format!("write a number itself: `{form}`")),
            }
        }
        (_, arguments) if arguments.len() != 1 && Aggregate::takes_number(name) || Aggregate::needs_number(name) => {
            refused(format!("`{name}` takes a column and a number"), &format!("write both: `{form}`"))
        }
        ("count", [of]) if call.is_distinct => Ok((Aggregate::CountDistinct, Some(of))),
        ("count", []) => Ok((Aggregate::Count, None)),
        (_, [of]) => match Aggregate::named(name) {
            Some(aggregate) => Ok((aggregate, Some(of))),
            None => refused(
                format!("there is no aggregate `{name}`"),
                "`count`, `sum`, `avg`, `min`, `max` are some of those there are",
            ),
        },
        (_, arguments) => {
            refused(format!("`{name}` takes one argument, and has {}", arguments.len()), "write one: `sum(amount)`")
        }
    }
}
