//! What `serve` needs, parsed once before a port is bound: file, then environment, then flags; the later one wins.
//!
//! Reads neither files nor the environment itself: [`ServeSettings::from_sources`] is a pure function of what was found there.
//! Unknown keys are refused with their place, because a misspelt setting that is ignored is found in an incident.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

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

/// The settings file, and the environment: the same keys.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    dev: Option<bool>,
    data: Option<PathBuf>,
    listen: Option<String>,
    workers: Option<usize>,
    drain: Option<String>,
    log: Option<String>,
    log_filter: Option<String>,
    webhooks_private: Option<bool>,
    disk_reserve: Option<String>,
}

/// What the environment may set, and the key it stands for.
pub(crate) const VARIABLES: [(&str, &str); 9] = [
    ("TIDEMILL_DEV", "dev"),
    ("TIDEMILL_DATA", "data"),
    ("TIDEMILL_LISTEN", "listen"),
    ("TIDEMILL_WORKERS", "workers"),
    ("TIDEMILL_DRAIN", "drain"),
    ("TIDEMILL_LOG", "log"),
    ("TIDEMILL_LOG_FILTER", "log_filter"),
    ("TIDEMILL_WEBHOOKS_PRIVATE", "webhooks_private"),
    ("TIDEMILL_DISK_RESERVE", "disk_reserve"),
];

/// Variables of ours that are not settings of `serve`.
const OTHER_VARIABLES: [&str; 4] = ["TIDEMILL_HOST", "TIDEMILL_CONFIG", "TIDEMILL_TOKEN", "TIDEMILL_TOKEN_FILE"];

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
        };
        found.take(flags, &|key| format!("--{}", key.replace('_', "-")));
        found.check()
    }
}

/// A value and where it stood, for messages about it.
type Placed<T> = Option<(T, String)>;

#[derive(Default)]
struct Found {
    dev: Placed<bool>,
    data: Placed<PathBuf>,
    listen: Placed<String>,
    workers: Placed<usize>,
    drain: Placed<String>,
    log: Placed<String>,
    log_filter: Placed<String>,
    webhooks_private: Placed<bool>,
    disk_reserve: Placed<String>,
}

impl Found {
    fn take(&mut self, given: Given, place: &dyn Fn(&str) -> String) {
        fn over<T>(have: &mut Placed<T>, new: Option<T>, place: impl FnOnce() -> String) {
            if let Some(value) = new {
                *have = Some((value, place()));
            }
        }
        over(&mut self.dev, given.dev, || place("dev"));
        over(&mut self.data, given.data, || place("data"));
        over(&mut self.listen, given.listen, || place("listen"));
        over(&mut self.workers, given.workers, || place("workers"));
        over(&mut self.drain, given.drain, || place("drain"));
        over(&mut self.log, given.log, || place("log"));
        over(&mut self.log_filter, given.log_filter, || place("log_filter"));
        over(&mut self.webhooks_private, given.webhooks_private, || place("webhooks_private"));
        over(&mut self.disk_reserve, given.disk_reserve, || place("disk_reserve"));
    }

    fn check(self) -> Result<ServeSettings, SettingsFault> {
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
            Some((text, place)) => parse_duration(&text).ok_or_else(|| {
                fault(&place, format!("`{text}` is no duration: write a whole number and ms, s, m, h or d, such as 10s"))
            })?,
        };
        let log = match self.log {
            None => None,
            Some((text, place)) => {
                Some(LogForm::from_str(&text, false).map_err(|_| fault(&place, format!("`{text}` is neither text nor json")))?)
            }
        };
        let log_filter = self.log_filter.map_or_else(|| "info".to_owned(), |(filter, _)| filter);
        let webhooks_private = self.webhooks_private.is_some_and(|(allowed, _)| allowed);
        let disk_reserve_bytes = match self.disk_reserve {
            None => None,
            Some((text, place)) => Some(parse_size(&text).ok_or_else(|| {
                fault(&place, format!("`{text}` is no size: write a whole number and KiB, MiB or GiB, such as 64MiB"))
            })?),
        };
        Ok(ServeSettings { dev, data, listen, workers, drain, log, log_filter, webhooks_private, disk_reserve_bytes })
    }
}

fn parse_file(path: &Path, text: &str) -> Result<Given, SettingsFault> {
    toml::from_str(text).map_err(|error| {
        let line =
            error.span().map_or(1, |span| text.as_bytes()[..span.start.min(text.len())].split(|byte| *byte == b'\n').count());
        fault(format!("{}:{line}", path.display()), error.message().trim().replace('\n', " "))
    })
}

fn parse_environment(environment: &BTreeMap<String, String>) -> Result<Given, SettingsFault> {
    let mut given = Given::default();
    for (name, value) in environment.iter().filter(|(name, _)| name.starts_with("TIDEMILL_")) {
        let Some((_, key)) = VARIABLES.iter().find(|(variable, _)| variable == name) else {
            if OTHER_VARIABLES.contains(&name.as_str()) || is_service_link(name) {
                continue;
            }
            let known = VARIABLES.map(|(name, _)| name).join(", ");
            return Err(fault(name, format!("no such setting: there are {known}; unset it or mend its name")));
        };
        match *key {
            "dev" => given.dev = Some(parse_value(name, value, "true or false")?),
            "data" => given.data = Some(PathBuf::from(value)),
            "listen" => given.listen = Some(value.clone()),
            "workers" => given.workers = Some(parse_value(name, value, "a whole number")?),
            "drain" => given.drain = Some(value.clone()),
            "log" => given.log = Some(value.clone()),
            "webhooks_private" => given.webhooks_private = Some(parse_value(name, value, "true or false")?),
            "disk_reserve" => given.disk_reserve = Some(value.clone()),
            key => {
                assert_eq!(key, "log_filter", "every variable has its arm");
                given.log_filter = Some(value.clone());
            }
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

fn parse_value<T: std::str::FromStr>(name: &str, value: &str, wanted: &str) -> Result<T, SettingsFault> {
    value.parse().map_err(|_| fault(name, format!("`{value}` is not {wanted}")))
}

/// An integer and `ms s m h d` (contract: names).
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(unit_ms)?))
}

/// An integer and `KiB MiB GiB` (contract: names).
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit_bytes: u64 = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_bytes)
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
                "tidemill.toml:2: unknown field `lisen`, expected one of `dev`, `data`, `listen`, `workers`, `drain`, `log`, `log_filter`, `webhooks_private`, `disk_reserve`"
            ],
        );
        check(
            "--dev --data d",
            "TIDEMILL_LISEN=1",
            "",
            expect![
                "TIDEMILL_LISEN: no such setting: there are TIDEMILL_DEV, TIDEMILL_DATA, TIDEMILL_LISTEN, TIDEMILL_WORKERS, TIDEMILL_DRAIN, TIDEMILL_LOG, TIDEMILL_LOG_FILTER, TIDEMILL_WEBHOOKS_PRIVATE, TIDEMILL_DISK_RESERVE; unset it or mend its name"
            ],
        );
        check(
            "--dev --data d",
            "TIDEMILL_SERVICE_HOST=10.0.0.1 TIDEMILL_PORT_8642_TCP=tcp://10.0.0.1:8642",
            "",
            expect!["data=d listen=127.0.0.1:8642 workers=None drain=10s log=None filter=info"],
        );
    }
}
