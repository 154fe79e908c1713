use super::*;
use proptest::prelude::*;

fn address() -> IpAddr {
    "127.0.0.1".parse().unwrap()
}

fn pool(first: u16, last: u16, shards: usize, random: u64) -> PortPool {
    PortPool::new(address(), first, last, shards, random)
}

#[test]
fn pairs_are_even_and_whole() {
    let mut odd = pool(20_001, 20_006, 1, 0);
    let taken: Vec<u16> = std::iter::from_fn(|| odd.take(0))
        .map(|pair| pair.rtp)
        .collect();
    assert_eq!(taken, [20_002, 20_004], "20006 has no partner in the range");
    assert_eq!(pool(1, 0, 1, 9).count().free, 0);
    assert_eq!(pool(65_535, 65_535, 1, 9).count().free, 0);
    assert_eq!(pool(65_534, 65_535, 1, 9).count().free, 1);
}

#[test]
fn it_begins_anywhere_and_takes_the_longest_rested() {
    let mut pool = pool(20_000, 20_009, 1, 3);
    let first = pool.take(0).unwrap();
    assert_eq!(first.rtp, 20_006);
    pool.give(first);
    let order: Vec<u16> = std::iter::from_fn(|| pool.take(0))
        .map(|pair| pair.rtp)
        .collect();
    assert_eq!(order, [20_008, 20_000, 20_002, 20_004, 20_006]);
}

#[test]
fn a_pair_comes_back_once() {
    let mut pool = pool(20_000, 20_009, 1, 0);
    let pair = pool.take(0).unwrap();
    pool.give(pair);
    pool.give(pair);
    pool.give(PortPair {
        rtp: 20_001,
        ..pair
    });
    pool.give(PortPair { rtp: 10, ..pair });
    pool.give(PortPair {
        rtp: 60_000,
        ..pair
    });
    pool.retire(pair);
    assert_eq!(
        pool.count(),
        Count {
            used: 0,
            free: 5,
            retired: 0,
            refused_returns: 5
        }
    );
}

#[test]
fn pairs_that_are_taken_elsewhere_are_left_out() {
    let mut ports = Ports::new(vec![pool(20_000, 20_019, 1, 0)]);
    let mut refuse = |pair: PortPair| match pair.rtp {
        20_000..20_006 => Err(io::ErrorKind::AddrInUse.into()),
        _ => Ok(()),
    };
    let (caller, callee) = ports.take(0, 0, &mut refuse).unwrap();
    assert_eq!((caller.pair.rtp, callee.pair.rtp), (20_006, 20_008));
    assert_eq!(ports.count().retired, 3);
}

#[test]
fn a_want_of_descriptors_costs_no_pair() {
    let mut ports = Ports::new(vec![pool(20_000, 20_019, 1, 0)]);
    let mut fail = |_| Err(io::Error::from_raw_os_error(24));
    assert_eq!(ports.take(0, 0, &mut fail), None);
    assert_eq!(
        ports.count(),
        Count {
            free: 10,
            ..Count::default()
        }
    );
}

#[test]
fn both_legs_come_from_one_shard() {
    let mut ports = Ports::new(vec![pool(20_000, 20_039, 4, 7), pool(30_000, 30_039, 4, 9)]);
    let mut taken = Vec::new();
    while let Some((caller, callee)) = ports.take(0, 1, &mut |_| Ok(())) {
        let shard = |taken: &Taken| PortPool::shard_of(taken.pair, 4);
        assert_eq!(shard(&caller), shard(&callee));
        assert_eq!((caller.network, callee.network), (0, 1));
        taken.extend([caller, callee]);
    }
    assert_eq!(ports.count().used, 40, "every pair of both networks");
    for one in taken {
        ports.give(one);
    }
    assert_eq!(ports.count().free, 40);
    assert_eq!(ports.take(0, 2, &mut |_| Ok(())), None);
    assert_eq!(ports.count().free, 40);
}

proptest! {
    /// Whatever is taken, given, given twice or retired: no pair is out twice, and what is out,
    /// at rest and retired adds up.
    #[test]
    fn nothing_leaks(steps in proptest::collection::vec((0u8..4, any::<u8>()), 0..200), shards in 1usize..4) {
        let mut pool = pool(20_000, 20_039, shards, 11);
        let mut out: Vec<PortPair> = Vec::new();
        let mut retired = 0;
        for (what, which) in steps {
            let at = usize::from(which).checked_rem(out.len());
            match (what, at) {
                (0 | 1, _) => {
                    if let Some(pair) = pool.take(usize::from(which) % shards) {
                        prop_assert!(!out.contains(&pair));
                        out.push(pair);
                    }
                }
                (2, Some(at)) => {
                    let pair = out.swap_remove(at);
                    pool.give(pair);
                    pool.give(pair);
                }
                (3, Some(at)) => {
                    pool.retire(out.swap_remove(at));
                    retired += 1;
                }
                _ => {}
            }
            let count = pool.count();
            prop_assert_eq!(count.used, out.len());
            prop_assert_eq!(count.retired, retired);
            prop_assert_eq!(count.used + count.free + count.retired, 20);
        }
    }
}

#[test]
fn workers_share_all_pairs_evenly_and_none_twice() {
    for (shards, workers) in [(1, 2), (2, 2), (3, 4)] {
        let mut seen = std::collections::BTreeSet::new();
        for worker in 0..workers {
            let address = std::net::IpAddr::from([127, 0, 0, 1]);
            let mut pool = PortPool::share(address, (20_000, 20_239), shards, (worker, workers), 7);
            assert_eq!(pool.count().free, 120 / workers);
            for shard in 0..shards {
                let mut taken = 0;
                while let Some(pair) = pool.take(shard) {
                    assert!(seen.insert(pair.rtp));
                    assert_eq!(PortPool::shard_of(pair, shards), shard);
                    taken += 1;
                    if taken == 1 {
                        pool.give(pair);
                        seen.remove(&pair.rtp);
                    }
                }
                assert_eq!(taken, 120 / workers / shards + 1);
            }
        }
        assert_eq!(seen.len(), 120);
    }
}
