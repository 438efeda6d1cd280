//! Metrics of the HTTP side, and the page that shows them beside the log's and the engine's.
//!
//! Labels are route templates, methods and status classes: a closed set. Names of streams are none, because they have no bound.

use std::fmt;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tidemill_log::Log;
use tokio::time::Instant;

use crate::host::Host;
use crate::log_metrics::LogMetrics;
use crate::problem::{Kind, Problem};

/// The route of requests with events: also the label of those answered before the router.
pub(crate) const EVENTS_ROUTE: &str = "/v1/streams/{stream}/events";

const SECONDS: [f64; 12] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: String,
    status: &'static str,
}

/// Counters and histograms of the HTTP side.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RouteLabels, Histogram, fn() -> Histogram>,
    /// The hot route's series, found once instead of by a map look-up per request.
    events_ok: Histogram,
    accepted: Counter,
    rejected: Counter,
    connections: Gauge,
    websockets: Gauge,
    backups: Gauge,
    backup_ends: Family<BackupLabels, Counter>,
}

/// How a backup ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BackupEnd {
    /// The client has all of it.
    Finished,
    /// The client went away, the host stopped, the disk was full.
    BrokenOff,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BackupLabels {
    end: &'static str,
}

/// Something that is open, and counted while it is.
pub(crate) struct Open(Gauge);

impl Open {
    fn count(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Takes the registry that the binary, the engine and others have filled, and adds the log's and its own metrics.
    pub(crate) fn new(mut registry: Registry, log: Log) -> Self {
        let buckets: fn() -> Histogram = || Histogram::new(SECONDS);
        let requests = Family::<RouteLabels, Histogram, fn() -> Histogram>::new_with_constructor(buckets);
        let (accepted, rejected) = (Counter::default(), Counter::default());
        let (connections, websockets) = (Gauge::default(), Gauge::default());
        registry.register("tidemill_http_connections", "Connections that are open", connections.clone());
        registry.register("tidemill_http_websockets", "Those of them that are WebSockets", websockets.clone());
        let (backups, backup_ends) = (Gauge::default(), Family::<BackupLabels, Counter>::default());
        registry.register("tidemill_backups_running", "Backups under way", backups.clone());
        registry.register("tidemill_backups", "Backups that ended, finished or broken off", backup_ends.clone());
        registry.register(
            "tidemill_http_request_seconds",
            "Time from a request's header to its answer's header, by route and status class",
            requests.clone(),
        );
        registry.register("tidemill_events_accepted", "Rows that HTTP requests brought and that are on disk", accepted.clone());
        registry.register("tidemill_events_rejected", "Rows that HTTP requests brought and that were rejected", rejected.clone());
        registry.register_collector(Box::new(LogMetrics::new(log)));
        let labels = RouteLabels { method: "POST", route: EVENTS_ROUTE.to_owned(), status: "2xx" };
        let events_ok = requests.get_or_create(&labels).clone();
        Self { registry, requests, events_ok, accepted, rejected, connections, websockets, backups, backup_ends }
    }

    /// A request with events was answered.
    pub(crate) fn events(&self, accepted: u64, rejected: u64) {
        self.accepted.inc_by(accepted);
        self.rejected.inc_by(rejected);
    }

    /// A connection is open until what is returned is dropped.
    pub(crate) fn connection(&self) -> Open {
        Open::count(&self.connections)
    }

    /// A WebSocket is open until what is returned is dropped.
    pub(crate) fn websocket(&self) -> Open {
        Open::count(&self.websockets)
    }

    /// A backup is under way until what is returned is dropped.
    pub(crate) fn backup(&self) -> Open {
        Open::count(&self.backups)
    }

    /// A backup ended.
    pub(crate) fn backup_ended(&self, end: BackupEnd) {
        let end = match end {
            BackupEnd::Finished => "finished",
            BackupEnd::BrokenOff => "broken_off",
        };
        self.backup_ends.get_or_create(&BackupLabels { end }).inc();
    }

    /// A request was answered.
    pub(crate) fn request(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        if status.is_success() && route == EVENTS_ROUTE && method == Method::POST {
            self.events_ok.observe(took.as_secs_f64());
            return;
        }
        let labels = RouteLabels { method: method_label(method), route: route.to_owned(), status: status_class(status) };
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "PUT" => "PUT",
        "POST" => "POST",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

/// Times every request that goes through the router.
pub(crate) async fn time_request(State(host): State<Host>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("other", MatchedPath::as_str);
    host.metrics().request(&method, route, response.status(), began.elapsed());
    response
}

/// Metrics for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "host",
    responses((status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"))
)]
pub(crate) async fn metrics(State(host): State<Host>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &host.metrics().registry) {
        Ok(()) => ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response(),
        Err(fmt::Error) => Problem::new(Kind::Internal, "the metrics cannot be written", "report it").into_response(),
    }
}
