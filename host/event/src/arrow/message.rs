//! The messages of an IPC stream that arrives in chunks.
//!
//! ```text
//! | ffffffff | length i32 | header: a flatbuffer | body, as long as the header says |      length 0: the stream's end
//! ```

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::Buffer;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{Message, MessageHeader, RecordBatch};
use arrow_schema::{ArrowError, SchemaRef};

use super::Table;
use super::check::{check_batch, check_schema};
use super::packed::unpacked_bytes;

/// The header of a message. Beyond: the stream is refused.
const HEADER_BYTES_MAX: usize = 1 << 20;
/// The body of a message: it is held whole. Beyond: the stream is refused.
const BODY_BYTES_MAX: usize = 32 << 20;
/// Dictionaries a stream may have at once, and the bytes of all of them. Beyond: the stream is refused.
const DICTIONARIES_MAX: usize = 1_000;
const DICTIONARY_BYTES_MAX: usize = 32 << 20;
/// Buffers that are packed inside a message may become so many times what came, and so much in any case: as packed bodies may.
/// Beyond: the stream is refused.
const UNPACKED_RATIO_MAX: u64 = 100;
const UNPACKED_FREE_BYTES: u64 = 1 << 20;
/// A delta copies the dictionary that it adds to. So many bytes may be copied for nothing, and so many more for each byte that came.
/// Beyond: the stream is refused.
const COPIED_FREE_BYTES: u64 = 1 << 30;
const COPIED_BYTES_MAX_PER_BYTE: u64 = 100;

/// A stream that cannot be read on. Tables before it stand; a retry cannot help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct TableFault {
    /// What is wrong and what to change.
    pub error: String,
    /// Whether it is only too large.
    pub is_too_large: bool,
}

impl TableFault {
    pub(super) fn new(error: impl Into<String>) -> Self {
        Self { error: error.into(), is_too_large: false }
    }

    pub(super) fn too_large(error: impl Into<String>) -> Self {
        Self { error: error.into(), is_too_large: true }
    }
}

impl From<ArrowError> for TableFault {
    fn from(error: ArrowError) -> Self {
        Self::new(format!("the message holds no columns as its header says: {error}"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Four bytes: the mark, or the length of the header as old writers begin.
    Mark,
    /// Four bytes: the length of the header.
    Length,
    Header {
        bytes: usize,
    },
    Body {
        header_bytes: usize,
        bytes: usize,
    },
    End,
}

/// Reads one stream. Holds one message and the dictionaries.
#[derive(Debug)]
pub struct TableReader {
    state: State,
    held: Vec<u8>,
    schema: Option<SchemaRef>,
    dictionaries: HashMap<i64, ArrayRef>,
    dictionary_bytes: HashMap<i64, usize>,
    came_bytes: u64,
    copied_bytes: u64,
    unpacked_bytes: u64,
}

impl Default for TableReader {
    fn default() -> Self {
        Self::new()
    }
}

impl TableReader {
    /// A reader at the beginning of a stream.
    pub fn new() -> Self {
        Self {
            state: State::Mark,
            held: Vec::new(),
            schema: None,
            dictionaries: HashMap::new(),
            dictionary_bytes: HashMap::new(),
            came_bytes: 0,
            copied_bytes: 0,
            unpacked_bytes: 0,
        }
    }

    /// Bytes that it holds: of a message that is not whole, and of dictionaries.
    pub fn held_bytes(&self) -> usize {
        self.held.len() + self.dictionary_bytes.values().sum::<usize>()
    }

    /// Takes the next bytes and calls `each` with every table that ends in them, in order. After a fault nothing more may be pushed.
    pub fn push(&mut self, mut chunk: &[u8], each: &mut dyn FnMut(&Table)) -> Result<(), TableFault> {
        loop {
            let wanted = match self.state {
                State::Mark | State::Length => 4,
                State::Header { bytes } => bytes,
                State::Body { header_bytes, bytes } => header_bytes + bytes,
                State::End if chunk.is_empty() => return Ok(()),
                State::End => return Err(TableFault::new("something follows the end of the stream: send one stream a request")),
            };
            let missing = wanted - self.held.len();
            let (part, rest) = chunk.split_at(missing.min(chunk.len()));
            self.held.extend_from_slice(part);
            self.came_bytes += part.len() as u64;
            chunk = rest;
            if part.len() < missing {
                return Ok(());
            }
            self.step(each)?;
        }
    }

    /// Ends the body. A stream may lack its end mark, but not the rest of a message, nor its schema.
    pub fn finish(&self) -> Result<(), TableFault> {
        match self.state {
            _ if self.schema.is_none() => {
                Err(TableFault::new("the body holds no schema: send a whole Arrow IPC stream (not a file)"))
            }
            State::End => Ok(()),
            State::Mark if self.held.is_empty() => Ok(()),
            State::Mark | State::Length | State::Header { .. } | State::Body { .. } => {
                Err(TableFault::new("the body ends inside a message: send the stream whole"))
            }
        }
    }

    /// What was waited for has come.
    fn step(&mut self, each: &mut dyn FnMut(&Table)) -> Result<(), TableFault> {
        self.state = match self.state {
            State::Mark if self.held == [0xff; 4] => State::Length,
            State::Mark | State::Length => {
                if self.held == *b"ARRO" {
                    return Err(TableFault::new("this is an Arrow IPC file: send the stream format (`.arrows`)"));
                }
                let length = self.held.first_chunk::<4>().map_or(0, |bytes| i32::from_le_bytes(*bytes));
                match usize::try_from(length) {
                    Ok(0) => State::End,
                    Ok(bytes) if bytes <= HEADER_BYTES_MAX => State::Header { bytes },
                    Ok(_) if self.state == State::Mark => return Err(TableFault::new("this is no Arrow IPC stream")),
                    Ok(bytes) => {
                        let error =
                            format!("a message's header of {bytes} bytes is longer than {HEADER_BYTES_MAX}: send fewer columns");
                        return Err(TableFault::too_large(error));
                    }
                    Err(_) => return Err(TableFault::new("this is no Arrow IPC stream: a message begins with its length")),
                }
            }
            State::Header { bytes: header_bytes } => {
                let length = message(&self.held)?.bodyLength();
                match usize::try_from(length) {
                    Ok(bytes) if bytes <= BODY_BYTES_MAX => {
                        self.state = State::Body { header_bytes, bytes };
                        return if bytes == 0 { self.step(each) } else { Ok(()) };
                    }
                    Ok(bytes) => {
                        let error =
                            format!("a record batch of {bytes} bytes is larger than {BODY_BYTES_MAX}: write smaller batches");
                        return Err(TableFault::too_large(error));
                    }
                    Err(_) => return Err(TableFault::new("a message's body has a negative length")),
                }
            }
            State::Body { header_bytes, .. } => {
                let held = std::mem::take(&mut self.held);
                self.message(&held[..header_bytes], &held[header_bytes..], each)?;
                State::Mark
            }
            State::End => State::End,
        };
        self.held.clear();
        Ok(())
    }

    fn message(&mut self, header: &[u8], body: &[u8], each: &mut dyn FnMut(&Table)) -> Result<(), TableFault> {
        let message = message(header)?;
        let version = message.version();
        match (message.header_type(), self.schema.clone()) {
            (MessageHeader::Schema, None) => {
                let schema = message.header_as_schema().ok_or_else(no_header)?;
                check_schema(&schema)?;
                let schema = guarded(|| Ok(arrow_ipc::convert::fb_to_schema(schema)))?;
                self.schema = Some(Arc::new(schema));
            }
            (MessageHeader::Schema, Some(_)) => return Err(TableFault::new("a second schema comes: send one stream a request")),
            (_, None) => return Err(TableFault::new("the stream does not begin with its schema")),
            (MessageHeader::DictionaryBatch, Some(schema)) => {
                let dictionary = message.header_as_dictionary_batch().ok_or_else(no_header)?;
                let values = dictionary.data().ok_or_else(no_header)?;
                check_batch(&values)?;
                let bytes = self.unpack(&values, body)?;
                let before = self.dictionary_bytes.get(&dictionary.id()).filter(|_| dictionary.isDelta()).copied().unwrap_or(0);
                self.dictionary_bytes.insert(dictionary.id(), before + bytes);
                self.copied_bytes += before as u64;
                if self.copied_bytes > COPIED_FREE_BYTES + self.came_bytes.saturating_mul(COPIED_BYTES_MAX_PER_BYTE) {
                    let error = "a large dictionary grows by many small deltas: write larger ones, or the dictionary whole";
                    return Err(TableFault::too_large(error));
                }
                if self.dictionary_bytes.len() > DICTIONARIES_MAX
                    || self.dictionary_bytes.values().sum::<usize>() > DICTIONARY_BYTES_MAX
                {
                    let error = format!(
                        "the stream has more than {DICTIONARIES_MAX} dictionaries, or {DICTIONARY_BYTES_MAX} bytes of them: write plain columns"
                    );
                    return Err(TableFault::too_large(error));
                }
                let (dictionaries, body) = (&mut self.dictionaries, Buffer::from(body));
                guarded(|| read_dictionary(&body, dictionary, &schema, dictionaries, &version))?;
            }
            (MessageHeader::RecordBatch, Some(schema)) => {
                let batch = message.header_as_record_batch().ok_or_else(no_header)?;
                check_batch(&batch)?;
                self.unpack(&batch, body)?;
                let (dictionaries, body) = (&self.dictionaries, Buffer::from(body));
                let rows = guarded(|| read_record_batch(&body, batch, schema, dictionaries, None, &version))?;
                each(&Table::new(rows));
            }
            (other, Some(_)) => {
                let name = other.variant_name().unwrap_or("unknown");
                return Err(TableFault::new(format!("messages of the kind {name} are not read")));
            }
        }
        Ok(())
    }
}

impl TableReader {
    /// How many bytes the buffers of a message are when they are unpacked, which may be no bomb.
    fn unpack(&mut self, batch: &RecordBatch<'_>, body: &[u8]) -> Result<usize, TableFault> {
        let bytes = unpacked_bytes(batch, body, BODY_BYTES_MAX)?;
        if batch.compression().is_some() {
            self.unpacked_bytes += bytes as u64;
        }
        if self.unpacked_bytes > UNPACKED_FREE_BYTES + self.came_bytes.saturating_mul(UNPACKED_RATIO_MAX) {
            let error = format!("the record batches unpack to more than {UNPACKED_RATIO_MAX} times their size: write them plain");
            return Err(TableFault::too_large(error));
        }
        Ok(bytes)
    }
}

/// The bytes as a message, if they are one. The length of the body is all that is believed of it.
fn message(header: &[u8]) -> Result<Message<'_>, TableFault> {
    arrow_ipc::root_as_message(header).map_err(|error| TableFault::new(format!("this is no Arrow IPC stream: {error}")))
}

fn no_header() -> TableFault {
    TableFault::new("a message has no header")
}

/// Runs what builds columns from a client's bytes. It answers most of what is wrong with them, and panics on some.
fn guarded<T>(build: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, TableFault> {
    match catch_unwind(AssertUnwindSafe(build)) {
        Ok(built) => Ok(built?),
        Err(_) => Err(TableFault::new("the message holds no columns as its header says")),
    }
}
