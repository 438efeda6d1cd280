//! The only module with `unsafe`: how buffers cross into and out of a guest's memory, and how compiled code comes back from the
//! cache and the compiler. It leans on hidden parts of wasmtime's component API, so the version is pinned (`=48.0.8`); read it again before moving.
//!
//! ```text
//! Arrow buffers ──pieces──► realloc once, then copied straight into linear memory      (no scratch buffer between)
//! linear memory ──one copy──► an aligned Arrow buffer, before post-return frees the memory
//! ```
//! A `list<u8>` of wasmtime's own would need the pieces joined first (+0.17 ns a row); `WasmList` would be read after post-return,
//! when the guest's allocator may have written over it.
//!
//! Safety of the four implementations, once: `Lower` is `[ValRaw; 2]` and `ABI` is the pointer pair, which is what a list is in the
//! canonical ABI; `typecheck` is that of the slice type with the same elements; every access to linear memory is a checked slice.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use arrow_buffer::Buffer;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, LowerContext};
use wasmtime::component::{Component, ComponentType, Lift, Lower};
use wasmtime::{Engine, Result, ValRaw, bail};

use crate::artefact::Artefact;
use crate::piece::Piece;
use crate::wire::WireColumn;

/// The data of a call: a `list<u8>` made of pieces, each starting at a multiple of 8 bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pieces<'a> {
    pub(crate) pieces: &'a [Piece<'a>],
    /// Bytes of all pieces with their padding.
    pub(crate) bytes: usize,
}

/// A `list<column>` that is already in the form it has in linear memory: 28 bytes a column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layouts<'a>(pub(crate) &'a [u8]);

/// A `list<u8>` of an answer, copied out at once.
#[derive(Debug, Clone)]
pub(crate) struct GuestBytes(pub(crate) Buffer);

/// An answer larger than the call's output limit.
#[derive(Debug, thiserror::Error)]
#[error("the answer has a list of {bytes} bytes, more than is left of its output limit")]
pub(crate) struct OutputTooLarge {
    pub(crate) bytes: usize,
}

impl Pieces<'_> {
    fn store<T: 'static>(&self, cx: &mut LowerContext<'_, T>) -> Result<(usize, usize)> {
        let at = cx.realloc(0, 0, 1, self.bytes)?;
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
        if self.0.is_empty() {
            return Ok((WireColumn::ALIGN32 as usize, 0));
        }
        let at = cx.realloc(0, 0, WireColumn::ALIGN32, self.0.len())?;
        let Some(room) = cx.as_slice_mut().get_mut(at..).and_then(|rest| rest.get_mut(..self.0.len())) else {
            bail!("realloc return: beyond end of memory");
        };
        room.copy_from_slice(self.0);
        Ok((at, self.0.len() / WireColumn::SIZE32))
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

impl GuestBytes {
    fn load(cx: &mut LiftContext<'_>, at: usize, length: usize) -> Result<Self> {
        let Some(bytes) = cx.memory().get(at..).and_then(|rest| rest.get(..length)) else {
            bail!("list pointer/length out of bounds of memory");
        };
        if cx.consume_fuel(length).is_err() {
            return Err(OutputTooLarge { bytes: length }.into());
        }
        Ok(Self(aligned(bytes)))
    }
}

/// A copy that numbers of 16 bytes can be read from. Arrow's own would be aligned to more, which allocators charge for.
fn aligned(bytes: &[u8]) -> Buffer {
    let mut words = vec![0_i128; bytes.len().div_ceil(size_of::<i128>())];
    // SAFETY: the words are that many bytes, all of them written, and any byte may stand in a number.
    let room = unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), words.len() * size_of::<i128>()) };
    room[..bytes.len()].copy_from_slice(bytes);
    Buffer::from_vec(words).slice_with_length(0, bytes.len())
}

// SAFETY: see the module's docs.
unsafe impl ComponentType for GuestBytes {
    type Lower = [ValRaw; 2];
    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::POINTER_PAIR;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <[u8] as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: see the module's docs.
unsafe impl Lift for GuestBytes {
    fn linear_lift_from_flat(cx: &mut LiftContext<'_>, _ty: InterfaceType, source: &[ValRaw; 2]) -> Result<Self> {
        Self::load(cx, source[0].get_u32() as usize, source[1].get_u32() as usize)
    }

    fn linear_lift_from_memory(cx: &mut LiftContext<'_>, _ty: InterfaceType, bytes: &[u8]) -> Result<Self> {
        let Some((at, length)) =
            bytes.split_first_chunk::<4>().zip(bytes.last_chunk::<4>()).map(|((at, _), length)| (at, length))
        else {
            bail!("a list is 8 bytes");
        };
        Self::load(cx, u32::from_le_bytes(*at) as usize, u32::from_le_bytes(*length) as usize)
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
    fn copies_are_aligned_and_whole() {
        for length in [0, 1, 15, 16, 17, 1_000] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let copy = aligned(&bytes);
            assert_eq!(copy.as_slice(), bytes);
            assert_eq!(copy.as_ptr().align_offset(16), 0);
        }
    }
}
