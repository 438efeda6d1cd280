//! The file sink: a folder of files, each named by what it holds. **Exactly once**: a name is a range of offsets.
//!
//! ```text
//! results/00000-000000000000-000000004096.ndjson      partition, first offset, first offset behind it
//! results/00000-000000004096-000000004101.parquet     one that follows, after the format was changed
//! results/00000.part                                   being written; removed at the next start
//! ```
//! A file gets its name when its bytes are on disk: write `.part`, sync, rename, sync the folder. At a start, and after an error,
//! the folder is synced, and the greatest end in a name is where the sink goes on. So a crash at any point leaves a row in exactly
//! one file, and no two files overlap. Rows that wait for their file to be full are in the log. Files are never changed
//! afterwards: whoever reads them may move or delete all but the last of each partition.

mod name;
mod parquet;
mod part;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_event::{Offset, PartitionId};
use tidemill_log::{Block, Disk};

use self::name::{end_in, file_name, is_named};
use self::parquet::ParquetRows;
use self::part::Part;
use crate::ndjson::encode_rows;
use crate::{Added, BatchKey, Promise, Sink, SinkError};

/// What is in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// A JSON object a line: the event's fields.
    Ndjson,
    /// Apache Parquet, compressed with zstd: the event's fields, `_unknown` as JSON text if the stream keeps unknown fields, and
    /// `_partition`, `_offset`, `_time`. A change of schema begins a new file.
    Parquet,
}

impl FileFormat {
    /// Its word in a pipeline, and the end of its files' names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Parquet => "parquet",
        }
    }
}

/// One partition's files in a folder.
pub struct FileSink {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    partition: PartitionId,
    format: FileFormat,
    open: Option<OpenFile>,
}

enum OpenFile {
    Ndjson(Box<Part>),
    Parquet(Box<ParquetRows>),
}

impl FileSink {
    /// Opens `root/path`, making what is missing of it. `path` is relative and plain (checked when a pipeline is applied).
    pub fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        path: &str,
        partition: PartitionId,
        format: FileFormat,
    ) -> Result<Self, SinkError> {
        let mut folder = root.to_owned();
        for name in Path::new(path) {
            let parent = folder.clone();
            folder.push(name);
            disk.create_dir(&folder).map_err(SinkError::disk("create", &folder))?;
            disk.sync_dir(&parent).map_err(SinkError::disk("sync", parent))?;
        }
        Ok(Self { disk, folder, partition, format, open: None })
    }

    /// Whether `root/path` holds rows: offsets in names mean something only beside the stream they count.
    pub fn holds_rows(disk: &dyn Disk, root: &Path, path: &str) -> bool {
        disk.list(&root.join(path)).is_ok_and(|names| names.iter().any(|name| is_named(name)))
    }

    fn part_path(&self) -> PathBuf {
        self.folder.join(format!("{:05}.part", self.partition.0))
    }
}

impl Sink for FileSink {
    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn resume(&mut self) -> Result<Option<Offset>, SinkError> {
        // A name may be there and not yet on disk: what is counted as written must be.
        self.disk.sync_dir(&self.folder).map_err(SinkError::disk("sync", &self.folder))?;
        let names = self.disk.list(&self.folder).map_err(SinkError::disk("list", &self.folder))?;
        let part = self.part_path();
        if names.iter().any(|name| part.ends_with(name)) {
            self.disk.remove(&part).map_err(SinkError::disk("remove", part))?;
        }
        Ok(names.iter().filter_map(|name| end_in(name, self.partition)).max())
    }

    fn fits(&self, block: &Block) -> bool {
        match &self.open {
            None | Some(OpenFile::Ndjson(_)) => true,
            Some(OpenFile::Parquet(rows)) => rows.fits(block),
        }
    }

    fn add(&mut self, block: &Block, _room_bytes: u64) -> Result<Added, SinkError> {
        if self.open.is_none() {
            let part = Part::create(&*self.disk, self.part_path())?;
            self.open = Some(match self.format {
                FileFormat::Ndjson => OpenFile::Ndjson(Box::new(part)),
                FileFormat::Parquet => OpenFile::Parquet(Box::new(ParquetRows::new(part, self.partition, block)?)),
            });
        }
        let rows = block.rows.num_rows();
        let batch_bytes = match self.open.as_mut().expect("it was just opened") {
            OpenFile::Ndjson(part) => part.append(|out| encode_rows(block, 0..rows, out))?,
            OpenFile::Parquet(parquet) => parquet.add(block)?,
        };
        Ok(Added { rows, batch_bytes })
    }

    fn commit(&mut self, key: &BatchKey<'_>) -> Result<(), SinkError> {
        let part = match self.open.take().expect("rows were added") {
            OpenFile::Ndjson(part) => *part,
            OpenFile::Parquet(rows) => rows.finish()?,
        };
        part.finish()?;
        let (from, to) = (self.part_path(), self.folder.join(file_name(self.partition, key.range, self.format)));
        self.disk.rename(&from, &to).map_err(SinkError::disk("rename", from))?;
        self.disk.sync_dir(&self.folder).map_err(SinkError::disk("sync", &self.folder))
    }

    fn discard(&mut self) {
        // What was written of it is removed when the folder is asked again.
        self.open = None;
    }
}
