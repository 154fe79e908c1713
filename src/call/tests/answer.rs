//! The answer: durability before the 200, ACK and its absence, delayed offers, and how answered
//! calls end (sip-bridging 3, 7).

use super::harness::*;
use crate::call::State;
use crate::call::cause::Reason;
use crate::call::ending::ACK_TIMEOUT;
use crate::call::event::{BooksEvent, Fork, Input, LegEvent, MediaEvent};
use crate::domain::{Credit, EndedBy, Side};
use std::time::Duration;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn no_200_before_the_books_have_it() {
    let mut bench = Bench::ringing();
    bench.auto.durable = false;
    bench.answer();
    bench.expect(&[
        "confirm callee -",
        "describe callee f0 Answer answer",
        "select f0",
        "answer",
    ]);
    assert_eq!(bench.call.state(), State::AwaitingDurable);
    // What a crash would leave.
    let draft = bench.drafts[0].clone();
    assert_eq!(&*draft.reason, "crash");
    assert_eq!(draft.ended_by, EndedBy::Gateway);
    assert_eq!((draft.sip_code, draft.blocks), (200, 1));
    assert_eq!(draft.charge, Credit(100));
    assert_eq!(draft.answered_at, Some(bench.now.wall));
    bench.advance(seconds(10));
    bench.expect(&[]);
    bench.books(BooksEvent::AnswerDurable);
    bench.expect(&["accept f0 ~answer", "start"]);
}

#[test]
fn an_answer_that_cannot_be_kept_is_not_given() {
    let mut bench = Bench::ringing();
    bench.auto.durable = false;
    bench.answer();
    bench.take();
    bench.books(BooksEvent::AnswerFailed);
    bench.expect(&[
        "reject 503/41",
        "bye callee 0/41",
        "close",
        "record store_failed 0",
        "finished",
    ]);
    assert_eq!(bench.record().answered_at, None);
}

#[test]
fn what_ends_a_call_between_answer_and_200() {
    let cases: [(Input, &[&str]); 5] = [
        (
            Input::Leg(Side::Callee, LegEvent::Ended(cause(0, 16))),
            &["reject 480/16", "close", "record unavailable 0", "finished"],
        ),
        (
            Input::Leg(Side::Callee, LegEvent::Lost(cause(0, 0))),
            &["reject 500/41", "close", "record lost 0", "finished"],
        ),
        (
            Input::Books(BooksEvent::LeaseEnded { hang_up: false }),
            &[
                "reject 480/31",
                "bye callee 0/31",
                "close",
                "record lease_ended 0",
                "finished",
            ],
        ),
        (
            Input::Shutdown,
            &[
                "reject 503/42 retry 5",
                "bye callee 0/42",
                "close",
                "record shutdown 0",
                "finished",
            ],
        ),
        (
            Input::Leg(Side::Caller, LegEvent::Lost(cause(0, 0))),
            &["bye callee 0/41", "close", "record lost 0", "finished"],
        ),
    ];
    for (input, expected) in cases {
        let mut bench = Bench::ringing();
        bench.auto.durable = false;
        bench.answer();
        bench.take();
        bench.feed(input);
        bench.expect(expected);
        assert_eq!(bench.record().blocks, 0);
    }
}

#[test]
fn a_200_without_any_answer_is_none() {
    let mut bench = Bench::ringing();
    bench.callee(LegEvent::Answered {
        fork: Fork(0),
        body: None,
    });
    bench.expect(&[
        "confirm callee -",
        "reject 500/88",
        "bye callee 0/88",
        "close",
        "record media_failed 0",
        "finished",
    ]);
}

#[test]
fn an_answer_that_cannot_be_described() {
    let mut bench = Bench::ringing();
    bench.auto.describe = false;
    bench.answer();
    bench.take();
    bench.media(MediaEvent::Undescribed);
    bench.expect(&[
        "reject 500/88",
        "bye callee 0/88",
        "close",
        "record media_failed 0",
        "finished",
    ]);
}

#[test]
fn a_fork_not_seen_before_may_answer() {
    let mut bench = Bench::ringing();
    bench.callee(LegEvent::Answered {
        fork: Fork(3),
        body: sdp("a3"),
    });
    assert!(bench.take().contains(&"accept f3 ~a3".to_owned()));
}

#[test]
fn late_provisionals_and_second_answers_change_nothing() {
    let mut bench = Bench::ringing();
    bench.auto.durable = false;
    bench.answer();
    bench.take();
    bench.callee(LegEvent::Progress {
        fork: Fork(1),
        status: 183,
        body: sdp("late"),
        reliable: false,
        muted: false,
    });
    bench.callee(LegEvent::Answered {
        fork: Fork(1),
        body: sdp("second"),
    });
    bench.expect(&[]);
    bench.books(BooksEvent::AnswerDurable);
    bench.expect(&["accept f0 ~answer", "start"]);
    bench.books(BooksEvent::AnswerDurable);
    bench.expect(&[]);
}

#[test]
fn a_200_that_is_never_acknowledged_costs_nothing() {
    let mut bench = Bench::answered();
    bench.advance(seconds(32));
    bench.caller(LegEvent::Unconfirmed);
    bench.expect(&[
        "bye caller 0/102",
        "bye callee 0/102",
        "close",
        "record no_ack 0",
        "finished",
    ]);
    let record = bench.record();
    assert_eq!((record.duration_millis, record.charge), (0, Credit::ZERO));
    assert!(record.answered_at.is_some());
}

#[test]
fn a_late_ack_is_an_ack() {
    let mut bench = Bench::answered();
    bench.advance(seconds(31));
    bench.caller(LegEvent::Confirmed(None));
    bench.caller(LegEvent::Confirmed(None));
    bench.caller(LegEvent::Unconfirmed);
    bench.expect(&[]);
    assert_eq!(bench.call.state(), State::Up);
}

#[test]
fn a_bye_of_the_caller_proves_the_200_and_is_charged() {
    let mut bench = Bench::answered();
    bench.advance(seconds(2));
    bench.caller(LegEvent::Ended(cause(0, 16)));
    bench.expect(&["bye callee 0/16", "close", "record completed 1", "finished"]);
}

#[test]
fn a_callee_who_hangs_up_before_the_ack() {
    let heard: [(LegEvent, u64); 4] = [
        (LegEvent::Confirmed(None), 1),
        (LegEvent::Ended(cause(0, 16)), 1),
        (LegEvent::Unconfirmed, 0),
        (LegEvent::Lost(cause(500, 0)), 0),
    ];
    for (event, blocks) in heard {
        let mut bench = Bench::answered();
        bench.advance(seconds(2));
        bench.callee(LegEvent::Ended(cause(0, 16)));
        // Whether it is to be paid for is not known yet: the caller's BYE waits for the ACK.
        bench.expect(&["bye caller 0/16", "close"]);
        let ended = bench.now.wall;
        bench.advance(seconds(7));
        bench.caller(event);
        bench.expect(&[&format!("record completed {blocks}"), "finished"]);
        let record = bench.record();
        assert_eq!((record.ended_at, record.ended_by), (ended, EndedBy::Callee));
        assert_eq!(record.duration_millis, 2000 * blocks);
        assert_eq!(record.charge.0, 100 * i64::try_from(blocks).unwrap());
    }
}

#[test]
fn an_ack_after_the_end_is_not_waited_for_for_ever() {
    let mut bench = Bench::answered();
    bench.feed(Input::Media(MediaEvent::Silent));
    bench.expect(&["bye caller 0/41", "bye callee 0/41", "close"]);
    bench.advance(ACK_TIMEOUT);
    bench.expect(&["record media_timeout 0", "finished"]);
    // A node that stops does not wait at all.
    let mut bench = Bench::answered();
    bench.callee(LegEvent::Ended(cause(0, 16)));
    bench.take();
    bench.feed(Input::Shutdown);
    bench.expect(&["record completed 0", "finished"]);
    let mut bench = Bench::answered();
    bench.feed(Input::Shutdown);
    assert!(bench.take().contains(&"record shutdown 0".to_owned()));
}

#[test]
fn a_cancel_after_the_200_has_no_effect() {
    let mut bench = Bench::answered();
    bench.caller(LegEvent::Cancelled(cause(0, 0)));
    bench.expect(&[]);
    assert_eq!(bench.call.state(), State::Answered);
}

#[test]
fn byes_that_cross() {
    let mut bench = Bench::up();
    bench.auto.figures = false;
    bench.caller(LegEvent::Ended(cause(0, 16)));
    bench.expect(&["bye callee 0/16", "close"]);
    bench.callee(LegEvent::Ended(cause(0, 17)));
    bench.callee(LegEvent::Lost(cause(481, 0)));
    bench.caller(LegEvent::Ended(cause(0, 16)));
    bench.expect(&[]);
    bench.feed(figures());
    bench.expect(&["record completed 1", "finished"]);
    assert_eq!(bench.record().ended_by, EndedBy::Caller);
}

#[test]
fn answered_calls_end_from_every_side() {
    let cases: [(Input, &[&str], EndedBy); 6] = [
        (
            Input::Leg(Side::Callee, LegEvent::Ended(cause(0, 0))),
            &["bye caller 0/16", "close", "record completed 1", "finished"],
            EndedBy::Callee,
        ),
        (
            Input::Leg(Side::Callee, LegEvent::Lost(cause(481, 0))),
            &["bye caller 0/41", "close", "record lost 1", "finished"],
            EndedBy::Callee,
        ),
        (
            Input::Leg(Side::Caller, LegEvent::Lost(cause(408, 0))),
            &["bye callee 0/41", "close", "record lost 1", "finished"],
            EndedBy::Caller,
        ),
        (
            Input::Media(MediaEvent::Silent),
            &[
                "bye caller 0/41",
                "bye callee 0/41",
                "close",
                "record media_timeout 1",
                "finished",
            ],
            EndedBy::Gateway,
        ),
        (
            Input::Books(BooksEvent::LeaseEnded { hang_up: true }),
            &[
                "bye caller 0/31",
                "bye callee 0/31",
                "close",
                "record lease_ended 1",
                "finished",
            ],
            EndedBy::Gateway,
        ),
        (
            Input::Shutdown,
            &[
                "bye caller 0/42",
                "bye callee 0/42",
                "close",
                "record shutdown 1",
                "finished",
            ],
            EndedBy::Gateway,
        ),
    ];
    for (input, expected, by) in cases {
        let mut bench = Bench::up();
        bench.advance(seconds(3));
        bench.feed(input);
        bench.expect(expected);
        assert_eq!(bench.record().ended_by, by);
        assert_eq!(bench.record().duration_millis, 3_000);
    }
}

#[test]
fn an_answered_call_outlives_its_lease() {
    let mut bench = Bench::up();
    bench.books(BooksEvent::LeaseEnded { hang_up: false });
    bench.expect(&[]);
    assert_eq!(bench.call.state(), State::Up);
}

#[test]
fn dtmf_passes_when_up() {
    let dtmf = || LegEvent::Dtmf("application/dtmf-relay".into(), sdp("Signal=1").unwrap());
    let mut bench = Bench::answered();
    bench.callee(dtmf());
    bench.expect(&[]);
    bench.caller(LegEvent::Confirmed(None));
    bench.callee(dtmf());
    bench.expect(&["dtmf caller application/dtmf-relay Signal=1"]);
    bench.caller(dtmf());
    bench.expect(&["dtmf callee application/dtmf-relay Signal=1"]);
}

/// A call whose INVITE had no offer, up to the 200 with the callee's.
fn delayed() -> Bench {
    let mut bench = Bench::new();
    let mut invite = invite();
    invite.offer = None;
    bench.feed(Input::Invite(Box::new(invite)));
    bench.expect(&[
        "admit 60388880001 by 60111111111",
        "protect caller 60122222222,0122222222,012-222 2222",
        "open 0 -",
        "route 1",
        "dial 1 60122222222 as 60111111111 'Ann' mf 69 -",
    ]);
    // An SDP in an unreliable provisional is no offer.
    bench.callee(LegEvent::Progress {
        fork: Fork(0),
        status: 183,
        body: sdp("ignored"),
        reliable: false,
        muted: false,
    });
    bench.expect(&["trunk 1 Alive", "progress f0 183 -"]);
    bench
}

#[test]
fn delayed_offer() {
    let mut bench = delayed();
    bench.answer();
    bench.expect(&[
        "describe callee f0 Offer answer",
        "select f0",
        "answer",
        "accept f0 ~answer",
        "start",
    ]);
    bench.caller(LegEvent::Confirmed(sdp("late")));
    bench.expect(&["describe caller f0 Answer late", "confirm callee ~late"]);
    assert_eq!(bench.call.state(), State::Up);
    bench.caller(LegEvent::Ended(cause(0, 0)));
    bench.expect(&["bye callee 0/16", "close", "record completed 1", "finished"]);
}

#[test]
fn delayed_offer_without_an_offer_in_the_200() {
    let mut bench = delayed();
    bench.callee(LegEvent::Answered {
        fork: Fork(0),
        body: None,
    });
    bench.expect(&[
        "reject 500/88",
        "confirm callee -",
        "bye callee 0/88",
        "close",
        "record media_failed 0",
        "finished",
    ]);
}

#[test]
fn delayed_offer_without_an_answer_in_the_ack() {
    let mut bench = delayed();
    bench.answer();
    bench.take();
    bench.caller(LegEvent::Confirmed(None));
    bench.expect(&[
        "bye caller 0/88",
        "confirm callee -",
        "bye callee 0/88",
        "close",
        "record media_failed 1",
        "finished",
    ]);
    assert_eq!(bench.record().ended_by, EndedBy::Caller);
}

#[test]
fn delayed_offer_with_an_answer_that_cannot_be_described() {
    let mut bench = delayed();
    bench.answer();
    bench.auto.describe = false;
    bench.caller(LegEvent::Confirmed(sdp("odd")));
    bench.media(MediaEvent::Undescribed);
    bench.assert_ended(Reason::MediaFailed);
}

#[test]
fn delayed_offer_never_acknowledged_releases_the_callee() {
    let mut bench = delayed();
    bench.answer();
    bench.take();
    bench.caller(LegEvent::Unconfirmed);
    bench.expect(&[
        "bye caller 0/102",
        "confirm callee -",
        "bye callee 0/102",
        "close",
        "record no_ack 0",
        "finished",
    ]);
}
