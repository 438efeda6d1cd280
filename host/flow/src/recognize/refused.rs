//! Why a row pattern is not looked for.

/// The most variables of a pattern: each is a bit of a word per row.
pub const VARIABLES_MAX: usize = 64;
/// The most instructions of a pattern: `{n,m}` and `PERMUTE` are written out. Bounds what one row may cost.
pub const INSTRUCTIONS_MAX: usize = 4096;

/// What is wrong with a row pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowPatternRefused {
    /// Written out it is too long.
    #[error("written out, the pattern has more than {INSTRUCTIONS_MAX} places")]
    TooLong,
    /// `{5,2}`.
    #[error("`{{{min},{max}}}` asks for at least {min} and at most {max}")]
    Backwards {
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// `{0,0}`.
    #[error("`{{0}}` asks for none at all")]
    Nothing,
    /// It matches no row whatever comes.
    #[error("every match of the pattern is empty")]
    AlwaysEmpty,
    /// Every match begins with the rows to skip to: the next one would begin where this one did.
    #[error("every match begins with the row to skip to, so that the same match would be found for ever")]
    SkipsToItsStart,
}
