//! What a request with events is answered: how many rows were accepted, which were not, and why.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidemill_event::json::RowFault;
use tidemill_event::{Reason, Rejection};
use tidemill_log::RequestSeen;
use utoipa::ToSchema;

use crate::bounds::{REJECTIONS_LISTED_MAX, REMEMBERED_ANSWER_BYTES_MAX};
use crate::problem::{Kind, Problem};
use crate::reply::Reply;

/// What most requests are answered: one event, taken.
const ONE_ACCEPTED: &[u8] = br#"{"accepted":1,"rejected":[],"rejected_total":0}"#;

/// Counts the rows of one request. `accepted` grows only by rows that are on disk.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    rows: u64,
    accepted: u64,
    rejected: Vec<Rejection>,
    rejected_total: u64,
    /// What of both an earlier request of the same name had decided.
    before: (u64, u64),
    /// Whether it is what an earlier request of the same name was answered.
    is_duplicate: bool,
    /// Whether `accepted` rows may not be on disk yet, because the client did not ask for that.
    is_in_memory: bool,
}

impl Verdict {
    /// That of a request whose first rows were decided by an earlier one of its name.
    pub(crate) fn resumed(seen: &RequestSeen) -> Self {
        let before = (seen.accepted, seen.rows.saturating_sub(seen.accepted));
        Self { accepted: before.0, rejected_total: before.1, before, ..Self::default() }
    }

    /// What a request of the same name was answered.
    pub(crate) fn remembered(answer: &[u8]) -> Option<Self> {
        let answer: Remembered = serde_json::from_slice(answer).ok()?;
        let rejected = answer.rejected.into_iter();
        let rejected = rejected.map(|(index, field, error)| {
            // The reason is not among what a client is told.
            Rejection { index, reason: Reason::Schema, field: field.map(Into::into), error }
        });
        Some(Self {
            accepted: answer.accepted,
            rejected: rejected.collect(),
            rejected_total: answer.rejected_total,
            is_duplicate: true,
            ..Self::default()
        })
    }

    /// What is kept for retries, once `accepted` rows are on disk.
    pub(crate) fn to_remember(&self, accepted: u64) -> Arc<[u8]> {
        let mut rejected: Vec<_> =
            self.rejected.iter().map(|row| (row.index, row.field.as_deref().map(str::to_owned), row.error.clone())).collect();
        loop {
            let answer = Remembered { accepted, rejected_total: self.rejected_total, rejected };
            let bytes = serde_json::to_vec(&answer).unwrap_or_default();
            if bytes.len() <= REMEMBERED_ANSWER_BYTES_MAX || answer.rejected.is_empty() {
                return bytes.into();
            }
            rejected = answer.rejected;
            rejected.truncate(rejected.len() / 2);
        }
    }

    /// Rows accepted and rejected by this request, and not by an earlier one of its name.
    pub(crate) fn decided_now(&self) -> (u64, u64) {
        if self.is_duplicate {
            return (0, 0);
        }
        (self.accepted - self.before.0, self.rejected_total - self.before.1)
    }

    /// The client does not wait for the disk.
    pub(crate) fn in_memory(&mut self) {
        self.is_in_memory = true;
    }

    /// One more row of the request, whatever becomes of it; its index.
    pub(crate) fn next_row(&mut self) -> u64 {
        let index = self.rows;
        self.rows += 1;
        index
    }

    /// So many more rows of the request, of which nothing will be said.
    pub(crate) fn next_rows(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Rows that came.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// That many rows are on disk.
    pub(crate) fn accept(&mut self, rows: u64) {
        self.accepted += rows;
    }

    /// Row `index` was not taken.
    pub(crate) fn reject(&mut self, index: u64, fault: RowFault) {
        self.rejected_total += 1;
        if self.rejected.len() < REJECTIONS_LISTED_MAX {
            self.rejected.push(Rejection { index, reason: fault.reason, field: fault.field, error: fault.error });
        }
    }

    /// Rows rejected so far.
    pub(crate) fn rejected(&self) -> u64 {
        self.rejected_total
    }

    fn listed(&self) -> Vec<RejectedEvent<'_>> {
        self.rejected
            .iter()
            .map(|row| RejectedEvent { index: row.index, field: row.field.as_deref(), error: &row.error })
            .collect()
    }

    /// 200, or 422 if every row was rejected.
    pub(crate) fn answer(self) -> Response<Reply> {
        if self.accepted == 0 && self.rejected_total > 0 {
            let problem = Problem::new(
                Kind::Invalid,
                format!("none of the {} rows was taken", self.rejected_total),
                "correct the rows as `rejected` says; they are kept in the stream's `.rejected` as they came",
            );
            let problem = self.members(problem);
            let problem = if self.is_duplicate { problem.with("duplicate", true) } else { problem };
            return problem.into_response().map(Reply::from);
        }
        let mut response = Response::new(Reply::Whole(self.accepted_bytes()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    fn accepted_bytes(&self) -> Bytes {
        if self.accepted == 1 && self.rejected_total == 0 && !self.is_duplicate && !self.is_in_memory {
            return Bytes::from_static(ONE_ACCEPTED);
        }
        let answer = Accepted {
            accepted: self.accepted,
            rejected: self.listed(),
            rejected_total: self.rejected_total,
            duplicate: self.is_duplicate.then_some(true),
            durable: self.is_in_memory.then_some(false),
        };
        serde_json::to_vec(&answer).unwrap_or_default().into()
    }

    /// A problem that came after rows were taken, or instead of them: it says how far the request got.
    pub(crate) fn members(&self, problem: Problem) -> Problem {
        let rejected: Vec<Value> = self.listed().iter().map(|event| json!(event)).collect();
        problem.with("accepted", self.accepted).with("rejected", rejected).with("rejected_total", self.rejected_total)
    }
}

/// The answer to a request with events.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted<'a> {
    /// Rows that are on disk now.
    accepted: u64,
    /// The first hundred rows that were not taken, by index.
    rejected: Vec<RejectedEvent<'a>>,
    /// How many were not taken.
    rejected_total: u64,
    /// `true` if this is the answer to an earlier request of the same name, and nothing was taken now.
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate: Option<bool>,
    /// `false` if `ack=memory` was asked for: the rows are not known to be on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    durable: Option<bool>,
}

/// An answer as it is kept for retries.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    accepted: u64,
    rejected_total: u64,
    rejected: Vec<(u64, Option<String>, String)>,
}

/// A row that was not taken.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RejectedEvent<'a> {
    /// Which row of the request, counted from 0.
    index: u64,
    /// The field at fault, or null.
    field: Option<&'a str>,
    /// What is wrong with it.
    error: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_answer_is_the_one_that_would_be_written() {
        let mut verdict = Verdict::default();
        verdict.accept(1);
        let written = Accepted { accepted: 1, rejected: Vec::new(), rejected_total: 0, duplicate: None, durable: None };
        assert_eq!(verdict.accepted_bytes(), serde_json::to_vec(&written).expect("plain numbers"));
        verdict.in_memory();
        assert_ne!(verdict.accepted_bytes(), ONE_ACCEPTED);
    }
}
