//! Settings of connections: how many there may be, and how long a client may keep the host waiting.

use std::time::Duration;

use tidemill_server::Settings as ServiceSettings;

use super::sources::{Found, Placed};
use super::{SettingsFault, fault};

/// What `serve` was told about connections; the rest is as the service has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConnectionSettings {
    /// At once.
    pub connections_max: Option<usize>,
    /// At once, from one address.
    pub connections_per_address_max: Option<usize>,
    /// Between two requests.
    pub connection_idle: Option<Duration>,
    /// From the first byte of a request to the end of its header.
    pub header_read: Option<Duration>,
    /// Between two pieces of a request's body.
    pub body_idle: Option<Duration>,
    /// How long what was sent may stay unread.
    pub write_stall: Option<Duration>,
    /// How long a stream of server-sent events may be silent.
    pub event_stream_keep_alive: Option<Duration>,
    /// How often a WebSocket's client is pinged.
    pub websocket_ping: Option<Duration>,
    /// How long a WebSocket may be open that does nothing.
    pub websocket_idle: Option<Duration>,
}

const COUNT_MAX: usize = 1_000_000;
/// Shorter ones are mistakes: a client on another continent needs that long.
const LEAST: (Duration, &str) = (Duration::from_millis(100), "100ms");
/// Longer ones mean never, which nobody should have: what is forgotten must end at some time.
const MOST: (Duration, &str) = (Duration::from_secs(86_400), "1d");

impl ConnectionSettings {
    /// Takes its keys, and leaves nothing of them.
    pub(super) fn take(found: &mut Found) -> Result<Self, SettingsFault> {
        Ok(Self {
            connections_max: count(found.connections_max.take())?,
            connections_per_address_max: count(found.connections_per_address_max.take())?,
            connection_idle: while_waiting(found.connection_idle.take())?,
            header_read: while_waiting(found.header_read.take())?,
            body_idle: while_waiting(found.body_idle.take())?,
            write_stall: while_waiting(found.write_stall.take())?,
            event_stream_keep_alive: while_waiting(found.event_stream_keep_alive.take())?,
            websocket_ping: while_waiting(found.websocket_ping.take())?,
            websocket_idle: while_waiting(found.websocket_idle.take())?,
        })
    }

    /// The service's settings with these instead of its own.
    pub(crate) fn over(&self, service: ServiceSettings) -> ServiceSettings {
        ServiceSettings {
            connections_max: self.connections_max.unwrap_or(service.connections_max),
            connections_per_address_max: self.connections_per_address_max.unwrap_or(service.connections_per_address_max),
            idle: self.connection_idle.unwrap_or(service.idle),
            header_read: self.header_read.unwrap_or(service.header_read),
            body_idle: self.body_idle.unwrap_or(service.body_idle),
            write_stall: self.write_stall.unwrap_or(service.write_stall),
            keep_alive: self.event_stream_keep_alive.unwrap_or(service.keep_alive),
            websocket_ping: self.websocket_ping.unwrap_or(service.websocket_ping),
            websocket_idle: self.websocket_idle.unwrap_or(service.websocket_idle),
            ..service
        }
    }
}

fn count(given: Placed<usize>) -> Result<Option<usize>, SettingsFault> {
    match given {
        Some((count, place)) if count == 0 || count > COUNT_MAX => {
            Err(fault(place, format!("{count} connections: choose 1 to {COUNT_MAX}")))
        }
        given => Ok(given.map(|(count, _)| count)),
    }
}

fn while_waiting(given: Placed<String>) -> Result<Option<Duration>, SettingsFault> {
    let Some((text, place)) = given else { return Ok(None) };
    let duration = super::duration(&text, &place)?;
    if (LEAST.0..=MOST.0).contains(&duration) {
        return Ok(Some(duration));
    }
    Err(fault(place, format!("`{text}`: choose {} to {}", LEAST.1, MOST.1)))
}
