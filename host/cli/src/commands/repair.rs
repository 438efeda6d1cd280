//! `tidemill repair`: shows what a cut at damage in the journal would lose, and makes it only where `--cut-at` names that place.

use serde_json::{Value, json};
use tidemill_log::{Loss, LostRows, cut, damage_in};

use super::token::stopped;
use crate::args::RepairArgs;
use crate::exit::Failure;
use crate::output::Output;

/// Does the command.
pub(crate) fn run(args: &RepairArgs, output: Output) -> Result<(), Failure> {
    let data = stopped(&args.data)?;
    let (log, disk) = (data.path().join("log"), crate::planted::disk());
    let failed = |error: &dyn std::fmt::Display| Failure::failed(error.to_string());
    match &args.cut_at {
        Some(place) => {
            let loss = cut(&log, &disk, &place.file, place.at_byte).map_err(|error| failed(&error))?;
            output.result(&value(&loss, true), || format!("cut; what was lost:\n{}", lost(&loss)))
        }
        None => match damage_in(&log, &disk).map_err(|error| failed(&error))? {
            None => output.result(&json!({"damage": null}), || "the journal has no damage that keeps the host from starting".to_owned()),
            Some(loss) => output.result(&value(&loss, false), || {
                let name = loss.damage.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                format!(
                    "{}\n\na cut there would lose:\n{}\n\nnothing was changed. Copy the folder, or restore a backup if there is one; to cut:\n  \
                     tidemill repair --data {} --cut-at {name}:{}",
                    loss.damage,
                    lost(&loss),
                    args.data.display(),
                    loss.damage.at_byte
                )
            }),
        },
    }
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
