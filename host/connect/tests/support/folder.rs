//! A folder of files as a target, on a disk that fails on demand and whose power can be cut.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tidemill_connect::{FileFormat, FileSink, Sink};
use tidemill_event::PartitionId;
use tidemill_log::{Disk, PowerCutDisk, RealDisk};

use super::disk::{Fault, Faults, FlakyDisk};
use super::{Marks, Target};

const PATH: &str = "reports/daily";

pub(crate) struct Folder {
    pub(crate) dir: tempfile::TempDir,
    format: FileFormat,
    faults: Faults,
    power: Mutex<PowerCutDisk>,
    marks: Mutex<HashMap<u32, Marks>>,
}

impl Folder {
    pub(crate) fn new(format: FileFormat) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let power = Mutex::new(PowerCutDisk::new(Arc::new(RealDisk)));
        Self { dir, format, faults: Faults::default(), power, marks: Mutex::default() }
    }

    /// The power fails at the `calls`-th call that changes something.
    pub(crate) fn fail_power_after(&self, calls: u64) {
        self.power.lock().expect("unpoisoned").fail_after(calls);
    }

    /// Loses a subset of what was not synced, and comes up again.
    pub(crate) fn cut_power(&self, seed: u64) {
        let mut power = self.power.lock().expect("unpoisoned");
        power.cut(seed).expect("the power goes");
        *power = PowerCutDisk::new(Arc::new(RealDisk));
    }

    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        let below = Arc::new(self.power.lock().expect("unpoisoned").clone());
        Arc::new(FlakyDisk { below, faults: self.faults.clone() })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join(PATH)
    }

    /// Names in order, `.part` left out.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| !name.ends_with(".part")).collect();
        names.sort();
        names
    }
}

impl Target for Folder {
    fn open(&self, partition: u32) -> Box<dyn Sink> {
        Box::new(FileSink::open(self.disk(), self.dir.path(), PATH, PartitionId(partition), self.format).expect("opens"))
    }

    fn marks(&self, partition: u32) -> Marks {
        self.marks.lock().expect("unpoisoned").entry(partition).or_default().clone()
    }

    fn fail(&self, calls: u64, fault: Fault) {
        self.faults.plan(calls, fault);
    }

    /// The rows of the files in the order of their names, each file's rows being those its name says.
    fn seen(&self, partition: u32) -> Vec<i64> {
        let mut seen = Vec::new();
        for name in self.names().iter().filter(|name| name.starts_with(&format!("{partition:05}-"))) {
            let numbers: Vec<i64> = name[..name.len() - self.format.as_str().len() - 1]
                .split('-')
                .map(|digits| digits.parse().expect("a number"))
                .collect();
            let path = self.path().join(name);
            let rows = match self.format {
                FileFormat::Ndjson => super::terminal::numbers(&std::fs::read_to_string(path).expect("text")),
                FileFormat::Parquet => parquet_numbers(&path, partition),
            };
            assert_eq!(rows, (numbers[1]..numbers[2]).collect::<Vec<_>>(), "{name}");
            assert_eq!(seen.last().map_or(0, |last| last + 1), numbers[1], "{name} follows the file before it");
            seen.extend(rows);
        }
        seen
    }
}

/// Every batch of a Parquet file.
pub(crate) fn read_parquet(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).expect("a file")).expect("is Parquet");
    reader.build().expect("a reader").map(|batch| batch.expect("rows")).collect()
}

fn parquet_numbers(path: &Path, partition: u32) -> Vec<i64> {
    let mut numbers = Vec::new();
    for batch in read_parquet(path) {
        let offsets = batch.column_by_name("_offset").expect("offsets").as_primitive::<Int64Type>();
        let partitions = batch.column_by_name("_partition").expect("partitions").as_primitive::<Int32Type>();
        let values = batch.column_by_name("n").expect("the field").as_primitive::<Int64Type>();
        assert_eq!(offsets.values(), values.values(), "in these tests a row's value is its offset");
        assert!(partitions.values().iter().all(|number| *number == partition as i32));
        numbers.extend(values.values());
    }
    numbers
}
