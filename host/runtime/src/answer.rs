//! The answer of a call, as it is read out of linear memory: all of its lists at once, each copied one time.
//!
//! ```text
//! rule        verdicts 0   columns 8   state 16   data 24   notes 32         each list: address, length
//! transform   rows 0   source-rows 4   columns 8   state 16   data 24   notes 32
//! values      value 0 (a column of 28 bytes)   data 28   notes 36            a function's, and an aggregate's `finish`
//! accumulators   state 0   data 8   notes 16
//! wanted      entries 0   keys 4   data 12
//! process     rows 0   source-rows 4   columns 8   state 16   entries 24   write-count 32   writes 36   timer-count 40   timer-rows 44
//!             timers 48   side-rows 56   sides 60   data 68   notes 76
//! pattern     bits 0   columns 8   data 16   notes 24
//! ```
//! wasmtime would lift such a record field by field, which costs more than all else that happens after a small call. So the places are
//! written down here, and a test holds them against the derived records. Notes are rare, and have texts: those are left to wasmtime.
//! What the columns say is not looked at here but in `decode.rs`.

use arrow_buffer::Buffer;
use wasmtime::component::__internal::{InterfaceType, LiftContext};
use wasmtime::component::{ComponentType, Lift};
use wasmtime::{Result, bail};

use crate::wire::{
    Encoding, WireAccumulators, WireColumn, WireNote, WirePatternAnswer, WireProcessAnswer, WireRuleAnswer, WireTransformAnswer,
    WireValueAnswer, WireWanted,
};

/// A record of lists that a call may answer with.
pub(crate) trait AnswerRecord: Sized + Send + Sync {
    /// The record as the WIT has it.
    type Wire: ComponentType + Lift;

    /// Reads it from where it stands.
    fn read(record: &mut Record<'_, '_>) -> Result<Self>;
}

/// What a rule answers.
#[derive(Debug)]
pub(crate) struct RuleParts {
    pub(crate) verdicts: GuestBytes,
    pub(crate) columns: Vec<WireColumn>,
    pub(crate) state: Vec<WireColumn>,
    pub(crate) data: GuestBytes,
    pub(crate) notes: Vec<WireNote>,
}

impl AnswerRecord for RuleParts {
    type Wire = WireRuleAnswer;

    #[inline]
    fn read(record: &mut Record<'_, '_>) -> Result<Self> {
        Ok(Self {
            verdicts: record.bytes(0)?,
            columns: record.columns(8)?,
            state: record.columns(16)?,
            data: record.bytes(24)?,
            notes: record.notes(32)?,
        })
    }
}

/// What a transform answers.
#[derive(Debug)]
pub(crate) struct TransformParts {
    pub(crate) rows: u32,
    pub(crate) source_rows: u32,
    pub(crate) columns: Vec<WireColumn>,
    pub(crate) state: Vec<WireColumn>,
    pub(crate) data: GuestBytes,
    pub(crate) notes: Vec<WireNote>,
}

impl AnswerRecord for TransformParts {
    type Wire = WireTransformAnswer;

    #[inline]
    fn read(record: &mut Record<'_, '_>) -> Result<Self> {
        Ok(Self {
            rows: record.word(0),
            source_rows: record.word(4),
            columns: record.columns(8)?,
            state: record.columns(16)?,
            data: record.bytes(24)?,
            notes: record.notes(32)?,
        })
    }
}

/// A value per row.
#[derive(Debug)]
pub(crate) struct ValueParts {
    pub(crate) value: WireColumn,
    pub(crate) data: GuestBytes,
    pub(crate) notes: Vec<WireNote>,
}

impl AnswerRecord for ValueParts {
    type Wire = WireValueAnswer;

    #[inline]
    fn read(record: &mut Record<'_, '_>) -> Result<Self> {
        Ok(Self { value: record.column(0)?, data: record.bytes(28)?, notes: record.notes(36)? })
    }
}

/// Accumulators of an aggregate.
#[derive(Debug)]
pub(crate) struct AccumulatorParts {
    pub(crate) state: Vec<WireColumn>,
    pub(crate) data: GuestBytes,
    pub(crate) notes: Vec<WireNote>,
}

impl AnswerRecord for AccumulatorParts {
    type Wire = WireAccumulators;

    #[inline]
    fn read(record: &mut Record<'_, '_>) -> Result<Self> {
        Ok(Self { state: record.columns(0)?, data: record.bytes(8)?, notes: record.notes(16)? })
    }
}

/// An answer larger than the call's output limit.
#[derive(Debug, thiserror::Error)]
#[error("the answer has a list of {bytes} bytes, more than is left of its output limit")]
pub(crate) struct OutputTooLarge {
    pub(crate) bytes: usize,
}

/// Which entries a process wants.
#[derive(Debug)]
pub(crate) struct WantedParts {
    pub(crate) entries: u32,
    pub(crate) keys: Vec<WireColumn>,
    pub(crate) data: GuestBytes,
}

impl AnswerRecord for WantedParts {
    type Wire = WireWanted;

    fn read(record: &mut Record<'_, '_>) -> Result<Self> {
        Ok(Self { entries: record.word(0), keys: record.columns(4)?, data: record.bytes(12)? })
    }
}

/// What a process answers.
#[derive(Debug)]
pub(crate) struct ProcessParts {
    pub(crate) rows: u32,
    pub(crate) source_rows: u32,
    pub(crate) columns: Vec<WireColumn>,
    pub(crate) state: Vec<WireColumn>,
    pub(crate) entries: Vec<WireColumn>,
    pub(crate) write_count: u32,
    pub(crate) writes: u32,
    pub(crate) timer_count: u32,
    pub(crate) timer_rows: u32,
    pub(crate) timers: Vec<WireColumn>,
    pub(crate) side_rows: u32,
    pub(crate) sides: Vec<WireColumn>,
    pub(crate) data: GuestBytes,
    pub(crate) notes: Vec<WireNote>,
}

impl AnswerRecord for ProcessParts {
    type Wire = WireProcessAnswer;

    fn read(record: &mut Record<'_, '_>) -> Result<Self> {
        Ok(Self {
            rows: record.word(0),
            source_rows: record.word(4),
            columns: record.columns(8)?,
            state: record.columns(16)?,
            entries: record.columns(24)?,
            write_count: record.word(32),
            writes: record.word(36),
            timer_count: record.word(40),
            timer_rows: record.word(44),
            timers: record.columns(48)?,
            side_rows: record.word(56),
            sides: record.columns(60)?,
            data: record.bytes(68)?,
            notes: record.notes(76)?,
        })
    }
}

/// What a pattern answers.
#[derive(Debug)]
pub(crate) struct PatternParts {
    pub(crate) bits: GuestBytes,
    pub(crate) columns: Vec<WireColumn>,
    pub(crate) data: GuestBytes,
    pub(crate) notes: Vec<WireNote>,
}

impl AnswerRecord for PatternParts {
    type Wire = WirePatternAnswer;

    #[inline]
    fn read(record: &mut Record<'_, '_>) -> Result<Self> {
        Ok(Self { bits: record.bytes(0)?, columns: record.columns(8)?, data: record.bytes(16)?, notes: record.notes(24)? })
    }
}

/// A `list<u8>` of an answer, in memory that numbers of 16 bytes can be read from. Most answers have an empty one: it takes no memory.
#[derive(Debug)]
pub(crate) struct GuestBytes(Option<Buffer>);

impl GuestBytes {
    pub(crate) fn copy(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self(None);
        }
        // Arrow's own copy would be aligned to more, which allocators charge for.
        let mut words = Vec::with_capacity(bytes.len().div_ceil(size_of::<i128>()));
        let (whole, rest) = bytes.as_chunks();
        words.extend(whole.iter().map(|word| i128::from_ne_bytes(*word)));
        if !rest.is_empty() {
            let mut word = [0; size_of::<i128>()];
            word[..rest.len()].copy_from_slice(rest);
            words.push(i128::from_ne_bytes(word));
        }
        Self(Some(Buffer::from_vec(words).slice_with_length(0, bytes.len())))
    }

    /// How many bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, Buffer::len)
    }

    /// As a buffer that columns can share; `nothing` is an empty one.
    pub(crate) fn shared<'a>(&'a self, nothing: &'a Buffer) -> &'a Buffer {
        self.0.as_ref().unwrap_or(nothing)
    }

    /// As a buffer.
    pub(crate) fn into_buffer(self) -> Buffer {
        self.0.unwrap_or_default()
    }
}

/// A record in linear memory.
pub(crate) struct Record<'cx, 'a> {
    cx: &'cx mut LiftContext<'a>,
    /// The type of what the call returns.
    ty: InterfaceType,
    bytes: &'cx [u8],
}

impl<'cx, 'a> Record<'cx, 'a> {
    /// The record of a result of type `ty`, or the text that is there instead.
    pub(crate) fn new(cx: &'cx mut LiftContext<'a>, ty: InterfaceType, bytes: &'cx [u8]) -> Self {
        Self { cx, ty, bytes }
    }

    fn word(&self, at: usize) -> u32 {
        let word = self.bytes[at..].first_chunk().expect("the record's size is that of its type");
        u32::from_le_bytes(*word)
    }

    /// The elements of the list at `at`.
    #[inline]
    fn list(&mut self, at: usize, element_bytes: usize) -> Result<&'a [u8]> {
        let (start, length) = (self.word(at) as usize, self.word(at + 4) as usize * element_bytes);
        let Some(list) = self.cx.memory().get(start..).and_then(|rest| rest.get(..length)) else {
            bail!("list pointer/length out of bounds of memory");
        };
        if self.cx.consume_fuel(length).is_err() {
            return Err(OutputTooLarge { bytes: length }.into());
        }
        Ok(list)
    }

    fn bytes(&mut self, at: usize) -> Result<GuestBytes> {
        Ok(GuestBytes::copy(self.list(at, 1)?))
    }

    fn column(&self, at: usize) -> Result<WireColumn> {
        column(self.bytes[at..].first_chunk().expect("the record's size is that of its type"))
    }

    fn columns(&mut self, at: usize) -> Result<Vec<WireColumn>> {
        if !self.word(at).is_multiple_of(WireColumn::ALIGN32) {
            bail!("list pointer is not aligned");
        }
        match self.list(at, WireColumn::SIZE32)? {
            [] => Ok(Vec::new()),
            columns => columns.as_chunks().0.iter().map(column).collect(),
        }
    }

    fn notes(&mut self, at: usize) -> Result<Vec<WireNote>> {
        let list = self.bytes.get(at..).and_then(|rest| rest.get(..8));
        let list = list.expect("the record's size is that of its type");
        if list[4..] == [0; 4] {
            return Ok(Vec::new());
        }
        Lift::linear_lift_from_memory(self.cx, self.notes_type()?, list)
    }

    /// The type of the record's last field.
    fn notes_type(&self) -> Result<InterfaceType> {
        let InterfaceType::Result(result) = self.ty else { bail!("a call returns a result") };
        let Some(InterfaceType::Record(record)) = self.cx.types[result].ok else { bail!("a call answers with a record") };
        match self.cx.types[record].fields.last() {
            Some(notes) => Ok(notes.ty),
            None => bail!("an answer ends with its notes"),
        }
    }

    /// The text that stands here instead of a record.
    pub(crate) fn text(&mut self) -> Result<String> {
        Lift::linear_lift_from_memory(self.cx, InterfaceType::String, &self.bytes[..8])
    }
}

/// A column as it stands in linear memory.
fn column(bytes: &[u8; 28]) -> Result<WireColumn> {
    const ENCODINGS: [Encoding; 5] = [Encoding::Bits, Encoding::Words, Encoding::Wide, Encoding::Offsets, Encoding::Dictionary];
    let Some(encoding) = ENCODINGS.get(usize::from(bytes[0])) else { bail!("a column has no encoding {}", bytes[0]) };
    let [_, validity, values, entry_offsets, entries, bytes, bytes_length] =
        std::array::from_fn(|at| u32::from_le_bytes(std::array::from_fn(|byte| bytes[at * 4 + byte])));
    Ok(WireColumn { encoding: *encoding, validity, values, entry_offsets, entries, bytes, bytes_length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_aligned_and_whole() {
        for length in [0, 1, 15, 16, 17, 1_000] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let copy = GuestBytes::copy(&bytes);
            assert_eq!(copy.len(), length);
            let copy = copy.into_buffer();
            assert_eq!(copy.as_slice(), bytes);
            assert_eq!(copy.as_ptr().align_offset(16), 0);
        }
    }

    #[test]
    fn a_column_is_read_as_it_is_written() {
        let written = WireColumn {
            encoding: Encoding::Dictionary,
            validity: 1,
            values: 2,
            entry_offsets: 3,
            entries: 4,
            bytes: 5,
            bytes_length: u32::MAX,
        };
        let mut bytes = Vec::new();
        written.store(&mut bytes);
        let mut bytes: [u8; 28] = bytes.try_into().expect("28 bytes");
        assert_eq!(column(&bytes).expect("a column"), written);
        bytes[0] = 5;
        assert!(column(&bytes).is_err());
    }
}
