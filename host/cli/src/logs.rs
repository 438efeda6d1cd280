//! The tracing subscriber: one line per event on standard error, text for people or JSON for programs.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::LogForm;
use crate::exit::Failure;

/// Sets the subscriber of the process. Once, before anything that logs.
pub(crate) fn start(form: Option<LogForm>, filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Failure::wrong_use(format!("`{filter}` is no log filter ({error}): write one like info or info,tidemill_engine=debug"))
    })?;
    let terminal = std::io::stderr().is_terminal();
    let form = form.unwrap_or(if terminal { LogForm::Text } else { LogForm::Json });
    let subscriber = tracing_subscriber::registry().with(filter);
    let set = match form {
        LogForm::Text => {
            subscriber.with(fmt::layer().with_writer(std::io::stderr).with_ansi(terminal).with_target(false)).try_init()
        }
        LogForm::Json => subscriber.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init(),
    };
    set.map_err(|error| Failure::failed(format!("cannot start logging: {error}")))
}
