//! What a request with events is answered: how many rows were accepted, which were not, and why.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use serde_json::{Value, json};
use tidemill_event::Rejection;
use tidemill_event::json::RowFault;
use utoipa::ToSchema;

use crate::bounds::REJECTIONS_LISTED_MAX;
use crate::problem::{Kind, Problem};

/// Counts the rows of one request. `accepted` grows only by rows that are on disk.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    rows: u64,
    accepted: u64,
    rejected: Vec<Rejection>,
    rejected_total: u64,
}

impl Verdict {
    /// One more row of the request, whatever becomes of it; its index.
    pub(crate) fn next_row(&mut self) -> u64 {
        let index = self.rows;
        self.rows += 1;
        index
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

    /// Rows on disk so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
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
    pub(crate) fn answer(self) -> Response {
        if self.accepted == 0 && self.rejected_total > 0 {
            let problem = Problem::new(
                Kind::Invalid,
                format!("none of the {} rows was taken", self.rejected_total),
                "correct the rows as `rejected` says; they are kept in the stream's `.rejected` as they came",
            );
            return self.members(problem).into_response();
        }
        let answer = Accepted { accepted: self.accepted, rejected: self.listed(), rejected_total: self.rejected_total };
        let mut response = Response::new(Body::from(serde_json::to_vec(&answer).unwrap_or_default()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
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
