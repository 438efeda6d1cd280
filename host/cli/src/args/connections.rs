//! What `serve` may be told about connections.

use clap::Args;

/// How many there may be, and how long a client may keep the host waiting.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connections")]
pub(crate) struct ConnectionArgs {
    /// Connections at once, 4096 unless said; beyond, they wait to be accepted.
    #[arg(long, value_name = "N")]
    pub connections_max: Option<usize>,
    /// Connections at once from one address, 1024 unless said; beyond, they are closed as they come.
    #[arg(long, value_name = "N")]
    pub connections_per_address_max: Option<usize>,
    /// How long a connection is kept between two requests, 75s unless said.
    #[arg(long, value_name = "DURATION")]
    pub connection_idle: Option<String>,
    /// How long a client may take to send a request's header, 5s unless said.
    #[arg(long, value_name = "DURATION")]
    pub header_read: Option<String>,
    /// How long a request's body may stand still, 10s unless said; then 408, and what was accepted stays.
    #[arg(long, value_name = "DURATION")]
    pub body_idle: Option<String>,
    /// How long a client may leave what it was sent unread, 60s unless said; then its connection is closed.
    #[arg(long, value_name = "DURATION")]
    pub write_stall: Option<String>,
    /// After how long without events a reader of server-sent events gets a comment, 15s unless said.
    #[arg(long, value_name = "DURATION")]
    pub event_stream_keep_alive: Option<String>,
    /// How often a WebSocket's client is pinged, 30s unless said; after two and a half without a sign of life it is closed.
    #[arg(long, value_name = "DURATION")]
    pub websocket_ping: Option<String>,
    /// How long a WebSocket may be open that publishes nothing and subscribes to nothing, 5m unless said.
    #[arg(long, value_name = "DURATION")]
    pub websocket_idle: Option<String>,
}
