//! From the name in a URL to the addresses that are connected to: looked up once, all of them checked.
//!
//! The connection goes to the address that was checked. A second look-up between the check and the connection would let a name
//! server answer differently the second time. A look-up that fails is a refusal.

use std::io;
use std::net::SocketAddr;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::address::{is_public, is_web_port};

/// Refuses names that lead into private networks.
#[derive(Debug)]
pub(super) struct GuardedResolver {
    names: DefaultResolver,
    allows_private: bool,
}

impl GuardedResolver {
    pub(super) fn new(allows_private: bool) -> Self {
        Self { names: DefaultResolver::default(), allows_private }
    }
}

impl Resolver for GuardedResolver {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let addresses = self.names.resolve(uri, config, timeout)?;
        if !self.allows_private {
            check(addresses.iter()).map_err(Error::Io)?;
        }
        Ok(addresses)
    }
}

/// One private address among public ones is reason enough: which one is connected to is chance.
fn check<'a>(addresses: impl Iterator<Item = &'a SocketAddr>) -> io::Result<()> {
    for address in addresses {
        if !is_public(address.ip()) {
            // The address itself is not told: whoever writes pipelines could map the network behind the host with it.
            let what = "its name leads to an address that is not public; the host's settings can allow that";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        if !is_web_port(address.port()) {
            let what = format!("port {} is none of 80, 443, 8443; the host's settings can allow it", address.port());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_and_port_has_to_be_public() {
        let check_all = |addresses: &[&str]| {
            let addresses: Vec<SocketAddr> = addresses.iter().map(|text| text.parse().expect("an address")).collect();
            check(addresses.iter()).map_err(|error| error.to_string())
        };
        assert_eq!(check_all(&["1.1.1.1:443", "[2606:4700::1]:443"]), Ok(()));
        let private = Err("its name leads to an address that is not public; the host's settings can allow that".to_owned());
        assert_eq!(check_all(&["1.1.1.1:443", "10.0.0.1:443"]), private);
        assert_eq!(check_all(&["[::ffff:1.1.1.1]:443"]), private);
        let port = "port 6379 is none of 80, 443, 8443; the host's settings can allow it".to_owned();
        assert_eq!(check_all(&["1.1.1.1:6379"]), Err(port));
    }
}
