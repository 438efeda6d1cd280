//! `machine`, checked against the columns there are: names of states become numbers, and expressions are planned over what they may see.
//!
//! ```text
//! on                        the row
//! when · set · emit         the row and the variables
//! timeout, entry, exit      the variables: time has no row
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field as ArrowField, Schema};
use serde_json::{Value, json};
use tidemill_event::batch::TIME_COLUMN;
use tidemill_event::{Field, FieldType};
use tidemill_expr::{Expression, ExpressionError, Part, Scope, ScopeColumn};
use tidemill_flow::Judged;
use tidemill_flow::machine::{FROM, KIND, MachineStep, TO};
use tidemill_flow::pattern::PatternOrder;
use tidemill_runtime::Kind;

use crate::pipeline::{MachineText, StateText, Step, Text, TransitionText, nearest};
use crate::plan::check::Checker;
use crate::plan::columns::Columns;
use crate::plan::component::{plain, type_name};
use crate::plan::describe::length;
use crate::plan::state::KeptState;
use crate::plan::window::named;

/// A place among variables or columns, and what is put there.
pub(crate) type Assigned = (u32, Expression);

/// A state.
pub(crate) struct PlannedState {
    pub(crate) name: String,
    pub(crate) is_final: bool,
    pub(crate) entry: Vec<Assigned>,
    pub(crate) exit: Vec<Assigned>,
    pub(crate) timeout: Option<PlannedTimeout>,
}

/// What time does.
pub(crate) struct PlannedTimeout {
    pub(crate) after_micros: i64,
    pub(crate) to: u16,
    pub(crate) set: Vec<Assigned>,
    pub(crate) emit: Vec<Assigned>,
}

/// A transition.
pub(crate) struct PlannedTransition {
    pub(crate) from: Vec<u16>,
    pub(crate) to: Option<u16>,
    pub(crate) trigger: u32,
    pub(crate) guard: Option<Expression>,
    pub(crate) set: Vec<Assigned>,
    pub(crate) emit: Vec<Assigned>,
    pub(crate) tells: bool,
}

/// A `machine` step.
pub(crate) struct PlannedMachine {
    pub(crate) by: Vec<Field>,
    /// The columns of rows that anything looks at.
    pub(crate) fields: Vec<Field>,
    pub(crate) order: PatternOrder,
    pub(crate) judged: Judged,
    pub(crate) states: Vec<PlannedState>,
    pub(crate) initial: u16,
    pub(crate) triggers: Vec<Expression>,
    pub(crate) transitions: Vec<PlannedTransition>,
    /// One row: what variables begin with.
    pub(crate) variables: RecordBatch,
    pub(crate) columns: Vec<Field>,
    pub(crate) tells_illegal: bool,
    pub(crate) state: KeptState,
}

impl PlannedMachine {
    /// What a dry run says of it.
    pub(crate) fn described(&self) -> Value {
        let name = |state: u16| self.states[usize::from(state)].name.as_str();
        let has_way_out = |at: usize| {
            let leaves = |transition: &PlannedTransition| transition.to.is_some() && transition.from.contains(&(at as u16));
            self.states[at].is_final || self.states[at].timeout.is_some() || self.transitions.iter().any(leaves)
        };
        let states: Vec<Value> = self
            .states
            .iter()
            .enumerate()
            .map(|(at, state)| {
                let mut told = json!({"name": state.name, "final": state.is_final, "way_out": has_way_out(at)});
                if let Some(timeout) = &state.timeout {
                    let after = std::time::Duration::from_micros(timeout.after_micros.unsigned_abs());
                    told["timeout"] = json!({"after": length(Some(after)), "to": name(timeout.to)});
                }
                told
            })
            .collect();
        json!({
            "initial": name(self.initial),
            "states": states,
            "transitions": self.transitions.len(),
            "triggers": self.triggers.len(),
            "variables": self.variables.schema_ref().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>(),
            "illegal": if self.tells_illegal { "emit" } else { "count" },
        })
    }
}

/// What is known while a machine is planned.
struct Planning<'a> {
    wanted: &'a MachineText,
    numbers: HashMap<&'a str, u16>,
    /// What transitions see.
    over_rows: Scope,
    /// What time and states see.
    over_variables: Scope,
    variables: Vec<Field>,
    columns: Vec<Field>,
    /// Columns of rows that some expression names.
    read: Vec<Arc<str>>,
}

impl Checker<'_> {
    pub(super) fn machine(
        &mut self,
        at: u32,
        step: &Step,
        wanted: &MachineText,
        columns: Option<&Columns>,
    ) -> Option<(PlannedMachine, Columns)> {
        let (path, faults_before) = (step.name(), self.faults.len());
        self.refuse_clock_times(&path, step.line);
        let columns = columns?;
        let by = self.key_fields(&wanted.by, &format!("{path}.by"), columns);
        let variables = self.machine_variables(&path, wanted, columns)?;
        let numbers = (0u16..).zip(&wanted.states).map(|(number, state)| (state.name.text.as_str(), number)).collect();
        let fields: Vec<Field> = variables.schema_ref().fields().iter().filter_map(|field| Field::from_arrow(field)).collect();
        let column = |field: &Field| ScopeColumn { qualifier: None, field: field.clone() };
        let own: Vec<ScopeColumn> = fields.iter().map(column).collect();
        let over_rows = Scope::new(columns.scope().columns().iter().cloned().chain(own.iter().cloned()).collect());
        let over_variables = Scope::new(own);
        let mut planning =
            Planning { wanted, numbers, over_rows, over_variables, variables: fields, columns: Vec::new(), read: Vec::new() };
        let (mut triggers, mut trigger_numbers) = (Vec::new(), HashMap::new());
        let mut transitions = Vec::with_capacity(wanted.transitions.len());
        for transition in &wanted.transitions {
            transitions.extend(self.machine_transition(transition, columns, &mut planning, &mut triggers, &mut trigger_numbers));
        }
        let states: Vec<Option<PlannedState>> =
            wanted.states.iter().map(|state| self.machine_state(state, &mut planning)).collect();
        let initial = self.machine_place(&wanted.initial, &format!("{path}.initial"), &planning);
        let states: Vec<PlannedState> = states.into_iter().collect::<Option<_>>()?;
        if self.faults.len() > faults_before {
            return None;
        }
        let initial = initial?;
        self.refuse_odd_states(&path, wanted, &states, &transitions, initial);
        let taken = |field: &Field| by.iter().any(|by| by.name == field.name) || [FROM, TO, KIND].contains(&&*field.name);
        if let Some(field) = planning.columns.iter().find(|field| taken(field)) {
            let error = format!("`{}` is a column of the key, or of the step's own", field.name);
            self.fault(&path, step.line, error, "emit it under another name");
        }
        if self.faults.len() > faults_before {
            return None;
        }
        let is_read = |field: &&Field| planning.read.contains(&field.name) || by.contains(field);
        let fields: Vec<Field> = columns.fields.iter().filter(is_read).cloned().collect();
        let names: Vec<&str> = states.iter().map(|state| state.name.as_str()).collect();
        let order = match wanted.order {
            PatternOrder::Time => "time",
            PatternOrder::Arrival => "arrival",
        };
        // What is kept of a key: a number of a state, and variables; and rows that wait.
        let shape = format!(
            "states [{}] variables [{}] by [{}] in order of {order} of rows [{}]",
            names.join(", "),
            named(&planning.variables),
            named(&by),
            named(&fields)
        );
        let state = self.native_state(at, step.kind.word(), shape);
        self.last_by = Some(by.iter().map(|field| field.name.clone()).collect());
        let judged = self.judged();
        self.has_changed_times = true;
        let passed: Vec<(Field, Option<Arc<str>>)> = MachineStep::fields(&by, &planning.columns)
            .into_iter()
            .map(|field| (field.clone(), by.contains(&field).then(|| field.name.clone())))
            .collect();
        let planned = PlannedMachine {
            by,
            fields,
            order: wanted.order,
            judged,
            states,
            initial,
            triggers,
            transitions,
            variables,
            columns: planning.columns,
            tells_illegal: wanted.tells_illegal,
            state,
        };
        Some((planned, columns.replaced(&passed)))
    }

    /// What variables begin with, as one row.
    fn machine_variables(&mut self, path: &str, wanted: &MachineText, columns: &Columns) -> Option<RecordBatch> {
        let faults_before = self.faults.len();
        let none = RecordBatch::try_new_with_options(
            Arc::new(Schema::empty()),
            Vec::new(),
            &RecordBatchOptions::new().with_row_count(Some(1)),
        )
        .expect("a row without columns");
        let (mut fields, mut values): (Vec<ArrowField>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
        for (name, text) in &wanted.variables {
            let at = format!("{path}.variables.{}", name.text);
            if columns.resolve(&name.text).is_some() {
                let error = format!("`{}` is a column of the rows: expressions would not know which one is meant", name.text);
                self.fault(&at, name.line, error, "give the variable another name");
                continue;
            }
            let planned = Part::parse(&text.text).and_then(|part| part.plan(&Scope::new(Vec::new()))).and_then(|expression| {
                if !expression.columns().is_empty() {
                    return Err(ExpressionError::new("a variable begins before there is a row", "write a constant"));
                }
                let evaluated = expression.evaluate(&none);
                match evaluated.failed.first() {
                    Some((_, error)) => Err(ExpressionError::new(error.clone(), "write a constant")),
                    None => Ok((expression.field_type(), evaluated.values)),
                }
            });
            match planned {
                Ok((ty, value)) => {
                    let field = Field::new(&name.text, ty, true).arrow();
                    values.push(arrow_cast::cast(&value, field.data_type()).expect("a value of its own type"));
                    fields.push(field);
                }
                Err(error) => self.expression_fault(&at, text, error),
            }
        }
        if self.faults.len() > faults_before {
            return None;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        Some(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), values, &options).expect("a row of variables"))
    }

    fn machine_place(&mut self, name: &Text, path: &str, planning: &Planning<'_>) -> Option<u16> {
        let found = planning.numbers.get(name.text.as_str()).copied();
        if found.is_none() {
            let names = || planning.wanted.states.iter().map(|state| state.name.text.as_str());
            let remedy = match nearest(&name.text, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
            };
            self.fault(path, name.line, format!("there is no state `{}`", name.text), remedy);
        }
        found
    }

    fn machine_transition(
        &mut self,
        text: &TransitionText,
        columns: &Columns,
        planning: &mut Planning<'_>,
        triggers: &mut Vec<Expression>,
        trigger_numbers: &mut HashMap<String, u32>,
    ) -> Option<PlannedTransition> {
        let path = &text.path;
        let mut from: Vec<u16> = Vec::with_capacity(text.from.len());
        for name in &text.from {
            let at = format!("{path}.from");
            let Some(number) = self.machine_place(name, &at, planning) else { continue };
            if planning.wanted.states[usize::from(number)].is_final {
                let error = format!("`{}` is final: a machine that reaches it is gone", name.text);
                self.fault(&at, name.line, error, "leave it out, or let the state not be final");
            }
            from.push(number);
        }
        if text.from.is_empty() {
            let is_open = |(_, state): &(u16, &StateText)| !state.is_final;
            from = (0u16..).zip(&planning.wanted.states).filter(is_open).map(|(number, _)| number).collect();
        }
        from.sort_unstable();
        from.dedup();
        let to = text.to.as_ref().map(|name| self.machine_place(name, &format!("{path}.to"), planning));
        let trigger = match trigger_numbers.get(&text.on.text) {
            Some(number) => Some(*number),
            None => {
                let scope = columns.scope();
                let expression = self.machine_expression(&text.on, &format!("{path}.on"), &scope, true, planning);
                expression.map(|expression| {
                    triggers.push(expression);
                    let number = triggers.len() as u32 - 1;
                    trigger_numbers.insert(text.on.text.clone(), number);
                    number
                })
            }
        };
        let scope = planning.over_rows.clone();
        let guard = match &text.when {
            Some(when) => Some(self.machine_expression(when, &format!("{path}.when"), &scope, true, planning)?),
            None => None,
        };
        let set = self.machine_set(&text.set, &format!("{path}.set"), &scope, planning);
        let emit = self.machine_emit(&text.emit, &format!("{path}.emit"), &scope, planning);
        let to = match to {
            Some(to) => Some(to?),
            None => None,
        };
        Some(PlannedTransition { from, to, trigger: trigger?, guard, set, emit, tells: text.tells })
    }

    fn machine_state(&mut self, text: &StateText, planning: &mut Planning<'_>) -> Option<PlannedState> {
        let scope = planning.over_variables.clone();
        let entry = self.machine_emit(&text.entry, &format!("{}.entry", text.path), &scope, planning);
        let exit = self.machine_emit(&text.exit, &format!("{}.exit", text.path), &scope, planning);
        let timeout = match &text.timeout {
            None => None,
            Some(timeout) => {
                let set = self.machine_set(&timeout.set, &format!("{}.set", timeout.path), &scope, planning);
                let emit = self.machine_emit(&timeout.emit, &format!("{}.emit", timeout.path), &scope, planning);
                let to = self.machine_place(&timeout.to, &format!("{}.to", timeout.path), planning)?;
                let after_micros = i64::try_from(timeout.after.as_micros()).unwrap_or(i64::MAX);
                Some(PlannedTimeout { after_micros, to, set, emit })
            }
        };
        Some(PlannedState { name: text.name.text.clone(), is_final: text.is_final, entry, exit, timeout })
    }

    /// An expression that calls no component: those are asked about a batch, and not about a row of each key in turn.
    fn machine_expression(
        &mut self,
        text: &Text,
        path: &str,
        scope: &Scope,
        is_condition: bool,
        planning: &mut Planning<'_>,
    ) -> Option<Expression> {
        let functions: Vec<String> =
            [Kind::Function, Kind::Aggregate].iter().flat_map(|kind| self.names_of(*kind)).map(str::to_owned).collect();
        let functions: Vec<&str> = functions.iter().map(String::as_str).collect();
        let planned = Part::parse(&text.text).and_then(|part| {
            if let Some(call) = part.without_calls(&functions)?.0.first() {
                let error = format!("`{}` is a component, and none is called from inside a machine", call.function);
                return Err(ExpressionError::new(error, "compute it in an `extend` step before, and name that column"));
            }
            let expression = part.plan(scope)?;
            let has_row = scope.columns() != planning.over_variables.columns();
            if !has_row && expression.columns().iter().any(|name| &**name == TIME_COLUMN) {
                let remedy = "keep the time of a row in a variable: `set: {since: _time}`";
                return Err(ExpressionError::new("there is no row here, so there is no `_time`", remedy));
            }
            if is_condition && expression.field_type() != FieldType::Bool {
                let error = format!("the condition is {}, not true or false", type_name(expression.field_type()));
                return Err(ExpressionError::new(error, "compare it with something: `amount > 0`"));
            }
            Ok(expression)
        });
        match planned {
            Ok(expression) => {
                for name in expression.columns() {
                    if !planning.read.contains(name) {
                        planning.read.push(name.clone());
                    }
                }
                Some(expression)
            }
            Err(error) => {
                self.expression_fault(path, text, error);
                None
            }
        }
    }

    fn machine_set(&mut self, set: &[(Text, Text)], path: &str, scope: &Scope, planning: &mut Planning<'_>) -> Vec<Assigned> {
        let mut assigned = Vec::with_capacity(set.len());
        for (name, text) in set {
            let at = format!("{path}.{}", name.text);
            let Some(place) = planning.variables.iter().position(|variable| *variable.name == *name.text) else {
                let remedy = format!("declare it with what it begins with: `variables: {{{}: 0}}`", name.text);
                self.fault(at, name.line, format!("there is no variable `{}`", name.text), remedy);
                continue;
            };
            let ty = planning.variables[place].ty;
            if let Some(expression) = self.machine_typed(text, &at, ty, &format!("the variable `{}`", name.text), scope, planning)
            {
                assigned.push((place as u32, expression));
            }
        }
        assigned
    }

    fn machine_emit(&mut self, emit: &[(Text, Text)], path: &str, scope: &Scope, planning: &mut Planning<'_>) -> Vec<Assigned> {
        let mut assigned = Vec::with_capacity(emit.len());
        for (name, text) in emit {
            let at = format!("{path}.{}", name.text);
            match planning.columns.iter().position(|column| *column.name == *name.text) {
                Some(place) => {
                    let ty = planning.columns[place].ty;
                    let what = format!("`{}` elsewhere", name.text);
                    if let Some(expression) = self.machine_typed(text, &at, ty, &what, scope, planning) {
                        assigned.push((place as u32, expression));
                    }
                }
                None => {
                    if let Some(expression) = self.machine_expression(text, &at, scope, false, planning) {
                        planning.columns.push(Field::new(&name.text, expression.field_type(), true));
                        assigned.push((planning.columns.len() as u32 - 1, expression));
                    }
                }
            }
        }
        assigned
    }

    /// An expression of a type that is given: an integer where a double is wanted becomes one.
    fn machine_typed(
        &mut self,
        text: &Text,
        path: &str,
        ty: FieldType,
        what: &str,
        scope: &Scope,
        planning: &mut Planning<'_>,
    ) -> Option<Expression> {
        let expression = self.machine_expression(text, path, scope, false, planning)?;
        if (ty, expression.field_type()) == (FieldType::Float64, FieldType::Int64) {
            let wide = Text { text: format!("cast(({}) as double)", text.text), line: text.line };
            return self.machine_expression(&wide, path, scope, false, planning);
        }
        let (is, needed) = (type_name(plain(expression.field_type())), type_name(plain(ty)));
        if is != needed {
            let error = format!("{what} is {needed}, and this is {is}");
            self.fault(path, text.line, error, "write it as the same type: `1.0`, `cast(x as double)`, `cast(x as varchar)`");
            return None;
        }
        Some(expression)
    }

    /// States that nobody can be in, and time that would never come to rest.
    fn refuse_odd_states(
        &mut self,
        path: &str,
        wanted: &MachineText,
        states: &[PlannedState],
        transitions: &[PlannedTransition],
        initial: u16,
    ) {
        if states[usize::from(initial)].is_final {
            let error = format!("a machine that begins in `{}` is over before it began", wanted.initial.text);
            self.fault(format!("{path}.initial"), wanted.initial.line, error, "begin in a state that is not final");
        }
        let timeouts = states.iter().filter_map(|state| state.timeout.as_ref().map(|timeout| timeout.to));
        let reached: Vec<u16> =
            transitions.iter().filter_map(|transition| transition.to).chain(timeouts).chain([initial]).collect();
        for (number, state) in (0u16..).zip(&wanted.states) {
            if !reached.contains(&number) {
                let error = format!("nothing leads to `{}`", state.name.text);
                self.fault(&state.path, state.name.line, error, "add a transition `to` it, or remove it");
            }
            let mut at = number;
            for _ in 0..states.len() {
                let Some(timeout) = &states[usize::from(at)].timeout else { break };
                at = timeout.to;
                if at == number {
                    let error = format!("time alone leads from `{}` back to it, again and again", state.name.text);
                    let remedy = "let the timeouts end in a state without one: what repeats by the clock is a `window`";
                    self.fault(format!("{}.timeout", state.path), state.name.line, error, remedy);
                    break;
                }
            }
        }
    }
}
