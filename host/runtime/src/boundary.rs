//! The only module with `unsafe`: how buffers cross into and out of a guest's memory, and how compiled code comes back from the
//! cache and the compiler. It leans on hidden parts of wasmtime's component API, so the version is pinned (`=48.0.8`); read it again before moving.
//!
//! ```text
//! Arrow buffers ──pieces──► copied straight into linear memory, where `room.rs` says      (no scratch buffer between)
//! linear memory ──one copy──► an answer's lists (`answer.rs`), before post-return frees the memory
//! ```
//! A `list<u8>` of wasmtime's own would need the pieces joined first (+0.17 ns a row); `WasmList` would be read after post-return,
//! when the guest's allocator may have written over it; and an answer lifted field by field takes three times as long as one read at once.
//!
//! Safety of the three implementations, once: `Lower` and `ABI` are those of the canonical ABI's type (for a list, the pointer pair; for an
//! answer, what wasmtime derives for the same record); `typecheck` is that of the slice type with the same elements, or of that record;
//! every access to linear memory is a checked slice.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, LowerContext};
use wasmtime::component::{Component, ComponentType, Lift, Lower};
use wasmtime::{Engine, Result, ValRaw, bail};

use crate::answer::{AnswerRecord, Record};
use crate::artefact::Artefact;
use crate::piece::Piece;
use crate::room::Room;
use crate::wire::WireColumn;

/// The data of a call: a `list<u8>` made of pieces, each starting at a multiple of 8 bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pieces<'a> {
    pub(crate) pieces: &'a [Piece<'a>],
    /// Bytes of all pieces with their padding.
    pub(crate) bytes: usize,
    pub(crate) room: &'a Room,
}

/// A `list<column>` that is already in the form it has in linear memory: 28 bytes a column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layouts<'a> {
    pub(crate) columns: &'a [u8],
    pub(crate) room: &'a Room,
}

/// What a call returns, a `result<answer, string>`, read at once.
#[derive(Debug)]
pub(crate) struct Answered<A>(pub(crate) Result<A, String>);

/// As wasmtime sees the same.
type Lifted<A> = Result<<A as AnswerRecord>::Wire, String>;

impl Pieces<'_> {
    fn store<T: 'static>(&self, cx: &mut LowerContext<'_, T>) -> Result<(usize, usize)> {
        let at = self.room.take(cx, 1, self.bytes)?;
        let Some(room) = cx.as_slice_mut().get_mut(at..).and_then(|rest| rest.get_mut(..self.bytes)) else {
            bail!("realloc return: beyond end of memory");
        };
        Piece::write_all(self.pieces, room);
        Ok((at, self.bytes))
    }
}

impl Layouts<'_> {
    fn store<T: 'static>(&self, cx: &mut LowerContext<'_, T>) -> Result<(usize, usize)> {
        // What every guest's realloc answers to a size of 0, without asking: an aligned address that is never read.
        let Self { columns, room } = self;
        if columns.is_empty() {
            return Ok((WireColumn::ALIGN32 as usize, 0));
        }
        let at = room.take(cx, WireColumn::ALIGN32, columns.len())?;
        let Some(target) = cx.as_slice_mut().get_mut(at..).and_then(|rest| rest.get_mut(..columns.len())) else {
            bail!("realloc return: beyond end of memory");
        };
        target.copy_from_slice(columns);
        Ok((at, columns.len() / WireColumn::SIZE32))
    }
}

fn to_flat((at, length): (usize, usize), target: &mut MaybeUninit<[ValRaw; 2]>) {
    target.write([ValRaw::i64(at as i64), ValRaw::i64(length as i64)]);
}

fn to_memory<T: 'static>((at, length): (usize, usize), cx: &mut LowerContext<'_, T>, offset: usize) -> Result<()> {
    *cx.get(offset) = u32::try_from(at)?.to_le_bytes();
    *cx.get(offset + 4) = u32::try_from(length)?.to_le_bytes();
    Ok(())
}

// SAFETY: see the module's docs.
unsafe impl ComponentType for Pieces<'_> {
    type Lower = [ValRaw; 2];
    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::POINTER_PAIR;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <[u8] as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: see the module's docs.
unsafe impl Lower for Pieces<'_> {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        _ty: InterfaceType,
        target: &mut MaybeUninit<[ValRaw; 2]>,
    ) -> Result<()> {
        to_flat(self.store(cx)?, target);
        Ok(())
    }

    fn linear_lower_to_memory<T>(&self, cx: &mut LowerContext<'_, T>, _ty: InterfaceType, offset: usize) -> Result<()> {
        let stored = self.store(cx)?;
        to_memory(stored, cx, offset)
    }
}

// SAFETY: see the module's docs.
unsafe impl ComponentType for Layouts<'_> {
    type Lower = [ValRaw; 2];
    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::POINTER_PAIR;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <[WireColumn] as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: see the module's docs.
unsafe impl Lower for Layouts<'_> {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        _ty: InterfaceType,
        target: &mut MaybeUninit<[ValRaw; 2]>,
    ) -> Result<()> {
        to_flat(self.store(cx)?, target);
        Ok(())
    }

    fn linear_lower_to_memory<T>(&self, cx: &mut LowerContext<'_, T>, _ty: InterfaceType, offset: usize) -> Result<()> {
        let stored = self.store(cx)?;
        to_memory(stored, cx, offset)
    }
}

// SAFETY: see the module's docs.
unsafe impl<A: AnswerRecord> ComponentType for Answered<A> {
    type Lower = <Lifted<A> as ComponentType>::Lower;
    const ABI: CanonicalAbiInfo = <Lifted<A> as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        <Lifted<A> as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: see the module's docs.
unsafe impl<A: AnswerRecord> Lift for Answered<A> {
    fn linear_lift_from_flat(_cx: &mut LiftContext<'_>, _ty: InterfaceType, _source: &Self::Lower) -> wasmtime::Result<Self> {
        bail!("an answer has more fields than a function returns values: it stands in memory");
    }

    fn linear_lift_from_memory(cx: &mut LiftContext<'_>, ty: InterfaceType, bytes: &[u8]) -> wasmtime::Result<Self> {
        // The case, then either record or text at the next multiple of 4, which both are aligned to.
        let Some((case, payload)) = bytes.split_first_chunk::<4>() else { bail!("an answer is longer than its case") };
        Ok(Self(match case[0] {
            0 => Ok(A::read(&mut Record::new(cx, ty, payload))?),
            1 => Err(Record::new(cx, ty, payload).text()?),
            case => bail!("an answer has no case {case}"),
        }))
    }
}

/// Compiled code, of which it is known where it comes from.
pub(crate) fn deserialize(engine: &Engine, artefact: Artefact<'_>) -> Result<Component> {
    // SAFETY: what runs here must be what wasmtime's compiler gave on an engine of the same settings. An `Artefact` is only made of what
    // this host's compiler just answered, over pipes that nobody else holds, and by the cache, of bytes with a message authentication
    // code under a key that only this host has, over the settings and the artefact.
    unsafe { Component::deserialize(engine, artefact.bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_28_bytes_of_four() {
        assert_eq!((WireColumn::SIZE32, WireColumn::ALIGN32), (28, 4));
    }

    #[test]
    fn an_answer_is_a_case_and_a_record_behind_it() {
        fn check<A: AnswerRecord>() {
            assert_eq!(<Answered<A> as ComponentType>::SIZE32, 4 + <A::Wire as ComponentType>::SIZE32);
            assert_eq!(<Answered<A> as ComponentType>::ALIGN32, 4);
        }
        check::<crate::answer::RuleParts>();
        check::<crate::answer::TransformParts>();
        check::<crate::answer::ValueParts>();
        check::<crate::answer::AccumulatorParts>();
        check::<crate::answer::WantedParts>();
        check::<crate::answer::ProcessParts>();
        check::<crate::answer::PatternParts>();
    }
}
