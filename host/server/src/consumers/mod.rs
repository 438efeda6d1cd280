//! Named consumers: readers whose committed offsets the host keeps (contract §4). `GET …/events?consumer=billing` begins there;
//! what a reader has worked on it commits itself, so that nothing it was only sent counts as done.

mod beyond;
mod store;

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use http::{Request, Uri};
use serde::{Deserialize, Serialize};
use tidemill_event::{ConsumerName, Offset, PartitionId};
use tidemill_log::{Partition, Stream, Visibility};
use tokio::task::block_in_place;
use utoipa::{IntoParams, ToSchema};

pub use self::beyond::consumers_beyond;
use self::store::CommitError;
pub(crate) use self::store::{Committed, Consumers};
use crate::auth::Caller;
use crate::body::said;
use crate::bounds::CONSUMERS_MAX;
use crate::host::Host;
use crate::ingest::append_problem;
use crate::parameters::parameters;
use crate::problem::{Kind, Problem, ProblemDocument};
use crate::read::Places;
use crate::streams;

/// A consumer: how far it has committed, and how much lies before it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConsumerView {
    /// Its name.
    consumer: String,
    /// The stream it reads.
    stream: String,
    /// By partition, the first offset it has not committed: as a commit takes it.
    #[schema(example = json!({"0": 123, "1": 99}))]
    offsets: BTreeMap<u32, u64>,
    /// When it last committed (RFC 3339).
    committed_at: String,
    /// Rows on disk that it has not committed.
    lag: u64,
    /// Each partition of the stream.
    partitions: Vec<ConsumerPartition>,
}

/// A consumer's place in one partition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConsumerPartition {
    /// Its number.
    partition: u32,
    /// The first offset not committed; null where nothing was.
    offset: Option<u64>,
    /// The first offset kept: above `offset`, rows were removed before they were committed.
    start: u64,
    /// The first unwritten offset.
    end: u64,
    /// Rows on disk that were not committed.
    lag: u64,
}

/// The consumers of a stream.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConsumerList {
    /// By name.
    consumers: Vec<ConsumerView>,
}

impl ConsumerView {
    fn new(stream: &Stream, consumer: &ConsumerName, committed: &Committed) -> Self {
        let view = |partition: &std::sync::Arc<Partition>| {
            let id = partition.key().partition;
            let (offset, start, end) = (committed.places.get(id), partition.trim_point().0, partition.end(Visibility::Durable).0);
            let lag = end.saturating_sub(offset.map_or(start, |offset| offset.0.max(start)));
            ConsumerPartition { partition: id.0, offset: offset.map(|offset| offset.0), start, end, lag }
        };
        let partitions: Vec<ConsumerPartition> = stream.partitions().iter().map(view).collect();
        Self {
            consumer: consumer.as_str().to_owned(),
            stream: stream.id().stream.as_str().to_owned(),
            offsets: committed.places.0.iter().map(|(partition, offset)| (partition.0, offset.0)).collect(),
            committed_at: committed.at.to_rfc3339(),
            lag: partitions.iter().map(|partition| partition.lag).sum(),
            partitions,
        }
    }
}

/// The query of a commit.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CommitParameters {
    /// `true`: go back too, to take rows again.
    force: Option<bool>,
}

/// The consumers of a stream.
#[utoipa::path(
    get, path = "/v1/streams/{stream}/consumers", tag = "events",
    params(("stream" = String, Path, description = "Any stream")),
    responses(
        (status = 200, description = "By name", body = ConsumerList),
        (status = 404, description = "No such stream", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_consumers(
    State(host): State<Host>,
    caller: Caller,
    Path(stream): Path<String>,
) -> Result<Json<ConsumerList>, Problem> {
    let stream = streams::find(&host, &caller, &stream)?;
    let consumers = host.consumers().list(&stream);
    let consumers = consumers.iter().map(|(name, committed)| ConsumerView::new(&stream, name, committed)).collect();
    Ok(Json(ConsumerList { consumers }))
}

/// One consumer, with its lag.
#[utoipa::path(
    get, path = "/v1/streams/{stream}/consumers/{consumer}", tag = "events",
    params(("stream" = String, Path, description = "Any stream"), ("consumer" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The consumer", body = ConsumerView),
        (status = 404, description = "No such stream, or it never committed", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_consumer(
    State(host): State<Host>,
    caller: Caller,
    Path((stream, consumer)): Path<(String, String)>,
) -> Result<Json<ConsumerView>, Problem> {
    let stream = streams::find(&host, &caller, &stream)?;
    let consumer = name(&consumer)?;
    let committed = host.consumers().find(&stream, &consumer).ok_or_else(|| unknown(&stream, &consumer))?;
    Ok(Json(ConsumerView::new(&stream, &consumer, &committed)))
}

/// Commit offsets.
///
/// The body names, by partition, the first offset that is not done: `{"0": 123, "1": 99}`. Partitions it leaves out stay where they
/// are. The first commit makes the consumer. The answer means that the commit is on disk.
#[utoipa::path(
    post, path = "/v1/streams/{stream}/consumers/{consumer}/commit", tag = "events",
    params(
        ("stream" = String, Path, description = "Any stream"),
        ("consumer" = String, Path, description = "A name, as streams have"),
        CommitParameters,
    ),
    request_body(content = std::collections::BTreeMap<String, u64>, description = "By partition, the first offset that is not done", example = json!({"0": 123, "1": 99})),
    responses(
        (status = 200, description = "Committed", body = ConsumerView),
        (status = 400, description = "No JSON object of offsets", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such stream", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It would go back: `partition`, `committed`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "Beyond the end (`partition`, `end`), no such partition, or too many consumers", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn commit(
    State(host): State<Host>,
    caller: Caller,
    Path((stream, consumer)): Path<(String, String)>,
    uri: Uri,
    request: Request<Body>,
) -> Result<Json<ConsumerView>, Problem> {
    let stream = streams::find(&host, &caller, &stream)?;
    let consumer = name(&consumer)?;
    let parameters: CommitParameters = parameters(&uri, "the only parameter is `force=true`")?;
    let remedy = "send an object of partition and next offset, such as {\"0\": 123, \"1\": 99}";
    let offsets: BTreeMap<u32, u64> = said(&host, request, remedy).await?;
    let places = Places(offsets.into_iter().map(|(partition, offset)| (PartitionId(partition), Offset(offset))).collect());
    let force = parameters.force.unwrap_or(false);
    let now = host.clock().now();
    let committed = block_in_place(|| host.consumers().commit(&stream, &consumer, &places, force, now));
    let committed = committed.map_err(|error| refused(&stream, error))?;
    Ok(Json(ConsumerView::new(&stream, &consumer, &committed)))
}

/// Forget a consumer.
#[utoipa::path(
    delete, path = "/v1/streams/{stream}/consumers/{consumer}", tag = "events",
    params(("stream" = String, Path, description = "Any stream"), ("consumer" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "Forgotten"),
        (status = 404, description = "No such stream, or it never committed", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn delete_consumer(
    State(host): State<Host>,
    caller: Caller,
    Path((stream, consumer)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let stream = streams::find(&host, &caller, &stream)?;
    let consumer = name(&consumer)?;
    let deleted = block_in_place(|| host.consumers().delete(&stream, &consumer)).map_err(|error| append_problem(&error))?;
    if deleted { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(unknown(&stream, &consumer)) }
}

fn name(text: &str) -> Result<ConsumerName, Problem> {
    text.parse().map_err(|error| Problem::new(Kind::BadParameter, format!("the consumer's name: {error}"), "choose another name"))
}

fn unknown(stream: &Stream, consumer: &ConsumerName) -> Problem {
    let name = &stream.id().stream;
    Problem::new(
        Kind::UnknownConsumer,
        format!("`{consumer}` has committed nothing of `{name}`"),
        format!("its first commit makes it: POST /v1/streams/{name}/consumers/{consumer}/commit"),
    )
}

fn refused(stream: &Stream, error: CommitError) -> Problem {
    match error {
        CommitError::NoPartition(partition) => Problem::new(
            Kind::Invalid,
            format!("there is no partition {}: the stream has {}, counted from 0", partition.0, stream.partitions().len()),
            "commit partitions that are there",
        ),
        CommitError::BeyondEnd { partition, offset, end } => Problem::new(
            Kind::Invalid,
            format!("partition {} ends at {end}: {offset} is beyond it", partition.0),
            "commit the offset behind the last row that was taken",
        )
        .with("partition", partition.0)
        .with("end", end.0),
        CommitError::Backwards { partition, offset, committed } => Problem::new(
            Kind::Conflict,
            format!("partition {} is committed up to {committed}: {offset} would go back", partition.0),
            "leave that partition out, or add `?force=true` to take its rows again",
        )
        .with("partition", partition.0)
        .with("committed", committed.0),
        CommitError::TooMany => Problem::new(
            Kind::Invalid,
            format!("the stream has {CONSUMERS_MAX} consumers, and that is the most there may be"),
            "delete one that nobody needs",
        ),
        CommitError::Log(error) => append_problem(&error),
    }
}
