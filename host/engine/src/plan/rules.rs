//! `rules`, checked against the columns there are: conditions taken apart at their `and`s, and what several rules have in common found.
//!
//! ```text
//! country = 'DE' and amount > 100     Is(country, ['DE'])   Predicate 0
//! country = 'AT' and amount > 100     Is(country, ['AT'])   Predicate 0        one expression, planned and evaluated once
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tidemill_event::{Field, FieldType};
use tidemill_expr::{Expression, ExpressionError, Part, Scope};
use tidemill_flow::StepId;
use tidemill_flow::rule_set::{Constant, Emit, MatchRules, ROUTE, RuleSet, RuleSetSettings, RuleTest, SetRule, TAGS, TestKind};

use crate::pipeline::{RuleText, RulesStep, Step, Text};
use crate::plan::PlannedComponent;
use crate::plan::check::Checker;
use crate::plan::columns::Columns;
use crate::plan::component::{plain, type_name};
use crate::plan::rule_component::Asking;

/// How many rules that are off a dry run names.
const LISTED_MAX: usize = 20;

/// A `rules` step.
pub(crate) struct PlannedRules {
    pub(crate) rules: Vec<SetRule>,
    /// What rules test.
    pub(crate) predicates: Vec<Expression>,
    /// What rules set columns to.
    pub(crate) values: Vec<PlannedValue>,
    /// What rules ask, by their places.
    pub(crate) components: Vec<Arc<PlannedComponent>>,
    /// The columns that rules set.
    pub(crate) columns: Vec<Field>,
    pub(crate) matches: MatchRules,
    pub(crate) emit: Emit,
    pub(crate) keeps_all: bool,
    pub(crate) named: Arc<str>,
    pub(crate) traces: bool,
}

/// What a rule sets a column to.
pub(crate) struct PlannedValue {
    pub(crate) field: Field,
    pub(crate) expression: Expression,
    /// It reads what the component of this rule says.
    pub(crate) of: Option<u32>,
}

impl PlannedRules {
    /// The rules as a step has them; without the expressions and components, which each task has for itself.
    pub(crate) fn settings(&self, step: StepId) -> RuleSetSettings {
        RuleSetSettings {
            step,
            rules: self.rules.clone(),
            predicates: Vec::new(),
            values: Vec::new(),
            components: Vec::new(),
            columns: self.columns.clone(),
            matches: self.matches,
            emit: self.emit,
            keeps_all: self.keeps_all,
            named: self.named.clone(),
            traces: self.traces,
        }
    }

    /// Which rule asks which component.
    fn asked(&self) -> Vec<Value> {
        let asked = |rule: &SetRule| {
            let component = &self.components[rule.asks.as_ref()?.place as usize];
            Some(json!({"rule": &*rule.name, "component": component.label(), "digest": component.pin.digest}))
        };
        self.rules.iter().filter_map(asked).collect()
    }

    /// What a dry run says of it.
    pub(crate) fn described(&self) -> Value {
        let is_indexed = |rule: &&SetRule| rule.tests.iter().any(|test| matches!(test.kind, TestKind::Is { .. }));
        let off: Vec<Value> = self
            .rules
            .iter()
            .filter_map(|rule| Some(json!({"rule": &*rule.name, "why": rule.off.as_deref()?})))
            .take(LISTED_MAX)
            .collect();
        json!({
            "rules": self.rules.len(),
            "off": self.rules.iter().filter(|rule| rule.off.is_some()).count(),
            "off_rules": off,
            "found_by_value": self.rules.iter().filter(is_indexed).count(),
            "predicates": self.predicates.len(),
            "components": self.asked(),
            "match": match self.matches { MatchRules::First => "first", MatchRules::All => "all" },
            "emit": match self.emit { Emit::Rows => "rows", Emit::Matches => "matches" },
        })
    }
}

/// Predicates that several conditions have in common, each once.
#[derive(Default)]
pub(super) struct SharedPredicates {
    pub(super) list: Vec<Expression>,
    /// By their text.
    numbers: HashMap<String, u32>,
}

impl SharedPredicates {
    /// A part of a condition as a test. Errors: it is no condition over these columns.
    pub(super) fn test(&mut self, part: &Part, scope: &Scope) -> Result<RuleTest, ExpressionError> {
        let text: Arc<str> = part.to_string().into();
        if let Some(found) = part.membership(scope) {
            let constant = |constant| match constant {
                tidemill_expr::Constant::Text(text) => Constant::Text(text.into()),
                tidemill_expr::Constant::Int(int) => Constant::Int(int),
                tidemill_expr::Constant::Bool(bool) => Constant::Bool(bool),
            };
            let any_of = found.any_of.into_iter().map(constant).collect();
            return Ok(RuleTest { text, kind: TestKind::Is { column: found.column, any_of } });
        }
        let number = match self.numbers.get(&*text) {
            Some(number) => *number,
            None => {
                self.list.push(part.plan(scope).and_then(is_condition)?);
                let number = self.list.len() as u32 - 1;
                self.numbers.insert(text.to_string(), number);
                number
            }
        };
        Ok(RuleTest { text, kind: TestKind::Predicate(number) })
    }
}

/// What the rules of a step have in common.
#[derive(Default)]
struct Shared {
    predicates: SharedPredicates,
    values: Vec<PlannedValue>,
    /// By the column, for the type it asks for, and their text; and the rule, if it alone has it.
    value_numbers: HashMap<(u32, String, Option<u32>), u32>,
    columns: Vec<Field>,
    components: Vec<Arc<PlannedComponent>>,
}

impl Checker<'_> {
    pub(super) fn rules(
        &mut self,
        at: u32,
        step: &Step,
        wanted: &RulesStep,
        columns: Option<&Columns>,
    ) -> Option<(PlannedRules, Columns)> {
        let (columns, faults_before) = (columns?, self.faults.len());
        let named: Arc<str> = match &wanted.named {
            Some(name) => self.column_name(step, name).ok()?,
            None => "rule".into(),
        };
        let own = ["rules", TAGS, ROUTE, "trace"];
        if let Some(name) = wanted.named.as_ref().filter(|name| own.contains(&name.text.as_str())) {
            let error = format!("`{}` is a column of the step already", name.text);
            self.fault(format!("{}.as", step.path), name.line, error, "choose another name");
        }
        self.refuse_taken_types(step, wanted, &named, columns);
        let mut shared = Shared::default();
        let mut rules = Vec::with_capacity(wanted.rules.len());
        for (number, rule) in (0u32..).zip(&wanted.rules) {
            for (name, _) in &rule.set {
                if own.contains(&name.text.as_str()) || name.text == *named {
                    let error = format!("`{}` is a column that the step makes itself", name.text);
                    self.fault(format!("{}.set.{}", rule.path, name.text), name.line, error, "choose another name");
                }
            }
            let tests = self.tests(rule, columns, &mut shared);
            let asking = self.asked(at, rule, columns, shared.components.len());
            // What a component would say is not known where it is wrong, and that was said.
            let sets = if asking.is_none() && rule.component.is_some() {
                Vec::new()
            } else {
                self.sets(rule, columns, asking.as_ref().map(|asking| (number, asking)), &mut shared)
            };
            let asks = asking.map(|Asking { asks, component }| {
                shared.components.push(component);
                asks
            });
            rules.push(SetRule {
                name: rule.name.text.as_str().into(),
                off: self.off(rule),
                from: rule.enabled.from.map(|time| time.0),
                until: rule.enabled.until.map(|time| time.0),
                tests,
                asks,
                sets,
                tags: rule.tag.iter().map(|tag| tag.text.as_str().into()).collect(),
                route: rule.route.as_ref().map(|route| route.text.as_str().into()),
                drops: rule.drops,
            });
        }
        if self.faults.len() > faults_before {
            return None;
        }
        let Shared { predicates, values, columns: set, components, .. } = shared;
        let RulesStep { matches, emit, keeps_all, traces, .. } = *wanted;
        let planned = PlannedRules {
            rules,
            predicates: predicates.list,
            values,
            components,
            columns: set,
            matches,
            emit,
            keeps_all,
            named,
            traces,
        };
        let added: Vec<_> = RuleSet::added(&planned.settings(StepId(0))).into_iter().map(|field| (field, None)).collect();
        let columns = columns.extended(&added);
        Some((planned, columns))
    }

    /// Columns that rows have already and that the step adds to: it can keep what they say only if they are of its own type.
    fn refuse_taken_types(&mut self, step: &Step, wanted: &RulesStep, named: &str, columns: &Columns) {
        let tags = wanted.rules.iter().any(|rule| !rule.tag.is_empty()).then_some((TAGS, FieldType::Json));
        let route = wanted.rules.iter().any(|rule| rule.route.is_some()).then_some((ROUTE, FieldType::String));
        for (name, ty) in [Some((named, FieldType::String)), tags, route].into_iter().flatten() {
            let Some(there) = columns.field(name).filter(|there| plain(there.ty) != ty) else { continue };
            let (is, needed) = (type_name(plain(there.ty)), type_name(ty));
            let error = format!("the rows have a column `{name}` that is {is}, and what rules say there is {needed}");
            let otherwise = if name == named { ", or choose another for the rule's name: `as: …`" } else { "" };
            let remedy = format!("give it another name in a `select` step before: `{name}_before: {name}`{otherwise}");
            self.fault(step.name(), wanted.rules.first().map_or(1, |rule| rule.name.line), error, remedy);
        }
    }

    /// Why a rule is off, if it is.
    fn off(&self, rule: &RuleText) -> Option<Arc<str>> {
        if !rule.enabled.is_on {
            return Some("`enabled: false`".into());
        }
        let wanted = &rule.enabled.tags;
        let has = |tag: &Text| self.tags.contains(&tag.text);
        (!wanted.is_empty() && !wanted.iter().any(has)).then(|| {
            let names: Vec<&str> = wanted.iter().map(|tag| tag.text.as_str()).collect();
            format!("the pipeline has no tag of [{}]", names.join(", ")).into()
        })
    }

    /// The condition of a rule, taken apart.
    fn tests(&mut self, rule: &RuleText, columns: &Columns, shared: &mut Shared) -> Vec<RuleTest> {
        let Some(when) = &rule.when else { return Vec::new() };
        let path = format!("{}.when", rule.path);
        let parts = match Part::parse(&when.text).and_then(|part| self.without_calls(&part, columns)) {
            Ok(rest) => rest.conjuncts(),
            Err(error) => {
                self.expression_fault(&path, when, error);
                return Vec::new();
            }
        };
        let scope = self.scope(columns);
        let mut tests = Vec::with_capacity(parts.len());
        for part in parts {
            match shared.predicates.test(&part, &scope) {
                Ok(test) => tests.push(test),
                Err(error) => self.expression_fault(&path, when, error),
            }
        }
        tests
    }

    /// What a rule sets; `asking`: its number and component.
    fn sets(
        &mut self,
        rule: &RuleText,
        columns: &Columns,
        asking: Option<(u32, &Asking)>,
        shared: &mut Shared,
    ) -> Vec<(u32, u32)> {
        let mut sets = Vec::with_capacity(rule.set.len());
        let said = asking.map(|(_, asking)| asking.columns(columns));
        let number = asking.map(|(number, _)| number);
        for (name, text) in &rule.set {
            let path = format!("{}.set.{}", rule.path, name.text);
            let place = shared.columns.iter().position(|column| *column.name == *name.text);
            if let Some(place) = place
                && let Some(value) = shared.value_numbers.get(&(place as u32, text.text.clone(), number))
            {
                sets.push((place as u32, *value));
                continue;
            }
            let Some(mut expression) = self.expression_over(text, &path, columns, said.as_ref().unwrap_or(columns)) else {
                continue;
            };
            let there = columns.field(&name.text);
            let ty = place.map(|place| shared.columns[place].ty).or(there.map(|field| field.ty));
            let ty = ty.unwrap_or(expression.field_type());
            if (ty, expression.field_type()) == (FieldType::Float64, FieldType::Int64) {
                let cast = Text { text: format!("cast(({}) as double)", text.text), line: text.line };
                let Some(wide) = self.expression_over(&cast, &path, columns, said.as_ref().unwrap_or(columns)) else { continue };
                expression = wide;
            }
            let (is, needed) = (type_name(plain(expression.field_type())), type_name(plain(ty)));
            if is != needed {
                let error = format!("`{}` is {needed} elsewhere, and {is} here", name.text);
                let remedy = "write it as the same type: `1.0`, `cast(x as double)`, `cast(x as varchar)`, or set another column";
                self.fault(path, text.line, error, remedy);
                continue;
            }
            let place = place.unwrap_or_else(|| {
                // Where no rule sets it, it is what it was; a new one is null.
                shared.columns.push(Field::new(&name.text, ty, there.is_none_or(|field| field.nullable)));
                shared.columns.len() - 1
            });
            shared.columns[place].nullable |= expression.nullable();
            let field = Field::new(&name.text, expression.field_type(), expression.nullable());
            let reads = |(number, asking): &(u32, &Asking)| {
                let is_said = |name: &Arc<str>| asking.outputs().iter().any(|output| output.name == *name);
                expression.columns().iter().any(is_said).then_some(*number)
            };
            let of = asking.as_ref().and_then(reads);
            shared.values.push(PlannedValue { field, expression, of });
            let value = shared.values.len() as u32 - 1;
            shared.value_numbers.insert((place as u32, text.text.clone(), number), value);
            sets.push((place as u32, value));
        }
        sets
    }
}

fn is_condition(expression: Expression) -> Result<Expression, ExpressionError> {
    match expression.field_type() {
        FieldType::Bool => Ok(expression),
        other => {
            let error = format!("the condition is {}, not true or false", type_name(other));
            Err(ExpressionError::new(error, "compare it with something: `amount > 0`"))
        }
    }
}
