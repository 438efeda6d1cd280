//! What `serve` needs, parsed once before a port is bound: file, then environment, then flags; the later one wins.
//!
//! Reads neither files nor the environment itself: [`ServeSettings::from_sources`] is a pure function of what was found there.
//! Unknown keys are refused with their place, because a misspelt setting that is ignored is found in an incident.

mod connections;
mod sources;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use tidemill_event::units;

pub(crate) use self::connections::ConnectionSettings;
pub(crate) use self::sources::VARIABLES;
use self::sources::{Found, Given, Placed, parse_environment, parse_file};
use crate::args::{LogForm, ServeArgs};

/// Everything `serve` was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServeSettings {
    /// Serve without asking for tokens, on loopback only.
    pub dev: bool,
    /// The data directory.
    pub data: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Worker threads for pipelines; `None`: as many as processors.
    pub workers: Option<usize>,
    /// How long a stop may take.
    pub drain: Duration,
    /// How log lines look; `None`: text on a terminal, JSON elsewhere.
    pub log: Option<LogForm>,
    /// Which log lines are written.
    pub log_filter: String,
    /// Webhooks may go to addresses that are not public.
    pub webhooks_private: bool,
    /// Room on the disk that is kept to finish what was taken; `None`: as much as the log keeps unless told.
    pub disk_reserve_bytes: Option<u64>,
    /// Memory for the state of all pipelines; `None`: half of the machine's.
    pub state_memory_bytes: Option<u64>,
    /// What of it one tenant's pipelines may take; `None`: all of it.
    pub tenant_state_memory_bytes: Option<u64>,
    /// How many connections there may be, and how long they may keep the host waiting.
    pub connections: ConnectionSettings,
}

/// Why the settings cannot be meant. The message says where and what to change.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub(crate) struct SettingsFault {
    /// `tidemill.toml:3`, `TIDEMILL_LISTEN` or `--drain`.
    place: String,
    /// What to change.
    message: String,
}

const DRAIN_DEFAULT: Duration = Duration::from_secs(10);
const WORKERS_MAX: usize = 1024;

impl ServeSettings {
    /// `file` is the settings file's path and text; `environment` all variables of the process.
    pub(crate) fn from_sources(
        args: &ServeArgs,
        environment: &BTreeMap<String, String>,
        file: Option<(&Path, &str)>,
    ) -> Result<Self, SettingsFault> {
        let mut found = Found::default();
        if let Some((path, text)) = file {
            found.take(parse_file(path, text)?, &|_| path.display().to_string());
        }
        found.take(parse_environment(environment)?, &|key| {
            VARIABLES.iter().find(|(_, of)| *of == key).map_or(key, |(name, _)| name).to_owned()
        });
        let flags = Given {
            dev: args.dev.then_some(true),
            data: args.data.clone(),
            listen: args.listen.map(|listen| listen.to_string()),
            workers: args.workers,
            drain: args.drain.clone(),
            log: args.log.and_then(|form| form.to_possible_value()).map(|form| form.get_name().to_owned()),
            log_filter: args.log_filter.clone(),
            webhooks_private: args.webhooks_private.then_some(true),
            disk_reserve: args.disk_reserve.clone(),
            state_memory: args.state_memory.clone(),
            tenant_state_memory: args.tenant_state_memory.clone(),
            connections_max: args.connections.connections_max,
            connections_per_address_max: args.connections.connections_per_address_max,
            connection_idle: args.connections.connection_idle.clone(),
            header_read: args.connections.header_read.clone(),
            body_idle: args.connections.body_idle.clone(),
            write_stall: args.connections.write_stall.clone(),
            event_stream_keep_alive: args.connections.event_stream_keep_alive.clone(),
            websocket_ping: args.connections.websocket_ping.clone(),
            websocket_idle: args.connections.websocket_idle.clone(),
        };
        found.take(flags, &|key| format!("--{}", key.replace('_', "-")));
        found.check()
    }
}

impl Found {
    /// The settings as they can be meant.
    fn check(mut self) -> Result<ServeSettings, SettingsFault> {
        let connections = ConnectionSettings::take(&mut self)?;
        let dev = self.dev.is_some_and(|(dev, _)| dev);
        let (data, _) = self.data.ok_or_else(|| {
            fault("--data", "say where the host shall keep its data: --data DIR (the folder is made if it is missing)")
        })?;
        let listen = match self.listen {
            None => SocketAddr::from((Ipv4Addr::LOCALHOST, 8642)),
            Some((text, place)) => {
                let listen: SocketAddr = text.parse().map_err(|_| {
                    fault(&place, format!("`{text}` is no address to listen on: write one like 127.0.0.1:8642 or [::1]:8642"))
                })?;
                if dev && !listen.ip().is_loopback() {
                    return Err(fault(
                        &place,
                        format!(
                            "with dev anybody who reaches {listen} could do anything: listen on 127.0.0.1 or [::1], or leave dev out"
                        ),
                    ));
                }
                listen
            }
        };
        let workers = match self.workers {
            Some((workers, place)) if workers == 0 || workers > WORKERS_MAX => {
                return Err(fault(&place, format!("{workers} workers: choose 1 to {WORKERS_MAX}")));
            }
            workers => workers.map(|(workers, _)| workers),
        };
        let drain = match self.drain {
            None => DRAIN_DEFAULT,
            Some((text, place)) => duration(&text, &place)?,
        };
        let log = match self.log {
            None => None,
            Some((text, place)) => {
                Some(LogForm::from_str(&text, false).map_err(|_| fault(&place, format!("`{text}` is neither text nor json")))?)
            }
        };
        let log_filter = self.log_filter.map_or_else(|| "info".to_owned(), |(filter, _)| filter);
        let webhooks_private = self.webhooks_private.is_some_and(|(allowed, _)| allowed);
        let disk_reserve_bytes = size(self.disk_reserve)?;
        let state_memory_bytes = size(self.state_memory)?;
        let tenant_state_memory_bytes = size(self.tenant_state_memory)?;
        Ok(ServeSettings {
            dev,
            data,
            listen,
            workers,
            drain,
            log,
            log_filter,
            webhooks_private,
            disk_reserve_bytes,
            state_memory_bytes,
            tenant_state_memory_bytes,
            connections,
        })
    }
}

fn size(given: Placed<String>) -> Result<Option<u64>, SettingsFault> {
    let Some((text, place)) = given else { return Ok(None) };
    let no_size = || fault(&place, format!("`{text}` is no size: write a whole number and KiB, MiB or GiB, such as 64MiB"));
    units::size(&text).map(Some).ok_or_else(no_size)
}

fn duration(text: &str, place: &str) -> Result<Duration, SettingsFault> {
    units::duration(text)
        .ok_or_else(|| fault(place, format!("`{text}` is no duration: write a whole number and ms, s, m, h or d, such as 10s")))
}

fn fault(place: impl Into<String>, message: impl Into<String>) -> SettingsFault {
    SettingsFault { place: place.into(), message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use expect_test::{Expect, expect};

    /// `flags` as typed, `variables` as `NAME=value` words, `file` as text.
    fn check(flags: &str, variables: &str, file: &str, expected: Expect) {
        let typed = ["tidemill", "serve"].into_iter().chain(flags.split_whitespace());
        let args = crate::args::Tidemill::try_parse_from(typed).expect("flags parse");
        let crate::args::Command::Serve(serve) = args.command else { panic!("not serve") };
        let environment = variables.split_whitespace().filter_map(|word| word.split_once('='));
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let file = (!file.is_empty()).then_some((Path::new("tidemill.toml"), file));
        let said = match ServeSettings::from_sources(&serve, &environment, file) {
            Ok(settings) => format!(
                "data={} listen={} workers={:?} drain={:?} log={:?} filter={}",
                settings.data.display(),
                settings.listen,
                settings.workers,
                settings.drain,
                settings.log,
                settings.log_filter
            ),
            Err(fault) => fault.to_string(),
        };
        expected.assert_eq(&said);
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        check("--dev --data d", "", "", expect!["data=d listen=127.0.0.1:8642 workers=None drain=10s log=None filter=info"]);
        let file = "dev = true\ndata = \"file\"\nlisten = \"127.0.0.1:1\"\ndrain = \"1m\"\nlog = \"json\"\n";
        check("", "", file, expect!["data=file listen=127.0.0.1:1 workers=None drain=60s log=Some(Json) filter=info"]);
        check(
            "--listen [::1]:3",
            "TIDEMILL_DATA=env TIDEMILL_LISTEN=127.0.0.1:2 TIDEMILL_WORKERS=3 PATH=/bin",
            file,
            expect!["data=env listen=[::1]:3 workers=Some(3) drain=60s log=Some(Json) filter=info"],
        );
    }

    #[test]
    fn only_dev_is_kept_to_this_machine() {
        check(
            "--data d --listen 0.0.0.0:80",
            "TIDEMILL_TOKEN=t TIDEMILL_TOKEN_FILE=f",
            "",
            expect!["data=d listen=0.0.0.0:80 workers=None drain=10s log=None filter=info"],
        );
    }

    #[test]
    fn what_cannot_be_meant_is_named_with_its_place() {
        check(
            "--dev",
            "",
            "",
            expect!["--data: say where the host shall keep its data: --data DIR (the folder is made if it is missing)"],
        );
        check(
            "--dev --data d --listen 0.0.0.0:80",
            "",
            "",
            expect![
                "--listen: with dev anybody who reaches 0.0.0.0:80 could do anything: listen on 127.0.0.1 or [::1], or leave dev out"
            ],
        );
        check(
            "--dev --data d",
            "TIDEMILL_LISTEN=localhost",
            "",
            expect!["TIDEMILL_LISTEN: `localhost` is no address to listen on: write one like 127.0.0.1:8642 or [::1]:8642"],
        );
        check(
            "--dev --data d --drain 10",
            "",
            "",
            expect!["--drain: `10` is no duration: write a whole number and ms, s, m, h or d, such as 10s"],
        );
        check("--dev --data d --workers 0", "", "", expect!["--workers: 0 workers: choose 1 to 1024"]);
        check(
            "--dev --data d",
            "TIDEMILL_DISK_RESERVE=64",
            "",
            expect!["TIDEMILL_DISK_RESERVE: `64` is no size: write a whole number and KiB, MiB or GiB, such as 64MiB"],
        );
    }

    #[test]
    fn unknown_keys_are_refused_with_their_line() {
        check(
            "--dev --data d",
            "",
            "dev = true\nlisen = \"127.0.0.1:1\"\n",
            expect![
                "tidemill.toml:2: unknown field `lisen`, expected one of `dev`, `data`, `listen`, `workers`, `drain`, `log`, `log_filter`, `webhooks_private`, `disk_reserve`, `state_memory`, `tenant_state_memory`, `connections_max`, `connections_per_address_max`, `connection_idle`, `header_read`, `body_idle`, `write_stall`, `event_stream_keep_alive`, `websocket_ping`, `websocket_idle`"
            ],
        );
        check(
            "--dev --data d",
            "TIDEMILL_LISEN=1",
            "",
            expect![
                "TIDEMILL_LISEN: no such setting: there are TIDEMILL_DEV, TIDEMILL_DATA, TIDEMILL_LISTEN, TIDEMILL_WORKERS, TIDEMILL_DRAIN, TIDEMILL_LOG, TIDEMILL_LOG_FILTER, TIDEMILL_WEBHOOKS_PRIVATE, TIDEMILL_DISK_RESERVE, TIDEMILL_STATE_MEMORY, TIDEMILL_TENANT_STATE_MEMORY, TIDEMILL_CONNECTIONS_MAX, TIDEMILL_CONNECTIONS_PER_ADDRESS_MAX, TIDEMILL_CONNECTION_IDLE, TIDEMILL_HEADER_READ, TIDEMILL_BODY_IDLE, TIDEMILL_WRITE_STALL, TIDEMILL_EVENT_STREAM_KEEP_ALIVE, TIDEMILL_WEBSOCKET_PING, TIDEMILL_WEBSOCKET_IDLE; unset it or mend its name"
            ],
        );
        check(
            "--dev --data d",
            "TIDEMILL_SERVICE_HOST=10.0.0.1 TIDEMILL_PORT_8642_TCP=tcp://10.0.0.1:8642",
            "",
            expect!["data=d listen=127.0.0.1:8642 workers=None drain=10s log=None filter=info"],
        );
    }

    #[test]
    fn connections_are_bounded_and_wait_for_so_long() {
        let connections = |flags: &str, file: &str| {
            let typed = ["tidemill", "serve", "--data", "d"].into_iter().chain(flags.split_whitespace());
            let args = crate::args::Tidemill::try_parse_from(typed).expect("flags parse");
            let crate::args::Command::Serve(serve) = args.command else { panic!("not serve") };
            let environment = BTreeMap::from([("TIDEMILL_WEBSOCKET_IDLE".to_owned(), "1h".to_owned())]);
            let settings = ServeSettings::from_sources(&serve, &environment, Some((Path::new("tidemill.toml"), file)));
            settings.expect("settings").connections
        };
        let said = connections("--write-stall 5s", "connections_max = 7\nwrite_stall = \"9s\"\n");
        let service = said.over(tidemill_server::Settings::default());
        assert_eq!((service.connections_max, service.write_stall), (7, Duration::from_secs(5)));
        assert_eq!((service.websocket_idle, service.idle), (Duration::from_secs(3600), Duration::from_secs(75)));
        check("--data d --write-stall 0s", "", "", expect!["--write-stall: `0s`: choose 100ms to 1d"]);
        check("--data d --connections-max 0", "", "", expect!["--connections-max: 0 connections: choose 1 to 1000000"]);
        check("--data d", "", "body_idle = \"2d\"\n", expect!["tidemill.toml: `2d`: choose 100ms to 1d"]);
        check("--data d", "TIDEMILL_CONNECTIONS_MAX=many", "", expect!["TIDEMILL_CONNECTIONS_MAX: `many` is not a whole number"]);
    }
}
