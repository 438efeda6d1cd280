//! Puts a folder of queries to a real host and says which of its answers are right: what `cargo xtask oracle` runs.
//!
//! ```text
//! tidemill-oracle streams DIR
//! tidemill-oracle nexmark DIR EXAMPLE
//! tidemill-oracle patterns FILE…
//! tidemill-oracle random SEED DIR             makes DIR of chance, and asks it
//! ```
//! A line per case, `N passed, M failed` at the end. Exit codes: 0 all passed, 1 something failed, 2 wrong use.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tidemill_oracle::random;
use tidemill_oracle::{Nexmark, Patterns, Streams, Verdict, tell};
use tidemill_tests::Host;

/// Of a folder of chance.
const ROWS: usize = 500;
const QUERIES: usize = 100;

fn main() -> ExitCode {
    let typed: Vec<String> = std::env::args().skip(1).collect();
    let judged = match typed.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        // A folder that cannot be read is said before a host is started.
        ["streams", folder] => Streams::open(Path::new(folder)).map(|streams| streams.run(&Host::start(), tell)),
        ["nexmark", folder, example] => {
            Nexmark::open(Path::new(folder), Path::new(example)).and_then(|nexmark| nexmark.run(&Host::start(), tell))
        }
        ["patterns", files @ ..] if !files.is_empty() => {
            let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
            Patterns::open(&files).map(|patterns| patterns.run(&Host::start(), tell))
        }
        ["random", seed, folder] => of_chance(seed, Path::new(folder)),
        _ => {
            eprintln!("error: use tidemill-oracle streams DIR, nexmark DIR EXAMPLE, patterns FILE…, or random SEED DIR");
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

/// Random window queries and random pipelines, each in a folder that stays: a case that fails can be asked again by `streams`.
fn of_chance(seed: &str, folder: &Path) -> anyhow::Result<Vec<Verdict>> {
    let seed = seed.parse()?;
    let [windows, pipelines] = ["windows", "pipelines"].map(|name| folder.join(name));
    random::write_windows(&windows, seed, ROWS, QUERIES)?;
    random::write_pipelines(&pipelines, seed, ROWS, QUERIES)?;
    let mut verdicts = Vec::new();
    for folder in [windows, pipelines] {
        verdicts.extend(Streams::open(&folder)?.run(&Host::start(), tell));
    }
    Ok(verdicts)
}

fn counted(verdicts: &[Verdict]) -> ExitCode {
    let failed = verdicts.iter().filter(|verdict| verdict.outcome.is_err()).count();
    println!("{} passed, {failed} failed", verdicts.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
