//! The accept loop: connections under limits, the hot route before the router, and a drain with a deadline at the end.
//!
//! It is our own because `axum::serve` gives hyper no timer, so that its header timeout would be silently off, and has no bound on
//! connections.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{Method, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;

use crate::answer::{Answer, Served};
use crate::bounds::{HEADER_BYTES_MAX, HEADERS_MAX, HTTP2_KEEP_ALIVE, HTTP2_STREAMS_MAX, READ_BUFFER_BYTES};
use crate::host::Host;
use crate::ingest;
use crate::metrics::{EVENTS_ROUTE, Open};
use crate::patience::Patience;
use crate::problem::{Kind, Problem};
use crate::reply::Reply;
use crate::websocket;

/// A flood of connections is no flood of log lines.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Accepts until the host is told to stop, then lets requests in flight end.
pub(crate) async fn serve(listener: TcpListener, host: Host, router: Router) {
    let room = Arc::new(Semaphore::new(host.settings().connections_max));
    let builder = builder();
    let addresses = Arc::<Addresses>::default();
    let mut connections = JoinSet::new();
    // Ends with this function, when nobody waits any more.
    let mut telling = JoinSet::new();
    telling.spawn(host.doors().attend());
    let mut warned: Option<Instant> = None;
    loop {
        // Room first: what cannot be served waits in the kernel's queue.
        let permit = tokio::select! {
            biased;
            () = host.stop().cancelled() => break,
            permit = room.clone().acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            biased;
            () = host.stop().cancelled() => break,
            Some(ended) = connections.join_next() => {
                report(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Ok(permit) = permit else { break };
                // One address cannot take all the room. The client is told nothing: whoever holds that many open does not read it.
                let most = host.settings().connections_per_address_max;
                let Some(address) = addresses.enter(peer.ip(), most) else {
                    if warned.is_none_or(|last| last.elapsed() > WARN_EVERY) {
                        warned = Some(Instant::now());
                        tracing::warn!(address = %peer.ip(), most, "an address has all the connections it may have; more are closed");
                    }
                    continue;
                };
                let seat = Arc::new(Seat { _permit: permit, _address: address, _open: host.metrics().connection() });
                connections.spawn(connection(stream, seat, host.clone(), router.clone(), builder.clone()));
            }
            Err(error) => {
                // A peer that is gone already, or no file handles left: neither ends the service, the second one passes.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drain(&host, connections).await;
}

/// Waits for connections and uploads, as long as they may take.
async fn drain(host: &Host, mut connections: JoinSet<()>) {
    host.tasks().close();
    let ended = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
        host.tasks().wait().await;
    };
    if timeout(host.settings().drain, ended).await.is_err() {
        let (connections, uploads) = (connections.len(), host.tasks().len());
        tracing::warn!(connections, uploads, "requests did not end in time and are cut off");
    }
    connections.shutdown().await;
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended in a panic");
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        // `Patience` has the deadlines, for both protocols.
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_buf_size(READ_BUFFER_BYTES)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .keep_alive_interval(HTTP2_KEEP_ALIVE.0)
        .keep_alive_timeout(HTTP2_KEEP_ALIVE.1);
    builder
}

/// A connection's place among those that are open.
struct Seat {
    _permit: OwnedSemaphorePermit,
    _address: AddressSeat,
    _open: Open,
}

/// What a WebSocket keeps of the request it began with: its seat, and that it is being served.
#[derive(Clone)]
pub(crate) struct Kept {
    _seat: Arc<Seat>,
    _served: Arc<Served>,
}

/// How many connections each address has open.
#[derive(Default)]
struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// One of an address's connections.
struct AddressSeat {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    fn enter(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<AddressSeat> {
        let mut open = self.0.lock();
        let count = open.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(AddressSeat { addresses: self.clone(), address })
    }
}

impl Drop for AddressSeat {
    fn drop(&mut self) {
        let mut open = self.addresses.0.lock();
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

async fn connection(stream: TcpStream, seat: Arc<Seat>, host: Host, router: Router, builder: Builder<TokioExecutor>) {
    // Answers are small and must not wait for the next one.
    let _ = stream.set_nodelay(true);
    let (io, requests) = Patience::new(stream, host.settings());
    // A token of its own: polling a shared one takes a lock that all connections share.
    let stop = host.stop().child_token();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let served = requests.begin();
        if websocket::is_asked(request.headers()) {
            // Its bytes go on behind the answer, so it is served until it ends, and keeps its seat.
            request.extensions_mut().insert(Kept { _seat: seat.clone(), _served: Arc::new(requests.begin()) });
        }
        let version = request.version();
        let (host, router) = (host.clone(), router.clone());
        async move {
            let response = answer(&host, router, request).await;
            Ok::<_, Infallible>(response.map(|body| Answer::new(body, served, version)))
        }
    });
    let connection = builder.serve_connection_with_upgrades(io, service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %story(&*error), "a connection broke off");
    }
}

fn story(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

async fn answer(host: &Host, router: Router, request: Request<Incoming>) -> Response<Reply> {
    let header_bytes: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if header_bytes + request.uri().path().len() > HEADER_BYTES_MAX {
        let detail = format!("the header lines have {header_bytes} bytes, at most {HEADER_BYTES_MAX} are read");
        let problem = Problem::new(Kind::HeadersTooLarge, detail, "send fewer or shorter header lines");
        return problem.into_response().map(Reply::from);
    }
    let caller = match host.access().admit(&request, host.clock()) {
        Ok(caller) => caller,
        Err(problem) => {
            let response = problem.into_response();
            host.metrics().request(request.method(), "other", response.status(), Duration::ZERO);
            return response.map(Reply::from);
        }
    };
    // The hot route: most requests of a busy host are single events, and a router costs as much as decoding one.
    if let Some(caller) = &caller
        && request.method() == Method::POST
        && let Some(stream) = events_path(request.uri().path())
    {
        let began = Instant::now();
        let stream = stream.to_owned();
        let response = ingest::post(host, caller, &stream, request).await;
        host.metrics().request(&Method::POST, EVENTS_ROUTE, response.status(), began.elapsed());
        return response;
    }
    let mut request = request.map(Body::new);
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    // In a box: the hot route's future, which hyper moves to where it lives, is no larger for it.
    match Box::pin(router.oneshot(request)).await {
        Ok(response) => response.map(Reply::from),
        Err(never) => match never {},
    }
}

/// The stream of `/v1/streams/{stream}/events`; names with escapes go through the router.
pub(crate) fn events_path(path: &str) -> Option<&str> {
    let stream = path.strip_prefix("/v1/streams/")?.strip_suffix("/events")?;
    (!stream.contains(['/', '%'])).then_some(stream)
}

/// Why the service ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The log failed: nothing more is acknowledged, and the process must be restarted.
    #[error(transparent)]
    LogFailed(#[from] tidemill_log::Poisoned),
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// What was asked for.
        address: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hot_route_is_only_that_route() {
        assert_eq!(events_path("/v1/streams/clicks/events"), Some("clicks"));
        for path in ["/v1/streams/a/b/events", "/v1/streams/a%2Fb/events", "/v1/streams/clicks", "/v1/streams//events/"] {
            assert_eq!(events_path(path), None, "{path}");
        }
    }
}
