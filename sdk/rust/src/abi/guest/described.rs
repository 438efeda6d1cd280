//! What a component says of itself, as the host reads it.

use super::{NO_LIST, list};
use crate::abi::{List, OptionalList, bindings};
use crate::call::Description;

// Descriptions are asked for once in an instance's life, so what they are made of is leaked.
pub(super) fn lower_field(field: &crate::field::Field) -> bindings::Field {
    bindings::Field {
        name: list(field.name.as_bytes()),
        kind: field.kind as u8,
        precision: field.precision,
        scale: field.scale,
        nullable: u8::from(field.nullable),
    }
}

pub(super) fn fields(fields: &[crate::field::Field]) -> List {
    let lowered: Vec<bindings::Field> = fields.iter().map(lower_field).collect();
    list(Vec::leak(lowered))
}

pub(super) fn state_fields(description: &Description) -> List {
    let lower = |state: &crate::field::StateField| bindings::StateField {
        field: lower_field(&state.field),
        first: optional(state.first),
    };
    let lowered: Vec<bindings::StateField> = description.state.iter().map(lower).collect();
    list(Vec::leak(lowered))
}

pub(super) fn optional(text: Option<&'static str>) -> OptionalList {
    match text {
        Some(text) => OptionalList { present: 1, list: list(text.as_bytes()) },
        None => OptionalList { present: 0, list: NO_LIST },
    }
}
