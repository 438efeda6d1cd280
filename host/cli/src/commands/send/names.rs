//! The name under which a run sends: the producer of its requests.
//!
//! What the host is told is the name and, behind it, something of the file's beginning: another file under the same name is another
//! producer, and is not taken for what was sent already.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::exit::Failure;

/// The longest name that leaves room behind it.
const NAME_BYTES_MAX: usize = 150;

/// Who sends.
#[derive(Debug)]
pub(super) struct Producer {
    name: String,
}

impl Producer {
    /// As it was asked for; else one that no other run has.
    pub(super) fn new(name: Option<&str>) -> Result<Self, Failure> {
        let Some(name) = name else {
            let mut random = [0; 8];
            getrandom::fill(&mut random).map_err(|error| Failure::failed(format!("no random numbers: {error}")))?;
            return Ok(Self { name: format!("send-{}", hex(&random)) });
        };
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = format!("`{name}` is no producer: write up to {NAME_BYTES_MAX} ASCII letters, digits or signs");
            return Err(Failure::wrong_use(message));
        }
        Ok(Self { name: name.to_owned() })
    }

    /// What `--producer` takes to go on with this run.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What the host is told, of a file that begins like this.
    pub(super) fn of(&self, beginning: &[u8]) -> String {
        format!("{}#{}", self.name, hex(&Sha256::digest(beginning)[..8]))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_files_are_told_apart() {
        let (one, other) = (Producer::new(None).expect("a name"), Producer::new(None).expect("a name"));
        assert_ne!(one.name(), other.name());
        let mine = Producer::new(Some("nightly")).expect("a name");
        assert_ne!(mine.of(b"{\"n\":1}\n"), mine.of(b"{\"n\":2}\n"));
        assert!(mine.of(b"").starts_with("nightly#"));
        for wrong in ["", "two words", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert_eq!(Producer::new(Some(wrong)).expect_err(wrong).code, crate::exit::WRONG_USE);
        }
    }
}
