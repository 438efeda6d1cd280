//! Power cuts under the real tree: its folder is copied at some moment as the platter may hold it, and opened again.
//!
//! The tree opens files of its own, so what it wrote since the last sync is what differs in its folder since then. Of that a random
//! subset of 512-byte sectors is kept. The double of the tree that other crash tests use promises no more than this shows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tidemill_event::{PartitionId, TenantName};
use tidemill_state::{Change, CheckpointId, Replaced, SimulatedTree, StateStore, Stored, TaskId};

const SECTOR: usize = 512;
/// Crashes in a row, each on what the one before left.
const CRASHES: u64 = 30;

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// Every file below a folder, by its path in it.
fn files(folder: &Path) -> Files {
    let mut found = Files::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).expect("a file");
                found.insert(path.strip_prefix(folder).expect("below it").to_owned(), bytes);
            }
        }
    }
    found
}

/// The folder as a power cut leaves it: what was synced, and of what differs since then some sectors and some of its length.
fn cut(synced: &Files, now: &Files, to: &Path, random: &mut Random) {
    let kept = [0, 8, 4, 1, 7][random.below(5) as usize];
    for (path, bytes) in now {
        let old = synced.get(path).map_or(&[][..], Vec::as_slice);
        let mut content = old.to_vec();
        let shrunk = bytes.len() < old.len();
        let grown = bytes.len().saturating_sub(old.len()) as u64;
        let length = if shrunk { old.len() } else { old.len() + random.below(grown + 1) as usize };
        content.resize(length, 0);
        for (at, sector) in bytes.chunks(SECTOR).enumerate() {
            let from = at * SECTOR;
            let end = (from + sector.len()).min(content.len());
            if from < end && random.below(8) < kept {
                content[from..end].copy_from_slice(&sector[..end - from]);
            }
        }
        let path = to.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, content).expect("a file");
    }
}

fn task() -> TaskId {
    let pipeline = "p".parse().expect("a name");
    TaskId { tenant: TenantName::default_tenant(), pipeline, run: 1, partition: PartitionId(0) }
}

/// What a task knows of its checkpoints, and what the store must therefore say.
#[derive(Default)]
struct Model {
    checkpoint: u64,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    changed: Vec<Change>,
}

impl Model {
    fn check(&self, store: &StateStore, told: &str) {
        let loaded = store
            .load(&task(), CheckpointId(self.checkpoint), CheckpointId(self.checkpoint))
            .unwrap_or_else(|error| panic!("{told}: {error}"));
        let loaded: BTreeMap<_, _> = loaded.state.into_iter().filter_map(|change| Some((change.key, change.value?))).collect();
        assert_eq!(loaded, self.state, "{told}: checkpoint {}", self.checkpoint);
    }

    /// Makes checkpoints as the engine does, until it is told that the power goes; `synced` is called after each sync.
    fn work(&mut self, store: &StateStore, random: &mut Random, mut synced: impl FnMut()) {
        loop {
            let number = CheckpointId(self.checkpoint + 1);
            let mut state = self.state.clone();
            let mut slice = BTreeMap::new();
            for _ in 0..=random.below(30) {
                let key = vec![b'k', random.below(40) as u8];
                let value = (random.below(5) > 0).then(|| vec![number.0 as u8; 8 + random.below(300) as usize]);
                match &value {
                    Some(value) => state.insert(key.clone(), value.clone()),
                    None => state.remove(&key),
                };
                slice.insert(key, value);
            }
            let changes: Vec<Change> =
                slice.into_iter().map(|(key, value)| Change { operator: 3, key, value, stored: Stored::Unknown }).collect();
            for part in changes.chunks(7) {
                store.write(&task(), number, part).expect("written");
            }
            if random.below(4) == 0 {
                return;
            }
            store.sync().expect("synced");
            synced();
            if random.below(4) == 0 {
                // Synced, and not yet true.
                return;
            }
            // The log says so now: it is true.
            let before = std::mem::replace(&mut self.changed, changes);
            let before = Replaced::by(&task(), CheckpointId(self.checkpoint), &before);
            store.retire(&task(), CheckpointId(self.checkpoint), before).expect("retired");
            (self.checkpoint, self.state) = (number.0, state);
            if random.below(4) == 0 {
                return;
            }
        }
    }
}

#[test]
fn the_tree_keeps_what_was_synced() {
    let mut random = Random(20_261_121);
    let mut folder = tempfile::tempdir().expect("a folder");
    let mut model = Model::default();
    for crash in 0..CRASHES {
        let store = StateStore::open(folder.path()).unwrap_or_else(|error| panic!("crash {crash}: {error}"));
        model.check(&store, &format!("crash {crash}"));
        // What opening did is the tree's own affair, and synced by it.
        store.sync().expect("synced");
        let mut synced = files(folder.path());
        model.work(&store, &mut random, || synced = files(folder.path()));
        let next = tempfile::tempdir().expect("a folder");
        cut(&synced, &files(folder.path()), next.path(), &mut random);
        drop(store);
        folder = next;
    }
    assert!(model.checkpoint > 20, "{} checkpoints became true", model.checkpoint);
}

#[test]
fn its_double_keeps_no_more() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut tree = SimulatedTree::default();
        let mut model = Model::default();
        for crash in 0..12 {
            let store = StateStore::simulated(tree.clone());
            model.check(&store, &format!("seed {seed}, crash {crash}"));
            model.work(&store, &mut random, || {});
            let kept = random.below(9);
            tree = tree.cut(|| random.below(8) < kept);
            store.sync().expect_err("its power is gone");
        }
    }
}
