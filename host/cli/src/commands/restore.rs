//! `tidemill restore`: a data directory from a backup, for a host to be started on.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::{Value, json};
use tidemill_backup::{Restored, restore};

use super::backup::{held, summary};
use crate::args::RestoreArgs;
use crate::exit::Failure;
use crate::new_data_dir::NewDataDir;
use crate::output::Output;

/// Makes the directory, or nothing.
pub(crate) fn run(args: &RestoreArgs, output: Output) -> Result<(), Failure> {
    let (file, bytes): (Box<dyn Read>, _) = if args.file == Path::new("-") {
        (Box::new(io::stdin().lock()), None)
    } else {
        let unread = |error: io::Error| Failure::wrong_use(format!("cannot read `{}`: {error}", args.file.display()));
        let file = File::open(&args.file).map_err(unread)?;
        let bytes = file.metadata().map_err(unread)?.len();
        (Box::new(file), Some(bytes))
    };
    let data = NewDataDir::make(&args.data).map_err(|error| Failure::failed(error.to_string()))?;
    let bar = output.bar(Some(bytes.unwrap_or(0)));
    let restored = restore(bar.wrap_read(file), data.path(), |manifest| {
        if bytes.is_none() {
            bar.set_length(manifest.bytes());
        }
    });
    let read = bar.position();
    bar.finish_and_clear();
    // The folder goes with `data` when this fails.
    let restored = restored.map_err(|error| Failure::failed(format!("{error}; nothing was restored")))?;
    data.finish().map_err(|error| Failure::failed(error.to_string()))?;
    report(&restored, read, &args.data, output)
}

fn report(restored: &Restored, read: u64, data: &Path, output: Output) -> Result<(), Failure> {
    let Restored { backup, faults } = restored;
    let mut value = summary(backup, read);
    value["data"] = data.display().to_string().into();
    let faults: Vec<Value> = faults.iter().map(|fault| json!(fault.damage.to_string())).collect();
    value["faults"] = faults.clone().into();
    output.result(&value, || {
        let mut text = format!("{}: {}\nstart it with `tidemill serve --data {}`", data.display(), held(backup), data.display());
        if !backup.manifest.secrets.is_empty() {
            text.push_str("\nfirst bring back the secrets, which no backup has:");
            for name in &backup.manifest.secrets {
                text.push_str(&format!("\n  {}", data.join("secrets").join(name).display()));
            }
        }
        if !faults.is_empty() {
            text.push_str("\nthe host that was backed up had damage already; the partitions stop there:");
            for fault in &faults {
                text.push_str(&format!("\n  {}", fault.as_str().unwrap_or_default()));
            }
        }
        text
    })
}
