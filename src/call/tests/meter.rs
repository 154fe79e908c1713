//! Paid time (sip-bridging 7): the meter alone, then in a call.

use super::harness::*;
use crate::call::cause::Reason;
use crate::call::event::{BlocksRefusal, BooksEvent, LegEvent};
use crate::call::meter::{Exhausted, Meter, OVERDUE, Tick};
use crate::domain::{Credit, EndedBy, Tariff};
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn meter(block_seconds: u32, prepaid: bool, max: Duration, now: Instant) -> Meter {
    let tariff = Tariff {
        block_seconds,
        rate: Credit(1),
    };
    Meter::start(tariff, prepaid, max, now)
}

#[test]
fn exactly_k_blocks_charge_k() {
    let start = Instant::now();
    let mut meter = meter(60, false, Duration::ZERO, start);
    meter.blocks_held(10);
    for (time, blocks) in [
        (Duration::ZERO, 1),
        (Duration::from_nanos(1), 1),
        (seconds(60), 1),
        (seconds(60) + Duration::from_nanos(1), 2),
        (seconds(119), 2),
        (seconds(120), 2),
        (seconds(121), 3),
    ] {
        let charge = meter.charge(start + time);
        assert_eq!((charge.blocks, charge.duration), (blocks, time));
    }
}

#[test]
fn blocks_are_asked_for_ahead() {
    // Block length, first ask, count asked for.
    for (block, first, count) in [
        (60, millis(58_000), 2),
        (5, millis(3_000), 2),
        (4, millis(2_000), 2),
        (3, millis(1_500), 2),
        (2, millis(1_000), 3),
        (1, millis(500), 6),
    ] {
        let start = Instant::now();
        let mut meter = meter(block, true, Duration::ZERO, start);
        assert_eq!(meter.poll_timeout(), Some(start + first), "block {block}");
        assert_eq!(meter.handle_timeout(start + first - millis(1)), None);
        assert_eq!(
            meter.handle_timeout(start + first),
            Some(Tick::Hold(count)),
            "block {block}"
        );
        // Until the answer only the end of what is paid is awaited.
        let paid = start + seconds(u64::from(block));
        assert_eq!(meter.poll_timeout(), Some(paid));
        meter.blocks_held(count);
        let next = first + seconds(u64::from(block) * (count - 1));
        assert_eq!(meter.poll_timeout(), Some(start + next));
    }
}

#[test]
fn a_refused_run_is_asked_for_block_by_block() {
    let start = Instant::now();
    let mut meter = meter(1, true, Duration::ZERO, start);
    assert_eq!(
        meter.handle_timeout(start + millis(500)),
        Some(Tick::Hold(6))
    );
    let now = start + millis(501);
    assert_eq!(meter.blocks_refused(BlocksRefusal::NoCredit, now), Some(2));
    meter.blocks_held(2);
    let now = start + millis(1500);
    assert_eq!(meter.handle_timeout(now), Some(Tick::Hold(3)));
    assert_eq!(meter.blocks_refused(BlocksRefusal::NoCredit, now), None);
    assert_eq!(meter.poll_timeout(), Some(start + seconds(2)));
    // However late the timer is, the call ended with what was paid.
    let late = start + millis(2_700);
    assert_eq!(
        meter.handle_timeout(late),
        Some(Tick::Exhausted(Exhausted::Credit))
    );
    assert_eq!(meter.charge(late).blocks, 2);
    assert_eq!(meter.charge(late).duration, seconds(2));
}

/// Prepaid: at the end of the paid block, however slow the store is. Postpaid: when overdue.
#[test]
fn books_that_do_not_answer_end_it() {
    for prepaid in [true, false] {
        let start = Instant::now();
        let mut meter = meter(60, prepaid, Duration::ZERO, start);
        assert_eq!(
            meter.handle_timeout(start + seconds(58)),
            Some(Tick::Hold(2))
        );
        let end = start + seconds(60) + if prepaid { Duration::ZERO } else { OVERDUE };
        assert_eq!(meter.poll_timeout(), Some(end));
        assert_eq!(meter.handle_timeout(end - millis(1)), None);
        assert_eq!(
            meter.handle_timeout(end),
            Some(Tick::Exhausted(Exhausted::Store))
        );
        // Prepaid is never charged what was not held; postpaid is charged what it used.
        assert_eq!(meter.charge(end).blocks, if prepaid { 1 } else { 2 });
    }
}

#[test]
fn an_answer_in_the_last_moment_is_as_good() {
    let start = Instant::now();
    let mut meter = meter(60, true, Duration::ZERO, start);
    assert_eq!(
        meter.handle_timeout(start + seconds(58)),
        Some(Tick::Hold(2))
    );
    assert_eq!(meter.handle_timeout(start + millis(59_999)), None);
    meter.blocks_held(2);
    assert_eq!(meter.charge(start + seconds(63)).blocks, 2);
    assert_eq!(meter.poll_timeout(), Some(start + seconds(118)));
}

/// A process that stood still over the end of a block does not end its calls for that: the books
/// get as long to answer as ever, and no longer.
#[test]
fn who_asks_late_waits_no_longer_than_ever() {
    let start = Instant::now();
    let late = start + seconds(70);
    let mut meter = meter(60, true, Duration::ZERO, start);
    assert_eq!(meter.handle_timeout(late), Some(Tick::Hold(2)));
    assert_eq!(meter.charge(late).blocks, 1);
    assert_eq!(meter.poll_timeout(), Some(late + seconds(2)));
    meter.blocks_held(2);
    assert_eq!(meter.charge(late).blocks, 2);
    assert_eq!(meter.poll_timeout(), Some(start + seconds(118)));
}

#[test]
fn the_limit_needs_no_block_beyond_it() {
    let start = Instant::now();
    let mut meter = meter(60, true, seconds(120), start);
    assert_eq!(
        meter.handle_timeout(start + seconds(58)),
        Some(Tick::Hold(2))
    );
    meter.blocks_held(2);
    assert_eq!(meter.poll_timeout(), Some(start + seconds(120)));
    let late = start + seconds(121);
    assert_eq!(
        meter.handle_timeout(late),
        Some(Tick::Exhausted(Exhausted::Limit))
    );
    assert_eq!(meter.charge(late).blocks, 2);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// Whatever the books answer and however late the timers are: prepaid is never charged more
    /// than is held, the blocks fit the duration, and the end comes.
    #[test]
    fn charge_fits(
        block in 1u32..90,
        prepaid: bool,
        steps in prop::collection::vec((0u8..4, 0u64..5_000), 0..60),
        more in 0u64..10_000,
    ) {
        let start = Instant::now();
        let mut meter = meter(block, prepaid, Duration::ZERO, start);
        let mut now = start;
        let mut asked = None;
        let mut over = false;
        for (kind, late) in steps {
            if let Some(at) = meter.poll_timeout() {
                now = now.max(at) + millis(late);
                match meter.handle_timeout(now) {
                    Some(Tick::Hold(count)) => {
                        prop_assert!(count > meter.held());
                        asked = Some(count);
                    }
                    Some(Tick::Exhausted(_)) => { over = true; break; }
                    Some(Tick::Look(_)) | None => {}
                }
            }
            match (kind, asked) {
                (0 | 1, Some(count)) => { meter.blocks_held(count); asked = None; }
                (2, Some(_)) => asked = meter.blocks_refused(BlocksRefusal::NoCredit, now),
                _ => {}
            }
        }
        let end = if over { now } else { now + millis(more) };
        let charge = meter.charge(end);
        let length = seconds(u64::from(block));
        prop_assert!(charge.blocks >= 1);
        prop_assert!(!prepaid || charge.blocks <= meter.held());
        let blocks = u32::try_from(charge.blocks).unwrap();
        prop_assert!(charge.duration <= length * blocks);
        prop_assert!(blocks == 1 || charge.duration > length * (blocks - 1));
        prop_assert!(charge.duration <= end - start);
    }
}

#[test]
fn a_call_of_two_blocks_and_a_bit() {
    let mut bench = Bench::up();
    bench.advance(seconds(121));
    bench.expect(&["hold 2", "hold 3"]);
    bench.caller(LegEvent::Ended(cause(0, 16)));
    bench.expect(&["bye callee 0/16", "close", "record completed 3", "finished"]);
    let record = bench.record();
    assert_eq!(record.duration_millis, 121_000);
    assert_eq!((record.rate, record.charge), (Credit(100), Credit(300)));
    assert_eq!(record.block_seconds, 60);
    assert_eq!(record.ended_by, EndedBy::Caller);
}

#[test]
fn credit_exhausted_ends_with_the_paid_block() {
    let mut bench = Bench::up();
    bench.auto.hold = false;
    bench.advance(seconds(58));
    bench.expect(&["hold 2"]);
    bench.books(BooksEvent::BlocksRefused(BlocksRefusal::NoCredit));
    bench.advance(millis(1_999));
    bench.expect(&[]);
    bench.advance(millis(1));
    bench.expect(&[
        "bye caller 0/31",
        "bye callee 0/31",
        "close",
        "record credit_exhausted 1",
        "finished",
    ]);
    assert_eq!(bench.record().duration_millis, 60_000);
    assert_eq!(bench.record().ended_by, EndedBy::Gateway);
    assert_eq!(bench.record().sip_code, 200);
}

#[test]
fn a_store_that_refuses_ends_postpaid_too() {
    let mut bench = Bench::new();
    bench.admission.prepaid = false;
    let mut bench = bench.dial();
    bench.ring();
    bench.answer();
    bench.caller(LegEvent::Confirmed(None));
    bench.auto.hold = false;
    bench.advance(seconds(58));
    bench.books(BooksEvent::BlocksRefused(BlocksRefusal::Store));
    bench.advance(seconds(2));
    bench.assert_ended(Reason::StoreFailed);
    assert_eq!(bench.record().blocks, 1);
}

/// A full disk whose ballast is spent: the books neither hold the next block nor say so in time.
#[test]
fn a_prepaid_call_ends_at_its_paid_block_when_the_books_are_silent() {
    let mut bench = Bench::up();
    bench.auto.hold = false;
    bench.advance(millis(59_999));
    bench.expect(&["hold 2"]);
    bench.advance(millis(1));
    bench.expect(&[
        "bye caller 0/41",
        "bye callee 0/41",
        "close",
        "record store_failed 1",
        "finished",
    ]);
    assert_eq!(bench.record().duration_millis, 60_000);
}

#[test]
fn maximum_duration() {
    let mut bench = Bench::new();
    bench.settings.max_duration = seconds(90);
    let mut bench = bench.dial();
    bench.answer();
    bench.caller(LegEvent::Confirmed(None));
    bench.advance(seconds(89));
    bench.take();
    bench.set(bench.start + millis(90_040));
    bench.fire();
    bench.expect(&[
        "bye caller 0/31",
        "bye callee 0/31",
        "close",
        "record max_duration 2",
        "finished",
    ]);
    assert_eq!(bench.record().duration_millis, 90_000);
}

/// What the record says adds up for whoever divides: ⌈duration / block⌉ is the blocks charged.
#[test]
fn a_duration_is_never_shorter_than_what_it_costs() {
    let nanos = Duration::from_nanos;
    for (time, millis, blocks) in [
        (nanos(1), 1, 1),
        (nanos(999_999), 1, 1),
        (seconds(60), 60_000, 1),
        (seconds(60) + nanos(1), 60_001, 2),
        (seconds(60) + nanos(500_000), 60_001, 2),
    ] {
        let mut bench = Bench::up();
        bench.advance(time);
        bench.caller(LegEvent::Ended(cause(0, 16)));
        let record = bench.record();
        let seen = (record.duration_millis, record.blocks);
        assert_eq!(seen, (millis, blocks), "{time:?}");
    }
}

#[test]
fn paid_time_runs_from_the_200() {
    let mut bench = Bench::dialled();
    bench.advance(seconds(30));
    bench.ring();
    bench.auto.durable = false;
    bench.answer();
    bench.advance(seconds(1));
    bench.books(BooksEvent::AnswerDurable);
    bench.advance(seconds(2));
    bench.caller(LegEvent::Confirmed(None));
    bench.advance(seconds(3));
    bench.callee(LegEvent::Ended(cause(0, 0)));
    let record = bench.record();
    assert_eq!(record.duration_millis, 5_000);
    assert_eq!((record.blocks, record.q850_cause), (1, 16));
    assert_eq!(record.received_at.0, 1_000_000);
    assert_eq!(record.ringing_at.unwrap().0, 1_030_000);
    assert_eq!(record.answered_at.unwrap().0, 1_031_000);
    assert_eq!(record.ended_at.0, 1_036_000);
    assert_eq!(record.ended_by, EndedBy::Callee);
}
