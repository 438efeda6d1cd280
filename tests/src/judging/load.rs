//! Producers that send as fast as they are answered, and go on when the host dies under them.
//!
//! ```text
//! producer   0 single   1 batches              unnamed: never sent again, whatever became of it
//!            2 single   3 batches              named by `Idempotency-Key`             ┐ sent again until it is answered, and
//!            4 single   5 batches              unnamed                                │ the one answered last once more on
//!            6 single   7 batches in pieces    by `Tidemill-Producer` and `-Sequence` ┘ every new connection
//! ```

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{EventId, Ledger, PRODUCERS, STREAM};
use crate::Connection;

/// A pause while the host is dead or has no room.
const PAUSE: Duration = Duration::from_millis(10);
/// A pause between the pieces of a body: long enough that each is appended by itself.
const PIECE_PAUSE: Duration = Duration::from_millis(1);
/// A request that is still not answered then, by whatever life of the host, never is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends from every producer until `stop`, and until every named request is answered. Half of the producers send single events, half
/// batches of up to 60 across all keys.
/// An error is an answer no host may give, or a ledger that cannot be written.
pub fn load(url: &str, folder: &Path, run: u32, stop: &AtomicBool) -> io::Result<()> {
    std::thread::scope(|scope| {
        let producers: Vec<_> =
            (0..PRODUCERS).map(|producer| scope.spawn(move || produce(url, folder, producer, run, stop))).collect();
        producers
            .into_iter()
            .try_for_each(|producer| producer.join().unwrap_or_else(|_| Err(io::Error::other("a producer panicked"))))
    })
}

fn produce(url: &str, folder: &Path, producer: u32, run: u32, stop: &AtomicBool) -> io::Result<()> {
    let mut ledger = Ledger::open(folder, producer, run)?;
    let mut sender = Sender::new(url, producer, run);
    let mut first = 0;
    while !stop.load(Ordering::Relaxed) {
        if !sender.is_connected()? {
            std::thread::sleep(PAUSE);
            continue;
        }
        let last = if sender.is_single { first } else { first + (first * 7 + u64::from(producer)) % 60 };
        ledger.sending(first, last)?;
        let begin = Instant::now();
        let mut answered = sender.send(first, last)?;
        // Without a name it is never sent again: whether an unanswered request was taken is not known, and both are right.
        while !answered && sender.naming != Naming::Unnamed {
            if begin.elapsed() > PATIENCE {
                let id = EventId { producer, run, n: first };
                return Err(io::Error::other(format!("the request of {id} was not answered in {PATIENCE:?}")));
            }
            std::thread::sleep(PAUSE);
            answered = sender.send(first, last)?;
        }
        if answered {
            ledger.acknowledged(first, last)?;
            sender.answered = Some((first, last));
        }
        first = last + 1;
    }
    Ok(())
}

/// How a producer names its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    Unnamed,
    Key,
    Numbered,
}

/// One producer's connection.
struct Sender<'a> {
    url: &'a str,
    path: String,
    producer: u32,
    run: u32,
    naming: Naming,
    is_single: bool,
    connection: Option<Connection>,
    /// The request that was answered last.
    answered: Option<(u64, u64)>,
}

impl<'a> Sender<'a> {
    fn new(url: &'a str, producer: u32, run: u32) -> Self {
        let naming = match producer % 8 {
            2 | 3 => Naming::Key,
            6 | 7 => Naming::Numbered,
            _ => Naming::Unnamed,
        };
        let path = format!("/v1/streams/{STREAM}/events");
        Self { url, path, producer, run, naming, is_single: producer.is_multiple_of(2), connection: None, answered: None }
    }

    /// Whether there is a connection; one is made if not. A named request whose answer might have been lost on the way is the first
    /// thing that is sent over a new one.
    fn is_connected(&mut self) -> io::Result<bool> {
        if self.connection.is_some() {
            return Ok(true);
        }
        self.connection = Connection::open(self.url).ok();
        match self.answered {
            Some((first, last)) if self.connection.is_some() && self.naming != Naming::Unnamed => self.post(first, last),
            _ => Ok(self.connection.is_some()),
        }
    }

    /// Sends a request once; whether it was answered.
    fn send(&mut self, first: u64, last: u64) -> io::Result<bool> {
        Ok(self.is_connected()? && self.post(first, last)?)
    }

    /// Whether the request was answered with a yes. An error is an answer that cannot be right.
    fn post(&mut self, first: u64, last: u64) -> io::Result<bool> {
        let Some(open) = &mut self.connection else { return Ok(false) };
        let (producer, run) = (self.producer, self.run);
        let sequence = (u64::from(run) << 32) + first;
        let mut lines = match self.naming {
            Naming::Unnamed => Vec::new(),
            Naming::Key => vec![("idempotency-key", format!("{producer}-{run}-{first}"))],
            Naming::Numbered => {
                vec![("tidemill-producer", producer.to_string()), ("tidemill-sequence", sequence.to_string())]
            }
        };
        lines.push(("content-type", if self.is_single { "application/json" } else { "application/x-ndjson" }.to_owned()));
        let events: Vec<String> = (first..=last).map(|n| event(EventId { producer, run, n })).collect();
        let answer = if self.naming == Naming::Numbered && !self.is_single {
            let pieces: Vec<String> = events.chunks(events.len().div_ceil(4)).map(<[String]>::concat).collect();
            open.post_in_pieces(&self.path, &lines, &pieces, PIECE_PAUSE)
        } else {
            open.post_with(&self.path, &lines, events.concat().as_bytes())
        };
        match answer {
            Ok((200, answer)) => {
                let answer = String::from_utf8_lossy(answer);
                let accepted = serde_json::from_str(&answer).map_or(None, |answer: Value| answer["accepted"].as_u64());
                if accepted == Some(last - first + 1) {
                    return Ok(true);
                }
                Err(io::Error::other(format!("{} events were sent, the answer is {answer}", last - first + 1)))
            }
            // Overloaded or stopping: not acknowledged, which is all that counts here.
            Ok((429 | 503, _)) => {
                std::thread::sleep(PAUSE);
                Ok(false)
            }
            Ok((status, answer)) => Err(io::Error::other(format!("{status}: {}", String::from_utf8_lossy(answer)))),
            Err(_) => {
                self.connection = None;
                Ok(false)
            }
        }
    }
}

/// Twelve keys on four partitions: every batch crosses partitions, every key meets every producer.
fn event(id: EventId) -> String {
    let key = (id.n + u64::from(id.producer)) % 12;
    format!("{{\"id\":\"{id}\",\"producer\":{},\"run\":{},\"n\":{},\"key\":\"k{key}\"}}\n", id.producer, id.run, id.n)
}
