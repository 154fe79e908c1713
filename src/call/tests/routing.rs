//! Choice, caps and health of trunks (sip-bridging 1).

use super::harness::trunk;
use crate::call::event::TrunkNews;
use crate::call::routing::{DOWN_AFTER, Trunk, Trunks, UP_AFTER};
use crate::domain::TrunkId;
use std::time::{Duration, Instant};

fn weighted(priority: u16, weight: u16) -> Option<Trunk> {
    Some(Trunk {
        weight,
        ..trunk("t", priority)
    })
}

fn second(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn priority_first_then_weight() {
    let now = Instant::now();
    let mut trunks = Trunks::new(vec![
        weighted(2, 1),
        weighted(1, 3),
        None,
        weighted(1, 1),
        weighted(1, 0),
    ]);
    let mut count = [0u32; 5];
    for random in 0..400 {
        let TrunkId(id) = trunks.choose(&[], random, now).unwrap();
        count[usize::from(id)] += 1;
    }
    assert_eq!(count, [0, 300, 0, 100, 0]);
    let tried = [TrunkId(1), TrunkId(3)];
    assert_eq!(trunks.choose(&tried, 9, now), Some(TrunkId(4)));
    let tried = [TrunkId(1), TrunkId(3), TrunkId(4)];
    assert_eq!(trunks.choose(&tried, 9, now), Some(TrunkId(0)));
    assert!(trunks.has_another(&tried, now));
    let tried = [TrunkId(0), TrunkId(1), TrunkId(3), TrunkId(4)];
    assert_eq!(trunks.choose(&tried, 9, now), None);
    assert!(!trunks.has_another(&tried, now));
}

#[test]
fn calls_are_counted_and_given_back() {
    let now = Instant::now();
    let mut trunks = Trunks::new(vec![Some(Trunk {
        max_calls: 2,
        ..trunk("t", 1)
    })]);
    let id = TrunkId(0);
    assert!(trunks.admit(id, now));
    assert_eq!(trunks.choose(&[], 0, now), Some(id));
    assert!(!trunks.admit(id, now));
    assert_eq!(trunks.choose(&[], 0, now), None);
    trunks.release(id);
    assert!(trunks.admit(id, now));
    trunks.release(id);
    trunks.release(id);
    trunks.release(id);
    assert_eq!(trunks.calls(id), 0);
}

#[test]
fn rate_holds_over_any_second() {
    let start = Instant::now();
    let mut trunks = Trunks::new(vec![Some(Trunk {
        max_cps: 5,
        ..trunk("t", 1)
    })]);
    let mut admitted = Vec::new();
    for millis in 0..3000 {
        let now = start + Duration::from_millis(millis);
        if trunks.admit(TrunkId(0), now) {
            admitted.push(millis);
        }
    }
    // A burst of five, and five a second from then on.
    assert_eq!(admitted[..6], [0, 1, 2, 3, 4, 200]);
    assert_eq!(admitted.len(), 5 + 14);
}

#[test]
fn down_after_failures_up_after_successes() {
    let now = Instant::now();
    let id = TrunkId(0);
    let mut trunks = Trunks::new(vec![Some(Trunk {
        probed: true,
        ..trunk("t", 1)
    })]);
    for _ in 1..DOWN_AFTER {
        trunks.probe(id, false, now);
        assert!(trunks.is_up(id, now));
    }
    // One success in between starts the count anew.
    trunks.probe(id, true, now);
    for _ in 1..DOWN_AFTER {
        trunks.news(id, TrunkNews::Dead, now);
        assert!(trunks.is_up(id, now));
    }
    trunks.news(id, TrunkNews::Dead, now);
    assert!(!trunks.is_up(id, now));
    assert!(!trunks.any_up(now));
    // Time alone does not bring a probed trunk back.
    assert!(!trunks.is_up(id, now + second(3600)));
    for _ in 1..UP_AFTER {
        trunks.probe(id, true, now);
        assert!(!trunks.is_up(id, now));
    }
    // A failure in between starts that count anew, too.
    trunks.probe(id, false, now);
    for _ in 1..UP_AFTER {
        trunks.probe(id, true, now);
        assert!(!trunks.is_up(id, now));
    }
    trunks.probe(id, true, now);
    assert!(trunks.is_up(id, now));
}

#[test]
fn without_probes_one_call_tries_a_trunk_that_was_down() {
    let now = Instant::now();
    let id = TrunkId(0);
    let mut trunks = Trunks::new(vec![Some(trunk("t", 1))]);
    for _ in 0..DOWN_AFTER {
        trunks.news(id, TrunkNews::Dead, now);
    }
    assert_eq!(trunks.choose(&[], 0, now + second(29)), None);
    let later = now + second(30);
    assert_eq!(trunks.choose(&[], 0, later), Some(id));
    assert_eq!(trunks.choose(&[], 0, later), None, "one call at a time");
    trunks.news(id, TrunkNews::Dead, later);
    assert_eq!(trunks.choose(&[], 0, later + second(29)), None);
    let later = later + second(30);
    assert_eq!(trunks.choose(&[], 0, later), Some(id));
    trunks.news(id, TrunkNews::Alive, later);
    assert_eq!(trunks.choose(&[], 0, later), Some(id));
    assert_eq!(trunks.choose(&[], 0, later), Some(id));
}

#[test]
fn a_rest_is_honoured_up_to_its_bound_and_one_call_tries() {
    let now = Instant::now();
    let id = TrunkId(0);
    let mut trunks = Trunks::new(vec![Some(trunk("t", 1))]);
    trunks.news(id, TrunkNews::Rest(10), now);
    assert!(!trunks.is_up(id, now + second(9)));
    assert!(trunks.is_up(id, now + second(10)));
    trunks.news(id, TrunkNews::Rest(3600), now);
    assert!(!trunks.is_up(id, now + second(29)));
    let later = now + second(30);
    assert_eq!(trunks.choose(&[], 0, later), Some(id));
    assert_eq!(trunks.choose(&[], 0, later), None);
    // The call that tried was given up without news: another may try.
    assert_eq!(trunks.choose(&[], 0, later + second(5)), Some(id));
    trunks.news(id, TrunkNews::Alive, later + second(5));
    assert!(trunks.is_up(id, later + second(5)));
}

#[test]
fn answered_probes_do_not_end_a_rest() {
    let now = Instant::now();
    let id = TrunkId(0);
    let mut trunks = Trunks::new(vec![Some(Trunk {
        probed: true,
        ..trunk("t", 1)
    })]);
    trunks.news(id, TrunkNews::Rest(20), now);
    for _ in 0..5 {
        trunks.probe(id, true, now + second(1));
    }
    assert!(!trunks.is_up(id, now + second(19)));
    assert!(trunks.is_up(id, now + second(20)));
}

#[test]
fn a_trunk_that_is_not_probed_any_more_begins_anew() {
    let now = Instant::now();
    let probed = |probed| {
        Some(Trunk {
            probed,
            ..trunk("a", 1)
        })
    };
    let mut trunks = Trunks::new(vec![probed(true)]);
    for _ in 0..DOWN_AFTER {
        trunks.probe(TrunkId(0), false, now);
    }
    trunks.reload(vec![probed(true)]);
    assert!(!trunks.is_up(TrunkId(0), now), "it is watched as before");
    trunks.reload(vec![probed(false)]);
    assert!(trunks.is_up(TrunkId(0), now), "no probe could say so");
}

#[test]
fn reload_keeps_calls_and_health() {
    let now = Instant::now();
    let mut trunks = Trunks::new(vec![Some(trunk("a", 1)), Some(trunk("b", 1))]);
    assert!(trunks.admit(TrunkId(0), now));
    for _ in 0..DOWN_AFTER {
        trunks.news(TrunkId(0), TrunkNews::Dead, now);
    }
    trunks.reload(vec![Some(trunk("a", 7)), None, Some(trunk("c", 1))]);
    assert_eq!(trunks.calls(TrunkId(0)), 1);
    assert!(!trunks.is_up(TrunkId(0), now));
    assert_eq!(trunks.get(TrunkId(0)).map(|trunk| trunk.priority), Some(7));
    assert!(trunks.is_up(TrunkId(2), now));
    trunks.reload(Vec::new());
    assert!(!trunks.any_up(now));
    assert!(!trunks.admit(TrunkId(0), now), "a trunk that is gone");
    assert_eq!(trunks.choose(&[], 0, now), None);
}

#[test]
fn calls_of_a_trunk_that_is_gone_count_when_it_comes_back() {
    let now = Instant::now();
    let capped = || {
        Some(Trunk {
            max_calls: 1,
            ..trunk("a", 1)
        })
    };
    let mut trunks = Trunks::new(vec![capped(), Some(trunk("b", 1))]);
    assert!(trunks.admit(TrunkId(0), now));
    for _ in 0..DOWN_AFTER {
        trunks.news(TrunkId(0), TrunkNews::Dead, now);
    }
    trunks.reload(vec![None, Some(trunk("b", 1))]);
    trunks.news(TrunkId(0), TrunkNews::Dead, now);
    trunks.probe(TrunkId(0), false, now);
    trunks.reload(vec![capped(), Some(trunk("b", 1))]);
    assert!(trunks.is_up(TrunkId(0), now), "it begins anew");
    assert!(!trunks.admit(TrunkId(0), now), "its call is still up");
    trunks.release(TrunkId(0));
    assert!(trunks.admit(TrunkId(0), now));
    assert_eq!(trunks.calls(TrunkId(0)), 1);
}

#[test]
fn inbound_trunks_are_never_chosen() {
    let now = Instant::now();
    let mut trunks = Trunks::new(vec![Some(Trunk {
        outbound: false,
        ..trunk("in", 1)
    })]);
    assert_eq!(trunks.choose(&[], 0, now), None);
    assert!(!trunks.any_up(now));
}

#[test]
fn a_trunk_without_a_resolved_name_is_down() {
    let now = Instant::now();
    let id = TrunkId(0);
    let mut trunks = Trunks::new(vec![Some(Trunk {
        hops: 0,
        usable_hops: 0,
        ..trunk("t", 1)
    })]);
    assert!(!trunks.is_up(id, now));
    assert_eq!(trunks.choose(&[], 0, now), None);
    trunks.hops(id, 2, 2);
    assert!(trunks.is_up(id, now));
    assert!(trunks.has_another_hop(id));
    trunks.hops(id, 1, 1);
    assert!(!trunks.has_another_hop(id));
    trunks.hops(id, 0, 0);
    assert!(!trunks.is_up(id, now));
}

/// Share of 10,000 calls that the first trunk gets.
fn share(trunks: &mut Trunks, now: Instant) -> u32 {
    let mut first = 0;
    for draw in 0..10_000 {
        // Draws of a generator, not of a counter: the share is of what is drawn.
        let random = crate::call::ramp::own_draw(draw, 77);
        let id = trunks.choose(&[], random, now).unwrap();
        first += u32::from(id == TrunkId(0));
        trunks.release(id);
    }
    first / 100
}

fn killed_and_back(trunks: &mut Trunks, now: Instant) {
    for _ in 0..DOWN_AFTER {
        trunks.probe(TrunkId(0), false, now);
    }
    assert_eq!(share(trunks, now), 0);
    for _ in 0..UP_AFTER {
        trunks.probe(TrunkId(0), true, now);
    }
    assert!(trunks.is_up(TrunkId(0), now));
}

#[test]
fn a_trunk_that_comes_back_takes_load_step_by_step() {
    let now = Instant::now();
    let first = Trunk {
        probed: true,
        ..trunk("t", 1)
    };
    // Of the better priority, so that all of the load is its own.
    let mut trunks = Trunks::new(vec![Some(first.clone()), weighted(2, 1)]);
    assert_eq!(share(&mut trunks, now), 100);
    killed_and_back(&mut trunks, now);
    let shares: Vec<u32> = [0, 2, 4, 6, 8, 10]
        .map(|seconds| share(&mut trunks, now + second(seconds)))
        .into();
    assert!((3..=7).contains(&shares[0]), "{shares:?}");
    assert!((45..=70).contains(&shares[3]), "{shares:?}");
    assert!(
        shares.windows(2).all(|pair| pair[0] + 10 < pair[1]),
        "{shares:?}"
    );
    assert_eq!(shares[5], 100);
    // By weight it takes the same part of its half.
    let mut trunks = Trunks::new(vec![Some(first), weighted(1, 1)]);
    killed_and_back(&mut trunks, now);
    let shares = [0, 5, 10].map(|seconds| share(&mut trunks, now + second(seconds)));
    assert!(
        shares[0] <= 5 && (20..=33).contains(&shares[1]),
        "{shares:?}"
    );
    assert!((47..=53).contains(&shares[2]), "{shares:?}");
}

#[test]
fn a_gentle_return_never_costs_a_call() {
    let now = Instant::now();
    let first = Trunk {
        probed: true,
        ..trunk("t", 1)
    };
    let mut trunks = Trunks::new(vec![Some(first)]);
    let id = TrunkId(0);
    for _ in 0..DOWN_AFTER {
        trunks.probe(id, false, now);
    }
    for _ in 0..UP_AFTER {
        trunks.probe(id, true, now);
    }
    for random in 0..1_000 {
        assert_eq!(trunks.choose(&[], random, now), Some(id));
    }
}

/// One that Retry-After has rested is overloaded: it is not given all at once either.
#[test]
fn a_rested_trunk_comes_back_step_by_step() {
    let now = Instant::now();
    let mut trunks = Trunks::new(vec![weighted(1, 1), weighted(2, 1)]);
    trunks.news(TrunkId(0), TrunkNews::Rest(5), now);
    let later = now + second(5);
    assert_eq!(trunks.choose(&[], 3, later), Some(TrunkId(0)));
    trunks.news(TrunkId(0), TrunkNews::Alive, later);
    assert!(share(&mut trunks, later) < 10);
    assert_eq!(share(&mut trunks, later + second(10)), 100);
}
