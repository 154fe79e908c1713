//! From the INVITE to the answer: provisionals, forks, failover, CANCEL, timeouts, failures
//! (sip-bridging 1 and 3).

use super::harness::*;
use crate::call::cause::{End, Reason, bare_code};
use crate::call::event::{BooksEvent, DialFailure, Fork, Input, LegEvent, MediaEvent};
use crate::call::routing::{Trunk, Trunks};
use crate::call::{Call, State};
use crate::domain::{CallKey, CustomerId, EndedBy, Side, TrunkId};
use std::collections::BTreeSet;
use std::time::Duration;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn failed(sip: u16, q850: u8) -> LegEvent {
    LegEvent::Failed(DialFailure::Response {
        cause: cause(sip, q850),
        retry_after: 0,
    })
}

fn progress(fork: u16, status: u16, body: Option<&str>) -> LegEvent {
    LegEvent::Progress {
        fork: Fork(fork),
        status,
        body: body.and_then(sdp),
        reliable: false,
        muted: false,
    }
}

const SECOND_DIAL: [&str; 3] = [
    "route 2",
    "describe caller f0 Offer offer",
    "dial 2 60122222222 as 60111111111 'Ann' mf 69 ~offer",
];

#[test]
fn the_whole_way() {
    let mut bench = Bench::new();
    bench.feed(Input::Invite(Box::new(invite())));
    bench.expect(&[
        "admit 60388880001 by 60111111111",
        "protect caller 60122222222,0122222222,012-222 2222",
        "open 0 offer",
        "route 1",
        "describe caller f0 Offer offer",
        "dial 1 60122222222 as 60111111111 'Ann' mf 69 ~offer",
    ]);
    bench.feed(Input::CalleeLeg("leg-b".into()));
    bench.callee(LegEvent::Trying);
    bench.callee(progress(0, 180, None));
    bench.expect(&["trunk 1 Alive", "progress f0 180 -"]);
    bench.answer();
    bench.expect(&[
        "confirm callee -",
        "describe callee f0 Answer answer",
        "select f0",
        "answer",
        "accept f0 ~answer",
        "start",
    ]);
    bench.caller(LegEvent::Confirmed(None));
    bench.caller(LegEvent::Ended(cause(0, 0)));
    bench.expect(&["bye callee 0/16", "close", "record completed 1", "finished"]);
    let record = bench.record();
    assert_eq!(record.call_id, invite().call_id);
    assert_eq!(&*record.caller_leg_call_id, "leg-a");
    assert_eq!(&*record.callee_leg_call_id, "leg-b");
    assert_eq!(record.reference_id, Some(bench.admission.reference));
    assert_eq!(record.customer_id, Some(CustomerId(1)));
    assert_eq!(record.caller, Some(number(CALLER)));
    assert_eq!(record.callee, Some(number(CALLEE)));
    assert_eq!(&*record.leased_number, "+60388880001");
    assert_eq!(&*record.shown_number, "+60111111111");
    assert_eq!((&*record.trunk_in, &*record.trunk_out), ("in", "out1"));
    assert_eq!((record.sip_code, record.q850_cause), (200, 16));
    assert_eq!(record.to_callee.packets, 10);
    assert_eq!(record.to_caller.packets, 20);
    assert_eq!(record.guard_hits, 1);
}

#[test]
fn early_media_passes_and_selects_its_fork() {
    let mut bench = Bench::dialled();
    bench.callee(progress(0, 183, Some("early0")));
    bench.expect(&[
        "trunk 1 Alive",
        "describe callee f0 Provisional early0",
        "select f0",
        "progress f0 183 ~early0",
    ]);
    bench.callee(progress(1, 183, Some("early1")));
    bench.expect(&[
        "describe callee f1 Provisional early1",
        "select f1",
        "progress f1 183 ~early1",
    ]);
    bench.callee(progress(1, 180, Some("early1")));
    bench.expect(&[
        "describe callee f1 Provisional early1",
        "progress f1 180 ~early1",
    ]);
    // The fork that answers need not be the one that was heard last.
    bench.callee(LegEvent::Answered {
        fork: Fork(0),
        body: None,
    });
    bench.expect(&[
        "confirm callee -",
        "describe callee f0 Answer early0",
        "select f0",
        "answer",
        "accept f0 ~early0",
        "start",
    ]);
}

#[test]
fn early_media_blocked_by_either_trunk() {
    for place in [0, 1] {
        let mut bench = Bench::new();
        let mut list = trunks();
        list[place].as_mut().unwrap().early_media = false;
        bench.trunks = Trunks::new(list);
        let mut bench = bench.dial();
        bench.callee(progress(0, 183, Some("early")));
        bench.expect(&["trunk 1 Alive", "progress f0 180 -"]);
        bench.callee(progress(0, 182, Some("early")));
        bench.expect(&["progress f0 182 -"]);
        bench.callee(LegEvent::Answered {
            fork: Fork(0),
            body: None,
        });
        assert!(bench.take().contains(&"accept f0 ~early".to_owned()));
    }
}

#[test]
fn provisionals_that_say_nothing_to_a_caller_stay_here() {
    let mut bench = Bench::dialled();
    for status in [101, 179, 184, 199] {
        bench.callee(progress(0, status, None));
    }
    bench.expect(&["trunk 1 Alive"]);
    assert_eq!(bench.call.state(), State::Dialling);
}

#[test]
fn early_media_that_cannot_be_described_rings() {
    let mut bench = Bench::dialled();
    bench.auto.describe = false;
    bench.callee(progress(0, 183, Some("odd")));
    bench.take();
    bench.media(MediaEvent::Undescribed);
    bench.expect(&["progress f0 180 -"]);
}

#[test]
fn fails_over_on_these_and_no_others() {
    for status in [408, 500, 502, 503, 504] {
        let mut bench = Bench::ringing();
        bench.callee(failed(status, 0));
        bench.expect(&SECOND_DIAL);
        assert_eq!(bench.trunks.calls(TrunkId(1)), 0);
        assert_eq!(bench.trunks.calls(TrunkId(2)), 1);
        assert_eq!(&*bench.call.record().trunk_out, "out2");
    }
    for failure in [DialFailure::Timeout, DialFailure::Transport] {
        let mut bench = Bench::dialled();
        bench.callee(LegEvent::Failed(failure));
        assert_eq!(bench.take()[1..], SECOND_DIAL);
    }
    for status in (300..700).filter(|status| ![408, 500, 502, 503, 504].contains(status)) {
        let mut bench = Bench::ringing();
        bench.callee(failed(status, 0));
        let lines = bench.take();
        assert!(lines[0].starts_with("reject "), "{status}: {lines:?}");
        assert!(bench.call.state() == State::Over);
    }
}

#[test]
fn no_failover_once_media_came() {
    let mut bench = Bench::dialled();
    bench.callee(progress(0, 183, Some("early")));
    bench.take();
    bench.callee(failed(503, 0));
    bench.expect(&[
        "reject 500/41",
        "close",
        "record route_failed 0",
        "finished",
    ]);
}

#[test]
fn a_trunk_that_says_nothing_for_3_s_is_left() {
    let mut bench = Bench::dialled();
    bench.advance(Duration::from_millis(2_999));
    bench.expect(&[]);
    bench.advance(Duration::from_millis(1));
    let mut expected = vec!["trunk 1 Dead", "cancel 0/102"];
    expected.extend(SECOND_DIAL);
    bench.expect(&expected);
    // The last trunk has no successor: its INVITE goes on being repeated until it times out.
    bench.advance(seconds(20));
    bench.expect(&["trunk 2 Dead"]);
    bench.callee(LegEvent::Failed(DialFailure::Timeout));
    bench.expect(&[
        "reject 408/102",
        "close",
        "record route_failed 0",
        "finished",
    ]);
}

/// The number form of a trunk may have no way to write a number: it is passed over for it.
#[test]
fn a_trunk_that_cannot_write_the_number_is_passed_over() {
    let mut bench = Bench::new();
    bench.world.unfit = vec![TrunkId(1)];
    bench.auto.describe = false;
    bench.feed(Input::Invite(Box::new(invite())));
    assert!(bench.take().contains(&"route 2".to_owned()));
    // Nor is the call taken from a silent trunk for it.
    let mut bench = Bench::dialled();
    bench.world.unfit = vec![TrunkId(2)];
    bench.advance(seconds(20));
    bench.expect(&["trunk 1 Dead"]);
}

#[test]
fn a_trunk_that_has_said_anything_is_not_left() {
    let mut bench = Bench::dialled();
    bench.callee(LegEvent::Trying);
    bench.expect(&["trunk 1 Alive"]);
    bench.callee(LegEvent::Trying);
    bench.advance(seconds(119));
    bench.expect(&[]);
}

#[test]
fn retry_after_rests_the_trunk() {
    let mut bench = Bench::dialled();
    bench.callee(LegEvent::Failed(DialFailure::Response {
        cause: cause(503, 0),
        retry_after: 7,
    }));
    let mut expected = vec!["trunk 1 Rest(7)"];
    expected.extend(SECOND_DIAL);
    bench.expect(&expected);
    assert!(!bench.trunks.is_up(TrunkId(1), bench.now.mono + seconds(6)));
    assert!(bench.trunks.is_up(TrunkId(1), bench.now.mono + seconds(7)));
}

#[test]
fn when_all_trunks_fail_the_last_failure_counts() {
    let mut bench = Bench::dialled();
    bench.callee(failed(503, 0));
    bench.callee(failed(504, 27));
    bench.take();
    assert_eq!(bench.record().sip_code, 500);
    assert_eq!(bench.record().q850_cause, 27);
    bench.assert_ended(Reason::RouteFailed);
}

#[test]
fn a_network_without_ports_is_passed_over_and_is_no_fault_of_the_offer() {
    let mut bench = Bench::new();
    bench.auto.describe = false;
    bench.feed(Input::Invite(Box::new(invite())));
    bench.take();
    bench.media(MediaEvent::Unrouted);
    bench.media(MediaEvent::Undescribed);
    bench.expect(&["route 2", "describe caller f0 Offer offer"]);
    bench.media(MediaEvent::Undescribed);
    bench.expect(&["reject 503/34", "close", "record no_port 0", "finished"]);
}

#[test]
fn a_trunk_that_cannot_carry_the_offer_is_passed_over() {
    let mut bench = Bench::new();
    bench.auto.describe = false;
    bench.feed(Input::Invite(Box::new(invite())));
    bench.take();
    bench.media(MediaEvent::Undescribed);
    bench.expect(&["route 2", "describe caller f0 Offer offer"]);
    bench.media(MediaEvent::Undescribed);
    bench.expect(&["reject 488/88", "close", "record no_media 0", "finished"]);
}

#[test]
fn failures_of_the_callee_reach_the_caller_bare() {
    for (status, answer, reason) in [
        (404, "reject 404/1", Reason::NotFound),
        (410, "reject 410/22", Reason::NotFound),
        (480, "reject 480/18", Reason::Unavailable),
        (484, "reject 484/28", Reason::NotFound),
        (486, "reject 486/17", Reason::Busy),
        (487, "reject 487/31", Reason::Unavailable),
        (488, "reject 488/88", Reason::MediaRefused),
        (600, "reject 600/17", Reason::Busy),
        (603, "reject 603/21", Reason::Declined),
        (604, "reject 604/1", Reason::NotFound),
        (300, "reject 480/18", Reason::Unavailable),
        (302, "reject 480/18", Reason::Unavailable),
        (400, "reject 500/41", Reason::RouteFailed),
        (401, "reject 500/21", Reason::RouteFailed),
        (403, "reject 500/21", Reason::RouteFailed),
        (407, "reject 500/21", Reason::RouteFailed),
        (420, "reject 500/127", Reason::RouteFailed),
        (422, "reject 500/41", Reason::RouteFailed),
        (501, "reject 500/79", Reason::RouteFailed),
        (606, "reject 500/88", Reason::RouteFailed),
    ] {
        let mut bench = Bench::ringing();
        bench.callee(failed(status, 0));
        let record = format!("record {} 0", reason.name());
        bench.expect(&[answer, "close", &record, "finished"]);
        let by = bench.record().ended_by;
        assert_eq!(by == EndedBy::Gateway, reason == Reason::RouteFailed);
        assert_eq!(bench.record().blocks, 0);
    }
    // The cause that came with it is kept; one that is no Q.850 cause is not.
    let end = |q850| {
        End::of_callee(DialFailure::Response {
            cause: cause(480, q850),
            retry_after: 0,
        })
    };
    assert_eq!(end(20).cause, cause(480, 20));
    assert_eq!(end(200).cause, cause(480, 18));
    assert_eq!(bare_code(408), 408);
}

#[test]
fn cancel_in_every_state_before_the_200() {
    let cancel = || LegEvent::Cancelled(cause(0, 0));
    let cases: [(Bench, &[&str]); 3] = [
        (
            Bench::dialled(),
            &[
                "reject 487/16",
                "cancel 0/16",
                "close",
                "record cancelled 0",
                "finished",
            ],
        ),
        (
            Bench::ringing(),
            &[
                "reject 487/16",
                "cancel 0/16",
                "close",
                "record cancelled 0",
                "finished",
            ],
        ),
        (
            {
                let mut bench = Bench::ringing();
                bench.auto.durable = false;
                bench.answer();
                assert_eq!(bench.call.state(), State::AwaitingDurable);
                bench.take();
                bench
            },
            &[
                "reject 487/16",
                "bye callee 0/16",
                "close",
                "record cancelled 0",
                "finished",
            ],
        ),
    ];
    for (mut bench, expected) in cases {
        bench.caller(cancel());
        bench.expect(expected);
        let record = bench.record();
        assert_eq!((record.sip_code, record.blocks), (487, 0));
        assert_eq!(record.ended_by, EndedBy::Caller);
        bench.books(BooksEvent::AnswerDurable);
        bench.expect(&[]);
    }
}

#[test]
fn cancel_while_the_books_are_asked_waits_for_their_word() {
    let mut bench = Bench::new();
    bench.auto.admit = false;
    bench.feed(Input::Invite(Box::new(invite())));
    bench.take();
    bench.caller(LegEvent::Cancelled(cause(0, 0)));
    bench.expect(&["reject 487/16"]);
    let admission = bench.admission.clone();
    bench.books(BooksEvent::Admitted(Box::new(admission)));
    bench.expect(&["record cancelled 0", "finished"]);
    assert_eq!(bench.record().customer_id, Some(CustomerId(1)));
    assert_eq!(bench.record().callee, Some(number(CALLEE)));
}

#[test]
fn cancel_while_media_is_opened() {
    let mut bench = Bench::new();
    bench.auto.open = false;
    bench.feed(Input::Invite(Box::new(invite())));
    bench.take();
    bench.caller(LegEvent::Cancelled(cause(0, 26)));
    bench.expect(&["reject 487/26", "close", "record cancelled 0", "finished"]);
    bench.media(MediaEvent::Opened);
    bench.expect(&[]);
}

#[test]
fn a_bye_in_the_early_dialog_is_a_cancel() {
    let mut bench = Bench::ringing();
    bench.caller(LegEvent::Ended(cause(0, 0)));
    bench.expect(&[
        "reject 487/16",
        "cancel 0/16",
        "close",
        "record cancelled 0",
        "finished",
    ]);
}

#[test]
fn no_answer_in_time() {
    let mut bench = Bench::ringing();
    bench.advance(seconds(119));
    bench.expect(&[]);
    bench.advance(seconds(1));
    bench.expect(&[
        "reject 480/19",
        "cancel 0/19",
        "close",
        "record no_answer 0",
        "finished",
    ]);
    assert_eq!(bench.record().ended_by, EndedBy::Gateway);
}

#[test]
fn a_trunk_has_its_own_ring_timeout() {
    for (place, timeout) in [(0, 10), (1, 20)] {
        let mut bench = Bench::new();
        let mut list = trunks();
        list[place] = list[place].take().map(|trunk| Trunk {
            ring_timeout: Some(seconds(timeout)),
            ..trunk
        });
        bench.trunks = Trunks::new(list);
        let mut bench = bench.dial();
        bench.ring();
        bench.advance(seconds(timeout) - Duration::from_millis(1));
        assert_eq!(bench.call.state(), State::Ringing);
        bench.advance(Duration::from_millis(1));
        bench.assert_ended(Reason::NoAnswer);
    }
}

#[test]
fn a_lease_that_ends_cancels_what_rings() {
    for hang_up in [false, true] {
        let mut bench = Bench::ringing();
        bench.books(BooksEvent::LeaseEnded { hang_up });
        bench.expect(&[
            "reject 480/31",
            "cancel 0/31",
            "close",
            "record lease_ended 0",
            "finished",
        ]);
    }
}

#[test]
fn shutdown_before_the_answer() {
    let mut bench = Bench::ringing();
    bench.feed(Input::Shutdown);
    bench.expect(&[
        "reject 503/42 retry 5",
        "cancel 0/42",
        "close",
        "record shutdown 0",
        "finished",
    ]);
    let mut idle = Bench::new();
    idle.feed(Input::Shutdown);
    idle.expect(&["finished"]);
}

#[test]
fn the_record_waits_for_the_figures_but_not_for_ever() {
    let mut bench = Bench::ringing();
    bench.auto.figures = false;
    bench.caller(LegEvent::Cancelled(cause(0, 0)));
    bench.expect(&["reject 487/16", "cancel 0/16", "close"]);
    bench.advance(Duration::from_millis(4_999));
    bench.expect(&[]);
    bench.advance(Duration::from_millis(1));
    bench.expect(&["record cancelled 0"]);
    // The ports are still out: the call is there until they are back.
    bench.advance(seconds(60));
    bench.feed(figures());
    bench.expect(&["finished"]);
}

#[test]
fn the_call_is_not_forgotten_before_its_record_is_durable() {
    let mut bench = Bench::ringing();
    bench.auto.recorded = false;
    bench.caller(LegEvent::Cancelled(cause(0, 0)));
    bench.take();
    bench.advance(seconds(3600));
    bench.expect(&[]);
    assert_eq!(bench.call.state(), State::Ending);
    bench.books(BooksEvent::Recorded);
    bench.expect(&["finished"]);
}

#[test]
fn a_re_invite_before_the_answer_is_refused() {
    let mut bench = Bench::ringing();
    bench.callee(LegEvent::Offered(sdp("x")));
    bench.expect(&["refuse callee 491/0"]);
}

#[test]
fn a_leg_that_is_lost_while_it_rings() {
    let mut bench = Bench::ringing();
    bench.caller(LegEvent::Lost(cause(0, 0)));
    bench.expect(&["cancel 0/41", "close", "record lost 0", "finished"]);
    assert_eq!(bench.record().ended_by, EndedBy::Caller);
}

#[test]
fn before_the_invite_nothing_happens() {
    let mut bench = Bench::new();
    bench.caller(LegEvent::Ended(cause(0, 0)));
    bench.books(BooksEvent::Recorded);
    bench.media(MediaEvent::Silent);
    bench.expect(&[]);
    assert_eq!(Call::new(CallKey(4)).key(), CallKey(4));
}

#[test]
fn guard_hits_are_counted() {
    let mut bench = Bench::ringing();
    bench.feed(Input::GuardHit);
    bench.feed(Input::GuardHit);
    bench.caller(LegEvent::Cancelled(cause(0, 0)));
    assert_eq!(bench.record().guard_hits, 3);
}

#[test]
fn every_reason_has_a_name_of_its_own() {
    let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
    let all: BTreeSet<_> = Reason::ALL.iter().collect();
    assert_eq!(all.len(), Reason::ALL.len());
    for name in names {
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
    }
}

#[test]
fn sides_are_told_apart() {
    // A callee cannot cancel, a caller cannot answer.
    let mut bench = Bench::ringing();
    bench.leg(Side::Callee, LegEvent::Cancelled(cause(0, 0)));
    bench.leg(
        Side::Caller,
        LegEvent::Answered {
            fork: Fork(0),
            body: sdp("x"),
        },
    );
    bench.expect(&[]);
    assert_eq!(bench.call.state(), State::Ringing);
}

/// A trunk of two hops, of which `usable` have not failed.
fn two_hops(bench: &mut Bench, usable: usize) {
    bench.trunks.hops(TrunkId(1), 2, usable);
}

const SAME_TRUNK: [&str; 3] = ["route 1", SECOND_DIAL[1], "dial"];

#[test]
fn the_next_hop_of_a_trunk_comes_before_the_next_trunk() {
    for failure in [
        DialFailure::Transport,
        DialFailure::Timeout,
        DialFailure::Response {
            cause: cause(503, 0),
            retry_after: 9,
        },
    ] {
        let mut bench = Bench::dialled();
        two_hops(&mut bench, 1);
        bench.callee(LegEvent::Failed(failure));
        let lines = bench.take();
        assert_eq!(lines[0], SAME_TRUNK[0], "{lines:?}");
        assert!(lines.last().unwrap().starts_with("dial "), "{lines:?}");
        assert!(!lines.iter().any(|line| line.starts_with("trunk ")));
        // One call, however many hops it takes.
        assert_eq!(bench.trunks.calls(TrunkId(1)), 1);
        // With that the trunk's hops are used up: it is dead, and the next one is tried.
        two_hops(&mut bench, 0);
        bench.callee(LegEvent::Failed(DialFailure::Transport));
        let lines = bench.take();
        assert_eq!(lines[0], "trunk 1 Dead");
        assert_eq!(lines[1..], SECOND_DIAL);
        assert_eq!(bench.trunks.calls(TrunkId(1)), 0);
    }
}

#[test]
fn other_failures_are_no_fault_of_the_hop() {
    for status in [408, 500, 502, 504] {
        let mut bench = Bench::dialled();
        two_hops(&mut bench, 2);
        bench.callee(failed(status, 0));
        assert!(bench.take().ends_with(&SECOND_DIAL.map(str::to_owned)));
    }
}

#[test]
fn a_silent_hop_is_left_for_the_next_after_3_s() {
    let mut bench = Bench::dialled();
    two_hops(&mut bench, 1);
    bench.advance(seconds(3));
    let lines = bench.take();
    assert_eq!(lines[..2], ["cancel 0/102", SAME_TRUNK[0]], "{lines:?}");
    two_hops(&mut bench, 0);
    bench.advance(seconds(3));
    let mut expected = vec!["trunk 1 Dead", "cancel 0/102"];
    expected.extend(SECOND_DIAL);
    bench.expect(&expected);
}

#[test]
fn attempts_end_however_many_hops_there_are() {
    let mut bench = Bench::dialled();
    bench.trunks.hops(TrunkId(1), 16, 16);
    let mut dials = 1;
    while bench.call.state() != State::Over {
        bench.callee(LegEvent::Failed(DialFailure::Transport));
        dials += bench
            .take()
            .iter()
            .filter(|line| line.starts_with("dial "))
            .count();
    }
    assert_eq!(dials, crate::call::setup::MAX_ATTEMPTS);
}
