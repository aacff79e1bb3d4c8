//! The outbox on a real disk.

use super::{Bounds, Outbox, OutboxError, queue};
use crate::event::tests::{event, sink};
use std::{fs, os::unix::fs::PermissionsExt as _};
use tempfile::tempdir;

const A: &str = "http://a/";

/// The numbers of what waits for a sink, oldest first; all of it is taken.
fn taken(outbox: &Outbox) -> Vec<String> {
    let mut ids = Vec::new();
    for queue in outbox.queues() {
        while let Some(next) = queue.head() {
            ids.push(next.event.id.clone());
            queue.delivered(next.seq, next.lost);
        }
    }
    ids
}

fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(|n| event(n).id).collect()
}

#[test]
fn what_was_put_in_is_there_after_a_restart_and_what_was_told_is_not() {
    let folder = tempdir().unwrap();
    let outbox = Outbox::open(folder.path()).unwrap();
    for n in 0..5 {
        outbox.append(&event(n), &[sink(A)]).unwrap();
    }
    let queue = &outbox.queues()[0];
    for _ in 0..2 {
        let next = queue.head().unwrap();
        queue.delivered(next.seq, next.lost);
    }
    let again = Outbox::open(folder.path()).unwrap();
    assert_eq!(taken(&again), ids(2..5));
    assert_eq!(again.counts()[0].delivered, 3);
    let empty = Outbox::open(folder.path()).unwrap();
    assert!(empty.counts().is_empty());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn each_sink_has_its_own_queue_that_others_may_not_read() {
    let folder = tempdir().unwrap();
    let outbox = Outbox::open(folder.path()).unwrap();
    outbox
        .append(&event(1), &[sink(A), sink("http://b/")])
        .unwrap();
    assert_eq!(outbox.queues().len(), 2);
    for file in fs::read_dir(folder.path()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_torn_end_is_dropped_and_the_next_event_stands_in_its_place() {
    let folder = tempdir().unwrap();
    let outbox = Outbox::open(folder.path()).unwrap();
    for n in 0..3 {
        outbox.append(&event(n), &[sink(A)]).unwrap();
    }
    let path = queue::path_of(folder.path(), &sink(A));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    let again = Outbox::open(folder.path()).unwrap();
    again.append(&event(3), &[sink(A)]).unwrap();
    let third = Outbox::open(folder.path()).unwrap();
    assert_eq!(taken(&third), ids([0, 1, 3]));
}

#[test]
fn damaged_and_foreign_files_are_refused_by_name() {
    let folder = tempdir().unwrap();
    let outbox = Outbox::open(folder.path()).unwrap();
    for n in 0..3 {
        outbox.append(&event(n), &[sink(A)]).unwrap();
    }
    let path = queue::path_of(folder.path(), &sink(A));
    let good = fs::read(&path).unwrap();
    let refused = |expected: &str| {
        let error = Outbox::open(folder.path()).unwrap_err();
        assert!(matches!(error, OutboxError::Corrupt { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(expected) && text.contains("move it away"),
            "{text}"
        );
    };
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    fs::write(&path, &bad).unwrap();
    refused("is damaged");
    fs::rename(&path, folder.path().join("0123456789abcdef.queue")).unwrap();
    fs::write(folder.path().join("0123456789abcdef.queue"), &good).unwrap();
    refused("its name is not that of its sink");
    fs::rename(folder.path().join("0123456789abcdef.queue"), &path).unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    refused("notes.txt can't be read (it is no queue");
    assert_eq!(fs::read(&path).unwrap(), good);
}

#[test]
fn a_full_queue_drops_the_oldest_and_tells_how_many() {
    let folder = tempdir().unwrap();
    let bounds = Bounds {
        events: 3,
        bytes: usize::MAX,
    };
    let outbox = Outbox::open_within(folder.path(), bounds).unwrap();
    for n in 0..7 {
        outbox.append(&event(n), &[sink(A)]).unwrap();
    }
    assert_eq!(outbox.counts()[0].dropped, 4);
    let again = Outbox::open_within(folder.path(), bounds).unwrap();
    assert_eq!(again.queues()[0].head().unwrap().lost, 4);
    assert_eq!(taken(&again), ids(4..7));
}

#[test]
fn a_long_life_does_not_make_a_long_file() {
    let folder = tempdir().unwrap();
    let outbox = Outbox::open(folder.path()).unwrap();
    let path = queue::path_of(folder.path(), &sink(A));
    let mut longest = 0;
    for n in 0..600 {
        outbox.append(&event(n), &[sink(A)]).unwrap();
        assert_eq!(taken(&outbox), ids([n]));
        longest = longest.max(fs::metadata(&path).unwrap().len());
    }
    assert!(longest < 80 << 10, "{longest}");
    outbox.append(&event(600), &[sink(A)]).unwrap();
    assert_eq!(taken(&Outbox::open(folder.path()).unwrap()), ids([600]));
}

#[test]
fn a_folder_that_can_not_be_written_refuses_and_says_so() {
    let folder = tempdir().unwrap();
    let outbox = Outbox::open(&folder.path().join("outbox")).unwrap();
    fs::remove_dir(folder.path().join("outbox")).unwrap();
    assert!(outbox.append(&event(1), &[sink(A)]).is_err());
    fs::create_dir(folder.path().join("outbox")).unwrap();
    outbox.append(&event(1), &[sink(A)]).unwrap();
    assert_eq!(taken(&outbox), ids([1]));
}
