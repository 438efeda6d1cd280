//! The address of a webhook, as text that was checked.

use std::fmt;

use sha2::{Digest, Sha256};
use ureq::http::Uri;

/// A longer one is refused.
const BYTES_MAX: usize = 2048;

/// An `http` or `https` URL with a host and without user and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl(Uri);

impl WebhookUrl {
    /// Reads one. The error says what to change, and nothing of the URL: it may be a secret.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > BYTES_MAX {
            return Err("is longer than 2,048 bytes");
        }
        let uri: Uri = text.parse().map_err(|_| "is no URL")?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err("has to begin with `https://` or `http://`");
        }
        let authority = uri.authority().ok_or("names no host")?;
        if authority.host().is_empty() {
            return Err("names no host");
        }
        if authority.as_str().contains('@') {
            return Err("has a user or password in it: use a header with a secret instead");
        }
        if authority.port().is_some() && authority.port_u16().is_none() {
            return Err("has a port that is none");
        }
        Ok(Self(uri))
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }
}

/// Without the query, which may have a token in it: what tells two queries apart is a digest.
impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, authority) = (self.0.scheme_str().unwrap_or_default(), self.0.authority().map_or("", |name| name.as_str()));
        write!(f, "{scheme}://{authority}{}", self.0.path())?;
        match self.0.query() {
            None => Ok(()),
            Some(query) => {
                let digest = Sha256::digest(query);
                write!(f, "?…{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_checked_and_its_query_is_not_shown() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let said = WebhookUrl::parse(text).map(|url| url.to_string());
            assert_eq!(said.as_deref().map_err(|error| *error), expected, "{text}");
        };
        check("https://example.com", Ok("https://example.com/"));
        check("http://[::1]:8443/a/b", Ok("http://[::1]:8443/a/b"));
        check("https://example.com/hook?token=abc", Ok("https://example.com/hook?…906b1a00"));
        check("https://example.com/hook?token=abd", Ok("https://example.com/hook?…070a77af"));
        check("https://ann:pw@example.com/", Err("has a user or password in it: use a header with a secret instead"));
        check("ftp://example.com/", Err("has to begin with `https://` or `http://`"));
        check("/hook", Err("has to begin with `https://` or `http://`"));
        check("https://exa mple.com/", Err("is no URL"));
        check("", Err("is no URL"));
        check(&format!("https://example.com/{}", "a".repeat(2048)), Err("is longer than 2,048 bytes"));
    }
}
