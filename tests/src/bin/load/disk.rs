//! What the disk alone costs: the same number of writes and syncs of the same size, at the same pace, without a host.
//!
//! A durable answer can be no cheaper than its sync, and no faster than the disk's slowest one. Taken right behind the load it belongs to.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::drive::Latencies;
use crate::measured::Measured;

const DURATION: Duration = Duration::from_secs(3);
/// As a journal file: what is written goes into blocks that were written before.
const FILE_BYTES: u64 = 64 << 20;
const SECTOR: u64 = 512;

/// What the host's journal has counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Groups {
    groups: f64,
    bytes: f64,
    syncs: f64,
    sync_s: f64,
}

/// The groups of one load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grouped {
    /// Syncs in a second.
    pub(crate) per_s: f64,
    /// Of a group, on average.
    pub(crate) bytes: u64,
    /// Of a sync, on average.
    pub(crate) sync_ms: f64,
}

/// Writes and syncs of the disk alone.
pub(crate) struct Bare {
    pub(crate) latencies: Latencies,
    /// Of one write and its sync.
    pub(crate) cpu_us: f64,
}

impl Groups {
    pub(crate) fn of(host: &Measured<'_>) -> io::Result<Self> {
        let metrics = host.must("GET", "/metrics", "", b"")?;
        let value = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|text| text.parse::<f64>().ok()).ok_or_else(|| io::Error::other(format!("no metric `{name}`")))
        };
        Ok(Self {
            groups: value("tidemill_log_groups_total")?,
            bytes: value("tidemill_log_bytes_total")?,
            syncs: value("tidemill_log_syncs_total")?,
            sync_s: value("tidemill_log_sync_seconds_sum")?,
        })
    }

    /// What came since `before`, which was so long ago.
    pub(crate) fn since(&self, before: Self, wall_s: f64) -> Grouped {
        let (groups, syncs) = ((self.groups - before.groups).max(1.0), (self.syncs - before.syncs).max(1.0));
        Grouped {
            per_s: syncs / wall_s,
            bytes: (((self.bytes - before.bytes) / groups) as u64).next_multiple_of(SECTOR),
            sync_ms: (self.sync_s - before.sync_s) * 1e3 / syncs,
        }
    }
}

/// The same without a host, in a file in `folder`: as often in a second, or one behind the other.
pub(crate) fn bare(folder: &Path, grouped: Grouped, paced: bool) -> io::Result<Bare> {
    let path = folder.join(format!("tidemill-load-{}.bin", std::process::id()));
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
    let done = measure(&file, grouped, paced.then(|| Duration::from_secs_f64(1.0 / grouped.per_s)));
    std::fs::remove_file(&path)?;
    done
}

fn measure(file: &File, grouped: Grouped, pace: Option<Duration>) -> io::Result<Bare> {
    let piece = vec![0; 1 << 20];
    for at in (0..FILE_BYTES).step_by(piece.len()) {
        file.write_all_at(&piece, at)?;
    }
    file.sync_all()?;
    let bytes = vec![7; grouped.bytes.clamp(SECTOR, FILE_BYTES) as usize];
    let (mut at, mut taken_ms) = (0, Vec::new());
    let (begin, cpu_before) = (Instant::now(), thread_cpu_ns()?);
    let mut due = begin;
    while begin.elapsed() < DURATION {
        if let Some(pace) = pace {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            due += pace;
        }
        if at + bytes.len() as u64 > FILE_BYTES {
            at = 0;
        }
        let begin = Instant::now();
        file.write_all_at(&bytes, at)?;
        file.sync_data()?;
        taken_ms.push(begin.elapsed().as_secs_f64() * 1e3);
        at += bytes.len() as u64;
    }
    let cpu_us = (thread_cpu_ns()? - cpu_before) / 1e3 / taken_ms.len().max(1) as f64;
    Ok(Bare { latencies: Latencies::new(taken_ms), cpu_us })
}

/// CPU time of this thread.
fn thread_cpu_ns() -> io::Result<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat.split_whitespace().next().and_then(|text| text.parse().ok());
    nanos.ok_or_else(|| io::Error::other("no CPU time in /proc/thread-self/schedstat"))
}
