//! Dead letters that somebody wants replayed: they become rows that wait for the step they failed in, due at once.
//!
//! The commit that takes them in names their offsets, so after a crash the same letters are read again; which ones were taken is the
//! task's state, so none is taken twice unless somebody insists.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use crossbeam_channel::Sender;
use serde_json::Value;
use tidemill_event::json::{DecodeLimits, RowDecoder, RowEncoder};
use tidemill_event::{EventTime, Offset, PartitionId, Reason, Retention, StreamDefinition, StreamSchema, UnknownFields};
use tidemill_flow::{FlowBatch, Group, Outcome, Place, Sources, StepId};
use tidemill_log::{ReadLimit, Visibility};

use crate::dead_letters::{DeadLetterId, RefusedLetter, ReplayedLetters};
use crate::plan::{Plan, PlannedKind};
use crate::task::committing::Taken;
use crate::task::keeping::has_columns;
use crate::task::machine::{Task, cpu_time};
use crate::task::time::NOWHERE;

/// Who is told how a replay went.
pub(crate) type ReplayAnswered = Sender<Result<ReplayedLetters, String>>;

/// A dead letter, read.
struct Letter {
    /// The step it goes on at; behind the last one, it is a result.
    step: u32,
    /// Time let it out; its event is empty.
    is_of_time: bool,
    row: String,
    row_time: EventTime,
    event: String,
    event_time: EventTime,
    place: Place,
}

/// Letters by their step, those of events apart from those of time.
type BySteps = BTreeMap<(u32, bool), Gathering>;

/// Letters of one step, as they become rows.
struct Gathering {
    rows: RowDecoder,
    events: RowDecoder,
    /// Finds out whether a letter can be read, before it is.
    trial: (RowDecoder, RowDecoder),
    places: Vec<Place>,
}

impl Task {
    /// Takes dead letters in. `done` is told when that is on disk, or why it is not. An error ends the task.
    pub(crate) fn replay_letters(&mut self, ids: &[DeadLetterId], force: bool, done: ReplayAnswered) -> Result<(), String> {
        if self.ended || !self.recovered.commits.is_empty() {
            // Whoever waited may have given up at its deadline; so below.
            let _ = done.send(Err("it is still taking committed rows again after a start: try again".to_owned()));
            return Ok(());
        }
        let begun = cpu_time();
        let now = self.tick();
        self.enter(self.plan_number);
        let mut answer = ReplayedLetters::default();
        let mut taken = Vec::new();
        let mut by_step = BTreeMap::new();
        for id in ids {
            let gathered = match self.refusal(*id, force) {
                Some(why) => Err(why),
                None => self.gather(id.offset, &mut by_step),
            };
            match gathered {
                Ok(()) => taken.push(id.offset),
                Err(why) => answer.refused.push(RefusedLetter { id: *id, why }),
            }
        }
        if taken.is_empty() {
            let _ = done.send(Ok(answer));
            return Ok(());
        }
        self.take_in(&taken, by_step, now);
        answer.replayed = taken.len();
        self.on_durable = Some(Box::new(move |appended| {
            let _ = done.send(appended.map(|_| answer).map_err(|error| error.to_string()));
        }));
        let output = self.nothing();
        let nothing = Sources::each(RecordBatch::new_empty(Arc::new(self.plan.event_schema(self.stage).arrow())), Vec::new());
        let mut outcome = Outcome::new(now);
        let replayed = taken.iter().map(|offset| offset.0).collect();
        let commit = self.settle(Taken { replayed, ..Taken::default() }, &nothing, &output, &mut outcome, now);
        self.commit(commit, &nothing, output, &outcome, begun)
    }

    /// The letters that a commit took in, again.
    pub(super) fn take_in_again(&mut self, offsets: &[u64], clock: EventTime) {
        let mut by_step = BTreeMap::new();
        let taken: Vec<Offset> = offsets.iter().copied().map(Offset).collect();
        for offset in &taken {
            if let Err(why) = self.gather(*offset, &mut by_step) {
                tracing::warn!(task = %self.shared.id, "dead letter {offset}, which was replayed, is left out now: {why}");
            }
        }
        self.take_in(&taken, by_step, clock);
    }

    fn take_in(&mut self, taken: &[Offset], by_step: BySteps, due: EventTime) {
        taken.iter().for_each(|offset| self.replayed.insert(*offset));
        for ((step, _), gathering) in by_step {
            let Gathering { mut rows, mut events, places, .. } = gathering;
            if places.is_empty() {
                continue;
            }
            let events = FlowBatch::new(events.finish()).compact().rows;
            let group = Group {
                due: Some(due),
                step: StepId(step),
                attempts: 0,
                rows: FlowBatch::new(rows.finish()).compact(),
                sources: Sources::each(events, places),
            };
            self.waiting.add(group);
        }
        let replayed = Arc::new((self.letters_at(), self.replayed.clone()));
        self.shared.update(|seen| seen.replayed = Some(replayed));
    }

    /// The partition of the dead letters that this task writes.
    pub(super) fn letters_at(&self) -> PartitionId {
        self.dead_letters.place(self.partition)
    }

    fn refusal(&self, id: DeadLetterId, force: bool) -> Option<String> {
        if id.partition != self.letters_at() {
            return Some("it is not one of this task's".to_owned());
        }
        if self.replayed.contains(id.offset) && !force {
            return Some("it was replayed before; `force` does it again".to_owned());
        }
        if id.offset < self.letters_from && !force {
            let why =
                "it is of a run before this one, whose events this one took itself or begins behind; `force` sends it through";
            return Some(why.to_owned());
        }
        self.replayed.is_full().then(|| "too many single letters of this partition were replayed already".to_owned())
    }

    /// Reads a letter and puts it with those of its step. The error says why it cannot be replayed.
    fn gather(&self, offset: Offset, by_step: &mut BySteps) -> Result<(), String> {
        let letter = self.letter(offset)?;
        let gathering = by_step.entry((letter.step, letter.is_of_time)).or_insert_with(|| {
            let of_time = StreamSchema { fields: Vec::new(), unknown: UnknownFields::Drop, infer: false };
            let events = if letter.is_of_time { of_time } else { self.plan.event_schema(self.stage) };
            let rows = self.plan.step_input(letter.step);
            let trial = (decoder(rows.clone()), decoder(events.clone()));
            Gathering { rows: decoder(rows), events: decoder(events), trial, places: Vec::new() }
        });
        let (row, event) = (letter.row.as_bytes(), letter.event.as_bytes());
        let (trial_rows, trial_events) = &mut gathering.trial;
        trial_rows
            .row(row, letter.row_time)
            .map_err(|fault| format!("its row does not fit the step any more: {}", fault.error))?;
        trial_events
            .row(event, letter.event_time)
            .map_err(|fault| format!("its event does not fit the source: {}", fault.error))?;
        let group = Group {
            due: None,
            step: StepId(letter.step),
            attempts: 0,
            rows: FlowBatch::new(trial_rows.finish()).compact(),
            sources: Sources::each(trial_events.finish(), vec![letter.place.clone()]),
        };
        if !has_columns(&self.plan, &group) {
            return Err("the columns before its step are others now".to_owned());
        }
        let fits = "it was tried just now";
        gathering.rows.row(row, letter.row_time).expect(fits);
        gathering.events.row(event, letter.event_time).expect(fits);
        gathering.places.push(letter.place);
        Ok(())
    }

    fn letter(&self, offset: Offset) -> Result<Letter, String> {
        let partition = self.dead_letters.partition(self.letters_at()).ok_or("its partition is gone")?;
        let limit = ReadLimit { rows_max: 1, bytes_max: usize::MAX };
        let block = partition.read(offset, limit, Visibility::Sequenced).map_err(|error| error.to_string())?;
        let block = block.filter(|block| block.start == offset).ok_or("there is no such dead letter")?;
        let text = RowEncoder::new(&block.schema.schema, None).one(&block.rows, 0);
        let members: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let word = |member: &str| members.get(member).and_then(Value::as_str);
        let number = |member: &str| members.get(member).and_then(Value::as_u64);
        let said = number("partition").and_then(|said| u32::try_from(said).ok()).map(PartitionId);
        // One task that takes all partitions has the letters of all.
        let is_own = |said: &PartitionId| self.plan.sources.gathered.is_some() || *said == self.place;
        let Some(said) = said.filter(is_own) else {
            let of = said.map_or_else(|| "none".to_owned(), |said| said.to_string());
            return Err(format!("it is of partition {of}, and its task takes {}", self.place));
        };
        let step = word("step").unwrap_or_default();
        // A rule set is asked again whatever its rules ask now.
        let is_of = |at: u32, component| match self.plan.steps[at as usize].kind {
            PlannedKind::Rules(_) => true,
            _ => self.plan.component_of(at, None).map(|planned| &*planned.pin.name) == component,
        };
        let at = (0..self.plan.steps.len() as u32)
            .find(|at| self.plan.step_name(*at) == step && is_of(*at, word("component")))
            .ok_or_else(|| format!("the pipeline has no such step any more ({step})"))?;
        if !self.plan.stages[self.stage].steps.contains(&at) {
            return Err(format!("`{step}` is a step of another stage now: a replay of the pipeline takes its event again"));
        }
        if matches!(self.plan.steps[at as usize].kind, PlannedKind::Join(_) | PlannedKind::Window(_) | PlannedKind::Over(_)) {
            return Err(format!(
                "what `{step}` could not say is of many rows, and those are not kept: a replay of the pipeline takes them again"
            ));
        }
        let at = if word("reason") == Some(Reason::Schema.as_str()) { behind(&self.plan, at)? } else { at };
        // The JSON as it is kept: numbers keep every digit.
        let json = |member: &str| {
            let column = block.rows.column_by_name(member)?.as_string_opt::<i32>()?;
            column.is_valid(0).then(|| column.value(0).to_owned())
        };
        // What time let out was made of no event, and has no place.
        let is_of_time = word("stream").is_none();
        let event = if is_of_time { Some("{}".to_owned()) } else { json("event") };
        let event = event.ok_or("its event was too long to be kept")?;
        let event_time = word("time").and_then(EventTime::parse_rfc3339).ok_or("its time cannot be read")?;
        let row = json("row").unwrap_or_else(|| event.clone());
        let own_time = serde_json::from_str::<Value>(&row).ok();
        let own_time = own_time.as_ref().and_then(|row| EventTime::parse_rfc3339(row.get("_time")?.as_str()?));
        let place = Place {
            stream: word("stream").unwrap_or(NOWHERE).into(),
            partition: said,
            offset: Offset(number("offset").unwrap_or(0)),
        };
        Ok(Letter { step: at, is_of_time, row, row_time: own_time.unwrap_or(event_time), event, event_time, place })
    }
}

/// Where a row goes on that a transform made without the time it had to have: behind that step, if rows need no such time now. Not
/// through it: what else was made of the same event went on then.
fn behind(plan: &Plan, step: u32) -> Result<u32, String> {
    let kind = plan.steps.get(step as usize).map(|step| &step.kind);
    let time = match kind {
        Some(PlannedKind::Transform { component, .. }) => component.component.description().time.as_deref(),
        Some(
            PlannedKind::Where(_)
            | PlannedKind::Select(_)
            | PlannedKind::Extend(_)
            | PlannedKind::Lookup(_)
            | PlannedKind::Rule { .. }
            | PlannedKind::Process { .. }
            | PlannedKind::Join(_)
            | PlannedKind::Window(_)
            | PlannedKind::Over(_)
            | PlannedKind::Limit(_)
            | PlannedKind::Pattern(_)
            | PlannedKind::Patterns(_)
            | PlannedKind::Sample(_)
            | PlannedKind::Match(_)
            | PlannedKind::Rules(_)
            | PlannedKind::Machine(_)
            | PlannedKind::Correlate(_)
            | PlannedKind::Origin(_)
            | PlannedKind::Alert(_)
            | PlannedKind::Metrics(_),
        )
        | None => None,
    };
    match time {
        Some(time) => Err(format!(
            "`{time}` is still the rows' time and null in this one: apply a version of the component that does not make it the time"
        )),
        None => Ok(step + 1),
    }
}

fn decoder(schema: StreamSchema) -> RowDecoder {
    let definition = StreamDefinition {
        schema,
        time: None,
        key: Vec::new(),
        partitions: 1,
        retention: Retention::default(),
        compatibility: Default::default(),
    };
    RowDecoder::new(Arc::new(definition), DecodeLimits { line_bytes_max: 4 << 20, ..DecodeLimits::default() })
}
