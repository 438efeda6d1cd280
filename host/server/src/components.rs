//! Components: publish, look at, delete (contract §5). Whether bytes are a component is the runtime's to say, under which names
//! they are kept the engine's.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode};
use semver::Version;
use serde::Serialize;
use serde_json::{Value, json};
use tidemill_engine::{ComponentEntry, Components, DeleteComponentError, PublishError, Published};
use tidemill_event::{
    ComponentName, Field, Retention, SchemaVersion, StreamDefinition, StreamSchema, UnknownFields, definition_json,
};
use tidemill_runtime::Description;
use tokio::task::spawn_blocking;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::body::{content_type, whole};
use crate::bounds::COMPONENT_BYTES_MAX;
use crate::host::Host;
use crate::problem::{Kind, Problem, ProblemDocument};

/// The prefix of components that ship with the host.
const BUNDLED: &str = "std-";

/// A version of a component.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ComponentView {
    /// Its name.
    name: String,
    /// Its semantic version.
    version: String,
    /// `sha256:…` of its bytes.
    digest: String,
    /// `rule` or `transform`.
    kind: String,
    /// Bytes of the upload.
    size_bytes: u64,
    /// What it says of itself: `doc`, `columns`, `outputs`, `state`, `time`. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    describe: Option<Value>,
}

/// Every component.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ComponentList {
    /// By name and version.
    components: Vec<ComponentView>,
}

impl From<Published> for ComponentView {
    fn from(published: Published) -> Self {
        let component = &published.component;
        Self {
            name: published.name.as_str().to_owned(),
            version: published.version.to_string(),
            digest: component.digest().to_string(),
            kind: component.kind().to_string(),
            size_bytes: component.size_bytes() as u64,
            describe: Some(describe(component.description())),
        }
    }
}

impl From<ComponentEntry> for ComponentView {
    fn from(entry: ComponentEntry) -> Self {
        Self {
            name: entry.name.as_str().to_owned(),
            version: entry.version.to_string(),
            digest: entry.digest.to_string(),
            kind: entry.kind.to_string(),
            size_bytes: entry.size_bytes,
            describe: None,
        }
    }
}

/// What a component said of itself, fields as stream definitions write them.
fn describe(description: &Description) -> Value {
    let state = fields(description.state.iter().map(|state| state.field.clone()).collect());
    let first =
        |value: &Option<String>| value.as_deref().map_or(Value::Null, |text| serde_json::from_str(text).unwrap_or_default());
    let state = state.into_iter().zip(&description.state).map(|(mut field, state)| {
        field["first"] = first(&state.first);
        field
    });
    json!({
        "doc": description.doc,
        "columns": fields(description.columns.clone()),
        "outputs": fields(description.outputs.clone()),
        "state": state.collect::<Vec<_>>(),
        "time": description.time,
    })
}

fn fields(fields: Vec<Field>) -> Vec<Value> {
    let schema = StreamSchema { fields, unknown: UnknownFields::Drop, infer: false };
    let definition = StreamDefinition {
        schema,
        time: None,
        key: Vec::new(),
        partitions: 1,
        retention: Retention::default(),
        compatibility: Default::default(),
    };
    match definition_json::to_json(&definition, SchemaVersion(1)).get_mut("fields").map(Value::take) {
        Some(Value::Array(fields)) => fields,
        Some(_) | None => Vec::new(),
    }
}

/// Publish a version of a component.
///
/// It is checked, compiled in a process with limits of its own, and asked to describe itself before the answer: seconds for a large
/// one. One upload of a tenant is compiled at a time, and two may wait.
#[utoipa::path(
    put, path = "/v1/components/{name}/versions/{version}", tag = "components",
    params(
        ("name" = String, Path, description = "A name of your own; `std-…` is the host's"),
        ("version" = String, Path, description = "A semantic version; its bytes never change"),
    ),
    request_body(content = Vec<u8>, content_type = "application/wasm", description = "A WebAssembly component, at most 64 MiB"),
    responses(
        (status = 200, description = "The same bytes were there", body = ComponentView),
        (status = 201, description = "Published", body = ComponentView),
        (status = 400, description = "A wrong name or version", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Other bytes are published under this version", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "Larger than 64 MiB", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "Not `application/wasm`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "Other uploads come first; again after `Retry-After` seconds", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "Refused, and why: a core module, an import nobody grants, precompiled, would not compile within its limits, `describe` failed …", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn put_component(
    State(host): State<Host>,
    caller: Caller,
    Path((name, version)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (name, version) = parse(&name, &version)?;
    if name.as_str().starts_with(BUNDLED) && !host.settings().std_components {
        let detail = format!("`{name}`: names that begin with `{BUNDLED}` are those of components that ship with the host");
        return Err(Problem::new(Kind::Invalid, detail, "choose another name"));
    }
    content_type(&request, &["application/wasm"])?;
    let busy = |what: &str| Problem::new(Kind::TooMany, what, "upload it again after `Retry-After` seconds, and fewer at once");
    let tenant = caller.tenant().clone();
    let place = host.compiles().enter(&tenant).ok_or_else(|| busy("your uploads before it are not compiled yet"))?;
    let _held = host.component_room().try_acquire_owned().map_err(|_| busy("too many components are uploaded at once"))?;
    let wasm = whole(&host, request, COMPONENT_BYTES_MAX).await?;
    let compiling = place.turn().await;
    let published = blocking(&host, move |components| {
        let published = components.publish(&tenant, &name, &version, &wasm);
        drop(compiling);
        published
    });
    let published = published.await?.map_err(|error| match error {
        PublishError::NotNow(why) => busy(&why),
        PublishError::Refused(why) => Problem::new(Kind::Invalid, why, "correct the component and upload it again"),
        taken @ PublishError::Taken { .. } => {
            Problem::new(Kind::Conflict, taken.to_string(), "publish the new bytes under a new version")
        }
        PublishError::Storage(why) => Problem::new(Kind::Stopping, why, "look at the host's disk and log, then send it again"),
    })?;
    let status = if published.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(ComponentView::from(published))).into_response())
}

/// One version of a component.
#[utoipa::path(
    get, path = "/v1/components/{name}/versions/{version}", tag = "components",
    params(("name" = String, Path, description = "Its name"), ("version" = String, Path, description = "Its version")),
    responses(
        (status = 200, description = "The version", body = ComponentView),
        (status = 404, description = "No such version", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_component(
    State(host): State<Host>,
    caller: Caller,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<ComponentView>, Problem> {
    let (name, version) = parse(&name, &version)?;
    let entry = host.engine().components().get(caller.tenant(), &name, &version).ok_or_else(|| unknown(&name, &version))?;
    let digest = entry.digest;
    // It may have to be read, or compiled for another version of the host, before it can be asked what it is.
    let component = blocking(&host, move |components| components.load(digest)).await?;
    let component = component.map_err(|why| Problem::new(Kind::Internal, why, "look at the host's log; upload it anew"))?;
    Ok(Json(ComponentView { describe: Some(describe(component.description())), ..entry.into() }))
}

/// Every version of every component.
#[utoipa::path(
    get, path = "/v1/components", tag = "components",
    responses((status = 200, description = "By name and version", body = ComponentList))
)]
pub(crate) async fn list_components(State(host): State<Host>, caller: Caller) -> Json<ComponentList> {
    let entries = host.engine().components().list(caller.tenant());
    Json(ComponentList { components: entries.into_iter().map(ComponentView::from).collect() })
}

/// Remove a version that no pipeline uses.
#[utoipa::path(
    delete, path = "/v1/components/{name}/versions/{version}", tag = "components",
    params(("name" = String, Path, description = "Its name"), ("version" = String, Path, description = "Its version")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "No such version", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Used: `pipelines` names them", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn delete_component(
    State(host): State<Host>,
    caller: Caller,
    Path((name, version)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (name, version) = parse(&name, &version)?;
    let tenant = caller.tenant().clone();
    let deleted = blocking(&host, move |components| components.delete(&tenant, &name, &version)).await?;
    deleted.map_err(|error| match error {
        DeleteComponentError::Unknown { name, version } => unknown(&name, &version),
        DeleteComponentError::Used { pipelines } => {
            let detail = format!("used by {}", pipelines.join(", "));
            Problem::new(Kind::Conflict, detail, "delete or change these pipelines first").with("pipelines", pipelines)
        }
        DeleteComponentError::Storage(why) => {
            Problem::new(Kind::Stopping, why, "look at the host's disk and log, then send it again")
        }
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// Calls the engine off the async workers: checking and compiling take seconds of CPU.
async fn blocking<T: Send + 'static>(host: &Host, call: impl FnOnce(&Components) -> T + Send + 'static) -> Result<T, Problem> {
    let components = host.engine().components().clone();
    spawn_blocking(move || call(&components)).await.map_err(|error| {
        // A hostile upload may have found a fault of ours: it is refused like any other it cannot be compiled for.
        tracing::error!(%error, "a change of a component ended in a panic");
        Problem::new(Kind::Invalid, "the host failed on this component", "report it with the component")
    })
}

fn parse(name: &str, version: &str) -> Result<(ComponentName, Version), Problem> {
    let name = name
        .parse()
        .map_err(|error| Problem::new(Kind::BadParameter, format!("the component's name: {error}"), "choose another name"))?;
    let parsed = Version::parse(version).map_err(|error| {
        let remedy = "give a semantic version, such as 1.0.0";
        Problem::new(Kind::BadParameter, format!("`{version}` is no version: {error}"), remedy)
    })?;
    Ok((name, parsed))
}

fn unknown(name: &ComponentName, version: &Version) -> Problem {
    let detail = format!("there is no component `{name}` {version}");
    Problem::new(Kind::UnknownComponent, detail, "GET /v1/components lists what there is")
}
