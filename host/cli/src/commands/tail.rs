//! `tidemill tail`: a stream's events as they stand in the log, one JSON object a line, for people and programs alike.

use std::io::{BufRead, BufReader};

use crate::args::TailArgs;
use crate::client::{Client, encoded};
use crate::exit::Failure;
use crate::output::line_out;

/// Prints rows until the end, the limit, or Ctrl-C.
pub(crate) fn run(args: &TailArgs, client: &Client) -> Result<(), Failure> {
    let mut rows = BufReader::with_capacity(64 << 10, client.stream(&path(args))?);
    let mut out = std::io::stdout().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = rows.read_until(b'\n', &mut line);
        let length = read.map_err(|error| Failure::not_reached(format!("the host at {} went away: {error}", client.base())))?;
        if length == 0 {
            return Ok(());
        }
        let row = line.strip_suffix(b"\n").unwrap_or(&line);
        line_out(&mut out, row)?;
    }
}

fn path(args: &TailArgs) -> String {
    let mut path = format!("/v1/streams/{}/events?from={}", encoded(&args.stream), encoded(&args.from));
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
            partition: None,
            follow: false,
            limit: None,
        };
        assert_eq!(path(&args), "/v1/streams/clicks.rejected/events?from=earliest");
        args.from = "2026-01-01T00:00:00Z".to_owned();
        (args.partition, args.follow, args.limit) = (Some(2), true, Some(10));
        assert_eq!(
            path(&args),
            "/v1/streams/clicks.rejected/events?from=2026-01-01T00%3A00%3A00Z&partition=2&limit=10&follow=true"
        );
    }
}
