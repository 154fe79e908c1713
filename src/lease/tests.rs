use super::slab::Slab;
use super::*;
use crate::domain::numbering::{NumberStyle, PoolRange};
use std::time::Instant;
use uuid::Uuid;

fn number(n: u64) -> E164 {
    E164::from_packed(60_388_880_000 + n).unwrap()
}

fn range(first: u64, last: u64) -> PoolRange {
    PoolRange {
        first: number(first),
        last: number(last),
        style: NumberStyle {
            strip: 0,
            prefix: "+".into(),
        },
    }
}

#[test]
fn a_slab_fills_its_gaps_and_restores() {
    let mut slab = Slab::default();
    let places: Vec<u32> = (0..10_000).map(|n| slab.insert(n).unwrap()).collect();
    assert_eq!(slab.len(), 10_000);
    assert_eq!(slab.remove(places[7]), Some(7));
    assert_eq!(slab.remove(places[7]), None);
    assert_eq!(slab.insert(70), Some(places[7]));
    slab.remove(places[7]);
    slab.remove(places[9]);
    slab.restore(places[7], 7);
    assert_eq!(slab.get(places[7]), Some(&7));
    assert_eq!(slab.insert(90), Some(places[9]));
    assert_eq!(slab.len(), 10_000);
    assert_eq!(slab.get(20_000), None);
}

#[test]
fn ranges_overlap_and_interleave() {
    let mut book = LeaseBook::new(Duration::ZERO);
    let added = |book: &mut LeaseBook, range: &PoolRange| -> u32 {
        book.add(range)
            .iter()
            .map(|step| match step {
                Step::Added(_, count) => *count,
                _ => 0,
            })
            .sum()
    };
    assert_eq!(added(&mut book, &range(10, 19)), 10);
    assert_eq!(added(&mut book, &range(30, 30)), 1);
    assert_eq!(added(&mut book, &range(15, 34)), 14);
    assert_eq!(added(&mut book, &range(0, 40)), 16);
    assert_eq!(added(&mut book, &range(0, 40)), 0);
    let listed: Vec<_> = book
        .pool()
        .slots_from(None)
        .map(|slot| book.pool().number(slot).unwrap())
        .collect();
    assert_eq!(listed, (0..=40).map(number).collect::<Vec<_>>());
    let from: Vec<_> = book.pool().slots_from(Some(number(33))).collect();
    assert_eq!(from.len(), 8);
    for n in 0..=40 {
        let slot = book.pool().find(number(n)).unwrap();
        assert_eq!(book.pool().number(slot), Some(number(n)));
    }
    assert_eq!(book.pool().find(number(41)), None);
    assert_eq!(book.pool().draw_general(1).unwrap().len(), 1);
    assert!(book.pool().draw_general(42).is_none());
}

#[test]
fn added_numbers_are_taken_back() {
    let mut book = LeaseBook::new(Duration::ZERO);
    book.add(&range(0, 9));
    let mut steps = book.add(&range(10, 12));
    steps.extend(book.add(&range(5, 20)));
    steps.extend(book.add(&range(40, 45)));
    for step in steps.into_iter().rev() {
        book.undo(step);
    }
    assert_eq!(book.pool().len(), 10);
    assert_eq!(book.pool().figures().free, 10);
    assert_eq!(book.pool().find(number(10)), None);
    assert_eq!(book.pool().find(number(40)), None);
    assert_eq!(book.pool().slots_from(None).count(), 10);
}

#[test]
fn an_unknown_spelling_style_costs_a_string_and_comes_back_whole() {
    let mut book = LeaseBook::new(Duration::ZERO);
    book.add(&range(0, 9));
    for (n, spelling) in ["+60123456789", "0123456789", "012-345 6789", "6012 3456789"]
        .into_iter()
        .enumerate()
    {
        let n = u64::try_from(n).unwrap();
        let record = LeaseRecord {
            customer: CustomerId(1),
            kind: LeaseKind::Single,
            expires: UnixMillis(1),
            members: SmallVec::from_iter([Member {
                number: number(n),
                phone: Phone {
                    number: E164::from_digits("60123456789").unwrap(),
                    spelling: spelling.into(),
                },
            }]),
            whitelist: vec![],
        };
        let reference = ReferenceId(Uuid::from_u128(u128::from(n)));
        assert!(book.begin(reference, &record).is_some());
        assert!(book.begin(reference, &record).is_none());
        let place = book.find(&reference).unwrap();
        assert_eq!(book.record(place), Some(record));
    }
    assert_eq!(
        book.leases_of_phone(E164::from_digits("60123456789").unwrap()),
        4
    );
    let now = Now {
        mono: Instant::now(),
        wall: UnixMillis(0),
    };
    let place = book.expired(UnixMillis(1)).unwrap();
    assert!(book.end(place, now).is_some());
    assert!(book.end(place, now).is_none());
    assert_eq!(book.len(), 3);
}

/// Ten million leases at 300 bytes a lease all told; measured at 200,000, where hash tables are as
/// ill filled as at any size.
#[test]
fn a_lease_costs_no_more_than_three_hundred_bytes() {
    const LEASES: u64 = 200_000;
    let mut book = LeaseBook::new(Duration::ZERO);
    book.add(&range(0, LEASES - 1));
    for n in 0..LEASES {
        let record = LeaseRecord {
            customer: CustomerId(1),
            kind: LeaseKind::Single,
            expires: UnixMillis(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40),
            members: SmallVec::from_iter([Member {
                number: number(n),
                phone: Phone {
                    number: E164::from_packed(60_120_000_000 + n).unwrap(),
                    spelling: format!("0{}", 120_000_000 + n).into(),
                },
            }]),
            whitelist: vec![],
        };
        let reference =
            Uuid::from_u128(u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        assert!(book.begin(ReferenceId(reference), &record).is_some());
    }
    book.publish_all();
    assert_eq!(book.len(), 200_000);
    let bytes = book.memory() / 200_000;
    assert!(bytes <= 300, "{bytes} bytes a lease");
    assert!(bytes > 100, "not all of it is counted: {bytes} bytes");
    assert_eq!(size_of::<Option<compact::Lease>>(), 56);
}

/// One guard held over another look at the same map, and this would stand still.
#[test]
fn readers_and_the_writer_of_the_directory_never_wait_for_each_other_for_ever() {
    use super::directory::Directory;
    use std::sync::{Arc, mpsc};
    use std::time::Duration;
    const TURNS: usize = 20_000;
    let directory = Arc::new(Directory::default());
    let (done, finished) = mpsc::channel();
    for reader in 0..4 {
        let (directory, done) = (Arc::clone(&directory), done.clone());
        std::thread::spawn(move || {
            for turn in 0..TURNS {
                let one = number(u64::try_from(turn % 3).unwrap());
                if reader == 0 && turn % 2 == 0 {
                    let list = [number(7), number(8)];
                    let kind = crate::domain::LeaseKind::Single;
                    directory.set_leased(one, CustomerId(1), kind, None, &list);
                } else if reader == 0 {
                    directory.set_not_leased(one);
                } else if directory.get(one).flatten().is_some_and(|l| l.whitelist) {
                    let _ = directory.on_whitelist(one, number(7));
                }
            }
            let _ = done.send(reader);
        });
    }
    for _ in 0..4 {
        let end = finished.recv_timeout(Duration::from_secs(60));
        assert!(end.is_ok(), "somebody waits for ever");
    }
}
