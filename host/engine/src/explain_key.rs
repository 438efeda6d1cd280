//! What all steps of a pipeline hold of a key: its open partial matches, its machine's state, the events that a correlation gathers.
//!
//! Each step is asked as `state_of_key.rs` says, and each answer is on disk; they are of one moment after the other, not of one.

use serde::Serialize;
use tidemill_event::{PipelineName, TenantName};

use crate::ControlError;
use crate::deployments::Deployments;
use crate::state_of_key::{StateOfKey, StateOfKeyError};

/// What the steps of a pipeline hold of a key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainedKey {
    /// The pipeline.
    pub pipeline: String,
    /// Steps that hold something of it, in their order.
    pub steps: Vec<StateOfKey>,
    /// Steps with state that say nothing of it, and why: they hold nothing, have another key, or cannot say.
    pub others: Vec<(String, String)>,
}

/// Rows that have come and wait for the watermark are in no state yet; who has just sent one looks for it here.
const HOLDS_NOTHING: &str = "holds nothing of it (rows that wait for their time are not shown)";

impl Deployments {
    /// Asks every step that has state. Blocking, until what they say is on disk.
    pub(crate) fn explain_key(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        key: Option<&str>,
    ) -> Result<ExplainedKey, StateOfKeyError> {
        let deployed = self.find(tenant, name)?;
        let unusable = |_: &_| ControlError::Conflict(format!("`{name}` is not running: resume it, then ask"));
        let plan = deployed.plan.as_ref().map_err(unusable)?.clone();
        let (mut steps, mut others) = (Vec::new(), Vec::new());
        for at in (0..plan.steps.len() as u32).filter(|at| plan.state_of(*at).is_some()) {
            match self.state_of_key(tenant, name, &at.to_string(), key) {
                Ok(held) => steps.push(held),
                Err(StateOfKeyError::Nothing { step, .. }) => others.push((step, HOLDS_NOTHING.to_owned())),
                Err(StateOfKeyError::CannotBeAsked { step, why }) => others.push((step, why)),
                Err(StateOfKeyError::BadKey { step, why, .. }) => others.push((step, format!("has another key: {why}"))),
                Err(error @ (StateOfKeyError::Control(_) | StateOfKeyError::UnknownStep { .. })) => return Err(error),
            }
        }
        Ok(ExplainedKey { pipeline: name.to_string(), steps, others })
    }
}
