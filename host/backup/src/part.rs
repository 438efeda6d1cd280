//! Names of parts: a closed grammar, so that no name can lead anywhere but below the folder it is for.

use std::path::PathBuf;

/// The first part.
pub(crate) const MANIFEST: &str = "backup.json";
/// The last part.
pub(crate) const SEAL: &str = "seal.json";

/// What a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// `backup.json`.
    Manifest,
    /// `state/{8 digits}`, from 1.
    State(u32),
    /// A file of the data directory, under its path there.
    File(PathBuf),
    /// `seal.json`.
    Seal,
}

impl Part {
    /// Reads a name; `None` if no backup has such a part.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            MANIFEST => return Some(Self::Manifest),
            SEAL => return Some(Self::Seal),
            "log/mark" | "log/manifest" => return Some(Self::File(name.into())),
            _ => {}
        }
        let (folder, file) = name.rsplit_once('/')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (stem, kind) = file.rsplit_once('.').unwrap_or((file, ""));
        let known = match (folder, kind) {
            ("state", "") => return (stem.len() == 8 && digits(stem)).then(|| stem.parse().ok().map(Self::State))?,
            ("components", "wasm") | ("tables", "table") => {
                stem.len() == 64 && stem.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            }
            ("log/segments", "segment") | ("log/journal", "journal") => digits(stem),
            _ => false,
        };
        known.then(|| Self::File(name.into()))
    }

    /// The name of the `number`-th part of the state.
    pub(crate) fn state_name(number: u32) -> String {
        format!("state/{number:08}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_of_ours_or_none() {
        let component = format!("components/{}.wasm", "0a".repeat(32));
        let table = format!("tables/{}.table", "0a".repeat(32));
        let names =
            ["log/mark", "log/manifest", "log/segments/000000000017.segment", "log/journal/000001.journal", &component, &table];
        for name in names {
            assert_eq!(Part::parse(name), Some(Part::File(name.into())), "{name}");
        }
        assert_eq!(Part::parse("backup.json"), Some(Part::Manifest));
        assert_eq!(Part::parse("seal.json"), Some(Part::Seal));
        assert_eq!(Part::parse(&Part::state_name(12)), Some(Part::State(12)));
        let foreign = [
            "",
            "/",
            "tidemill.json",
            "../log/mark",
            "/log/mark",
            "log/../../x",
            "log//mark",
            "log/segments/../1.segment",
            "log/segments/a.segment",
            "log/segments/.segment",
            "log/segments/1.segment/",
            "log/journal/1.segment",
            "secrets/default/ops",
            "components/a.wasm",
            "tables/../a.table",
            "state/1",
            "state/-0000001",
            "state/00000001.x",
        ];
        for name in foreign {
            assert_eq!(Part::parse(name), None, "{name}");
        }
    }
}
