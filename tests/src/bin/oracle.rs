//! Puts a folder of queries to a real host and says which of its answers are right: what `cargo xtask oracle` runs.
//!
//! ```text
//! tidemill-oracle streams DIR
//! tidemill-oracle nexmark DIR EXAMPLE
//! ```
//! A line per case, `N passed, M failed` at the end. Exit codes: 0 all passed, 1 something failed, 2 wrong use.

use std::path::Path;
use std::process::ExitCode;

use tidemill_oracle::{Nexmark, Streams, Verdict, tell};
use tidemill_tests::Host;

fn main() -> ExitCode {
    let typed: Vec<String> = std::env::args().skip(1).collect();
    let judged = match typed.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        // A folder that cannot be read is said before a host is started.
        ["streams", folder] => Streams::open(Path::new(folder)).map(|streams| streams.run(&Host::start(), tell)),
        ["nexmark", folder, example] => {
            Nexmark::open(Path::new(folder), Path::new(example)).and_then(|nexmark| nexmark.run(&Host::start(), tell))
        }
        _ => {
            eprintln!("error: use tidemill-oracle streams DIR, or tidemill-oracle nexmark DIR EXAMPLE");
            return ExitCode::from(2);
        }
    };
    match judged {
        Ok(verdicts) => counted(&verdicts),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn counted(verdicts: &[Verdict]) -> ExitCode {
    let failed = verdicts.iter().filter(|verdict| verdict.outcome.is_err()).count();
    println!("{} passed, {failed} failed", verdicts.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
