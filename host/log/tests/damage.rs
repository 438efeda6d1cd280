//! Torn ends are cut without a word, damage below a durable mark is always named, and what a recycled file still holds stays dead.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use support::hunts::{closed, one_flip};
use support::seeds::each;
use support::{append, events, is_journal, open, read_all, small_settings, stream_id};
use tidemill_event::{Offset, PartitionId};
use tidemill_log::simulated::MemoryDisk;
use tidemill_log::{AppendError, Disk, Log, LogSettings, OpenError, ReadError, Visibility};

fn settings() -> LogSettings {
    let mut settings = small_settings(Path::new("/log"));
    settings.journal_file_bytes = 16 << 10;
    settings.mark_idle = Duration::from_secs(3600);
    settings
}

/// A disk after three appends to partition 0 and one to partition 1, as a kill leaves it; and each group's place in the journal.
fn killed() -> (MemoryDisk, PathBuf, Vec<std::ops::Range<usize>>) {
    let disk = Arc::new(MemoryDisk::default());
    let log = open(&settings(), &(Arc::clone(&disk) as Arc<dyn Disk>));
    let stream = events(&log, 2);
    let journal = disk.paths().into_iter().find(|path| is_journal(path)).expect("a journal file");
    let mut groups = Vec::new();
    for (partition, ids) in [(0, 0..3), (1, 100..102), (0, 3..6), (0, 6..9)] {
        let before = disk.bytes(&journal);
        log.append(append(&stream, partition, ids)).expect("taken").wait().expect("durable");
        let after = disk.bytes(&journal);
        let from = (0..after.len()).find(|at| before[*at] != after[*at]).expect("something was written");
        let to = (0..after.len()).rfind(|at| before[*at] != after[*at]).expect("something was written") + 1;
        groups.push(from..to);
    }
    (disk.copy(), journal, groups)
}

fn reopen(disk: &MemoryDisk) -> Result<Log, OpenError> {
    Log::open(settings(), Arc::new(disk.copy()))
}

fn rows_of(log: &Log, partition: u32) -> Vec<i64> {
    let stream = log.stream(&stream_id("events")).expect("known");
    read_all(stream.partition(PartitionId(partition)).expect("there"))
}

#[test]
fn a_torn_end_is_cut_at_every_byte() {
    let (disk, journal, groups) = killed();
    let last = groups.last().expect("groups").clone();
    for cut in last.clone() {
        let torn = disk.copy();
        torn.change(&journal, |bytes| bytes[cut..last.end].fill(0));
        let log = reopen(&torn).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        // The last bytes may be zeros anyway.
        let found = rows_of(&log, 0);
        let whole = torn.bytes(&journal)[last.clone()] == disk.bytes(&journal)[last.clone()];
        assert_eq!(found, if whole { (0..9).collect::<Vec<_>>() } else { (0..6).collect() }, "cut at {cut}");
        assert_eq!(rows_of(&log, 1), [100, 101]);
    }
}

#[test]
fn a_cut_life_goes_on_and_is_cut_again() {
    let (disk, journal, groups) = killed();
    let last = groups.last().expect("groups").clone();
    let mut disk = disk;
    for life in 0..3 {
        disk.change(&journal, |bytes| bytes[last.start + 70] ^= 1);
        let next = Arc::new(disk.copy());
        let log = open(&settings(), &(Arc::clone(&next) as Arc<dyn Disk>));
        let stream = events(&log, 2);
        assert_eq!(read_all(&stream.partitions()[0]), (0..6).collect::<Vec<_>>(), "life {life}");
        log.append(append(&stream, 0, 6..9)).expect("taken").wait().expect("durable");
        disk = next.copy();
    }
}

/// Flips one bit of every byte of the groups in `which`; each flip is found or changes nothing.
fn flip(disk: &MemoryDisk, journal: &Path, which: &[std::ops::Range<usize>]) {
    let (mut stopped, mut refused) = (0, 0);
    for at in which.iter().cloned().flatten() {
        let flipped = disk.copy();
        flipped.change(journal, |bytes| bytes[at] ^= 1 << (at % 8));
        let log = match reopen(&flipped) {
            Err(OpenError::Damaged(damage)) => {
                assert_eq!(damage.path, journal, "byte {at}");
                refused += 1;
                continue;
            }
            Err(error) => panic!("byte {at}: {error}"),
            Ok(log) => log,
        };
        let stream = log.stream(&stream_id("events")).expect("the first group is whole");
        let mut whole = true;
        for (partition, expected) in stream.partitions().iter().zip([(0..9).collect::<Vec<i64>>(), vec![100, 101]]) {
            let mut from = Offset(0);
            let mut found = Vec::new();
            loop {
                match partition.read(from, support::ALL, Visibility::Durable) {
                    Ok(Some(block)) => {
                        found.extend(support::ids(&block.rows));
                        from = from.plus(block.rows.num_rows());
                    }
                    Ok(None) if !whole || found.len() == expected.len() => break,
                    Ok(None) => panic!("byte {at}: rows are lost without a word: {found:?}"),
                    Err(ReadError::Corrupt { damage, .. }) => {
                        assert_eq!(damage.path, journal, "byte {at}");
                        assert!(damage.at_byte <= at as u64, "byte {at}: {damage}");
                        whole = false;
                        stopped += 1;
                        let refused = log.append(append(&stream, partition.key().partition.0, [1])).expect_err("stopped");
                        assert!(matches!(refused, AppendError::Damaged { .. }));
                        break;
                    }
                    Err(error) => panic!("byte {at}: {error}"),
                }
            }
            assert_eq!(found, expected[..found.len()], "byte {at}");
        }
        // Damage is laid at one partition's door: the other one goes on, also after a roll and a restart.
        if !whole {
            log.roll().expect("rolled");
        }
    }
    assert!(stopped > 50 && refused > 50, "{stopped} flips stopped a partition, {refused} the start");
}

#[test]
fn flips_below_a_later_groups_mark_are_reported() {
    let (disk, journal, groups) = killed();
    // The last group names the one two before it as durable, and itself stands below nothing.
    flip(&disk, &journal, &groups[..2]);
}

#[test]
fn flips_below_the_mark_file_are_reported() {
    let (disk, journal, groups) = killed();
    let disk = Arc::new(disk);
    open(&settings(), &(Arc::clone(&disk) as Arc<dyn Disk>)).close().expect("closed");
    flip(&disk, &journal, &groups);
}

#[test]
fn damage_outlives_roll_and_restart() {
    let (disk, journal, groups) = killed();
    let disk = Arc::new(disk);
    open(&settings(), &(Arc::clone(&disk) as Arc<dyn Disk>)).close().expect("closed");
    // The last byte of the third group is in its payload: partition 0, offsets 3 to 6.
    disk.change(&journal, |bytes| bytes[groups[2].end - 1] ^= 1);
    for _ in 0..3 {
        let log = open(&settings(), &(Arc::clone(&disk) as Arc<dyn Disk>));
        let stream = events(&log, 2);
        let place = &stream.partitions()[0];
        let block = place.read(Offset(0), support::ALL, Visibility::Durable).expect("before it").expect("rows");
        assert_eq!(support::ids(&block.rows), [0, 1, 2]);
        assert!(matches!(place.read(Offset(3), support::ALL, Visibility::Durable), Err(ReadError::Corrupt { .. })));
        assert_eq!(place.end(Visibility::Durable), Offset(9), "offsets behind it are not given out again");
        let before = read_all(&stream.partitions()[1]).len() as i64;
        log.append(append(&stream, 1, [200 + before])).expect("taken").wait().expect("durable");
        log.roll().expect("rolled");
        log.close().expect("closed");
    }
}

#[test]
fn flips_in_segments_are_reported() {
    let disk = Arc::new(MemoryDisk::default());
    let log = open(&settings(), &(Arc::clone(&disk) as Arc<dyn Disk>));
    let stream = events(&log, 2);
    log.append(append(&stream, 0, 0..100)).expect("taken").wait().expect("durable");
    log.append(append(&stream, 1, 0..5)).expect("taken").wait().expect("durable");
    log.roll().expect("rolled");
    log.close().expect("closed");
    let segment =
        disk.paths().into_iter().find(|path| path.extension().is_some_and(|name| name == "segment")).expect("a segment");
    let length = disk.bytes(&segment).len();
    let mut found = 0;
    for at in 0..length {
        let flipped = disk.copy();
        flipped.change(&segment, |bytes| bytes[at] ^= 0x10);
        let log = reopen(&flipped).expect("segments are read when they are asked for");
        let stream = log.stream(&stream_id("events")).expect("known");
        for (place, expected) in stream.partitions().iter().zip([100i64, 5]) {
            let mut next = 0;
            while next < expected {
                match place.read(Offset(next as u64), support::ALL, Visibility::Durable) {
                    Ok(block) => {
                        let block = block.expect("not the end");
                        let ids = support::ids(&block.rows);
                        assert_eq!(ids, (next..next + ids.len() as i64).collect::<Vec<_>>(), "byte {at}");
                        next += ids.len() as i64;
                    }
                    Err(ReadError::Corrupt { damage, .. }) => {
                        assert_eq!(damage.path, segment);
                        found += 1;
                        break;
                    }
                    Err(error) => panic!("byte {at}: {error}"),
                }
            }
        }
    }
    // All but the copies of the block heads, which only a repair would read.
    assert!(found >= length - 200, "{found} of {length}");
}

#[test]
fn the_manifest_and_the_mark_are_checked() {
    let (disk, _, _) = killed();
    for name in ["manifest", "mark"] {
        let path = disk.paths().into_iter().find(|path| path.file_name().is_some_and(|found| found == name)).expect("there");
        for at in (0..disk.bytes(&path).len()).step_by(7) {
            let flipped = disk.copy();
            flipped.change(&path, |bytes| bytes[at] ^= 0x40);
            match reopen(&flipped) {
                Err(OpenError::Damaged(damage)) => assert_eq!(damage.path, path),
                // The mark has two sectors: one of them is enough.
                Ok(log) => {
                    assert_eq!(name, "mark");
                    assert_eq!(rows_of(&log, 0), (0..9).collect::<Vec<_>>());
                }
                Err(error) => panic!("{name}, byte {at}: {error}"),
            }
        }
    }
}

#[test]
fn a_stale_tail_in_a_recycled_file_stays_dead() {
    let disk = Arc::new(MemoryDisk::default());
    let shared = Arc::clone(&disk) as Arc<dyn Disk>;
    let log = open(&settings(), &shared);
    let stream = events(&log, 1);
    let mut next = 0;
    let mut add = |log: &Log, count: i64| {
        for _ in 0..count {
            let stream = events(log, 1);
            log.append(append(&stream, 0, next..next + 4)).expect("taken").wait().expect("durable");
            next += 4;
        }
        next
    };
    // Two files full of groups of one size, all rolled; then a few in the first file's next life, over the front of the old ones.
    while log.stats().journal_bytes < 3 * settings().journal_file_bytes {
        add(&log, 1);
    }
    log.roll().expect("rolled");
    while log.stats().journal_bytes < 2 * settings().journal_file_bytes {
        add(&log, 1);
    }
    let end = add(&log, 2);
    let crashed = Arc::new(disk.copy());
    let stale = crashed.paths().into_iter().filter(|path| is_journal(path)).map(|path| {
        let bytes = crashed.bytes(&path);
        bytes.chunks_exact(512).filter(|sector| sector.starts_with(b"TMGROUP1")).count()
    });
    let groups: usize = stale.sum();
    assert!(groups as u64 > log.stats().groups / 2, "the test has stale groups behind its end: {groups}");
    drop(stream);
    let log = open(&settings(), &(Arc::clone(&crashed) as Arc<dyn Disk>));
    let stream = events(&log, 1);
    assert_eq!(read_all(&stream.partitions()[0]), (0..end).collect::<Vec<_>>());
    assert_eq!(add(&log, 5), end + 20);
    let log = open(&settings(), &(Arc::new(crashed.copy()) as Arc<dyn Disk>));
    assert_eq!(rows_of(&log, 0), (0..end + 20).collect::<Vec<_>>());
}

/// A bit, a sector or a length of any file: journal files of this life and of earlier ones, segments, manifest, mark.
#[test]
fn whatever_is_changed_is_reported_or_changes_nothing() {
    let mut reported = 0;
    for life in 1..=4 {
        let machine = closed(None, life).expect("a life without broken promises");
        each(250, |seed| {
            reported += u64::from(one_flip(&machine, seed * 8 + life)?);
            Ok(())
        });
    }
    println!("{reported} were reported");
    assert!(reported > 100 || support::seeds::seeds(1).len() == 1, "only {reported} changes were reported");
}
