//! Tables that are kept up to date from a stream: the last row of each key.
//!
//! ```text
//! stream `prices`  0 ──────────────── base 3 ──────────────────────── cut ─────► rows as they come
//!                                        │  tables/….table               │
//!                                        └── state as of its offsets ────┴── rows taken since: in memory
//! ```
//! A version is a cut of the stream: an end offset for each partition. What is looked up at a cut is a function of the rows before it, so a
//! commit that names the cut names the answer. A base is such a state written down like a put table; a replay begins at the base its commit
//! names and takes the rows up to the cut again. Bases are kept by need, and the rows behind the oldest of them are held in the stream.
//!
//! Whoever looks up takes in what has come (`KeptTable::catch_up`): a row that was in the stream before a batch was taken is met by it. The
//! keeper (`keeper.rs`) does the same when nobody looks up, and what takes longer: large layers, and bases.

mod keeper;
mod make;
mod source;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::BooleanArray;
use arrow_array::RecordBatch;
use arrow_buffer::BooleanBuffer;
use arrow_select::filter::filter_record_batch;
use parking_lot::{Mutex, RwLock};
use tidemill_event::Field;
use tidemill_flow::{GONE_KEPT_MICROS, LatestLookup, LatestRows, LookupTable};
use tidemill_log::Listening;

use crate::pipeline::Matching;
use crate::tables::{TableContent, TableUse, TableVersion};

pub(crate) use keeper::Keeper;
pub(super) use make::KeptEntry;
pub use make::{FromStream, KeptStatus};
pub(crate) use source::{KeptError, KeptSource};

/// Whoever reads a table waits so long for its rows to be on disk.
const DURABLE_WAIT: Duration = Duration::from_secs(10);
/// Layers that are made one by whoever looks up; larger ones wait for the keeper.
const SETTLED_AT_ONCE: usize = 1 << 16;

/// The last rows as of a cut. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct KeptState {
    pub(super) rows: LatestRows,
    /// An end offset for each partition.
    pub(crate) cut: Vec<u64>,
    /// The latest event time of each partition, µs.
    pub(super) newest: Vec<i64>,
}

impl KeptState {
    /// Whether no partition is further than there.
    fn is_before(&self, cut: &[u64]) -> bool {
        self.cut.len() == cut.len() && self.cut.iter().zip(cut).all(|(own, other)| own <= other)
    }

    /// How far it is: the cut, and the latest times.
    pub(super) fn told(&self) -> (Vec<u64>, Vec<i64>) {
        (self.cut.clone(), self.newest.clone())
    }

    /// Keys that went before this are in no base.
    fn forgotten_before(&self) -> i64 {
        self.newest.iter().min().map_or(i64::MIN, |newest| newest.saturating_sub(GONE_KEPT_MICROS))
    }
}

/// What a version of a kept table is.
#[derive(Clone)]
pub(crate) struct KeptRows {
    source: Arc<KeptSource>,
    pub(crate) state: KeptState,
}

impl std::fmt::Debug for KeptRows {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KeptRows").field("cut", &self.state.cut).finish_non_exhaustive()
    }
}

impl KeptRows {
    pub(crate) fn fields(&self) -> &[Field] {
        &self.source.fields
    }

    /// As a step looks it up. The error says what it cannot be found by.
    pub(crate) fn looked_up(&self, wanted: &TableUse) -> Result<Arc<dyn LookupTable>, String> {
        let key: Vec<&Field> = self.source.key().iter().map(|at| &self.source.fields[*at]).collect();
        let names: Vec<&str> = key.iter().map(|field| &*field.name).collect();
        let place = |field: &&Field| wanted.on.iter().position(|on| on.name == field.name && on.ty.arrow() == field.ty.arrow());
        let places: Option<Vec<usize>> = key.iter().map(place).collect();
        let Some(keys) = places.filter(|keys| wanted.matching == Matching::Equal && keys.len() == wanted.on.len()) else {
            return Err(format!(
                "it is kept from a stream and found by its whole key alone, [{}], as `column = {}`",
                names.join(", "),
                names[0]
            ));
        };
        let column = |field: &Field| {
            let at = self.source.fields.iter().position(|own| own.name == field.name && own.ty.arrow() == field.ty.arrow());
            at.ok_or_else(|| format!("there is no column `{}` of its type", field.name))
        };
        let take = wanted.take.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(LatestLookup::new(self.state.rows.clone(), keys, take)))
    }

    /// How many keys have a row.
    pub(crate) fn len(&self) -> usize {
        self.state.rows.len()
    }

    /// The rows there are, by key.
    pub(crate) fn content(&self) -> TableContent {
        let (rows, _, gone) = self.state.rows.in_order(i64::MAX);
        let live = filter_record_batch(&rows, &BooleanArray::new(!&gone, None)).expect("a mask of its length");
        self.table(&live)
    }

    /// All of it, as a base is written.
    fn base(&self) -> TableContent {
        let (rows, times, gone) = self.state.rows.in_order(self.state.forgotten_before());
        TableContent { history: Some((times.to_vec(), gone)), ..self.table(&rows) }
    }

    fn table(&self, rows: &RecordBatch) -> TableContent {
        let key = self.source.key().iter().map(|at| self.source.fields[*at].name.clone()).collect();
        TableContent::new(self.source.fields.clone(), key, rows.columns().to_vec(), rows.num_rows())
    }
}

/// A kept table while the host runs.
pub(crate) struct KeptTable {
    source: Arc<KeptSource>,
    /// Whoever takes rows in holds it.
    master: Mutex<Master>,
    current: RwLock<Arc<TableVersion>>,
    error: Mutex<Option<KeptError>>,
    _listening: Vec<Listening>,
}

struct Master {
    state: KeptState,
    /// The newest base, and how many rows were taken in since then.
    base: u64,
    taken: u64,
    /// The next base is not tried before that.
    not_before: Option<Instant>,
}

impl std::fmt::Debug for KeptTable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KeptTable").field("stream", self.source.stream.id()).finish_non_exhaustive()
    }
}

impl KeptTable {
    /// That goes on from a state, which stands on the base of that number.
    fn new(source: Arc<KeptSource>, base: u64, state: KeptState, taken: u64, listening: Vec<Listening>) -> Self {
        let rows = KeptRows { source: source.clone(), state: state.clone() };
        let current = RwLock::new(Arc::new(TableVersion::kept(base, rows)));
        Self {
            source,
            master: Mutex::new(Master { state, base, taken, not_before: None }),
            current,
            error: Mutex::default(),
            _listening: listening,
        }
    }

    /// As far as it is.
    pub(crate) fn current(&self) -> Arc<TableVersion> {
        self.current.read().clone()
    }

    /// As far as it is, once all of that is on disk: what leaves the host stands. Blocking, for as long as a write takes.
    pub(crate) fn durable(&self) -> Result<Arc<TableVersion>, String> {
        let current = self.current();
        let until = Instant::now() + DURABLE_WAIT;
        while !self.source.is_durable(current.cut().unwrap_or_default()) {
            if Instant::now() >= until {
                return Err("the host's disk does not keep up: its rows are not on it".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(current)
    }

    /// Rows came that this version does not have.
    pub(crate) fn is_behind(&self, version: &TableVersion) -> bool {
        version.cut().is_none_or(|cut| self.source.ends().iter().zip(cut).any(|(end, own)| end > own))
    }

    /// Takes in what has come. The error stays until it is made again.
    pub(crate) fn catch_up(&self) -> Result<Arc<TableVersion>, KeptError> {
        let to = self.source.ends();
        if !self.is_behind(&self.current()) {
            return Ok(self.current());
        }
        let mut master = self.master.lock();
        if let Some(error) = self.error.lock().clone() {
            return Err(error);
        }
        let before: u64 = master.state.cut.iter().sum();
        let advanced = self.source.advance(&mut master.state, &to, SETTLED_AT_ONCE);
        master.taken += master.state.cut.iter().sum::<u64>() - before;
        if let Err(error) = advanced {
            *self.error.lock() = Some(error.clone());
            return Err(error);
        }
        Ok(self.publish(&master))
    }

    fn publish(&self, master: &Master) -> Arc<TableVersion> {
        let rows = KeptRows { source: self.source.clone(), state: master.state.clone() };
        let version = Arc::new(TableVersion::kept(master.base, rows));
        *self.current.write() = version.clone();
        version
    }

    /// As of a cut, from a state that is not behind it.
    pub(crate) fn as_of(&self, base: u64, mut state: KeptState, cut: &[u64]) -> Result<Arc<TableVersion>, String> {
        self.source.advance(&mut state, cut, usize::MAX).map_err(|error| error.text().to_owned())?;
        Ok(Arc::new(TableVersion::kept(base, KeptRows { source: self.source.clone(), state })))
    }

    /// What was written of a base.
    pub(crate) fn read_base(&self, content: TableContent, cut: Vec<u64>, newest: Vec<i64>) -> Result<KeptState, String> {
        base_state(&self.source, content, cut, newest)
    }

    /// Whether a state can go on to a cut.
    pub(crate) fn leads_to(state: &KeptState, cut: &[u64]) -> bool {
        state.is_before(cut)
    }

    /// Why it does not go on.
    pub(crate) fn error(&self) -> Option<KeptError> {
        self.error.lock().clone()
    }

    /// Rows of the stream that it has not taken in.
    pub(crate) fn lag(&self) -> u64 {
        let current = self.current();
        let cut = current.cut().unwrap_or_default();
        self.source.ends().iter().zip(cut).map(|(end, own)| end.saturating_sub(*own)).sum()
    }
}

fn base_state(source: &KeptSource, content: TableContent, cut: Vec<u64>, newest: Vec<i64>) -> Result<KeptState, String> {
    let (times, gone) = content.history.unwrap_or_else(|| {
        let rows = content.rows.num_rows();
        (vec![i64::MIN; rows], BooleanBuffer::new_unset(rows))
    });
    let partitions = source.stream.partitions().len();
    if cut.len() != partitions || newest.len() != partitions || content.fields != source.fields {
        return Err("what is written of it is of another stream".to_owned());
    }
    Ok(source.state_of(content.rows, times, gone, cut, newest))
}
