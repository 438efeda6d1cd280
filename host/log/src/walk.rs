//! Goes along the journal's chain of groups, from the file the manifest names to the first break, and says what the break is.
//!
//! What is read goes into the manifest's partitions as it comes. `recovery.rs` has the rules and what happens around this.

use std::sync::Arc;

use tidemill_event::SchemaVersion;

use crate::change::{self, Change};
use crate::columns;
use crate::error::{Damage, DiskError, OpenError};
use crate::frame::FrameHead;
use crate::group::{self, Entry, GroupHeader, HEADER_BYTES, SECTOR};
use crate::journal::{FileHeader, JournalFile};
use crate::manifest::{JournalStart, Manifest};
use crate::mark::Mark;
use crate::planted::Planted;
use crate::requests::{self, Requests};
use crate::settings::LogSettings;

/// Files are read in pieces of this size.
const READ_BYTES: usize = 1 << 20;

/// A journal file as found.
pub(crate) struct Source {
    pub(crate) slot: u64,
    pub(crate) file: Arc<JournalFile>,
    pub(crate) header: Option<FileHeader>,
}

/// Goes along the chain of groups.
pub(crate) struct Walk<'a> {
    settings: &'a LogSettings,
    sources: &'a [Source],
    pub(crate) manifest: Manifest,
    pub(crate) requests: Requests,
    mark: Mark,
    /// Everything up to this group is known to be durable before a group was read.
    known_durable: u64,
    /// The number of the group that comes next.
    pub(crate) number: u64,
    run: u64,
    pub(crate) previous: u32,
    /// The files gone through, the current one last, and the place in it.
    pub(crate) files: Vec<usize>,
    pub(crate) at: u64,
    window: Window<'a>,
    pub(crate) found: Vec<Change>,
    /// Frames whose payload does not hold, also of rows that segments have.
    pub(crate) bad_frames: Vec<(FrameHead, Damage)>,
}

impl<'a> Walk<'a> {
    /// Stands before the first group.
    pub(crate) fn begin(
        sources: &'a [Source],
        manifest: Manifest,
        requests: Requests,
        mark: Mark,
        start: JournalStart,
        settings: &'a LogSettings,
    ) -> Result<Self, OpenError> {
        let fits =
            |source: &&(usize, FileHeader)| (source.1.sequence, source.1.first_group) == (start.sequence, start.first_group);
        let headers: Vec<_> = sources.iter().enumerate().filter_map(|(index, source)| Some((index, source.header?))).collect();
        let Some((index, header)) = headers.iter().filter(fits).max_by_key(|(_, header)| header.run) else {
            let what = format!("the journal begins with file number {}, and there is none whose header says so", start.sequence);
            return Err(OpenError::Damaged(Damage { path: settings.dir.join("journal"), at_byte: 0, what }));
        };
        let known_durable = mark.durable.max(manifest.covers);
        let (number, previous) = (header.first_group, header.previous);
        let window = Window::new(&sources[*index].file);
        let (files, at) = (vec![*index], SECTOR as u64);
        let (run, found, bad_frames) = (0, Vec::new(), Vec::new());
        Ok(Self {
            settings,
            sources,
            manifest,
            requests,
            mark,
            known_durable,
            number,
            run,
            previous,
            files,
            at,
            window,
            found,
            bad_frames,
        })
    }

    /// Takes every group up to the end of the journal.
    pub(crate) fn run(&mut self) -> Result<(), OpenError> {
        loop {
            let broken = match self.group()? {
                Ok(()) => continue,
                Err(broken) => broken,
            };
            if self.next_file() {
                continue;
            }
            let durable = self.number <= self.known_durable || self.later_group_names(self.number)?;
            if durable && !self.settings.plants(Planted::DamageCutOff) {
                return Err(OpenError::Damaged(broken));
            }
            return Ok(());
        }
    }

    pub(crate) fn sources(&self) -> &'a [Source] {
        self.sources
    }

    /// The file it stands in.
    pub(crate) fn source(&self) -> &'a Source {
        &self.sources[self.files[self.files.len() - 1]]
    }

    fn damage(&self, at_byte: u64, what: &str) -> Damage {
        Damage { path: self.source().file.path.clone(), at_byte, what: what.to_owned() }
    }

    /// Takes the next group of the current file, or says what breaks the chain there.
    fn group(&mut self) -> Result<Result<(), Damage>, OpenError> {
        let at = self.at;
        let Some(bytes) = self.window.bytes(at, HEADER_BYTES)? else {
            return Ok(Err(self.damage(at, "the journal goes on in a file that is not there")));
        };
        let Some((header, checksum)) = GroupHeader::decode(bytes) else {
            return Ok(Err(self.damage(at, "a group's header does not hold")));
        };
        let sequence = self.source().header.map(|header| header.sequence);
        let follows = header.number == self.number && header.previous == self.previous && Some(header.sequence) == sequence;
        if follows && header.run > self.mark.run {
            let what = format!("the mark names run {}, and the journal has groups of run {}", self.mark.run, header.run);
            return Err(OpenError::Damaged(self.damage(at, &what)));
        }
        let run_fits = if self.number >= self.mark.run_start { header.run == self.mark.run } else { header.run >= self.run };
        let joins = self.settings.plants(Planted::StaleGroupAccepted)
            || (self.settings.plants(Planted::ChainUnchecked) && header.number == self.number);
        if (!follows || !run_fits) && !joins {
            return Ok(Err(self.damage(at, "a group's header belongs to another place or run")));
        }
        let body_at = at + HEADER_BYTES as u64;
        let Some(body) = self.window.bytes(body_at, header.bytes as usize)? else {
            return Ok(Err(self.damage(at, "a group is longer than its file")));
        };
        let body = body.to_vec();
        let entries = match group::read_body(&header, &body) {
            Ok(entries) => entries,
            Err(bad) => return Ok(Err(self.damage(body_at + bad.at as u64, bad.what))),
        };
        if let Some(bad) = entries.iter().find_map(first_bad_frame)
            && !self.settings.plants(Planted::HalfEntryAccepted)
        {
            let durable = self.number <= self.known_durable || self.later_group_names(self.number)?;
            if !durable {
                return Ok(Err(self.damage(body_at + bad as u64, "a frame of the last group is torn")));
            }
        }
        self.take(body_at, entries)?;
        self.at += header.padded_bytes();
        self.number += 1;
        self.run = header.run;
        self.previous = checksum;
        Ok(Ok(()))
    }

    fn take(&mut self, body_at: u64, entries: Vec<Entry<'_>>) -> Result<(), OpenError> {
        for entry in entries {
            match entry {
                Entry::Changes(payload) => {
                    if self.number <= self.manifest.covers {
                        continue;
                    }
                    let changes = change::decode_all(payload);
                    let changes = changes.map_err(|_| OpenError::Damaged(self.damage(body_at, "a change cannot be read")))?;
                    for change in changes {
                        self.manifest.apply(change).map_err(|what| OpenError::Damaged(self.damage(body_at, &what)))?;
                    }
                }
                // Those that the manifest has are taken once more, which changes nothing.
                Entry::Requests(payload) => {
                    let marks = requests::decode_all(payload);
                    let marks = marks.map_err(|_| OpenError::Damaged(self.damage(body_at, "a request's mark cannot be read")))?;
                    for mark in marks {
                        self.manifest.remember(mark, &mut self.requests);
                    }
                }
                Entry::Rows(frames) => {
                    for frame in frames {
                        if !frame.intact {
                            let damage = self.damage(body_at + frame.at as u64, "the checksum of a frame does not hold");
                            self.bad_frames.push((frame.head, damage));
                        }
                        self.take_frame(body_at + frame.at as u64, &frame)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn take_frame(&mut self, at: u64, frame: &group::Frame<'_>) -> Result<(), OpenError> {
        let head = &frame.head;
        if self.manifest.was_deleted(head.stream) {
            return Ok(());
        }
        let stream = self.manifest.stream(head.stream);
        let partition = self.manifest.partition(head.stream, head.partition);
        let (Some(stream), Some(partition)) = (stream, partition) else {
            let what =
                format!("a frame is for partition {} of stream number {}, which does not exist", head.partition, head.stream);
            return Err(OpenError::Damaged(self.damage(at, &what)));
        };
        if head.end() <= partition.end(crate::Visibility::Sequenced).0 {
            // In a segment, or trimmed.
            return Ok(());
        }
        let version = SchemaVersion(head.version);
        let rows = match stream.layout(version) {
            Some(layout) if frame.intact || self.settings.plants(Planted::FrameUnchecked) => {
                columns::decode_rows(frame.payload, head.rows as usize, &layout).ok()
            }
            Some(_) | None => None,
        };
        let what = match rows {
            Some(rows) => {
                if partition.recover(head.start, version, rows) {
                    return Ok(());
                }
                "rows before this frame are missing"
            }
            None if frame.intact => "a frame with a good checksum cannot be decoded",
            None => "the checksum of a frame does not hold",
        };
        partition.recover_lost(head.end());
        if partition.damage().is_none() {
            let damage = self.damage(at, what);
            partition.set_damage(head.start, damage.clone());
            self.found.push(Change::Damaged { stream: head.stream, partition: head.partition, start: head.start, damage });
        }
        Ok(())
    }

    /// Goes on in the file that continues the chain here, if there is one.
    fn next_file(&mut self) -> bool {
        let Some(sequence) = self.source().header.map(|header| header.sequence + 1) else { return false };
        let continues = |header: &FileHeader| {
            (header.sequence, header.first_group, header.previous) == (sequence, self.number, self.previous)
                && header.run <= self.mark.run
        };
        let candidates = self.sources.iter().enumerate().filter(|(_, source)| source.header.as_ref().is_some_and(continues));
        let Some((index, source)) = candidates.max_by_key(|(_, source)| source.header.map(|header| header.run)) else {
            return false;
        };
        self.files.push(index);
        self.at = SECTOR as u64;
        self.window = Window::new(&source.file);
        true
    }

    /// Whether a later group of the newest run says that group `number` was durable when it was written.
    fn later_group_names(&self, number: u64) -> Result<bool, OpenError> {
        let current = self.files[self.files.len() - 1];
        let sequence = self.source().header.map(|header| header.sequence);
        for (index, source) in self.sources.iter().enumerate() {
            let from = if index == current {
                self.at + SECTOR as u64
            } else if source.header.is_some_and(|header| Some(header.sequence) <= sequence) {
                continue;
            } else {
                SECTOR as u64
            };
            let mut window = Window::new(&source.file);
            let mut at = from;
            while let Some(bytes) = window.bytes(at, HEADER_BYTES)? {
                if let Some((header, _)) = GroupHeader::decode(bytes)
                    && header.run == self.mark.run
                    && header.number > number
                    && header.durable >= number
                {
                    return Ok(true);
                }
                at += SECTOR as u64;
            }
        }
        Ok(false)
    }
}

/// Reads a file in large pieces.
pub(crate) struct Window<'a> {
    file: &'a JournalFile,
    start: u64,
    buffer: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(crate) fn new(file: &'a JournalFile) -> Self {
        Self { file, start: 0, buffer: Vec::new() }
    }

    /// The bytes from `at` on; `None` if the file ends before.
    pub(crate) fn bytes(&mut self, at: u64, bytes: usize) -> Result<Option<&[u8]>, DiskError> {
        if at.checked_add(bytes as u64).is_none_or(|end| end > self.file.bytes) {
            return Ok(None);
        }
        if at < self.start || at + bytes as u64 > self.start + self.buffer.len() as u64 {
            let length = (bytes.max(READ_BYTES) as u64).min(self.file.bytes - at) as usize;
            self.buffer.resize(length, 0);
            self.file.file.read_at(at, &mut self.buffer).map_err(DiskError::new("read", &self.file.path))?;
            self.start = at;
        }
        let from = (at - self.start) as usize;
        Ok(self.buffer.get(from..from + bytes))
    }
}

fn first_bad_frame(entry: &Entry<'_>) -> Option<usize> {
    match entry {
        Entry::Rows(frames) => frames.iter().find(|frame| !frame.intact).map(|frame| frame.at),
        Entry::Changes(_) | Entry::Requests(_) => None,
    }
}
