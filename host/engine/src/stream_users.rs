//! Who uses a stream, and deleting one that nobody does.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemill_event::{PipelineName, StreamId, StreamName, TenantName};
use tidemill_log::StreamError;

use crate::DeleteStreamError;
use crate::deployed::{Deployed, Role};
use crate::deployments::Deployments;
use crate::own_streams::{OwnStream, output_name};
use crate::stored::progress_name;

impl Deployments {
    /// The pipelines that read or write a stream, sorted.
    pub(crate) fn using_stream(&self, tenant: &TenantName, stream: &StreamName) -> Vec<PipelineName> {
        let uses = |deployed: &&Arc<Deployed>| deployed.tenant == *tenant && deployed.uses(stream);
        self.runs().iter().filter(uses).map(|deployed| deployed.name.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(crate) fn delete_stream(&self, tenant: &TenantName, stream: &StreamName) -> Result<(), DeleteStreamError> {
        let _changes = self.changes.lock();
        let id = StreamId::new(tenant.clone(), stream.clone());
        if self.threads.log.stream(&id).is_none() {
            return Err(DeleteStreamError::Unknown(stream.clone()));
        }
        // What was rejected at its door belongs to it.
        let rejected =
            (stream.suffix().is_none() && stream.run().is_none()).then(|| StreamName::derived(stream.as_str(), "rejected"));
        let users: BTreeSet<String> = [Some(stream), rejected.as_ref()]
            .into_iter()
            .flatten()
            .flat_map(|stream| self.using_stream(tenant, stream))
            .map(|name| name.to_string())
            .collect();
        if !users.is_empty() {
            return Err(DeleteStreamError::Used { pipelines: users.into_iter().collect() });
        }
        let of_stream = |stream: &StreamName| self.tables.kept_from(tenant, stream);
        let tables: Vec<String> =
            [Some(stream), rejected.as_ref()].into_iter().flatten().flat_map(of_stream).map(|name| name.to_string()).collect();
        if !tables.is_empty() {
            return Err(DeleteStreamError::KeptFrom { tables });
        }
        for stream in [Some(stream.clone()), rejected].into_iter().flatten() {
            match self.threads.log.delete_stream(&StreamId::new(tenant.clone(), stream)) {
                Ok(()) | Err(StreamError::Missing(_)) => {}
                Err(error) => return Err(DeleteStreamError::Storage(error.to_string())),
            }
        }
        Ok(())
    }

    /// Removes a stream of the host's own that nobody needs any more. That it stays costs only its place.
    pub(crate) fn drop_stream(&self, tenant: &TenantName, stream: StreamName) {
        match self.threads.log.delete_stream(&StreamId::new(tenant.clone(), stream.clone())) {
            Ok(()) | Err(StreamError::Missing(_)) => {}
            Err(error) => tracing::warn!(%stream, "a stream that nobody needs is not deleted: {error}"),
        }
    }
}

impl Deployed {
    /// Whether it reads the stream, writes it, or keeps its own in it.
    fn uses(&self, stream: &StreamName) -> bool {
        let (sources, targets) = self.streams().unwrap_or_default();
        let mut own = OwnStream::ALL.map(|own| own.name(&self.name)).into_iter().chain([output_name(&self.name)]);
        let writes = |target: &StreamName| self.role.output(target.clone(), self.stored.run) == *stream;
        sources.contains(stream)
            || targets.iter().any(writes)
            || own.any(|own| writes(&own))
            || (self.role == Role::Replay && targets.contains(stream))
            || progress_name(&self.name, self.stored.run) == *stream
            || self.stored.inner_streams(&self.name).contains(stream)
    }
}
