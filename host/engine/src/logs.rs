//! What the components of a pipeline said last: a bounded ring per pipeline, for `tidemill logs`.
//!
//! ```text
//! call ─ line ─► bucket (a flood is counted, not kept) ─► ring: the last 1,000 lines, 256 KiB ─► readers, by sequence
//! ```
//! It is for people who look: nothing of it is on disk, and a restart begins with an empty one. The lines that are kept also go to the
//! host's own log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;
use tidemill_event::EventTime;
use tidemill_runtime::LogLevel;

/// Lines kept of one pipeline. More: the oldest go.
const LINES_MAX: usize = 1_000;
/// Bytes of their texts. More: the oldest go.
const BYTES_MAX: usize = 256 << 10;
/// Lines a second that one pipeline may say in the long run. More: they are counted, and the next line that is kept says how many.
const LINES_PER_SECOND: u32 = 100;
/// Lines at once beyond that.
const BURST: u32 = 1_000;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Counts the lines of the pipeline, from 0; what is missing was pushed out.
    pub sequence: u64,
    /// When it was said, RFC 3339.
    pub time: String,
    /// `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// `steps[2].rule`; empty for the host's own word.
    pub step: Arc<str>,
    /// `name@version`; empty for the host's own word.
    pub component: Arc<str>,
    /// The task's partition.
    pub partition: u32,
    /// The text, without control characters.
    pub message: String,
}

/// Who says something.
#[derive(Debug, Clone)]
pub(crate) struct Speaker {
    pub(crate) step: Arc<str>,
    pub(crate) component: Arc<str>,
    pub(crate) partition: u32,
}

/// Lines of a pipeline, and where the ring stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// Oldest first.
    pub lines: Vec<Arc<LogLine>>,
    /// The sequence to ask from next.
    pub next: u64,
    /// The sequence of the oldest line that is kept; `next` if there is none.
    pub oldest: u64,
    /// Which ring: a start of the host, or another pipeline of the name, begins one with other numbers.
    pub life: u64,
}

/// The lines of one pipeline.
pub(crate) struct PipelineLogs {
    life: u64,
    ring: Mutex<Ring>,
}

#[derive(Default)]
struct Ring {
    lines: VecDeque<Arc<LogLine>>,
    bytes: usize,
    next: u64,
    bucket: Option<Bucket>,
}

/// Room for lines, which comes back with time.
struct Bucket {
    /// Thousandths of a line.
    room: u64,
    filled: Instant,
    dropped: u64,
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let passed = u64::try_from(now.saturating_duration_since(self.filled).as_millis()).unwrap_or(u64::MAX);
        let full = u64::from(BURST) * 1_000;
        self.room = self.room.saturating_add(passed.saturating_mul(u64::from(LINES_PER_SECOND))).min(full);
        self.filled = now;
        let taken = self.room >= 1_000;
        if taken {
            self.room -= 1_000;
        } else {
            self.dropped += 1;
        }
        taken
    }
}

impl PipelineLogs {
    /// An empty ring; `life` is random.
    pub(crate) fn new(life: u64) -> Self {
        Self { life, ring: Mutex::default() }
    }

    /// Keeps a line; `false` if there is no room for it, and nobody should say it elsewhere either.
    pub(crate) fn say(&self, speaker: &Speaker, level: LogLevel, message: &str, time: EventTime, now: Instant) -> bool {
        let mut ring = self.ring.lock();
        let bucket = ring.bucket.get_or_insert(Bucket { room: u64::from(BURST) * 1_000, filled: now, dropped: 0 });
        if !bucket.take(now) {
            return false;
        }
        let dropped = std::mem::take(&mut bucket.dropped);
        if dropped > 0 {
            let host = Speaker { step: "".into(), component: "".into(), partition: speaker.partition };
            let message = format!("{dropped} lines were dropped: a pipeline may say {LINES_PER_SECOND} a second");
            ring.push(&host, LogLevel::Warn, message, time);
        }
        ring.push(speaker, level, plain(message), time);
        true
    }

    /// The lines from `from` on that are still there, at most the last `limit` of them that `wanted` takes.
    pub(crate) fn read(&self, from: u64, limit: usize, wanted: impl Fn(&LogLine) -> bool) -> LogPage {
        let ring = self.ring.lock();
        let newest = ring.lines.iter().rev().take_while(|line| line.sequence >= from);
        let mut lines: Vec<Arc<LogLine>> = newest.filter(|line| wanted(line)).take(limit).cloned().collect();
        lines.reverse();
        let oldest = ring.lines.front().map_or(ring.next, |line| line.sequence);
        LogPage { lines, next: ring.next, oldest, life: self.life }
    }
}

impl Ring {
    fn push(&mut self, speaker: &Speaker, level: LogLevel, message: String, time: EventTime) {
        self.bytes += message.len();
        let line = LogLine {
            sequence: self.next,
            time: time.to_rfc3339(),
            level: level.as_str(),
            step: speaker.step.clone(),
            component: speaker.component.clone(),
            partition: speaker.partition,
            message,
        };
        self.next += 1;
        self.lines.push_back(Arc::new(line));
        while self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.message.len();
        }
    }
}

/// A text that cannot move a terminal's cursor or colour it.
fn plain(message: &str) -> String {
    message.chars().map(|any| if any.is_control() { ' ' } else { any }).collect()
}

/// How often a reader who follows looks for lines: they have no bell, so that saying one costs a call nothing more.
pub const FOLLOW_EVERY: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    fn speaker() -> Speaker {
        Speaker { step: "steps[0].rule".into(), component: "r@1.0.0".into(), partition: 3 }
    }

    fn texts(logs: &PipelineLogs, from: u64, limit: usize) -> Vec<String> {
        logs.read(from, limit, |_| true).lines.iter().map(|line| line.message.clone()).collect()
    }

    #[test]
    fn the_last_lines_are_kept_in_order() {
        let (logs, now) = (PipelineLogs::new(7), Instant::now());
        for n in 0..2_000_u64 {
            assert!(logs.say(&speaker(), LogLevel::Info, &n.to_string(), EventTime(0), now + Duration::from_millis(n * 10)));
        }
        assert_eq!(texts(&logs, 0, 2), ["1998", "1999"]);
        assert_eq!(texts(&logs, 1_999, 100), ["1999"]);
        assert_eq!(logs.read(0, usize::MAX, |_| true).lines.len(), LINES_MAX);
        assert_eq!(logs.read(0, 9, |line| line.message.ends_with("77")).lines.len(), 9);
        assert_eq!(logs.read(2_000, 9, |_| true), LogPage { lines: Vec::new(), next: 2_000, oldest: 1_000, life: 7 });
    }

    #[test]
    fn long_lines_push_out_more() {
        let (logs, now) = (PipelineLogs::new(7), Instant::now());
        for _ in 0..600 {
            logs.say(&speaker(), LogLevel::Info, &"x".repeat(1_024), EventTime(0), now);
        }
        assert_eq!(logs.read(0, usize::MAX, |_| true).lines.len(), BYTES_MAX / 1_024);
    }

    #[test]
    fn a_flood_is_counted_and_control_characters_go() {
        let (logs, now) = (PipelineLogs::new(7), Instant::now());
        let kept = (0..5_000).filter(|_| logs.say(&speaker(), LogLevel::Info, "again", EventTime(0), now)).count();
        assert_eq!(kept, BURST as usize);
        assert!(logs.say(&speaker(), LogLevel::Error, "a\x1b[31mb\nc", EventTime(0), now + Duration::from_secs(1)));
        assert_eq!(texts(&logs, 0, 2), ["4000 lines were dropped: a pipeline may say 100 a second", "a [31mb c"]);
    }
}
