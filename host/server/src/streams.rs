//! Streams: `PUT`, `GET`, list (contract §2). What a definition means and which changes fit is `tidemill_event`'s to say.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tidemill_engine::DeleteStreamError;
use tidemill_event::definition_json::{self, Compatibility};
use tidemill_event::{SchemaVersion, StreamDefinition, StreamId, StreamName};
use tidemill_log::{Stream, StreamError, Visibility};
use tokio::task::block_in_place;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::body::declaration;
use crate::bounds::VERSIONS_LISTED_MAX;
use crate::host::Host;
use crate::ingest::stream_problem;
use crate::problem::{Kind, Problem, ProblemDocument};

/// Suffixes of streams that are only the host's own business.
const INTERNAL: [&str; 1] = ["progress"];

/// A stream as answered: its definition, and where its partitions begin and end.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StreamView {
    /// Its name.
    name: String,
    /// The version of its schema, from 1.
    version: u32,
    /// As in the request, with what was left out filled in.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    definition: Map<String, Value>,
    /// What is on disk.
    offsets: Vec<PartitionView>,
    /// Its last schemas, the newest last; only where one stream is asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    versions: Vec<VersionView>,
}

/// One schema of a stream.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionView {
    /// Its number, from 1.
    version: u32,
    /// Its fields, as a definition lists them.
    #[schema(value_type = Vec<Object>)]
    fields: Value,
}

/// One partition of a stream.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartitionView {
    /// Its number.
    partition: u32,
    /// The first offset kept.
    start: u64,
    /// The first unwritten offset.
    end: u64,
}

/// Every stream.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StreamList {
    /// By name.
    streams: Vec<StreamView>,
}

impl StreamView {
    fn new(stream: &Stream) -> Self {
        let version = stream.version();
        let definition = stream.definition_at(version).unwrap_or_else(|| stream.definition());
        let mut definition = match definition_json::to_json(&definition, version) {
            Value::Object(members) => members,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
        };
        // It stands beside it already.
        definition.remove("version");
        let offsets = stream.partitions().iter().map(|partition| PartitionView {
            partition: partition.key().partition.0,
            start: partition.trim_point().0,
            end: partition.end(Visibility::Durable).0,
        });
        Self {
            name: stream.id().stream.as_str().to_owned(),
            version: version.0,
            definition,
            offsets: offsets.collect(),
            versions: Vec::new(),
        }
    }
}

/// Make a stream, or give it a compatible schema.
#[utoipa::path(
    put, path = "/v1/streams/{stream}", tag = "streams",
    params(("stream" = String, Path, description = "A name of your own, without a dot")),
    request_body(content = serde_json::Value, description = "Fields, `time`, `key`, `partitions`, `unknown`, `retention`, `compatibility`; or `{\"schema\": \"infer\"}`"),
    responses(
        (status = 200, description = "The same, or compatible and changed", body = StreamView),
        (status = 201, description = "Made", body = StreamView),
        (status = 400, description = "Not JSON", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Another one exists: `differences` names each", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "No definition: `faults` names each", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn put_stream(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let body = declaration(&host, request, &["application/json"]).await?;
    let name = StreamName::from_client(&name)
        .map_err(|error| Problem::new(Kind::BadParameter, format!("the stream's name: {error}"), "choose another name"))?;
    let wanted = parse(&name, &body)?;
    let id = StreamId::new(caller.tenant().clone(), name);
    // Made once or changed a few times in a stream's life: waiting for the disk here is no matter.
    block_in_place(|| put(&host, &id, wanted))
}

fn put(host: &Host, id: &StreamId, wanted: StreamDefinition) -> Result<Response, Problem> {
    let answer = |status: StatusCode, stream: &Stream| (status, Json(StreamView::new(stream))).into_response();
    if host.log().stream(id).is_none() {
        match host.log().create_stream(id, wanted.clone()) {
            Ok(stream) => return Ok(answer(StatusCode::CREATED, &stream)),
            // Somebody was faster: what they made is compared like any other.
            Err(StreamError::Exists(_)) => {}
            Err(error) => return Err(stream_problem(&error)),
        }
    }
    let Some(stream) = host.log().stream(id) else {
        return Err(Problem::new(Kind::Conflict, format!("`{}` is being made just now", id.stream), "send the request again"));
    };
    let old = stream.definition();
    let different = |differences: Vec<String>| {
        let detail = format!("`{}` exists and is different: {}", id.stream, differences.join("; "));
        let remedy = "send a definition as `differences` say, or make a stream with another name";
        Err(Problem::new(Kind::Conflict, detail, remedy).with("differences", differences))
    };
    match definition_json::compare(&old, &wanted) {
        Compatibility::Same => Ok(answer(StatusCode::OK, &stream)),
        Compatibility::Compatible { definition, .. } => {
            host.log().evolve_stream(id, definition.schema.clone()).map_err(|error| stream_problem(&error))?;
            host.log().update_stream(id, *definition).map_err(|error| stream_problem(&error))?;
            Ok(answer(StatusCode::OK, &stream))
        }
        Compatibility::Incompatible(differences) => different(differences),
    }
}

fn parse(name: &StreamName, body: &Bytes) -> Result<StreamDefinition, Problem> {
    let mut members: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| Problem::new(Kind::BadBody, format!("the definition is no JSON object: {error}"), "correct it there"))?;
    // A client may send back what it read.
    members.remove("offsets");
    members.remove("versions");
    let text = serde_json::to_vec(&members).unwrap_or_default();
    definition_json::parse_for(&text, name).map_err(|faults| {
        let list: Vec<Value> = faults.0.iter().map(|fault| json!({"path": fault.path, "error": fault.error})).collect();
        Problem::new(Kind::Invalid, faults.to_string(), "correct the definition as `faults` says").with("faults", list)
    })
}

/// One stream.
#[utoipa::path(
    get, path = "/v1/streams/{stream}", tag = "streams",
    params(("stream" = String, Path, description = "Any stream, the host's `x.rejected` and `x.dead-letters` too")),
    responses(
        (status = 200, description = "The stream", body = StreamView),
        (status = 404, description = "No such stream", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_stream(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<StreamView>, Problem> {
    let stream = find(&host, &caller, &name)?;
    let mut view = StreamView::new(&stream);
    let first = view.version.saturating_sub(VERSIONS_LISTED_MAX - 1).max(1);
    view.versions = (first..=view.version)
        .filter_map(|version| {
            let definition = stream.definition_at(SchemaVersion(version))?;
            let fields = definition_json::to_json(&definition, SchemaVersion(version)).get_mut("fields").map(Value::take)?;
            Some(VersionView { version, fields })
        })
        .collect();
    Ok(Json(view))
}

/// Remove a stream with its rows, what was rejected at its door, and what consumers have committed to it.
///
/// Readers are told that it is gone. A stream of the same name is another one.
#[utoipa::path(
    delete, path = "/v1/streams/{stream}", tag = "streams",
    params(("stream" = String, Path, description = "Any stream that no pipeline reads or writes")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "No such stream", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Used: `pipelines` names them", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn delete_stream(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let stream = find(&host, &caller, &name)?.id().stream.clone();
    let deleted = block_in_place(|| host.engine().pipelines().delete_stream(caller.tenant(), &stream));
    deleted.map_err(|error| match error {
        DeleteStreamError::Unknown(_) => Problem::unknown_stream(&name),
        DeleteStreamError::Used { pipelines } => {
            let detail = format!("used by {}", pipelines.join(", "));
            Problem::new(Kind::Conflict, detail, "delete or change these pipelines first").with("pipelines", pipelines)
        }
        error @ DeleteStreamError::KeptFrom { .. } => {
            Problem::new(Kind::Conflict, error.to_string(), "delete these tables first")
        }
        DeleteStreamError::Storage(why) => {
            Problem::new(Kind::Stopping, why, "look at the host's disk and log, then send it again")
        }
    })?;
    // A later stream of that name would not see them, but they would be there for ever.
    if let Err(error) = block_in_place(|| host.consumers().sweep(Some(caller.tenant()))) {
        tracing::warn!(%error, stream = name, "what consumers committed to a deleted stream is removed at the next start");
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Every stream, by name.
#[utoipa::path(
    get, path = "/v1/streams", tag = "streams",
    responses((status = 200, description = "By name", body = StreamList))
)]
pub(crate) async fn list_streams(State(host): State<Host>, caller: Caller) -> Json<StreamList> {
    let own = |stream: &std::sync::Arc<Stream>| {
        let id = stream.id();
        &id.tenant == caller.tenant() && !id.stream.suffix().is_some_and(|suffix| INTERNAL.contains(&suffix))
    };
    let streams = host.log().streams().iter().filter(|stream| own(stream)).map(|stream| StreamView::new(stream)).collect();
    Json(StreamList { streams })
}

/// The caller's stream of that name, dotted or not.
pub(crate) fn find(host: &Host, caller: &Caller, name: &str) -> Result<std::sync::Arc<Stream>, Problem> {
    let parsed: StreamName = name.parse().map_err(|error| {
        Problem::new(Kind::BadParameter, format!("the stream's name: {error}"), "GET /v1/streams lists the names there are")
    })?;
    host.log().stream(&StreamId::new(caller.tenant().clone(), parsed)).ok_or_else(|| Problem::unknown_stream(name))
}
