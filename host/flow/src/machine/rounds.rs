//! Rows of a batch in rounds: the first of each key together, then the second of each, and so on.
//!
//! ```text
//! rows    a b a c a b
//! rounds  0 0 1 0 2 1        a b c · a b · a
//! ```
//! What one row of a key does, the next one sees; rows of different keys see nothing of each other. So a batch of many keys goes through an expression
//! a few times, not once for each row.

use hashbrown::HashMap;

/// The rows of each round, ascending. `slots`: the key of each row of the batch.
pub(crate) fn rounds(rows: &[u32], slots: &[u32]) -> Vec<Vec<u32>> {
    let mut seen: HashMap<u32, u32, ahash::RandomState> = HashMap::default();
    let mut rounds: Vec<Vec<u32>> = Vec::new();
    for row in rows {
        let count = seen.entry(slots[*row as usize]).or_default();
        match rounds.get_mut(*count as usize) {
            Some(round) => round.push(*row),
            None => rounds.push(vec![*row]),
        }
        *count += 1;
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_key_come_one_after_the_other() {
        assert_eq!(rounds(&[0, 1, 2, 3, 4, 5], &[1, 2, 1, 3, 1, 2]), [vec![0, 1, 3], vec![2, 5], vec![4]]);
        assert_eq!(rounds(&[1, 2], &[1, 2, 1]), [vec![1, 2]]);
        assert!(rounds(&[], &[]).is_empty());
    }
}
