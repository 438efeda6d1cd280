//! What a backup has to know of sinks: where those stand that only their target knows, and that a restored host is another one.

use std::sync::Arc;

use tidemill_connect::{Mark, Promise};
use tidemill_event::Offset;
use tidemill_log::{AppendError, Log};

use super::again::renumbered;
use super::mark::{AGAIN, ALL, key, read, stored};
use crate::deployed::Deployed;

/// Marks for the sinks whose place is noted with what they wrote, as documents. A backup has documents and not what was written: the
/// host restored from it goes on here.
pub(crate) fn marks_of_targets(log: &Log, runs: &[Arc<Deployed>], random: fn() -> u64) -> Vec<(String, Option<Vec<u8>>)> {
    let mut marks = Vec::new();
    for deployed in runs {
        for sink in deployed.sinks.iter().filter(|sink| sink.promise == Promise::ExactlyOnce) {
            let key = key(&deployed.tenant, &deployed.name, &sink.target, sink.partition.key().partition);
            let before = log.document(&key).and_then(|bytes| read(&key, &bytes));
            let next = Offset(sink.next());
            let mark = match before {
                // One that has not begun yet stands where its mark says.
                Some(before) if before.next >= next => continue,
                Some(before) => before.anew(next),
                None => Mark::new(next, format!("{:016x}", random())),
            };
            marks.push((key, Some(stored(&mark))));
        }
    }
    marks
}

/// Gives every sink of a restored log keys of its own: what the host that was backed up sent afterwards had the same offsets, and
/// receivers remember its keys. Durable when it returns.
pub fn renew_batch_keys(log: &Log, random: fn() -> u64) -> Result<(), AppendError> {
    // A document that cannot be read is as unreadable to the sink.
    let renewed = log.documents(ALL).into_iter().filter_map(|(key, bytes)| {
        let document = match key.ends_with(AGAIN) {
            true => renumbered(&bytes)?,
            false => stored(&read(&key, &bytes)?.reborn(format!("{:016x}", random()))),
        };
        Some((key, Some(document)))
    });
    let renewed: Vec<_> = renewed.collect();
    if renewed.is_empty() { Ok(()) } else { log.put_documents(renewed) }
}
