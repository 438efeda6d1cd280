//! Tables: what lookups look up. How bytes become a table, and which pipelines need what of it, is the engine's to say.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidemill_engine::{
    DeleteTableError, FromStream, PutTable, PutTableError, TableEntry, TableFormat, TablePut, TableRows, fields_json,
    parse_fields,
};
use tidemill_event::{PipelineName, TableName};
use tokio::task::spawn_blocking;
use utoipa::{IntoParams, ToSchema};

use crate::auth::Caller;
use crate::body::{content_type, said, unpacked};
use crate::bounds::TABLE_BYTES_MAX;
use crate::host::Host;
use crate::parameters::parameters;
use crate::problem::{Kind, Problem, ProblemDocument};

/// Rows that are told unless more are asked for.
const ROWS_TOLD: usize = 1_000;
const FORMS: [&str; 4] = ["text/csv", "application/x-ndjson", "application/vnd.apache.parquet", "application/x-maxmind-db"];

/// A table.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TableView {
    /// Its name.
    name: String,
    /// Counts its versions, from 1. A pipeline's status says which one it looks up.
    version: u64,
    /// `sha256:…` of its rows as they are kept: the same rows in the same order have the same.
    digest: String,
    /// How many rows.
    rows: u64,
    /// Bytes on disk.
    size_bytes: u64,
    /// Its columns, as stream definitions write them.
    #[schema(value_type = Vec<Object>)]
    fields: Value,
    /// Columns by which no two rows are alike; empty if nobody said.
    key: Vec<String>,
    /// When this version came, RFC 3339.
    put_at: String,
    /// Older versions that are kept, because a pipeline would look them up again after a crash.
    kept_versions: Vec<u64>,
    /// The pipelines that look it up.
    used_by: Vec<String>,
    /// Where it is kept up to date from; then `rows` are those of now, and `version`, `digest` and `size_bytes` of what was last written down.
    #[serde(skip_serializing_if = "Option::is_none")]
    from_stream: Option<FromStreamView>,
}

/// How a table stands that is kept up to date from a stream.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FromStreamView {
    /// The stream.
    stream: String,
    /// The last row of each of their values is the table's.
    key: Vec<String>,
    /// A row in which this is true takes its key away; without it a row that is null beside its key and time does.
    #[serde(skip_serializing_if = "Option::is_none")]
    delete: Option<String>,
    /// Per partition of the stream, the first row it does not have yet.
    offsets: Vec<u64>,
    /// How many rows it does not have yet.
    lag_records: u64,
    /// Why it does not go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What a table shall be kept from.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeptTable {
    /// The stream, the key, and what takes keys away: `{"stream": "prices", "key": ["symbol"], "delete": "delisted"}`.
    from_stream: KeptFrom,
}

/// A stream, and what a table takes of it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeptFrom {
    /// The stream.
    stream: String,
    /// The last row of each of their values is the table's; the stream's own key unless said.
    key: Option<Vec<String>>,
    /// A bool field: a row in which it is true takes its key away. Without it a row that is null beside its key and time does.
    delete: Option<String>,
}

/// A table that was put.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PutView {
    /// The table as it is now.
    #[serde(flatten)]
    table: TableView,
    /// `false`: it had exactly these rows already.
    changed: bool,
}

/// Every table.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TableList {
    /// By name.
    tables: Vec<TableView>,
}

/// What is said of a table beside its rows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PutQuery {
    /// Columns by which no two rows may be alike, with commas between them.
    key: Option<String>,
    /// The columns as JSON, as a stream definition writes them: `[{"name": "zip", "type": "string"}]`. Without it types are found in the rows.
    schema: Option<String>,
}

/// Which rows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RowsQuery {
    /// At most so many; 1000 unless said.
    limit: Option<usize>,
    /// Without so many before them; 0 unless said.
    offset: Option<usize>,
}

fn view(host: &Host, caller: &Caller, entry: TableEntry) -> TableView {
    let users = host.engine().pipelines().using_table(caller.tenant(), &entry.name);
    TableView {
        name: entry.name.to_string(),
        version: entry.version,
        digest: entry.digest,
        rows: entry.rows,
        size_bytes: entry.size_bytes,
        fields: fields_json(&entry.fields),
        key: entry.key,
        put_at: entry.put_at.to_rfc3339(),
        kept_versions: entry.kept_versions,
        used_by: users.iter().map(PipelineName::to_string).collect(),
        from_stream: entry.from_stream.map(|from| FromStreamView {
            stream: from.stream,
            key: from.key,
            delete: from.delete,
            offsets: from.offsets,
            lag_records: from.lag_records,
            error: from.error,
        }),
    }
}

/// Make or replace a table.
///
/// All of it, or nothing: a row that cannot be taken refuses the whole body. What pipelines look up in the table must be in it with the
/// same types. They look the new version up from their next batch on; what they committed before stays as it was.
///
/// With `application/json`, `{"from_stream": {"stream": "prices", "key": ["symbol"]}}`, it is kept up to date instead: it has the last row of
/// each key by (time, order in the stream), and a row that was acknowledged before an event was sent is there when that event is looked up.
#[utoipa::path(
    put, path = "/v1/tables/{table}", tag = "tables",
    params(("table" = String, Path, description = "Its name"), PutQuery),
    request_body(content = Vec<u8>, content_type = "text/csv", description = "CSV with a header row, NDJSON (`application/x-ndjson`), Parquet (`application/vnd.apache.parquet`) or a MaxMind DB (`application/x-maxmind-db`), at most 128 MiB; `Content-Encoding` may be gzip or zstd. JSON (`application/json`) says which stream it is kept from"),
    responses(
        (status = 200, description = "Replaced, or `\"changed\": false` where it had these rows", body = PutView),
        (status = 201, description = "Made", body = PutView),
        (status = 400, description = "A wrong name or parameter", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`pipelines` look up what it would not have; or it is kept from a stream and would be put, or the other way round", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "Larger than a table may be, or than a tenant's tables together", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "Another type", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "Rows that cannot be taken: `faults` names the first 100 with their line, `faults_total` counts them", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "Other uploads come first; again after `Retry-After` seconds", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn put_table(
    State(host): State<Host>,
    caller: Caller,
    Path(table): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let name = parse(&table)?;
    let query: PutQuery = parameters(request.uri(), "they are `key` and `schema`")?;
    if request.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json")) {
        return keep(host, caller, name, &query, request).await;
    }
    let form = match content_type(&request, &FORMS)? {
        _ if !request.headers().contains_key(CONTENT_TYPE) => {
            let remedy = format!("send `{}`", FORMS.join("` or `"));
            return Err(Problem::new(Kind::WrongType, "the request has no `Content-Type`", remedy));
        }
        "text/csv" => TableFormat::Csv,
        "application/x-ndjson" => TableFormat::Ndjson,
        "application/x-maxmind-db" => TableFormat::Mmdb,
        _ => TableFormat::Parquet,
    };
    let bad = |name: &str, why: String, remedy: &str| Problem::new(Kind::BadParameter, format!("`{name}`: {why}"), remedy);
    let fields = query.schema.as_deref().map(|schema| {
        let remedy = r#"write JSON as in a stream definition: [{"name": "zip", "type": "string"}]"#;
        let json: Value = serde_json::from_str(schema).map_err(|error| bad("schema", error.to_string(), remedy))?;
        parse_fields(&json).map_err(|why| bad("schema", why, remedy))
    });
    let key: Vec<String> = query.key.iter().flat_map(|key| key.split(',')).map(|name| name.trim().to_owned()).collect();
    if key.iter().any(String::is_empty) {
        return Err(bad("key", "a column has no name".to_owned(), "write `key=iata`, or several with commas between them"));
    }
    let busy =
        || Problem::new(Kind::TooMany, "too many tables are uploaded at once", "upload it again after `Retry-After` seconds");
    let room = host.table_room().try_acquire_owned().map_err(|_| busy())?;
    let fields = fields.transpose()?;
    let body = unpacked(&host, request, TABLE_BYTES_MAX).await?;
    let put = PutTable { tenant: caller.tenant().clone(), name, rows: TableRows { format: form, body, key, fields } };
    let engine = host.engine().clone();
    let done = spawn_blocking(move || {
        let done = engine.pipelines().put_table(&put);
        drop(room);
        done
    });
    let done = done.await.map_err(|error| {
        // A hostile file may have found a fault of a reader: it is refused like any other that cannot be read.
        tracing::error!(%error, "putting a table ended in a panic");
        Problem::new(Kind::Invalid, "the host failed on this file", "write it with another program, and report it")
    })?;
    Ok(answer(&host, &caller, done.map_err(refused)?))
}

fn answer(host: &Host, caller: &Caller, put: TablePut) -> Response {
    let status = if put.created { StatusCode::CREATED } else { StatusCode::OK };
    (status, Json(PutView { table: view(host, caller, put.table), changed: put.changed })).into_response()
}

/// Keeps a table up to date from a stream.
async fn keep(
    host: Host,
    caller: Caller,
    name: TableName,
    query: &PutQuery,
    request: Request<Body>,
) -> Result<Response, Problem> {
    if query.key.is_some() || query.schema.is_some() {
        let detail = "`key` and `schema` are for rows that are put";
        return Err(Problem::new(Kind::BadParameter, detail, "say the key in the body; the columns are those of the stream"));
    }
    let remedy = r#"send `{"from_stream": {"stream": "prices", "key": ["symbol"]}}`, or rows as `application/x-ndjson`, one object a line"#;
    let KeptTable { from_stream: KeptFrom { stream, key, delete } } = said(&host, request, remedy).await?;
    let stream = stream.parse().map_err(|error| Problem::new(Kind::Invalid, format!("`stream`: {error}"), "name a stream"))?;
    let from = FromStream { stream, key, delete };
    let busy = || Problem::new(Kind::TooMany, "too many tables are made at once", "ask again after `Retry-After` seconds");
    let room = host.table_room().try_acquire_owned().map_err(|_| busy())?;
    let (engine, tenant) = (host.engine().clone(), caller.tenant().clone());
    let done = spawn_blocking(move || {
        let done = engine.pipelines().keep_table(&tenant, &name, &from);
        drop(room);
        done
    });
    let done = done.await.map_err(|error| Problem::new(Kind::Internal, error.to_string(), "report it"))?;
    Ok(answer(&host, &caller, done.map_err(refused)?))
}

fn refused(error: PutTableError) -> Problem {
    match error {
        PutTableError::Rows { faults, total } => {
            let detail = format!("{total} rows cannot be taken; nothing was");
            let faults = serde_json::to_value(faults).unwrap_or_default();
            Problem::new(Kind::Invalid, detail, "correct these rows and send all of them again")
                .with("faults", faults)
                .with("faults_total", total)
        }
        PutTableError::Refused(why) => Problem::new(Kind::Invalid, why, "correct it and send it again"),
        PutTableError::TooLarge(why) => Problem::new(Kind::TooLarge, why, "send a smaller table, or delete others"),
        PutTableError::Used { pipelines, why } => {
            let detail = format!("used by {}: {why}", pipelines.join(", "));
            Problem::new(Kind::Conflict, detail, "keep what they look up, or change or delete these pipelines first")
                .with("pipelines", pipelines)
        }
        error @ PutTableError::Other(_) => {
            Problem::new(Kind::Conflict, error.to_string(), "choose another name, or delete this table first")
        }
        PutTableError::Storage(why) => Problem::new(Kind::Stopping, why, "look at the host's disk and log, then send it again"),
    }
}

/// Every table.
#[utoipa::path(
    get, path = "/v1/tables", tag = "tables",
    responses((status = 200, description = "By name", body = TableList))
)]
pub(crate) async fn list_tables(State(host): State<Host>, caller: Caller) -> Json<TableList> {
    let entries = host.engine().tables().list(caller.tenant());
    Json(TableList { tables: entries.into_iter().map(|entry| view(&host, &caller, entry)).collect() })
}

/// One table: its columns, version and size.
#[utoipa::path(
    get, path = "/v1/tables/{table}", tag = "tables",
    params(("table" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The table", body = TableView),
        (status = 404, description = "No such table", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_table(
    State(host): State<Host>,
    caller: Caller,
    Path(table): Path<String>,
) -> Result<Json<TableView>, Problem> {
    let name = parse(&table)?;
    let entry = host.engine().tables().get(caller.tenant(), &name).ok_or_else(|| unknown(&name))?;
    Ok(Json(view(&host, &caller, entry)))
}

/// The rows of a table, in their order; of one that is kept from a stream, in the order of their keys.
#[utoipa::path(
    get, path = "/v1/tables/{table}/rows", tag = "tables",
    params(("table" = String, Path, description = "Its name"), RowsQuery),
    responses(
        (status = 200, description = "NDJSON", body = String, content_type = "application/x-ndjson"),
        (status = 404, description = "No such table", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_rows(
    State(host): State<Host>,
    caller: Caller,
    Path(table): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let name = parse(&table)?;
    let query: RowsQuery = parameters(&uri, "there are `limit` and `offset`, numbers of rows")?;
    let (engine, tenant) = (host.engine().clone(), caller.tenant().clone());
    let (offset, limit) = (query.offset.unwrap_or(0), query.limit.unwrap_or(ROWS_TOLD));
    let told = spawn_blocking(move || {
        let content = engine.tables().content(&tenant, &name).ok_or_else(|| unknown(&name))?;
        let content = content.map_err(|why| Problem::new(Kind::Internal, why, "put the table again"))?;
        Ok::<_, Problem>(content.ndjson(offset, limit))
    });
    let text = told.await.map_err(|error| Problem::new(Kind::Internal, error.to_string(), "report it"))??;
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Bytes::from(text)).into_response())
}

/// Delete a table that no pipeline looks up.
#[utoipa::path(
    delete, path = "/v1/tables/{table}", tag = "tables",
    params(("table" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "No such table", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Used: `pipelines` names them", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn delete_table(
    State(host): State<Host>,
    caller: Caller,
    Path(table): Path<String>,
) -> Result<StatusCode, Problem> {
    let name = parse(&table)?;
    let (engine, tenant) = (host.engine().clone(), caller.tenant().clone());
    let deleted = spawn_blocking(move || engine.pipelines().delete_table(&tenant, &name));
    let deleted = deleted.await.map_err(|error| Problem::new(Kind::Internal, error.to_string(), "report it"))?;
    deleted.map_err(|error| match error {
        DeleteTableError::Unknown(name) => unknown(&name),
        DeleteTableError::Used { pipelines } => {
            let detail = format!("used by {}", pipelines.join(", "));
            Problem::new(Kind::Conflict, detail, "delete or change these pipelines first").with("pipelines", pipelines)
        }
        DeleteTableError::Storage(why) => {
            Problem::new(Kind::Stopping, why, "look at the host's disk and log, then send it again")
        }
    })?;
    Ok(StatusCode::NO_CONTENT)
}

fn parse(name: &str) -> Result<TableName, Problem> {
    name.parse().map_err(|error| Problem::new(Kind::BadParameter, format!("the table's name: {error}"), "choose another name"))
}

fn unknown(name: &TableName) -> Problem {
    Problem::new(Kind::UnknownTable, format!("there is no table `{name}`"), "GET /v1/tables lists what there is")
}
