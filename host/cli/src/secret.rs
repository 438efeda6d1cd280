//! A token on its way from where it was typed to the header it belongs in: never in messages, never in debug output. And what a new
//! one is made of.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::exit::Failure;

/// A token. Its text is [`Secret::expose`]d where it is sent.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// The token itself.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// The first line of a file: a token in a file is in no process list and no shell history.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::wrong_use(format!("cannot read the token from `{}`: {error}", path.display())))?;
        text.parse().map_err(|error| Failure::wrong_use(format!("`{}`: {error}", path.display())))
    }
}

/// 32 bytes that nobody can guess, for a new token.
pub(crate) fn random_bytes() -> std::io::Result<[u8; 32]> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    Ok(random)
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("this is no token: it is one word, as `tidemill serve` or `tidemill token create` printed it".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_and_not_shown() {
        let secret: Secret = " tidemill_abc\n".parse().expect("a token");
        assert_eq!((secret.expose(), format!("{secret:?}").as_str()), ("tidemill_abc", "Secret(…)"));
        assert!("".parse::<Secret>().is_err());
        assert!("two words".parse::<Secret>().is_err());
    }
}
