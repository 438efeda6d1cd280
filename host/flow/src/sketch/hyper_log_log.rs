//! How many distinct values there were: HyperLogLog with 2^14 registers, standard error 1.04 / √2^14 = 0.81 %.
//!
//! ```text
//! hash       63..50 register      49..0 rank = leading zeros + 1
//! few        the hashes themselves, cut to 32 bits of place and rank over 2^25 registers: nearly exact
//! many       one byte per register
//! ```
//! The estimate is Ertl's improved one ("New cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm 6): no tables, no
//! switch between ranges. A sketch is a function of the set of values it has seen.

use crate::aggregate::bytes::{take, take_u8, take_u32};

const BITS: u32 = 14;
const REGISTERS: usize = 1 << BITS;
/// Registers while there are few values.
const SPARSE_BITS: u32 = 25;
/// Entries beyond which one byte per register is less.
const SPARSE_MAX: usize = REGISTERS / 4;

/// The sketch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HyperLogLog {
    /// Ascending: sparse register and, in the lowest six bits, its rank; a register once, with its greatest.
    Few(Vec<u32>),
    /// Ranks by register.
    Many(Box<[u8]>),
}

impl Default for HyperLogLog {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

/// Leading zeros of the bits below the `bits` highest ones, and one.
fn rank(hash: u64, bits: u32) -> u8 {
    // A stop behind the last bit bounds it.
    ((hash << bits | 1 << (bits - 1)).leading_zeros() + 1) as u8
}

impl HyperLogLog {
    /// One more value, by its hash.
    pub(crate) fn add(&mut self, hash: u64) {
        match self {
            Self::Few(entries) => {
                let register = (hash >> (64 - SPARSE_BITS)) as u32;
                put_sparse(entries, register << 6 | u32::from(rank(hash, SPARSE_BITS)));
                self.widen();
            }
            Self::Many(ranks) => {
                let register = &mut ranks[(hash >> (64 - BITS)) as usize];
                *register = (*register).max(rank(hash, BITS));
            }
        }
    }

    /// What another has seen counts too.
    pub(crate) fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Few(entries), Self::Few(others)) => {
                others.iter().for_each(|entry| put_sparse(entries, *entry));
                self.widen();
            }
            (Self::Many(ranks), Self::Many(others)) => {
                ranks.iter_mut().zip(others).for_each(|(rank, other)| *rank = (*rank).max(*other));
            }
            (Self::Many(ranks), Self::Few(others)) => others.iter().for_each(|entry| put_dense(ranks, *entry)),
            (Self::Few(entries), Self::Many(others)) => {
                let mut ranks = others.clone();
                entries.iter().for_each(|entry| put_dense(&mut ranks, *entry));
                *self = Self::Many(ranks);
            }
        }
    }

    fn widen(&mut self) {
        if let Self::Few(entries) = self
            && entries.len() > SPARSE_MAX
        {
            let mut ranks = vec![0; REGISTERS].into_boxed_slice();
            entries.iter().for_each(|entry| put_dense(&mut ranks, *entry));
            *self = Self::Many(ranks);
        }
    }

    /// How many distinct values, about.
    pub(crate) fn estimate(&self) -> u64 {
        match self {
            Self::Few(entries) => {
                let registers = f64::from(1u32 << SPARSE_BITS);
                let free = registers - entries.len() as f64;
                (registers * (registers / free).ln()).round() as u64
            }
            Self::Many(ranks) => {
                let most = 64 - BITS as usize + 1;
                let mut counts = vec![0u32; most + 1];
                ranks.iter().for_each(|rank| counts[usize::from(*rank).min(most)] += 1);
                estimate(&counts, REGISTERS as f64)
            }
        }
    }

    /// `00 count entries` or `01 ranks`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Few(entries) => {
                out.push(0);
                out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
                entries.iter().for_each(|entry| out.extend_from_slice(&entry.to_le_bytes()));
            }
            Self::Many(ranks) => {
                out.push(1);
                out.extend_from_slice(ranks);
            }
        }
    }

    pub(crate) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        match take_u8(bytes)? {
            0 => {
                let count = take_u32(bytes)? as usize;
                let entries: Option<Vec<u32>> = (0..count.min(SPARSE_MAX + 1)).map(|_| take_u32(bytes)).collect();
                entries.filter(|entries| count <= SPARSE_MAX && entries.is_sorted_by(|a, b| a >> 6 < b >> 6)).map(Self::Few)
            }
            1 => Some(Self::Many(take(bytes, REGISTERS)?.into())),
            _ => None,
        }
    }
}

fn put_sparse(entries: &mut Vec<u32>, entry: u32) {
    match entries.binary_search_by_key(&(entry >> 6), |known| known >> 6) {
        Ok(at) => entries[at] = entries[at].max(entry),
        Err(at) => entries.insert(at, entry),
    }
}

/// A sparse entry says what the hash's first bits were, and so its dense register and rank.
fn put_dense(ranks: &mut [u8], entry: u32) {
    let more = SPARSE_BITS - BITS;
    let (register, sparse_rank) = (entry >> 6, (entry & 63) as u8);
    let below = register & ((1 << more) - 1);
    let rank = if below == 0 { more as u8 + sparse_rank } else { (below << (32 - more)).leading_zeros() as u8 + 1 };
    let known = &mut ranks[(register >> more) as usize];
    *known = (*known).max(rank);
}

/// Ertl, algorithm 6: `counts[k]` registers have rank k.
fn estimate(counts: &[u32], registers: f64) -> u64 {
    let most = counts.len() - 1;
    let mut z = registers * tau(1.0 - f64::from(counts[most]) / registers);
    for count in counts[1..most].iter().rev() {
        z = 0.5 * (z + f64::from(*count));
    }
    z += registers * sigma(f64::from(counts[0]) / registers);
    (registers * registers / (2.0 * std::f64::consts::LN_2) / z).round() as u64
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sketch::stable_hash;

    fn of(values: impl Iterator<Item = u64>) -> HyperLogLog {
        let mut sketch = HyperLogLog::default();
        values.for_each(|value| sketch.add(stable_hash(&value.to_le_bytes())));
        sketch
    }

    /// Three standard errors at every size; nearly exact while there are few.
    #[test]
    fn estimates_keep_their_bound() {
        for (trial, size) in [1u64, 2, 10, 100, 1_000, 4_000, 5_000, 20_000, 100_000, 1_000_000].into_iter().enumerate() {
            let start = (trial as u64) << 40;
            let estimate = of(start..start + size).estimate() as f64;
            let error = (estimate - size as f64).abs() / size as f64;
            let bound = if size <= 4_000 { 0.001 } else { 3.0 * 1.04 / 128.0 };
            assert!(error <= bound, "{size}: {estimate}");
        }
    }

    /// The spread over many trials is the stated one.
    #[test]
    fn the_standard_error_is_as_stated() {
        let errors: Vec<f64> =
            (0..60u64).map(|trial| of(trial << 40..(trial << 40) + 30_000).estimate() as f64 / 30_000.0 - 1.0).collect();
        let spread = (errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64).sqrt();
        assert!((0.004..0.0115).contains(&spread), "{spread}");
    }

    proptest! {
        /// Any order, any tree of merges, stored in between: the same sketch.
        #[test]
        fn a_sketch_is_a_function_of_its_set(few in proptest::collection::vec(0u64..500, 0..60), many in any::<bool>(), seed in 0u64..1000) {
            let more = if many { seed * 10_000..seed * 10_000 + 6_000 } else { 0..0 };
            let whole = of(few.iter().copied().chain(more.clone()));
            let mut merged = of(more.rev());
            let mut bytes = Vec::new();
            merged.encode(&mut bytes);
            prop_assert_eq!(HyperLogLog::decode(&mut &bytes[..]), Some(merged.clone()));
            prop_assert_eq!(HyperLogLog::decode(&mut &bytes[..bytes.len() - 1]), None);
            merged.merge(&of(few.iter().rev().copied()));
            prop_assert_eq!(&merged, &whole);
            let mut other = of(few.into_iter());
            other.merge(&merged);
            prop_assert_eq!(&other, &whole);
        }
    }
}
