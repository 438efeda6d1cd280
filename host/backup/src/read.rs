//! From a tar to its parts, each handed on as it comes, all checked at the end.
//!
//! What takes the parts must not believe any of them before [`read`] has returned: only the seal says that they are whole.

use std::cell::Cell;
use std::io::{self, Read};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tar::{Archive, Entry, EntryType};

use crate::manifest::{DATA_FORMAT, FORMAT, Manifest, Seal, SealedPart};
use crate::part::{MANIFEST, Part, SEAL};
use crate::write::{Digesting, hex};

/// A manifest or a seal is read whole: more is none.
const JSON_BYTES_MAX: u64 = 256 << 20;

/// A backup that is whole, every digest compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complete {
    /// What it said at its beginning.
    pub manifest: Manifest,
    /// What it said at its end.
    pub seal: Seal,
}

/// Why something is no backup that this program can use.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is something else.
    #[error("this is no backup of tidemill: {0}")]
    Foreign(String),
    /// A later version wrote it.
    #[error(
        "the backup has format {format} (data format {data_format}) and was written by tidemill {tidemill}; this program reads {FORMAT} ({DATA_FORMAT}): upgrade tidemill to that version"
    )]
    Newer {
        /// Its form.
        format: u32,
        /// That of what is in it.
        data_format: u32,
        /// Who wrote it.
        tidemill: String,
    },
    /// An earlier version wrote it.
    #[error(
        "the backup has format {format} (data format {data_format}) and was written by tidemill {tidemill}; this program reads {FORMAT} ({DATA_FORMAT}): restore it with that version"
    )]
    Older {
        /// Its form.
        format: u32,
        /// That of what is in it.
        data_format: u32,
        /// Who wrote it.
        tidemill: String,
    },
    /// It ends too early.
    #[error("the backup is not whole: it ends {place}. Take a new one, or copy it again")]
    Truncated {
        /// Where.
        place: String,
    },
    /// Its bytes are not those that were written.
    #[error("the backup is damaged: `{part}`: {what}. Copy it again, or use another one")]
    Damaged {
        /// Where.
        part: String,
        /// What does not hold.
        what: String,
    },
    /// It could not be read.
    #[error("the backup cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Takes parts as they come.
pub(crate) trait Parts {
    /// Why it does not take one.
    type Error: From<ReadError>;
    /// The first part: which others come.
    fn begin(&mut self, manifest: &Manifest) -> Result<(), Self::Error>;
    /// A part of the state, whole. How many records it has.
    fn state(&mut self, name: &str, bytes: Vec<u8>) -> Result<u64, Self::Error>;
    /// A file of the data directory; all of `content` is read.
    fn file(&mut self, path: &std::path::Path, content: &mut dyn Read) -> Result<(), Self::Error>;
}

/// Reads a backup to its end and hands its parts on.
pub(crate) fn read<P: Parts>(tar: impl Read, parts: &mut P) -> Result<Complete, P::Error> {
    let at_end = Cell::new(false);
    let mut archive = Archive::new(Hearing { tar, at_end: &at_end });
    // Names that do not fit into a header, links, folders: a backup has none, and whatever has is refused below.
    let mut entries = archive.entries().map_err(ReadError::Io)?.raw(true);
    let mut reading = Reading { manifest: None, found: Vec::new(), state_records: 0, at_end: &at_end };
    loop {
        let Some(entry) = entries.next() else {
            return Err(reading.ends_early(None).into());
        };
        let mut entry = entry.map_err(|error| reading.broken(error))?;
        if let Some(seal) = reading.part(&mut entry, parts)? {
            let Some(manifest) = reading.manifest.take() else {
                return Err(ReadError::Foreign(format!("it begins with `{SEAL}`")).into());
            };
            return Ok(Complete { manifest, seal });
        }
    }
}

/// Hands bytes through. What the disk said, and that there are no more, is told apart from what the tar's reader makes of the bytes.
struct Hearing<'a, R> {
    tar: R,
    at_end: &'a Cell<bool>,
}

impl<R: Read> Read for Hearing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.tar.read(buffer).map_err(|error| io::Error::new(error.kind(), Unreadable(error)))?;
        if count == 0 && !buffer.is_empty() {
            self.at_end.set(true);
        }
        Ok(count)
    }
}

/// Marks errors that come from below the tar.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Unreadable(io::Error);

struct Reading<'a> {
    manifest: Option<Manifest>,
    found: Vec<SealedPart>,
    state_records: u64,
    /// There are no more bytes.
    at_end: &'a Cell<bool>,
}

impl Reading<'_> {
    /// Takes one part; `Some` at the seal, when everything before it is what it says.
    fn part<P: Parts, R: Read>(&mut self, entry: &mut Entry<'_, R>, parts: &mut P) -> Result<Option<Seal>, P::Error> {
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let part = Part::parse(&name).filter(|_| entry.header().entry_type() == EntryType::Regular);
        let bytes = entry.header().entry_size().map_err(|error| self.broken(error))?;
        let Some(part) = part else {
            return Err(match self.manifest {
                None => ReadError::Foreign(format!("it begins with `{name}`")).into(),
                Some(_) => ReadError::Damaged { part: name, what: "a backup has no such part".to_owned() }.into(),
            });
        };
        if self.manifest.is_none() && part != Part::Manifest {
            return Err(ReadError::Foreign(format!("it begins with `{name}` and not with `{MANIFEST}`")).into());
        }
        let mut content = Digesting { content: entry, digest: Sha256::new(), bytes: 0 };
        match part {
            Part::Manifest if self.manifest.is_some() => {
                return Err(ReadError::Damaged { part: name, what: "it comes twice".to_owned() }.into());
            }
            Part::Manifest => {
                let text = self.whole(&name, bytes, &mut content)?;
                let manifest = manifest(&text)?;
                parts.begin(&manifest)?;
                self.manifest = Some(manifest);
            }
            Part::State(_) => {
                let part = self.whole(&name, bytes, &mut content)?;
                self.state_records += parts.state(&name, part)?;
            }
            Part::File(path) => {
                parts.file(&path, &mut content)?;
                if content.bytes != bytes {
                    return Err(self.ends_early(Some(&name)).into());
                }
            }
            Part::Seal => {
                let text = self.whole(&name, bytes, &mut content)?;
                let seal: Seal =
                    serde_json::from_slice(&text).map_err(|error| ReadError::Damaged { part: name, what: error.to_string() })?;
                self.compare(&seal)?;
                return Ok(Some(seal));
            }
        }
        self.found.push(SealedPart { name, bytes, sha256: hex(content.digest) });
        Ok(None)
    }

    /// All bytes of a part that is held in memory.
    fn whole(&self, name: &str, bytes: u64, content: &mut impl Read) -> Result<Vec<u8>, ReadError> {
        if bytes > JSON_BYTES_MAX {
            return Err(ReadError::Damaged { part: name.to_owned(), what: format!("{bytes} bytes are too many") });
        }
        let mut whole = Vec::new();
        content.read_to_end(&mut whole).map_err(|error| self.broken(error))?;
        if whole.len() as u64 == bytes { Ok(whole) } else { Err(self.ends_early(Some(name))) }
    }

    fn compare(&self, seal: &Seal) -> Result<(), ReadError> {
        let damaged = |part: &str, what: &str| Err(ReadError::Damaged { part: part.to_owned(), what: what.to_owned() });
        for (sealed, found) in seal.parts.iter().zip(&self.found) {
            if sealed.name != found.name {
                return damaged(&found.name, &format!("`{}` was written there", sealed.name));
            }
            if sealed != found {
                return damaged(&found.name, "its SHA-256 is not the one of what was written");
            }
        }
        if seal.parts.len() != self.found.len() {
            return damaged(SEAL, &format!("{} parts were written, and there are {}", seal.parts.len(), self.found.len()));
        }
        let known = |name: &str| self.found.iter().any(|part| part.name == name);
        let promised = self.manifest.iter().flat_map(|manifest| &manifest.parts);
        if let Some(missing) = promised.map(|part| &part.name).find(|name| !known(name)) {
            return damaged(missing, "it is missing");
        }
        if seal.state_records != self.state_records {
            return damaged(
                SEAL,
                &format!("{} records of state were written, and there are {}", seal.state_records, self.state_records),
            );
        }
        Ok(())
    }

    fn broken(&self, error: io::Error) -> ReadError {
        let below = error.get_ref().is_some_and(|inner| inner.is::<Unreadable>());
        if below {
            ReadError::Io(error)
        } else if self.at_end.get() {
            self.ends_early(None)
        } else if self.manifest.is_none() {
            ReadError::Foreign(error.to_string())
        } else {
            ReadError::Damaged { part: self.last(), what: format!("what follows is no part: {error}") }
        }
    }

    fn ends_early(&self, inside: Option<&str>) -> ReadError {
        match inside {
            Some(name) => ReadError::Truncated { place: format!("inside `{name}`") },
            None if self.found.is_empty() => ReadError::Foreign("it is empty, or no tar".to_owned()),
            None => ReadError::Truncated { place: format!("behind `{}`", self.last()) },
        }
    }

    fn last(&self) -> String {
        self.found.last().map_or_else(|| MANIFEST.to_owned(), |part| part.name.clone())
    }
}

/// Reads the manifest, if it is one of ours.
fn manifest(text: &[u8]) -> Result<Manifest, ReadError> {
    #[derive(Deserialize)]
    struct Formats {
        format: u32,
        data_format: u32,
        tidemill: String,
    }
    let damaged = |error: serde_json::Error| ReadError::Damaged { part: MANIFEST.to_owned(), what: error.to_string() };
    let Formats { format, data_format, tidemill } = serde_json::from_slice(text).map_err(damaged)?;
    if format > FORMAT || data_format > DATA_FORMAT {
        return Err(ReadError::Newer { format, data_format, tidemill });
    }
    if format < FORMAT || data_format < DATA_FORMAT {
        return Err(ReadError::Older { format, data_format, tidemill });
    }
    serde_json::from_slice(text).map_err(damaged)
}
