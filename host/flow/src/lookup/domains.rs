//! Domains as table keys: `example.com` holds itself and every host whose last labels it is. The longest that a host is in counts.
//!
//! Case and a dot at the end do not count; `.example.com` and `*.example.com` are other ways to write `example.com`. Names beyond ASCII
//! are compared as they are written: a list and its events must write them alike (mostly as `xn--…`).

use std::hash::BuildHasher;

use arrow_array::{Array, StringArray};
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::lookup::index::{BadKey, NONE};

/// Domains and their rows.
#[derive(Debug)]
pub(crate) struct Domains {
    hasher: DefaultHashBuilder,
    table: HashTable<(Box<str>, u32)>,
}

impl Domains {
    /// The domains of a column; nulls are none, and of one domain the last row counts.
    pub(crate) fn new(column: &StringArray) -> Result<Self, BadKey> {
        let mut domains = Self { hasher: DefaultHashBuilder::default(), table: HashTable::with_capacity(column.len()) };
        for (row, text) in column.iter().enumerate().filter_map(|(row, text)| Some((row, text?))) {
            let domain = parse(text).map_err(|error| BadKey { row, error })?;
            let hash = domains.hasher.hash_one(&*domain);
            let row = row as u32;
            match domains.table.find_mut(hash, |(known, _)| **known == *domain) {
                Some((_, known)) => *known = row,
                None => {
                    let hasher = &domains.hasher;
                    domains.table.insert_unique(hash, (domain.into(), row), |(domain, _)| hasher.hash_one(&**domain));
                }
            }
        }
        Ok(domains)
    }

    /// The row of the longest domain that a host is in. `scratch` is room to write.
    pub(crate) fn find(&self, host: &str, scratch: &mut String) -> u32 {
        scratch.clear();
        scratch.push_str(host.trim());
        scratch.make_ascii_lowercase();
        let mut rest = scratch.strip_suffix('.').unwrap_or(scratch);
        loop {
            let found = self.table.find(self.hasher.hash_one(rest), |(domain, _)| **domain == *rest);
            match (found, rest.split_once('.')) {
                (Some((_, row)), _) => return *row,
                (None, Some((_, behind))) => rest = behind,
                (None, None) => return NONE,
            }
        }
    }
}

/// A domain as it is compared.
fn parse(text: &str) -> Result<String, String> {
    let lower = text.trim().to_ascii_lowercase();
    let domain = lower.strip_prefix("*.").or_else(|| lower.strip_prefix('.')).unwrap_or(&lower);
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let is_label = |label: &str| !label.is_empty() && !label.contains(|any: char| any.is_whitespace() || "*/:@".contains(any));
    if domain.split('.').all(is_label) {
        Ok(domain.to_owned())
    } else {
        Err(format!("`{text}` is no domain: write labels with dots between them, `example.com`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(domains: &[&str], host: &str) -> Option<u32> {
        let domains = Domains::new(&StringArray::from(domains.to_vec())).expect("domains");
        Some(domains.find(host, &mut String::new())).filter(|row| *row != NONE)
    }

    #[test]
    fn the_longest_domain_counts_label_by_label() {
        let domains = ["example.com", "*.evil.example.com", "com", ".Example.org.", "example.com"];
        let check = |host: &str, row: Option<u32>| assert_eq!(found(&domains, host), row, "{host}");
        check("example.com", Some(4));
        check("WWW.Example.COM.", Some(4));
        check("a.evil.example.com", Some(1));
        check("evil.example.com", Some(1));
        check("notevil.example.com", Some(4));
        check("notexample.com", Some(2));
        check("mail.example.org", Some(3));
        check("example.net", None);
        check("", None);
        check(".", None);
        check("a..com", Some(2));
    }

    #[test]
    fn what_is_no_domain_is_named() {
        for text in ["", ".", "a..b", "https://example.com", "user@example.com", "a b", "*.*.com", "example.com:80"] {
            let refused = Domains::new(&StringArray::from(vec![Some("a.b"), Some(text)])).expect_err("it is none");
            assert_eq!(refused.row, 1, "{text}");
        }
    }
}
