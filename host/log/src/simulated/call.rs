//! The kinds of calls a disk gets, and how one of them is made to fail.

use std::io;

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// `Disk::open`.
    Open,
    /// `Disk::create`.
    Create,
    /// `DiskFile::preallocate`.
    Preallocate,
    /// `DiskFile::read_at` and `DiskFile::len`.
    Read,
    /// `DiskFile::write_at`.
    Write,
    /// `DiskFile::sync_data` and `DiskFile::sync_all`.
    Sync,
    /// `Disk::rename`.
    Rename,
    /// `Disk::remove`.
    Remove,
    /// `Disk::list`.
    List,
    /// `Disk::create_dir`.
    CreateDir,
    /// `Disk::sync_dir`.
    SyncDir,
}

impl Call {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Open,
        Self::Create,
        Self::Preallocate,
        Self::Read,
        Self::Write,
        Self::Sync,
        Self::Rename,
        Self::Remove,
        Self::List,
        Self::CreateDir,
        Self::SyncDir,
    ];

    /// Whether it changes what is on the disk, or makes it durable.
    pub fn changes(self) -> bool {
        match self {
            Self::Open | Self::Read | Self::List => false,
            Self::Create
            | Self::Preallocate
            | Self::Write
            | Self::Sync
            | Self::Rename
            | Self::Remove
            | Self::CreateDir
            | Self::SyncDir => true,
        }
    }
}

/// One call that fails, or all from it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Of which kind.
    pub call: Call,
    /// Which one of that kind, from 1, counted from when the fault was planted.
    pub nth: u64,
    /// What the operating system says.
    pub error: io::ErrorKind,
    /// Every later call of the kind fails too. Otherwise they work, which is the trap: after a sync that failed the next one says
    /// yes, and what the first one should have written is gone.
    pub stays: bool,
}
