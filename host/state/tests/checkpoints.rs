//! What a checkpoint promises: true only when somebody says so, whole, and nothing of a crash's leftovers.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemill_event::{PartitionId, TenantName};
use tidemill_state::{Change, CheckpointId, Cold, Replaced, StateStore, Stored, TaskId};

fn task(partition: u32) -> TaskId {
    TaskId {
        tenant: TenantName::default_tenant(),
        pipeline: "p".parse().expect("a name"),
        run: 1,
        partition: PartitionId(partition),
    }
}

fn put(key: &str, value: &str) -> Change {
    Change { operator: 0, key: key.into(), value: Some(value.into()), stored: Stored::Unknown }
}

fn gone(key: &str) -> Change {
    Change { operator: 0, key: key.into(), value: None, stored: Stored::Unknown }
}

fn shown(state: &[Change]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    state
        .iter()
        .map(|change| format!("{}={}", text(&change.key), text(change.value.as_deref().unwrap_or(b"-"))))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn an_unfinished_checkpoint_is_as_if_never_written() {
    let dir = tempfile::tempdir().expect("a folder");
    {
        let store = StateStore::open(dir.path()).expect("opens");
        store.write(&task(0), CheckpointId(1), &[put("a", "1"), put("ab", "2"), put("b", "3")]).expect("writes");
        store.sync().expect("syncs");
        // The crash comes after the slices of 2 and before the entry that would make it true.
        store.write(&task(0), CheckpointId(2), &[put("a", "9"), gone("b"), put("c", "9")]).expect("writes");
        store.sync().expect("syncs");
    }
    let store = StateStore::open(dir.path()).expect("opens again");
    assert_eq!(shown(&store.load(&task(0), CheckpointId(1), CheckpointId(1)).expect("loads").state), "a=1 ab=2 b=3");
    // Its number is used again, for other keys: nothing of the first try shows.
    store.write(&task(0), CheckpointId(2), &[put("ab", "4")]).expect("writes");
    assert_eq!(shown(&store.load(&task(0), CheckpointId(2), CheckpointId(2)).expect("loads").state), "a=1 ab=4 b=3");
}

#[test]
fn tasks_do_not_see_each_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = StateStore::open(dir.path()).expect("opens");
    store.write(&task(1), CheckpointId(1), &[put("k", "one")]).expect("writes");
    store.write(&task(10), CheckpointId(1), &[put("k", "ten")]).expect("writes");
    store.forget(&task(1)).expect("forgets");
    assert_eq!(shown(&store.load(&task(1), CheckpointId(9), CheckpointId(9)).expect("loads").state), "");
    assert_eq!(shown(&store.load(&task(10), CheckpointId(9), CheckpointId(9)).expect("loads").state), "k=ten");
}

#[test]
fn retiring_keeps_what_the_oldest_checkpoint_sees() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = StateStore::open(dir.path()).expect("opens");
    let mut changes = Vec::new();
    for checkpoint in 1..=4 {
        let slice = vec![put("hot", &checkpoint.to_string()), if checkpoint == 2 { gone("old") } else { put("old", "x") }];
        let slice = if checkpoint > 2 { slice[..1].to_vec() } else { slice };
        store.write(&task(0), CheckpointId(checkpoint), &slice).expect("writes");
        changes.extend(slice);
    }
    store.retire(&task(0), CheckpointId(3), Replaced::by(&task(0), CheckpointId(3), &changes)).expect("retires");
    // hot@3 and hot@4 are left; the last word on `old`, that it is gone, went with what it replaced.
    assert_eq!(store.versions(&task(0)).expect("counts").get(&0), Some(&2));
    assert_eq!(shown(&store.load(&task(0), CheckpointId(3), CheckpointId(3)).expect("loads").state), "hot=3");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any history of checkpoints, some of which never become true, loads as the plain map says.
    #[test]
    fn any_history_loads_as_a_plain_map_says(history in prop::collection::vec((any::<bool>(), any::<bool>(), prop::collection::vec((0u8..6, prop::option::of(any::<u8>())), 0..8)), 1..12)) {
        let dir = tempfile::tempdir().expect("a folder");
        let mut store = StateStore::open(dir.path()).expect("opens");
        let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut last = CheckpointId::EMPTY;
        let mut before = Replaced::default();
        // What a task would know of its keys in the store; what it does not know here is nothing.
        let mut known: BTreeMap<Vec<u8>, Stored> = BTreeMap::new();
        let known_of = |known: &BTreeMap<Vec<u8>, Stored>, key: &[u8]| known.get(key).copied().unwrap_or(Stored::Nothing);
        for (becomes_true, crashes, slice) in history {
            let mut map = model.clone();
            // One change a key, as a task's table hands them over.
            let mut slice_map = BTreeMap::new();
            for (key, value) in slice {
                slice_map.insert(vec![key % 2; usize::from(key)], value.map(|byte| vec![byte]));
            }
            let changes: Vec<Change> = slice_map
                .into_iter()
                .map(|(key, value)| Change { operator: 7, stored: known_of(&known, &key), key, value })
                // Of a key that the store never had nobody has to say that it is gone.
                .filter(|change| change.value.is_some() || change.stored != Stored::Nothing)
                .collect();
            for change in &changes {
                match &change.value {
                    Some(value) => map.insert(change.key.clone(), value.clone()),
                    None => map.remove(&change.key),
                };
            }
            store.write(&task(0), last.next(), &changes).expect("writes");
            if becomes_true {
                last = last.next();
                model = map;
                for change in &changes {
                    match &change.value {
                        Some(_) => known.insert(change.key.clone(), Stored::Under(last)),
                        None => known.remove(&change.key),
                    };
                }
                let replaced = std::mem::replace(&mut before, Replaced::by(&task(0), last, &changes));
                // A crash may come before anything is cleared away.
                if !crashes {
                    store.retire(&task(0), CheckpointId(last.0 - 1), replaced).expect("retires");
                }
            }
            if crashes || !becomes_true {
                drop(store);
                store = StateStore::open(dir.path()).expect("opens again");
                let loaded = store.load(&task(0), last, CheckpointId(last.0.saturating_sub(1))).expect("loads").state;
                known = loaded.iter().map(|change| (change.key.clone(), change.stored)).collect();
                before = Replaced::default();
                prop_assert_eq!(loaded.into_iter().map(|c| (c.key, c.value.expect("kept"))).collect::<BTreeMap<_, _>>(), model.clone());
            }
            // Entries that left memory are read as they were written, one by one and together.
            let cold = Cold::new(store.clone(), &task(0), 7);
            for (key, value) in &model {
                prop_assert_eq!(cold.newest(key, last).expect("reads"), Some(value.clone()));
                if let Stored::Under(checkpoint) = known_of(&known, key) {
                    prop_assert_eq!(cold.get(key, checkpoint).expect("reads"), Some(value.clone()));
                }
            }
            for begins in [&[][..], &[0], &[1], &[0, 0]] {
                let mut seen = Vec::new();
                cold.each(begins, last, |key, value, _| seen.push((key.to_vec(), value.to_vec()))).expect("reads");
                let expected = model.iter().filter(|(key, _)| key.starts_with(begins));
                prop_assert_eq!(seen, expected.map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>());
                let first = model.range(begins.to_vec()..).next().map(|(key, _)| key.clone());
                prop_assert_eq!(cold.first_from(begins, last).expect("reads"), first);
            }
            let read = store.read_from(&task(0), 7, last).expect("reads");
            prop_assert!(read.iter().map(|change| (&change.key, change.value.as_ref())).eq(model.iter().map(|(key, value)| (key, Some(value)))));
            prop_assert!(store.read_from(&task(0), 8, last).expect("reads").is_empty());
        }
        let loaded = store.load(&task(0), last, last).expect("loads").state;
        prop_assert_eq!(loaded.into_iter().map(|c| (c.key, c.value.expect("kept"))).collect::<BTreeMap<_, _>>(), model.clone());
        // Nothing is left of what was replaced: a version per key, once the next load has cleared up.
        let versions = store.versions(&task(0)).expect("counts").values().sum::<usize>();
        prop_assert_eq!(versions, model.len());
    }
}

/// Large checkpoints go into tables of their own and small ones through the tree's journal: what is true must not hang on which.
#[test]
fn large_and_small_checkpoints_follow_each_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut model: BTreeMap<u32, u64> = BTreeMap::new();
    let changes_of = |checkpoint: u64, keys: &mut dyn Iterator<Item = u32>, model: &mut BTreeMap<u32, u64>| -> Vec<Change> {
        keys.map(|key| {
            let before = model.insert(key, checkpoint);
            let stored = before.map_or(Stored::Nothing, |before| Stored::Under(CheckpointId(before)));
            let value = Some(checkpoint.to_string().into_bytes());
            Change { operator: 7, key: key.to_be_bytes().to_vec(), value, stored }
        })
        .collect()
    };
    let loaded = |store: &StateStore, checkpoint| -> BTreeMap<u32, u64> {
        let state = store.load(&task(0), checkpoint, checkpoint).expect("loads").state;
        let number = |change: &Change| String::from_utf8_lossy(change.value.as_deref().unwrap_or_default()).parse().expect("one");
        state.iter().map(|change| (u32::from_be_bytes(change.key[..].try_into().expect("four bytes")), number(change))).collect()
    };
    {
        let store = StateStore::open(dir.path()).expect("opens");
        store.write(&task(1), CheckpointId(1), &changes_of(1, &mut (0..20), &mut BTreeMap::new())).expect("writes");
        let mut before = Replaced::default();
        for (checkpoint, step, from) in [(1, 1, 0), (2, 1000, 0), (3, 2, 1), (4, 500, 7), (5, 1, 3)] {
            let changes = changes_of(checkpoint, &mut (from..50_000).step_by(step), &mut model);
            let written = store.write(&task(0), CheckpointId(checkpoint), &changes).expect("writes");
            assert_eq!(written.live, changes.len() as u64);
            let replaced = Replaced::by(&task(0), CheckpointId(checkpoint), &changes);
            store.retire(&task(0), CheckpointId(checkpoint - 1), std::mem::replace(&mut before, replaced)).expect("retires");
        }
        assert_eq!(store.versions(&task(0)).expect("counts")[&7], 50_000 + 49_997, "the last one and what it replaced");
        // This one never becomes true.
        store.write(&task(0), CheckpointId(6), &changes_of(6, &mut (0..60_000), &mut model.clone())).expect("writes");
        store.sync().expect("syncs");
    }
    let store = StateStore::open(dir.path()).expect("opens again");
    assert_eq!(loaded(&store, CheckpointId(5)), model);
    assert_eq!(store.versions(&task(0)).expect("counts")[&7], 50_000, "nothing but the last one");
    drop(store);
    let store = StateStore::open(dir.path()).expect("opens once more");
    assert_eq!(loaded(&store, CheckpointId(5)), model);
    assert_eq!(store.load(&task(1), CheckpointId(1), CheckpointId(1)).expect("loads").state.len(), 20);
}
