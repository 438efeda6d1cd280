//! `tidemill tail`: a stream's events as they stand in the log, one JSON object a line, for people and programs alike.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};

use serde::Deserialize;

use super::consumers::commit;
use crate::args::TailArgs;
use crate::client::{Client, encoded};
use crate::exit::Failure;
use crate::output::line_out;

/// Prints rows until the end, the limit, or Ctrl-C.
pub(crate) fn run(args: &TailArgs, client: &Client) -> Result<(), Failure> {
    let mut rows = BufReader::with_capacity(64 << 10, client.stream(&path(args))?);
    let mut out = std::io::stdout().lock();
    let mut line = Vec::new();
    let mut printed = Printed::default();
    loop {
        // A commit follows what was printed, and costs a request: it waits until there is nothing to print just now.
        if let Some(consumer) = args.consumer.as_deref().filter(|_| args.commit && rows.buffer().is_empty()) {
            out.flush().map_err(|error| Failure::failed(format!("cannot write to standard output: {error}")))?;
            printed.commit(client, &args.stream, consumer)?;
        }
        line.clear();
        let read = rows.read_until(b'\n', &mut line);
        let length = read.map_err(|error| Failure::not_reached(format!("the host at {} went away: {error}", client.base())))?;
        if length == 0 {
            return Ok(());
        }
        let row = line.strip_suffix(b"\n").unwrap_or(&line);
        line_out(&mut out, row)?;
        if args.commit {
            printed.row(row)?;
        }
    }
}

/// The first offset of each partition that was not printed yet, since the last commit.
#[derive(Default)]
struct Printed(BTreeMap<u32, u64>);

/// The host's fields of a row.
#[derive(Deserialize)]
struct RowPlace {
    #[serde(rename = "_partition")]
    partition: u32,
    #[serde(rename = "_offset")]
    offset: u64,
}

impl Printed {
    fn row(&mut self, row: &[u8]) -> Result<(), Failure> {
        let place: RowPlace = serde_json::from_slice(row)
            .map_err(|error| Failure::failed(format!("a row without `_partition` and `_offset` cannot be committed: {error}")))?;
        self.0.insert(place.partition, place.offset + 1);
        Ok(())
    }

    fn commit(&mut self, client: &Client, stream: &str, consumer: &str) -> Result<(), Failure> {
        let places: Vec<(u32, u64)> = std::mem::take(&mut self.0).into_iter().collect();
        if !places.is_empty() {
            commit(client, stream, consumer, &places, false)?;
        }
        Ok(())
    }
}

fn path(args: &TailArgs) -> String {
    let mut path = format!("/v1/streams/{}/events?from={}", encoded(&args.stream), encoded(&args.from));
    if let Some(consumer) = &args.consumer {
        path.push_str(&format!("&consumer={}", encoded(consumer)));
    }
    if let Some(until) = &args.until {
        path.push_str(&format!("&until={}", encoded(until)));
    }
    if let Some(partition) = args.partition {
        path.push_str(&format!("&partition={partition}"));
    }
    if let Some(limit) = args.limit {
        path.push_str(&format!("&limit={limit}"));
    }
    if args.follow {
        path.push_str("&follow=true");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_in_the_request() {
        let mut args = TailArgs {
            stream: "clicks.rejected".to_owned(),
            from: "earliest".to_owned(),
            until: None,
            partition: None,
            follow: false,
            limit: None,
            consumer: None,
            commit: false,
        };
        assert_eq!(path(&args), "/v1/streams/clicks.rejected/events?from=earliest");
        args.from = "2026-01-01T00:00:00Z".to_owned();
        args.until = Some("latest".to_owned());
        args.consumer = Some("billing".to_owned());
        (args.partition, args.follow, args.limit) = (Some(2), true, Some(10));
        assert_eq!(
            path(&args),
            "/v1/streams/clicks.rejected/events?from=2026-01-01T00%3A00%3A00Z&consumer=billing&until=latest&partition=2&limit=10&follow=true"
        );
    }

    #[test]
    fn a_commit_names_what_comes_behind_the_last_row() {
        let mut printed = Printed::default();
        for row in [
            r#"{"n":1,"_partition":0,"_offset":7,"_time":""}"#,
            r#"{"_partition":1,"_offset":0}"#,
            r#"{"_partition":0,"_offset":8}"#,
        ] {
            printed.row(row.as_bytes()).expect("a row");
        }
        assert_eq!(printed.0, BTreeMap::from([(0, 9), (1, 1)]));
        assert!(printed.row(b"{}").is_err());
    }
}
