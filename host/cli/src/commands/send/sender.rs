//! Sends requests under their names until they are answered.
//!
//! A host that is busy, full, stopping or gone is waited for, longer each time, for as long as the run's patience lasts. A request
//! that was taken in part goes on behind what was taken: the host knows by its name.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::{Value, json};
use ureq::SendBody;
use ureq::http::Method;

use super::names::Producer;
use super::packing::Packing;
use crate::client::{Answer, Client, encoded};
use crate::exit::{Failure, NOT_REACHED};

/// How many rejections are shown, over all requests.
const REJECTIONS_SHOWN: usize = 20;
/// The pauses between attempts: the first one, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What all requests together came to.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    /// Rows of requests that an earlier run of the same name had sent.
    pub(super) taken_before: u64,
    /// The first ones, with `line` counted from 1 where the file has lines.
    pub(super) rejections: Vec<Value>,
}

pub(super) struct Sender<'a> {
    client: &'a Client,
    path: String,
    producer: &'a Producer,
    /// The producer as the host knows it.
    name: String,
    packing: Packing,
    patience: Duration,
    bar: ProgressBar,
    totals: Totals,
}

impl<'a> Sender<'a> {
    pub(super) fn new(
        client: &'a Client,
        stream: &str,
        producer: &'a Producer,
        packing: Packing,
        patience: Duration,
        bar: ProgressBar,
    ) -> Self {
        let path = format!("/v1/streams/{}/events", encoded(stream));
        Self { client, path, producer, name: producer.of(b""), packing, patience, bar, totals: Totals::default() }
    }

    /// The file begins so.
    pub(super) fn is_of(&mut self, beginning: &[u8]) {
        self.name = self.producer.of(beginning);
    }

    pub(super) fn into_totals(self) -> Totals {
        self.totals
    }

    /// One request. `line` finds the line of a row of it. If an earlier one of its name was answered, how many rows that one had.
    pub(super) fn request(
        &mut self,
        sequence: u64,
        body: &[u8],
        content_type: &str,
        line: &dyn Fn(u64) -> Option<u64>,
    ) -> Result<Option<u64>, Failure> {
        let (answer, was_sent) = self.answered(sequence, body, content_type)?;
        self.bar.inc(body.len() as u64);
        let number = |key: &str| answer.body.get(key).and_then(Value::as_u64).unwrap_or(0);
        let is_duplicate = answer.body.get("duplicate").and_then(Value::as_bool).unwrap_or(false);
        let known = is_duplicate.then(|| number("accepted") + number("rejected_total"));
        if let Some(rows) = known.filter(|_| !was_sent) {
            self.totals.taken_before += rows;
            return Ok(known);
        }
        self.count(answer, line)?;
        Ok(known)
    }

    /// The answer that counts, and whether the request was sent before in this run.
    fn answered(&mut self, sequence: u64, body: &[u8], content_type: &str) -> Result<(Answer, bool), Failure> {
        let unpackable = |error| Failure::failed(format!("cannot pack: {error}"));
        let (mut packed, mut encoding) = self.packing.pack(body).map_err(unpackable)?;
        let sequence = sequence.to_string();
        let mut was_sent = false;
        let mut waiting = Waiting::new(self.patience);
        loop {
            let length = packed.len().to_string();
            let mut headers = vec![
                ("content-type", content_type),
                ("content-length", length.as_str()),
                ("tidemill-producer", self.name.as_str()),
                ("tidemill-sequence", sequence.as_str()),
            ];
            headers.extend(encoding.map(|encoding| ("content-encoding", encoding)));
            let asked = self.client.ask(Method::POST, &self.path, &headers, SendBody::from_reader(&mut &*packed));
            let (pause, why) = match &asked {
                Ok(answer) if answer.status == 413 && encoding.is_some() => {
                    // Rows that are all alike pack so well that they look like a bomb.
                    (packed, encoding) = Packing::None.pack(body).map_err(unpackable)?;
                    was_sent = true;
                    continue;
                }
                Ok(answer) if matches!(answer.status, 429 | 503 | 507) => {
                    (waiting.pause(answer.retry_after), "the host has no room, waiting")
                }
                Err(failure) if failure.code == NOT_REACHED => (waiting.pause(None), "the host is away, waiting"),
                Ok(_) | Err(_) => (None, ""),
            };
            let Some(pause) = pause else { return asked.map(|answer| (answer, was_sent)) };
            was_sent = true;
            self.bar.set_message(why);
            std::thread::sleep(pause);
            self.bar.set_message("");
        }
    }

    fn count(&mut self, answer: Answer, line: &dyn Fn(u64) -> Option<u64>) -> Result<(), Failure> {
        let number = |key: &str| answer.body.get(key).and_then(Value::as_u64);
        self.totals.accepted += number("accepted").unwrap_or(0);
        let rejected = number("rejected_total");
        self.totals.rejected += rejected.unwrap_or(0);
        let listed = answer.body.get("rejected").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for rejection in listed.iter().take(REJECTIONS_SHOWN.saturating_sub(self.totals.rejections.len())) {
            let mut rejection = rejection.clone();
            let line = rejection.get("index").and_then(Value::as_u64).and_then(line);
            if let (Some(line), Some(members)) = (line, rejection.as_object_mut()) {
                members.insert("line".to_owned(), json!(line));
            }
            self.totals.rejections.push(rejection);
        }
        // 422 with rows in it: all of this request was rejected, which other requests may not share.
        if answer.status == 422 && rejected.is_some_and(|rejected| rejected > 0) {
            return Ok(());
        }
        answer.expect_success().map(|_| ())
    }
}

/// How long one request waits for a host that does not take it.
struct Waiting {
    began: Instant,
    patience: Duration,
    next: Duration,
}

impl Waiting {
    fn new(patience: Duration) -> Self {
        Self { began: Instant::now(), patience, next: PAUSES.0 }
    }

    /// The next pause: what the host said, or twice the last one, a random part of it less, so that many senders do not come back
    /// at once. `None` when patience is at its end.
    fn pause(&mut self, said: Option<Duration>) -> Option<Duration> {
        let mut random = [0; 1];
        // Without it they come back at once, which is no reason to give up.
        let _ = getrandom::fill(&mut random);
        let pause = self.next.max(said.unwrap_or_default()).min(PAUSES.1).mul_f32(1.0 - f32::from(random[0]) / 1_024.0);
        self.next = (self.next * 2).min(PAUSES.1);
        (self.began.elapsed() + pause < self.patience).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_end_with_patience() {
        let mut waiting = Waiting::new(Duration::from_secs(3600));
        let pauses: Vec<Duration> = (0..12).filter_map(|_| waiting.pause(None)).collect();
        assert!((75..=100).contains(&pauses[0].as_millis()) && (150..=200).contains(&pauses[1].as_millis()), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= PAUSES.1) && pauses[11] >= PAUSES.1.mul_f32(0.7), "{pauses:?}");
        assert!(waiting.pause(Some(Duration::from_secs(3600))).is_some_and(|pause| pause <= PAUSES.1));
        assert_eq!(Waiting::new(Duration::ZERO).pause(None), None);
    }
}
