//! The directory and the lease book as they grow: a lookup must stay under a microsecond at ten
//! million leases, a lease must cost there what it costs at ten thousand, and no lease more than
//! 300 bytes.
//!
//! `DIRECTORY_LEASES=1000000 cargo bench --bench directory` for a smaller top size.

use criterion::{Criterion, criterion_group, criterion_main};
use leasebridge::books::Lookup;
use leasebridge::domain::numbering::{NumberStyle, PoolRange};
use leasebridge::domain::{CustomerId, E164, LeaseKind, Now, Phone, ReferenceId, UnixMillis};
use leasebridge::lease::{LeaseBook, LeaseRecord, Member};
use smallvec::SmallVec;
use std::hint::black_box;
use std::time::{Duration, Instant};
use uuid::Uuid;

const POOL: u64 = 60_300_000_000;
const PHONES: u64 = 60_120_000_000;

fn number(packed: u64) -> E164 {
    E164::from_packed(packed).expect("a number of eleven digits")
}

fn spread(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn reference(n: u64) -> ReferenceId {
    ReferenceId(Uuid::from_u64_pair(spread(n), spread(!n)))
}

fn record(n: u64, member: E164) -> LeaseRecord {
    let phone = number(PHONES + n % 90_000_000);
    LeaseRecord {
        customer: CustomerId(1),
        kind: LeaseKind::Single,
        expires: UnixMillis(spread(n) >> 30),
        members: SmallVec::from_iter([Member {
            number: member,
            phone: Phone {
                number: phone,
                spelling: phone.to_string().into(),
            },
        }]),
        whitelist: Vec::new(),
    }
}

/// A book of so many leases and a few numbers more.
fn book(leases: u64) -> LeaseBook {
    let mut book = LeaseBook::new(Duration::ZERO);
    book.add(&PoolRange {
        first: number(POOL),
        last: number(POOL + leases + 9),
        style: NumberStyle {
            strip: 0,
            prefix: "+".into(),
        },
    });
    for n in 0..leases {
        book.begin(reference(n), &record(n, number(POOL + n)))
            .expect("a free number");
    }
    book.publish_all();
    println!(
        "{leases} leases: {} bytes a lease",
        book.memory() / usize::try_from(leases).expect("fits")
    );
    book
}

fn directory(c: &mut Criterion) {
    let top = std::env::var("DIRECTORY_LEASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10_000_000);
    for leases in [10_000, top] {
        let mut book = book(leases);
        let directory = book.directory();
        let mut n = 0;
        c.bench_function(&format!("lookup/{leases}"), |b| {
            b.iter(|| {
                n = spread(n + 1);
                directory.lookup(black_box(number(POOL + n % leases)))
            });
        });
        let mut n = leases;
        let now = Now {
            mono: Instant::now(),
            wall: UnixMillis(0),
        };
        c.bench_function(&format!("lease and release/{leases}"), |b| {
            b.iter(|| {
                n += 1;
                let slot = book.pool().draw(CustomerId(1), 1).expect("a free number")[0];
                let free = book.pool().number(slot).expect("its number");
                book.begin(reference(n), &record(n, free)).expect("free");
                book.publish(slot);
                let place = book.find(&reference(n)).expect("just made");
                book.end(place, now).expect("just made");
                book.publish(slot);
            });
        });
        c.bench_function(&format!("find by reference/{leases}"), |b| {
            b.iter(|| {
                n = spread(n + 1);
                book.find(black_box(&reference(n % leases)))
            });
        });
    }
}

criterion_group!(benches, directory);
criterion_main!(benches);
