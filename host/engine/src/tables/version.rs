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
use crate::tables::kept::{KeptRows, KeptTable};

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
    /// Of a kept table, that of the base it stands on.
    pub(crate) number: u64,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Put(PutRows),
    Kept(KeptRows),
}

impl TableVersion {
    pub(crate) fn new(number: u64, content: TableContent) -> Self {
        Self { number, body: Body::Put(PutRows { content, indexes: Mutex::default(), looked_up: Mutex::default() }) }
    }

    pub(crate) fn kept(base: u64, rows: KeptRows) -> Self {
        Self { number: base, body: Body::Kept(rows) }
    }

    /// Its columns.
    pub(crate) fn fields(&self) -> &[Field] {
        match &self.body {
            Body::Put(rows) => &rows.content.fields,
            Body::Kept(rows) => rows.fields(),
        }
    }

    /// Of a kept table: how far it is in its stream.
    pub(crate) fn cut(&self) -> Option<&[u64]> {
        Some(&self.kept_rows()?.state.cut)
    }

    pub(crate) fn kept_rows(&self) -> Option<&KeptRows> {
        match &self.body {
            Body::Put(_) => None,
            Body::Kept(rows) => Some(rows),
        }
    }

    /// How many rows it has.
    pub(crate) fn rows_len(&self) -> u64 {
        match &self.body {
            Body::Put(rows) => rows.content.rows.num_rows() as u64,
            Body::Kept(rows) => rows.len() as u64,
        }
    }

    /// Its rows.
    pub(crate) fn content(&self) -> TableContent {
        match &self.body {
            Body::Put(rows) => rows.content.clone(),
            Body::Kept(rows) => rows.content(),
        }
    }

    /// The table as a step looks it up. The first to ask makes the index, and takes time for it. The error says why the rows do not fit.
    pub(crate) fn looked_up(&self, wanted: &TableUse) -> Result<Arc<dyn LookupTable>, String> {
        match &self.body {
            Body::Put(rows) => rows.looked_up(wanted),
            Body::Kept(rows) => rows.looked_up(wanted),
        }
    }

    /// The uses that somebody still has, and that an index is made for.
    pub(crate) fn uses(&self) -> Vec<TableUse> {
        match &self.body {
            Body::Put(rows) => rows.uses(),
            Body::Kept(_) => Vec::new(),
        }
    }
}

/// Rows that were put, with what finds them.
#[derive(Debug)]
struct PutRows {
    content: TableContent,
    indexes: Mutex<Indexes>,
    /// As steps look it up: the same for the tasks of all pipelines.
    looked_up: Mutex<Vec<(TableUse, Arc<dyn LookupTable>)>>,
}

impl PutRows {
    fn looked_up(&self, wanted: &TableUse) -> Result<Arc<dyn LookupTable>, String> {
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

    fn uses(&self) -> Vec<TableUse> {
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
    /// It is kept up to date from a stream: what it is now is there.
    pub(crate) kept: Option<Arc<KeptTable>>,
}

impl TableHandle {
    pub(super) fn new(name: TableName, version: Arc<TableVersion>, kept: Option<Arc<KeptTable>>) -> Self {
        Self { name, newest: AtomicU64::new(version.number), current: RwLock::new(version), kept }
    }

    /// The newest version; of a kept table, as far as it is.
    pub(crate) fn current(&self) -> Arc<TableVersion> {
        match &self.kept {
            Some(kept) => kept.current(),
            None => self.current.read().clone(),
        }
    }

    /// The newest version, with all that has come. The error says why a kept table does not go on.
    pub(crate) fn refreshed(&self) -> Result<Arc<TableVersion>, String> {
        match &self.kept {
            Some(kept) => kept.catch_up().map_err(|error| format!("the table `{}` does not go on: {}", self.name, error.text())),
            None => Ok(self.current()),
        }
    }

    /// Another version, or base, has taken the place of this one.
    pub(crate) fn is_replaced(&self, version: &TableVersion) -> bool {
        let newest = match &self.kept {
            Some(kept) => kept.current().number,
            None => self.newest.load(Ordering::Acquire),
        };
        version.number != newest
    }

    /// There is more than this version has.
    pub(crate) fn is_behind(&self, version: &TableVersion) -> bool {
        self.is_replaced(version) || self.kept.as_ref().is_some_and(|kept| kept.is_behind(version))
    }

    /// Puts a version in place, which is on disk.
    pub(super) fn replace(&self, version: Arc<TableVersion>) {
        let number = version.number;
        *self.current.write() = version;
        self.newest.store(number, Ordering::Release);
    }
}
