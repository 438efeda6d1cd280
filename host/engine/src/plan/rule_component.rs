//! Components that the rules of a set ask: the right kind, columns that are there, and nothing kept between rows.

use std::sync::Arc;

use tidemill_event::Field;
use tidemill_flow::rule_set::AskedComponent;
use tidemill_runtime::Kind;

use crate::pipeline::{ComponentStep, KEEPS_NONE, RuleText};
use crate::plan::PlannedComponent;
use crate::plan::check::Checker;
use crate::plan::columns::Columns;

/// Rules of one step that may ask a component: each has a sandbox in every task.
pub(crate) const COMPONENTS_MAX: usize = 64;

/// A rule's component, and its place among those of the set.
pub(super) struct Asking {
    pub(super) asks: AskedComponent,
    pub(super) component: Arc<PlannedComponent>,
}

impl Asking {
    /// What the component says of a row beside yes and no.
    pub(super) fn outputs(&self) -> &[Field] {
        &self.component.component.description().outputs
    }

    /// The columns that what the rule sets may read: the component's come before the row's own.
    pub(super) fn columns(&self, columns: &Columns) -> Columns {
        let outputs: Vec<_> = self.outputs().iter().map(|field| (field.clone(), None)).collect();
        columns.extended(&outputs)
    }
}

impl Checker<'_> {
    /// The component of a rule, which becomes the next of the set.
    pub(super) fn asked(&mut self, at: u32, rule: &RuleText, columns: &Columns, place: usize) -> Option<Asking> {
        let wanted = rule.component.as_ref()?;
        let (path, line) = (format!("{}.rule", rule.path), wanted.reference.line);
        if place == COMPONENTS_MAX {
            let error = format!("more than {COMPONENTS_MAX} rules of one step ask a component");
            self.fault(path, line, error, "let another `rules` step behind this one have some of them");
            return None;
        }
        let ComponentStep { config, on_failing, .. } = wanted;
        let (pin, component) = self.of_kind(at, &path, wanted, Kind::Rule)?;
        let faults_before = self.faults.len();
        if !component.description().state.is_empty() {
            let error = format!("`{}` keeps state, and a rule set keeps none", wanted.reference.text);
            self.fault(&path, line, error, KEEPS_NONE);
        }
        self.columns_there(&path, wanted, component.description(), columns);
        let limits = self.limits(&rule.path, wanted);
        if self.faults.len() > faults_before {
            return None;
        }
        let planned = PlannedComponent {
            step_name: path,
            pin,
            component,
            config: config.clone(),
            limits,
            by: Vec::new(),
            ttl: None,
            on_failing: *on_failing,
        };
        self.open(&rule.path, wanted, &planned)?;
        let asks = AskedComponent { place: place as u32, text: wanted.reference.text.as_str().into() };
        Some(Asking { asks, component: Arc::new(planned) })
    }
}
