//! Who vouches for the caller: `AwaitingVerdict` and what the policies make of a verdict.

use super::harness::*;
use crate::call::State;
use crate::call::cause::Reason;
use crate::call::event::{CallerId, Identity, Input, Invite, LegEvent};
use crate::call::vouching::attestation;
use crate::domain::{Attestation, Passport, Presented, Verdict, Vouching};
use std::time::Duration;

const ADMIT: &str = "admit 60388880001 by 60111111111";

pub fn passport(orig: &str, dest: &str) -> Passport {
    Passport {
        certificate: "https://a/b".into(),
        signed: "a.b".into(),
        signature: [0; 64],
        orig: orig.into(),
        dest: vec!["60300000000".into(), dest.into()],
        attestation: Some(Attestation::Full),
        origin: "trace".into(),
    }
}

fn presenting(passport: Result<Passport, Verdict>, required: bool) -> Input {
    Input::Invite(Box::new(Invite {
        presented: Some(Presented {
            passport: passport.map(Box::new),
            required,
        }),
        ..invite()
    }))
}

/// A call that waits to hear of its passport.
fn waiting(required: bool) -> Bench {
    let mut bench = Bench::new();
    bench.auto.admit = false;
    bench.feed(presenting(Ok(passport(CALLER, LEASED)), required));
    bench.expect(&["verify"]);
    assert_eq!(bench.call.state(), State::AwaitingVerdict);
    bench
}

fn verdict(bench: &mut Bench, verdict: Verdict) {
    bench.feed(Input::Verdict(verdict, "12AB".into()));
}

fn vouching(bench: &Bench) -> Vouching {
    bench.call.record().vouching.clone().unwrap()
}

#[test]
fn a_valid_passport_goes_before_the_books() {
    let mut bench = waiting(true);
    verdict(&mut bench, Verdict::Valid);
    bench.expect(&[ADMIT]);
    assert_eq!(bench.call.state(), State::AwaitingHold);
    let vouching = vouching(&bench);
    assert_eq!(vouching.verdict, Verdict::Valid);
    assert_eq!(vouching.attestation, Some(Attestation::Full));
    assert_eq!((&*vouching.origin, &*vouching.signer), ("trace", "12AB"));
}

#[test]
fn without_a_policy_nobody_is_asked() {
    let mut bench = Bench::new();
    bench.auto.admit = false;
    bench.feed(Input::Invite(Box::new(invite())));
    bench.expect(&[ADMIT]);
    assert_eq!(bench.call.record().vouching, None);
}

#[test]
fn whatever_is_only_recorded_lets_the_call_go_on() {
    for wrong in Verdict::ALL {
        let mut bench = waiting(false);
        verdict(&mut bench, wrong);
        bench.expect(&[ADMIT]);
        assert_eq!(vouching(&bench).verdict, wrong);
    }
    for wrong in [Verdict::Missing, Verdict::Stale, Verdict::Invalid] {
        let mut bench = Bench::new();
        bench.auto.admit = false;
        bench.feed(presenting(Err(wrong), false));
        bench.expect(&[ADMIT]);
        assert_eq!(vouching(&bench).verdict, wrong);
    }
}

#[test]
fn what_is_required_and_not_there_is_refused_by_its_code() {
    for (wrong, answer, reason) in [
        (Verdict::Missing, "reject 428/21", Reason::IdentityMissing),
        (Verdict::Stale, "reject 403/21", Reason::IdentityStale),
        (
            Verdict::Unavailable,
            "reject 436/21",
            Reason::IdentityUnavailable,
        ),
        (
            Verdict::Untrusted,
            "reject 437/21",
            Reason::IdentityUntrusted,
        ),
        (Verdict::Invalid, "reject 438/21", Reason::IdentityInvalid),
    ] {
        let record = format!("record {} 0", reason.name());
        let mut bench = waiting(true);
        verdict(&mut bench, wrong);
        bench.expect(&[answer, &record, "finished"]);
        assert_eq!(bench.record().vouching.as_ref().unwrap().verdict, wrong);
        // And where it was plain at once.
        let mut bench = Bench::new();
        bench.feed(presenting(Err(wrong), true));
        bench.expect(&[answer, &record, "finished"]);
        bench.assert_ended(reason);
    }
}

#[test]
fn a_passport_about_somebody_else_is_invalid_without_being_verified() {
    for other in [
        passport("60111111112", LEASED),
        passport(CALLER, "60388880002"),
    ] {
        let mut bench = Bench::new();
        bench.feed(presenting(Ok(other), true));
        bench.expect(&["reject 438/21", "record identity_invalid 0", "finished"]);
    }
    // A caller who is withheld is nobody whom it could be about.
    let mut bench = Bench::new();
    bench.feed(Input::Invite(Box::new(Invite {
        identity: Identity {
            withheld: true,
            ..Identity::default()
        },
        presented: Some(Presented {
            passport: Ok(Box::new(passport(CALLER, LEASED))),
            required: true,
        }),
        ..invite()
    })));
    bench.expect(&["reject 438/21", "record identity_invalid 0", "finished"]);
}

#[test]
fn a_verdict_is_waited_for_so_long() {
    let mut bench = waiting(false);
    bench.advance(Duration::from_millis(1999));
    bench.expect(&[]);
    bench.advance(Duration::from_millis(1));
    bench.expect(&[ADMIT]);
    assert_eq!(vouching(&bench).verdict, Verdict::Unavailable);
    // It comes too late, and changes nothing.
    verdict(&mut bench, Verdict::Invalid);
    bench.expect(&[]);
    assert_eq!(vouching(&bench).verdict, Verdict::Unavailable);

    let mut bench = waiting(true);
    bench.advance(Duration::from_secs(2));
    bench.expect(&["reject 436/21", "record identity_unavailable 0", "finished"]);
}

#[test]
fn cancel_ends_a_call_that_waits_for_its_verdict() {
    let mut bench = waiting(true);
    bench.caller(LegEvent::Cancelled(cause(0, 0)));
    bench.expect(&["reject 487/16", "record cancelled 0", "finished"]);
    verdict(&mut bench, Verdict::Valid);
    bench.expect(&[]);
    let mut bench = waiting(true);
    bench.feed(Input::Shutdown);
    assert_eq!(&*bench.record().reason, "shutdown");
}

#[test]
fn rows_that_need_nobody_come_first() {
    let mut bench = Bench::new();
    let mut input = presenting(Ok(passport(CALLER, LEASED)), true);
    if let Input::Invite(invite) = &mut input {
        invite.dialled = EMERGENCY.into();
    }
    bench.feed(input);
    bench.expect(&["reject 403/21", "record emergency 0", "finished"]);
    assert_eq!(bench.record().vouching, None);
}

#[test]
fn we_vouch_for_our_own_numbers_fully_and_for_others_as_they_came() {
    let number_of = |digits: &str| CallerId::Number {
        number: number(digits),
        display_name: "".into(),
    };
    let own = number(SHOWN);
    let nobody = Identity::default();
    let asserted = Identity {
        asserted: true,
        ..Identity::default()
    };
    let came = |verdict, attestation| Vouching {
        attestation,
        ..Vouching::bare(verdict)
    };
    let full = came(Verdict::Valid, Some(Attestation::Full));
    let gateway = came(Verdict::Valid, Some(Attestation::Gateway));
    let invalid = came(Verdict::Invalid, Some(Attestation::Full));
    let plain = came(Verdict::Valid, None);
    let (shown, other) = (number_of(SHOWN), number_of(CALLER));
    for (vouching, caller_id, identity, expected) in [
        (None, &shown, &nobody, Attestation::Full),
        (Some(&invalid), &shown, &nobody, Attestation::Full),
        (None, &other, &nobody, Attestation::Gateway),
        (None, &other, &asserted, Attestation::Partial),
        (Some(&full), &other, &nobody, Attestation::Partial),
        (Some(&gateway), &other, &nobody, Attestation::Gateway),
        (Some(&invalid), &other, &nobody, Attestation::Gateway),
        (Some(&plain), &other, &nobody, Attestation::Gateway),
    ] {
        let got = attestation(vouching, caller_id, own, identity);
        assert_eq!(got, expected, "{vouching:?} {caller_id:?}");
    }
}
