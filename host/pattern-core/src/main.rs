//! Plays pattern vectors (`tests/data/cep/README.md`) through the matcher of `host/flow`: no host, no batches, one event after the other, so that the
//! moment of a match, what let it out and what stays alive are compared too.
//!
//! `tidemill-pattern-core FILE…` prints a line per vector and ends with 1 if one failed. `cargo xtask oracle patterns --core` runs it.

mod condition;
mod play;
mod vector;

use std::process::ExitCode;

use serde_json::Value;

fn main() -> ExitCode {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        eprintln!("usage: tidemill-pattern-core FILE…");
        return ExitCode::from(2);
    }
    let (mut passed, mut failed) = (0u32, 0u32);
    for file in files {
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("{file}: {error}");
                return ExitCode::FAILURE;
            }
        };
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let (id, outcome) = match serde_json::from_str::<Value>(line) {
                Ok(vector) => {
                    (vector["id"].as_str().map_or_else(|| format!("{file}:{number}"), str::to_owned), play::play(&vector))
                }
                Err(error) => (format!("{file}:{number}"), Err(error.to_string())),
            };
            match outcome {
                Ok(()) => {
                    passed += 1;
                    println!("ok {id}");
                }
                Err(why) => {
                    failed += 1;
                    println!("FAILED {id}: {why}");
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
