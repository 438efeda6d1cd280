//! The WIT's records as the canonical ABI lays them out. Generated from `wit/`; do not edit.
//!
//! `cargo xtask generate` writes this file, and a test of `tidemill-build` compares it with the WIT.

/// A column a component needs or makes.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Field {
    /// The name in the stream; a dotted name (`user.country`) is the path of a nested value.
    pub name: super::List,
    /// What it holds.
    pub kind: u8,
    /// For `decimal`, all digits (1 to 38); else 0.
    pub precision: u8,
    /// For `decimal`, the digits behind the point; else 0.
    pub scale: u8,
    /// Whether it may be null. A component that needs a column that is never null is refused a nullable one.
    pub nullable: u8,
}

#[cfg(target_arch = "wasm32")]
const _: () = assert!(size_of::<Field>() == 12);

/// A field of keyed state.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct StateField {
    /// Its name and type.
    pub field: Field,
    /// The value for a key never seen before, as JSON text; none is null, which needs a nullable field.
    pub first: super::OptionalList,
}

#[cfg(target_arch = "wasm32")]
const _: () = assert!(size_of::<StateField>() == 24);

/// One column in the buffer: where its parts start, in bytes from the buffer's start.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Column {
    /// How values stand.
    pub encoding: u8,
    /// Where the validity bits start (one bit a row, set is valid, as `bits`); 4294967295 when no row is null.
    pub validity: u32,
    /// Where the values start: bits, words, row offsets, or dictionary entries of the rows.
    pub values: u32,
    /// For `dictionary`: where its offsets start (u32, one more than `entries`); else 0.
    pub entry_offsets: u32,
    /// For `dictionary`: how many entries it has. Entries may repeat and may go unused.
    pub entries: u32,
    /// For `offsets` and `dictionary`: where the bytes start; else 0.
    pub bytes: u32,
    /// For `offsets` and `dictionary`: how many bytes; else 0.
    pub bytes_length: u32,
}

#[cfg(target_arch = "wasm32")]
const _: () = assert!(size_of::<Column>() == 28);

/// The rows of one call. The component may keep nothing of it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Batch {
    /// How many rows, at least 1. Where a batch ends and the next begins carries no meaning: no answer may depend on it.
    pub rows: u32,
    /// The columns `describe` asked for, in that order.
    pub columns: super::List,
    /// How many distinct keys the rows have; 0 for a component without state.
    pub keys: u32,
    /// Where the rows' keys start in `data`: one u32 a row, below `keys`. Keys are numbered by first appearance.
    pub row_keys: u32,
    /// The state columns in declared order, `keys` values each.
    pub state: super::List,
    /// The buffer.
    pub data: super::List,
}

#[cfg(target_arch = "wasm32")]
const _: () = assert!(size_of::<Batch>() == 36);

/// Trouble with one row. Rows without a note are answered; notes are ascending by row, one a row at most.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Note {
    /// The row of the batch.
    pub row: u32,
    /// What shall happen.
    pub kind: u8,
    /// For `retry-after`; else 0.
    pub after_ms: u32,
    /// Why, for people. The host caps it at 1 KiB.
    pub text: super::List,
}

#[cfg(target_arch = "wasm32")]
const _: () = assert!(size_of::<Note>() == 20);

/// Log lines.
pub mod logging {
    // import log: (i32, pointer, length) -> ()
    #[cfg(target_arch = "wasm32")]
    #[link(wasm_import_module = "tidemill:component/logging@1.0.0")]
    unsafe extern "C" {
        /// Writes one line.
        pub fn log(level: i32, message: *const u8, length: usize);
    }
}

/// Measurements.
pub mod metrics {

    /// What tells series of one metric apart.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Label {
        /// A letter, then letters, digits and `_`, all lower case, 40 bytes at most. `pipeline`, `step`, `component`, `name` and `le` are the host's.
        pub name: super::super::List,
        /// At most 64 bytes. A value is for few cases: a country, a status; never a user or an id.
        pub value: super::super::List,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Label>() == 16);

    /// What happened to one series.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Measurement {
        /// What it is; one name is always of one kind.
        pub kind: u8,
        /// As a label's name, 60 bytes at most.
        pub name: super::super::List,
        /// At most 4, each name once. Their order means nothing.
        pub labels: super::super::List,
        /// Finite numbers, in order.
        pub amounts: super::super::List,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Measurement>() == 28);

    // import measure: (pointer, length) -> ()
    #[cfg(target_arch = "wasm32")]
    #[link(wasm_import_module = "tidemill:metrics/metrics@1.0.0")]
    unsafe extern "C" {
        /// Hands over what was measured.
        pub fn measure(measurements: *const Measurement, length: usize);
    }
}

/// A component that answers yes or no per row, and may add columns.
pub mod rule {

    /// What the rule needs and makes. Frozen at upload.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Description {
        /// For people: what it judges, in a sentence or a page.
        pub doc: super::super::List,
        /// Columns it reads; only these cross.
        pub columns: super::super::List,
        /// Columns it adds to each row.
        pub outputs: super::super::List,
        /// State it keeps per key; the pipeline's `by` names the key.
        pub state: super::super::List,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Description>() == 32);

    /// The answer to one batch.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Answer {
        /// One bit a row, the lowest bit of the first byte is row 0: (rows + 7) / 8 bytes. Bits behind the last row are ignored.
        pub verdicts: super::super::List,
        /// The output columns in declared order, `rows` values each, in `data`.
        pub columns: super::super::List,
        /// The new state columns in declared order, `keys` values each, in `data`; taken only if the call returns ok.
        pub state: super::super::List,
        /// The buffer of `columns` and `state`.
        pub data: super::super::List,
        /// Rows with trouble; their verdict, columns and state changes still stand in `state`.
        pub notes: super::super::List,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Answer>() == 40);

    // export describe: () -> (pointer)

    // export open: (pointer, length) -> (pointer)

    // export evaluate: (i32, pointer, length, i32, i32, pointer, length, pointer, length) -> (pointer)
}

/// A component that makes 0..n rows of each row.
pub mod transform {

    /// What the transform needs and makes. Frozen at upload.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Description {
        /// For people: what it makes, in a sentence or a page.
        pub doc: super::super::List,
        /// Columns it reads; only these cross.
        pub columns: super::super::List,
        /// Columns it makes.
        pub outputs: super::super::List,
        /// State it keeps per key; the pipeline's `by` names the key.
        pub state: super::super::List,
        /// The output field (a timestamp) that is the rows' event time; none: each row keeps the time of the row it came from.
        pub time: super::super::OptionalList,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Description>() == 44);

    /// The answer to one batch.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Answer {
        /// How many rows came out; 0 is fine.
        pub rows: u32,
        /// Where `rows` u32 start in `data`: for each output row the input row it came from, never descending.
        pub source_rows: u32,
        /// The output columns in declared order, `rows` values each, in `data`.
        pub columns: super::super::List,
        /// The new state columns in declared order, `keys` values each, in `data`; taken only if the call returns ok.
        pub state: super::super::List,
        /// The buffer of `source-rows`, `columns` and `state`.
        pub data: super::super::List,
        /// Rows with trouble.
        pub notes: super::super::List,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Answer>() == 40);

    // export describe: () -> (pointer)

    // export open: (pointer, length) -> (pointer)

    // export apply: (i32, pointer, length, i32, i32, pointer, length, pointer, length) -> (pointer)
}

/// A component that computes a value of each row's arguments.
pub mod function {

    /// What the function needs and gives. Frozen at upload.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Description {
        /// For people: what it computes, in a sentence or a page.
        pub doc: super::super::List,
        /// Its arguments in order; names are for people. An argument that is never null is never asked about where an expression gives
        /// null for it: the value of such a row is null.
        pub arguments: super::super::List,
        /// What it gives; the name is for people. A value that is null although this is never null is that row's fault.
        pub value: super::Field,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Description>() == 28);

    /// The answer to one batch.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Answer {
        /// A value per row, in `data`.
        pub value: super::Column,
        /// The buffer of `value`.
        pub data: super::super::List,
        /// Rows with trouble; their values mean nothing.
        pub notes: super::super::List,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Answer>() == 44);

    // export describe: () -> (pointer)

    // export open: (pointer, length) -> (pointer)

    // export compute: (i32, pointer, length, i32, i32, pointer, length, pointer, length) -> (pointer)
}

/// A component that sums up rows by group, used exactly like `sum` or `avg`.
pub mod aggregate {

    /// What the aggregate needs, remembers and gives. Frozen at upload.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Description {
        /// For people: what it says of a group, in a sentence or a page.
        pub doc: super::super::List,
        /// Its arguments in order; names are for people. A row with a null where an argument is never null does not count.
        pub arguments: super::super::List,
        /// What it gives; the name is for people. A value that is null although this is never null is that result's fault.
        pub value: super::Field,
        /// An accumulator's fields, at least one, with their values for a group that has seen no row.
        pub state: super::super::List,
        /// Whether it has `retract`: windows that overlap are cheaper then. If not, `retract` is exported all the same and never called.
        pub retracts: u8,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Description>() == 40);

    /// Accumulators after `update`, `merge` or `retract`.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Accumulators {
        /// The state columns in declared order, `keys` values each, in `data`; taken only if the call returns ok.
        pub state: super::super::List,
        /// The buffer of `state`.
        pub data: super::super::List,
        /// Rows with trouble. Of `update`: they count for no aggregate of the step and must have left their accumulator as it was; they are
        /// not tried again, `retry-after` means the same as `reject`. Of `merge` and `retract`: none are expected, and the groups' values are lost.
        pub notes: super::super::List,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Accumulators>() == 24);

    /// Values after `finish`.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Answer {
        /// A value per row, in `data`.
        pub value: super::Column,
        /// The buffer of `value`.
        pub data: super::super::List,
        /// Rows with trouble: these results go to the dead letters, with the text. `retry-after` means the same as `reject`.
        pub notes: super::super::List,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Answer>() == 44);

    // export describe: () -> (pointer)

    // export open: (pointer, length) -> (pointer)

    // export update: (i32, pointer, length, i32, i32, pointer, length, pointer, length) -> (pointer)

    // export merge: (i32, pointer, length, i32, i32, pointer, length, pointer, length) -> (pointer)

    // export retract: (i32, pointer, length, i32, i32, pointer, length, pointer, length) -> (pointer)

    // export finish: (i32, pointer, length, i32, i32, pointer, length, pointer, length) -> (pointer)
}

/// A component that makes 0..n rows of each row, keeps tables beside its state, asks to be called at a time, and may have several outputs.
pub mod process {

    /// A table: entries by key, within the key of the step's `by`.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Table {
        /// A letter, then letters, digits and `_`.
        pub name: super::super::List,
        /// The entry's key, at least one field; never null.
        pub key: super::super::List,
        /// What it holds.
        pub values: super::super::List,
        /// How long an entry lives after it was written, in µs; 0: until it is deleted.
        pub ttl_us: u64,
        /// By which time.
        pub ttl_clock: u8,
        /// Whether being wanted by a row puts its end off as a write does.
        pub ttl_on_read: u8,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Table>() == 40);

    /// An output beside the main one.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct SideOutput {
        /// A letter, then letters, digits and `_`; the pipeline's `outputs` says where it goes.
        pub name: super::super::List,
        /// Its columns. The columns of `by` stand in front of them.
        pub columns: super::super::List,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<SideOutput>() == 16);

    /// What the process needs, keeps and makes. Frozen at upload.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Description {
        /// For people: what it does, in a sentence or a page.
        pub doc: super::super::List,
        /// Columns it reads; only these cross.
        pub columns: super::super::List,
        /// Columns of the main output. The columns of `by` stand in front of them.
        pub outputs: super::super::List,
        /// One state row per key of `by`.
        pub state: super::super::List,
        /// How long a state row lives after a row of its key, in µs, unless the pipeline says otherwise; 0: for ever.
        pub state_ttl_us: u64,
        /// By which time.
        pub state_ttl_clock: u8,
        /// Its tables, 16 at most.
        pub tables: super::super::List,
        /// Whether it sets timers.
        pub timers: u8,
        /// Its other outputs, 16 at most.
        pub sides: super::super::List,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Description>() == 64);

    /// Entries of the tables that rows need. An entry wanted twice is one entry.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Wanted {
        /// Where in `data`: a u32 per table, how many are wanted; then a u32 for each, the row that wants it, table by table, never
        /// descending within one.
        pub entries: u32,
        /// The key columns of all tables in declared order, a value for each wanted entry of that table.
        pub keys: super::super::List,
        /// The buffer.
        pub data: super::super::List,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Wanted>() == 20);

    /// The entries, in the buffer of the batch.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Found {
        /// Where: a u32 per table, how many different entries are wanted; then a u32 for each wanted one, its number among those, table by
        /// table. Entries are numbered by first appearance; one key of the table under two keys of `by` is two entries.
        pub entries: u32,
        /// For each table: bits that say whether the entry is there, then its value columns; nulls where it is not. A value for each
        /// different entry.
        pub columns: super::super::List,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Found>() == 12);

    /// The answer to one batch.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Answer {
        /// How many rows came out; 0 is fine.
        pub rows: u32,
        /// Where a u32 for each starts: the row it came from, never descending.
        pub source_rows: u32,
        /// The main output's columns, `rows` values each.
        pub columns: super::super::List,
        /// The new state columns in declared order, `keys` values each.
        pub state: super::super::List,
        /// The value columns of all tables in declared order, a value for each different entry. Only those that are put count.
        pub entries: super::super::List,
        /// How many writes there are.
        pub write_count: u32,
        /// Where four u32 for each start: the row that writes, the table, the entry, and 1 if it is put or 0 if it is deleted. Rows never
        /// descend; of several writes of an entry the last one counts.
        pub writes: u32,
        /// How many times a timer is set or taken back.
        pub timer_count: u32,
        /// Where a u32 for each starts: the row that does it, never descending.
        pub timer_rows: u32,
        /// Two columns: the time (timestamp; null takes the timer back) and the name (text) of the key's timer. It replaces an earlier one of
        /// that name. It fires when no row up to its time can come any more; one before the watermark that its row saw is set to that
        /// watermark. A timer that fires may only set later ones.
        pub timers: super::super::List,
        /// Where: a u32 per side output, how many rows it has; then a u32 for each, the row it came from, never descending within an output.
        pub side_rows: u32,
        /// The columns of all side outputs in declared order.
        pub sides: super::super::List,
        /// The buffer.
        pub data: super::super::List,
        /// Rows with trouble. A timer is never put back: one that cannot be handled is rejected.
        pub notes: super::super::List,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Answer>() == 84);

    // export describe: () -> (pointer)

    // export open: (pointer, length) -> (pointer)

    // export wants: (i32, i32, pointer, length, i32, i32, pointer, length, pointer, length) -> (pointer)

    // export process: (i32, i32, pointer, length, i32, i32, pointer, length, pointer, length, i32, pointer, length) -> (pointer)
}

/// A component that says which rows belong together. The host does the matching: it orders rows, follows the runs of every key, keeps them
pub mod pattern {

    /// What the component reads and makes. Frozen at upload.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Description {
        /// For people: what it finds, in a sentence or a page.
        pub doc: super::super::List,
        /// Columns of a row that it reads; only these cross.
        pub columns: super::super::List,
        /// What conditions read of a run: the name of each is an aggregate over the rows it has taken, as in a pattern's `where`,
        /// `avg(small.amount)`.
        pub so_far: super::super::List,
        /// What `shape` reads of a match: columns of `by`, `match_start`, `match_end`, `timed_out`, and whatever a pattern's `select` may
        /// say, each called as it is written there: `last(large.amount)`.
        pub found: super::super::List,
        /// Columns that `shape` makes. They stand behind those of `by`, `match_start` and `match_end`.
        pub outputs: super::super::List,
        /// Whether `shape` is asked. If not, a match is what the `select` of the pattern says.
        pub shapes: u8,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Description>() == 44);

    /// The pattern, for the configuration that the instance was opened with.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Definition {
        /// JSON, as it stands behind `pattern:` in a pipeline: `stages`, `within`, `within_last`, `skip`, `timeouts`, and `select` if
        /// `shape` is not asked. In a stage `where` and `until` are SQL, or `predicate(n)`, `condition(n)`, or `predicate(n) and
        /// condition(m)`, counted from 0.
        pub pattern: super::super::List,
        /// How many predicates `judge` answers.
        pub predicates: u32,
        /// How many conditions `ask` answers.
        pub conditions: u32,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Definition>() == 16);

    /// The answer to one batch.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub struct Answer {
        /// Bits, the lowest bit of the first byte is row 0; each stretch takes (rows + 7) / 8 bytes, bits behind the last row are ignored.
        /// `judge`: a stretch for each predicate, in order: which rows fit. `ask`: one stretch: yes or no. `shape`: one stretch: which
        /// matches become rows.
        pub bits: super::super::List,
        /// `shape`: the output columns in declared order, `rows` values each, in `data`. Otherwise none.
        pub columns: super::super::List,
        /// The buffer of `columns`.
        pub data: super::super::List,
        /// Rows with trouble: they are no part of any match, or, of `shape`, do not go on. Only rows of `judge` can be put back.
        pub notes: super::super::List,
    }

    #[cfg(target_arch = "wasm32")]
    const _: () = assert!(size_of::<Answer>() == 32);

    // export describe: () -> (pointer)

    // export open: (pointer, length) -> (pointer)

    // export pattern: () -> (pointer)

    // export judge: (i32, pointer, length, i32, i32, pointer, length, pointer, length) -> (pointer)

    // export ask: (i32, pointer, length, i32, i32, pointer, length, pointer, length) -> (pointer)

    // export shape: (i32, pointer, length, i32, i32, pointer, length, pointer, length) -> (pointer)
}
