//! A `patterns` step, checked: each pattern as if it stood alone, their conditions taken apart and shared as those of a rule set.

use std::sync::Arc;

use serde_json::{Value, json};
use tidemill_event::Field;
use tidemill_event::FieldType;
use tidemill_expr::Expression;
use tidemill_flow::Judged;
use tidemill_flow::pattern::{PATTERN, PatternOrder};
use tidemill_flow::rule_set::TestKind;

use crate::pipeline::{PatternsStep, Step};
use crate::plan::check::Checker;
use crate::plan::columns::Columns;
use crate::plan::component::{plain, type_name};
use crate::plan::pattern::PlannedPattern;
use crate::plan::pattern::conditions::SharedTests;
use crate::plan::state::KeptState;
use crate::plan::window::named;

/// How many warnings a dry run tells.
const TOLD_MAX: usize = 20;

/// A `patterns` step.
pub(crate) struct PlannedPatterns {
    pub(crate) by: Vec<Field>,
    /// What a row has to have while it waits for its time: all its columns, so that a pattern may be added that looks at others.
    pub(crate) fields: Vec<Field>,
    pub(crate) patterns: Vec<(Arc<str>, PlannedPattern)>,
    /// The conditions that they share, as tests, and what those name.
    pub(crate) conditions: Vec<Vec<TestKind>>,
    pub(crate) predicates: Vec<Expression>,
    /// Computed of each row, hidden.
    pub(crate) before: Vec<(Field, Expression)>,
    pub(crate) order: PatternOrder,
    pub(crate) judged: Judged,
    /// The columns that come out, behind the pattern's name.
    pub(crate) columns: Vec<Field>,
    pub(crate) state: KeptState,
}

impl PlannedPatterns {
    /// What a dry run says of it.
    pub(crate) fn described(&self) -> Value {
        let is_found = |tests: &&Vec<TestKind>| tests.iter().any(|test| matches!(test, TestKind::Is { .. }));
        let warnings: Vec<String> = self
            .patterns
            .iter()
            .flat_map(|(name, planned)| planned.warnings.iter().map(move |warning| format!("`{name}`: {warning}")))
            .take(TOLD_MAX)
            .collect();
        json!({
            "patterns": self.patterns.len(),
            "draining": self.patterns.iter().filter(|(_, planned)| planned.draining).count(),
            "conditions": self.conditions.len(),
            "found_by_value": self.conditions.iter().filter(is_found).count(),
            "predicates": self.predicates.len(),
            "warnings": warnings,
        })
    }
}

impl Checker<'_> {
    /// The step, and the columns behind it.
    pub(in crate::plan) fn pattern_list(
        &mut self,
        at: u32,
        step: &Step,
        wanted: &PatternsStep,
        columns: Option<&Columns>,
    ) -> Option<(PlannedPatterns, Columns)> {
        self.refuse_clock_times(&step.name(), step.line);
        let (columns, faults_before) = (columns?, self.faults.len());
        let by = self.key_fields(&wanted.by, &format!("{}.by", step.path), columns);
        if let Some(name) = wanted.by.iter().find(|name| name.text == PATTERN) {
            let error = format!("`{PATTERN}` is what this step calls a column of its own");
            let remedy = format!("give the column another name in a step before: `extend: {{of_{PATTERN}: {PATTERN}}}`");
            self.fault(format!("{}.by", step.path), name.line, error, remedy);
        }
        if self.faults.len() > faults_before {
            return None;
        }
        let judged = self.judged();
        let mut shared = Some(SharedTests::default());
        let mut patterns: Vec<(Arc<str>, PlannedPattern)> = Vec::new();
        let (mut before, mut drained): (Vec<(Field, Expression)>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut told: Vec<Field> = by.clone();
        for one in &wanted.patterns {
            let Some((planned, ..)) = self.patterned(&one.path, &one.pattern, columns, (None, &mut shared)) else {
                // The others are checked all the same.
                shared.get_or_insert_default();
                continue;
            };
            // Two of one name are the one that is drained and the one in its place.
            let same =
                |(name, other): &(Arc<str>, PlannedPattern)| **name == *one.name.text && other.state.shape == planned.state.shape;
            let stands_twice = match planned.draining {
                true => patterns.iter().any(same),
                false => drained.iter().any(|at: &usize| same(&patterns[*at])),
            };
            if planned.draining {
                drained.push(patterns.len());
            }
            if stands_twice {
                let error = format!("`{}` stands there twice with one state: there is nothing to drain", one.name.text);
                let remedy = "remove one of the two: partial matches go on in the other";
                self.fault(format!("{}.name", one.path), one.name.line, error, remedy);
            }
            for field in &planned.columns {
                self.tell(&one.path, one.name.line, field, &mut told);
            }
            let new = planned.before.iter().filter(|(field, _)| before.iter().all(|(known, _)| known.name != field.name));
            before.extend(new.cloned().collect::<Vec<_>>());
            patterns.push((one.name.text.as_str().into(), planned));
        }
        if self.faults.len() > faults_before {
            return None;
        }
        // What one pattern has and another has not is null there.
        for field in &mut told {
            let has = |(_, planned): &(Arc<str>, PlannedPattern)| {
                planned.columns.iter().any(|own| own.name == field.name && !own.nullable)
            };
            field.nullable |= !patterns.iter().all(has);
        }
        let SharedTests { predicates, conditions, .. } = shared?;
        let own = self.calls.iter().map(|call| call.value.clone());
        let hidden = before.iter().map(|(field, _)| field.clone());
        let fields: Vec<Field> = columns.fields.iter().cloned().chain(own).chain(hidden).collect();
        let shape = format!("patterns by [{}] of [{}]", named(&by), named(&fields));
        let state = self.native_state(at, "patterns", shape);
        let pattern = Field::new(PATTERN, FieldType::String, false);
        let passed: Vec<(Field, Option<Arc<str>>)> =
            [pattern].iter().chain(&told).map(|field| (field.clone(), by.contains(field).then(|| field.name.clone()))).collect();
        let behind = columns.replaced(&passed);
        let order = wanted.order;
        let planned = PlannedPatterns {
            by,
            fields,
            patterns,
            conditions,
            predicates: predicates.list,
            before,
            order,
            judged,
            columns: told,
            state,
        };
        Some((planned, behind))
    }

    /// One name has one type, whichever pattern says it.
    fn tell(&mut self, path: &str, line: usize, field: &Field, told: &mut Vec<Field>) {
        if *field.name == *PATTERN {
            let error = format!("`{PATTERN}` is what this step calls a column of its own");
            self.fault(format!("{path}.select"), line, error, "choose another name");
            return;
        }
        match told.iter().find(|known| known.name == field.name) {
            None => told.push(field.clone()),
            Some(known) if known.ty == field.ty => {}
            Some(known) => {
                let (is, there) = (type_name(plain(field.ty)), type_name(plain(known.ty)));
                let error = format!("`{}` is {there} in a pattern before, and {is} here", field.name);
                self.fault(format!("{path}.select"), line, error, "convert one of them, or choose another name");
            }
        }
    }
}
