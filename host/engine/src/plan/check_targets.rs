//! Targets against the catalog: they take what comes out, and nobody reads what it writes.

use std::sync::Arc;

use tidemill_connect::{FileSink, WebhookTarget};
use tidemill_event::{FieldType, PipelineName, StreamId, StreamName, StreamSchema, TenantName};

use crate::own_streams::OwnStream;
use crate::pipeline::{PipelineDefinition, Route, StepKind, Target, TargetKind, Text};
use crate::plan::check::Checker;
use crate::plan::target::{left_out, made, misfits};
use crate::plan::{Pinning, PlannedTarget};
use tidemill_flow::rule_set::ROUTE;

/// The document that says whose files a folder holds: offsets in their names mean something only beside their stream.
pub(crate) fn owner_key(path: &str) -> String {
    format!("file/{path}")
}

/// Who a pipeline is to a folder.
pub(crate) fn owner(tenant: &TenantName, pipeline: &PipelineName) -> String {
    format!("{tenant}/{pipeline}")
}

impl Checker<'_> {
    pub(super) fn targets(&mut self, definition: &PipelineDefinition, output: Option<&StreamSchema>) -> Vec<PlannedTarget> {
        let mut targets = Vec::new();
        for target in &definition.targets {
            let planned = match &target.kind {
                TargetKind::File(file) => {
                    let path = &file.path;
                    if let Some(other) = self.other_owner(definition, path) {
                        // Of other tenants not even the names are told.
                        let is_own = other.split_once('/').is_some_and(|(tenant, _)| tenant == self.catalog().tenant.as_str());
                        let whose = if is_own { format!("the pipeline `{other}`") } else { "somebody else".to_owned() };
                        let error = format!("`files/{path}` belongs to {whose}");
                        let remedy = "choose another path, or delete that pipeline and move its files away";
                        self.fault(format!("{}.file.path", target.path), target.line, error, remedy);
                    }
                    PlannedTarget::File(file.clone())
                }
                TargetKind::Stdout => PlannedTarget::Stdout,
                TargetKind::Webhook(webhook) => {
                    // Only of a new text: a pipeline that runs already says in its status what it lacks, and goes on when it is there.
                    if matches!(self.pinning, Pinning::Newest(_))
                        && let Err(error) =
                            WebhookTarget::check(&webhook.settings, &self.catalog().targets.secrets_of(self.catalog().tenant))
                    {
                        let remedy = format!(
                            "put it into the host's data directory as `secrets/{}/{}`",
                            self.catalog().tenant,
                            error.name
                        );
                        self.fault(format!("{}.webhook", target.path), target.line, error.to_string(), remedy);
                    }
                    PlannedTarget::Webhook(webhook.clone())
                }
                TargetKind::Stream(name) => {
                    let path = format!("{}.stream", target.path);
                    self.refuse_cycle(definition, name, &path, target.line);
                    let there = self.catalog().log.stream(&StreamId::new(self.catalog().tenant.clone(), name.clone()));
                    let side = target.side.as_ref().and_then(|side| self.side_schema(side).cloned());
                    let output = if target.side.is_some() { side.as_ref() } else { output };
                    let (Some(output), Some(sources)) = (output, &self.sources) else { continue };
                    let definition = match &there {
                        Some(stream) => {
                            let definition = stream.definition();
                            for (error, remedy) in misfits(output, &definition) {
                                self.fault(&path, target.line, error, remedy);
                            }
                            (*definition).clone()
                        }
                        None => made(output, self.made_key(output), sources.partitions()),
                    };
                    self.check_routes(target, output);
                    let (of, routes) = (target.side.clone(), target.routes.clone());
                    let left_out = left_out(output, &definition);
                    PlannedTarget::Stream { name: name.clone(), there, definition, of, routes, left_out }
                }
            };
            targets.push(planned);
        }
        self.refuse_lost_routes(definition);
        for step in definition.steps.iter().filter(|step| matches!(step.kind, StepKind::Alert(_))) {
            let alerts = OwnStream::Alerts.name(&definition.name);
            self.refuse_cycle(definition, &alerts, &step.name(), step.line);
        }
        targets
    }

    /// Routes are values of a column.
    fn check_routes(&mut self, target: &Target, output: &StreamSchema) {
        let is_text = output.field(ROUTE).is_some_and(|field| field.ty == FieldType::String);
        if !target.routes.is_empty() && !is_text {
            let error = "rows have no text column `route`";
            let remedy =
                "let a rule of a `rules` step say `route: …`, or make it: `extend: {route: \"case when … then 'review' end\"}`";
            self.fault(format!("{}.route", target.path), target.line, error, remedy);
        }
    }

    /// A rule must not send rows where nobody takes them.
    fn refuse_lost_routes(&mut self, definition: &PipelineDefinition) {
        let routed = definition.steps.iter().filter_map(|step| match &step.kind {
            StepKind::Rules(rules) => Some(&rules.rules),
            _ => None,
        });
        let takes = |route: &Text| {
            let is_it = |to: &Route| matches!(to, Route::To(to) if *to == route.text);
            definition
                .targets
                .iter()
                .any(|target| target.side.is_none() && (target.routes.is_empty() || target.routes.iter().any(is_it)))
        };
        for rule in routed.flatten() {
            if let Some(route) = rule.route.as_ref().filter(|route| !takes(route)) {
                let error = format!("no target takes rows of the route `{}`", route.text);
                let remedy = format!("add it to `to`: `- {{stream: …, route: {}}}`", route.text);
                self.fault(format!("{}.route", rule.path), route.line, error, remedy);
            }
        }
    }

    /// Whose folder it is, if not this pipeline's: whoever writes there still, or whose rows are still there.
    fn other_owner(&self, definition: &PipelineDefinition, path: &str) -> Option<String> {
        let other = self.catalog().log.document(&owner_key(path))?;
        let other = String::from_utf8_lossy(&other).into_owned();
        let is_there = || self.catalog().log.document(&format!("pipeline/{other}")).is_some();
        let is_other = other != owner(self.catalog().tenant, &definition.name);
        (is_other && (is_there() || FileSink::holds_rows(&*self.catalog().targets.disk, &self.catalog().targets.files, path)))
            .then_some(other)
    }

    /// The last `by`, if its columns come out.
    fn made_key(&self, output: &StreamSchema) -> Vec<Arc<str>> {
        let by = self.last_by.clone().unwrap_or_default();
        if by.iter().all(|name| output.field(name).is_some()) { by } else { Vec::new() }
    }

    fn refuse_cycle(&mut self, definition: &PipelineDefinition, target: &StreamName, path: &str, line: usize) {
        let mut reached = vec![(target.clone(), Vec::<String>::new())];
        let mut seen = Vec::new();
        while let Some((stream, through)) = reached.pop() {
            if definition.sources.iter().any(|source| source.stream == stream) {
                let error = match through.as_slice() {
                    [] => format!("the pipeline would read what it writes: `{target}` is its source"),
                    through => format!("the pipeline would read what it writes, through {}", through.join(" and ")),
                };
                self.fault(path, line, error, "write to another stream");
                return;
            }
            if seen.contains(&stream) {
                continue;
            }
            for (name, (sources, targets)) in self.catalog().graph {
                if sources.contains(&stream) && *name != definition.name {
                    let through: Vec<String> = through.iter().cloned().chain([format!("`{name}`")]).collect();
                    reached.extend(targets.iter().map(|target| (target.clone(), through.clone())));
                }
            }
            seen.push(stream);
        }
    }
}
