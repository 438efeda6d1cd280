//! One WebSocket's session: a task that owns the socket, the publishes on their way, and the subscriptions.
//!
//! ```text
//!            ┌── incoming ── frame ─┬─▶ publish ─▶ on its way (≤ 64, ≤ 4 MiB) ─▶ reply ─┐
//! socket ─ split                    └─▶ subscribe, credit ─▶ subscriptions ─▶ rows ──────┼─▶ one message at a time
//!            └── sink ◀──────────────────────────────────────────────────────────────────┘
//! ```
//! The next message is made when the last one has left the process, replies before rows. Frames are read as long as there is room
//! for their replies: a client that sends without reading is slowed down, one that reads nothing holds one message of rows, and
//! the connection's deadline for writing closes it in the end.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt, poll};
use http::header::{CONTENT_TYPE, HeaderName};
use http::{Method, Request};
use tidemill_log::Stream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, Utf8Bytes};

use super::closing::{End, broken, close};
use super::frame::{BadFrame, Frame, Id, plain, published, refused};
use super::handshake::Socket;
use super::subscription::{Given, Subscription};
use crate::auth::{Action, Caller};
use crate::bounds::{
    WEBSOCKET_BAD_FRAMES_MAX, WEBSOCKET_CONTROL_FRAMES_MAX, WEBSOCKET_MESSAGE_BYTES_MAX, WEBSOCKET_PUBLISH_BYTES_MAX,
    WEBSOCKET_PUBLISHES_MAX, WEBSOCKET_SUBSCRIPTIONS_MAX,
};
use crate::host::Host;
use crate::ingest;
use crate::problem::{Kind, Problem};
use crate::read::{self, Query};

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a session needs before it has a socket.
pub(super) struct Session {
    host: Host,
    caller: Caller,
    stream: Arc<Stream>,
}

/// A session at work.
struct Running {
    host: Host,
    caller: Caller,
    stream: Arc<Stream>,
    replies: VecDeque<String>,
    publishes: FuturesUnordered<Work<Reply>>,
    publish_bytes: usize,
    /// Subscriptions whose next rows are waited for.
    reading: FuturesUnordered<Work<Given>>,
    /// Subscriptions without credit.
    parked: Vec<Subscription>,
    /// Every subscription, with what ends it; and credit for those that are being waited for.
    known: Vec<Known>,
    heard: Instant,
    /// When a publish or a subscription was last under way.
    busy: Instant,
    bad_frames: u32,
    control_frames: u32,
}

struct Known {
    id: Id,
    stop: tokio_util::sync::CancellationToken,
    credit: u64,
}

struct Reply {
    text: String,
    bytes: usize,
}

impl Session {
    pub(super) fn new(host: Host, caller: Caller, stream: Arc<Stream>) -> Self {
        Self { host, caller, stream }
    }

    /// Serves the socket until one side ends it.
    pub(super) async fn run(self, socket: Socket) {
        let _open = self.host.metrics().websocket();
        let (mut sink, mut incoming) = socket.split();
        let now = Instant::now();
        let mut running = Running {
            host: self.host,
            caller: self.caller,
            stream: self.stream,
            replies: VecDeque::new(),
            publishes: FuturesUnordered::new(),
            publish_bytes: 0,
            reading: FuturesUnordered::new(),
            parked: Vec::new(),
            known: Vec::new(),
            heard: now,
            busy: now,
            bad_frames: 0,
            control_frames: 0,
        };
        let end = running.serve(&mut sink, &mut incoming).await;
        if let End::Close(code, reason) = end {
            tracing::debug!(code = u16::from(code), reason, "a WebSocket is closed");
            if let Ok(socket) = sink.reunite(incoming) {
                close(socket, code, reason).await;
            }
        }
    }
}

impl Running {
    async fn serve(&mut self, sink: &mut SplitSink<Socket, Message>, incoming: &mut SplitStream<Socket>) -> End {
        let ping = self.host.settings().websocket_ping;
        let mut pings = every(ping);
        let mut seconds = every(Duration::from_secs(1).min(ping));
        let stop = self.caller.ended().child_token();
        // Whether a message is on its way out.
        let mut sending = false;
        loop {
            if !sending && let Some(reply) = self.replies.pop_front() {
                if sink.feed(Message::Text(reply.into())).await.is_err() {
                    return End::Gone;
                }
                sending = true;
            }
            let room = self.publishes.len() + self.replies.len() < WEBSOCKET_PUBLISHES_MAX
                && self.publish_bytes < WEBSOCKET_PUBLISH_BYTES_MAX;
            tokio::select! {
                () = stop.cancelled() => return self.ended(),
                sent = sink.flush(), if sending => match sent {
                    Ok(()) => sending = false,
                    Err(_) => return End::Gone,
                },
                message = incoming.next(), if room => {
                    if let Err(end) = self.message(message).await {
                        return end;
                    }
                }
                Some(reply) = self.publishes.next() => self.settled(reply),
                Some(given) = self.reading.next(), if !sending => {
                    if let Some(frame) = self.given(given) {
                        if sink.feed(Message::Text(frame)).await.is_err() {
                            return End::Gone;
                        }
                        sending = true;
                    }
                }
                _ = seconds.tick() => {
                    self.control_frames = 0;
                    if let Some(end) = self.idle(ping) {
                        return end;
                    }
                }
                _ = pings.tick(), if !sending => {
                    if sink.feed(Message::Ping(Bytes::new())).await.is_err() {
                        return End::Gone;
                    }
                    sending = true;
                }
            }
        }
    }

    /// Why nothing more is taken and given.
    fn ended(&self) -> End {
        if self.host.stop().is_cancelled() {
            return End::Close(CloseCode::Away, "the host is stopping".to_owned());
        }
        End::Close(CloseCode::Policy, "the token was revoked or has expired".to_owned())
    }

    /// Whether the client is gone, or wants nothing.
    fn idle(&mut self, ping: Duration) -> Option<End> {
        let now = Instant::now();
        if !self.known.is_empty() || !self.publishes.is_empty() {
            self.busy = now;
        }
        // Two pings without any sign of life: whoever is there would have answered the first one. What is not read because there
        // is no room for its reply is no silence.
        let silent = self.publishes.is_empty() && self.replies.is_empty() && now - self.heard > ping * 5 / 2;
        if silent {
            return Some(End::Close(CloseCode::Policy, "no answer to pings".to_owned()));
        }
        let idle = self.host.settings().websocket_idle;
        (now - self.busy > idle).then(|| End::Close(CloseCode::Normal, "idle: nothing published, nothing subscribed".to_owned()))
    }

    async fn message(&mut self, message: Option<Result<Message, tungstenite::Error>>) -> Result<(), End> {
        self.heard = Instant::now();
        match message {
            None => Err(End::Gone),
            Some(Err(error)) => Err(broken(error)),
            Some(Ok(Message::Text(text))) => self.frame(&text).await,
            Some(Ok(Message::Binary(_))) => {
                Err(End::Close(CloseCode::Unsupported, "frames are JSON in text messages".to_owned()))
            }
            // Answered by the library.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                self.control_frames += 1;
                if self.control_frames > WEBSOCKET_CONTROL_FRAMES_MAX {
                    return Err(End::Close(CloseCode::Policy, "too many pings".to_owned()));
                }
                Ok(())
            }
            // The library has answered it; what follows is the end of the stream. It gives no bare frames.
            Some(Ok(Message::Close(_) | Message::Frame(_))) => Ok(()),
        }
    }

    async fn frame(&mut self, text: &str) -> Result<(), End> {
        match Frame::parse(text) {
            Ok(Frame::Publish { id, events, idempotency_key }) => match self.caller.may(Action::Send) {
                Ok(()) => self.publish(id, events.to_owned(), idempotency_key).await,
                Err(problem) => self.replies.push_back(refused(Some(&id), &problem)),
            },
            Ok(Frame::Subscribe { id, parameters, credit }) => {
                if let Err(problem) = self.subscribe(id.clone(), parameters, credit) {
                    self.replies.push_back(refused(Some(&id), &problem));
                }
            }
            Ok(Frame::Credit { id, rows }) => {
                if let Some(place) = self.parked.iter().position(|parked| parked.id == id) {
                    let mut subscription = self.parked.swap_remove(place);
                    subscription.add_credit(rows);
                    self.read_on(subscription);
                } else if let Some(known) = self.known.iter_mut().find(|known| known.id == id) {
                    known.credit = known.credit.saturating_add(rows);
                }
                // A subscription that has ended meanwhile needs none.
            }
            Ok(Frame::Unsubscribe { id }) => {
                if let Some(known) = self.known.iter().find(|known| known.id == id) {
                    known.stop.cancel();
                }
                if let Some(place) = self.parked.iter().position(|parked| parked.id == id) {
                    let subscription = self.parked.swap_remove(place);
                    self.read_on(subscription);
                }
            }
            Err(BadFrame { id, problem }) => {
                self.bad_frames += 1;
                if self.bad_frames > WEBSOCKET_BAD_FRAMES_MAX {
                    return Err(End::Close(CloseCode::Policy, "too many frames that cannot be read".to_owned()));
                }
                self.replies.push_back(refused(id.as_ref(), &problem));
            }
        }
        Ok(())
    }

    /// Sends events the way of a POST.
    async fn publish(&mut self, id: Id, events: String, idempotency_key: Option<String>) {
        let bytes = events.len();
        let (host, caller) = (self.host.clone(), self.caller.clone());
        let name = self.stream.id().stream.as_str().to_owned();
        let work = async move {
            let mut request = Request::builder().method(Method::POST).header(CONTENT_TYPE, "application/json");
            if let Some(key) = idempotency_key {
                request = request.header(HeaderName::from_static("idempotency-key"), key);
            }
            let text = match request.body(Body::from(events)) {
                Ok(request) => {
                    let (head, body) = ingest::post(&host, &caller, &name, request).await.into_parts();
                    let body = axum::body::to_bytes(body.into_body(), WEBSOCKET_MESSAGE_BYTES_MAX).await.unwrap_or_default();
                    published(&id, head.status.is_success(), &String::from_utf8_lossy(&body))
                }
                Err(error) => refused(Some(&id), &Problem::new(Kind::BadParameter, error.to_string(), "choose another key")),
            };
            Reply { text, bytes }
        };
        let mut work: Work<Reply> = Box::pin(work);
        self.publish_bytes += bytes;
        // Begun before the next frame is read, so that small publishes are taken in the order in which they came.
        match poll!(&mut work) {
            Poll::Ready(reply) => self.settled(reply),
            Poll::Pending => self.publishes.push(work),
        }
    }

    fn settled(&mut self, reply: Reply) {
        self.publish_bytes -= reply.bytes;
        self.busy = Instant::now();
        self.replies.push_back(reply.text);
    }

    fn subscribe(&mut self, id: Id, parameters: read::ReadParameters, credit: Option<u64>) -> Result<(), Problem> {
        self.caller.may(Action::Read)?;
        let wrong = |detail: String, remedy: &str| Err(Problem::new(Kind::BadParameter, detail, remedy));
        if self.known.iter().any(|known| known.id == id) {
            return wrong(format!("there is a subscription {} already", id.as_json()), "choose another id, or unsubscribe first");
        }
        if self.known.len() >= WEBSOCKET_SUBSCRIPTIONS_MAX {
            let detail = format!("this socket has {WEBSOCKET_SUBSCRIPTIONS_MAX} subscriptions, and that is the most");
            return wrong(detail, "end one, or open another socket");
        }
        let query = Query::check(parameters, self.stream.partitions().len() as u32)?;
        let resume = read::committed(&self.host, &self.stream, &query);
        let stop = self.caller.ended().child_token();
        let subscription = Subscription::open(id.clone(), &self.stream, &query, &resume, credit, stop.clone())?;
        self.known.push(Known { id, stop, credit: 0 });
        self.read_on(subscription);
        Ok(())
    }

    /// Waits for a subscription's next rows, or puts it aside until it has credit.
    fn read_on(&mut self, subscription: Subscription) {
        if subscription.may_send() {
            self.reading.push(Box::pin(subscription.next()));
        } else {
            self.parked.push(subscription);
        }
    }

    /// What a subscription gave, as the text of a message.
    fn given(&mut self, given: Given) -> Option<Utf8Bytes> {
        let Given { mut subscription, frame } = given;
        let id = subscription.id.clone();
        let known = self.known.iter().position(|known| known.id == id);
        match frame {
            Some(Ok(text)) => {
                let credit = known.map(|place| std::mem::take(&mut self.known[place].credit));
                subscription.add_credit(credit.unwrap_or(0));
                self.read_on(subscription);
                Utf8Bytes::try_from(text).ok()
            }
            ended => {
                self.known.retain(|known| known.id != id);
                self.busy = Instant::now();
                Some(match ended {
                    Some(Err(error)) => {
                        let problem = Problem::new(Kind::Internal, error.to_string(), "subscribe again behind the last row");
                        Utf8Bytes::from(refused(Some(&id), &problem))
                    }
                    Some(Ok(_)) | None => Utf8Bytes::from(plain("end", &id)),
                })
            }
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
