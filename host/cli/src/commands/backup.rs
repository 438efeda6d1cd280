//! `tidemill backup`: everything a running host has, as one file, checked while it comes.
//!
//! The file gets its name when it is whole and on disk; until then it is `FILE.tar.part`, and gone if anything fails.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidemill_backup::{Complete, ReadError, check};

use crate::args::BackupArgs;
use crate::client::Client;
use crate::exit::Failure;
use crate::output::{Output, bytes};

/// Fetches a backup.
pub(crate) fn run(args: &BackupArgs, client: &Client, output: Output) -> Result<(), Failure> {
    if args.file == Path::new("-") {
        let (complete, read) = fetch(client, io::stdout().lock(), output)?;
        // Standard output is the backup itself.
        return match output {
            Output::Text => writeln!(io::stderr(), "{}", said(&complete, read, "standard output")).map_err(|_| silent()),
            Output::Json => writeln!(io::stderr(), "{}", summary(&complete, read)).map_err(|_| silent()),
        };
    }
    if !args.force && args.file.exists() {
        let text = format!("`{}` exists: choose another name, or replace it with --force", args.file.display());
        return Err(Failure::wrong_use(text));
    }
    let file = Unfinished::create(&args.file)?;
    let (complete, read) = fetch(client, &file.file, output)?;
    file.finish()?;
    let mut value = summary(&complete, read);
    value["file"] = args.file.display().to_string().into();
    output.result(&value, || said(&complete, read, &args.file.display().to_string()))
}

fn silent() -> Failure {
    Failure::failed("standard error is closed")
}

/// Copies the host's answer to `to`, and checks it on its way. How many bytes it had.
fn fetch(client: &Client, to: impl Write, output: Output) -> Result<(Complete, u64), Failure> {
    let bar = output.bar(Some(0));
    bar.set_message("the host prepares it");
    let answer = client.stream("/v1/backup")?;
    let mut tee = Tee { from: bar.wrap_read(answer), to, read: 0, unwritten: None };
    let checked = check(&mut tee, |manifest| {
        bar.set_length(manifest.bytes());
        bar.set_message("");
    });
    bar.finish_and_clear();
    let complete = match (checked, tee.unwritten.take()) {
        (_, Some(error)) => return Err(Failure::failed(format!("cannot write the backup: {error}"))),
        (Ok(complete), None) => complete,
        (Err(ReadError::Io(error)), None) => {
            let text = format!("the host at {} broke the backup off: {error}; its log says why", client.base());
            return Err(Failure::not_reached(text));
        }
        (Err(error), None) => return Err(Failure::failed(error.to_string())),
    };
    // What stands behind the seal fills the tar's last block.
    let rest = io::copy(&mut tee, &mut io::sink());
    let flushed = rest.and_then(|_| tee.to.flush());
    flushed.map_err(|error| Failure::failed(format!("cannot write the backup: {error}")))?;
    Ok((complete, tee.read))
}

/// What a backup holds, for programs.
pub(super) fn summary(complete: &Complete, read_bytes: u64) -> Value {
    let Complete { manifest, seal } = complete;
    let components = seal.parts.iter().filter(|part| part.name.starts_with("components/")).count();
    json!({
        "taken_at": manifest.taken_at, "tidemill": manifest.tidemill, "bytes": read_bytes, "parts": seal.parts.len() + 1,
        "streams": manifest.cut.len(), "rows_below_cut": manifest.rows(), "state_records": seal.state_records,
        "components": components, "secrets": manifest.secrets, "cut": manifest.cut,
    })
}

fn said(complete: &Complete, read: u64, place: &str) -> String {
    let mut text = format!("{place}: {}, {}", bytes(read), held(complete));
    if !complete.manifest.secrets.is_empty() {
        text.push_str(&format!(
            "\nnot in it: files of sinks, and the secrets {}; keep those elsewhere",
            complete.manifest.secrets.join(", ")
        ));
    }
    text
}

/// What a backup holds, for people.
pub(super) fn held(complete: &Complete) -> String {
    let Complete { manifest, seal } = complete;
    format!(
        "{} streams with {} rows up to the cut, {} records of state, as of {}",
        manifest.cut.len(),
        manifest.rows(),
        seal.state_records,
        manifest.taken_at
    )
}

/// Copies what is read. An error of the copy is told apart from one of the source.
struct Tee<R, W> {
    from: R,
    to: W,
    read: u64,
    unwritten: Option<io::Error>,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        if let Err(error) = self.to.write_all(&buffer[..count]) {
            let kind = error.kind();
            self.unwritten = Some(error);
            return Err(kind.into());
        }
        self.read += count as u64;
        Ok(count)
    }
}

/// A file that is not whole yet; removed when dropped.
struct Unfinished {
    file: File,
    part: PathBuf,
    whole: PathBuf,
}

impl Unfinished {
    fn create(whole: &Path) -> Result<Self, Failure> {
        let mut part = whole.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        // Events and hashes of tokens: nobody else's business.
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part);
        let file = file.map_err(|error| Failure::failed(format!("cannot make `{}`: {error}", part.display())))?;
        Ok(Self { file, part, whole: whole.to_owned() })
    }

    fn finish(self) -> Result<(), Failure> {
        let folder = match self.whole.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let named = self.file.sync_all().and_then(|()| fs::rename(&self.part, &self.whole));
        let synced = named.and_then(|()| File::open(folder)?.sync_all());
        synced.map_err(|error| Failure::failed(format!("cannot write `{}`: {error}", self.whole.display())))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It has its name already, or there is nothing that could be done.
        let _ = fs::remove_file(&self.part);
    }
}
