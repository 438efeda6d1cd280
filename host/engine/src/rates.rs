//! How fast a task goes: counters looked at now and then, and what they grew by over the last ten seconds and the last minute.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

/// How often tasks are looked at.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_secs(2);
/// A look at each of these distances is kept, and so many of them.
const SHORT: (Duration, usize) = (SAMPLE_EVERY, 5);
const LONG: (Duration, usize) = (Duration::from_secs(10), 6);

/// The counters of a task at one moment. They only grow, but a task that begins anew begins with other ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) at: Instant,
    pub(crate) rows_in: u64,
    pub(crate) rows_out: u64,
    /// CPU time of its batches.
    pub(crate) busy: Duration,
    /// Time its worker waited for room in the log.
    pub(crate) blocked: Duration,
    /// The next rows of its inputs, and their ends, each summed: a place in all of them together.
    pub(crate) next: u64,
    pub(crate) end: u64,
}

/// How fast it goes, over one stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Default)]
pub struct Rates {
    /// Rows taken a second.
    pub rows_in_per_second: f64,
    /// Rows sent on a second.
    pub rows_out_per_second: f64,
    /// Of one worker's time, how much its batches took: 0 to 1.
    pub busy: f64,
    /// Of one worker's time, how long it waited because the log took no more: 0 to 1.
    pub back_pressure: f64,
}

impl Rates {
    /// Several tasks together: rows add up, shares are those of the task that has the greatest.
    pub(crate) fn together(self, other: Self) -> Self {
        Self {
            rows_in_per_second: self.rows_in_per_second + other.rows_in_per_second,
            rows_out_per_second: self.rows_out_per_second + other.rows_out_per_second,
            busy: self.busy.max(other.busy),
            back_pressure: self.back_pressure.max(other.back_pressure),
        }
    }
}

/// Looks at one task's counters.
#[derive(Debug)]
pub(crate) struct History {
    short: VecDeque<Counters>,
    long: VecDeque<Counters>,
}

impl History {
    pub(crate) fn new(first: Counters) -> Self {
        Self { short: [first].into(), long: [first].into() }
    }

    /// Keeps a look, if the last one is old enough.
    pub(crate) fn look(&mut self, now: Counters) {
        for (looks, (every, count)) in [(&mut self.short, SHORT), (&mut self.long, LONG)] {
            // A quarter of a second early is on time: whoever looks sleeps a little longer or shorter.
            let is_due = looks.back().is_none_or(|last| now.at + Duration::from_millis(250) >= last.at + every);
            if is_due {
                looks.push_back(now);
                while looks.len() > count + 1 {
                    looks.pop_front();
                }
            }
        }
    }

    /// For how long its next row has been there: it came after the latest look at which everything there was is taken by now. `caught_up`
    /// is when the task itself last found nothing to take.
    pub(crate) fn behind(&self, now: Counters, caught_up: Instant) -> Duration {
        if now.next >= now.end {
            return Duration::ZERO;
        }
        let looks = self.short.iter().chain(&self.long).filter(|look| look.end > 0 && look.end <= now.next);
        let since = looks.map(|look| look.at).chain([caught_up]).max().unwrap_or(caught_up);
        now.at.saturating_duration_since(since)
    }

    /// Over the last ten seconds and the last minute, or since the task began.
    pub(crate) fn rates(&self, now: Counters) -> (Rates, Rates) {
        (since(self.short.front(), now), since(self.long.front(), now))
    }
}

fn since(then: Option<&Counters>, now: Counters) -> Rates {
    let Some(then) = then else { return Rates::default() };
    let seconds = now.at.saturating_duration_since(then.at).as_secs_f64();
    if seconds < 1e-3 {
        return Rates::default();
    }
    let per_second = |now: u64, then: u64| round(now.saturating_sub(then) as f64 / seconds);
    let share = |now: Duration, then: Duration| round((now.saturating_sub(then).as_secs_f64() / seconds).min(1.0));
    Rates {
        rows_in_per_second: per_second(now.rows_in, then.rows_in),
        rows_out_per_second: per_second(now.rows_out, then.rows_out),
        busy: share(now.busy, then.busy),
        back_pressure: share(now.blocked, then.blocked),
    }
}

/// Three digits behind the point: more say nothing.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_over_the_last_ten_seconds_and_the_last_minute() {
        let begun = Instant::now();
        let at = |seconds: u64, rows: u64| Counters {
            at: begun + Duration::from_secs(seconds),
            rows_in: rows,
            rows_out: rows / 10,
            busy: Duration::from_millis(rows),
            blocked: Duration::ZERO,
            next: rows,
            end: rows + 50,
        };
        let mut history = History::new(at(0, 0));
        // 100 rows a second for two minutes, then nothing for ten seconds.
        for second in 1..=120 {
            history.look(at(second, second * 100));
        }
        let (short, long) = history.rates(at(120, 12_000));
        assert_eq!((short.rows_in_per_second, short.rows_out_per_second, short.busy), (100.0, 10.0, 0.1));
        assert_eq!((long.rows_in_per_second, long.back_pressure), (100.0, 0.0));
        for second in 121..=130 {
            history.look(at(second, 12_000));
        }
        let (short, long) = history.rates(at(130, 12_000));
        assert_eq!(short.rows_in_per_second, 0.0);
        assert!((80.0..90.0).contains(&long.rows_in_per_second), "{long:?}");
        assert!(history.short.len() <= 6 && history.long.len() <= 7);
    }

    #[test]
    fn a_task_that_just_began_has_a_rate_too() {
        let first = Counters {
            at: Instant::now(),
            rows_in: 0,
            rows_out: 0,
            busy: Duration::ZERO,
            blocked: Duration::ZERO,
            next: 0,
            end: 0,
        };
        let history = History::new(first);
        assert_eq!(history.rates(first).0, Rates::default());
        let later = Counters { at: first.at + Duration::from_secs(1), rows_in: 7, ..first };
        assert_eq!(history.rates(later).0.rows_in_per_second, 7.0);
    }

    #[test]
    fn a_task_is_behind_since_its_next_row_came() {
        let begun = Instant::now();
        let at = |seconds: u64, next: u64, end: u64| Counters {
            at: begun + Duration::from_secs(seconds),
            rows_in: next,
            rows_out: 0,
            busy: Duration::ZERO,
            blocked: Duration::ZERO,
            next,
            end,
        };
        let mut history = History::new(at(0, 0, 0));
        // Ten rows a second come, and one is taken.
        for second in 1..=30 {
            history.look(at(second, second, second * 10));
        }
        let behind = history.behind(at(30, 250, 300), begun).as_secs();
        assert!((4..=6).contains(&behind), "row 250 came 5 s ago: {behind}");
        assert_eq!(history.behind(at(30, 300, 300), begun), Duration::ZERO);
        assert_eq!(history.behind(at(30, 30, 300), begun + Duration::from_secs(1)).as_secs(), 29, "it is not known better");
    }
}
