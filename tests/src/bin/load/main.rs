//! Measures a whole host from outside: what it takes per event, and how long answers and results take.
//!
//! ```text
//! tidemill-load NAME URL PROCESS GUESTS [ARGUMENT]
//! tidemill-load restart GUESTS [GIB]
//! tidemill-load state [KEYS [MEMORY]]
//! tidemill-load nexmark EXAMPLE [MILLIONS [QUERY …]]
//! ```
//! Speaks HTTP on kept connections of loopback, from a fixed number of threads, for a fixed time, and prints a table. CPU time is
//! taken from `/proc`, the host's and the generator's own apart, in steps of a clock tick; so figures per CPU-second mean something on
//! a busy machine too, latencies less so. A latency under a paced load counts from the moment the request was due, so that a host
//! that stalls is charged for the requests it held up.

mod backup;
mod disk;
mod drive;
mod events;
mod idle;
mod ingest;
mod latency;
mod measured;
mod nexmark;
mod path;
mod restart;
mod single;
mod soak;
mod state;
mod transactions;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use measured::Measured;

const USE: &str = "use tidemill-load ingest|single|path|latency|idle|soak|backup|transactions URL PROCESS FOLDER [ARGUMENT], tidemill-load restart GUESTS [GIB], tidemill-load state [KEYS [MEMORY]], or tidemill-load nexmark EXAMPLE [MILLIONS [QUERY …]]";

fn main() -> ExitCode {
    let typed: Vec<String> = std::env::args().skip(1).collect();
    let done = match typed.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["restart", guests, rest @ ..] => restart::restart(rest.first().copied(), Path::new(guests)),
        ["state", rest @ ..] => state::state(rest.first().copied(), rest.get(1).copied()),
        ["nexmark", example, rest @ ..] => {
            nexmark::nexmark(Path::new(example), rest.first().copied(), rest.get(1..).unwrap_or_default())
        }
        [name, url, process, guests, rest @ ..] => {
            of_running(name, &Measured { url, process }, Path::new(guests), rest.first().copied())
        }
        _ => {
            eprintln!("error: {USE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is measured of a host that runs.
fn of_running(name: &str, host: &Measured<'_>, guests: &Path, argument: Option<&str>) -> io::Result<()> {
    match name {
        "ingest" => ingest::ingest(host, guests, argument.map(Path::new)),
        "single" => single::single(host, guests, argument.map(Path::new)),
        "path" => path::path(host, guests),
        "latency" => latency::latency(host, guests),
        "idle" => idle::idle(host),
        "soak" => soak::soak(host, guests, argument),
        "backup" => backup::backup(host, argument),
        "transactions" => transactions::transactions(host, guests, argument.map(Path::new)),
        other => Err(io::Error::other(format!("there is no bench `{other}`; {USE}"))),
    }
}
