//! What was read last, bounded by bytes: the least recently used goes first.

use std::collections::BTreeMap;
use std::hash::Hash;

use hashbrown::HashMap;

struct Held<V> {
    value: V,
    bytes: usize,
    used: u64,
}

/// A cache bounded by bytes.
pub(crate) struct Cache<K, V> {
    bytes_max: usize,
    bytes: usize,
    clock: u64,
    held: HashMap<K, Held<V>>,
    by_use: BTreeMap<u64, K>,
}

impl<K: Hash + Eq + Copy, V: Clone> Cache<K, V> {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, clock: 0, held: HashMap::new(), by_use: BTreeMap::new() }
    }

    pub(crate) fn get(&mut self, key: K) -> Option<V> {
        let held = self.held.get_mut(&key)?;
        self.by_use.remove(&held.used);
        self.clock += 1;
        held.used = self.clock;
        self.by_use.insert(self.clock, key);
        Some(held.value.clone())
    }

    /// Puts a value in; one larger than the whole cache is not kept.
    pub(crate) fn put(&mut self, key: K, value: V, bytes: usize) {
        if bytes > self.bytes_max {
            return;
        }
        self.remove(key);
        self.clock += 1;
        self.held.insert(key, Held { value, bytes, used: self.clock });
        self.by_use.insert(self.clock, key);
        self.bytes += bytes;
        while self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            if let Some(held) = self.held.remove(&oldest) {
                self.bytes -= held.bytes;
            }
        }
    }

    pub(crate) fn remove(&mut self, key: K) {
        if let Some(held) = self.held.remove(&key) {
            self.by_use.remove(&held.used);
            self.bytes -= held.bytes;
        }
    }

    /// Removes everything whose key fits.
    pub(crate) fn remove_where(&mut self, mut fits: impl FnMut(&K) -> bool) {
        let keys: Vec<K> = self.held.keys().filter(|key| fits(key)).copied().collect();
        for key in keys {
            self.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = Cache::new(10);
        cache.put(1, 'a', 4);
        cache.put(2, 'b', 4);
        assert_eq!(cache.get(1), Some('a'));
        cache.put(3, 'c', 4);
        assert_eq!((cache.get(1), cache.get(2), cache.get(3)), (Some('a'), None, Some('c')));
        cache.put(4, 'd', 11);
        assert_eq!((cache.get(4), cache.bytes), (None, 8));
        cache.remove_where(|key| *key == 1);
        assert_eq!((cache.get(1), cache.bytes), (None, 4));
    }
}
