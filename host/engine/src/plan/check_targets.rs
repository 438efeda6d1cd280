//! Targets against the catalog: they take what comes out, and nobody reads what it writes.

use std::sync::Arc;

use tidemill_event::{StreamId, StreamName, StreamSchema};

use crate::pipeline::{PipelineDefinition, TargetKind};
use crate::plan::PlannedTarget;
use crate::plan::check::Checker;
use crate::plan::target::{made, misfits};

impl Checker<'_> {
    pub(super) fn targets(&mut self, definition: &PipelineDefinition, output: Option<&StreamSchema>) -> Vec<PlannedTarget> {
        let mut targets = Vec::new();
        for target in &definition.targets {
            let planned = match &target.kind {
                TargetKind::File(path) => PlannedTarget::File { path: path.clone() },
                TargetKind::Stdout => PlannedTarget::Stdout,
                TargetKind::Stream(name) => {
                    let path = format!("{}.stream", target.path);
                    self.refuse_cycle(definition, name, &path, target.line);
                    let there = self.catalog.log.stream(&StreamId::new(self.catalog.tenant.clone(), name.clone()));
                    let Some(output) = output else { continue };
                    let definition = match &there {
                        Some(stream) => {
                            let definition = stream.definition();
                            for (error, remedy) in misfits(output, &definition) {
                                self.fault(&path, target.line, error, remedy);
                            }
                            (*definition).clone()
                        }
                        None => made(output, self.made_key(output), self.source.partitions().len() as u32),
                    };
                    PlannedTarget::Stream { name: name.clone(), there, definition }
                }
            };
            targets.push(planned);
        }
        targets
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
            if stream == definition.source.stream {
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
            for (name, (source, targets)) in self.catalog.graph {
                if *source == stream && *name != definition.name {
                    let through: Vec<String> = through.iter().cloned().chain([format!("`{name}`")]).collect();
                    reached.extend(targets.iter().map(|target| (target.clone(), through.clone())));
                }
            }
            seen.push(stream);
        }
    }
}
