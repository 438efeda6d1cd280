//! What a token looks like, and what is kept of it.
//!
//! ```text
//! tidemill_ base64url( 32 random bytes | CRC32C of prefix and bytes )     57 characters
//! ```
//! The prefix lets scanners of repositories find one that leaked, the checksum tells a typing mistake from a token that is not
//! valid any more without looking anything up. Kept is the SHA-256 alone: 32 random bytes need no slow hash, and a slow one would
//! be a way to keep the host busy.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What every token begins with.
pub(crate) const PREFIX: &str = "tidemill_";
const SECRET_BYTES: usize = 32;

/// The SHA-256 of a token's random bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenHash([u8; 32]);

impl TokenHash {
    /// Of random bytes.
    pub(crate) fn of(secret: &[u8; SECRET_BYTES]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Of what a client sent; `None` if that is no token.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let secret: &[u8; SECRET_BYTES] = bytes.first_chunk()?;
        (bytes[SECRET_BYTES..] == checksum(secret)).then(|| Self::of(secret))
    }

    /// The name of the token, for lists and messages: says nothing about the token itself.
    pub(crate) fn id(&self) -> String {
        hex(&self.short())
    }

    /// The same as bytes, to look it up by.
    pub(crate) fn short(&self) -> [u8; 6] {
        std::array::from_fn(|at| self.0[at])
    }

    pub(crate) fn hex(&self) -> String {
        hex(&self.0)
    }

    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut hash = [0; 32];
        if digits.len() != 2 * hash.len() || !text.is_ascii() {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(hash))
    }

    /// Whether they are the same, in a time that does not depend on where they differ.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// The text of a token with these random bytes: shown once, never kept.
pub(crate) fn text(secret: &[u8; SECRET_BYTES]) -> String {
    let mut bytes = secret.to_vec();
    bytes.extend_from_slice(&checksum(secret));
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn checksum(secret: &[u8; SECRET_BYTES]) -> [u8; 4] {
    crc32c::crc32c_append(crc32c::crc32c(PREFIX.as_bytes()), secret).to_le_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_again_and_its_neighbours_are_not() {
        let secret = std::array::from_fn(|index| index as u8);
        let token = text(&secret);
        assert_eq!(token.len(), 57);
        let hash = TokenHash::of_text(&token).expect("a token");
        assert!(hash.is(&TokenHash::of(&secret)));
        assert!(TokenHash::from_hex(&hash.hex()).is_some_and(|read| read.is(&hash)));
        for at in 0..token.len() {
            let mut wrong = token.clone().into_bytes();
            wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
            let wrong = String::from_utf8(wrong).expect("ASCII");
            assert!(TokenHash::of_text(&wrong).is_none(), "{wrong}");
        }
        for wrong in ["", "tidemill_", &token[..56], &format!("{token}A"), &token.to_uppercase()] {
            assert!(TokenHash::of_text(wrong).is_none(), "{wrong}");
        }
        assert!(!hash.is(&TokenHash::of(&[7; 32])));
        assert_eq!(hash.id().len(), 12);
    }
}
