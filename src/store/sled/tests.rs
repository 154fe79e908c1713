use super::*;
use crate::store::conformance::{self, change, scanned};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicU64, Ordering};

fn open(dir: &Path) -> Result<SledStore, StoreError> {
    SledStore::open(options(dir))
}

fn options(dir: &Path) -> Options {
    Options {
        cache_bytes: 1 << 20,
        ballast_bytes: 4096,
        ..Options::new(dir)
    }
}

fn put(table: Table, key: &[u8], value: &[u8]) -> Change {
    change(table, key, None, Some(value))
}

/// A store with a few commits in it, closed.
fn filled(dir: &Path) -> u64 {
    let mut store = open(dir).unwrap();
    store.scan(&mut |_, _, _| {}).unwrap();
    for round in 0u8..40 {
        let changes: Vec<Change> = [Table::Lease, Table::Number, Table::Record]
            .map(|table| put(table, &[round, 1], &[round; 40]))
            .into();
        store.commit(&changes).unwrap();
    }
    store.newest_commit()
}

/// Does something to the closed store's engine behind its back.
fn meddle(dir: &Path, job: impl FnOnce(&::sled::Db)) {
    let db = open_engine(&schema::store_dir(dir, record::SCHEMA), 1 << 20).unwrap();
    job(&db);
    db.flush().unwrap();
}

/// Opens and scans; what is said of the damage.
fn damage(dir: &Path) -> String {
    let said = match open(dir).and_then(|mut store| store.scan(&mut |_, _, _| {})) {
        Err(StoreError::Damaged(said)) => said,
        other => panic!("not seen as damaged: {other:?}"),
    };
    assert!(said.contains("are kept in"), "{said}");
    let kept = said.rsplit("are kept in ").next().unwrap();
    assert!(Path::new(kept).join("db").exists(), "{said}");
    said
}

#[test]
fn it_conforms() {
    let mut dirs = Vec::new();
    conformance::run(&mut || {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        dirs.push(dir);
        Box::new(store)
    });
}

#[test]
fn it_conforms_when_restarted() {
    let dir = tempfile::tempdir().unwrap();
    conformance::persistence(open(dir.path()).unwrap(), |store| {
        drop(store);
        open(dir.path()).unwrap()
    });
}

#[test]
fn a_second_instance_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    let said = open(dir.path()).map(drop).unwrap_err().to_string();
    assert!(said.contains("in use by another instance"), "{said}");
    drop(first);
    open(dir.path()).unwrap();
}

#[test]
fn an_altered_record_is_named() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    meddle(dir.path(), |db| {
        let key = record::stored_key(Table::Lease, &[7, 1]);
        let mut value = db.get(&key).unwrap().unwrap().to_vec();
        *value.last_mut().unwrap() ^= 1;
        db.insert(key, value).unwrap();
    });
    let said = damage(dir.path());
    assert!(
        said.contains("table Lease, key 0701: checksum mismatch"),
        "{said}"
    );
}

#[test]
fn an_altered_history_record_is_named_at_start_and_on_reading() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    meddle(dir.path(), |db| {
        let key = record::stored_key(Table::Record, &[7, 1]);
        let mut value = db.get(&key).unwrap().unwrap().to_vec();
        *value.last_mut().unwrap() ^= 1;
        db.insert(key, value).unwrap();
    });
    let trusting = Options {
        check_history_up_to: 0,
        ..options(dir.path())
    };
    let mut store = SledStore::open(trusting).unwrap();
    store.scan(&mut |_, _, _| {}).unwrap();
    let all = store
        .reader()
        .range(Table::Record, &[], &[0xff], Direction::Forward, 100);
    let said = all.unwrap_err().to_string();
    assert!(
        said.contains("table Record, key 0701: checksum mismatch"),
        "{said}"
    );
    store.history.as_mut().unwrap().finish();
    let said = store.fault().unwrap();
    assert!(
        said.contains("table Record, key 0701: checksum mismatch"),
        "{said}"
    );
    drop(store);
    let said = damage(dir.path());
    assert!(
        said.contains("table Record, key 0701: checksum mismatch"),
        "{said}"
    );
}

#[test]
fn long_history_is_checked_beside_the_running_gateway() {
    for lose in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        if lose {
            meddle(dir.path(), |db| {
                db.remove(record::stored_key(Table::Record, &[39, 1]))
                    .unwrap();
            });
        }
        let mut store = SledStore::open(Options {
            check_history_up_to: 39,
            ..options(dir.path())
        })
        .unwrap();
        store.scan(&mut |_, _, _| {}).unwrap();
        // What comes after the start is not counted.
        store.commit(&[put(Table::Record, &[99], b"new")]).unwrap();
        store.history.as_mut().unwrap().finish();
        let said = store.fault();
        let lost = "table Record: 39 records where there should be 40";
        assert_eq!(said.is_some_and(|said| said.contains(lost)), lose);
    }
}

#[test]
fn a_lost_record_is_missed() {
    for table in [Table::Number, Table::Record] {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        meddle(dir.path(), |db| {
            db.remove(record::stored_key(table, &[7, 1])).unwrap();
        });
        let said = damage(dir.path());
        assert!(
            said.contains(&format!(
                "table {table:?}: 39 records where there should be 40"
            )),
            "{said}"
        );
    }
}

#[test]
fn a_record_rolled_back_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let mut store = open(dir.path()).unwrap();
    let old = store
        .shared
        .with(|engine| guarded(|| engine.tree.get(record::stored_key(Table::Lease, &[3, 1]))))
        .unwrap()
        .unwrap();
    store
        .commit(&[change(Table::Lease, &[3, 1], Some(&[3; 40]), Some(b"new"))])
        .unwrap();
    drop(store);
    meddle(dir.path(), |db| {
        db.insert(record::stored_key(Table::Lease, &[3, 1]), old)
            .unwrap();
    });
    let said = damage(dir.path());
    assert!(
        said.contains("table Lease: all 40 records are whole, but one or more are not the newest"),
        "{said}"
    );
}

#[test]
fn a_record_slipped_in_is_seen() {
    let cases: [(Vec<u8>, &str); 3] = [
        (
            record::stored_key(Table::Lease, b"new"),
            "41 records where there should be 40",
        ),
        (vec![0, 9], "none of ours"),
        (vec![0x77], "none of ours"),
    ];
    for (key, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        meddle(dir.path(), |db| {
            let (sealed, _) = record::seal(&key, 3, b"x");
            db.insert(key, sealed).unwrap();
        });
        let said = damage(dir.path());
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_record_from_the_future_is_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let newest = filled(dir.path());
    meddle(dir.path(), |db| {
        let key = record::stored_key(Table::Meta, b"k");
        let (sealed, _) = record::seal(&key, newest + 1, b"x");
        db.insert(key, sealed).unwrap();
    });
    let said = damage(dir.path());
    assert!(
        said.contains(&format!(
            "of commit {}, but {newest} is the newest",
            newest + 1
        )),
        "{said}"
    );
}

#[test]
fn a_lost_or_altered_piece_of_a_long_value_is_seen() {
    for lose in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path()).unwrap();
        store
            .commit(&[put(Table::Answer, b"a", &[5; 20_000])])
            .unwrap();
        drop(store);
        meddle(dir.path(), |db| {
            let key = record::piece_key(&record::stored_key(Table::Answer, b"a"), 2);
            if lose {
                db.remove(key).unwrap();
            } else {
                db.insert(key, vec![6; 4096]).unwrap();
            }
        });
        let said = damage(dir.path());
        assert!(said.contains("table Answer, key 61: "), "{said}");
    }
}

#[test]
fn a_store_rolled_back_as_a_whole_is_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let live = schema::store_dir(dir.path(), record::SCHEMA);
    let backup = dir.path().join("backup");
    files::copy_tree(&live, &backup).unwrap();
    let mut store = open(dir.path()).unwrap();
    store.commit(&[put(Table::Meta, b"later", b"x")]).unwrap();
    let newest = store.newest_commit();
    drop(store);
    fs::remove_dir_all(&live).unwrap();
    fs::rename(&backup, &live).unwrap();
    let said = damage(dir.path());
    assert!(
        said.contains(&format!(
            "the newest commit is {}, but {newest} was acknowledged",
            newest - 1
        )),
        "{said}"
    );
    fs::remove_dir_all(&live).unwrap();
    let said = open(dir.path()).map(drop).unwrap_err().to_string();
    assert!(said.contains("it is not there, but commit"), "{said}");
    // Nor is there anything to copy, which is not for want of room.
    assert!(!said.contains("copy"), "{said}");
}

#[test]
fn flipped_bytes_in_the_file_never_pass() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let db = schema::store_dir(dir.path(), record::SCHEMA).join("db");
    let whole = fs::read(&db).unwrap();
    let used = whole.iter().rposition(|&byte| byte != 0).unwrap();
    for step in 0..24 {
        let at = used * step / 23;
        let case = tempfile::tempdir().unwrap();
        files::copy_tree(dir.path(), case.path()).unwrap();
        let path = schema::store_dir(case.path(), record::SCHEMA).join("db");
        let mut file = File::options().read(true).write(true).open(path).unwrap();
        file.seek(SeekFrom::Start(at as u64)).unwrap();
        let mut byte = [0];
        file.read_exact(&mut byte).unwrap();
        file.seek(SeekFrom::Start(at as u64)).unwrap();
        file.write_all(&[byte[0] ^ 0x55]).unwrap();
        drop(file);
        let mut rows = 0;
        let opened = open(case.path()).and_then(|mut store| store.scan(&mut |_, _, _| rows += 1));
        match opened {
            // The byte was in what later writes had made obsolete.
            Ok(()) => assert_eq!(rows, 80, "byte {at}"),
            Err(StoreError::Damaged(said)) => assert!(said.contains("are kept in"), "{said}"),
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
}

#[test]
fn files_closed_in_order_are_copied_only_when_damage_is_found() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let opening = dir.path().join("opening");
    let mut store = open(dir.path()).unwrap();
    assert!(!opening.exists());
    store.scan(&mut |_, _, _| {}).unwrap();
    drop(store);
    // Touched since.
    let db = schema::store_dir(dir.path(), record::SCHEMA).join("db");
    let file = File::options().write(true).open(&db).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    let mut store = open(dir.path()).unwrap();
    assert!(opening.join("db").exists());
    store.scan(&mut |_, _, _| {}).unwrap();
    assert!(!opening.exists());
    // As after a kill: no mark is left.
    drop(store);
    fs::remove_file(dir.path().join("clean")).unwrap();
    let store = open(dir.path()).unwrap();
    assert!(opening.join("db").exists());
    drop(store);
    // Damage that left no trace in the files' times.
    meddle(dir.path(), |db| {
        db.remove(record::stored_key(Table::Lease, &[7, 1]))
            .unwrap();
    });
    schema::mark_closed(dir.path(), &schema::store_dir(dir.path(), record::SCHEMA)).unwrap();
    let said = damage(dir.path());
    assert!(said.contains("39 records"), "{said}");
}

#[test]
fn copies_of_damaged_stores_do_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    meddle(dir.path(), |db| {
        db.remove(record::HEAD_KEY).unwrap();
    });
    let said = damage(dir.path());
    assert!(said.contains("there are records but no head"), "{said}");
    for n in 0..3 {
        fs::create_dir(dir.path().join(format!("damaged-{n}"))).unwrap();
    }
    let said = open(dir.path()).map(drop).unwrap_err().to_string();
    assert!(said.contains("no copy could be kept"), "{said}");
    assert!(!dir.path().join("opening").exists());
}

#[test]
fn an_unfinished_snapshot_does_not_stop_the_start() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let store = schema::store_dir(dir.path(), record::SCHEMA);
    fs::write(store.join("snap.7FFFFFFFFFFFFFFF.generating"), b"half").unwrap();
    let mut opened = open(dir.path()).unwrap();
    assert_eq!(scanned(&mut opened).len(), 80);
}

#[test]
fn no_value_goes_to_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    for round in 0u8..60 {
        store
            .commit(&[
                put(Table::Answer, &[round], &[round; 4096]),
                put(Table::Record, &[round], &[round; 50_000]),
            ])
            .unwrap();
    }
    let blobs = schema::store_dir(dir.path(), record::SCHEMA).join("blobs");
    assert_eq!(files::tree_bytes(&blobs), 0);
}

#[test]
fn churn_does_not_grow_the_file_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    let value = |n: u32| n.to_be_bytes().repeat(40);
    let keys = 250u32;
    let mut sizes = Vec::new();
    for round in 0..120 {
        for chunk in 0..keys / 50 {
            let changes: Vec<Change> = (chunk * 50..chunk * 50 + 50)
                .map(|key| {
                    let before = (round > 0).then(|| value(round - 1));
                    change(
                        Table::Lease,
                        &key.to_be_bytes(),
                        before.as_deref(),
                        Some(&value(round)),
                    )
                })
                .collect();
            store.commit(&changes).unwrap();
        }
        sizes.push(store.size());
    }
    // Some 12 MB went through; what is kept is a handful of segments of 512 KiB.
    assert!(*sizes.last().unwrap() < 6 << 20, "{sizes:?}");
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let room = Arc::new(AtomicU64::new(1 << 30));
    let told = Arc::clone(&room);
    let mut store = SledStore::open(Options {
        free_space: Arc::new(move |_| Ok(told.load(Ordering::Relaxed))),
        ..options(dir.path())
    })
    .unwrap();
    store.commit(&[put(Table::Meta, b"1", b"x")]).unwrap();
    room.store(20 << 20, Ordering::Relaxed);
    let refused = store.commit(&[put(Table::Meta, b"2", b"x")]);
    assert!(matches!(refused, Err(StoreError::Full)));
    store
        .commit_essential(&[put(Table::Meta, b"2", b"x")])
        .unwrap();
    room.store(1 << 20, Ordering::Relaxed);
    let refused = store.commit_essential(&[put(Table::Meta, b"3", b"x")]);
    assert!(matches!(refused, Err(StoreError::Full)));
    assert!(!store.breathe());
    assert!(!dir.path().join("ballast").exists());
    room.store(1 << 30, Ordering::Relaxed);
    assert!(store.breathe() && dir.path().join("ballast").exists());
    store.commit(&[put(Table::Meta, b"3", b"x")]).unwrap();
    assert_eq!(scanned(&mut store).len(), 3);
}

#[test]
fn it_conforms_with_every_commit_a_generation() {
    let mut dirs = Vec::new();
    conformance::run(&mut || {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(Options {
            generation_bytes: 1,
            ..options(dir.path())
        });
        dirs.push(dir);
        Box::new(store.unwrap())
    });
}

/// Copies the files of a running store, as a kill would leave them.
fn killed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    files::copy_tree(dir, copy.path()).unwrap();
    copy
}

#[test]
fn what_is_only_in_the_journal_is_there_after_a_kill() {
    for generation_bytes in [1, 2000, 1 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(Options {
            generation_bytes,
            ..options(dir.path())
        })
        .unwrap();
        let long = vec![7; 9000];
        let mut expected = Vec::new();
        for round in 0u8..30 {
            let value = if round % 7 == 0 { &long[..] } else { b"short" };
            store.commit(&[put(Table::Lease, &[round], value)]).unwrap();
            match round % 3 {
                0 => store
                    .commit(&[change(Table::Lease, &[round], Some(value), None)])
                    .unwrap(),
                1 => {
                    let other = [round; 5000];
                    let changed = change(Table::Lease, &[round], Some(value), Some(&other));
                    store.commit(&[changed]).unwrap();
                    expected.push((Table::Lease, vec![round], other.to_vec()));
                }
                _ => expected.push((Table::Lease, vec![round], value.to_vec())),
            }
        }
        let newest = store.newest_commit();
        let copy = killed(dir.path());
        for _ in 0..2 {
            let mut again = open(copy.path()).unwrap();
            assert_eq!(again.newest_commit(), newest);
            assert_eq!(scanned(&mut again), expected);
        }
    }
}

#[test]
fn a_spreading_that_was_cut_short_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let mut store = open(dir.path()).unwrap();
    store.scan(&mut |_, _, _| {}).unwrap();
    for round in 0u8..40 {
        let old = [round; 40];
        let long = [round; 6000];
        let changes = [
            change(Table::Lease, &[round, 1], Some(&old), Some(&long)),
            change(Table::Number, &[round, 1], Some(&old), None),
        ];
        store.commit(&changes).unwrap();
    }
    let mut expected = scanned_copy(&killed(dir.path()));
    // Some of it reaches the tree, its head does not.
    let head = store.head;
    assert!(store.shared.layers_mut(|layers| layers.freeze(head)));
    let frozen = store.shared.layers(Layers::frozen).unwrap();
    let mut rows = layers::Rows::default();
    for (key, row) in frozen.rows.in_order().into_iter().step_by(3) {
        rows.insert(key.clone(), row.clone());
    }
    let cut = layers::Frozen {
        rows,
        head: spread_head(&store),
    };
    spread::spread(&store.shared, &cut, &AtomicBool::new(true))
        .map_err(Fault::into_error)
        .unwrap();
    let copy = killed(dir.path());
    assert_eq!(scanned_copy(&copy), expected);
    assert_eq!(scanned(&mut store), expected);
    store.commit(&[put(Table::Meta, b"more", b"x")]).unwrap();
    drop(store);
    expected.insert(0, (Table::Meta, b"more".to_vec(), b"x".to_vec()));
    assert_eq!(scanned(&mut open(dir.path()).unwrap()), expected);
}

fn scanned_copy(dir: &tempfile::TempDir) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
    scanned(&mut open(dir.path()).unwrap())
}

/// The head that lies in the tree.
fn spread_head(store: &SledStore) -> Head {
    let stored = store
        .shared
        .with(|engine| guarded(|| engine.tree.get(record::HEAD_KEY)));
    Head::decode(&stored.unwrap().unwrap()).unwrap()
}

#[test]
fn an_engine_that_failed_opens_again_with_all_that_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let mut store = open(dir.path()).unwrap();
    store.scan(&mut |_, _, _| {}).unwrap();
    let reader = store.reader();
    let changed = change(Table::Lease, &[3, 1], Some(&[3; 40]), Some(b"changed"));
    store.commit(&[changed]).unwrap();
    let head = store.head;
    assert!(store.shared.layers_mut(|layers| layers.freeze(head)));
    // As if sled had failed under it.
    store.shared.close();
    let more = [put(Table::Meta, b"more", b"x")];
    assert!(matches!(store.commit(&more), Err(StoreError::Failed(_))));
    let key = |table, bytes: &'static [u8]| Key {
        table,
        bytes: Bytes::from_static(bytes),
    };
    let unread = reader.get(&key(Table::Lease, &[4, 1]));
    assert!(matches!(unread, Err(StoreError::Failed(_))));
    assert!(store.breathe());
    let read = reader.get(&key(Table::Lease, &[3, 1])).unwrap();
    assert_eq!(read.as_deref(), Some(&b"changed"[..]));
    assert!(store.shared.layers(Layers::is_empty));
    store.commit(&more).unwrap();
    drop(store);
    assert_eq!(scanned(&mut open(dir.path()).unwrap()).len(), 81);
}

#[test]
fn a_flipped_byte_in_the_journal_never_passes() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let mut store = open(dir.path()).unwrap();
    store.scan(&mut |_, _, _| {}).unwrap();
    for round in 0u8..10 {
        store
            .commit(&[put(Table::Answer, &[round], &[round; 50])])
            .unwrap();
    }
    let used = usize::try_from(store.journal.written()).unwrap();
    for step in 0..40 {
        let case = killed(dir.path());
        let path = schema::store_dir(case.path(), record::SCHEMA).join("journal.0");
        let mut bytes = fs::read(&path).unwrap();
        let at = (used + 15) * step / 39;
        bytes[at] ^= 0x20;
        fs::write(&path, bytes).unwrap();
        // Found by what lies behind it, or, in the last frame, by the witness.
        let said = damage(case.path());
        assert!(
            said.contains("gap") || said.contains("whole"),
            "byte {at}: {said}"
        );
    }
}

#[test]
fn schema_1_is_migrated_whole_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut records = Vec::new();
    for n in 0..2500u16 {
        let table = Table::ALL[usize::from(n) % Table::ALL.len()];
        let length = if n % 100 == 0 {
            10_000
        } else {
            usize::from(n % 90)
        };
        records.push((
            table,
            n.to_be_bytes().to_vec(),
            vec![n.to_be_bytes()[1]; length],
        ));
    }
    schema::write_schema_1(dir.path(), 41, &records);
    // A migration that was cut off leaves its directory behind.
    fs::create_dir(dir.path().join("store.2.building")).unwrap();
    let mut store = open(dir.path()).unwrap();
    assert_eq!(store.newest_commit(), 41);
    let mut expected: Vec<_> = records
        .iter()
        .filter(|row| row.0.is_scanned() || row.0 == Table::Entry)
        .cloned()
        .collect();
    expected.sort();
    assert_eq!(scanned(&mut store), expected);
    for (table, key, value) in &records {
        let key = Key {
            table: *table,
            bytes: Bytes::copy_from_slice(key),
        };
        assert_eq!(
            store.reader().get(&key).unwrap().as_deref(),
            Some(&value[..])
        );
    }
    store.commit(&[put(Table::Meta, b"after", b"x")]).unwrap();
    drop(store);
    assert!(dir.path().join("store.1").exists() && !dir.path().join("store.2.building").exists());
    assert_eq!(
        scanned(&mut open(dir.path()).unwrap()).len(),
        expected.len() + 1
    );
}

#[test]
fn a_damaged_schema_1_is_not_migrated() {
    let dir = tempfile::tempdir().unwrap();
    schema::write_schema_1(dir.path(), 5, &[(Table::Lease, vec![9], vec![1, 2])]);
    let old = schema::store_dir(dir.path(), 1);
    let db = open_engine(&old, 1 << 20).unwrap();
    db.insert(record::stored_key(Table::Lease, &[9]), &[0; 20])
        .unwrap();
    db.flush().unwrap();
    drop(db);
    let said = open(dir.path()).map(drop).unwrap_err().to_string();
    assert!(said.contains("Lease 0409: bad checksum"), "{said}");
    assert!(!dir.path().join("store.2").exists());
}

#[test]
fn a_newer_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    fs::create_dir(dir.path().join("store.3")).unwrap();
    let said = open(dir.path()).map(drop).unwrap_err().to_string();
    assert!(said.contains("written by a newer version"), "{said}");
}
