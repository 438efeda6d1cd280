//! Requests that may be sent twice (contract §3): each is named by its writer and a number, and taken once.
//!
//! ```text
//! header lines ─▶ RequestName ─▶ turn: one request of a name at a time ─▶ known? ─ done ────▶ the first one's answer
//!                                                                              ├─ in part ─▶ its decided rows are skipped
//!                                                                              ├─ no ──────▶ taken; rows and mark land together
//!                                                                              └─ forgotten ▶ refused: to take it may be to take it twice
//! ```
//! What is remembered is the log's: exactly what is on disk. The name says which request it is, the body does not: other bytes under
//! a name that is known are answered as the first ones were, and not read.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use crate::bounds::{RETRY_TURN_WAIT, WRITER_BYTES_MAX};
use crate::problem::{Kind, Problem};

/// Before an `Idempotency-Key`, where it is a writer of the log.
const KEY: &str = "key:";
/// Before a producer's name.
const PRODUCER: &str = "producer:";

/// Which request it is, of all that were sent to its stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RequestName {
    /// `key:…` or `producer:…`.
    pub(crate) writer: Arc<str>,
    /// Which of the writer's; a key names one request only.
    pub(crate) sequence: Option<u64>,
}

impl RequestName {
    /// What a request is told of which nobody knows whether it was taken: higher numbers of its producer were, up to `through`.
    pub(crate) fn forgotten(&self, through: u64) -> Problem {
        let producer = self.writer.strip_prefix(PRODUCER).unwrap_or(&self.writer);
        let detail = format!(
            "request {} of producer `{producer}` is not remembered: numbers up to {through} were, and are forgotten by now",
            self.sequence.unwrap_or_default(),
        );
        let remedy = format!(
            "numbers go up: send new events under one above {through}; if this is a retry, look in the stream whether its events are there first"
        );
        Problem::new(Kind::ForgottenRequest, detail, remedy).with("forgotten_through", through)
    }
}

// Parsed once: a name that is text is parsed again by each look-up.
static KEY_LINE: HeaderName = HeaderName::from_static("idempotency-key");
static PRODUCER_LINE: HeaderName = HeaderName::from_static("tidemill-producer");
static SEQUENCE_LINE: HeaderName = HeaderName::from_static("tidemill-sequence");

/// The name that a request's header gives it, if any.
pub(crate) fn name(headers: &HeaderMap) -> Result<Option<RequestName>, Problem> {
    let (key, producer) = (text(headers, &KEY_LINE)?, text(headers, &PRODUCER_LINE)?);
    let sequence = text(headers, &SEQUENCE_LINE)?;
    let wrong = |detail: &str, remedy: &str| Err(Problem::new(Kind::BadParameter, detail, remedy));
    match (key, producer, sequence) {
        (None, None, None) => Ok(None),
        (Some(key), None, None) => Ok(Some(RequestName { writer: format!("{KEY}{key}").into(), sequence: None })),
        (None, Some(producer), Some(sequence)) => match sequence.parse() {
            Ok(sequence) => Ok(Some(RequestName { writer: format!("{PRODUCER}{producer}").into(), sequence: Some(sequence) })),
            Err(_) => wrong("`Tidemill-Sequence` is no whole number", "number the producer's requests from 0"),
        },
        (None, ..) => wrong(
            "`Tidemill-Producer` and `Tidemill-Sequence` go together, and one of them is missing",
            "send both, or `Idempotency-Key` alone",
        ),
        (Some(_), ..) => wrong("the request has two names", "send `Idempotency-Key`, or producer and sequence, not both"),
    }
}

fn text<'a>(headers: &'a HeaderMap, line: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(line).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        let detail = format!("`{line}` stands there twice");
        return Err(Problem::new(Kind::BadParameter, detail, "send it once: it says which request this is"));
    }
    match value.to_str() {
        Ok(text) if !text.is_empty() && text.len() <= WRITER_BYTES_MAX => Ok(Some(text)),
        Ok(_) | Err(_) => {
            let detail = format!("`{line}` is empty, longer than {WRITER_BYTES_MAX} bytes, or not ASCII");
            Err(Problem::new(Kind::BadParameter, detail, "choose a shorter text, such as a UUID"))
        }
    }
}

/// The named requests to one stream that are being taken.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<RequestName, Arc<tokio::sync::Mutex<()>>>>);

/// The right to take the request of a name. Others of the same name wait until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    name: RequestName,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until no other request of this name is being taken. Dropping the future gives the place up.
    pub(crate) async fn take(self: &Arc<Self>, name: &RequestName) -> Result<Turn, Problem> {
        let turn = self.0.lock().entry(name.clone()).or_default().clone();
        // Made before it waits: whoever gives up waiting clears the place too.
        let mut taken = Turn { turns: self.clone(), name: name.clone(), held: None };
        match timeout(RETRY_TURN_WAIT, turn.lock_owned()).await {
            Ok(held) => taken.held = Some(held),
            Err(_) => return Err(Problem::overloaded("the first request of this name is still being taken")),
        }
        Ok(taken)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // The others first: who waits holds a clone, and keeps the place.
        self.held = None;
        let mut turns = self.turns.0.lock();
        if turns.get(&self.name).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn check(lines: &[(&'static str, &'static str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        match name(&headers) {
            Ok(None) => "none".to_owned(),
            Ok(Some(name)) => format!("{} {:?}", name.writer, name.sequence),
            Err(problem) => format!("{:?}", problem.kind()),
        }
    }

    #[test]
    fn names() {
        assert_eq!(check(&[]), "none");
        assert_eq!(check(&[("idempotency-key", "a b")]), "key:a b None");
        assert_eq!(check(&[("tidemill-producer", "p"), ("tidemill-sequence", "7")]), "producer:p Some(7)");
        for wrong in [
            &[("idempotency-key", "")][..],
            &[("tidemill-producer", "p")],
            &[("tidemill-sequence", "7")],
            &[("tidemill-producer", "p"), ("tidemill-sequence", "-1")],
            &[("idempotency-key", "k"), ("tidemill-sequence", "1")],
            &[("idempotency-key", "k"), ("idempotency-key", "l")],
        ] {
            assert_eq!(check(wrong), "BadParameter", "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn requests_of_one_name_take_turns() {
        let turns = Arc::<Turns>::default();
        let name = |sequence| RequestName { writer: "producer:p".into(), sequence: Some(sequence) };
        let first = turns.take(&name(1)).await.expect("free");
        let other = turns.take(&name(2)).await.expect("another name");
        assert!(turns.take(&name(1)).now_or_never().is_none(), "it waits");
        let again = name(1);
        let waiting = turns.take(&again);
        let free = async {
            tokio::task::yield_now().await;
            drop(first);
        };
        let (waited, ()) = tokio::join!(waiting, free);
        assert!(waited.is_ok());
        drop(waited);
        drop(other);
        assert!(turns.0.lock().is_empty(), "nothing is left of names that nobody uses");
    }
}
