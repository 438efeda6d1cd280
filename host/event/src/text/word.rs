//! Eight bytes at a time, without `unsafe`.

/// The eight bytes at `at`, if there are so many.
#[inline(always)]
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The first eight bytes of a value as one number, zeros behind a shorter one. With the length it stands for one short value only.
#[inline(always)]
pub(crate) fn head(value: &[u8]) -> u64 {
    let half = |bytes: &[u8]| bytes.first_chunk::<4>().map_or(0, |half| u64::from(u32::from_le_bytes(*half)));
    match value {
        [] => 0,
        [a] => u64::from(*a),
        [a, b] => u64::from(*a) | u64::from(*b) << 8,
        [a, b, c] => u64::from(*a) | u64::from(*b) << 8 | u64::from(*c) << 16,
        longer => match word(longer, 0) {
            Some(word) => word,
            // The last four bytes overlap the first ones by what is missing to eight.
            None => half(longer) | half(&longer[longer.len() - 4..]) >> (8 * (8 - longer.len())) << 32,
        },
    }
}
