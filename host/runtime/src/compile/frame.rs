//! What passes between host and compiler. Both are the same build of the same program, so there is no version.
//!
//! ```text
//! request    interruption u8 (0 fuel, 1 fuel and deadline) · length u64 · component
//! answer     outcome u8 (0 refused, 1 compiled)            · length u64 · text or machine code         all little-endian
//! ```

use std::io::{self, Read, Write};

use crate::engine::Interruption;

/// A tag, a length and bytes.
pub(super) fn write(to: &mut impl Write, tag: u8, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&[tag])?;
    to.write_all(&(bytes.len() as u64).to_le_bytes())?;
    to.write_all(bytes)?;
    to.flush()
}

/// The tag, and the bytes if there are no more than `bytes_max`. Room is made for what is announced, and no more is ever read.
pub(super) fn read(from: &mut impl Read, bytes_max: usize) -> io::Result<(u8, Vec<u8>)> {
    let (mut tag, mut length) = ([0], [0; 8]);
    from.read_exact(&mut tag)?;
    from.read_exact(&mut length)?;
    let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{length} bytes, more than {bytes_max}")));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length)?;
    from.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok((tag[0], bytes)) }
}

pub(super) fn tag_of(interruption: Interruption) -> u8 {
    match interruption {
        Interruption::Fuel => 0,
        Interruption::FuelAndDeadline => 1,
    }
}

pub(super) fn interruption_of(tag: u8) -> Option<Interruption> {
    [Interruption::Fuel, Interruption::FuelAndDeadline].into_iter().find(|interruption| tag_of(*interruption) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_whole_or_an_error_and_never_larger_than_allowed() {
        let mut frame = Vec::new();
        write(&mut frame, 1, b"component").expect("written");
        assert_eq!(read(&mut &*frame, 9).expect("a frame"), (1, b"component".to_vec()));
        for end in 0..frame.len() {
            assert_eq!(read(&mut &frame[..end], 9).expect_err("cut").kind(), io::ErrorKind::UnexpectedEof, "{end}");
        }
        assert_eq!(read(&mut &*frame, 8).expect_err("too long").kind(), io::ErrorKind::FileTooLarge);
        let boast = [&[1][..], &u64::MAX.to_le_bytes()].concat();
        assert_eq!(read(&mut &*boast, 1 << 40).expect_err("too long").kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn what_interrupts_keeps_its_number() {
        assert_eq!([0, 1, 2].map(interruption_of), [Some(Interruption::Fuel), Some(Interruption::FuelAndDeadline), None]);
    }
}
