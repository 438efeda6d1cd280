//! What an operator may choose about the HTTP side.

use std::time::Duration;

/// Settings of the [`crate::Service`]. Bounds that nobody needs to change are in `bounds.rs`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a client may take to send a request's header, from its first byte or from when it connected. Then: closed.
    pub header_read: Duration,
    /// How long a connection is kept between two requests. Then: closed.
    pub idle: Duration,
    /// How long a request's body may stand still. Then: 408, what was accepted stays.
    pub body_idle: Duration,
    /// How long a stream of server-sent events may be silent. Then: a comment is sent, so that proxies keep the connection and the host
    /// hears of a client that is gone.
    pub keep_alive: Duration,
    /// How long a client may leave what was sent to it unread. Then: closed. Until then a reader holds the rows of one read.
    pub write_stall: Duration,
    /// How often a WebSocket's client is pinged. After two and a half without a sign of life: closed.
    pub websocket_ping: Duration,
    /// How long a WebSocket may be open that publishes nothing and subscribes to nothing. Then: closed.
    pub websocket_idle: Duration,
    /// Connections at once from one address. Beyond: closed as they come.
    pub connections_per_address_max: usize,
    /// Connections at once. Beyond: they wait to be accepted.
    pub connections_max: usize,
    /// How long requests in flight may take to end once the service is told to stop. Then: they are cut.
    pub drain: Duration,
    /// Whether requests need no credential, and everybody who reaches the address may do everything (`serve --dev`).
    pub open: bool,
    /// Whether components called `std-…` may be uploaded. Only the host's own build does that (`serve --dev`).
    pub std_components: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_read: Duration::from_secs(5),
            idle: Duration::from_secs(75),
            body_idle: Duration::from_secs(10),
            keep_alive: Duration::from_secs(15),
            write_stall: Duration::from_secs(60),
            websocket_ping: Duration::from_secs(30),
            websocket_idle: Duration::from_secs(300),
            connections_per_address_max: 1024,
            connections_max: 4096,
            drain: Duration::from_secs(10),
            open: false,
            std_components: false,
        }
    }
}
