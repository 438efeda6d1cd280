//! Little-endian numbers off the front of stored bytes. `None`: there are too few.

pub(crate) fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}

fn take_fixed<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

pub(crate) fn take_u8(bytes: &mut &[u8]) -> Option<u8> {
    take_fixed(bytes).map(|[byte]| byte)
}

pub(crate) fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take_fixed(bytes).map(u32::from_le_bytes)
}

pub(crate) fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take_fixed(bytes).map(u64::from_le_bytes)
}

pub(crate) fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    take_fixed(bytes).map(i64::from_le_bytes)
}

pub(crate) fn take_i128(bytes: &mut &[u8]) -> Option<i128> {
    take_fixed(bytes).map(i128::from_le_bytes)
}

pub(crate) fn take_f64(bytes: &mut &[u8]) -> Option<f64> {
    take_fixed(bytes).map(f64::from_le_bytes)
}
