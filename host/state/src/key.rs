//! The stored key: layout in the crate's docs.

use crate::{CheckpointId, TaskId};

/// What follows a zero byte that belongs to the key; two zeros are its end.
const ESCAPED: u8 = 0xff;
/// The checkpoint, at the end.
const VERSION_BYTES: usize = 8;

/// What a stored key says, its task aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredKey {
    pub(crate) operator: u32,
    pub(crate) key: Vec<u8>,
    pub(crate) checkpoint: CheckpointId,
}

/// What all keys of a task begin with.
pub(crate) fn task_prefix(task: &TaskId) -> Vec<u8> {
    let name = task.to_string();
    // Names have at most 63 bytes and numbers 20 digits, so this always fits.
    let length = u16::try_from(name.len()).expect("a task's name is short");
    let mut prefix = Vec::with_capacity(2 + name.len());
    prefix.extend_from_slice(&length.to_be_bytes());
    prefix.extend_from_slice(name.as_bytes());
    prefix
}

/// The whole key of one version.
pub(crate) fn encode(prefix: &[u8], operator: u32, key: &[u8], checkpoint: CheckpointId) -> Vec<u8> {
    let mut encoded = version_prefix(prefix, operator, key);
    encoded.extend_from_slice(&checkpoint.0.to_be_bytes());
    encoded
}

/// What all versions of one key begin with, and no other key.
pub(crate) fn version_prefix(prefix: &[u8], operator: u32, key: &[u8]) -> Vec<u8> {
    let mut encoded = key_prefix(prefix, operator, key);
    encoded.extend_from_slice(&[0, 0]);
    encoded
}

/// What all versions of all keys begin with that begin with `key`.
pub(crate) fn key_prefix(prefix: &[u8], operator: u32, key: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(prefix.len() + key.len() + 24);
    encoded.extend_from_slice(prefix);
    encoded.extend_from_slice(&operator.to_be_bytes());
    for byte in key {
        encoded.push(*byte);
        if *byte == 0 {
            encoded.push(ESCAPED);
        }
    }
    encoded
}

/// Whether it is the key of a version: a task, and what stands behind it.
pub(crate) fn is_whole(stored: &[u8]) -> bool {
    let Some((length, rest)) = stored.split_first_chunk::<2>() else { return false };
    let Some((task, rest)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { return false };
    std::str::from_utf8(task).is_ok() && decode(rest).is_some()
}

/// Reads what stands behind the task's prefix. `None` if it is no such key.
pub(crate) fn decode(rest: &[u8]) -> Option<StoredKey> {
    let mut key = Vec::with_capacity(rest.len().saturating_sub(14));
    let operator = decode_into(rest, &mut key)?;
    let (_, checkpoint) = version_of(rest)?;
    Some(StoredKey { operator, key, checkpoint })
}

/// The same into `key`, whatever is in it, and without the checkpoint: the operator.
pub(crate) fn decode_into(rest: &[u8], key: &mut Vec<u8>) -> Option<u32> {
    key.clear();
    let (operator, mut rest) = rest.split_first_chunk::<4>()?;
    loop {
        let zero = rest.iter().position(|byte| *byte == 0)?;
        key.extend_from_slice(&rest[..zero]);
        let (behind, after) = rest[zero + 1..].split_first()?;
        rest = after;
        match *behind {
            0 => break,
            ESCAPED => key.push(0),
            _ => return None,
        }
    }
    (rest.len() == VERSION_BYTES).then_some(u32::from_be_bytes(*operator))
}

/// What all versions of a stored key begin with, and which one it is.
pub(crate) fn version_of(stored: &[u8]) -> Option<(&[u8], CheckpointId)> {
    let (of_key, version) = stored.split_last_chunk::<VERSION_BYTES>()?;
    Some((of_key, CheckpointId(u64::from_be_bytes(*version))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Few bytes, and often those that mean something.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xfe), Just(0xff)], 0..5)
    }

    proptest! {
        #[test]
        fn keys_read_back_and_sort_by_version(operator: u32, key: Vec<u8>, first: u64, second: u64) {
            let one = encode(b"t", operator, &key, CheckpointId(first));
            let two = encode(b"t", operator, &key, CheckpointId(second));
            prop_assert_eq!(decode(&one[1..]), Some(StoredKey { operator, key, checkpoint: CheckpointId(first) }));
            prop_assert_eq!(one.cmp(&two), first.cmp(&second));
        }

        /// Whatever their versions: so a scan meets keys in the order their operator knows, and those that begin alike together.
        #[test]
        fn keys_sort_as_their_bytes_do(one in key(), other in key(), first: u64, second: u64) {
            let stored = encode(b"t", 7, &one, CheckpointId(first)).cmp(&encode(b"t", 7, &other, CheckpointId(second)));
            prop_assert_eq!(stored, one.cmp(&other).then(first.cmp(&second)));
            let begins = encode(b"t", 7, &other, CheckpointId(second)).starts_with(&key_prefix(b"t", 7, &one));
            prop_assert_eq!(begins, other.starts_with(&one));
            let is_version = encode(b"t", 7, &other, CheckpointId(second)).starts_with(&version_prefix(b"t", 7, &one));
            prop_assert_eq!(is_version, other == one);
        }

        #[test]
        fn any_bytes_are_a_key_or_none(bytes: Vec<u8>) {
            decode(&bytes);
        }
    }
}
