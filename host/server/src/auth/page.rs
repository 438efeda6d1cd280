//! Requests that a web page makes in somebody's browser: only a page of the host itself may make them.
//!
//! A browser lends any page its reach: to programs on the person's own machine, and, for a WebSocket, without asking that program first.
//! Where a token is needed a page has none to show. A host that asks for none (`serve --dev`) looks at what browsers tell of every
//! request, `Origin` and `Sec-Fetch-Site`, and at the name it was reached by: a name of somebody else's that leads to this machine makes
//! their page look like ours.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{HOST, HeaderName, ORIGIN};

use crate::problem::{Kind, Problem};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what a page of another origin asks for.
pub(crate) fn same_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if authority.is_some() && authority == host {
        return Ok(());
    }
    Err(refused(&format!("a page of `{}`", String::from_utf8_lossy(origin.as_bytes()))))
}

/// The same for a host that asks for no credential: whatever comes from a page must come from one of this machine.
pub(super) fn own(headers: &HeaderMap) -> Result<(), Problem> {
    let site = headers.get(SEC_FETCH_SITE).map(|site| site.as_bytes());
    if headers.get(ORIGIN).is_none() && site.is_none_or(|site| site == b"none") {
        // A program, or an address that a person typed.
        return Ok(());
    }
    same_origin(headers)?;
    if site.is_some_and(|site| !matches!(site, b"same-origin" | b"none")) {
        return Err(refused("a page of another site"));
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if is_this_machine(host) { Ok(()) } else { Err(refused(&format!("a page that calls this host `{host}`"))) }
}

/// Whether a `Host` can only mean the machine it is sent from.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    name.is_some_and(|name| {
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

fn refused(who: &str) -> Problem {
    Problem::new(
        Kind::Forbidden,
        format!("{who} may not do this here"),
        "ask from a program, or from a page that this host serves",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name: value` lines.
    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let parse =
            |(name, value): &(&str, &str)| (name.parse::<HeaderName>().expect("a name"), value.parse().expect("a header value"));
        lines.iter().map(parse).collect()
    }

    #[test]
    fn pages_of_others_are_refused() {
        let check = |origin: &str, host: &str| same_origin(&headers(&[("host", host), ("origin", origin)])).is_ok();
        assert!(same_origin(&headers(&[("host", "127.0.0.1:8642")])).is_ok());
        assert!(check("http://127.0.0.1:8642", "127.0.0.1:8642"));
        assert!(check("https://tidemill.example", "tidemill.example"));
        assert!(!check("https://evil.example", "127.0.0.1:8642"));
        assert!(!check("http://127.0.0.1:9999", "127.0.0.1:8642"));
        assert!(!check("null", "127.0.0.1:8642"));
    }

    #[test]
    fn an_open_host_is_for_this_machine_alone() {
        let check = |lines: &[(&str, &str)]| own(&headers(lines)).is_ok();
        let here = ("host", "127.0.0.1:8642");
        assert!(check(&[here]) && check(&[("host", "anything")]) && check(&[]), "programs send neither");
        assert!(check(&[here, ("sec-fetch-site", "none")]), "typed by a person");
        for host in ["127.0.0.1:8642", "localhost:8642", "[::1]:8642"] {
            let origin = format!("http://{host}");
            assert!(check(&[("host", host), ("origin", &origin), ("sec-fetch-site", "same-origin")]), "{host}");
        }
        assert!(!check(&[here, ("origin", "https://evil.example")]));
        assert!(!check(&[here, ("sec-fetch-site", "cross-site")]), "an image of a page sends no origin");
        assert!(!check(&[("host", "evil.example:8642"), ("sec-fetch-site", "same-origin")]), "their name, our address");
        assert!(!check(&[("host", "evil.example:8642"), ("origin", "http://evil.example:8642")]));
    }
}
