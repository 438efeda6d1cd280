//! A process as `/proc` shows it, and the requests that set it up.

use std::io;

use tidemill_tests::request;

/// `sysconf(_SC_CLK_TCK)`: 100 on every Linux that people run.
const TICKS_PER_SECOND: f64 = 100.0;

/// The host under load, or another server that is measured beside it.
pub(crate) struct Measured<'a> {
    /// `http://ADDRESS`.
    pub(crate) url: &'a str,
    /// Its process id, or `self`.
    pub(crate) process: &'a str,
}

impl Measured<'_> {
    /// User and system time of the process.
    pub(crate) fn cpu_s(&self) -> io::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process))?;
        // The second field is the program's name in parentheses and may hold anything; utime and stime are the 14th and 15th.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse().ok()).collect();
        Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
    }

    /// Resident memory of the process.
    pub(crate) fn memory_bytes(&self) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no VmRSS in /proc"))
    }

    /// Files and sockets the process has open.
    pub(crate) fn handles(&self) -> io::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.process))?.count())
    }

    /// Times that its threads gave up the processor, by themselves or not, those of threads that are gone apart.
    pub(crate) fn switches(&self) -> io::Result<u64> {
        let mut switches = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.process))? {
            let Ok(status) = std::fs::read_to_string(task?.path().join("status")) else { continue };
            let counts = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
            switches += counts.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum::<u64>();
        }
        Ok(switches)
    }

    /// A request that must succeed.
    pub(crate) fn must(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> io::Result<String> {
        let answer = request(method, &format!("{}{path}", self.url), Some(content_type), body).map_err(io::Error::other)?;
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        Err(io::Error::other(format!("{method} {path}: {} {}", answer.status, answer.body)))
    }
}

/// This process: the generator.
pub(crate) fn generator() -> Measured<'static> {
    Measured { url: "", process: "self" }
}
