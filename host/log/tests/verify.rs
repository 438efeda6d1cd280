//! A log that nobody has open is read whole: what does not hold is named with its place and its rows; a cut loses what it said.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use support::{append, events, frame, is_journal, open, read_all, rows, small_settings};
use tidemill_event::Offset;
use tidemill_log::simulated::MemoryDisk;
use tidemill_log::{Append, Disk, LogSettings, OpenError, ReadError, RepairError, Verified, Visibility, cut, damage_in, verify};

fn settings() -> LogSettings {
    let mut settings = small_settings(Path::new("/log"));
    settings.journal_file_bytes = 16 << 10;
    settings.mark_idle = Duration::from_secs(3600);
    settings
}

fn check(disk: &MemoryDisk) -> Verified {
    let copy = Arc::new(disk.copy());
    let found = verify(Path::new("/log"), &(Arc::clone(&copy) as Arc<dyn Disk>)).expect("it can be read");
    assert_eq!(copy.paths(), disk.paths(), "nothing is made or removed");
    for path in disk.paths() {
        assert!(copy.bytes(&path) == disk.bytes(&path), "{} was changed", path.display());
    }
    found
}

/// Three partitions: in segments of their own, in a shared one, and in the journal.
fn filled() -> MemoryDisk {
    let disk = Arc::new(MemoryDisk::default());
    let mut settings = settings();
    settings.segment_own_bytes = 4 << 10;
    let log = open(&settings, &(Arc::clone(&disk) as Arc<dyn Disk>));
    let stream = events(&log, 3);
    for start in [0, 200] {
        log.append(append(&stream, 0, start..start + 200)).expect("taken").wait().expect("durable");
        let small = vec![frame(&stream, 1, rows(start..start + 3)), frame(&stream, 2, rows(start..start + 2))];
        log.append(Append::atomic(small)).expect("taken").wait().expect("durable");
        if start == 0 {
            log.roll().expect("rolled");
        }
    }
    log.close().expect("closed");
    disk.copy()
}

fn segments(disk: &MemoryDisk) -> Vec<PathBuf> {
    disk.paths().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "segment")).collect()
}

#[test]
fn a_whole_log_has_no_faults_and_every_flip_is_found() {
    let disk = filled();
    let whole = check(&disk);
    assert_eq!(whole.faults, []);
    assert_eq!((whole.streams, whole.partitions, whole.segments, whole.rows), (1, 3, 2, 205));
    for path in segments(&disk) {
        for at in (0..disk.bytes(&path).len()).step_by(7) {
            let flipped = disk.copy();
            flipped.change(&path, |bytes| bytes[at] ^= 1 << (at % 8));
            let found = check(&flipped);
            assert!(!found.faults.is_empty(), "{} at {at}", path.display());
            for fault in &found.faults {
                assert_eq!(fault.damage.path, path);
                assert!(fault.partition.is_some() && fault.offsets.is_some(), "{fault:?}");
            }
        }
    }
    for name in ["manifest", "mark"] {
        let path = Path::new("/log").join(name);
        let flipped = disk.copy();
        flipped.change(&path, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 0x10));
        assert_eq!(check(&flipped).faults[0].damage.path, path);
    }
}

#[test]
fn damage_in_the_journal_is_laid_at_a_partitions_door_or_nobodys() {
    let disk = filled();
    let journal = disk.paths().into_iter().find(|path| is_journal(path)).expect("a journal file");
    let bytes = disk.bytes(&journal);
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("it was written") + 1;
    let (mut of_partition, mut of_nobody) = (0, 0);
    for at in (512..used).step_by(11) {
        let flipped = disk.copy();
        flipped.change(&journal, |bytes| bytes[at] ^= 0x04);
        let faults = check(&flipped).faults;
        of_partition += usize::from(faults.iter().any(|fault| fault.partition.is_some()));
        of_nobody += usize::from(faults.iter().any(|fault| fault.partition.is_none()));
    }
    assert!(of_partition > 10 && of_nobody > 10, "{of_partition} flips in rows, {of_nobody} in heads");
}

#[test]
fn a_missing_segment_and_its_rows_are_named() {
    let disk = filled();
    let shared = segments(&disk).pop().expect("segments");
    let gone = disk.copy();
    (&gone as &dyn Disk).remove(&shared).expect("removed");
    let found = check(&gone);
    let named: Vec<String> = found
        .faults
        .iter()
        .map(|fault| {
            let (partition, offsets) = (fault.partition.as_ref().expect("named"), fault.offsets.expect("named"));
            format!("{}/{} [{}, {})", partition.stream.stream, partition.partition, offsets.0, offsets.1)
        })
        .collect();
    let own = ["events/0 [0, 200)".to_owned()];
    let small = ["events/1 [0, 3)".to_owned(), "events/2 [0, 2)".to_owned()];
    assert!(named == own || named == small, "{named:?}");
    // Opening looks into no segment: a restart takes as long with many. Only readers of what is gone hear of it.
    let log = open(&settings(), &(Arc::new(gone) as Arc<dyn Disk>));
    for partition in events(&log, 3).partitions() {
        let read = partition.read(Offset::ZERO, support::ALL, Visibility::Durable);
        let lost = named.iter().any(|rows| rows.starts_with(&format!("events/{} ", partition.key().partition)));
        match read {
            Ok(Some(block)) => assert!(!lost && block.start == Offset::ZERO),
            Err(ReadError::Corrupt { damage, .. }) => assert!(lost && damage.path == shared, "{damage}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Groups one after the other, as a kill leaves them, and where each begins.
fn killed() -> (Arc<MemoryDisk>, PathBuf, Vec<usize>) {
    let disk = Arc::new(MemoryDisk::default());
    let log = open(&settings(), &(Arc::clone(&disk) as Arc<dyn Disk>));
    let stream = events(&log, 2);
    let journal = disk.paths().into_iter().find(|path| is_journal(path)).expect("a journal file");
    let mut groups = Vec::new();
    for (partition, ids) in [(0, 0..3), (1, 100..102), (0, 3..6), (1, 102..107)] {
        let before = disk.bytes(&journal);
        log.append(append(&stream, partition, ids)).expect("taken").wait().expect("durable");
        let after = disk.bytes(&journal);
        groups.push((0..after.len()).find(|at| before[*at] != after[*at]).expect("something was written"));
    }
    (Arc::new(disk.copy()), journal, groups)
}

#[test]
fn a_cut_is_shown_first_and_made_only_where_it_is_named() {
    let (disk, journal, groups) = killed();
    let dir = Path::new("/log");
    let as_disk = Arc::clone(&disk) as Arc<dyn Disk>;
    assert_eq!(damage_in(dir, &as_disk).expect("readable"), None);
    assert!(matches!(cut(dir, &as_disk, &journal, 512), Err(RepairError::Sound)));
    // The header of the second group: the third and fourth say that it was durable.
    disk.change(&journal, |bytes| bytes[groups[1] + 20] ^= 1);
    let log = tidemill_log::Log::open(settings(), Arc::clone(&as_disk));
    assert!(matches!(log, Err(OpenError::Damaged(_))), "{log:?}");
    assert_eq!(check(&disk).faults.len(), 1);

    let loss = damage_in(dir, &as_disk).expect("readable").expect("damage");
    assert_eq!((loss.damage.at_byte, loss.groups_behind, loss.changes), (groups[1] as u64, 2, 0));
    let rows: Vec<_> = loss.rows.iter().map(|rows| (rows.partition.partition.0, rows.from.0, rows.to.0)).collect();
    assert_eq!(rows, [(0, 3, 6), (1, 0, 7)]);
    assert!(matches!(cut(dir, &as_disk, &journal, groups[2] as u64), Err(RepairError::OtherPlace(_))));
    assert_eq!(damage_in(dir, &as_disk).expect("readable").as_ref(), Some(&loss), "nothing was cut");

    assert_eq!(cut(dir, &as_disk, Path::new(journal.file_name().expect("a name")), groups[1] as u64).expect("cut"), loss);
    assert_eq!((check(&disk).faults, damage_in(dir, &as_disk).expect("readable")), (vec![], None));
    for round in 0..3 {
        let log = open(&settings(), &as_disk);
        let stream = events(&log, 2);
        let mut expected = vec![0, 1, 2];
        expected.extend(1_000..1_000 + round);
        assert_eq!(read_all(&stream.partitions()[0]), expected);
        assert!(read_all(&stream.partitions()[1]).is_empty(), "nothing behind the cut joins again");
        log.append(append(&stream, 0, [1_000 + round])).expect("taken").wait().expect("durable");
    }
}
