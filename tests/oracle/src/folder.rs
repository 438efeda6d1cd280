//! Files of a folder, as they are or packed with gzip: `NAME.ndjson` or `NAME.ndjson.gz`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;

/// The text of a file, by the name it has unpacked.
pub(crate) fn read(folder: &Path, name: &str) -> Result<String> {
    let (plain, packed) = (folder.join(name), folder.join(format!("{name}.gz")));
    if !packed.exists() {
        return fs::read_to_string(&plain).with_context(|| format!("cannot read `{}`", plain.display()));
    }
    let mut text = String::new();
    let read = File::open(&packed).and_then(|file| MultiGzDecoder::new(file).read_to_string(&mut text));
    read.with_context(|| format!("cannot read `{}`", packed.display()))?;
    Ok(text)
}

/// What is before `ending` in the names of a folder's files, in order.
pub(crate) fn names(folder: &Path, ending: &str) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))? {
        let name = entry?.file_name();
        let name = name.to_str().map(|name| name.strip_suffix(".gz").unwrap_or(name));
        names.extend(name.and_then(|name| name.strip_suffix(ending)).map(str::to_owned));
    }
    Ok(names)
}
