//! Producers that send as fast as they are answered, and go on when the host dies under them.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::{EventId, Ledger, PRODUCERS, STREAM};
use crate::Connection;

/// A pause while the host is dead or has no room.
const PAUSE: Duration = Duration::from_millis(10);

/// Sends from every producer until `stop`. Half of them send single events, half batches of up to 60 across all keys.
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
    let path = format!("/v1/streams/{STREAM}/events");
    let single = producer.is_multiple_of(2);
    let content_type = if single { "application/json" } else { "application/x-ndjson" };
    let mut connection = None;
    let mut first = 0;
    while !stop.load(Ordering::Relaxed) {
        let Some(open) = reconnected(&mut connection, url) else {
            std::thread::sleep(PAUSE);
            continue;
        };
        let last = if single { first } else { first + (first * 7 + u64::from(producer)) % 60 };
        let body: String = (first..=last).map(|n| event(EventId { producer, run, n })).collect();
        ledger.sending(first, last)?;
        match open.post(&path, content_type, body.as_bytes()) {
            Ok((200, answer)) => {
                let answer = String::from_utf8_lossy(answer);
                let accepted = serde_json::from_str(&answer).map_or(None, |answer: Value| answer["accepted"].as_u64());
                if accepted != Some(last - first + 1) {
                    return Err(io::Error::other(format!("{} events were sent, the answer is {answer}", last - first + 1)));
                }
                ledger.acknowledged(first, last)?;
            }
            // Overloaded or stopping: not acknowledged, which is all that counts here.
            Ok((429 | 503, _)) => std::thread::sleep(PAUSE),
            Ok((status, answer)) => return Err(io::Error::other(format!("{status}: {}", String::from_utf8_lossy(answer)))),
            Err(_) => connection = None,
        }
        // Never sent again: whether an unanswered request was taken is not known, and both are right.
        first = last + 1;
    }
    Ok(())
}

/// The connection there is, or a new one; none while the host is dead.
fn reconnected<'a>(connection: &'a mut Option<Connection>, url: &str) -> Option<&'a mut Connection> {
    if connection.is_none() {
        *connection = Connection::open(url).ok();
    }
    connection.as_mut()
}

/// Twelve keys on four partitions: every batch crosses partitions, every key meets every producer.
fn event(id: EventId) -> String {
    let key = (id.n + u64::from(id.producer)) % 12;
    format!("{{\"id\":\"{id}\",\"producer\":{},\"run\":{},\"n\":{},\"key\":\"k{key}\"}}\n", id.producer, id.run, id.n)
}
