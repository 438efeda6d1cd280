//! Which step of the old text is which of the new.
//!
//! Steps are matched by what they say: the longest common run of equal steps stays, what is left between two of them is paired by its
//! word and component, and the rest is added or removed.

use serde_json::{Map, Value};

use crate::plan::difference::steps::identity;

/// Places of old and new steps side by side, in the order of the new ones with removed ones before what came in their place.
pub(super) fn paired(old: &[Map<String, Value>], new: &[Map<String, Value>]) -> Vec<(Option<usize>, Option<usize>)> {
    let mut pairs = Vec::new();
    let (mut from, mut to) = (0, 0);
    for (was, is) in common(old, new).into_iter().chain([(old.len(), new.len())]) {
        let mut removed: Vec<usize> = (from..was).collect();
        for (place, step) in new.iter().enumerate().take(is).skip(to) {
            let before = removed.iter().position(|was| identity(&old[*was]) == identity(step));
            pairs.push((before.map(|at| removed.remove(at)), Some(place)));
        }
        pairs.extend(removed.into_iter().map(|was| (Some(was), None)));
        if was < old.len() && is < new.len() {
            pairs.push((Some(was), Some(is)));
        }
        (from, to) = (was + 1, is + 1);
    }
    pairs
}

/// The longest common subsequence of equal steps. Texts have at most 256 steps.
fn common(old: &[Map<String, Value>], new: &[Map<String, Value>]) -> Vec<(usize, usize)> {
    let mut longest = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for was in (0..old.len()).rev() {
        for is in (0..new.len()).rev() {
            longest[was][is] =
                if old[was] == new[is] { longest[was + 1][is + 1] + 1 } else { longest[was + 1][is].max(longest[was][is + 1]) };
        }
    }
    let (mut was, mut is, mut pairs) = (0, 0, Vec::new());
    while was < old.len() && is < new.len() {
        if old[was] == new[is] {
            pairs.push((was, is));
            (was, is) = (was + 1, is + 1);
        } else if longest[was + 1][is] >= longest[was][is + 1] {
            was += 1;
        } else {
            is += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::difference::steps::step_texts;

    fn check(old: &str, new: &str, expected: &[(Option<usize>, Option<usize>)]) {
        let steps = |words: &str| step_texts(&format!("steps: [{words}]"));
        assert_eq!(paired(&steps(old), &steps(new)), expected, "{old} → {new}");
    }

    #[test]
    fn steps_are_matched_by_what_they_say() {
        check("{where: a}, {rule: r@1}", "{where: a}, {rule: r@1}", &[(Some(0), Some(0)), (Some(1), Some(1))]);
        check("{rule: r@1}", "{where: a}, {rule: r@1}", &[(None, Some(0)), (Some(0), Some(1))]);
        check("{where: a}, {rule: r@1}", "{where: b}, {rule: r@1}", &[(Some(0), Some(0)), (Some(1), Some(1))]);
        check("{rule: r@1, keep: all}", "{rule: r@2}", &[(Some(0), Some(0))]);
        check("{rule: r@1}", "{rule: s@1}", &[(None, Some(0)), (Some(0), None)]);
        check("{where: a}, {where: b}, {rule: r@1}", "{rule: r@1}", &[(Some(0), None), (Some(1), None), (Some(2), Some(0))]);
        check("", "", &[]);
    }
}
