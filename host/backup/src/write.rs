//! From a snapshot of a host to a tar.

use std::fs::File;
use std::io::{self, Read, Write};

use serde::Serialize;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};
use tidemill_engine::HostSnapshot;
use tidemill_event::EventTime;
use tidemill_log::Snapshot;
use tidemill_state::StateSnapshot;

use crate::manifest::{Manifest, PartBytes, Seal, SealedPart, StreamCut};
use crate::part::{MANIFEST, Part, SEAL};
use crate::state_part::StatePart;

/// A backup was not finished: what was written of it is none.
#[derive(Debug, thiserror::Error)]
#[error("`{part}`: {source}")]
pub struct WriteError {
    /// The part it was at.
    pub part: String,
    /// What could not be read, or not be written.
    #[source]
    pub source: io::Error,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Parts, the manifest and the seal among them.
    pub parts: usize,
    /// Their bytes, headers of the tar apart.
    pub bytes: u64,
}

/// Writes everything a snapshot names. Blocking; `out` is told in pieces of some KiB, and dropped behind the last. The state comes
/// first and is let go then: the store keeps more the longer it is held.
pub fn write(snapshot: HostSnapshot, taken_at: EventTime, out: impl Write) -> Result<Written, WriteError> {
    let HostSnapshot { log, state, components, tables, tables_hold: _hold, secrets } = snapshot;
    let mut writer = Writer { tar: Builder::new(out), taken_at, sealed: Vec::new() };

    let files = log.files().iter().map(|file| (format!("log/{}", file.name.display()), file));
    let files: Vec<_> = files.collect();
    let components = components.iter().map(|file| (format!("components/{}", file.name), file));
    let components: Vec<_> = components.chain(tables.iter().map(|file| (format!("tables/{}", file.name), file))).collect();
    let parts = components.iter().map(|(name, file)| PartBytes { name: name.clone(), bytes: file.bytes });
    let parts = parts.chain(files.iter().map(|(name, file)| PartBytes { name: name.clone(), bytes: file.bytes() })).collect();
    writer.json(MANIFEST, &Manifest::new(taken_at, secrets, parts, cut(&log)))?;

    let state_records = write_state(&mut writer, state)?;
    for (name, file) in &components {
        let bytes = File::open(&file.path).map_err(failed(name))?;
        writer.part(name, file.bytes, bytes)?;
    }
    for (name, file) in &files {
        let bytes = log.read(file).map_err(|error| failed(name)(io::Error::other(error)))?;
        writer.part(name, file.bytes(), bytes)?;
    }
    let seal = Seal { parts: writer.sealed.clone(), state_records };
    writer.json(SEAL, &seal)?;

    let written = Written { parts: writer.sealed.len(), bytes: writer.sealed.iter().map(|part| part.bytes).sum() };
    let mut out = writer.tar.into_inner().map_err(failed("the end"))?;
    out.flush().map_err(failed("the end"))?;
    Ok(written)
}

fn cut(log: &Snapshot) -> Vec<StreamCut> {
    let mut cut: Vec<StreamCut> = Vec::new();
    for (key, end) in log.cut().iter() {
        let (tenant, stream) = (key.stream.tenant.to_string(), key.stream.stream.to_string());
        match cut.last_mut().filter(|last| (&last.tenant, &last.stream) == (&tenant, &stream)) {
            Some(last) => last.ends.push(end.0),
            None => cut.push(StreamCut { tenant, stream, ends: vec![end.0] }),
        }
    }
    cut
}

fn write_state(writer: &mut Writer<impl Write>, state: StateSnapshot) -> Result<u64, WriteError> {
    let mut records = state.records();
    let mut total = 0;
    for number in 1.. {
        let name = Part::state_name(number);
        let mut part = StatePart::new();
        while !part.is_full()
            && let Some(record) = records.next()
        {
            part.add(&record.map_err(|error| failed(&name)(io::Error::other(error)))?);
        }
        if part.records() == 0 {
            break;
        }
        total += u64::from(part.records());
        let bytes = part.finish();
        writer.part(&name, bytes.len() as u64, &*bytes)?;
    }
    Ok(total)
}

struct Writer<W: Write> {
    tar: Builder<W>,
    taken_at: EventTime,
    sealed: Vec<SealedPart>,
}

impl<W: Write> Writer<W> {
    fn json(&mut self, name: &str, value: &impl Serialize) -> Result<(), WriteError> {
        let mut text = serde_json::to_vec_pretty(value).map_err(|error| failed(name)(error.into()))?;
        text.push(b'\n');
        self.part(name, text.len() as u64, &*text)
    }

    fn part(&mut self, name: &str, bytes: u64, content: impl Read) -> Result<(), WriteError> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_path(name).map_err(failed(name))?;
        header.set_size(bytes);
        // Events and hashes of tokens are nobody else's business.
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(self.taken_at.0 / 1_000_000).unwrap_or(0));
        header.set_cksum();
        let mut digesting = Digesting { content: content.take(bytes), digest: Sha256::new(), bytes: 0 };
        self.tar.append(&header, &mut digesting).map_err(failed(name))?;
        if digesting.bytes != bytes {
            // The header has said otherwise: everything behind it would be read wrongly.
            let text = format!("it has {} bytes, and should have {bytes}", digesting.bytes);
            return Err(failed(name)(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
        self.sealed.push(SealedPart { name: name.to_owned(), bytes, sha256: hex(digesting.digest) });
        Ok(())
    }
}

/// Hands bytes through, and knows their digest.
pub(crate) struct Digesting<R> {
    pub(crate) content: R,
    pub(crate) digest: Sha256,
    pub(crate) bytes: u64,
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.digest.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

/// 64 hexadecimal digits.
pub(crate) fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn failed(part: &str) -> impl FnOnce(io::Error) -> WriteError {
    let part = part.to_owned();
    move |source| WriteError { part, source }
}
