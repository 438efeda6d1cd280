//! Networks as table keys: `10.0.0.0/8`, `2001:db8::/32`, or one address. The narrowest that holds an address counts.
//!
//! ```text
//! 10.0.0.0/8 (a)  10.1.0.0/16 (b)        nested networks are cut into ranges that follow each other,
//!   │ a │   b   │   a   │ none │          so that an address is one binary search
//! ```
//! IPv4 lies in IPv6 as `::ffff:a.b.c.d`, so that an address is the same however it is written.

use std::net::IpAddr;

use arrow_array::{Array, StringArray};

use crate::lookup::index::{BadKey, NONE};

/// Ranges of addresses, each with the row of the table that it belongs to.
#[derive(Debug)]
pub(crate) struct Networks {
    /// Where each range begins, ascending; it ends where the next one begins.
    starts: Vec<u128>,
    rows: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    first: u128,
    last: u128,
    row: u32,
}

impl Networks {
    /// The networks of a column; nulls are none.
    pub(crate) fn new(column: &StringArray) -> Result<Self, BadKey> {
        let mut networks = Vec::with_capacity(column.len());
        for (row, text) in column.iter().enumerate().filter_map(|(row, text)| Some((row, text?))) {
            let (first, last) = parse(text).map_err(|error| BadKey { row, error })?;
            networks.push(Network { first, last, row: row as u32 });
        }
        // Wider ones first, so that one opened later is inside; the last row of one network first, because it counts.
        networks.sort_by(|a, b| a.first.cmp(&b.first).then(b.last.cmp(&a.last)).then(b.row.cmp(&a.row)));
        networks.dedup_by_key(|network| (network.first, network.last));
        let mut ranges = Self { starts: Vec::new(), rows: Vec::new() };
        let mut open: Vec<Network> = Vec::new();
        for network in networks {
            ranges.close(&mut open, |inner| inner.last < network.first);
            ranges.begin(network.first, network.row);
            open.push(network);
        }
        ranges.close(&mut open, |_| true);
        Ok(ranges)
    }

    /// Ends the open networks, innermost first, as long as `ended` says so.
    fn close(&mut self, open: &mut Vec<Network>, ended: impl Fn(&Network) -> bool) {
        while let Some(inner) = open.pop_if(|inner| ended(inner)) {
            let Some(behind) = inner.last.checked_add(1) else { continue };
            self.begin(behind, open.last().map_or(NONE, |outer| outer.row));
        }
    }

    fn begin(&mut self, at: u128, row: u32) {
        // Of several ranges that begin at one address only the last is not empty.
        if self.starts.last() == Some(&at) {
            self.rows.pop();
        } else {
            self.starts.push(at);
        }
        self.rows.push(row);
    }

    /// The row of the narrowest network that holds this address. A text that is no address is in none.
    pub(crate) fn find(&self, text: &str) -> u32 {
        let Ok(address) = text.trim().parse::<IpAddr>() else { return NONE };
        let address = number(address);
        let behind = self.starts.partition_point(|start| *start <= address);
        behind.checked_sub(1).map_or(NONE, |at| self.rows[at])
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The first and the last address of a network.
fn parse(text: &str) -> Result<(u128, u128), String> {
    let text = text.trim();
    let no_network = || format!("`{text}` is no network: write `10.0.0.0/8`, `2001:db8::/32`, or an address");
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| no_network())?;
    let bits: u32 = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => bits,
        Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => prefix.parse().map_err(|_| no_network())?,
        Some(_) => return Err(no_network()),
    };
    if prefix > bits {
        return Err(format!("`{text}`: a prefix of this kind of address has at most {bits} bits"));
    }
    let free = bits - prefix;
    let inside = if free == 128 { u128::MAX } else { (1 << free) - 1 };
    let first = number(address);
    if first & inside != 0 {
        return Err(format!(
            "`{text}` has bits behind its prefix: write the network's first address, or the address without a prefix"
        ));
    }
    Ok((first, first | inside))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(networks: &[&str], address: &str) -> Option<u32> {
        let networks = Networks::new(&StringArray::from(networks.to_vec())).expect("networks");
        Some(networks.find(address)).filter(|row| *row != NONE)
    }

    #[test]
    fn the_narrowest_network_counts() {
        let networks = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "2001:db8::/32", "0.0.0.0/0", "10.1.0.0/16"];
        let check = |address: &str, row: Option<u32>| assert_eq!(found(&networks, address), row, "{address}");
        check("10.200.0.1", Some(0));
        check("10.1.255.255", Some(5));
        check("10.1.2.3", Some(2));
        check("10.1.2.4", Some(5));
        check("10.2.0.0", Some(0));
        check("11.0.0.0", Some(4));
        check("::ffff:10.1.2.3", Some(2));
        check("2001:db8:ffff::1", Some(3));
        check("2001:db9::", None);
        check("10.1.2", None);
        check("", None);
        assert_eq!(found(&["::/0"], "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), Some(0));
    }

    #[test]
    fn what_is_no_network_is_named() {
        let refused = |text: &str| {
            let column = StringArray::from(vec![Some("10.0.0.0/8"), None, Some(text)]);
            let refused = Networks::new(&column).expect_err("it is none");
            assert_eq!(refused.row, 2);
            refused.error
        };
        assert!(refused("10.0.0.1/8").contains("behind its prefix"));
        assert!(refused("10.0.0.0/33").contains("at most 32"));
        for text in ["", "10.0.0", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/-1", "example.com", "10.0.0.0/999999999999"] {
            assert!(refused(text).contains("is no network"), "{text}");
        }
    }

    proptest! {
        /// The same row as going through all networks, in a corner of the addresses where they nest and touch.
        #[test]
        fn ranges_answer_as_a_walk_over_all_networks(networks in proptest::collection::vec((0u8..64, 24u32..33), 0..24), addresses in proptest::collection::vec(0u8..70, 1..40)) {
            let texts: Vec<String> = networks.iter().map(|(host, prefix)| {
                let host = u32::from(*host) >> (32 - prefix) << (32 - prefix);
                format!("192.0.2.{host}/{prefix}")
            }).collect();
            let ranges = Networks::new(&StringArray::from(texts.clone())).expect("networks");
            for host in addresses {
                let address = format!("192.0.2.{host}");
                let holds = |(row, text): (usize, &String)| {
                    let (first, last) = parse(text).expect("a network");
                    let address = number(address.parse().expect("an address"));
                    (first <= address && address <= last).then_some((last - first, std::cmp::Reverse(row), row as u32))
                };
                let expected = texts.iter().enumerate().filter_map(holds).min().map_or(NONE, |(.., row)| row);
                prop_assert_eq!(ranges.find(&address), expected);
            }
        }
    }
}
