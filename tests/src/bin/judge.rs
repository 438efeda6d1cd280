//! The judge as a program of its own: it is not killed with the host, and shares no code and no disk with it.
//!
//! ```text
//! tidemill-judge load  URL FOLDER RUN    sends until its standard input closes; exit 1 if an answer cannot be right
//! tidemill-judge check URL FOLDER FILES  compares; exit 0 if every promise was kept, 1 if not, 2 if it could not tell
//! ```

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use tidemill_tests::judging;

const BROKEN: u8 = 1;
const UNABLE: u8 = 2;

fn main() -> ExitCode {
    let typed: Vec<String> = std::env::args().skip(1).collect();
    match typed.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["load", url, folder, run] => match run.parse() {
            Ok(run) => load(url, Path::new(folder), run),
            Err(_) => unable(&format!("`{run}` is no number")),
        },
        ["check", url, folder, files] => match judging::check(url, Path::new(folder), Path::new(files)) {
            Ok(verdict) => {
                println!("{verdict}");
                if verdict.is_right() { ExitCode::SUCCESS } else { ExitCode::from(BROKEN) }
            }
            Err(why) => unable(&why),
        },
        other => unable(&format!("`{}`: use load URL FOLDER RUN, or check URL FOLDER FILES", other.join(" "))),
    }
}

fn load(url: &str, folder: &Path, run: u32) -> ExitCode {
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        // Whoever started this program keeps the pipe; when they end in whatever way, so does the load.
        scope.spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            stop.store(true, Ordering::Relaxed);
        });
        judging::load(url, folder, run, &stop)
    });
    match sent {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::from(BROKEN)
        }
    }
}

fn unable(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::from(UNABLE)
}
