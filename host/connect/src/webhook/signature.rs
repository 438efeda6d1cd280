//! Signatures of webhooks, as the Standard Webhooks specification 1.0 has them.
//!
//! ```text
//! webhook-signature: v1,{base64(HMAC-SHA-256(key, "{id}.{timestamp}.{body}"))} v1,…      one per secret
//! secret: whsec_{base64 of the key, 24 to 64 bytes}
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{Secret, SecretError};

/// The bytes a secret stands for.
pub(super) struct SigningKey(Vec<u8>);

impl SigningKey {
    /// Reads `whsec_…`; the prefix may be missing.
    pub(super) fn parse(name: &str, secret: &Secret) -> Result<Self, SecretError> {
        let text = secret.reveal();
        let bytes = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok();
        match bytes.filter(|bytes| (24..=64).contains(&bytes.len())) {
            Some(bytes) => Ok(Self(bytes)),
            None => {
                let what = "is no signing secret: write `whsec_` and 24 to 64 random bytes in base64";
                Err(SecretError { name: name.to_owned(), what: what.to_owned() })
            }
        }
    }
}

/// The value of `webhook-signature`.
pub(super) fn signature(keys: &[SigningKey], id: &str, timestamp: i64, body: &[u8]) -> String {
    let signed = keys.iter().map(|SigningKey(key)| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key may have any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    });
    signed.collect::<Vec<_>>().join(" ")
}
