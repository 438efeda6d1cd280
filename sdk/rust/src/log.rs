//! Log lines: `log::info!("{} failures", count)`. They go to the host's log with pipeline, component and version. In native
//! tests they are kept, and [`testing`](crate::testing) hands them out.

#[doc(inline)]
pub use crate::{__debug as debug, __error as error, __info as info, __warn as warn};

/// How urgent a line is. Its number is that of the WIT enum `level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// For the author.
    Debug = 0,
    /// For the operator.
    Info = 1,
    /// Something is off.
    Warn = 2,
    /// Something failed.
    Error = 3,
}

/// Writes one line. The host caps it at 1 KiB.
pub fn log(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::abi::guest::log(level as u8, message);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::keep_line(level, message);
}

/// For the author.
#[doc(hidden)]
#[macro_export]
macro_rules! __debug { ($($text:tt)*) => { $crate::log::log($crate::log::Level::Debug, &::std::format!($($text)*)) } }

/// For the operator.
#[doc(hidden)]
#[macro_export]
macro_rules! __info { ($($text:tt)*) => { $crate::log::log($crate::log::Level::Info, &::std::format!($($text)*)) } }

/// Something is off.
#[doc(hidden)]
#[macro_export]
macro_rules! __warn { ($($text:tt)*) => { $crate::log::log($crate::log::Level::Warn, &::std::format!($($text)*)) } }

/// Something failed.
#[doc(hidden)]
#[macro_export]
macro_rules! __error { ($($text:tt)*) => { $crate::log::log($crate::log::Level::Error, &::std::format!($($text)*)) } }
