//! A 64-bit hash of bytes that is the same in every process: what sketches store hangs on it.

use crate::checksum::checksum;

/// The hash; every bit of it hangs on every bit of the value (the last step is MurmurHash3's finalizer).
pub(crate) fn stable_hash(bytes: &[u8]) -> u64 {
    let mut hash = checksum(0x7469_6465_6d69_6c6c, bytes);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}
