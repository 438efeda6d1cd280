//! The rows that a file sink has written, read from its folder and from nowhere else.

use std::io;
use std::path::Path;

use serde_json::Value;

/// Every row of the NDJSON files in a folder, in the order of their names; none if there is no folder. A file whose name does not say
/// that it is whole does not count.
pub(crate) fn rows(folder: &Path) -> io::Result<Vec<Value>> {
    let mut paths = match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "ndjson"));
    paths.sort();
    let mut rows = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path)?;
        for line in text.lines() {
            let row = serde_json::from_str(line);
            rows.push(row.map_err(|error| io::Error::other(format!("`{}`: `{line}`: {error}", path.display())))?);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_files_count_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in [("2.ndjson", "3\n"), ("1.ndjson", "1\n2\n"), ("3.part", "4\n")] {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        assert_eq!(rows(folder.path()).expect("rows"), [1, 2, 3].map(Value::from));
        assert!(rows(&folder.path().join("none")).expect("no rows").is_empty());
    }
}
