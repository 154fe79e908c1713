//! Offers and answers before the call is answered (RFC 3262 §5, RFC 6337).

use super::harness::*;
use crate::call::State;
use crate::call::cause::Reason;
use crate::call::event::{BooksEvent, Fork, Input, Invite, LegEvent};
use crate::call::routing::Trunks;
use crate::domain::Side;
use bytes::Bytes;

fn reliable(fork: u16, body: Option<&str>) -> LegEvent {
    LegEvent::Progress {
        fork: Fork(fork),
        status: 183,
        body: body.and_then(sdp),
        reliable: true,
        muted: false,
    }
}

fn early_media(fork: u16, body: Option<&str>, muted: bool) -> LegEvent {
    LegEvent::Progress {
        fork: Fork(fork),
        status: 183,
        body: body.and_then(sdp),
        reliable: false,
        muted,
    }
}

fn offered(fork: u16, body: &'static str) -> LegEvent {
    LegEvent::EarlyOffered(Fork(fork), Bytes::from(body))
}

fn reanswered(fork: u16, body: &str) -> LegEvent {
    LegEvent::EarlyReanswered(Fork(fork), sdp(body))
}

fn answered(fork: u16, body: Option<&str>) -> LegEvent {
    LegEvent::Answered {
        fork: Fork(fork),
        body: body.and_then(sdp),
    }
}

/// Dialled without an offer.
fn delayed() -> Bench {
    let mut bench = Bench::new();
    bench.feed(Input::Invite(Box::new(Invite {
        offer: None,
        ..invite()
    })));
    bench.take();
    bench
}

/// With a reliable answer of the callee that went on.
fn settled() -> Bench {
    let mut bench = Bench::dialled();
    bench.callee(reliable(0, Some("early")));
    bench.expect(&[
        "trunk 1 Alive",
        "describe callee f0 Answer early",
        "select f0",
        "progress f0 183 ~early",
    ]);
    bench
}

#[test]
fn the_200_waits_for_the_prack_of_what_was_described_reliably() {
    let mut bench = settled();
    bench.caller(LegEvent::Pending(Fork(0)));
    bench.callee(answered(0, None));
    bench.expect(&[
        "confirm callee -",
        "describe callee f0 Answer early",
        "select f0",
        "answer",
    ]);
    assert_eq!(bench.call.state(), State::AwaitingDurable);
    bench.caller(LegEvent::Settled(Fork(0)));
    bench.expect(&["accept f0 ~early", "start"]);
    // Another fork's PRACK is nothing to the one that answered.
    let mut bench = settled();
    bench.caller(LegEvent::Pending(Fork(0)));
    bench.callee(answered(1, Some("answer")));
    assert!(bench.take().contains(&"accept f1 ~answer".to_owned()));
    // Nor does a PRACK that came before the disk let the 200 go without it.
    let mut bench = settled();
    bench.auto.durable = false;
    bench.caller(LegEvent::Pending(Fork(0)));
    bench.callee(answered(0, None));
    bench.caller(LegEvent::Settled(Fork(0)));
    assert!(!bench.take().contains(&"start".to_owned()));
    bench.books(BooksEvent::AnswerDurable);
    bench.expect(&["accept f0 ~early", "start"]);
}

#[test]
fn an_early_offer_passes_and_its_answer_back() {
    for by in [Side::Caller, Side::Callee] {
        let (own, other) = match by {
            Side::Caller => ("caller", "callee"),
            Side::Callee => ("callee", "caller"),
        };
        let mut bench = settled();
        bench.leg(by, offered(0, "hold"));
        bench.expect(&[
            &*format!("describe {own} f0 Offer hold"),
            &*format!("early-reoffer {other} f0 ~hold"),
        ]);
        // One at a time.
        bench.leg(by.other(), offered(0, "other"));
        bench.expect(&[&*format!("early-refuse {other} f0 491/0")]);
        bench.leg(by.other(), reanswered(0, "held"));
        bench.expect(&[
            &*format!("describe {other} f0 Answer held"),
            &*format!("early-answer {own} f0 ~held"),
        ]);
        // What the 2xx says does not count any more.
        bench.callee(answered(0, Some("ignored")));
        bench.expect(&[
            "confirm callee -",
            "select f0",
            "answer",
            "accept f0 -",
            "start",
        ]);
        bench.caller(LegEvent::Confirmed(None));
        assert_eq!(bench.call.state(), State::Up);
    }
}

#[test]
fn a_refused_early_offer_changes_nothing() {
    for (sip, told) in [
        (488, "488/0"),
        (504, "504/0"),
        (500, "488/0"),
        (491, "491/0"),
    ] {
        let mut bench = settled();
        bench.callee(offered(0, "hold"));
        bench.take();
        bench.caller(LegEvent::EarlyUnanswered(Fork(0), cause(sip, 0)));
        bench.expect(&["rollback", &*format!("early-refuse callee f0 {told}")]);
        bench.callee(answered(0, None));
        assert!(bench.take().contains(&"accept f0 ~early".to_owned()));
    }
    let mut bench = settled();
    bench.auto.describe = false;
    bench.callee(offered(0, "nonsense"));
    bench.media(crate::call::event::MediaEvent::Undescribed);
    bench.expect(&[
        "describe callee f0 Offer nonsense",
        "rollback",
        "early-refuse callee f0 488/88",
    ]);
}

#[test]
fn an_exchange_goes_on_when_its_fork_is_answered() {
    let mut bench = settled();
    bench.caller(offered(0, "hold"));
    bench.take();
    bench.callee(answered(0, None));
    bench.expect(&[
        "confirm callee -",
        "select f0",
        "answer",
        "accept f0 -",
        "start",
    ]);
    bench.caller(LegEvent::Confirmed(None));
    // The dialog is confirmed by now, and says so.
    bench.callee(LegEvent::Reanswered(sdp("held")));
    bench.expect(&[
        "describe callee f0 Answer held",
        "early-answer caller f0 ~held",
    ]);
    // The next one is as any other.
    bench.callee(LegEvent::Offered(sdp("resume")));
    bench.expect(&["describe callee f0 Offer resume", "reoffer caller ~resume"]);
}

#[test]
fn an_exchange_of_another_fork_comes_to_nothing() {
    let mut bench = settled();
    bench.caller(offered(0, "hold"));
    bench.take();
    bench.callee(answered(1, Some("answer")));
    let lines = bench.take();
    assert_eq!(lines[..2], ["rollback", "early-refuse caller f0 487/0"]);
    assert!(lines.contains(&"accept f1 ~answer".to_owned()), "{lines:?}");
}

#[test]
fn a_delayed_offer_passes_before_the_answer() {
    let mut bench = delayed();
    bench.callee(reliable(0, Some("offer0")));
    bench.expect(&[
        "trunk 1 Alive",
        "describe callee f0 Offer offer0",
        "progress f0 183 ~offer0",
    ]);
    bench.caller(LegEvent::Pending(Fork(0)));
    // Another fork's offer waits: it cannot be refused.
    bench.callee(reliable(1, Some("offer1")));
    bench.expect(&[]);
    bench.caller(reanswered(0, "answer0"));
    bench.caller(LegEvent::Settled(Fork(0)));
    bench.expect(&[
        "describe caller f0 Answer answer0",
        "early-answer callee f0 ~answer0",
        "select f0",
        "describe callee f1 Offer offer1",
        "progress f1 183 ~offer1",
    ]);
    bench.caller(reanswered(1, "answer1"));
    bench.take();
    bench.callee(answered(1, None));
    bench.expect(&[
        "confirm callee -",
        "select f1",
        "answer",
        "accept f1 -",
        "start",
    ]);
    bench.caller(LegEvent::Confirmed(None));
    assert_eq!(bench.call.state(), State::Up);
}

#[test]
fn a_delayed_offer_that_nobody_answers_ends_the_call() {
    type Spoil = fn(&mut Bench);
    let spoils: [Spoil; 2] = [
        |bench| bench.caller(LegEvent::EarlyReanswered(Fork(0), None)),
        |bench| bench.caller(LegEvent::EarlyUnanswered(Fork(0), cause(488, 88))),
    ];
    for spoil in spoils {
        let mut bench = delayed();
        bench.callee(reliable(0, Some("offer0")));
        spoil(&mut bench);
        bench.assert_ended(Reason::MediaFailed);
    }
}

#[test]
fn early_media_is_held_back_until_the_trunk_says_otherwise() {
    let mut bench = Bench::dialled();
    bench.callee(early_media(0, Some("early"), true));
    bench.expect(&["trunk 1 Alive", "progress f0 180 -"]);
    bench.callee(early_media(0, None, false));
    bench.expect(&[
        "describe callee f0 Provisional early",
        "select f0",
        "progress f0 183 ~early",
    ]);
    // A call that is answered before is answered with what was held back.
    let mut bench = Bench::dialled();
    bench.callee(early_media(0, Some("early"), true));
    bench.callee(answered(0, None));
    assert!(bench.take().contains(&"accept f0 ~early".to_owned()));
}

#[test]
fn a_trunk_that_blocks_early_media_is_asked_for_no_early_offers() {
    for (place, expected) in [(None, true), (Some(0), false), (Some(1), false)] {
        let mut bench = Bench::new();
        let mut list = trunks();
        if let Some(place) = place {
            list[place].as_mut().unwrap().early_media = false;
        }
        bench.trunks = Trunks::new(list);
        let bench = bench.dial();
        assert_eq!(bench.early_offers, [expected]);
    }
}
