//! A 64-bit checksum of bytes that is the same in every process and release: it is compared with one recorded before a crash.
//!
//! It tells states apart, it does not withstand an attacker. Eight bytes at a time are multiplied into the sum; the length goes in
//! first, so that no run of zero bytes is free.

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The checksum of `bytes`, continuing from `seed`.
pub(crate) fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    let mut sum = mix(mix(FACTOR, seed), bytes.len() as u64);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        sum = mix(sum, u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        sum = mix(sum, u64::from_le_bytes(last));
    }
    sum
}

/// One-to-one in either argument, so that no word can wipe out what came before it.
fn mix(sum: u64, word: u64) -> u64 {
    let mut sum = (sum ^ word).wrapping_mul(FACTOR);
    sum ^= sum >> 32;
    sum = sum.wrapping_mul(FACTOR);
    sum ^ (sum >> 29)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::checksum;

    #[test]
    fn it_never_changes() {
        let sums = [&b""[..], b"a", b"12345678", b"123456789"].map(|bytes| format!("{:016x}", checksum(0, bytes)));
        expect_test::expect!["012220ef3daf9213 02976dd5d0981425 3dc460253be8f7af 78a4a4eff687b1dc"].assert_eq(&sums.join(" "));
    }

    #[test]
    fn small_differences_show() {
        let mut seen = HashSet::new();
        for length in 0..64usize {
            assert!(seen.insert(checksum(0, &vec![0; length])), "zeros {length}");
            for bit in 0..length * 8 {
                let mut bytes = vec![0; length];
                bytes[bit / 8] |= 1 << (bit % 8);
                assert!(seen.insert(checksum(0, &bytes)), "{length} {bit}");
            }
            assert!(seen.insert(checksum(1, &vec![0; length])));
        }
    }
}
