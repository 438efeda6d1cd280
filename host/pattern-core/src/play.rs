//! Plays one vector and compares.
//!
//! The clock of vectors is in ms and says "nothing comes at or before it"; the matcher's is in µs and moves to an event's time before it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidemill_flow::pattern::{
    Candidate, Finding, Moment, PatternMatcher, PredicateId, RunJudge, RunLimits, RunView, StageId, Trigger,
};

use crate::condition::{Looks, holds, looks_at_runs};
use crate::vector::{Written, read};

/// An event of a vector.
struct Event {
    time: i64,
    data: Value,
}

/// Whether a vector comes out as it says; the reason if not.
pub(crate) fn play(vector: &Value) -> Result<(), String> {
    let written = read(vector)?;
    let made = PatternMatcher::new(&written.pattern, RunLimits::default());
    if vector.get("expected").is_none() {
        return match made {
            Ok(_) => Err(format!("it is not refused: {}", vector["why"])),
            Err(_) => Ok(()),
        };
    }
    made.map_err(|refused| format!("it is refused: {refused}"))?;
    let events: Result<Vec<Event>, String> = vector["events"].as_array().ok_or("no events")?.iter().map(event).collect();
    let told = Player::new(vector, &written, events?).play()?;
    let expected = &vector["expected"];
    let sorted = |list: &Value, keep: &[&str]| -> Vec<String> {
        let one = |entry: &Value| keep.iter().map(|key| format!("{key}={}", entry[*key])).collect::<Vec<_>>().join(" ");
        let mut all: Vec<String> = list.as_array().into_iter().flatten().map(one).collect();
        all.sort();
        all
    };
    let mut faults = Vec::new();
    let mut differ = |what: &str, expected: String, told: String| {
        if expected != told {
            faults.push(format!("{what}: expected {expected}, got {told}"));
        }
    };
    let of_match = ["stages", "emitted_at", "trigger"];
    let show = |list: Vec<String>| format!("[{}]", list.join("; "));
    differ("error", (expected["error"] == Value::Bool(true)).to_string(), told.has_failed.to_string());
    differ("matches", show(sorted(&expected["matches"], &of_match)), show(sorted(&told.matches.into(), &of_match)));
    if vector["report_timeouts"] == Value::Bool(true) {
        let of_timeout = ["stages", "timeout_ts", "emitted_at"];
        differ("timeouts", show(sorted(&expected["timeouts"], &of_timeout)), show(sorted(&told.timeouts.into(), &of_timeout)));
    }
    if let Some(live) = expected["live_partial_matches_at_end"].as_u64() {
        differ("live", live.to_string(), told.live.to_string());
    }
    if told.live == 0 && told.buffered != (0, 0) {
        faults.push(format!("nothing is alive, but events and links are kept: {:?}", told.buffered));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join(" | ")) }
}

fn event(event: &Value) -> Result<Event, String> {
    Ok(Event { time: event["ts"].as_i64().ok_or("an event without ts")?, data: event["data"].clone() })
}

/// What came out.
#[derive(Default)]
struct Told {
    matches: Vec<Value>,
    timeouts: Vec<Value>,
    has_failed: bool,
    live: usize,
    buffered: (usize, usize),
}

struct Player<'a> {
    vector: &'a Value,
    written: &'a Written,
    events: Vec<Event>,
    by_key: BTreeMap<String, PatternMatcher>,
    told: Told,
}

/// Answers the conditions that look at runs.
struct Judge<'a> {
    written: &'a Written,
    events: &'a [Event],
    stages: &'a BTreeMap<String, StageId>,
    fault: Option<String>,
}

struct Look<'a> {
    events: &'a [Event],
    at: usize,
    run: Option<(&'a RunView<'a>, &'a BTreeMap<String, StageId>)>,
}

impl Looks for Look<'_> {
    fn data(&self) -> &Value {
        &self.events[self.at].data
    }

    fn time(&self) -> i64 {
        self.events[self.at].time
    }

    fn taken(&self, stage: &str) -> Vec<&Value> {
        let Some((run, stages)) = self.run else { return Vec::new() };
        let Some(stage) = stages.get(stage) else { return Vec::new() };
        let mut taken: Vec<&Value> = run.events(*stage).map(|(_, row)| &self.events[row as usize].data).collect();
        taken.reverse();
        taken
    }
}

impl RunJudge for Judge<'_> {
    fn holds(&mut self, predicate: PredicateId, event: &Candidate, run: &RunView<'_>) -> bool {
        let look = Look { events: self.events, at: event.row as usize, run: Some((run, self.stages)) };
        holds(&self.written.conditions[usize::from(predicate.0)], &look).unwrap_or_else(|fault| {
            self.fault = Some(fault);
            false
        })
    }

    /// What runs have taken is looked up when it is asked for.
    fn took(&mut self, _: &RunView<'_>) {}
}

impl<'a> Player<'a> {
    fn new(vector: &'a Value, written: &'a Written, events: Vec<Event>) -> Self {
        Self { vector, written, events, by_key: BTreeMap::new(), told: Told::default() }
    }

    fn play(mut self) -> Result<Told, String> {
        match self.vector["event_time"]["watermark_lag_ms"].as_i64() {
            Some(lag) => self.in_event_time(lag)?,
            None => {
                for at in 0..self.events.len() {
                    self.take(at, at)?;
                }
                if let Some(to) = self.vector["advance_to"].as_i64() {
                    self.advance(to.saturating_mul(1_000), self.events.len());
                }
            }
        }
        self.told.live = self.by_key.values().map(PatternMatcher::live).sum();
        let buffered = self.by_key.values().map(PatternMatcher::buffered);
        self.told.buffered = buffered.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        Ok(self.told)
    }

    /// Events wait until nothing can come before them.
    fn in_event_time(&mut self, lag: i64) -> Result<(), String> {
        let mut watermark = i64::MIN;
        let mut waiting: Vec<usize> = Vec::new();
        for at in 0..=self.events.len() {
            match self.events.get(at) {
                Some(event) if event.time <= watermark => {}
                Some(event) => {
                    waiting.push(at);
                    watermark = watermark.max(event.time.saturating_sub(lag));
                }
                None => watermark = i64::MAX,
            }
            let (mut ready, still): (Vec<usize>, Vec<usize>) =
                waiting.drain(..).partition(|waiting| self.events[*waiting].time <= watermark);
            waiting = still;
            ready.sort_by_key(|ready| self.events[*ready].time);
            for ready in ready {
                self.take(ready, at)?;
            }
            self.advance(watermark.saturating_mul(1_000), at);
        }
        Ok(())
    }

    fn key(&self, at: usize) -> String {
        self.vector["key_by"].as_str().map_or_else(String::new, |field| self.events[at].data[field].to_string())
    }

    fn take(&mut self, at: usize, emitted_at: usize) -> Result<(), String> {
        let key = self.key(at);
        let written = self.written;
        let matcher = match self.by_key.entry(key) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => {
                let made = PatternMatcher::new(&written.pattern, RunLimits::default());
                free.insert(made.map_err(|refused| refused.to_string())?)
            }
        };
        let mut candidate = Candidate {
            moment: Moment { time: self.events[at].time * 1_000, number: at as u64 },
            row: at as u32,
            holds: 0,
            unknown: 0,
        };
        for (number, condition) in written.conditions.iter().enumerate() {
            if looks_at_runs(condition) {
                candidate.unknown |= 1 << number;
            } else if holds(condition, &Look { events: &self.events, at, run: None })? {
                candidate.holds |= 1 << number;
            }
        }
        let mut names = BTreeMap::new();
        stages(&self.vector["pattern"]["stages"], matcher, &mut names);
        let mut judge = Judge { written, events: &self.events, stages: &names, fault: None };
        let (mut found, by_time) = matcher.advance(candidate.moment.time);
        let (of_event, by_event) = matcher.take(&candidate, &mut judge);
        found.extend(of_event);
        let fault = judge.fault;
        let told: Vec<(bool, Value)> = found.into_iter().map(|finding| told(matcher, &finding, emitted_at)).collect();
        self.tell(told, by_time.is_err() || by_event.is_err());
        fault.map_or(Ok(()), Err)
    }

    fn advance(&mut self, to: i64, emitted_at: usize) {
        let mut all = Vec::new();
        let mut has_failed = false;
        for matcher in self.by_key.values_mut() {
            let (found, ended) = matcher.advance(to);
            has_failed |= ended.is_err();
            all.extend(found.into_iter().map(|finding| told(matcher, &finding, emitted_at)));
        }
        self.tell(all, has_failed);
    }

    fn tell(&mut self, told: Vec<(bool, Value)>, has_failed: bool) {
        self.told.has_failed |= has_failed;
        for (is_match, told) in told {
            if is_match { self.told.matches.push(told) } else { self.told.timeouts.push(told) }
        }
    }
}

fn stages(list: &Value, matcher: &PatternMatcher, names: &mut BTreeMap<String, StageId>) {
    for element in list.as_array().into_iter().flatten() {
        if element.get("group").is_some() {
            stages(&element["group"], matcher, names);
        } else if let Some(name) = element["name"].as_str() {
            names.extend(matcher.stage(name).map(|stage| (name.to_owned(), stage)));
        }
    }
}

/// As the vectors write it.
fn told(matcher: &PatternMatcher, finding: &Finding, emitted_at: usize) -> (bool, Value) {
    let mut stages: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (stage, event) in &finding.events {
        stages.entry(matcher.name(*stage)).or_default().push(*event);
    }
    let trigger = match finding.trigger {
        Trigger::Event => "event",
        Trigger::Time => "time",
    };
    let told = if finding.is_match {
        json!({"stages": stages, "emitted_at": emitted_at, "trigger": trigger})
    } else {
        json!({"stages": stages, "timeout_ts": finding.at / 1_000, "emitted_at": emitted_at})
    };
    (finding.is_match, told)
}
