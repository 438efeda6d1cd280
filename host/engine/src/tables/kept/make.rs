//! Kept tables come and go: made from a stream, opened again at a start, described, let go.

use std::sync::Arc;

use tidemill_event::{Offset, StreamId, StreamName, TableName, TenantName};
use tidemill_log::{Hold, Listening, Partition, Visibility};

use crate::deployments::Deployments;
use crate::tables::kept::{KeptError, KeptRows, KeptSource, KeptTable, base_state};
use crate::tables::registry::Key;
use crate::tables::stored::{StoredFrom, StoredTable, TABLES, owner};
use crate::tables::{PutTableError, TableEntry, TablePut, TableVersion, Tables};

/// What a table is kept from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromStream {
    /// The stream.
    pub stream: StreamName,
    /// The fields whose values are the key; `None`: those of the stream's own key.
    pub key: Option<Vec<String>>,
    /// A bool field: a row in which it is true takes its key away. `None`: a row that is null beside its key and time does.
    pub delete: Option<String>,
}

/// A kept table that is there, whether it can go on or not.
pub(in crate::tables) struct KeptEntry {
    /// Nothing behind the oldest base leaves the stream.
    pub(in crate::tables) holds: Vec<Hold>,
    pub(in crate::tables) table: Result<Arc<KeptTable>, String>,
}

fn hold(partitions: &[Arc<Partition>], from: &[u64]) -> Vec<Hold> {
    partitions.iter().zip(from).map(|(partition, from)| partition.hold(Offset(*from))).collect()
}

impl Tables {
    /// Opens what is stored, before retention runs and before plans look for it. Blocking.
    pub(crate) fn open_kept(&self) {
        for (key, _) in self.inner.log.documents(TABLES) {
            let Some((tenant, name)) = owner(&key) else { continue };
            let Some(stored) = self.stored(&tenant, &name).filter(|stored| stored.from.is_some()) else { continue };
            let entry = self.open_one(&tenant, &stored);
            if let Err(error) = &entry.table {
                tracing::error!(table = %name, "a table does not go on: {error}");
            }
            self.inner.kept.lock().insert((tenant, name), entry);
        }
    }

    fn open_one(&self, tenant: &TenantName, stored: &StoredTable) -> KeptEntry {
        let failed = |holds, error: String| KeptEntry { holds, table: Err(error) };
        let (Some(from), Some(oldest), Some(newest)) = (&stored.from, stored.versions.first(), stored.newest()) else {
            return failed(Vec::new(), "it has no version".to_owned());
        };
        let stream = from.stream.parse().ok().and_then(|stream| self.inner.log.stream(&StreamId::new(tenant.clone(), stream)));
        // Whatever is wrong with it: what it would need stays.
        let holds = stream.map(|stream| hold(stream.partitions(), &oldest.cut)).unwrap_or_default();
        let opened = (|| {
            let content = self.read(newest)?;
            let source = Arc::new(KeptSource::new(&self.inner.log, tenant, from, Some(content.fields.clone()))?);
            let state = base_state(&source, content, newest.cut.clone(), newest.newest.clone())?;
            Ok(Arc::new(KeptTable::new(source.clone(), newest.number, state, 0, self.listening(&source))))
        })();
        match opened {
            Ok(table) => KeptEntry { holds, table: Ok(table) },
            Err(error) => failed(holds, error),
        }
    }

    /// The keeper hears of rows.
    fn listening(&self, source: &KeptSource) -> Vec<Listening> {
        let heard = self.inner.keeper_heard.0.clone();
        let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(move || heard.try_send(()).unwrap_or_default());
        source.stream.partitions().iter().map(|partition| partition.listen(Visibility::Sequenced, wake.clone())).collect()
    }

    /// A kept table. `None`: there is none, or it was put.
    pub(crate) fn kept(&self, tenant: &TenantName, name: &TableName) -> Option<Result<Arc<KeptTable>, String>> {
        let kept = self.inner.kept.lock();
        let entry = kept.get(&(tenant.clone(), name.clone()))?;
        Some(entry.table.as_ref().map(Arc::clone).map_err(|error| format!("the table `{name}` does not go on: {error}")))
    }

    /// All of them that go on.
    pub(crate) fn all_kept(&self) -> Vec<(Key, Arc<KeptTable>)> {
        let kept = self.inner.kept.lock();
        let table = |(key, entry): (&Key, &KeptEntry)| Some((key.clone(), entry.table.as_ref().ok()?.clone()));
        kept.iter().filter_map(table).collect()
    }

    /// The tables that are kept from a stream, sorted.
    pub(crate) fn kept_from(&self, tenant: &TenantName, stream: &StreamName) -> Vec<TableName> {
        let documents = self.inner.log.documents(&StoredTable::prefix(tenant));
        let is_of = |bytes: &[u8]| {
            let stored: Option<StoredTable> = serde_json::from_slice(bytes).ok();
            stored.and_then(|stored| stored.from).is_some_and(|from| from.stream == stream.as_str())
        };
        documents.iter().filter(|(_, bytes)| is_of(bytes)).filter_map(|(key, _)| Some(owner(key)?.1)).collect()
    }

    /// The base of the lowest number is another one now: rows behind it are held, those before it are not.
    pub(in crate::tables) fn hold_behind(&self, tenant: &TenantName, name: &TableName, oldest: &[u64]) {
        if let Some(entry) = self.inner.kept.lock().get_mut(&(tenant.clone(), name.clone())) {
            entry.holds.iter_mut().zip(oldest).for_each(|(hold, from)| hold.advance(Offset(*from)));
        }
    }

    pub(in crate::tables) fn forget_kept(&self, tenant: &TenantName, name: &TableName) {
        self.inner.kept.lock().remove(&(tenant.clone(), name.clone()));
    }
}

impl Deployments {
    /// Makes a table that is kept up to date from a stream. Blocking: it takes in what is there.
    pub(crate) fn keep_table(
        &self,
        tenant: &TenantName,
        name: &TableName,
        wanted: &FromStream,
    ) -> Result<TablePut, PutTableError> {
        let _files = self.tables.inner.files.lock();
        let stream = self.stream(tenant, wanted.stream.clone());
        let key = match (&wanted.key, &stream) {
            (Some(key), _) => key.clone(),
            (None, Some(stream)) => stream.definition().key.iter().map(|name| name.to_string()).collect(),
            (None, None) => Vec::new(),
        };
        let from = StoredFrom { stream: wanted.stream.to_string(), key, delete: wanted.delete.clone() };
        if let Some(before) = self.tables.stored(tenant, name) {
            let entry = self.tables.get(tenant, name);
            return match (before.from, entry) {
                (Some(before), Some(table)) if before == from => Ok(TablePut { created: false, changed: false, table }),
                (Some(before), _) => Err(PutTableError::Other(format!("it is kept from `{}` in another way", before.stream))),
                (None, _) => Err(PutTableError::Other("it was put, and is not kept from a stream".to_owned())),
            };
        }
        let source = KeptSource::new(&self.threads.log, tenant, &from, None).map_err(PutTableError::Refused)?;
        // Held before it is asked where they begin: retention may run just now.
        let partitions = source.stream.partitions().to_vec();
        let mut holds = hold(&partitions, &vec![0; partitions.len()]);
        let start: Vec<u64> = partitions.iter().map(|partition| partition.trim_point().0).collect();
        let mut state = source.nothing(start);
        let to: Vec<u64> = partitions.iter().map(|partition| partition.end(Visibility::Durable).0).collect();
        source.advance(&mut state, &to, usize::MAX).map_err(|error| match error {
            KeptError::TooLarge(why) => PutTableError::TooLarge(why),
            KeptError::Stream(why) => PutTableError::Refused(why),
        })?;
        holds.iter_mut().zip(&state.cut).for_each(|(hold, from)| hold.advance(Offset(*from)));
        let source = Arc::new(source);
        let rows = KeptRows { source: source.clone(), state: state.clone() };
        let written = self.write_version(tenant, name, &rows.base())?;
        let _changes = self.changes.lock();
        // Deleted while its rows were read.
        if self.stream(tenant, wanted.stream.clone()).is_none_or(|stream| stream.is_deleted()) {
            self.tables.delete_unnamed();
            return Err(PutTableError::Refused(format!("there is no stream `{}`", wanted.stream)));
        }
        let number =
            self.store_version(tenant, name, written, Some((from, &state))).inspect_err(|_| self.tables.delete_unnamed())?;
        let table = KeptTable::new(source.clone(), number, state, 0, self.tables.listening(&source));
        let entry = KeptEntry { holds, table: Ok(Arc::new(table)) };
        self.tables.inner.kept.lock().insert((tenant.clone(), name.clone()), entry);
        let table = self.tables.get(tenant, name).ok_or_else(|| PutTableError::Storage("it is not there".to_owned()))?;
        Ok(TablePut { created: true, changed: true, table })
    }

    /// Writes down how far a kept table is, so that a start need not take all rows again. `false`: not now.
    pub(in crate::tables) fn write_base(&self, (tenant, name): &Key, table: &KeptTable) -> Result<bool, PutTableError> {
        let Some(_files) = self.tables.inner.files.try_lock() else { return Ok(false) };
        let Some(from) = self.tables.stored(tenant, name).and_then(|stored| stored.from) else { return Ok(false) };
        let (rows, taken) = {
            let master = table.master.lock();
            (KeptRows { source: table.source.clone(), state: master.state.clone() }, master.taken)
        };
        let written = self.write_version(tenant, name, &rows.base())?;
        let Some(_changes) = self.changes.try_lock() else {
            self.tables.delete_unnamed();
            return Ok(false);
        };
        let number = self.store_version(tenant, name, written, Some((from, &rows.state)))?;
        let mut master = table.master.lock();
        master.base = number;
        master.taken -= taken;
        table.publish(&master);
        Ok(true)
    }
}

/// How a kept table stands.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptStatus {
    /// What it is kept from.
    pub stream: String,
    /// Its key.
    pub key: Vec<String>,
    /// The field that takes keys away, if one does.
    pub delete: Option<String>,
    /// The first row of each partition of the stream that it does not have yet.
    pub offsets: Vec<u64>,
    /// How many there are.
    pub lag_records: u64,
    /// Why it does not go on.
    pub error: Option<String>,
}

impl Tables {
    /// What is told of a kept table beside what is stored; its rows now.
    pub(in crate::tables) fn told_kept(&self, tenant: &TenantName, name: &TableName, from: &StoredFrom, entry: &mut TableEntry) {
        let mut status = KeptStatus {
            stream: from.stream.clone(),
            key: from.key.clone(),
            delete: from.delete.clone(),
            offsets: Vec::new(),
            lag_records: 0,
            error: None,
        };
        match self.kept(tenant, name) {
            Some(Ok(table)) => {
                let version: Arc<TableVersion> = table.current();
                entry.rows = version.rows_len();
                status.offsets = version.cut().unwrap_or_default().to_vec();
                status.lag_records = table.lag();
                status.error = table.error().map(|error| error.text().to_owned());
            }
            Some(Err(error)) => status.error = Some(error),
            None => status.error = Some("the host is starting".to_owned()),
        }
        entry.from_stream = Some(status);
    }
}
