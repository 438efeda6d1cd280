//! Backups: everything there is as one tar stream, while everything goes on. What is in it is `tidemill-backup`'s to say.
//!
//! ```text
//! GET /v1/backup ─► its turn ─► a snapshot of the host ─► 200 ─► a thread writes the tar ══ pieces ══► the connection
//! ```
//! The snapshot keeps disk space while it is copied. It is let go when the tar is written, when the client is gone or leaves what it
//! is sent unread, when the host stops, and when the disk is nearly full: events are worth more than a backup of them.

use std::io::{self, Write};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use futures_util::stream;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use tidemill_backup::write;
use tidemill_engine::HostSnapshot;
use tidemill_event::EventTime;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::bounds::{BACKUP_PIECE_BYTES, BACKUP_PIECES_MAX};
use crate::host::Host;
use crate::metrics::BackupEnd;
use crate::problem::{Kind, Problem, ProblemDocument};

/// How many pieces are sent between two looks at the disk.
const LOOK_PIECES: u32 = 32;

/// Everything the host has, as a tar: `tidemill restore` makes a data directory of it. For administrators of the tenant `default`, who operate the host. Whatever was acknowledged
/// before the request is in it; the host goes on meanwhile. A tar that does not end with `seal.json` is not whole.
#[utoipa::path(
    get, path = "/v1/backup", tag = "host",
    responses(
        (status = 200, description = "The backup, as long as it takes", body = Vec<u8>, content_type = "application/x-tar"),
        (status = 403, description = "The token is none of an administrator of the tenant `default`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "Another backup is under way", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "The disk is nearly full", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "The host cannot make one now", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_backup(State(host): State<Host>) -> Result<Response, Problem> {
    let turn = host.backups().try_acquire_owned().map_err(|_| {
        let detail = "another backup is under way: each keeps disk space while it lasts";
        Problem::new(Kind::TooMany, detail, "wait until that one is done; `tidemill_backups_running` in /metrics says when")
    })?;
    if host.log().stats().disk_full {
        let remedy = "make room first: other files, streams, a shorter retention";
        return Err(Problem::new(
            Kind::DiskFull,
            "the host's disk is nearly full, and a backup keeps space while it lasts",
            remedy,
        ));
    }
    let taken_at = host.clock().now();
    let taking = host.clone();
    // Nobody waits for a snapshot that nobody wants any more: it is dropped when it is there.
    let taken = host.tasks().spawn_blocking(move || taking.engine().snapshot().map(|snapshot| (snapshot, turn))).await;
    let (snapshot, turn) = match taken {
        Ok(Ok(taken)) => taken,
        Ok(Err(error)) => {
            tracing::warn!(%error, "no backup");
            return Err(Problem::new(Kind::Overloaded, format!("there is no backup now: {error}"), "try again in a moment"));
        }
        Err(error) => return Err(Problem::new(Kind::Internal, error.to_string(), "report it")),
    };
    let (sender, receiver) = channel(BACKUP_PIECES_MAX);
    let writing = host.clone();
    // It ends by itself when the receiver is gone.
    drop(host.tasks().spawn_blocking(move || run(&writing, snapshot, taken_at, sender, turn)));
    Ok(answer(receiver, taken_at))
}

fn answer(receiver: Receiver<io::Result<Bytes>>, taken_at: EventTime) -> Response {
    let pieces = stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|piece| (piece, receiver)) });
    let mut response = Response::new(Body::from_stream(pieces));
    // A second is enough in a name, and colons are none in some file systems.
    let second: String = taken_at.to_rfc3339().chars().take(19).map(|c| if c == ':' { '-' } else { c }).collect();
    let name = format!("attachment; filename=\"tidemill-{second}.tar\"");
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(CONTENT_DISPOSITION, name);
    }
    response
}

/// Writes the tar. Blocking, for as long as the client takes.
fn run(host: &Host, snapshot: HostSnapshot, taken_at: EventTime, sender: Sender<io::Result<Bytes>>, turn: OwnedSemaphorePermit) {
    let _running = host.metrics().backup();
    let pieces = Pieces { host, sender: sender.clone(), piece: Vec::with_capacity(BACKUP_PIECE_BYTES), until_look: LOOK_PIECES };
    let end = match write(snapshot, taken_at, pieces) {
        Ok(written) => {
            tracing::info!(parts = written.parts, bytes = written.bytes, "a backup was taken");
            BackupEnd::Finished
        }
        Err(error) if error.source.kind() == io::ErrorKind::BrokenPipe => {
            tracing::info!("a backup was given up by its client");
            BackupEnd::BrokenOff
        }
        Err(error) => {
            tracing::warn!(%error, "a backup was given up");
            // The connection is cut, so that nobody takes the half for the whole. Who is gone need not be told.
            let _ = sender.blocking_send(Err(io::Error::other(error)));
            BackupEnd::BrokenOff
        }
    };
    host.metrics().backup_ended(end);
    drop(turn);
}

/// Gathers what the tar is written in into pieces for the connection.
struct Pieces<'a> {
    host: &'a Host,
    sender: Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
    until_look: u32,
}

impl Pieces<'_> {
    fn send(&mut self) -> io::Result<()> {
        if self.host.stop().is_cancelled() {
            return Err(io::Error::other("the host stops"));
        }
        self.until_look -= 1;
        if self.until_look == 0 {
            self.until_look = LOOK_PIECES;
            if self.host.log().stats().disk_full {
                return Err(io::Error::other("the disk is nearly full, and a backup keeps space"));
            }
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(BACKUP_PIECE_BYTES));
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(BACKUP_PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == BACKUP_PIECE_BYTES {
            self.send()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() { Ok(()) } else { self.send() }
    }
}
