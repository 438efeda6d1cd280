//! Trials: a replay that runs another text than the pipeline's own, to be compared with it, and then promoted or thrown away.
//!
//! ```text
//! tidemill backtest new.yaml --from -7d     a run over history that ends where the rows end now, compared, discarded
//! tidemill replay p --with new.yaml         a shadow: it goes on beside the pipeline until it is promoted or discarded
//! ```
//! It is a run like every other: its own state, its own output streams, the same code. Promoting it makes its text the pipeline's.

use std::sync::Arc;

use tidemill_event::{PipelineName, StreamDefinition, StreamName, TenantName};

use crate::ControlError;
use crate::apply::{Documents, owned};
use crate::deployed::Deployed;
use crate::deployments::Deployments;
use crate::own_streams::{OwnStream, output_name};
use crate::pipeline::{Run, read_pipeline};
use crate::plan::{Plan, PlannedTarget, made};
use crate::sinks::marks_of_added;
use crate::stored::StoredPipeline;

impl Deployments {
    /// The plan of a text that is tried, and its document as it would be if it were applied now.
    pub(crate) fn plan_trial(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        text: &str,
        main: Option<&Deployed>,
    ) -> Result<(Arc<Plan>, StoredPipeline), ControlError> {
        let reading = read_pipeline(name, text);
        let mut faults = reading.faults;
        let previous = main.map(|main| &main.stored);
        let planned = reading.definition.map(|definition| self.check_alone(tenant, definition, reading.gap, previous));
        let plan = match planned {
            Some(Ok(plan)) if faults.is_empty() => plan,
            planned => {
                faults.extend(planned.and_then(Result::err).into_iter().flatten());
                faults.sort_by_key(|fault| fault.line);
                return Err(ControlError::Faults(faults));
            }
        };
        let stored = self.next_stored(&plan, text, main, true).map_err(ControlError::Conflict)?;
        Ok((Arc::new(plan), stored))
    }

    /// The definition of a stream that a plan writes, as the plan would make it.
    pub(crate) fn planned_definition(&self, plan: &Plan, stream: &StreamName) -> Option<StreamDefinition> {
        let name = &plan.definition.name;
        if let Some(own) = OwnStream::ALL.into_iter().find(|own| *stream == own.name(name)) {
            return Some(own.definition(plan.tasks()));
        }
        if *stream == output_name(name) {
            return plan.stages.last().map(|last| made(&plan.output, Vec::new(), last.tasks));
        }
        plan.targets.iter().find_map(|target| match target {
            PlannedTarget::Stream { name, definition, .. } => (name == stream).then(|| definition.clone()),
            PlannedTarget::File(_) | PlannedTarget::Webhook(_) | PlannedTarget::Stdout => None,
        })
    }

    /// What has to be there before a trial's text is the pipeline's: its streams. Answers with the documents that change with it. Of a replay of
    /// the pipeline's own text that is nothing.
    pub(crate) fn adopt_trial(&self, main: &Deployed, replay: &Deployed) -> Result<Documents, ControlError> {
        if replay.stored.text == main.stored.text {
            return Ok(Vec::new());
        }
        let Ok(plan) = &replay.plan else { return Ok(Vec::new()) };
        // Since it began, others may have come to write where it wants to.
        let checked = self.check_alone(&main.tenant, plan.definition.clone(), None, Some(&main.stored));
        let now = checked.map_err(ControlError::Faults)?;
        self.make_streams(&now).map_err(|error| ControlError::Unavailable(error.to_string()))?;
        let added = main.plan.as_ref().ok().zip(self.output(&now));
        let marks = added.map(|(old, output)| marks_of_added(&now, old, &output, self.threads.targets.random));
        Ok([marks.unwrap_or_default(), owned(&main.tenant, &main.name, &now.folders())].concat())
    }
}

impl StoredPipeline {
    /// The same without the ends that a trial was given.
    pub(crate) fn without_ends(self, plan: &Plan) -> Self {
        match plan.definition.run {
            Run::Once => self,
            Run::Live => {
                let sources = self.sources.into_iter().map(|source| crate::stored::StoredSource { ends: None, ..source });
                Self { sources: sources.collect(), ..self }
            }
        }
    }
}
