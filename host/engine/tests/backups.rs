//! Backups of a host under load, restored elsewhere: what was acknowledged before is there, state and offsets fit each other, and what
//! comes out in the end is what comes out of a host that nothing happened to. The host that was backed up does not notice.

mod support;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::chained::{Outcome, ROWS, compare, outcome, outcome_with, prepared, send_on, uninterrupted};
use support::{Host, Setup, WrittenFile, stream_id};
use tidemill_backup::{check, restore, write};
use tidemill_engine::Planted;
use tidemill_event::EventTime;
use tidemill_log::Visibility;
use tidemill_log::simulated::Random;

/// Rows of `payments` that are on disk.
fn sent(host: &Host) -> u64 {
    let stream = host.log.stream(&stream_id("payments")).expect("a stream");
    stream.partitions().iter().map(|partition| partition.end(Visibility::Durable).0).sum()
}

fn rows(files: Vec<WrittenFile>) -> Vec<Value> {
    files.into_iter().flat_map(|file| file.rows).collect()
}

/// What both hosts wrote, as somebody has it who keeps the first one's files up to where the second one's begin.
fn both(first: &Host, second: &Host) -> Vec<Value> {
    let later = second.files("found");
    let begin = |partition| later.iter().filter(|file| file.partition == partition).map(|file| file.start).min();
    let found = second.log.stream(&stream_id("p2.output")).expect("a stream");
    let stands = |partition: u64| begin(partition).unwrap_or(found.partitions()[partition as usize].end(Visibility::Durable).0);
    let mut kept = first.files("found");
    kept.retain(|file| file.end <= stands(file.partition));
    rows(kept).into_iter().chain(rows(later)).collect()
}

/// A backup at some moment of a life under load; the restored host takes the rest.
fn story(planted: Option<Planted>, seed: u64, calm: &Outcome) -> Result<(), String> {
    let mut random = Random::new(seed);
    let checkpoint_after = Duration::from_micros(100 + random.below(1500));
    let setup = Setup { batch_rows: 3 + random.below(9) as usize, checkpoint_after, planted, ..Setup::default() };
    let first = prepared(setup.clone());
    let (at, mut sender) = (random.below(ROWS - 100), Random::new(random.next()));
    let (acknowledged, tar) = std::thread::scope(|scope| {
        let load = scope.spawn(|| send_on(&first, ROWS, &mut sender));
        while sent(&first) < at {
            std::thread::yield_now();
        }
        let acknowledged = sent(&first);
        let tar = first.backup();
        assert!(load.join().expect("it sends"), "the log goes on");
        (acknowledged, tar)
    });
    let folder = tempfile::tempdir().expect("a folder");
    let restored = restore(&tar[..], folder.path(), |_| ()).map_err(|error| error.to_string())?;
    if !restored.faults.is_empty() {
        return Err(format!("{:?}", restored.faults));
    }
    // The first one does not notice.
    compare(calm, &outcome(&first)?.0).map_err(|differs| format!("the host that was backed up: {differs}"))?;

    let second = Host::restored(folder, Setup { planted: None, ..setup })?;
    if sent(&second) < acknowledged {
        return Err(format!("{} of {acknowledged} rows that were acknowledged before", sent(&second)));
    }
    if !send_on(&second, ROWS, &mut random) {
        return Err("the restored log takes nothing".to_owned());
    }
    let (found, _) = outcome_with(&second, |second| both(&first, second))?;
    compare(calm, &found).map_err(|differs| format!("backed up at {acknowledged} rows: {differs}"))?;
    let second = second.restart();
    send_on(&second, ROWS + 60, &mut random);
    let (found, states) = outcome_with(&second, |second| both(&first, second))?;
    let whole = uninterrupted(ROWS + 60);
    compare(&whole.0, &found).map_err(|differs| format!("backed up at {acknowledged} rows, and a restart: {differs}"))?;
    if states != whole.1 {
        return Err(format!("the state is {states:?}, and should be {:?}", whole.1));
    }
    Ok(())
}

#[test]
fn a_restored_host_goes_on_exactly_once() {
    let calm = uninterrupted(ROWS).0;
    for seed in support::seeds(8) {
        story(None, seed, &calm).unwrap_or_else(|broken| panic!("{broken}\nrepeat it with SEED={seed}"));
    }
}

#[test]
fn state_that_does_not_fit_the_cut_is_caught() {
    let calm = uninterrupted(ROWS).0;
    let caught = (1..=20).find_map(|seed| story(Some(Planted::StateBehindCut), seed, &calm).err().map(|broken| (seed, broken)));
    let (seed, broken) = caught.expect("a backup whose state is of another moment goes unnoticed");
    println!("seed {seed}: {}", broken.chars().take(300).collect::<String>());
}

/// A host with some of everything in it, and its backup.
fn small_backup() -> (Host, Vec<u8>) {
    let host = prepared(Setup { batch_rows: 7, checkpoint_after: Duration::from_micros(200), ..Setup::default() });
    assert!(send_on(&host, ROWS, &mut Random::new(3)));
    outcome(&host).expect("it works");
    let tar = host.backup();
    (host, tar)
}

/// Where each part begins in a tar, and its name.
fn parts(tar: &[u8]) -> Vec<(usize, usize, String)> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().expect("a tar").map(|entry| {
        let entry = entry.expect("a part");
        let name = String::from_utf8(entry.path_bytes().into_owned()).expect("UTF-8");
        (entry.raw_header_position() as usize, entry.size() as usize, name)
    });
    entries.collect()
}

#[test]
fn damage_anywhere_is_refused_and_nothing_less_than_all_is_taken() {
    let (_host, tar) = small_backup();
    let parts = parts(&tar);
    let kinds =
        ["backup.json", "state/", "components/", "log/segments/", "log/journal/", "log/mark", "log/manifest", "seal.json"];
    for kind in kinds {
        assert!(parts.iter().any(|(_, _, name)| name.starts_with(kind)), "{kind} in {parts:?}");
    }
    assert!(check(&tar[..], |_| ()).is_ok());
    let refused = |tar: &[u8], what: &str| match check(tar, |_| ()) {
        Ok(_) => panic!("{what}: taken"),
        Err(error) => error.to_string(),
    };
    for (at, bytes, name) in &parts {
        for cut in [*at, at + 100, at + 512, at + 512 + bytes / 2] {
            let error = refused(&tar[..cut], &format!("cut at byte {cut}, in {name}"));
            assert!(error.contains("not whole") || *at == 0 || cut == *at, "{name} cut at {cut}: {error}");
        }
        // The name, the size and the kind in its header; the first, a middle and the last byte.
        for byte in [*at, at + 130, at + 156, at + 512, at + 512 + bytes / 2, at + 512 + bytes - 1] {
            let mut damaged = tar.clone();
            damaged[byte] ^= 1;
            refused(&damaged, &format!("byte {byte}, in {name}"));
        }
        // A part that is left out.
        let whole = 512 + bytes.div_ceil(512) * 512;
        refused(&[&tar[..*at], &tar[at + whole..]].concat(), &format!("without {name}"));
        // A part that comes twice; behind the seal nothing counts.
        if name == "seal.json" {
            continue;
        }
        refused(&[&tar[..at + whole], &tar[*at..]].concat(), &format!("{name} twice"));
    }
    // Onto a disk.
    let (seal, _, _) = parts.last().expect("a seal");
    for damaged in
        [&tar[..*seal], &tar[..tar.len() / 2], b"no tar at all, and longer than a block of one would be".repeat(40).as_slice()]
    {
        let folder = tempfile::tempdir().expect("a folder");
        restore(damaged, folder.path(), |_| ()).expect_err("half of one");
        assert!(!folder.path().join("tidemill.json").exists());
    }
}

#[test]
fn formats_of_other_versions_are_refused_with_what_to_do() {
    let (_host, tar) = small_backup();
    let with = |from: &str, to: &str| {
        let mut changed = tar.clone();
        let at = changed.windows(from.len()).position(|window| window == from.as_bytes()).expect("in the manifest");
        changed[at..at + to.len()].copy_from_slice(to.as_bytes());
        check(&changed[..], |_| ()).expect_err("another format").to_string()
    };
    let newer = with("\"format\": 1", "\"format\": 9");
    assert!(newer.contains("upgrade tidemill"), "{newer}");
    let newer = with("\"data_format\": 2", "\"data_format\": 3");
    assert!(newer.contains("upgrade tidemill"), "{newer}");
    let older = with("\"data_format\": 2", "\"data_format\": 1");
    assert!(older.contains("restore it with that version"), "{older}");
}

/// A client that goes away after some bytes.
struct Leaves(usize);

impl Write for Leaves {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn space_is_kept_while_a_backup_lasts_and_not_longer() {
    let (host, tar) = small_backup();
    assert_eq!(host.log.stats().snapshot_bytes, 0);
    for room in [0, tar.len() / 3, tar.len() / 2] {
        let snapshot = host.engine.snapshot().expect("a snapshot");
        assert!(host.log.stats().snapshot_bytes > 0, "the journal's copy is counted");
        let error = write(snapshot, EventTime(0), Leaves(room)).expect_err("nobody takes it");
        assert_eq!(error.source.kind(), io::ErrorKind::BrokenPipe, "{error}");
        assert_eq!(host.log.stats().snapshot_bytes, 0);
    }
    // A segment that nobody but the backup needs is counted, and goes with it.
    let snapshot = host.engine.snapshot().expect("a snapshot");
    let copied = host.log.stats().snapshot_bytes;
    for partition in host.log.streams().iter().flat_map(|stream| stream.partitions()) {
        host.log.trim(partition.key(), partition.end(Visibility::Durable)).expect("trimmed");
    }
    let until = Instant::now() + Duration::from_secs(20);
    while host.log.stats().snapshot_bytes <= copied && Instant::now() < until {
        host.log.retain(EventTime(0)).expect("it cleans");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(host.log.stats().snapshot_bytes > copied, "retention goes on, visibly");
    drop(snapshot);
    assert_eq!(host.log.stats().snapshot_bytes, 0);
}
