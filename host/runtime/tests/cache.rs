//! Compiled code is taken from the cache only if this host wrote it for these settings; anything else is compiled again.

use std::fs;
use std::path::{Path, PathBuf};

use tidemill_runtime::testing::{TextGuest, threshold_rule};
use tidemill_runtime::{Compiler, Interruption, Runtime, RuntimeSettings};

fn runtime(folder: &Path, interruption: Interruption) -> Runtime {
    let cache_dir = Some(folder.to_owned());
    Runtime::new(RuntimeSettings { cache_dir, instances_max: 2, interruption, ..RuntimeSettings::new(Compiler::InProcess) })
        .expect("a runtime")
}

fn from_cache(folder: &Path) -> bool {
    runtime(folder, Interruption::default()).prepare(&threshold_rule()).expect("a component").from_cache()
}

fn artefacts(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> = entries.filter(|path| !path.ends_with("key")).collect();
    found.sort();
    found
}

#[test]
fn what_was_compiled_once_is_loaded_by_the_next_process_life() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(!from_cache(folder.path()));
    assert!(from_cache(folder.path()));
    assert_eq!(artefacts(folder.path()).len(), 1);
}

#[test]
fn a_changed_byte_anywhere_makes_it_compile_again() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(!from_cache(folder.path()));
    let path = artefacts(folder.path()).remove(0);
    let good = fs::read(&path).expect("an artefact");
    for at in [0, 8, 39, 40, 41, 2_000, good.len() / 2, good.len() - 1] {
        let mut changed = good.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).expect("written");
        assert!(!from_cache(folder.path()), "byte {at}");
        assert!(from_cache(folder.path()), "written anew after byte {at}");
    }
    for length in [0, 7, 39, 40, good.len() - 1] {
        fs::write(&path, &good[..length]).expect("written");
        assert!(!from_cache(folder.path()), "cut to {length}");
    }
}

#[test]
fn another_key_other_settings_and_another_component_do_not_count() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(!from_cache(folder.path()));
    let path = artefacts(folder.path()).remove(0);
    // Code of one component under the name of another: authentic, but not for it.
    let other = TextGuest::rule(vec![]).build();
    let host = runtime(folder.path(), Interruption::default());
    assert!(!host.prepare(&other).expect("a component").from_cache());
    let others: Vec<PathBuf> = artefacts(folder.path()).into_iter().filter(|found| *found != path).collect();
    fs::copy(&others[0], &path).expect("copied");
    assert!(!from_cache(folder.path()));

    // Another engine looks for another name, and would not believe this one's code under it.
    let deadline_free = runtime(folder.path(), Interruption::Fuel);
    assert!(!deadline_free.prepare(&threshold_rule()).expect("a component").from_cache());
    assert!(from_cache(folder.path()));

    // Another host's key.
    fs::remove_file(folder.path().join("key")).expect("removed");
    assert!(!from_cache(folder.path()));
}

#[test]
fn a_folder_that_cannot_be_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    let settings =
        RuntimeSettings { cache_dir: Some(file.clone()), instances_max: 1, ..RuntimeSettings::new(Compiler::InProcess) };
    let error = Runtime::new(settings).expect_err("no folder").to_string();
    assert_eq!(error, format!("compiled code cannot be kept in `{}`", file.display()));
}
