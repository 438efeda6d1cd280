//! The slow, obviously right model of a log: what was sent, what was answered, and what a recovered log may therefore show.
//!
//! Every acknowledged row is there, at its offset; none was invented, none is there twice; order holds; an entry is there wholly or
//! not at all, and behind one that is missing nothing of that life is; a request is known if and only if its rows are; a stream made
//! under the name of a deleted one has none of its rows; what was once shown as durable stays.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use parking_lot::Mutex;
use tidemill_event::{Offset, PartitionId};
use tidemill_log::{Log, Partition, RequestState, Stream, Visibility};

use super::{ALL, definition, rows, stream_id};

/// Partitions of the stream; the last one gets rows only through a gathered source.
pub const PARTITIONS: u32 = 4;
pub const GATHERED: u32 = PARTITIONS - 1;
/// Who sends requests.
pub const WRITER: &str = "producer:life";

/// One entry, in the order of the queue.
pub struct Sent {
    /// The number of its request.
    pub request: u64,
    pub frames: Vec<(u32, Vec<i64>)>,
    /// Where its frames begin, once that was acknowledged.
    pub answer: Option<Vec<Offset>>,
}

/// What a partition held when it was last looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    pub trim_point: u64,
    pub ids: Vec<i64>,
}

/// What gathered sources handed over: ids, and the first offset once that was acknowledged.
pub type GatheredAnswers = Arc<Mutex<Vec<(Vec<i64>, Option<Offset>)>>>;

/// See the module's words. Kept apart from the log, as a client's own list would be.
#[derive(Default)]
pub struct Model {
    pub next_id: i64,
    /// Per life, what one thread queued.
    pub lives: Vec<Vec<Sent>>,
    /// What was handed over by gathered sources.
    pub gathered: GatheredAnswers,
    /// Per partition, the furthest trim point that was asked for.
    pub trims: BTreeMap<u32, u64>,
    /// A counter in a document: the last value that was acknowledged, and the last that was sent.
    pub counter: (u64, u64),
    /// How often the stream `brief` was deleted, as far as that was acknowledged, and as far as it was asked.
    pub brief: (i64, i64),
    /// Streams whose making was acknowledged.
    pub streams: Vec<String>,
    pub shown: BTreeMap<u32, Shown>,
}

/// Whether a frame is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    There,
    Missing,
    /// It would be among the rows that were trimmed.
    Unknown,
}

impl Model {
    /// Entries that were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.lives.iter().flatten().filter(|sent| sent.answer.is_some()).count()
    }

    /// Compares a log that has just recovered, and remembers what it shows. `Err` is a broken promise.
    pub fn check(&mut self, log: &Log) -> Result<(), String> {
        let counter = log.document("counter").map_or(0, |value| u64::from_le_bytes(value[..].try_into().expect("eight bytes")));
        let (acknowledged, sent) = self.counter;
        if !(acknowledged..=sent).contains(&counter) {
            return Err(format!("the counter is {counter}, acknowledged was {acknowledged}, sent {sent}"));
        }
        if let Some(lost) = self.streams.iter().find(|name| log.stream(&stream_id(name)).is_none()) {
            return Err(format!("stream `{lost}` is lost"));
        }
        self.check_brief(log)?;
        let Some(stream) = log.stream(&stream_id("events")) else {
            return if self.acknowledged() == 0 { Ok(()) } else { Err("stream `events` is lost".to_owned()) };
        };
        if *stream.definition() != definition(PARTITIONS) {
            return Err(format!("stream `events` is defined otherwise: {:?}", stream.definition()));
        }
        let mut found = BTreeMap::new();
        for number in 0..PARTITIONS {
            let partition = stream.partition(PartitionId(number)).expect("the partitions are fixed");
            let shown = read(partition).map_err(|error| format!("partition {number} cannot be read: {error}"))?;
            self.check_partition(number, &shown)?;
            found.insert(number, shown);
        }
        self.check_entries(log, &stream, &found)?;
        self.check_gathered(&found[&GATHERED])?;
        self.shown = found;
        Ok(())
    }

    /// What each partition shows in a log that was not cut since it was looked at: damage may take rows away, with an error, and
    /// change none. `true` if something was reported.
    pub fn check_damaged(&self, log: &Log) -> Result<bool, String> {
        let Some(stream) = log.stream(&stream_id("events")) else { return Err("stream `events` is gone".to_owned()) };
        let mut reported = false;
        for (number, shown) in &self.shown {
            let partition = stream.partition(PartitionId(*number)).expect("the partitions are fixed");
            let (found, stop) = read_some(partition);
            if !shown.ids.starts_with(&found.ids) || found.trim_point != shown.trim_point {
                return Err(format!("partition {number} shows {found:?}, and held {shown:?}"));
            }
            match stop {
                Stop::Reported(_) => reported = true,
                Stop::Wrong(what) => return Err(format!("partition {number} serves {what}")),
                Stop::End if found.ids.len() == shown.ids.len() => {}
                Stop::End => {
                    return Err(format!(
                        "partition {number} lost rows without a word: {} of {}",
                        found.ids.len(),
                        shown.ids.len()
                    ));
                }
            }
        }
        let counter = log.document("counter").map(|value| u64::from_le_bytes(value[..].try_into().expect("eight bytes")));
        if counter.unwrap_or(0) != self.counter.1 {
            return Err(format!("the counter is {counter:?}, and was {}", self.counter.1));
        }
        Ok(reported)
    }

    fn check_partition(&self, number: u32, found: &Shown) -> Result<(), String> {
        let asked = self.trims.get(&number).copied().unwrap_or(0);
        if found.trim_point > asked {
            return Err(format!("partition {number} was trimmed to {}, and asked for was {asked}", found.trim_point));
        }
        if let Some(pair) = found.ids.windows(2).find(|pair| pair[1] <= pair[0]) {
            return Err(format!("partition {number} has {} behind {}", pair[1], pair[0]));
        }
        let Some(before) = self.shown.get(&number) else { return Ok(()) };
        if found.trim_point < before.trim_point {
            return Err(format!("partition {number} is no longer trimmed to {}, but to {}", before.trim_point, found.trim_point));
        }
        let skip = (found.trim_point - before.trim_point) as usize;
        let kept = before.ids.get(skip..).unwrap_or_default();
        if !found.ids.starts_with(kept) {
            return Err(format!("partition {number} has shown {kept:?} and now shows {:?}", found.ids));
        }
        Ok(())
    }

    fn check_brief(&self, log: &Log) -> Result<(), String> {
        let Some(brief) = log.stream(&stream_id("brief")) else { return Ok(()) };
        let found = read(&brief.partitions()[0])?.ids;
        let (acknowledged, asked) = self.brief;
        let generation = found.first().map_or(asked, |first| first / 1_000);
        let expected: Vec<i64> = (generation * 1_000..generation * 1_000 + 9).take(found.len()).collect();
        if !(acknowledged..=asked).contains(&generation) || found != expected {
            return Err(format!("`brief` was deleted {acknowledged} to {asked} times, and has {found:?}"));
        }
        Ok(())
    }

    fn check_entries(&self, log: &Log, stream: &Stream, found: &BTreeMap<u32, Shown>) -> Result<(), String> {
        let mut places: HashMap<(u32, i64), usize> = HashMap::new();
        for (number, shown) in found.iter().filter(|(number, _)| **number != GATHERED) {
            places.extend(shown.ids.iter().enumerate().map(|(at, id)| ((*number, *id), at)));
        }
        for (life, entries) in self.lives.iter().enumerate() {
            let mut missing: Option<&Sent> = None;
            for sent in entries {
                let presence = self.entry(sent, found, &mut places).map_err(|what| format!("life {life}: {what}"))?;
                let state = log.request(stream, WRITER, Some(sent.request));
                let is_right = match (&state, presence) {
                    (_, Presence::Unknown) => true,
                    (RequestState::Seen(seen), Presence::There) => seen.answer.as_deref() == Some(&sent.request.to_le_bytes()),
                    // A retry of it is refused: right for what was taken, and for what was not when later ones were taken and forgotten.
                    (RequestState::Forgotten { through }, Presence::There | Presence::Missing) => sent.request <= *through,
                    (RequestState::New, Presence::Missing) => true,
                    (RequestState::Seen(_), Presence::Missing) | (RequestState::New, Presence::There) => false,
                };
                if !is_right {
                    return Err(format!("life {life}: request {} is {state:?}, and its rows are {presence:?}", sent.request));
                }
                match (presence, missing) {
                    (Presence::Missing, None) => missing = Some(sent),
                    (Presence::There, Some(gap)) => {
                        return Err(format!("life {life}: {:?} is there, {:?} before it is not", sent.frames, gap.frames));
                    }
                    (Presence::There | Presence::Missing | Presence::Unknown, _) => {}
                }
            }
        }
        match places.into_keys().next() {
            Some((number, id)) => Err(format!("partition {number} has {id}, which nobody sent there")),
            None => Ok(()),
        }
    }

    /// Takes the entry's rows out of `places`.
    fn entry(
        &self,
        sent: &Sent,
        found: &BTreeMap<u32, Shown>,
        places: &mut HashMap<(u32, i64), usize>,
    ) -> Result<Presence, String> {
        let mut whole: Option<Presence> = None;
        for (index, (number, ids)) in sent.frames.iter().enumerate() {
            let shown = &found[number];
            let there: Vec<Option<usize>> = ids.iter().map(|id| places.remove(&(*number, *id))).collect();
            let first = there.iter().position(Option::is_some);
            let trimmed = shown.trim_point > 0 && shown.ids.first().is_none_or(|first| ids[0] < *first);
            let presence = match first {
                Some(0) => Presence::There,
                Some(_) | None if trimmed => Presence::Unknown,
                None => Presence::Missing,
                Some(_) => return Err(format!("{ids:?} in partition {number} is there by half")),
            };
            let rest = &there[first.unwrap_or(0)..];
            if first.is_some() && !(0..rest.len()).all(|at| rest[at] == rest[0].map(|place| place + at)) {
                return Err(format!("{ids:?} in partition {number} is torn"));
            }
            if let Some(offset) = sent.answer.as_ref().map(|answer| answer[index].0) {
                let expected = offset.checked_sub(shown.trim_point).map(|at| at as usize);
                if presence != Presence::Unknown && expected != there[0] {
                    return Err(format!("{ids:?} was acknowledged at {number}/{offset} and is at {:?}", there[0]));
                }
            }
            if presence != Presence::Unknown {
                if whole.is_some_and(|whole| whole != presence) {
                    return Err(format!("an entry over two partitions is there by half: {:?}", sent.frames));
                }
                whole = Some(presence);
            }
        }
        Ok(whole.unwrap_or(Presence::Unknown))
    }

    fn check_gathered(&self, shown: &Shown) -> Result<(), String> {
        let gathered = self.gathered.lock();
        let sent: HashMap<i64, ()> = gathered.iter().flat_map(|(ids, _)| ids.iter().map(|id| (*id, ()))).collect();
        if let Some(id) = shown.ids.iter().find(|id| !sent.contains_key(id)) {
            return Err(format!("partition {GATHERED} has {id}, which nobody gathered"));
        }
        for (ids, offset) in gathered.iter() {
            let Some(at) = offset.map(|offset| offset.0) else { continue };
            let at = (at - shown.trim_point) as usize;
            if shown.ids.get(at..at + ids.len()) != Some(ids) {
                return Err(format!(
                    "gathered {ids:?} were acknowledged at {at} and are {:?}",
                    shown.ids.get(at..at + ids.len())
                ));
            }
        }
        Ok(())
    }
}

fn read(partition: &Partition) -> Result<Shown, String> {
    match read_some(partition) {
        (shown, Stop::End) => Ok(shown),
        (_, Stop::Reported(error)) => Err(error),
        (_, Stop::Wrong(what)) => Err(format!("it serves {what}")),
    }
}

/// Why a read of a partition stopped.
enum Stop {
    End,
    /// The log says that it cannot read on.
    Reported(String),
    /// It did not say so, and should have.
    Wrong(String),
}

/// Every durable id of a partition, up to the first error.
fn read_some(partition: &Partition) -> (Shown, Stop) {
    let mut shown = Shown { trim_point: partition.trim_point().0, ids: Vec::new() };
    let mut at = partition.trim_point();
    loop {
        match partition.read(at, ALL, Visibility::Durable) {
            Ok(Some(block)) => {
                if block.start != at {
                    return (shown, Stop::Wrong(format!("rows from {} to who asked for {at}", block.start)));
                }
                let Some(ids) = ids(&block.rows) else {
                    return (shown, Stop::Wrong(format!("rows at {at} that nobody wrote")));
                };
                at = at.plus(ids.len());
                shown.ids.extend(ids);
            }
            Ok(None) => return (shown, Stop::End),
            Err(error) => return (shown, Stop::Reported(error.to_string())),
        }
    }
}

/// The ids of rows, if everything else in them follows from those.
fn ids(found: &RecordBatch) -> Option<Vec<i64>> {
    let ids = found.column(0).as_primitive_opt::<Int64Type>()?.values().to_vec();
    let expected = rows(ids.iter().copied());
    let texts = |batch: &RecordBatch| super::texts(batch.column(1));
    (texts(found) == texts(&expected) && found.column(2) == expected.column(2)).then_some(ids)
}
