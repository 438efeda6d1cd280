//! Repeated names: the last one counts (contract §2), at top level and in the objects that dotted paths go through.

use std::borrow::Cow;

use hashbrown::HashMap;

use super::container::{members, plain_name};
use super::fields::{Fields, Target};

/// Whether two of the hashes are equal: maybe a repeated name, surely none if not.
pub(crate) fn any(hashes: &mut [u64]) -> bool {
    if hashes.len() <= 16 {
        return hashes.iter().enumerate().any(|(index, hash)| hashes[..index].contains(hash));
    }
    hashes.sort_unstable();
    hashes.windows(2).any(|pair| pair[0] == pair[1])
}

/// A checked, compact object with only the last of repeated names, where the first stood; objects inside are treated so too as
/// far as `fields` goes into them (`node` is this one there), else they stay as they are.
pub(crate) fn last_only(object: &[u8], fields: &Fields, node: usize) -> Vec<u8> {
    let mut places: HashMap<Cow<'_, [u8]>, usize> = HashMap::new();
    let mut kept: Vec<(&[u8], &[u8])> = Vec::new();
    for (raw, value) in members(object) {
        let place = *places.entry(plain_name(raw)).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(member) => member.1 = value,
            None => kept.push((raw, value)),
        }
    }
    let mut out = Vec::with_capacity(object.len());
    out.push(b'{');
    for (raw, value) in kept {
        if out.len() > 1 {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(raw);
        out.extend_from_slice(b"\":");
        let name = plain_name(raw);
        match fields.target(node, &name) {
            Some(Target::Object(inner)) if value.first() == Some(&b'{') => out.extend(last_only(value, fields, inner)),
            Some(Target::Object(_) | Target::Column(_) | Target::Text(_) | Target::Host | Target::Unknown) | None => {
                out.extend_from_slice(value)
            }
        }
    }
    out.push(b'}');
    out
}
