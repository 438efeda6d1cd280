//! What a component reference of a step means: which component, the columns and the key it needs, its limits, and the state it goes on with.

use std::sync::Arc;

use tidemill_runtime::{Component, Description, Instance, InstanceSettings, Kind, MEMORY_BYTES_MAX, SilentLog};

use crate::pipeline::{ComponentStep, Step, nearest};
use crate::plan::PlannedComponent;
use crate::plan::check::{Checker, Pinning};
use crate::plan::columns::Columns;
use crate::plan::component::{a, column_fits, limits, state_shape, ttl};
use crate::stored::Pin;

impl Checker<'_> {
    pub(super) fn component(
        &mut self,
        at: u32,
        step: &Step,
        wanted: &ComponentStep,
        kind: Kind,
        columns: Option<&Columns>,
    ) -> Option<Arc<PlannedComponent>> {
        let path = step.name();
        let (mut pin, component) = self.of_kind(at, &path, wanted, kind)?;
        let description = component.description();
        let faults_before = self.faults.len();
        if let Some(columns) = columns {
            self.columns_there(&path, wanted, description, columns);
        }
        let is_stateful = !description.state.is_empty() || kind == Kind::Process;
        // What is kept of a pattern is the host's own: its state has another name.
        let by = self.by(step, wanted, is_stateful || kind == Kind::Pattern, columns);
        if wanted.ttl.is_some() && description.state.is_empty() {
            let error = format!("`{}` keeps no state", wanted.reference.text);
            self.fault(format!("{}.ttl", step.path), wanted.by_line, error, "remove `ttl`");
        }
        let limits = self.limits(&step.path, wanted);
        if is_stateful {
            let shape = state_shape(description, &by);
            pin.operator = Some(self.operator(&pin, &shape));
            pin.state_shape = Some(shape);
            self.last_by = Some(by.clone());
        }
        if self.faults.len() > faults_before {
            return None;
        }
        let ttl = wanted.ttl.or(description.memory.state_ttl.map(ttl));
        let (config, on_failing) = (wanted.config.clone(), wanted.on_failing);
        let planned = PlannedComponent { step_name: path, pin, component, config, limits, by, ttl, on_failing };
        self.open(&step.path, wanted, &planned)?;
        Some(Arc::new(planned))
    }

    /// What a reference means where a component of one kind has to stand.
    pub(super) fn of_kind(&mut self, at: u32, path: &str, wanted: &ComponentStep, kind: Kind) -> Option<(Pin, Arc<Component>)> {
        let (pin, component) = self.resolve(at, None, path, wanted)?;
        if component.kind() != kind {
            let there = component.kind().as_str();
            self.fault(
                path,
                wanted.reference.line,
                format!("`{}` is {}", wanted.reference.text, a(component.kind())),
                match component.kind() {
                    Kind::Rule | Kind::Transform | Kind::Process | Kind::Pattern => format!("write `- {there}: …`"),
                    Kind::Function | Kind::Aggregate => {
                        format!(
                            "give it a name beside `from`, `functions: {{name: {}}}`, and call that in expressions",
                            wanted.reference.text
                        )
                    }
                },
            );
            return None;
        }
        Some((pin, component))
    }

    /// Whether the columns that a component reads are there.
    pub(super) fn columns_there(&mut self, path: &str, wanted: &ComponentStep, description: &Description, columns: &Columns) {
        for needed in &description.columns {
            match columns.field(&needed.name) {
                None => {
                    let remedy = match nearest(&needed.name, columns.names()) {
                        Some(near) => format!("make it in a step before: `extend: {{{}: {near}}}`", needed.name),
                        None => format!("make it in a step before: `extend: {{{}: …}}`", needed.name),
                    };
                    let error = format!("`{}` needs a column `{}`, and there is none", wanted.reference.text, needed.name);
                    self.fault(path, wanted.reference.line, error, remedy);
                }
                Some(there) => {
                    if let Err(error) = column_fits(needed, there) {
                        let remedy = format!("make it fit in a step before: `extend: {{{}: …}}`", needed.name);
                        self.fault(path, wanted.reference.line, error, remedy);
                    }
                }
            }
        }
    }

    /// What a reference means, of a step or of a name that expressions call.
    pub(super) fn resolve(
        &mut self,
        at: u32,
        function: Option<&str>,
        path: &str,
        wanted: &ComponentStep,
    ) -> Option<(Pin, Arc<Component>)> {
        let reference = &wanted.reference;
        let pinned = match self.pinning {
            Pinning::As(stored) => {
                let is_it = |pin: &&Pin| pin.step == at && pin.function.as_deref() == function && pin.reference == reference.text;
                stored.pinned.iter().find(is_it).cloned()
            }
            Pinning::Newest(_) => None,
        };
        let pin = match pinned {
            Some(pin) => pin,
            None => match self.catalog().components.resolve(self.catalog().tenant, &reference.text) {
                Ok(entry) => Pin {
                    step: at,
                    reference: reference.text.clone(),
                    name: entry.name.to_string(),
                    version: entry.version.to_string(),
                    digest: entry.digest.to_string(),
                    operator: None,
                    state_shape: None,
                    function: function.map(str::to_owned),
                },
                Err(error) => {
                    self.fault(path, reference.line, error, "`GET /v1/components` lists what there is");
                    return None;
                }
            },
        };
        let loaded =
            pin.digest.parse().map_err(|error| format!("{error}")).and_then(|digest| self.catalog().components.load(digest));
        match loaded {
            Ok(component) => Some((pin, component)),
            Err(error) => {
                self.fault(path, reference.line, error, "publish the component again");
                None
            }
        }
    }

    /// The key of a step's state. A step without state needs none.
    fn by(&mut self, step: &Step, wanted: &ComponentStep, stateful: bool, columns: Option<&Columns>) -> Vec<Arc<str>> {
        let path = format!("{}.by", step.path);
        let Some(by) = &wanted.by else {
            if stateful {
                let error = format!("`{}` keeps state, and `by` does not say for which key", wanted.reference.text);
                self.fault(path, wanted.by_line, error, "add `by: [user]`, or `by: []` for one key for all rows");
            }
            return Vec::new();
        };
        let names: Vec<Arc<str>> = by.iter().map(|name| name.text.as_str().into()).collect();
        if !stateful {
            let error = format!("`{}` keeps no state", wanted.reference.text);
            self.fault(path, wanted.by_line, error, "remove `by`");
            return names;
        }
        if let Some(columns) = columns {
            self.key_fields(by, &path, columns);
        }
        names
    }

    pub(super) fn limits(&mut self, path: &str, wanted: &ComponentStep) -> tidemill_runtime::Limits {
        if wanted.limits.memory_bytes.is_some_and(|bytes| bytes > MEMORY_BYTES_MAX as u64) {
            let error = format!("more memory than an instance may have ({} MiB)", MEMORY_BYTES_MAX >> 20);
            self.fault(
                format!("{path}.limits.memory"),
                wanted.reference.line,
                error,
                format!("at most `{}MiB`", MEMORY_BYTES_MAX >> 20),
            );
        }
        limits(&wanted.limits)
    }

    /// The number of a step's state: that of the same component with the same shape before, or a new one.
    fn operator(&mut self, pin: &Pin, shape: &str) -> u32 {
        if let Pinning::As(_) = self.pinning
            && let Some(operator) = pin.operator
        {
            return operator;
        }
        let previous = match self.pinning {
            Pinning::Newest(previous) => previous,
            Pinning::As(stored) => Some(stored),
        };
        let kept = previous.and_then(|previous| {
            previous.pinned.iter().find_map(|old| {
                let operator = old.operator?;
                let same = old.name == pin.name && old.state_shape.as_deref() == Some(shape);
                (same && !self.used.contains(&operator)).then_some(operator)
            })
        });
        let operator = kept.unwrap_or_else(|| {
            self.next_operator += 1;
            self.next_operator - 1
        });
        self.used.push(operator);
        operator
    }

    /// A configuration the component does not take is a fault of the text, so one instance is opened right here.
    pub(super) fn open(&mut self, path: &str, wanted: &ComponentStep, planned: &PlannedComponent) -> Option<Instance> {
        let settings = InstanceSettings {
            config: planned.config.clone(),
            limits: planned.limits.clone(),
            log: Arc::new(SilentLog),
            metrics: Arc::new(tidemill_runtime::SilentMetrics),
            grants: self.catalog().grants.clone(),
        };
        match self.catalog().runtime.instantiate(&planned.component, settings) {
            Ok(instance) => Some(instance),
            Err(failure) => {
                let error = format!("`{}` does not open: {failure}", wanted.reference.text);
                self.fault(format!("{path}.config"), wanted.config_line, error, "change `config` as the component says");
                None
            }
        }
    }
}
