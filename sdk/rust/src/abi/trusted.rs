//! Reads without bounds checks, in the loop over rows alone. A check per read would cost more than the read, and worse: a read that
//! may panic cannot be moved behind the author's `&&`, so every column of every row would be read.
//!
//! What is trusted: [`Row`] is below the call's number of rows, to which every column was cut (with checks) when it was bound; and
//! what the WIT promises of offsets, dictionary entries of valid rows and UTF-8, all of which the host makes itself. A host that
//! broke a promise would make this sandbox read wrong bytes of its own memory. Natively everything is checked.

/// A row of the call in hand. Only the SDK's loops make them.
#[derive(Debug, Clone, Copy)]
pub struct Row(usize);

impl Row {
    /// A row below the call's number of rows.
    #[inline(always)]
    pub(crate) fn of(row: usize, rows: usize) -> Self {
        debug_assert!(row < rows);
        Self(row)
    }

    /// Its number.
    #[inline(always)]
    pub fn number(self) -> usize {
        self.0
    }
}

/// The value at a place that [`Row`] or the host vouches for.
#[inline(always)]
pub(crate) fn value<T: Copy>(values: &[T], place: usize) -> T {
    #[cfg(target_arch = "wasm32")]
    // SAFETY: see the head of this file.
    unsafe {
        *values.get_unchecked(place)
    }
    #[cfg(not(target_arch = "wasm32"))]
    values[place]
}

/// The bytes between two offsets the host vouches for.
#[inline(always)]
pub(crate) fn bytes(bytes: &[u8], start: usize, end: usize) -> &[u8] {
    #[cfg(target_arch = "wasm32")]
    // SAFETY: see the head of this file.
    unsafe {
        bytes.get_unchecked(start..end)
    }
    #[cfg(not(target_arch = "wasm32"))]
    &bytes[start..end]
}

/// The text of bytes the host sent as text.
#[inline(always)]
pub(crate) fn text(bytes: &[u8]) -> &str {
    #[cfg(target_arch = "wasm32")]
    // SAFETY: see the head of this file.
    unsafe {
        std::str::from_utf8_unchecked(bytes)
    }
    #[cfg(not(target_arch = "wasm32"))]
    std::str::from_utf8(bytes).expect("a text column holds UTF-8")
}
