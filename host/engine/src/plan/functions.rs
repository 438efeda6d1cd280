//! Components that expressions call: which names mean which, and the calls of a step.
//!
//! ```text
//! functions: {risk: risk@2}        where: risk(lower(host)) > 4
//!     call    "risk(lower(host))" = risk@2.0.1 of lower(host)        before the step, one call a batch
//!     rest    "risk(lower(host))" > 4                                the step's own expression
//! ```
//! A call is taken out of an expression by its text, so that one that stands there twice is made once.

use std::sync::Arc;

use tidemill_event::{Field, FieldType};
use tidemill_expr::{CallText, Expression, ExpressionError, Part, Scope, ScopeColumn, is_function};
use tidemill_flow::{Aggregate, OnFailing};
use tidemill_runtime::Kind;

use crate::pipeline::{FunctionUse, Text};
use crate::plan::check::Checker;
use crate::plan::columns::Columns;
use crate::plan::component::{PlannedComponent, a, plain, type_name};

/// The step of a pin that is no step's.
pub(crate) const NO_STEP: u32 = u32::MAX;

/// Calls that the expressions of one step may make; each is a column, and each has a sandbox.
const CALLS_MAX: usize = 64;

/// A name and what it means.
pub(crate) struct PlannedFunction {
    pub(crate) name: String,
    /// A function or an aggregate.
    pub(crate) component: Arc<PlannedComponent>,
}

/// A call of a function in the expressions of a step.
pub(crate) struct PlannedCall {
    /// The hidden column of its values.
    pub(crate) value: Field,
    pub(crate) component: Arc<PlannedComponent>,
    /// As what each is declared, and how it is computed.
    pub(crate) arguments: Vec<(Field, Expression)>,
}

impl Checker<'_> {
    /// What the names of `functions` mean.
    pub(super) fn name_functions(&mut self, wanted: &[FunctionUse]) {
        for FunctionUse { name, component } in wanted {
            let path = format!("functions.{}", name.text);
            let is_aggregate = Aggregate::names().any(|known| name.text.eq_ignore_ascii_case(known));
            if is_aggregate || is_function(&name.text) {
                let error = format!("`{}` is a function of SQL", name.text);
                self.fault(&path, name.line, error, "give it another name: expressions would not know which one is meant");
                continue;
            }
            let Some((pin, loaded)) = self.resolve(NO_STEP, Some(&name.text), &path, component) else { continue };
            let kind = loaded.kind();
            if !matches!(kind, Kind::Function | Kind::Aggregate) {
                let error =
                    format!("`{}` is {}, and expressions call functions and aggregates", component.reference.text, a(kind));
                self.fault(&path, component.reference.line, error, format!("write it as a step: `- {kind}: …`"));
                continue;
            }
            if kind == Kind::Aggregate && component.on_failing != OnFailing::Hold {
                let error = "`on_failing` is for functions: rows that an aggregate does not survive are dead letters, one by one";
                self.fault(format!("{path}.on_failing"), component.reference.line, error, "remove it");
                continue;
            }
            let limits = self.limits(&path, component);
            let (config, on_failing) = (component.config.clone(), component.on_failing);
            let planned = PlannedComponent {
                step_name: path.clone(),
                pin,
                component: loaded,
                config,
                limits,
                by: Vec::new(),
                ttl: None,
                on_failing,
            };
            if self.open(&path, component, &planned).is_some() {
                self.functions.push(PlannedFunction { name: name.text.clone(), component: Arc::new(planned) });
            }
        }
    }

    /// The names of components of one kind.
    pub(super) fn names_of(&self, kind: Kind) -> Vec<&str> {
        let of_kind = self.functions.iter().filter(|function| function.component.component.kind() == kind);
        of_kind.map(|function| function.name.as_str()).collect()
    }

    pub(super) fn named(&self, name: &str, kind: Kind) -> Option<Arc<PlannedComponent>> {
        let is_it = |function: &&PlannedFunction| function.name == name && function.component.component.kind() == kind;
        self.functions.iter().find(is_it).map(|function| function.component.clone())
    }

    /// What an expression of the step in hand may name: the rows' columns, and the values of calls.
    pub(super) fn scope(&self, columns: &Columns) -> Scope {
        let hidden = self.calls.iter().map(|call| ScopeColumn { qualifier: None, field: call.value.clone() });
        Scope::new(columns.scope().columns().iter().cloned().chain(hidden).collect())
    }

    /// An expression without its calls, which become the step's.
    pub(super) fn without_calls(&mut self, part: &Part, columns: &Columns) -> Result<Part, ExpressionError> {
        if let Some(call) = part.without_calls(&self.names_of(Kind::Aggregate))?.0.first() {
            let error = format!("`{}` is over many rows, and this expression sees one", call.function);
            let error = ExpressionError::new(error, "call it in the `select` of a `window` or `over` step");
            return Err(ExpressionError { at: call.at, ..error });
        }
        let (calls, rest) = part.without_calls(&self.names_of(Kind::Function))?;
        for call in calls {
            self.plan_call(&call, columns).map_err(|mut error| {
                error.at = error.at.or(call.at);
                error
            })?;
        }
        Ok(rest)
    }

    /// Reads an expression of the step in hand.
    pub(super) fn expression(&mut self, text: &Text, path: &str, columns: &Columns) -> Option<Expression> {
        self.expression_over(text, path, columns, columns)
    }

    /// Reads one over more columns than its function calls may be told: those are made before the step.
    pub(super) fn expression_over(&mut self, text: &Text, path: &str, told: &Columns, columns: &Columns) -> Option<Expression> {
        let planned = Part::parse(&text.text)
            .and_then(|part| self.without_calls(&part, told))
            .and_then(|rest| rest.plan(&self.scope(columns)));
        match planned {
            Ok(expression) => Some(expression),
            Err(error) => {
                self.expression_fault(path, text, error);
                None
            }
        }
    }

    fn plan_call(&mut self, call: &CallText, columns: &Columns) -> Result<(), ExpressionError> {
        if self.calls.iter().any(|known| *known.value.name == *call.name) {
            return Ok(());
        }
        if self.calls.len() == CALLS_MAX {
            let error = format!("more than {CALLS_MAX} calls in one step");
            return Err(ExpressionError::new(error, "compute some of them in an `extend` step before"));
        }
        if columns.field(&call.name).is_some() {
            let error = format!("`{}` is a column and a call", call.name);
            return Err(ExpressionError::new(error, "name the column otherwise in an `extend` before"));
        }
        let component = self.named(&call.function, Kind::Function).expect("its name is one of those that were looked for");
        let arguments = self.arguments(&component, &call.function, &call.arguments, columns)?;
        let value = &component.component.description().outputs[0];
        // Nobody asks about a null where none may be: its value is null.
        let unasked = arguments.iter().any(|(declared, expression)| !declared.nullable && expression.nullable());
        let nullable = value.nullable || unasked || component.on_failing == OnFailing::Pass;
        let value = Field::new(&call.name, value.ty, nullable);
        self.calls.push(PlannedCall { value, component, arguments });
        Ok(())
    }

    /// What a component is told: as many values as it declares, each of the declared type.
    pub(super) fn arguments(
        &self,
        component: &PlannedComponent,
        name: &str,
        parts: &[Part],
        columns: &Columns,
    ) -> Result<Vec<(Field, Expression)>, ExpressionError> {
        let declared = &component.component.description().columns;
        if declared.len() != parts.len() {
            let list: Vec<String> = declared.iter().map(|field| format!("{} {}", field.name, type_name(field.ty))).collect();
            let error = format!("`{name}` takes {} arguments, and has {}", declared.len(), parts.len());
            return Err(ExpressionError::new(error, format!("write `{name}({})`", list.join(", "))));
        }
        let scope = self.scope(columns);
        let argument = |(field, part): (&Field, &Part)| {
            let mut expression = part.plan(&scope)?;
            if (expression.field_type(), field.ty) == (FieldType::Int64, FieldType::Float64) {
                expression = Part::parse(&format!("cast({part} as double)"))?.plan(&scope)?;
            }
            let (there, wanted) = (type_name(plain(expression.field_type())), type_name(plain(field.ty)));
            if there != wanted {
                let error = format!("`{name}` takes {wanted} as `{}`, and `{part}` is {there}", field.name);
                return Err(ExpressionError::new(error, "convert it: `cast(x as double)`, `cast(x as varchar)`"));
            }
            Ok((field.clone(), expression))
        };
        declared.iter().zip(parts).map(argument).collect()
    }
}
