//! The file sink: a folder of NDJSON files, each named by what it holds. **Exactly once**: a name is a range of offsets.
//!
//! ```text
//! results/00000-000000000000-000000004096.ndjson      partition, first offset, first offset behind it
//! results/00000-000000004096-000000004101.ndjson
//! results/00000.part                                   being written; removed at the next start
//! ```
//! A file gets its name when its bytes are on disk: write `.part`, sync, rename, sync the folder. At a start the greatest end in
//! a name is where the sink stopped, so a crash at any point leaves a row in exactly one file. Files are never changed afterwards:
//! whoever reads them may move or delete all but the last of each partition.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tidemill_event::{Offset, PartitionId};

use crate::{Promise, Sink, SinkError, SinkRows};

/// A folder that rows are written to.
#[derive(Debug)]
pub struct FileSink {
    name: String,
    folder: PathBuf,
}

impl FileSink {
    /// Opens `root/path`, making what is missing of it. `path` is relative and plain (checked when a pipeline is applied).
    pub fn open(root: &Path, path: &str) -> Result<Self, SinkError> {
        let mut folder = root.to_owned();
        for part in Path::new(path) {
            make_folder(&folder)?;
            folder.push(part);
        }
        make_folder(&folder)?;
        let sink = Self { name: format!("file: {path}"), folder };
        for name in sink.names()? {
            if name.ends_with(".part") {
                let left_over = sink.folder.join(name);
                fs::remove_file(&left_over).map_err(SinkError::new("remove", left_over))?;
            }
        }
        Ok(sink)
    }

    /// Whether `root/path` holds rows: offsets in names mean something only beside the stream they count.
    pub fn holds_rows(root: &Path, path: &str) -> bool {
        let sink = Self { name: String::new(), folder: root.join(path) };
        sink.names().is_ok_and(|names| names.iter().any(|name| name.ends_with(".ndjson")))
    }

    fn names(&self) -> Result<Vec<String>, SinkError> {
        let read = || -> io::Result<Vec<String>> {
            fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        };
        read().map_err(SinkError::new("list", &self.folder))
    }
}

impl Sink for FileSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn resume(&mut self, partition: PartitionId) -> Result<Option<Offset>, SinkError> {
        Ok(self.names()?.iter().filter_map(|name| end_in(name, partition)).max())
    }

    fn write(&mut self, rows: &SinkRows) -> Result<(), SinkError> {
        let partition = rows.partition.0;
        let part = self.folder.join(format!("{partition:05}.part"));
        let whole = self.folder.join(format!("{partition:05}-{:012}-{:012}.ndjson", rows.start().0, rows.end().0));
        let mut file = File::create(&part).map_err(SinkError::new("create", &part))?;
        file.write_all(&rows.ndjson()).map_err(SinkError::new("write", &part))?;
        file.sync_all().map_err(SinkError::new("sync", &part))?;
        fs::rename(&part, &whole).map_err(SinkError::new("rename", &part))?;
        sync_folder(&self.folder)
    }
}

/// The end offset in the name of a file of `partition`.
fn end_in(name: &str, partition: PartitionId) -> Option<Offset> {
    let mut numbers = name.strip_suffix(".ndjson")?.splitn(3, '-');
    if numbers.next()?.parse() != Ok(partition.0) {
        return None;
    }
    let _start: u64 = numbers.next()?.parse().ok()?;
    numbers.next()?.parse().ok().map(Offset)
}

fn make_folder(folder: &Path) -> Result<(), SinkError> {
    match fs::create_dir(folder) {
        Ok(()) => folder.parent().map_or(Ok(()), sync_folder),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(SinkError::new("create", folder)(error)),
    }
}

/// A name is on disk when its folder is.
fn sync_folder(folder: &Path) -> Result<(), SinkError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(SinkError::new("sync", folder))
}
