//! What the components of a pipeline said: `GET /v1/pipelines/{name}/logs`, as NDJSON, to the end or following.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::Response;
use futures_util::stream;
use http::Uri;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use tidemill_engine::{FOLLOW_EVERY, LogLine};
use tidemill_event::PipelineName;
use tokio::time::{Instant, sleep};
use utoipa::IntoParams;

use crate::auth::Caller;
use crate::host::Host;
use crate::parameters::parameters;
use crate::pipelines::{parse, unknown};
use crate::problem::{Kind, Problem, ProblemDocument};

/// A follower that has nothing to say sends an empty line this often, so that both sides know of each other.
const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(15);
/// Levels, least first.
const LEVELS: [&str; 4] = ["debug", "info", "warn", "error"];
/// Lines unless said.
const LIMIT: usize = 100;

/// Which lines.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogParameters {
    /// At most that many of the last lines; 100 unless said.
    limit: Option<usize>,
    /// Only this step, `steps[2].rule`.
    step: Option<String>,
    /// Only this level and above: `debug`, `info`, `warn`, `error`.
    level: Option<String>,
    /// `true`: stay, and send lines as they come. An empty line every 15 s says that the host is there.
    follow: Option<bool>,
}

/// What components said.
///
/// One JSON object a line: `sequence, time, level, step, component, partition, message`. The last 1,000 lines (256 KiB) of a pipeline are
/// kept until the host stops; a pipeline may say 100 a second in the long run.
#[utoipa::path(
    get, path = "/v1/pipelines/{name}/logs", tag = "pipelines",
    params(("name" = String, Path, description = "The pipeline's name"), LogParameters),
    responses(
        (status = 200, description = "Lines, oldest first", body = String, content_type = "application/x-ndjson"),
        (status = 400, description = "A parameter is wrong", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_logs(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let name = parse(&name)?;
    let known = "the parameters are `limit`, `step`, `level` and `follow`, each at most once";
    let parameters: LogParameters = parameters(&uri, known)?;
    let least = match &parameters.level {
        None => 0,
        Some(level) => LEVELS.iter().position(|known| known == level).ok_or_else(|| {
            let detail = format!("there is no level `{level}`");
            Problem::new(Kind::BadParameter, detail, "give `debug`, `info`, `warn` or `error`")
        })?,
    };
    let wanted = Wanted { step: parameters.step, least };
    let (lines, next) =
        read(&host, &caller, &name, 0, parameters.limit.unwrap_or(LIMIT), &wanted).ok_or_else(|| unknown(&name))?;
    let first = encoded(&lines);
    let body = if parameters.follow == Some(true) {
        Body::from_stream(stream::unfold(
            Some((Some(first), Follower { host, caller, name, wanted, next })),
            |state| async move {
                let (first, mut follower) = state?;
                let lines = match first {
                    Some(first) => first,
                    None => follower.next().await?,
                };
                Some((Ok::<_, std::convert::Infallible>(lines), Some((None, follower))))
            },
        ))
    } else {
        Body::from(first)
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

struct Wanted {
    step: Option<String>,
    least: usize,
}

impl Wanted {
    /// The host's own words about the lines are for everybody.
    fn takes(&self, line: &LogLine) -> bool {
        let step = self.step.as_deref().is_none_or(|step| line.step.is_empty() || *step == *line.step);
        step && LEVELS.iter().position(|level| *level == line.level).is_none_or(|level| level >= self.least)
    }
}

fn read(
    host: &Host,
    caller: &Caller,
    name: &PipelineName,
    from: u64,
    limit: usize,
    wanted: &Wanted,
) -> Option<(Vec<Arc<LogLine>>, u64)> {
    host.engine().pipelines().logs(caller.tenant(), name, from, limit, |line| wanted.takes(line))
}

fn encoded(lines: &[Arc<LogLine>]) -> Bytes {
    let mut out = Vec::new();
    for line in lines {
        // A line has only texts and numbers: it can be written.
        if serde_json::to_writer(&mut out, &**line).is_ok() {
            out.push(b'\n');
        }
    }
    out.into()
}

/// Somebody who stays.
struct Follower {
    host: Host,
    caller: Caller,
    name: PipelineName,
    wanted: Wanted,
    next: u64,
}

impl Follower {
    /// The next lines, or an empty one after a while; `None` when the host stops, the pipeline is gone, or the caller may not ask any more.
    async fn next(&mut self) -> Option<Bytes> {
        let quiet_until = Instant::now() + HEARTBEAT;
        loop {
            tokio::select! {
                biased;
                () = self.caller.ended().cancelled() => return None,
                () = sleep(FOLLOW_EVERY) => {}
            }
            let (lines, next) = read(&self.host, &self.caller, &self.name, self.next, usize::MAX, &self.wanted)?;
            self.next = next;
            if !lines.is_empty() {
                return Some(encoded(&lines));
            }
            if Instant::now() >= quiet_until {
                return Some(Bytes::from_static(b"\n"));
            }
        }
    }
}
