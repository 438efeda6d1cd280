//! What the components of a pipeline said: `GET /v1/pipelines/{name}/logs`, as NDJSON or server-sent events, to the end or following.

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::Response;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, VARY};
use http::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;
use tidemill_engine::{FOLLOW_EVERY, LogLine, LogPage};
use tidemill_event::PipelineName;
use tokio::time::{Instant, sleep};
use utoipa::IntoParams;

use crate::auth::Caller;
use crate::host::Host;
use crate::log_form::{LogForm, LogPlace};
use crate::parameters::parameters;
use crate::pipelines::{parse, unknown};
use crate::problem::{Kind, Problem, ProblemDocument};
use crate::read::LAST_EVENT_ID;

/// Who follows and gets nothing hears this often that the host is there.
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
    /// At most that many of the last lines; 100 unless said, all there are behind `Last-Event-ID`.
    limit: Option<usize>,
    /// Only this step, `steps[2].rule`.
    step: Option<String>,
    /// Only this level and above: `debug`, `info`, `warn`, `error`.
    level: Option<String>,
    /// `true`: stay, and send lines as they come. An empty line, or a comment, every 15 s says that the host is there.
    follow: Option<bool>,
}

/// What components said.
///
/// One JSON object a line: `sequence, time, level, step, component, partition, message`. The last 1,000 lines (256 KiB) of a pipeline are
/// kept until the host stops; a pipeline may say 100 a second in the long run. As `text/event-stream` each line is an event, and
/// `Last-Event-ID` goes on behind the last one taken; an event `gap` with `{"missed": 12}` stands for lines that are not kept any more,
/// with `null` where nobody knows how many, because the host was started again.
#[utoipa::path(
    get, path = "/v1/pipelines/{name}/logs", tag = "pipelines",
    params(
        ("name" = String, Path, description = "The pipeline's name"),
        LogParameters,
        ("last-event-id" = Option<String>, Header, description = "The id of the last event taken: reading goes on behind it"),
    ),
    responses(
        (status = 200, description = "Lines, oldest first", content((String = "application/x-ndjson"), (String = "text/event-stream"))),
        (status = 204, description = "Nothing was said behind `Last-Event-ID`, and `follow` was not asked for"),
        (status = 400, description = "A parameter is wrong", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 406, description = "No such form of answer", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_logs(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let name = parse(&name)?;
    let form = LogForm::accepted(&headers)?;
    let resumed = headers.get(LAST_EVENT_ID).map(|id| id.to_str().unwrap_or_default()).filter(|id| !id.is_empty());
    let resumed = resumed.map(str::parse::<LogPlace>).transpose()?;
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
    let follows = parameters.follow == Some(true);
    let mut follower = Follower { host, caller, name, wanted, form, place: LogPlace { life: 0, next: 0 } };
    let limit = parameters.limit.unwrap_or(if resumed.is_some() { usize::MAX } else { LIMIT });
    let page = match resumed {
        Some(place) => {
            follower.place = place;
            follower.read(limit)
        }
        None => follower.first(limit),
    };
    let first = page.ok_or_else(|| unknown(&follower.name))?;
    if resumed.is_some() && first.is_empty() && !follows {
        // A browser connects again after every end but this one.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let mut begin = Vec::new();
    form.begin(&mut begin);
    begin.extend_from_slice(&first);
    form.place(follower.place, &mut begin);
    let first = Bytes::from(begin);
    let body = if follows {
        Body::from_stream(stream::unfold(Some((Some(first), follower)), |state| async move {
            let (first, mut follower) = state?;
            let lines = match first {
                Some(first) => first,
                None => follower.next().await?,
            };
            Some((Ok::<_, std::convert::Infallible>(lines), Some((None, follower))))
        }))
    } else {
        Body::from(first)
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    if form == LogForm::EventStream {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
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

/// Somebody who reads, and maybe stays.
struct Follower {
    host: Host,
    caller: Caller,
    name: PipelineName,
    wanted: Wanted,
    form: LogForm,
    /// What it asks for next.
    place: LogPlace,
}

impl Follower {
    fn page(&self, from: u64, limit: usize) -> Option<LogPage> {
        self.host.engine().pipelines().logs(self.caller.tenant(), &self.name, from, limit, |line| self.wanted.takes(line))
    }

    /// The last lines, for somebody who begins; `None`: there is no such pipeline.
    fn first(&mut self, limit: usize) -> Option<Bytes> {
        let page = self.page(0, limit)?;
        self.place = LogPlace { life: page.life, next: page.next };
        let mut out = Vec::new();
        self.form.lines(page.life, &page.lines, &mut out);
        Some(out.into())
    }

    /// The lines from its place on, behind a word about those that are gone; `None`: there is no such pipeline.
    fn read(&mut self, limit: usize) -> Option<Bytes> {
        let mut page = self.page(self.place.next, limit)?;
        let missed = if page.life == self.place.life {
            Some(page.oldest.saturating_sub(self.place.next)).filter(|missed| *missed > 0).map(Some)
        } else {
            page = self.page(0, limit)?;
            Some(None)
        };
        let mut out = Vec::new();
        if let Some(missed) = missed {
            self.form.gap(LogPlace { life: page.life, next: page.oldest }, missed, &mut out);
        }
        self.form.lines(page.life, &page.lines, &mut out);
        self.place = LogPlace { life: page.life, next: page.next };
        Some(out.into())
    }

    /// What comes next, or after a while the word that the host is there; `None` when the host stops, the pipeline is gone, or
    /// the caller may not ask any more.
    async fn next(&mut self) -> Option<Bytes> {
        let quiet_until = Instant::now() + HEARTBEAT;
        loop {
            tokio::select! {
                biased;
                () = self.caller.ended().cancelled() => return None,
                () = sleep(FOLLOW_EVERY) => {}
            }
            let said = self.read(usize::MAX)?;
            if !said.is_empty() {
                return Some(said);
            }
            if Instant::now() >= quiet_until {
                return Some(Bytes::from_static(self.form.still_here()));
            }
        }
    }
}
