//! The first and the last part: what a backup is, and what it held.

use serde::{Deserialize, Serialize};
use tidemill_event::EventTime;

/// The form of backups that this program writes and reads.
pub const FORMAT: u32 = 1;
/// The layout of data directories that this program reads and writes; a backup becomes one.
pub const DATA_FORMAT: u32 = 2;

/// `backup.json`. A format that is not [`FORMAT`] may have other members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of the backup.
    pub format: u32,
    /// The form of what is in it.
    pub data_format: u32,
    /// The version that wrote it.
    pub tidemill: String,
    /// When, RFC 3339.
    pub taken_at: String,
    /// Names of secrets that the host had: `{tenant}/{name}`. What they say is not in a backup.
    pub secrets: Vec<String>,
    /// The parts whose sizes were known at the beginning, in their order: all but the state.
    pub parts: Vec<PartBytes>,
    /// Everything below these offsets is in it, and maybe some rows behind.
    pub cut: Vec<StreamCut>,
}

/// A part that comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartBytes {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// The end of every partition of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamCut {
    /// Whose it is.
    pub tenant: String,
    /// Its name.
    pub stream: String,
    /// By partition.
    pub ends: Vec<u64>,
}

/// `seal.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Every part before it, in order.
    pub parts: Vec<SealedPart>,
    /// Records in the parts of the state.
    pub state_records: u64,
}

/// A part that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedPart {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of it, 64 hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    pub(crate) fn new(taken_at: EventTime, secrets: Vec<String>, parts: Vec<PartBytes>, cut: Vec<StreamCut>) -> Self {
        let tidemill = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT, data_format: DATA_FORMAT, tidemill, taken_at: taken_at.to_rfc3339(), secrets, parts, cut }
    }

    /// Bytes of the parts whose sizes were known: about the size of the backup.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Rows that were ever written below the cut; retention may have removed some.
    pub fn rows(&self) -> u64 {
        self.cut.iter().flat_map(|stream| &stream.ends).sum()
    }
}
