//! The webhook sink: batches of rows as signed HTTP requests. **Once per key**: a request that may have arrived is sent again with
//! the same rows under the same `webhook-id`, also after a crash, so that a receiver that remembers ids has each row once.
//!
//! ```text
//!  rows ─► batch ─► its range is durable ─► POST, webhook-id: msg_{life}-{partition}-{start}-{end} ─► 2xx: the next batch
//!                                             ▲                                                   └─► not now: wait, again
//!                                             └── address checked, signed, no redirects, no proxy         these rows never: halved
//! ```
//! Requests of a partition are in order, one at a time. What each answer means is in `answer.rs`, where requests may go in
//! `address.rs`, how they are signed in `signature.rs`.

mod address;
mod answer;
mod client;
mod resolver;
mod signature;
mod url;

use std::sync::Arc;
use std::time::Duration;

use tidemill_event::Offset;
use tidemill_log::Block;

pub use self::client::WebhookTarget;
pub use self::url::WebhookUrl;
use crate::ndjson::encode_rows;
use crate::{Added, BatchKey, Promise, Sink, SinkError};

/// Rows that are encoded before it is looked whether there is room for more.
const CHUNK_ROWS: usize = 64;

/// How rows stand in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFormat {
    /// A JSON object a line, `application/x-ndjson`.
    Ndjson,
    /// One JSON array, `application/json`.
    Json,
}

/// A text that stands in the pipeline, or a secret's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given<T> {
    /// Here it is.
    Plain(T),
    /// The first line of this secret.
    Secret(String),
}

/// What a webhook is told by its pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Where requests go.
    pub url: Given<WebhookUrl>,
    /// The secret whose lines sign them.
    pub secret: Option<String>,
    /// Further headers: names in lower case, checked when the pipeline is read.
    pub headers: Vec<(String, Given<String>)>,
    /// How rows stand in them.
    pub format: BodyFormat,
    /// How long one may take, from the look-up of the name to the end of the answer.
    pub timeout: Duration,
}

impl WebhookSettings {
    /// How the target is called where anybody may see it.
    pub fn place(&self) -> String {
        match &self.url {
            Given::Plain(url) => url.to_string(),
            Given::Secret(name) => format!("secret {name}"),
        }
    }
}

/// One partition's requests.
pub struct WebhookSink {
    target: Arc<WebhookTarget>,
    /// A line per row.
    lines: Vec<u8>,
}

impl WebhookSink {
    /// Sends to a target that other partitions may send to as well.
    pub fn new(target: Arc<WebhookTarget>) -> Self {
        Self { target, lines: Vec::new() }
    }
}

impl Sink for WebhookSink {
    fn promise(&self) -> Promise {
        Promise::OncePerKey
    }

    fn resume(&mut self) -> Result<Option<Offset>, SinkError> {
        Ok(None)
    }

    fn fits(&self, _block: &Block) -> bool {
        true
    }

    fn add(&mut self, block: &Block, room_bytes: u64) -> Result<Added, SinkError> {
        let begin = self.lines.len();
        let room = usize::try_from(room_bytes).unwrap_or(usize::MAX);
        let mut rows = 0;
        let mut chunk = Vec::new();
        while rows < block.rows.num_rows() {
            chunk.clear();
            encode_rows(block, rows..(rows + CHUNK_ROWS).min(block.rows.num_rows()), &mut chunk);
            for line in chunk.split_inclusive(|byte| *byte == b'\n') {
                let fits = self.lines.len() - begin + line.len() <= room;
                // At least one row is taken: a larger one would never fit.
                if !fits && rows > 0 {
                    return Ok(Added { rows, batch_bytes: self.lines.len() as u64 });
                }
                self.lines.extend_from_slice(line);
                rows += 1;
            }
        }
        Ok(Added { rows, batch_bytes: self.lines.len() as u64 })
    }

    fn commit(&mut self, key: &BatchKey<'_>) -> Result<(), SinkError> {
        self.target.send(&format!("msg_{key}"), &self.lines)?;
        self.lines.clear();
        Ok(())
    }

    fn discard(&mut self) {
        self.lines.clear();
    }
}
