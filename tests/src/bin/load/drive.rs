//! A load: connections that each send one request after the other, as fast as answers come or at a pace.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidemill_tests::Connection;

use crate::measured::{Measured, generator};

/// How long one load lasts.
pub(crate) const DURATION: Duration = Duration::from_secs(5);

/// What a host pays once, for its first rows, is not part of a load.
const WARM_UP: Duration = Duration::from_secs(2);

/// What one load came to.
pub(crate) struct Run {
    pub(crate) requests: u64,
    pub(crate) wall_s: f64,
    /// Of the server.
    pub(crate) cpu_s: f64,
    /// Of the generator.
    pub(crate) generator_cpu_s: f64,
    /// Of the answers.
    pub(crate) latencies: Latencies,
}

impl Run {
    pub(crate) fn per_s(&self, of_each: u64) -> f64 {
        (self.requests * of_each) as f64 / self.wall_s
    }

    pub(crate) fn per_cpu_s(&self, of_each: u64) -> f64 {
        (self.requests * of_each) as f64 / self.cpu_s
    }

    /// The pace at which `connections` together make `share` of this load.
    pub(crate) fn pace(&self, connections: u64, share: f64) -> Duration {
        Duration::from_secs_f64(connections as f64 * self.wall_s / (self.requests as f64 * share))
    }
}

/// Latencies in ms.
pub(crate) struct Latencies(Vec<f64>);

impl Latencies {
    pub(crate) fn new(mut taken_ms: Vec<f64>) -> Self {
        taken_ms.sort_unstable_by(f64::total_cmp);
        Self(taken_ms)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// 0 where there are none.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        let at = (self.0.len().saturating_sub(1) as f64 * quantile).round() as usize;
        self.0.get(at).copied().unwrap_or(0.0)
    }

    /// `p50 | p99 | p99.9`, as cells.
    pub(crate) fn cells(&self) -> String {
        format!("{:.2} | {:.2} | {:.2}", self.quantile(0.5), self.quantile(0.99), self.quantile(0.999))
    }
}

/// Calls `each` with a running number from every connection for [`DURATION`]; with `pace`, so often per connection and no oftener.
pub(crate) fn drive(
    server: &Measured<'_>,
    connections: u64,
    pace: Option<Duration>,
    each: &(dyn Fn(&mut Connection, u64) -> io::Result<()> + Sync),
) -> io::Result<Run> {
    drive_for(DURATION, server, connections, pace, each)
}

/// A load that is not measured.
pub(crate) fn warm_up(
    server: &Measured<'_>,
    connections: u64,
    each: &(dyn Fn(&mut Connection, u64) -> io::Result<()> + Sync),
) -> io::Result<()> {
    drive_for(WARM_UP, server, connections, None, each).map(drop)
}

/// The same, for so long.
pub(crate) fn drive_for(
    duration: Duration,
    server: &Measured<'_>,
    connections: u64,
    pace: Option<Duration>,
    each: &(dyn Fn(&mut Connection, u64) -> io::Result<()> + Sync),
) -> io::Result<Run> {
    let (stop, next) = (AtomicBool::new(false), AtomicU64::new(0));
    let (begin, cpu_before, own_before) = (Instant::now(), server.cpu_s()?, generator().cpu_s()?);
    let mut taken_ms = Vec::new();
    std::thread::scope(|scope| -> io::Result<()> {
        let worker = |index: u64| {
            let (stop, next) = (&stop, &next);
            move || -> io::Result<Vec<f64>> {
                let mut connection = Connection::open(server.url)?;
                let mut taken = Vec::new();
                // Spread over the pace, or all would be due at once.
                let mut due = begin + pace.unwrap_or_default() * index as u32 / connections as u32;
                while !stop.load(Ordering::Relaxed) {
                    match pace {
                        Some(pace) => {
                            std::thread::sleep(due.saturating_duration_since(Instant::now()));
                            each(&mut connection, next.fetch_add(1, Ordering::Relaxed))?;
                            taken.push(due.elapsed().as_secs_f64() * 1e3);
                            due += pace;
                        }
                        None => {
                            let begin = Instant::now();
                            each(&mut connection, next.fetch_add(1, Ordering::Relaxed))?;
                            taken.push(begin.elapsed().as_secs_f64() * 1e3);
                        }
                    }
                }
                Ok(taken)
            }
        };
        let workers: Vec<_> = (0..connections).map(|index| scope.spawn(worker(index))).collect();
        std::thread::sleep(duration);
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            taken_ms.extend(worker.join().map_err(|_| io::Error::other("a worker panicked"))??);
        }
        Ok(())
    })?;
    let requests = taken_ms.len() as u64;
    let (wall_s, cpu_s) = (begin.elapsed().as_secs_f64(), server.cpu_s()? - cpu_before);
    let generator_cpu_s = generator().cpu_s()? - own_before;
    Ok(Run { requests, wall_s, cpu_s, generator_cpu_s, latencies: Latencies::new(taken_ms) })
}
