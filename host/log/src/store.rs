//! Segments as partitions read them: through a bounded cache of decoded blocks and indexes and a bounded number of open files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arrow_array::RecordBatch;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tidemill_event::{Offset, SchemaVersion, TenantName};

use crate::cache::Cache;
use crate::columns;
use crate::disk::{Disk, DiskFile};
use crate::error::{Damage, DiskError};
use crate::frame::FrameHead;
use crate::layout::Versions;
use crate::segment::{self, SegmentError, SegmentIndex};

/// Memory of tails: of all together, or of one tenant's, which counts in the other too.
#[derive(Debug, Default)]
pub(crate) struct TailMemory {
    pub(crate) bytes: AtomicUsize,
    pub(crate) unrolled: AtomicUsize,
    all: Option<Arc<TailMemory>>,
}

impl TailMemory {
    pub(crate) fn add(&self, bytes: usize, unrolled: bool) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if unrolled {
            self.unrolled.fetch_add(bytes, Ordering::Relaxed);
        }
        if let Some(all) = &self.all {
            all.add(bytes, unrolled);
        }
    }

    /// They are in segments now, or not needed any more.
    pub(crate) fn rolled(&self, bytes: usize) {
        self.unrolled.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(all) = &self.all {
            all.rolled(bytes);
        }
    }

    pub(crate) fn sub(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(all) = &self.all {
            all.sub(bytes);
        }
    }
}

#[derive(Clone)]
enum Cached {
    Index(Arc<SegmentIndex>),
    Rows(RecordBatch),
}

/// An index has no block number.
const INDEX: u32 = u32::MAX;

pub(crate) struct SegmentStore {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) block_rows: usize,
    pub(crate) tails: Arc<TailMemory>,
    tenants: Mutex<HashMap<TenantName, Arc<TailMemory>>>,
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    cache: Mutex<Cache<(u64, u32), Cached>>,
    files: Mutex<Cache<u64, Arc<dyn DiskFile>>>,
}

impl SegmentStore {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf, block_rows: usize, cache_bytes: usize, files_max: usize) -> Self {
        Self {
            disk,
            dir,
            block_rows,
            tails: Arc::default(),
            tenants: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            cache: Mutex::new(Cache::new(cache_bytes)),
            files: Mutex::new(Cache::new(files_max)),
        }
    }

    /// The memory of one tenant's tails.
    pub(crate) fn tenant_tails(&self, tenant: &TenantName) -> Arc<TailMemory> {
        let mut tenants = self.tenants.lock();
        let made = || TailMemory { all: Some(Arc::clone(&self.tails)), ..TailMemory::default() };
        Arc::clone(tenants.entry(tenant.clone()).or_insert_with(|| Arc::new(made())))
    }

    /// What the tenant with most has in memory and in no segment.
    pub(crate) fn most_unrolled(&self) -> usize {
        self.tenants.lock().values().map(|tails| tails.unrolled.load(Ordering::Relaxed)).max().unwrap_or(0)
    }

    /// The block of a segment that holds `from`: its head and rows.
    pub(crate) fn read(
        &self,
        segment: u64,
        (stream, partition): (u32, u32),
        from: Offset,
        versions: &Versions,
    ) -> Result<(FrameHead, RecordBatch), SegmentError> {
        let index = self.index(segment)?;
        let (first, blocks) = index.partition(stream, partition);
        let place = blocks.partition_point(|place| place.head.start <= from.0);
        let lost = |at_byte, what: String| SegmentError::Damage(Damage { path: self.path(segment), at_byte, what });
        let Some((number, place)) = place.checked_sub(1).and_then(|at| Some((first + at, blocks.get(at)?))) else {
            return Err(lost(0, format!("no block has offset {from}")));
        };
        if place.head.end() <= from.0 {
            return Err(lost(place.position, format!("no block has offset {from}")));
        }
        let key = (segment, number as u32);
        if let Some(Cached::Rows(rows)) = self.cache.lock().get(key) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok((place.head, rows));
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let file = self.file(segment)?;
        let payload = segment::read_block(&*file, &self.path(segment), place)?;
        let layout = versions
            .at(SchemaVersion(place.head.version))
            .ok_or_else(|| lost(place.position, format!("there is no schema version {}", place.head.version)))?;
        let rows = columns::decode_rows(&payload, place.head.rows as usize, &layout)
            .map_err(|_| lost(place.position, "a block with a good checksum cannot be decoded".to_owned()))?;
        self.cache.lock().put(key, Cached::Rows(rows.clone()), rows.get_array_memory_size());
        Ok((place.head, rows))
    }

    /// The index of a segment.
    pub(crate) fn index(&self, segment: u64) -> Result<Arc<SegmentIndex>, SegmentError> {
        if let Some(Cached::Index(index)) = self.cache.lock().get((segment, INDEX)) {
            return Ok(index);
        }
        let file = self.file(segment)?;
        let index = Arc::new(segment::read_index(&*file, &self.path(segment), segment)?);
        self.cache.lock().put((segment, INDEX), Cached::Index(Arc::clone(&index)), index.memory_bytes());
        Ok(index)
    }

    /// Forgets a removed segment.
    pub(crate) fn forget(&self, segment: u64) {
        self.cache.lock().remove_where(|(number, _)| *number == segment);
        self.files.lock().remove(segment);
    }

    pub(crate) fn path(&self, segment: u64) -> PathBuf {
        self.dir.join(segment::file_name(segment))
    }

    fn file(&self, segment: u64) -> Result<Arc<dyn DiskFile>, SegmentError> {
        if let Some(file) = self.files.lock().get(segment) {
            return Ok(file);
        }
        let path = self.path(segment);
        match self.disk.open(&path) {
            Ok(file) => {
                self.files.lock().put(segment, Arc::clone(&file), 1);
                Ok(file)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(SegmentError::Damage(Damage { path, at_byte: 0, what: "the file is missing".to_owned() }))
            }
            Err(error) => Err(SegmentError::Disk(DiskError::new("open", &path)(error))),
        }
    }
}
