//! re-INVITEs, both ways (sip-bridging 3).

use super::harness::*;
use crate::call::State;
use crate::call::cause::Reason;
use crate::call::event::{LegEvent, MediaEvent};
use crate::domain::Side;

const SIDES: [(Side, &str, &str); 2] = [
    (Side::Caller, "caller", "callee"),
    (Side::Callee, "callee", "caller"),
];

#[test]
fn offer_and_answer() {
    for (by, name, other) in SIDES {
        let mut bench = Bench::up();
        bench.leg(by, LegEvent::Offered(sdp("hold")));
        bench.expect(&[
            &format!("describe {name} f0 Offer hold"),
            &format!("reoffer {other} ~hold"),
        ]);
        bench.leg(by.other(), LegEvent::Reanswered(sdp("held")));
        bench.expect(&[
            &format!("describe {other} f0 Answer held"),
            &format!("answer-offer {name} ~held"),
        ]);
        // And the next.
        bench.leg(by.other(), LegEvent::Offered(sdp("resume")));
        bench.expect(&[
            &format!("describe {other} f0 Offer resume"),
            &format!("reoffer {name} ~resume"),
        ]);
        assert_eq!(bench.call.state(), State::Up);
    }
}

#[test]
fn without_an_offer() {
    for (by, name, other) in SIDES {
        let mut bench = Bench::up();
        bench.leg(by, LegEvent::Offered(None));
        bench.expect(&[&format!("reoffer {other} -")]);
        bench.leg(by.other(), LegEvent::Reanswered(sdp("mine")));
        bench.expect(&[
            &format!("describe {other} f0 Offer mine"),
            &format!("answer-offer {name} ~mine"),
        ]);
        bench.leg(by, LegEvent::OfferConfirmed(sdp("yours")));
        bench.expect(&[
            &format!("describe {name} f0 Answer yours"),
            &format!("confirm {other} ~yours"),
        ]);
        bench.leg(by, LegEvent::Offered(None));
        bench.expect(&[&format!("reoffer {other} -")]);
    }
}

#[test]
fn refusals() {
    for (status, answer) in [
        (488, "488/0"),
        (606, "488/0"),
        (491, "491/0"),
        (480, "480/0"),
        (486, "486/0"),
        (603, "603/0"),
        (500, "488/0"),
        (415, "488/0"),
        (302, "480/0"),
    ] {
        for (by, name, _) in SIDES {
            for offer in [sdp("x"), None] {
                let mut bench = Bench::up();
                bench.leg(by, LegEvent::Offered(offer));
                bench.take();
                bench.leg(by.other(), LegEvent::Unanswered(cause(status, 0)));
                bench.expect(&["rollback", &format!("refuse {name} {answer}")]);
                assert_eq!(bench.call.state(), State::Up);
                bench.leg(by, LegEvent::Offered(None));
                assert_eq!(bench.take().len(), 1, "the next exchange may come");
            }
        }
    }
}

#[test]
fn an_offer_that_cannot_be_described() {
    let mut bench = Bench::up();
    bench.auto.describe = false;
    bench.caller(LegEvent::Offered(sdp("odd")));
    bench.take();
    bench.media(MediaEvent::Undescribed);
    bench.expect(&["rollback", "refuse caller 488/88"]);
    // The same where the offer came in the other side's 200: its ACK is owed.
    bench.caller(LegEvent::Offered(None));
    bench.callee(LegEvent::Reanswered(sdp("odd")));
    bench.take();
    bench.media(MediaEvent::Undescribed);
    bench.expect(&["confirm callee -", "rollback", "refuse caller 488/88"]);
    assert_eq!(bench.call.state(), State::Up);
}

#[test]
fn a_200_that_owes_its_description() {
    let mut bench = Bench::up();
    bench.caller(LegEvent::Offered(sdp("x")));
    bench.take();
    bench.callee(LegEvent::Reanswered(None));
    bench.expect(&["rollback", "refuse caller 488/88"]);
    bench.caller(LegEvent::Offered(None));
    bench.take();
    bench.callee(LegEvent::Reanswered(None));
    bench.expect(&["confirm callee -", "rollback", "refuse caller 488/88"]);
}

#[test]
fn an_answer_nobody_can_use_ends_the_call() {
    let mut bench = Bench::up();
    bench.caller(LegEvent::Offered(sdp("x")));
    bench.auto.describe = false;
    bench.callee(LegEvent::Reanswered(sdp("odd")));
    bench.take();
    bench.media(MediaEvent::Undescribed);
    bench.expect(&[
        "refuse caller 487/0",
        "bye caller 0/88",
        "bye callee 0/88",
        "close",
        "record media_failed 1",
        "finished",
    ]);
    let mut bench = Bench::up();
    bench.caller(LegEvent::Offered(None));
    bench.callee(LegEvent::Reanswered(sdp("mine")));
    bench.take();
    bench.caller(LegEvent::OfferConfirmed(None));
    bench.expect(&[
        "confirm callee -",
        "bye caller 0/88",
        "bye callee 0/88",
        "close",
        "record media_failed 1",
        "finished",
    ]);
}

#[test]
fn re_invites_that_cross() {
    let mut bench = Bench::up();
    bench.caller(LegEvent::Offered(sdp("a")));
    bench.take();
    bench.callee(LegEvent::Offered(sdp("b")));
    bench.expect(&["refuse callee 491/0"]);
    // The callee refused ours for the same reason; the SIP layer's retries came to nothing.
    bench.callee(LegEvent::Unanswered(cause(491, 0)));
    bench.expect(&["rollback", "refuse caller 491/0"]);
    bench.callee(LegEvent::Offered(sdp("b")));
    bench.expect(&["describe callee f0 Offer b", "reoffer caller ~b"]);
}

#[test]
fn before_the_first_exchange_is_over() {
    let mut bench = Bench::answered();
    bench.callee(LegEvent::Offered(sdp("x")));
    bench.caller(LegEvent::Offered(None));
    bench.expect(&["refuse callee 491/0", "refuse caller 491/0"]);
    bench.caller(LegEvent::Confirmed(None));
    bench.callee(LegEvent::Offered(sdp("x")));
    bench.expect(&["describe callee f0 Offer x", "reoffer caller ~x"]);
}

#[test]
fn answers_that_nobody_waits_for() {
    let mut bench = Bench::up();
    bench.caller(LegEvent::Reanswered(sdp("x")));
    bench.caller(LegEvent::Unanswered(cause(488, 0)));
    bench.caller(LegEvent::OfferConfirmed(sdp("x")));
    bench.media(MediaEvent::Undescribed);
    bench.expect(&[]);
    // From the wrong side.
    bench.caller(LegEvent::Offered(sdp("x")));
    bench.take();
    bench.caller(LegEvent::Reanswered(sdp("x")));
    bench.caller(LegEvent::Unanswered(cause(488, 0)));
    bench.expect(&[]);
    assert_eq!(bench.call.state(), State::Up);
}

#[test]
fn a_hang_up_in_the_middle_settles_what_is_owed() {
    // The offerer waits for its final response.
    let mut bench = Bench::up();
    bench.caller(LegEvent::Offered(sdp("x")));
    bench.take();
    bench.callee(LegEvent::Ended(cause(0, 16)));
    bench.expect(&[
        "refuse caller 487/0",
        "bye caller 0/16",
        "close",
        "record completed 1",
        "finished",
    ]);
    // The one who hung up itself is owed nothing any more.
    let mut bench = Bench::up();
    bench.caller(LegEvent::Offered(sdp("x")));
    bench.take();
    bench.caller(LegEvent::Ended(cause(0, 16)));
    bench.expect(&["bye callee 0/16", "close", "record completed 1", "finished"]);
    // The other side waits for its ACK.
    let mut bench = Bench::up();
    bench.caller(LegEvent::Offered(None));
    bench.callee(LegEvent::Reanswered(sdp("mine")));
    bench.take();
    bench.caller(LegEvent::Lost(cause(408, 0)));
    bench.expect(&[
        "confirm callee -",
        "bye callee 0/41",
        "close",
        "record lost 1",
        "finished",
    ]);
    bench.assert_ended(Reason::Lost);
}
