//! Tables as they are in memory: a handle that says which version is the newest, versions, and their indexes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use parking_lot::{Mutex, RwLock};
use tidemill_event::{Field, TableName};
use tidemill_flow::{IndexedTable, LookupTable, TableIndex};

use crate::pipeline::Matching;
use crate::tables::TableContent;

/// How a step looks a table up: what its index and its answer depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableUse {
    pub(crate) matching: Matching,
    /// The table's columns that make the key, with the types the rows' columns have.
    pub(crate) on: Vec<Field>,
    /// The table's columns that it gives.
    pub(crate) take: Vec<Field>,
}

/// By how and by which columns they find.
type Indexes = HashMap<(Matching, Vec<Arc<str>>), Arc<TableIndex>>;

/// One version of a table. It never changes.
#[derive(Debug)]
pub(crate) struct TableVersion {
    pub(crate) number: u64,
    pub(crate) content: TableContent,
    indexes: Mutex<Indexes>,
    /// As steps look it up: the same for the tasks of all pipelines.
    looked_up: Mutex<Vec<(TableUse, Arc<dyn LookupTable>)>>,
}

impl TableVersion {
    pub(crate) fn new(number: u64, content: TableContent) -> Self {
        Self { number, content, indexes: Mutex::default(), looked_up: Mutex::default() }
    }

    /// The table as a step looks it up. The first to ask makes the index, and takes time for it. The error says why the rows do not fit.
    pub(crate) fn looked_up(&self, wanted: &TableUse) -> Result<Arc<dyn LookupTable>, String> {
        let mut looked_up = self.looked_up.lock();
        if let Some((_, table)) = looked_up.iter().find(|(known, _)| known == wanted) {
            return Ok(table.clone());
        }
        let on = wanted.on.iter().map(|field| self.column(field)).collect::<Result<Vec<_>, _>>()?;
        let take = wanted.take.iter().map(|field| self.column(field)).collect::<Result<Vec<_>, _>>()?;
        let index = self.index(wanted, &on)?;
        let table: Arc<dyn LookupTable> = Arc::new(IndexedTable::new(index, &take));
        looked_up.push((wanted.clone(), table.clone()));
        Ok(table)
    }

    fn index(&self, wanted: &TableUse, on: &[ArrayRef]) -> Result<Arc<TableIndex>, String> {
        let columns = wanted.on.iter().map(|field| field.name.clone()).collect();
        let mut indexes = self.indexes.lock();
        if let Some(index) = indexes.get(&(wanted.matching, columns)) {
            return Ok(index.clone());
        }
        let columns: Vec<Arc<str>> = wanted.on.iter().map(|field| field.name.clone()).collect();
        let made = match wanted.matching {
            Matching::Equal => Ok(TableIndex::equal(on)),
            Matching::InNetwork => TableIndex::networks(on[0].as_string::<i32>()),
            Matching::UnderDomain => TableIndex::domains(on[0].as_string::<i32>()),
        };
        let index = Arc::new(made.map_err(|bad| format!("column `{}`, row {}: {}", columns[0], bad.row + 1, bad.error))?);
        indexes.insert((wanted.matching, columns), index.clone());
        Ok(index)
    }

    fn column(&self, wanted: &Field) -> Result<ArrayRef, String> {
        match self.content.column(&wanted.name) {
            Some((there, column)) if there.ty.arrow() == wanted.ty.arrow() => Ok(column.clone()),
            Some(_) => Err(format!("the column `{}` has another type", wanted.name)),
            None => Err(format!("there is no column `{}`", wanted.name)),
        }
    }

    /// The uses that somebody still has.
    pub(crate) fn uses(&self) -> Vec<TableUse> {
        let looked_up = self.looked_up.lock();
        looked_up.iter().filter(|(_, table)| Arc::strong_count(table) > 1).map(|(wanted, _)| wanted.clone()).collect()
    }
}

/// A table that somebody uses. Tasks look at the number before every batch; it is a new one seldom.
#[derive(Debug)]
pub(crate) struct TableHandle {
    pub(crate) name: TableName,
    newest: AtomicU64,
    current: RwLock<Arc<TableVersion>>,
}

impl TableHandle {
    pub(super) fn new(name: TableName, version: Arc<TableVersion>) -> Self {
        Self { name, newest: AtomicU64::new(version.number), current: RwLock::new(version) }
    }

    /// The number of the newest version.
    pub(crate) fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    /// The newest version.
    pub(crate) fn current(&self) -> Arc<TableVersion> {
        self.current.read().clone()
    }

    /// Puts a version in place, which is on disk.
    pub(super) fn replace(&self, version: Arc<TableVersion>) {
        let number = version.number;
        *self.current.write() = version;
        self.newest.store(number, Ordering::Release);
    }
}
