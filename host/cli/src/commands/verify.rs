//! `tidemill log verify`: reads the whole log of a stopped host and names what does not hold. Exit code 1 if anything does not.

use std::path::Path;

use serde_json::{Value, json};
use tidemill_log::{Fault, Verified, verify};

use super::token::stopped;
use crate::args::LogCommand;
use crate::exit::Failure;
use crate::output::{Output, bytes};

/// Does the sub-command.
pub(crate) fn run(command: &LogCommand, output: Output) -> Result<(), Failure> {
    match command {
        LogCommand::Verify { data } => {
            let data = stopped(data)?;
            let spinner = output.spinner("reading everything".to_owned());
            let verified = verify(&data.path().join("log"), &crate::planted::disk());
            spinner.finish_and_clear();
            report(&verified.map_err(|error| Failure::failed(error.to_string()))?, data.path(), output)
        }
    }
}

fn report(verified: &Verified, data: &Path, output: Output) -> Result<(), Failure> {
    let Verified { streams, partitions, groups, segments, blocks, rows, bytes: read_bytes, faults } = verified;
    let value = json!({
        "streams": streams, "partitions": partitions, "journal_groups": groups, "segments": segments, "blocks": blocks,
        "rows_in_segments": rows, "bytes": read_bytes, "faults": faults.iter().map(value).collect::<Vec<_>>(),
    });
    output.result(&value, || {
        let read = format!(
            "{streams} streams with {partitions} partitions, {segments} segments with {rows} rows, {groups} groups in the journal: {}",
            bytes(*read_bytes)
        );
        match faults.as_slice() {
            [] => format!("{read}\neverything holds"),
            faults => format!("{read}\n{}", faults.iter().map(line).collect::<Vec<_>>().join("\n")),
        }
    })?;
    match faults.iter().any(|fault| fault.partition.is_none()) {
        _ if faults.is_empty() => Ok(()),
        true => Err(Failure::failed(format!(
            "{} faults; the host does not start with one that is nobody's alone: `tidemill repair --data {}` says more, or restore a backup",
            faults.len(),
            data.display()
        ))),
        false => Err(Failure::failed(format!(
            "{} faults; the host starts, and the partitions named stop where their damage is: restore a backup to have the rows again",
            faults.len()
        ))),
    }
}

fn value(fault: &Fault) -> Value {
    let Fault { damage, partition, offsets } = fault;
    json!({
        "path": damage.path.display().to_string(), "at_byte": damage.at_byte, "what": damage.what,
        "tenant": partition.as_ref().map(|key| key.stream.tenant.as_str()),
        "stream": partition.as_ref().map(|key| key.stream.stream.as_str()),
        "partition": partition.as_ref().map(|key| key.partition.0),
        "start": offsets.map(|(start, _)| start.0), "end": offsets.map(|(_, end)| end.0),
    })
}

fn line(fault: &Fault) -> String {
    match (&fault.partition, fault.offsets) {
        (Some(key), Some((start, end))) => {
            format!("{}: rows [{start}, {end}) of partition {} of `{}`", fault.damage, key.partition.0, key.stream.stream)
        }
        _ => fault.damage.to_string(),
    }
}
