//! The memory that the host writes arguments into.
//!
//! The arena's block stays where it is while it is large enough, and the custom section `tidemill:arguments` tells the host so: it asks for
//! one stretch for all arguments, and writes those of later calls into it without asking again (`docs/decisions/0018` of the host).

use std::cell::UnsafeCell;
use std::ptr;

/// A guest's only mutable globals. A guest has one thread, and the host enters it once at a time.
pub struct Global<T>(UnsafeCell<T>);

// SAFETY: wasm32-unknown-unknown guests have a single thread.
unsafe impl<T> Sync for Global<T> {}

impl<T> Global<T> {
    /// Holds `value`.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// The value.
    ///
    /// # Safety
    /// Only one export may hold it at a time, which the component model ensures: an instance is not re-entered.
    #[expect(clippy::mut_from_ref, reason = "the guest's one mutable global")]
    pub unsafe fn get(&self) -> &mut T {
        // SAFETY: the caller's promise.
        unsafe { &mut *self.0.get() }
    }
}

/// The memory the host writes arguments into: one block that grows to what the largest call needed.
pub(super) struct Arena {
    block: Vec<u128>,
    used_bytes: usize,
    spilled: Vec<Vec<u128>>,
}

pub(super) static ARENA: Global<Arena> = Global::new(Arena { block: Vec::new(), used_bytes: 0, spilled: Vec::new() });

impl Arena {
    pub(super) fn allocate(&mut self, size: usize) -> *mut u8 {
        let start = self.used_bytes.next_multiple_of(16);
        if start + size > self.block.capacity() * 16 {
            let block = Vec::with_capacity(size.max(4096).next_power_of_two() / 16);
            let full = std::mem::replace(&mut self.block, block);
            // One that nothing of this call stands in is of no use any more.
            if self.used_bytes > 0 {
                self.spilled.push(full);
            }
            self.used_bytes = size;
            return self.block.as_mut_ptr().cast();
        }
        self.used_bytes = start + size;
        // SAFETY: `start` lies inside the block's capacity.
        unsafe { self.block.as_mut_ptr().cast::<u8>().add(start) }
    }

    /// The host may have written arguments that end here where an earlier call's stood, without asking: they are in use.
    pub(super) fn hold(&mut self, end: usize) {
        let block = self.block.as_ptr() as usize;
        if (block..=block + self.block.capacity() * 16).contains(&end) {
            self.used_bytes = self.used_bytes.max(end - block);
        }
    }

    /// Empty again; after a call that needed several blocks, one that holds as much.
    pub(super) fn reset(&mut self) {
        self.used_bytes = 0;
        if !self.spilled.is_empty() {
            let capacity: usize = self.spilled.iter().map(Vec::capacity).sum::<usize>() + self.block.capacity();
            self.spilled = Vec::new();
            self.block = Vec::new();
            self.block = Vec::with_capacity(capacity);
        }
    }
}

/// `cabi_realloc`.
///
/// # Safety
/// Called by the host between calls, with `old` being null or what an earlier call returned for `old_size` bytes.
pub unsafe fn realloc(old: *mut u8, old_size: usize, _align: usize, new_size: usize) -> *mut u8 {
    // SAFETY: the host calls this before it enters an export.
    let new = unsafe { ARENA.get() }.allocate(new_size);
    if old_size > 0 {
        // SAFETY: both areas belong to the arena and do not overlap.
        unsafe { ptr::copy_nonoverlapping(old, new, old_size.min(new_size)) };
    }
    new
}
