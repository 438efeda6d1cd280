//! Writes events of Nexmark, one file a stream: `tidemill-nexmark EVENTS FOLDER [EVENTS_PER_S [SEED]]`.
//!
//! The same numbers give the same bytes. Event time begins where the stream of tests/data/nexmark does.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use tidemill_oracle::{Generator, Kind};

const EVENTS_PER_S: u64 = 10_000;
const SEED: u64 = 1;
const BASE_MS: i64 = 1_700_035_175_000;

fn main() -> ExitCode {
    let typed: Vec<String> = std::env::args().skip(1).collect();
    let Some((events, folder, events_per_s, seed)) = read(&typed) else {
        eprintln!("error: use tidemill-nexmark EVENTS FOLDER [EVENTS_PER_S [SEED]]");
        return ExitCode::from(2);
    };
    match write(events, Path::new(folder), Generator::new(seed, events_per_s, BASE_MS)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {folder}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(typed: &[String]) -> Option<(u64, &str, u64, u64)> {
    let [events, folder, rest @ ..] = typed else { return None };
    let number = |index: usize, unless_said: u64| rest.get(index).map_or(Some(unless_said), |text| text.parse().ok());
    (rest.len() <= 2).then_some((events.parse().ok()?, folder.as_str(), number(0, EVENTS_PER_S)?, number(1, SEED)?))
}

fn write(events: u64, folder: &Path, mut generator: Generator) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let open = |name: &str| File::create(folder.join(format!("{name}.ndjson"))).map(BufWriter::new);
    let [mut person, mut auction, mut bid] = [open("person")?, open("auction")?, open("bid")?];
    let mut line = Vec::new();
    for _ in 0..events {
        line.clear();
        match generator.next_into(&mut line) {
            Kind::Person => &mut person,
            Kind::Auction => &mut auction,
            Kind::Bid => &mut bid,
        }
        .write_all(&line)?;
    }
    [person, auction, bid].iter_mut().try_for_each(Write::flush)
}
