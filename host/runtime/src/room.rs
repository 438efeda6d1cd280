//! Where the lists of a call stand in the guest's memory.
//!
//! ```text
//! as the canonical ABI has it     columns ─► realloc      state ─► realloc      data ─► realloc
//! one stretch, kept               columns│state│data ─► realloc once; calls that need no more use it again without asking
//! ```
//! A guest owns what its `realloc` gave, and most free each list by itself. One that says with a custom section that it does not
//! (`docs/decisions/0018`) spares every call two entries, a quarter of what a small call costs. Who says so and frees it all the same
//! spoils its own memory: every place is checked against the end of memory before it is written to.

use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::Result;
use wasmtime::component::__internal::LowerContext;

/// The custom section of a core module that says so, and its content: the version of what it promises.
pub(crate) const SECTION: (&str, &[u8]) = ("tidemill:arguments", &[1]);

/// The least that is asked for, so that calls that grow a little do not ask each time.
const STRETCH_BYTES_MIN: usize = 4_096;
/// No address.
const NOWHERE: usize = usize::MAX;

/// The stretch an instance was given, for its next call.
#[derive(Debug)]
pub(crate) struct Kept {
    at: usize,
    bytes: usize,
}

impl Kept {
    /// None yet.
    pub(crate) fn nothing() -> Self {
        Self { at: NOWHERE, bytes: 0 }
    }
}

/// Room for the lists of one call. Shared by them while they are written, one after the other.
#[derive(Debug)]
pub(crate) struct Room {
    stretch: Option<Stretch>,
}

#[derive(Debug)]
struct Stretch {
    bytes: usize,
    /// Where it begins, once that was asked for in this call.
    asked: AtomicUsize,
    /// Where the next list goes.
    next: AtomicUsize,
}

impl Room {
    /// For lists of `bytes` in all, each rounded up to 8; in what was `kept`, if it is enough.
    pub(crate) fn new(kept: Option<&Kept>, bytes: usize) -> Self {
        let stretch = kept.map(|kept| {
            let fits = bytes <= kept.bytes;
            let bytes = if fits { kept.bytes } else { bytes.max(STRETCH_BYTES_MIN).next_power_of_two() };
            let next = AtomicUsize::new(if fits { kept.at } else { NOWHERE });
            Stretch { bytes, asked: AtomicUsize::new(NOWHERE), next }
        });
        Self { stretch }
    }

    /// The address for a list of so many bytes.
    pub(crate) fn take<T: 'static>(&self, cx: &mut LowerContext<'_, T>, align: u32, bytes: usize) -> Result<usize> {
        let Some(Stretch { bytes: all, asked, next }) = &self.stretch else { return cx.realloc(0, 0, align, bytes) };
        let mut at = next.load(Ordering::Relaxed);
        if at == NOWHERE {
            at = cx.realloc(0, 0, 8, *all)?;
            asked.store(at, Ordering::Relaxed);
        }
        next.store(at + bytes.next_multiple_of(8), Ordering::Relaxed);
        Ok(at)
    }

    /// After the call: what it was given stays for the next.
    pub(crate) fn keep(self, kept: &mut Kept) {
        if let Some(Stretch { bytes, asked, .. }) = self.stretch {
            let at = asked.into_inner();
            if at != NOWHERE {
                *kept = Kept { at, bytes };
            }
        }
    }
}
