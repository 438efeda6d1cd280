//! What a task takes: one partition of each of its streams, and how far it is in each.
//!
//! A batch is rows of one input, so a commit names one range of one stream; the order of commits is the order in which the inputs were
//! taken, and a replay takes the same. Which input is next is decided by turns and by what has rows: by the log, not by the task.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use tidemill_event::batch::conform;
use tidemill_event::{Offset, StreamSchema};
use tidemill_log::{Block, Partition, ReadError, ReadLimit, Visibility};

use crate::pipeline::OnTrim;
use crate::plan::{Plan, PlannedSource};
use crate::task::record::Checkpoint;

/// What a worker needs to make an input.
#[derive(Clone)]
pub(crate) struct InputSeed {
    /// What it is called in what is kept of the run.
    pub(crate) name: Arc<str>,
    /// Its place among what the stage reads.
    pub(crate) number: usize,
    /// How many tasks of the stage before write it; 0: clients and other pipelines do.
    pub(crate) writers: u32,
    pub(crate) partition: Arc<Partition>,
    /// Where the run begins, and where a `once` ends.
    pub(crate) start: Offset,
    pub(crate) end: Option<Offset>,
    /// Places that plans before this one recorded do not count.
    pub(crate) since: u64,
}

/// One stream of a task.
pub(super) struct Input {
    name: Arc<str>,
    number: usize,
    writers: u32,
    pub(super) partition: Arc<Partition>,
    pub(super) next: Offset,
    end: Option<Offset>,
    /// Those who write it have come to their end.
    is_closed: bool,
    goes_on: bool,
}

impl Input {
    /// Where the checkpoint left it, else where the run begins.
    fn new(seed: InputSeed, checkpoint: Option<&Checkpoint>) -> Self {
        let InputSeed { name, number, writers, partition, start, end, since } = seed;
        let left = checkpoint.filter(|checkpoint| checkpoint.plan >= since).and_then(|checkpoint| checkpoint.input.get(&*name));
        let next = left.map_or(start, |left| Offset(*left));
        let goes_on = left.is_some();
        Self { name, number, writers, partition, next, end, is_closed: false, goes_on }
    }

    /// What it is called in commits and checkpoints: its stream, and where a join reads that a second time, `flights as b`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its place among what the stage reads.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// How many tasks of the stage before write it; 0: clients and other pipelines do.
    pub(super) fn writers(&self) -> u32 {
        self.writers
    }

    /// No rows of it, as the plan knows them.
    pub(super) fn no_rows(&self, plan: &Plan) -> RecordBatch {
        RecordBatch::new_empty(Arc::new(plan.sources.schema_of(self.number).arrow()))
    }

    /// The stream's name.
    pub(super) fn stream(&self) -> &str {
        self.partition.key().stream.stream.as_str()
    }

    /// What the plan says of it; `None`: the stage before writes it.
    pub(super) fn source<'a>(&self, plan: &'a Plan) -> Option<&'a PlannedSource> {
        (self.writers == 0).then(|| &plan.sources.list[self.number])
    }

    pub(super) fn on_trim(&self, plan: &Plan) -> OnTrim {
        self.source(plan).map_or(OnTrim::Stop, |source| source.on_trim)
    }

    /// The checkpoint knew it: it is not read anew.
    pub(super) fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// There are rows to take now.
    pub(super) fn has_rows(&self) -> bool {
        !self.is_at_end() && self.partition.end(Visibility::Sequenced) > self.next
    }

    /// It is read up to somewhere, and has come there.
    pub(super) fn is_at_end(&self) -> bool {
        let is_last = || self.next >= self.partition.end(Visibility::Sequenced);
        self.end.is_some_and(|end| self.next >= end) || (self.is_closed && is_last())
    }

    /// The next rows, in the journal's order; `None` if there are none now.
    fn read(&self, rows_max: usize, bytes_max: usize) -> Result<Option<Block>, ReadError> {
        let left = self.end.map_or(usize::MAX, |end| usize::try_from(end.0.saturating_sub(self.next.0)).unwrap_or(usize::MAX));
        if left == 0 {
            return Ok(None);
        }
        self.partition.read(self.next, ReadLimit { rows_max: rows_max.min(left), bytes_max }, Visibility::Sequenced)
    }

    /// Rows as the plan knows them, whatever the stream and the version they were written at.
    pub(super) fn planned(&self, plan: &Plan, rows: &RecordBatch, schema: &StreamSchema) -> Result<RecordBatch, String> {
        // What the stage before writes is taken apart later.
        if self.writers > 0 {
            return Ok(rows.clone());
        }
        let planned = plan.sources.schema_of(self.number);
        if schema == planned {
            return Ok(rows.clone());
        }
        conform(rows, schema, planned).map_err(|error| {
            let stream = self.stream();
            format!("`{stream}` changed its columns so that they do not fit this plan ({error}): apply the pipeline again")
        })
    }
}

/// All inputs of a task.
pub(super) struct Inputs {
    list: Vec<Input>,
    /// The one that is asked first.
    turn: usize,
}

impl Inputs {
    pub(super) fn new(seeds: Vec<InputSeed>, checkpoint: Option<&Checkpoint>) -> Self {
        Self { list: seeds.into_iter().map(|seed| Input::new(seed, checkpoint)).collect(), turn: 0 }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Input> {
        self.list.iter()
    }

    pub(super) fn get(&self, at: usize) -> &Input {
        &self.list[at]
    }

    pub(super) fn named(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|input| input.name() == name)
    }

    /// The input was taken up to there; the others come first now.
    pub(super) fn took(&mut self, at: usize, next: Offset) {
        self.list[at].next = next;
        self.turn = at + 1;
    }

    /// Those who write for this stage have come to their end.
    pub(super) fn close(&mut self) {
        self.list.iter_mut().filter(|input| input.writers > 0).for_each(|input| input.is_closed = true);
    }

    /// A `once` that is through.
    pub(super) fn is_at_end(&self) -> bool {
        self.list.iter().all(Input::is_at_end)
    }

    /// All of them, the one whose turn it is first.
    pub(super) fn in_turn(&self) -> Vec<usize> {
        let count = self.list.len();
        (0..count).map(|step| (self.turn + step) % count).collect()
    }

    /// The first of these inputs that has rows, and they; or that cannot be read.
    pub(super) fn read(&self, order: &[usize], rows_max: usize, bytes_max: usize) -> Option<(usize, Result<Block, ReadError>)> {
        order.iter().find_map(|at| {
            let read = self.list[*at].read(rows_max, bytes_max).transpose()?;
            Some((*at, read))
        })
    }

    /// The next row of each, by name.
    pub(super) fn places(&self) -> BTreeMap<String, u64> {
        self.list.iter().map(|input| (input.name().to_owned(), input.next.0)).collect()
    }
}
