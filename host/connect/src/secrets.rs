//! Secrets that targets need, by name: a pipeline says which, and never what.
//!
//! ```text
//! DIR/secrets/{tenant}/{name}      text; each line that is not blank is one secret; the first is the one in use
//! ```
//! Two lines are a rotation: both sign until the receiver knows the new one. A file is read whenever it is needed, so a change of
//! it counts at once. Nothing of its content gets into logs, status or answers.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

/// A longer file is refused.
const FILE_BYTES_MAX: u64 = 16 << 10;
/// More lines are refused: they would all be sent, signed.
const SECRETS_MAX: usize = 4;

/// A text nobody prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// What it says: for whoever puts it on the wire.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret is not to be had. The message has names, never content.
#[derive(Debug, thiserror::Error)]
#[error("the secret `{name}` {what}")]
pub struct SecretError {
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub what: String,
}

/// The secrets of one tenant.
#[derive(Debug, Clone)]
pub struct Secrets {
    folder: PathBuf,
}

impl Secrets {
    /// Those in a folder, which need not be there.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The lines of a secret, at least one. `name` is plain (checked when a pipeline is read).
    pub fn read(&self, name: &str) -> Result<Vec<Secret>, SecretError> {
        let wrong = |what: String| SecretError { name: name.to_owned(), what };
        let mut text = String::new();
        let read = File::open(self.folder.join(name)).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
        read.map_err(|error| wrong(format!("cannot be read from `secrets/`: {}", error.kind())))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(wrong(format!("has more than {FILE_BYTES_MAX} bytes")));
        }
        let lines: Vec<Secret> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| Secret(line.to_owned())).collect();
        match lines.len() {
            0 => Err(wrong("is empty".to_owned())),
            1..=SECRETS_MAX => Ok(lines),
            count => Err(wrong(format!("has {count} lines, at most {SECRETS_MAX} are possible"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_secrets_and_messages_do_not_tell_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let secrets = Secrets::new(folder.path().to_owned());
        let check = |content: &str, expected: Result<&[&str], &str>| {
            std::fs::write(folder.path().join("ops"), content).expect("writes");
            match secrets.read("ops") {
                Ok(found) => {
                    assert_eq!(Ok(&*found.iter().map(Secret::reveal).collect::<Vec<_>>()), expected);
                    assert!(!format!("{found:?}").contains("abc"), "{found:?}");
                }
                Err(error) => assert_eq!(Err(error.to_string().as_str()), expected),
            }
        };
        check("abc\n", Ok(&["abc"]));
        check("  abc\r\n\n def", Ok(&["abc", "def"]));
        check("\n \n", Err("the secret `ops` is empty"));
        check("1\n2\n3\n4\n5\n", Err("the secret `ops` has 5 lines, at most 4 are possible"));
        check(&"abc".repeat(6000), Err("the secret `ops` has more than 16384 bytes"));
        let missing = secrets.read("other").expect_err("it is not there").to_string();
        assert_eq!(missing, "the secret `other` cannot be read from `secrets/`: entity not found");
    }
}
