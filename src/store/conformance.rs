//! What every engine must do. An engine's tests call these with what they need to make one.

use super::{Change, Direction, Key, Reader, Store, StoreError, Table};
use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A change of one record.
pub fn change(table: Table, key: &[u8], before: Option<&[u8]>, after: Option<&[u8]>) -> Change {
    Change {
        key: Key {
            table,
            bytes: Bytes::copy_from_slice(key),
        },
        before: before.map(Bytes::copy_from_slice),
        after: after.map(Bytes::copy_from_slice),
    }
}

fn put(table: Table, key: &[u8], value: &[u8]) -> Change {
    change(table, key, None, Some(value))
}

fn get(store: &dyn Store, table: Table, key: &[u8]) -> Option<Bytes> {
    let key = Key {
        table,
        bytes: Bytes::copy_from_slice(key),
    };
    store.reader().get(&key).unwrap()
}

/// Everything the start scan reports.
pub fn scanned(store: &mut dyn Store) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    store
        .scan(&mut |table, key, value| rows.push((table, key.to_vec(), value.to_vec())))
        .unwrap();
    rows
}

/// All that can be said of one fresh engine at a time.
pub fn run(fresh: &mut dyn FnMut() -> Box<dyn Store>) {
    nothing_is_there_at_first(&mut *fresh());
    an_empty_commit_is_fine(&mut *fresh());
    records_come_change_and_go(&mut *fresh());
    a_failed_precondition_changes_nothing(&mut *fresh());
    the_scan_is_ordered_and_leaves_history_out(&mut *fresh());
    ranges_keep_bounds_limits_and_directions(&mut *fresh());
    long_and_empty_values_are_kept(&mut *fresh());
    readers_see_later_commits_from_other_threads(&mut *fresh());
    it_does_what_a_map_does(fresh);
}

fn nothing_is_there_at_first(store: &mut dyn Store) {
    assert_eq!(scanned(store), []);
    assert_eq!(get(store, Table::Meta, b""), None);
    let rows = store
        .reader()
        .range(Table::Record, &[], &[0xff; 8], Direction::Forward, 10);
    assert_eq!(rows.unwrap(), []);
    assert!(store.breathe());
}

fn an_empty_commit_is_fine(store: &mut dyn Store) {
    store.commit(&[]).unwrap();
    store.commit_essential(&[]).unwrap();
    assert_eq!(scanned(store), []);
}

fn records_come_change_and_go(store: &mut dyn Store) {
    store
        .commit(&[
            put(Table::Lease, b"a", b"1"),
            put(Table::Number, b"a", b"2"),
        ])
        .unwrap();
    assert_eq!(get(store, Table::Lease, b"a").as_deref(), Some(&b"1"[..]));
    assert_eq!(get(store, Table::Number, b"a").as_deref(), Some(&b"2"[..]));
    assert_eq!(get(store, Table::Account, b"a"), None);
    store
        .commit(&[
            change(Table::Lease, b"a", Some(b"1"), Some(b"one")),
            change(Table::Number, b"a", Some(b"2"), None),
        ])
        .unwrap();
    assert_eq!(get(store, Table::Lease, b"a").as_deref(), Some(&b"one"[..]));
    assert_eq!(get(store, Table::Number, b"a"), None);
    store
        .commit_essential(&[change(Table::Lease, b"a", Some(b"one"), None)])
        .unwrap();
    assert_eq!(scanned(store), []);
}

fn a_failed_precondition_changes_nothing(store: &mut dyn Store) {
    store.commit(&[put(Table::Account, b"k", b"v")]).unwrap();
    let wrong: [&[Change]; 4] = [
        &[put(Table::Account, b"k", b"again")],
        &[change(Table::Account, b"k", Some(b"other"), Some(b"x"))],
        &[change(Table::Account, b"none", Some(b"v"), None)],
        &[change(Table::Account, b"k", Some(b""), None)],
    ];
    for changes in wrong {
        let with_company = [
            &[put(Table::Account, b"before", b"1")],
            changes,
            &[put(Table::Account, b"later", b"2")],
        ]
        .concat();
        let StoreError::Conflict(key) = store.commit(&with_company).unwrap_err() else {
            panic!("not a conflict");
        };
        assert_eq!(key, changes[0].key);
        assert_eq!(
            scanned(store),
            [(Table::Account, b"k".to_vec(), b"v".to_vec())]
        );
    }
    store
        .commit(&[change(Table::Account, b"k", Some(b"v"), Some(b"w"))])
        .unwrap();
}

fn the_scan_is_ordered_and_leaves_history_out(store: &mut dyn Store) {
    let mut changes: Vec<Change> = Table::ALL
        .iter()
        .flat_map(|&table| [[2u8, 0], [1, 255], [1, 0]].map(|key| put(table, &key, &[table as u8])))
        .collect();
    changes.reverse();
    store.commit(&changes).unwrap();
    let expected: Vec<_> = Table::ALL
        .into_iter()
        .filter(|&table| table.is_scanned() || table == Table::Entry)
        .flat_map(|table| {
            [[1u8, 0], [1, 255], [2, 0]].map(|key| (table, key.to_vec(), vec![table as u8]))
        })
        .collect();
    assert_eq!(scanned(store), expected);
}

fn ranges_keep_bounds_limits_and_directions(store: &mut dyn Store) {
    let changes: Vec<Change> = (0u8..100)
        .flat_map(|n| {
            [Table::Record, Table::RecordByCustomer].map(|table| put(table, &[n, 7], &[n]))
        })
        .collect();
    store.commit(&changes).unwrap();
    let reader = store.reader();
    let keys = |from: &[u8], to: &[u8], direction, limit| -> Vec<u8> {
        let rows = reader
            .range(Table::Record, from, to, direction, limit)
            .unwrap();
        rows.iter()
            .map(|(key, value)| {
                assert_eq!(key.as_ref(), [value[0], 7]);
                value[0]
            })
            .collect()
    };
    let all = [0xff; 3];
    assert_eq!(
        keys(&[], &all, Direction::Forward, 1000),
        (0..100).collect::<Vec<_>>()
    );
    assert_eq!(
        keys(&[], &all, Direction::Backward, 1000),
        (0..100).rev().collect::<Vec<_>>()
    );
    assert_eq!(
        keys(&[10, 7], &[13, 7], Direction::Forward, 9),
        [10, 11, 12]
    );
    assert_eq!(
        keys(&[10, 7], &[13, 7], Direction::Backward, 9),
        [12, 11, 10]
    );
    assert_eq!(
        keys(&[10, 8], &[13, 8], Direction::Forward, 9),
        [11, 12, 13]
    );
    assert_eq!(keys(&[10], &all, Direction::Forward, 2), [10, 11]);
    assert_eq!(keys(&[], &[50], Direction::Backward, 2), [49, 48]);
    assert_eq!(keys(&[13], &[10], Direction::Forward, 9), [0u8; 0]);
    assert_eq!(keys(&[13, 7], &[13, 7], Direction::Forward, 9), [0u8; 0]);
    assert_eq!(keys(&[], &all, Direction::Forward, 0), [0u8; 0]);
}

fn long_and_empty_values_are_kept(store: &mut dyn Store) {
    let long: Vec<u8> = (0..300_000u32).map(|n| n.to_le_bytes()[1]).collect();
    let other = vec![3u8; 9000];
    store
        .commit(&[
            put(Table::Answer, b"long", &long),
            put(Table::AnswerExpiry, b"empty", b""),
            put(Table::Record, b"record", &other),
        ])
        .unwrap();
    assert_eq!(get(store, Table::Answer, b"long").unwrap(), long);
    assert_eq!(get(store, Table::AnswerExpiry, b"empty").unwrap(), &b""[..]);
    let rows = store
        .reader()
        .range(Table::Record, b"a", b"z", Direction::Forward, 5)
        .unwrap();
    assert_eq!(
        rows,
        [(Bytes::from_static(b"record"), Bytes::from(other.clone()))]
    );
    let StoreError::Conflict(_) = store
        .commit(&[change(Table::Answer, b"long", Some(&long[1..]), None)])
        .unwrap_err()
    else {
        panic!("not a conflict");
    };
    store
        .commit(&[
            change(Table::Answer, b"long", Some(&long), Some(&other)),
            change(Table::Record, b"record", Some(&other), None),
        ])
        .unwrap();
    assert_eq!(
        scanned(store),
        [
            (Table::Answer, b"long".to_vec(), other),
            (Table::AnswerExpiry, b"empty".to_vec(), Vec::new())
        ]
    );
}

fn readers_see_later_commits_from_other_threads(store: &mut dyn Store) {
    let reader: Arc<dyn Reader> = store.reader();
    let (tell, told) = std::sync::mpsc::channel::<u8>();
    let reading = std::thread::spawn(move || {
        for n in told {
            let key = Key {
                table: Table::Entry,
                bytes: Bytes::copy_from_slice(&[n]),
            };
            assert_eq!(reader.get(&key).unwrap().as_deref(), Some(&[n][..]));
        }
    });
    for n in 0..20 {
        store.commit(&[put(Table::Entry, &[n], &[n])]).unwrap();
        tell.send(n).unwrap();
    }
    drop(tell);
    reading.join().unwrap();
}

/// Random commits, good and bad ones, against a plain map.
fn it_does_what_a_map_does(fresh: &mut dyn FnMut() -> Box<dyn Store>) {
    let one = (0usize..11, 0u8..6, prop::option::of(0u8..3), any::<bool>());
    let commits = prop::collection::vec(prop::collection::vec(one, 1..6), 1..12);
    let config = Config {
        cases: 12,
        failure_persistence: None,
        ..Config::default()
    };
    let fresh = std::cell::RefCell::new(fresh);
    TestRunner::new(config)
        .run(&commits, |commits| {
            let mut store = (fresh.borrow_mut())();
            let mut map: BTreeMap<(Table, Vec<u8>), Vec<u8>> = BTreeMap::new();
            for commit in commits {
                let mut changes: Vec<Change> = Vec::new();
                let mut honest = true;
                for (table, key, after, lie) in commit {
                    let (table, key) = (Table::ALL[table], vec![key]);
                    if changes
                        .iter()
                        .any(|made| made.key.table == table && made.key.bytes == key)
                    {
                        continue;
                    }
                    let now = map.get(&(table, key.clone())).cloned();
                    let lie = lie && after == Some(2);
                    let before = if lie { Some(b"lie".to_vec()) } else { now };
                    honest &= !lie;
                    let after = after.map(|n| vec![n; usize::from(n) * 3000]);
                    changes.push(change(table, &key, before.as_deref(), after.as_deref()));
                }
                prop_assert_eq!(store.commit(&changes).is_ok(), honest);
                for change in changes.into_iter().filter(|_| honest) {
                    let key = (change.key.table, change.key.bytes.to_vec());
                    match change.after {
                        Some(after) => map.insert(key, after.to_vec()),
                        None => map.remove(&key),
                    };
                }
            }
            for table in Table::ALL {
                let rows = store
                    .reader()
                    .range(table, &[], &[0xff, 0xff], Direction::Forward, 1000)
                    .unwrap();
                let expected: Vec<_> = map
                    .iter()
                    .filter(|((of, _), _)| *of == table)
                    .map(|((_, key), value)| (Bytes::from(key.clone()), Bytes::from(value.clone())))
                    .collect();
                prop_assert_eq!(rows, expected);
            }
            Ok(())
        })
        .unwrap();
}

/// What was committed is there after a restart, and commits go on from it.
pub fn persistence<S: Store>(mut store: S, mut restart: impl FnMut(S) -> S) {
    let value = |round: u8| vec![round; 1 + usize::from(round) * 400];
    for round in 0u8..12 {
        let mut changes = vec![
            put(Table::Record, &[round], &value(round)),
            put(Table::Lease, &[round], &value(round)),
        ];
        if let Some(before) = round.checked_sub(1) {
            changes.push(change(
                Table::Lease,
                &[before],
                Some(&value(before)),
                (before % 2 == 0).then_some(b"kept".as_slice()),
            ));
        }
        store.commit(&changes).unwrap();
        store = restart(store);
        let expected: Vec<_> = (0..round)
            .filter(|kept| kept % 2 == 0)
            .map(|kept| (Table::Lease, vec![kept], b"kept".to_vec()))
            .chain([(Table::Lease, vec![round], value(round))])
            .collect();
        assert_eq!(scanned(&mut store), expected);
        for old in 0..=round {
            assert_eq!(get(&store, Table::Record, &[old]).unwrap(), value(old));
        }
    }
}
