//! `tidemill repair`: shows what a cut at damage in the journal would lose, and makes it only where `--cut-at` names that place.

use serde_json::{Value, json};
use tidemill_engine::{ReaderBeyond, sinks_beyond};
use tidemill_log::{Log, LogSettings, Loss, LostRows, cut, damage_in};
use tidemill_server::consumers_beyond;

use super::token::stopped;
use crate::args::RepairArgs;
use crate::data_dir::DataDir;
use crate::exit::Failure;
use crate::output::Output;

/// Does the command.
pub(crate) fn run(args: &RepairArgs, output: Output) -> Result<(), Failure> {
    let data = stopped(&args.data)?;
    let (log, disk) = (data.path().join("log"), crate::planted::disk());
    let failed = |error: &dyn std::fmt::Display| Failure::failed(error.to_string());
    let Some(place) = &args.cut_at else {
        return match damage_in(&log, &disk).map_err(|error| failed(&error))? {
            None => sound(args, &data, output),
            Some(loss) => output.result(&value(&loss, false), || {
                let name = loss.damage.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                format!(
                    "{}\n\na cut there would lose:\n{}\n\nnothing was changed. Copy the folder, or restore a backup if there is one; to cut:\n  \
                     tidemill repair --data {} --cut-at {name}:{} --reset-readers\n\noffsets behind the cut are given out again: whoever has \
                     taken rows there, outside the host too, must forget that. With --reset-readers the host's consumers and sinks do.",
                    loss.damage,
                    lost(&loss),
                    args.data.display(),
                    loss.damage.at_byte
                )
            }),
        };
    };
    let loss = cut(&log, &disk, &place.file, place.at_byte).map_err(|error| failed(&error))?;
    let readers = beyond(&data, args.reset_readers)?;
    let mut cut = value(&loss, true);
    cut["readers"] = readers_value(&readers, args.reset_readers);
    output.result(&cut, || {
        let told = readers_told(&readers, args.reset_readers, &args.data);
        format!("cut; what was lost:\n{}\n\n{told}", lost(&loss))
    })
}

/// No cut is needed; readers may still stand where an earlier one left nothing.
fn sound(args: &RepairArgs, data: &DataDir, output: Output) -> Result<(), Failure> {
    let readers = if args.reset_readers { beyond(data, true)? } else { Vec::new() };
    output.result(&json!({"damage": null, "readers": readers_value(&readers, args.reset_readers)}), || {
        let sound = "the journal has no damage that keeps the host from starting";
        match args.reset_readers {
            true => format!("{sound}\n{}", readers_told(&readers, true, &args.data)),
            false => sound.to_owned(),
        }
    })
}

/// Consumers and sinks that stand behind the end of what they read.
fn beyond(data: &DataDir, reset: bool) -> Result<Vec<ReaderBeyond>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("the readers could not be looked at: {error}"));
    let log = Log::open(LogSettings::new(data.path().join("log")), crate::planted::disk()).map_err(|error| failed(&error))?;
    let random: fn() -> u64 = tidemill_connect::system_random;
    let found = sinks_beyond(&log, reset.then_some(random)).map_err(|error| failed(&error)).and_then(|mut readers| {
        readers.extend(consumers_beyond(&log, reset).map_err(|error| failed(&error))?);
        Ok(readers)
    });
    let closed = log.close().map_err(|error| failed(&error));
    let readers = found?;
    closed.map(|()| readers)
}

fn readers_told(readers: &[ReaderBeyond], reset: bool, data: &std::path::Path) -> String {
    if readers.is_empty() {
        return "no consumer or sink of the host stands behind the end of what it reads".to_owned();
    }
    let mut lines = vec![if reset {
        "set back to the end of what they read:".to_owned()
    } else {
        format!(
            "these stand behind the end of what they read, and would pass over rows to come:\n  tidemill repair --data {} --reset-readers",
            data.display()
        )
    }];
    lines.extend(readers.iter().map(|beyond| {
        let ReaderBeyond { reader, stream, partition, at, end } = beyond;
        format!("  {reader}: at {at} of partition {} of `{}`, which ends at {end}", partition.0, stream.stream)
    }));
    lines.push(
        "readers outside the host that keep offsets themselves, and files that sinks wrote behind the cut, are not known here"
            .to_owned(),
    );
    lines.join("\n")
}

fn readers_value(readers: &[ReaderBeyond], reset: bool) -> Value {
    let value = |beyond: &ReaderBeyond| {
        let ReaderBeyond { reader, stream, partition, at, end } = beyond;
        json!({
            "reader": reader, "tenant": stream.tenant.as_str(), "stream": stream.stream.as_str(), "partition": partition.0,
            "at": at.0, "end": end.0, "reset": reset,
        })
    };
    readers.iter().map(value).collect()
}

fn lost(loss: &Loss) -> String {
    let mut lines = vec![format!("  what group {} held, which cannot be read", loss.group)];
    lines.push(format!(
        "  {} groups behind it, with {} changes of streams, documents or segments",
        loss.groups_behind, loss.changes
    ));
    lines.extend(loss.rows.iter().map(|rows| {
        let LostRows { partition, from, to } = rows;
        format!("  rows [{from}, {to}) of partition {} of `{}`", partition.partition.0, partition.stream.stream)
    }));
    lines.join("\n")
}

fn value(loss: &Loss, done: bool) -> Value {
    let rows = loss.rows.iter().map(|rows| {
        let stream = &rows.partition.stream;
        json!({
            "tenant": stream.tenant.as_str(), "stream": stream.stream.as_str(), "partition": rows.partition.partition.0,
            "start": rows.from.0, "end": rows.to.0,
        })
    });
    let damage =
        json!({"path": loss.damage.path.display().to_string(), "at_byte": loss.damage.at_byte, "what": loss.damage.what});
    json!({
        "damage": damage, "cut": done, "group": loss.group, "groups_behind": loss.groups_behind, "changes": loss.changes,
        "rows": rows.collect::<Vec<_>>(),
    })
}
