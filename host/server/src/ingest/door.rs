//! One stream's way in: the builder that concurrent small requests share, spare decoders for large ones, placement.
//!
//! ```text
//! request ─ row ─┐                                    ┌─ take() by the journal's writer ─ one frame per partition
//! request ─ row ─┼─▶ open builder ── announced once ──┤                                      │ on disk
//! request ─ row ─┘   (a fill)                         └─ every waiter of the fill is told ◀──┘  (teller)
//! ```
//! There is no timer: the first row of a fill announces it, and the writer takes whatever is there when it forms its next group.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow_array::RecordBatch;
use parking_lot::{Mutex, RwLock};
use tidemill_event::json::RowDecoder;
use tidemill_event::{Placement, SchemaVersion, StreamDefinition, StreamId, StreamName, TenantName, rejection_definition};
use tidemill_log::{Append, AppendError, FrameRows, Gathered, Log, Stream, StreamError};
use tokio::sync::oneshot;

use super::retry::Turns;
use super::teller::Teller;
use crate::bounds::{DECODE_LIMITS, FILL_BYTES_MAX, SPARE_DECODERS_MAX};
use crate::problem::{Kind, Problem};

/// Told to every waiter of a fill: its rows are on disk, or will never be acknowledged.
pub(crate) type Settled = Result<(), NotKept>;

/// Why rows of a fill were not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotKept {
    /// There was no room in the journal's queue: nothing of them was taken.
    Overloaded,
    /// The disk is nearly full: nothing of them was taken.
    DiskFull,
    /// The log has stopped: they may be on disk or not.
    Stopped,
}

impl NotKept {
    pub(crate) fn problem(self) -> Problem {
        match self {
            Self::Overloaded => Problem::overloaded("the journal's queue is full"),
            Self::DiskFull => Problem::disk_full(),
            Self::Stopped => Problem::stopping(),
        }
    }
}

/// A decoder with the schema version it decodes for.
pub(crate) struct Versioned {
    pub(crate) version: SchemaVersion,
    pub(crate) decoder: RowDecoder,
}

impl Versioned {
    fn new(stream: &Stream) -> Self {
        let version = stream.version();
        Self { version, decoder: RowDecoder::new(definition_at(stream, version), DECODE_LIMITS) }
    }
}

/// The stream as that version of its schema says; as it is now, if it does not know the version any more.
fn definition_at(stream: &Stream, version: SchemaVersion) -> Arc<StreamDefinition> {
    stream.definition_at(version).unwrap_or_else(|| stream.definition())
}

/// The rows that small requests have added since the writer took the last ones.
struct Fill {
    rows: Versioned,
    waiters: Vec<oneshot::Sender<Settled>>,
    announced: bool,
}

/// One stream's way in.
pub(crate) struct Door {
    log: Log,
    stream: Arc<Stream>,
    fill: Mutex<Fill>,
    spare: Mutex<Vec<Versioned>>,
    /// By the version of the schema that rows were placed by last: an undeclared key has a column only once a row had it.
    placement: Mutex<(SchemaVersion, Placement)>,
    /// Held while an undeclared stream's schema is widened, so that two requests do not widen the same one.
    pub(crate) widening: Mutex<()>,
    rejected: Mutex<Option<Arc<Stream>>>,
    turns: Arc<Turns>,
    teller: Arc<Teller>,
}

impl Door {
    fn new(log: Log, stream: Arc<Stream>, teller: Arc<Teller>) -> Self {
        let rows = Versioned::new(&stream);
        let placement = Mutex::new((rows.version, Placement::new(&definition_at(&stream, rows.version))));
        let fill = Fill { rows, waiters: Vec::new(), announced: false };
        Self {
            log,
            fill: Mutex::new(fill),
            spare: Mutex::default(),
            placement,
            widening: Mutex::default(),
            rejected: Mutex::default(),
            turns: Arc::default(),
            teller,
            stream,
        }
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// The named requests that are being taken.
    pub(crate) fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }

    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Lets `decode` add rows to the shared builder. If it added any, the answer comes through the receiver; `None` if not.
    /// `bytes` is the most that may be added; a fill without that room is refused as overloaded.
    pub(crate) fn share(
        self: &Arc<Self>,
        bytes: usize,
        decode: impl FnOnce(&mut RowDecoder),
    ) -> Result<Option<oneshot::Receiver<Settled>>, NotKept> {
        self.log.room(&self.stream).map_err(|refused| match refused {
            AppendError::DiskFull => NotKept::DiskFull,
            _ => NotKept::Overloaded,
        })?;
        let mut fill = self.fill.lock();
        if fill.rows.version != self.stream.version() {
            self.renew(&mut fill);
        }
        if fill.rows.decoder.bytes() + bytes > FILL_BYTES_MAX {
            return Err(NotKept::Overloaded);
        }
        let before = fill.rows.decoder.rows();
        decode(&mut fill.rows.decoder);
        if fill.rows.decoder.rows() == before {
            return Ok(None);
        }
        let (waiter, settled) = oneshot::channel();
        fill.waiters.push(waiter);
        let first = !std::mem::replace(&mut fill.announced, true);
        drop(fill);
        if first {
            self.log.announce(self.clone());
        }
        Ok(Some(settled))
    }

    /// The schema has a new version: rows decoded for the old one are appended as they are, new ones get a new decoder.
    fn renew(&self, fill: &mut Fill) {
        let old = std::mem::replace(&mut fill.rows, self.decoder());
        let waiters = std::mem::take(&mut fill.waiters);
        if let Some(append) = self.seal(old, waiters) {
            // A refusal reaches the waiters by their dropped senders.
            if let Err(refusal) = self.log.append(append) {
                tracing::warn!(stream = %self.stream.id(), %refusal, "rows gathered before a change of schema were refused");
            }
        }
    }

    /// What a decoder holds as an append that tells the waiters; the decoder is kept for later. `None` if it holds nothing.
    fn seal(&self, mut rows: Versioned, waiters: Vec<oneshot::Sender<Settled>>) -> Option<Append> {
        let append = (rows.decoder.rows() > 0).then(|| {
            let frames = self.frames(rows.version, rows.decoder.finish());
            let teller = self.teller.clone();
            let tell = move |answer: tidemill_log::Appended| {
                teller.tell(waiters, answer.map(|_| ()).map_err(|_| NotKept::Stopped));
            };
            Append { frames, atomic: false, requests: Vec::new(), on_durable: Some(Box::new(tell)) }
        });
        self.give_back(rows);
        append
    }

    /// The rows as frames of the partitions they belong to.
    pub(crate) fn frames(&self, version: SchemaVersion, rows: RecordBatch) -> Vec<FrameRows> {
        let placed = {
            let mut placement = self.placement.lock();
            if placement.0 != version {
                *placement = (version, placement.1.renewed(&definition_at(&self.stream, version)));
            }
            placement.1.split(rows)
        };
        placed
            .into_iter()
            .filter(|(_, rows)| rows.num_rows() > 0)
            .map(|(partition, rows)| FrameRows { stream: self.stream.clone(), version, partition, rows })
            .collect()
    }

    /// An empty decoder for the newest schema.
    pub(crate) fn decoder(&self) -> Versioned {
        let newest = self.stream.version();
        let mut spare = self.spare.lock();
        while let Some(decoder) = spare.pop() {
            if decoder.version == newest {
                return decoder;
            }
        }
        drop(spare);
        Versioned::new(&self.stream)
    }

    /// Keeps an empty decoder for the next request.
    pub(crate) fn give_back(&self, decoder: Versioned) {
        let mut spare = self.spare.lock();
        if decoder.decoder.rows() == 0 && spare.len() < SPARE_DECODERS_MAX {
            spare.push(decoder);
        }
    }

    /// `{stream}.rejected`, made when the first row is rejected. Blocks until it is durable the first time.
    pub(crate) fn rejected_stream(&self) -> Result<Arc<Stream>, StreamError> {
        let mut rejected = self.rejected.lock();
        if let Some(stream) = rejected.as_ref().filter(|stream| !stream.is_deleted()) {
            return Ok(stream.clone());
        }
        let own = self.stream.id();
        let id = StreamId::new(own.tenant.clone(), StreamName::derived(own.stream.as_str(), "rejected"));
        let stream = match self.log.stream(&id) {
            Some(stream) => stream,
            None => match self.log.create_stream(&id, rejection_definition(1)) {
                Err(StreamError::Exists(_)) => self.log.stream(&id).ok_or(StreamError::Missing(id))?,
                made => made?,
            },
        };
        *rejected = Some(stream.clone());
        Ok(stream)
    }
}

impl Gathered for Door {
    fn tenant(&self) -> &TenantName {
        &self.stream.id().tenant
    }

    fn take(&self) -> Option<Append> {
        let empty = self.decoder();
        let mut fill = self.fill.lock();
        let rows = std::mem::replace(&mut fill.rows, empty);
        let waiters = std::mem::take(&mut fill.waiters);
        fill.announced = false;
        drop(fill);
        self.seal(rows, waiters)
    }
}

/// One tenant's doors by the names of their streams.
type ByName = HashMap<Box<str>, Arc<Door>>;

/// The doors of all streams that were sent to since the start.
pub(crate) struct Doors {
    log: Log,
    open: RwLock<HashMap<TenantName, ByName>>,
    teller: Arc<Teller>,
}

impl Doors {
    pub(crate) fn new(log: Log) -> Self {
        Self { log, open: RwLock::default(), teller: Arc::new(Teller::new()) }
    }

    /// Tells small requests that they are on disk, as long as the service runs it.
    pub(crate) fn attend(&self) -> impl Future<Output = ()> + use<> {
        self.teller.clone().attend()
    }

    /// The door of a stream that a client may send to.
    pub(crate) fn find(&self, tenant: &TenantName, name: &str) -> Result<Arc<Door>, Problem> {
        let open = |door: &&Arc<Door>| !door.stream().is_deleted();
        if let Some(door) = self.open.read().get(tenant).and_then(|doors| doors.get(name)).filter(open) {
            return Ok(door.clone());
        }
        let stream = StreamName::from_client(name).map_err(|error| {
            Problem::new(Kind::BadParameter, format!("the stream's name: {error}"), "events go to a stream of your own")
        })?;
        let id = StreamId::new(tenant.clone(), stream);
        let stream = self.log.stream(&id).ok_or_else(|| Problem::unknown_stream(name))?;
        let mut open = self.open.write();
        let doors = open.entry(tenant.clone()).or_default();
        let made = || Arc::new(Door::new(self.log.clone(), stream, self.teller.clone()));
        // Of a stream that was deleted, the door leads nowhere: the name may be another stream's by now.
        let door = match doors.entry(name.into()) {
            Entry::Occupied(mut known) => {
                if known.get().stream().is_deleted() {
                    known.insert(made());
                }
                known.into_mut()
            }
            Entry::Vacant(place) => place.insert(made()),
        };
        Ok(door.clone())
    }
}
