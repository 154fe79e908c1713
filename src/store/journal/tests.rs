use super::*;
use crate::store::conformance::change;
use proptest::prelude::*;

fn head(commit: u64) -> Head {
    let mut head = Head::empty();
    head.commit = commit;
    head
}

fn one(commit: u64) -> Vec<Change> {
    let key = commit.to_be_bytes();
    vec![change(Table::Lease, &key, None, Some(b"value"))]
}

fn append(journal: &mut Journal, commit: u64) {
    let mut frame = Vec::new();
    journal
        .encode(&head(commit), &one(commit), &mut frame)
        .unwrap();
    journal.append(&frame).unwrap();
}

fn commits(dir: &Path, newest: u64) -> Result<Vec<u64>, StoreError> {
    let (_, frames) = Journal::open(dir, newest, 1 << 20)?;
    Ok(frames.iter().map(|frame| frame.head.commit).collect())
}

fn damage(dir: &Path, newest: u64) -> String {
    match commits(dir, newest) {
        Err(StoreError::Damaged(said)) => said,
        other => panic!("not seen as damaged: {other:?}"),
    }
}

fn change_strategy() -> impl Strategy<Value = Change> {
    let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
    (0usize..11, bytes(250), proptest::option::of(bytes(6000)))
        .prop_map(|(table, key, after)| change(Table::ALL[table], &key, None, after.as_deref()))
}

proptest! {
    #[test]
    fn a_frame_is_read_as_it_was_written(
        changes in proptest::collection::vec(change_strategy(), 0..8), salt: u64, behind: u8,
    ) {
        let mut frame = Vec::new();
        encode(&head(9), &changes, salt, &mut frame).unwrap();
        let length = frame.len();
        frame.push(behind);
        let bytes = Bytes::from(frame);
        let (read, used) = decode(&bytes, salt).unwrap();
        prop_assert_eq!(used, length);
        prop_assert_eq!(read.head, head(9));
        let rows: Vec<_> = changes.into_iter().map(|change| (change.key, change.after)).collect();
        prop_assert_eq!(read.rows, rows);
        prop_assert!(decode(&bytes, salt ^ 1).is_none());
        prop_assert!(decode(&bytes.slice(..length - 1), salt).is_none());
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("journal.0"), [&FILE_MAGIC[..], &bytes].concat()).unwrap();
        let _ = commits(dir.path(), 0);
    }
}

#[test]
fn frames_are_found_in_both_files_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, none) = Journal::open(dir.path(), 0, 1 << 20).unwrap();
    assert_eq!(none, []);
    (1..=5).for_each(|commit| append(&mut journal, commit));
    journal.turn_over();
    (6..=9).for_each(|commit| append(&mut journal, commit));
    assert_eq!(commits(dir.path(), 0).unwrap(), (1..=9).collect::<Vec<_>>());
    assert_eq!(commits(dir.path(), 7).unwrap(), [8, 9]);
    // The first file is used again: what is behind its new frames is none of theirs.
    journal.turn_over();
    (10..=12).for_each(|commit| append(&mut journal, commit));
    assert_eq!(
        commits(dir.path(), 5).unwrap(),
        (6..=12).collect::<Vec<_>>()
    );
    let said = damage(dir.path(), 3);
    assert!(said.contains("commit 4 is missing, but 6"), "{said}");
}

#[test]
fn a_torn_frame_ends_the_journal_and_its_place_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), 0, 1 << 20).unwrap();
    (1..=3).for_each(|commit| append(&mut journal, commit));
    let mut frame = Vec::new();
    journal.encode(&head(4), &one(4), &mut frame).unwrap();
    let torn = frame.len() - 3;
    journal.append(&frame[..torn]).unwrap();
    assert_eq!(commits(dir.path(), 0).unwrap(), [1, 2, 3]);
    // After a turn too, with an older generation behind it.
    journal.turn_over();
    journal.turn_over();
    journal.append(&frame[..torn]).unwrap();
    assert_eq!(commits(dir.path(), 3).unwrap(), [0u64; 0]);
}

#[test]
fn a_whole_frame_behind_a_broken_one_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), 0, 1 << 20).unwrap();
    append(&mut journal, 1);
    let at = journal.offset + 30;
    (2..=4).for_each(|commit| append(&mut journal, commit));
    journal.present().file.write_all_at(b"x", at).unwrap();
    let said = damage(dir.path(), 0);
    assert!(
        said.contains("commit 2 is not whole, but commit 3"),
        "{said}"
    );
    // Once the engine has them all, nobody needs them.
    assert_eq!(commits(dir.path(), 4).unwrap(), [0u64; 0]);
}

#[test]
fn a_file_whose_beginning_is_lost_is_damage_and_a_cut_off_one_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.0");
    std::fs::write(&path, &FILE_MAGIC[..5]).unwrap();
    let (mut journal, _) = Journal::open(dir.path(), 0, 1 << 20).unwrap();
    append(&mut journal, 1);
    assert_eq!(commits(dir.path(), 0).unwrap(), [1]);
    journal.present().file.write_all_at(b"x", 2).unwrap();
    let said = damage(dir.path(), 0);
    assert!(
        said.contains("journal.0: its beginning is not whole"),
        "{said}"
    );
}

#[test]
fn a_write_that_fails_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), 0, 1 << 20).unwrap();
    append(&mut journal, 1);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let file = std::mem::replace(&mut journal.files[0].file, full);
    let mut frame = Vec::new();
    journal.encode(&head(2), &one(2), &mut frame).unwrap();
    let Err(Fault::Write(error)) = journal.append(&frame) else {
        panic!("written to a full disk");
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    journal.files[0].file = file;
    append(&mut journal, 2);
    assert_eq!(commits(dir.path(), 0).unwrap(), [1, 2]);
}

#[test]
fn a_long_file_is_cut_when_its_turn_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), 0, 1000).unwrap();
    (1..=10).for_each(|commit| append(&mut journal, commit));
    journal.turn_over();
    (11..=12).for_each(|commit| append(&mut journal, commit));
    journal.turn_over();
    assert_eq!(journal.present().file.metadata().unwrap().len(), FIRST);
    append(&mut journal, 13);
    assert_eq!(commits(dir.path(), 10).unwrap(), [11, 12, 13]);
}

#[test]
fn a_file_grows_ahead_of_its_frames_and_what_is_ahead_is_no_frame() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), 0, 1 << 20).unwrap();
    let length = |journal: &Journal| journal.present().file.metadata().unwrap().len();
    append(&mut journal, 1);
    let grown = length(&journal);
    assert_eq!(grown, journal.offset + STEP as u64);
    (2..=4).for_each(|commit| append(&mut journal, commit));
    assert_eq!(length(&journal), grown);
    assert_eq!(commits(dir.path(), 0).unwrap(), [1, 2, 3, 4]);
    // Opened again, it is not written ahead twice.
    let (mut journal, _) = Journal::open(dir.path(), 4, 1 << 20).unwrap();
    append(&mut journal, 5);
    assert_eq!(length(&journal), grown);
}

#[test]
fn what_is_too_long_is_refused() {
    let mut frame = Vec::new();
    let key = change(Table::Lease, &[0; 255], None, Some(b""));
    let value = change(
        Table::Lease,
        &[0],
        None,
        Some(&vec![0; record::VALUE_LIMIT + 1]),
    );
    for change in [key, value] {
        assert!(encode(&head(1), &[change], 0, &mut frame).is_err());
    }
}
