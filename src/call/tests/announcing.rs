//! Recordings for callers whose calls are refused, and the warning before credit ends.

use super::harness::*;
use crate::call::State;
use crate::call::cause::Reason;
use crate::call::event::{
    BlocksRefusal, BooksEvent, Fork, Input, Invite, LegEvent, MediaEvent, Refusal,
};
use crate::domain::{EndedBy, Side, TrunkId};
use std::time::Duration;

const LENGTH: Duration = Duration::from_secs(4);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.auto.admit = false;
    bench.settings.announcements.no_lease = Some(LENGTH);
    bench.settings.announcements.not_allowed = Some(LENGTH);
    bench.settings.announcements.credit_exhausted = Some(LENGTH);
    bench
}

fn gone() -> Invite {
    Invite {
        dialled: "+60388880009".into(),
        ..invite()
    }
}

fn begin(bench: &mut Bench, invite: Invite) {
    bench.feed(Input::Invite(Box::new(invite)));
}

fn announcing(bench: &mut Bench) {
    begin(bench, gone());
    bench.expect(&["announce 0 no_lease offer"]);
    bench.media(MediaEvent::Announcing("recording".into()));
    bench.expect(&["progress f0 183 recording"]);
    assert_eq!(bench.call.state(), State::Announcing);
}

#[test]
fn a_number_out_of_service_is_told_before_it_is_refused() {
    let mut bench = bench();
    announcing(&mut bench);
    bench.media(MediaEvent::Played);
    bench.expect(&["reject 404/1", "close", "record no_lease 0", "finished"]);
    let record = bench.record();
    assert_eq!((&*record.reason, record.sip_code), ("no_lease", 404));
    assert_eq!(record.ended_by, EndedBy::Gateway);
    assert_eq!((record.ringing_at, record.answered_at), (None, None));
    assert_eq!((record.blocks, record.charge.0), (0, 0));
}

#[test]
fn each_refusal_has_its_recording() {
    let unknown = Invite {
        dialled: "+60399999999".into(),
        ..invite()
    };
    let mut one = bench();
    begin(&mut one, unknown);
    one.expect(&["announce 0 no_lease offer"]);
    for (refusal, which) in [
        (Refusal::NoLease, "no_lease"),
        (Refusal::NotOnWhitelist, "not_allowed"),
        (Refusal::NotMember, "not_allowed"),
        (Refusal::NoIdentity, "not_allowed"),
        (Refusal::NoCredit, "credit_exhausted"),
    ] {
        let mut bench = bench();
        begin(&mut bench, invite());
        bench.take();
        bench.books(BooksEvent::Refused(refusal));
        bench.expect(&[&format!("announce 0 {which} offer")]);
        bench.media(MediaEvent::Unannounced);
        let cause = Reason::from(refusal).cause();
        let reject = format!("reject {}/{}", cause.sip, cause.q850);
        let record = format!("record {} 0", Reason::from(refusal).name());
        bench.expect(&[&reject, &record, "finished"]);
    }
}

#[test]
fn others_and_those_who_cannot_hear_are_refused_at_once() {
    // A refusal that has none.
    let mut busy = bench();
    begin(&mut busy, invite());
    busy.books(BooksEvent::Refused(Refusal::LeaseBusy));
    busy.assert_ended(Reason::LeaseBusy);
    // Nothing configured.
    let mut off = bench();
    off.settings.announcements.no_lease = None;
    begin(&mut off, gone());
    off.assert_ended(Reason::NoLease);
    // No offer to answer.
    let mut delayed = bench();
    begin(
        &mut delayed,
        Invite {
            offer: None,
            ..gone()
        },
    );
    delayed.assert_ended(Reason::NoLease);
    // A trunk that blocks early media.
    let mut blocked = bench();
    let mut trunks = trunks();
    if let Some(trunk) = &mut trunks[0] {
        trunk.early_media = false;
    }
    blocked.trunks.reload(trunks);
    begin(&mut blocked, gone());
    blocked.assert_ended(Reason::NoLease);
}

#[test]
fn the_status_is_the_configured_one() {
    let mut bench = bench();
    bench.settings.no_lease = 480;
    announcing(&mut bench);
    bench.media(MediaEvent::Played);
    assert_eq!(bench.record().sip_code, 480);
}

#[test]
fn a_caller_who_gives_up_is_cancelled() {
    let mut bench = bench();
    announcing(&mut bench);
    assert_eq!(bench.trunks.calls(TrunkId(0)), 1);
    bench.caller(LegEvent::Cancelled(cause(0, 0)));
    bench.expect(&["reject 487/16", "close", "record cancelled 0", "finished"]);
    bench.assert_ended(Reason::Cancelled);
    assert_eq!(bench.record().ended_by, EndedBy::Caller);
}

#[test]
fn a_recording_that_never_ends_is_not_waited_for() {
    let mut bench = bench();
    announcing(&mut bench);
    bench.advance(LENGTH + Duration::from_millis(1999));
    assert_eq!(bench.call.state(), State::Announcing);
    bench.advance(Duration::from_millis(1));
    bench.assert_ended(Reason::NoLease);
    // Nor is a session that says nothing at all.
    let mut silent = self::bench();
    begin(&mut silent, gone());
    silent.advance(LENGTH + seconds(2));
    silent.assert_ended(Reason::NoLease);
}

#[test]
fn what_comes_late_or_does_not_belong_changes_nothing() {
    let mut bench = bench();
    announcing(&mut bench);
    bench.caller(LegEvent::Pending(Fork(0)));
    bench.caller(LegEvent::Settled(Fork(0)));
    bench.media(MediaEvent::Silent);
    bench.caller(LegEvent::EarlyOffered(Fork(0), "more".into()));
    bench.expect(&["early-refuse caller f0 491/0"]);
    bench.media(MediaEvent::Played);
    bench.media(MediaEvent::Played);
    bench.assert_ended(Reason::NoLease);
    let mut stopped = self::bench();
    announcing(&mut stopped);
    stopped.feed(Input::Shutdown);
    stopped.assert_ended(Reason::Shutdown);
}

/// A prepaid call that is up, in blocks of so many seconds, with a warning 10 s before.
fn up(block: u32) -> Bench {
    let mut bench = Bench::new();
    bench.settings.credit_warning = seconds(10);
    bench.admission.tariff.block_seconds = block;
    let mut bench = bench.dial();
    bench.ring();
    bench.answer();
    bench.caller(LegEvent::Confirmed(None));
    bench.take();
    bench
}

#[test]
fn the_caller_is_warned_before_the_last_block_ends() {
    let mut bench = up(60);
    bench.advance(Duration::from_millis(49_999));
    bench.expect(&[]);
    bench.advance(Duration::from_millis(1));
    bench.expect(&["look 2"]);
    bench.books(BooksEvent::Covered(2));
    bench.expect(&[]);
    bench.advance(seconds(60));
    bench.expect(&["hold 2", "look 3"]);
    bench.books(BooksEvent::Covered(2));
    bench.expect(&["warn true"]);
    bench.auto.hold = false;
    bench.advance(seconds(8));
    bench.expect(&["hold 3"]);
    bench.books(BooksEvent::BlocksRefused(BlocksRefusal::NoCredit));
    bench.expect(&[]);
    bench.advance(seconds(2));
    bench.assert_ended(Reason::CreditExhausted);
    assert_eq!(bench.record().duration_millis, 120_000);
}

#[test]
fn a_top_up_ends_the_warning_and_the_next_end_has_its_own() {
    let mut bench = up(60);
    bench.advance(seconds(50));
    bench.books(BooksEvent::Covered(1));
    bench.expect(&["look 2", "warn true"]);
    bench.advance(seconds(8));
    bench.expect(&["hold 2", "warn false"]);
    bench.advance(seconds(52));
    bench.expect(&["look 3"]);
    bench.books(BooksEvent::Covered(2));
    bench.expect(&["warn true"]);
}

#[test]
fn a_refusal_out_of_the_blue_warns_at_once() {
    let mut bench = up(60);
    bench.auto.hold = false;
    bench.advance(seconds(50));
    bench.books(BooksEvent::Covered(2));
    bench.advance(seconds(8));
    bench.expect(&["look 2", "hold 2"]);
    bench.books(BooksEvent::BlocksRefused(BlocksRefusal::NoCredit));
    bench.expect(&["warn true"]);
}

#[test]
fn short_blocks_are_looked_at_in_runs() {
    let mut bench = up(1);
    bench.advance(Duration::ZERO);
    bench.expect(&["look 15"]);
    bench.books(BooksEvent::Covered(15));
    let mut looks = 0;
    for _ in 0..50 {
        bench.advance(Duration::from_millis(100));
        looks += bench
            .take()
            .iter()
            .filter(|line| line.starts_with("look"))
            .count();
    }
    assert_eq!(looks, 1, "the next is due after 5 s");
    bench.books(BooksEvent::Covered(17));
    bench.expect(&[]);
    bench.advance(seconds(2));
    assert!(bench.take().iter().any(|line| line == "look 22"));
    bench.books(BooksEvent::Covered(17));
    bench.expect(&["warn true"]);
}

#[test]
fn nobody_is_warned_for_nothing() {
    // A limit that comes first is no matter of credit.
    let mut limited = Bench::new();
    limited.settings.credit_warning = seconds(10);
    limited.settings.max_duration = seconds(55);
    let mut limited = limited.dial();
    limited.ring();
    limited.answer();
    limited.caller(LegEvent::Confirmed(None));
    limited.advance(seconds(50));
    limited.take();
    limited.books(BooksEvent::Covered(1));
    limited.expect(&[]);
    // Postpaid calls and those of gateways that do not warn are not even asked about.
    for (prepaid, ahead) in [(false, 10), (true, 0)] {
        let mut bench = Bench::new();
        bench.settings.credit_warning = seconds(ahead);
        bench.admission.prepaid = prepaid;
        let mut bench = bench.dial();
        bench.ring();
        bench.answer();
        bench.leg(Side::Caller, LegEvent::Confirmed(None));
        bench.take();
        bench.advance(seconds(70));
        bench.expect(&["hold 2"]);
    }
}
