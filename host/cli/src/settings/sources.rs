//! Where settings stand: the file, the environment and flags say the same keys, and here is the list of them.
//!
//! A new setting is a line of the list, a flag in `args/`, and its check beside the others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{SettingsFault, fault};

/// A value and where it stood, for messages about it.
pub(super) type Placed<T> = Option<(T, String)>;

macro_rules! keys {
    ($($key:ident: $kind:ty = $variable:literal,)+) => {
        /// What one source says.
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct Given {
            $(pub(super) $key: Option<$kind>,)+
        }

        /// What all of them say, the later one over the earlier.
        #[derive(Debug, Default)]
        pub(super) struct Found {
            $(pub(super) $key: Placed<$kind>,)+
        }

        /// What the environment may set, and the key it stands for.
        pub(crate) const VARIABLES: &[(&str, &str)] = &[$(($variable, stringify!($key)),)+];

        impl Given {
            /// What a variable says; false if it is none of ours.
            fn set(&mut self, variable: &str, text: &str) -> Result<bool, SettingsFault> {
                $(if variable == $variable {
                    self.$key = Some(<$kind as Written>::read(variable, text)?);
                    return Ok(true);
                })+
                Ok(false)
            }
        }

        impl Found {
            /// Takes what a source says, with the place of each key in it.
            pub(super) fn take(&mut self, given: Given, place: &dyn Fn(&str) -> String) {
                $(if let Some(value) = given.$key {
                    self.$key = Some((value, place(stringify!($key))));
                })+
            }
        }
    };
}

keys! {
    dev: bool = "TIDEMILL_DEV",
    data: PathBuf = "TIDEMILL_DATA",
    listen: String = "TIDEMILL_LISTEN",
    workers: usize = "TIDEMILL_WORKERS",
    drain: String = "TIDEMILL_DRAIN",
    log: String = "TIDEMILL_LOG",
    log_filter: String = "TIDEMILL_LOG_FILTER",
    webhooks_private: bool = "TIDEMILL_WEBHOOKS_PRIVATE",
    disk_reserve: String = "TIDEMILL_DISK_RESERVE",
    state_memory: String = "TIDEMILL_STATE_MEMORY",
    tenant_state_memory: String = "TIDEMILL_TENANT_STATE_MEMORY",
    connections_max: usize = "TIDEMILL_CONNECTIONS_MAX",
    connections_per_address_max: usize = "TIDEMILL_CONNECTIONS_PER_ADDRESS_MAX",
    connection_idle: String = "TIDEMILL_CONNECTION_IDLE",
    header_read: String = "TIDEMILL_HEADER_READ",
    body_idle: String = "TIDEMILL_BODY_IDLE",
    write_stall: String = "TIDEMILL_WRITE_STALL",
    event_stream_keep_alive: String = "TIDEMILL_EVENT_STREAM_KEEP_ALIVE",
    websocket_ping: String = "TIDEMILL_WEBSOCKET_PING",
    websocket_idle: String = "TIDEMILL_WEBSOCKET_IDLE",
}

/// Variables of ours that are not settings of `serve`.
const OTHER_VARIABLES: [&str; 4] = ["TIDEMILL_HOST", "TIDEMILL_CONFIG", "TIDEMILL_TOKEN", "TIDEMILL_TOKEN_FILE"];

/// The settings file.
pub(super) fn parse_file(path: &Path, text: &str) -> Result<Given, SettingsFault> {
    toml::from_str(text).map_err(|error| {
        let line =
            error.span().map_or(1, |span| text.as_bytes()[..span.start.min(text.len())].split(|byte| *byte == b'\n').count());
        fault(format!("{}:{line}", path.display()), error.message().trim().replace('\n', " "))
    })
}

/// The variables of the process.
pub(super) fn parse_environment(environment: &BTreeMap<String, String>) -> Result<Given, SettingsFault> {
    let mut given = Given::default();
    for (name, value) in environment.iter().filter(|(name, _)| name.starts_with("TIDEMILL_")) {
        if !given.set(name, value)? && !OTHER_VARIABLES.contains(&name.as_str()) && !is_service_link(name) {
            let known: Vec<&str> = VARIABLES.iter().map(|(name, _)| *name).collect();
            return Err(fault(name, format!("no such setting: there are {}; unset it or mend its name", known.join(", "))));
        }
    }
    Ok(given)
}

/// Kubernetes sets `TIDEMILL_PORT`, `TIDEMILL_PORT_8642_TCP…`, `TIDEMILL_SERVICE_HOST`, … in every pod beside a service called
/// `tidemill`; nobody wrote those, so they are no mistakes.
fn is_service_link(name: &str) -> bool {
    name.strip_prefix("TIDEMILL_").is_some_and(|rest| {
        rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_HOST") || rest.starts_with("SERVICE_PORT")
    })
}

/// What a variable can hold.
trait Written: Sized {
    fn read(name: &str, text: &str) -> Result<Self, SettingsFault>;
}

impl Written for String {
    fn read(_: &str, text: &str) -> Result<Self, SettingsFault> {
        Ok(text.to_owned())
    }
}

impl Written for PathBuf {
    fn read(_: &str, text: &str) -> Result<Self, SettingsFault> {
        Ok(text.into())
    }
}

impl Written for bool {
    fn read(name: &str, text: &str) -> Result<Self, SettingsFault> {
        text.parse().map_err(|_| fault(name, format!("`{text}` is not true or false")))
    }
}

impl Written for usize {
    fn read(name: &str, text: &str) -> Result<Self, SettingsFault> {
        text.parse().map_err(|_| fault(name, format!("`{text}` is not a whole number")))
    }
}
