//! sip-bridging 2, row by row, and section 4's caller-id table.

use super::harness::*;
use crate::call::cause::Reason;
use crate::call::context::SingleCallerId;
use crate::call::event::{BooksEvent, Identity, Input, Invite, MediaEvent, Refusal};
use crate::call::routing::{Trunk, Trunks};
use crate::call::{Dialled, State};
use crate::domain::{CustomerId, EndedBy, LeaseKind, TrunkId};

/// A refusal before the books are asked: the caller's answer and a record, nothing else.
#[track_caller]
fn refused_at_once(mut bench: Bench, invite: Invite, answer: &str, reason: Reason) -> Bench {
    bench.feed(Input::Invite(Box::new(invite)));
    let record = format!("record {} 0", reason.name());
    bench.expect(&[answer, &record, "finished"]);
    bench.assert_ended(reason);
    assert_eq!(bench.record().ended_by, EndedBy::Gateway);
    assert_eq!(bench.record().answered_at, None);
    bench
}

fn capped(max_calls: u32, max_cps: u32) -> Bench {
    let mut bench = Bench::new();
    let mut list = trunks();
    list[0] = Some(Trunk {
        max_calls,
        max_cps,
        outbound: false,
        ..trunk("in", 1)
    });
    bench.trunks = Trunks::new(list);
    bench
}

#[test]
fn trunk_over_its_calls() {
    let mut bench = capped(1, 0);
    assert!(bench.trunks.admit(TrunkId(0), bench.now.mono));
    bench.feed(Input::Invite(Box::new(invite())));
    bench.expect(&["reject 503/34", "record trunk_busy 0", "finished"]);
    assert_eq!(
        bench.trunks.calls(TrunkId(0)),
        1,
        "the other call is still counted"
    );
}

#[test]
fn trunk_over_its_rate() {
    let mut bench = capped(0, 2);
    assert!(bench.trunks.admit(TrunkId(0), bench.now.mono));
    assert!(bench.trunks.admit(TrunkId(0), bench.now.mono));
    bench.feed(Input::Invite(Box::new(invite())));
    bench.expect(&["reject 503/34", "record trunk_busy 0", "finished"]);
}

#[test]
fn caps_come_before_an_emergency_number() {
    let mut bench = capped(1, 0);
    assert!(bench.trunks.admit(TrunkId(0), bench.now.mono));
    let mut invite = invite();
    invite.dialled = EMERGENCY.into();
    bench.feed(Input::Invite(Box::new(invite)));
    bench.expect(&["reject 503/34", "record trunk_busy 0", "finished"]);
}

#[test]
fn emergency_as_dialled() {
    let mut invite = invite();
    invite.dialled = EMERGENCY.into();
    let bench = refused_at_once(Bench::new(), invite, "reject 403/21", Reason::Emergency);
    assert_eq!(&*bench.record().leased_number, EMERGENCY);
}

#[test]
fn number_not_in_the_pool() {
    for dialled in ["+60399999999", "not-a-number", ""] {
        let mut invite = invite();
        invite.dialled = dialled.into();
        refused_at_once(Bench::new(), invite, "reject 404/1", Reason::UnknownNumber);
    }
}

#[test]
fn pool_number_without_a_lease() {
    for (configured, answer) in [
        (404, "reject 404/1"),
        (410, "reject 410/1"),
        (480, "reject 480/1"),
    ] {
        let mut bench = Bench::new();
        bench.settings.no_lease = configured;
        let mut invite = invite();
        invite.dialled = "+60388880009".into();
        refused_at_once(bench, invite, answer, Reason::NoLease);
    }
}

fn whitelisted() -> Bench {
    let mut bench = Bench::new();
    bench.world.numbers.insert(
        number(LEASED).packed(),
        Dialled::Leased {
            kind: LeaseKind::Single,
            customer: CustomerId(4),
            only_caller: None,
            whitelist: true,
        },
    );
    bench
}

#[test]
fn caller_not_on_the_whitelist() {
    let bench = refused_at_once(whitelisted(), invite(), "reject 403/21", Reason::NotAllowed);
    assert_eq!(bench.record().customer_id, Some(CustomerId(4)));
    assert_eq!(bench.record().lease_kind, Some(LeaseKind::Single));
    let mut hidden = invite();
    hidden.identity.withheld = true;
    refused_at_once(whitelisted(), hidden, "reject 403/21", Reason::NotAllowed);
}

#[test]
fn caller_on_the_whitelist() {
    let mut bench = whitelisted();
    bench.world.whitelist.push(number(CALLER));
    bench.dial();
}

#[test]
fn group_needs_a_caller_identity() {
    let identities = [
        Identity::default(),
        Identity {
            user: "alice".into(),
            ..Identity::default()
        },
        // Withheld, and no trusted trunk asserted it.
        Identity {
            user: format!("+{CALLER}").into(),
            withheld: true,
            ..Identity::default()
        },
    ];
    for identity in identities {
        let mut invite = invite();
        invite.identity = identity;
        refused_at_once(Bench::group(), invite, "reject 433/24", Reason::NoIdentity);
    }
}

#[test]
fn group_caller_is_another() {
    for user in ["+60133333333", "+60122222222"] {
        let mut invite = invite();
        invite.identity.user = user.into();
        refused_at_once(Bench::group(), invite, "reject 403/21", Reason::NotAllowed);
    }
}

#[test]
fn asserted_identity_is_usable_though_withheld() {
    let mut bench = Bench::group();
    let mut invite = invite();
    invite.identity.withheld = true;
    invite.identity.asserted = true;
    bench.feed(Input::Invite(Box::new(invite)));
    assert_eq!(bench.call.state(), State::Dialling);
}

#[test]
fn every_refusal_of_the_books() {
    let rows = [
        (Refusal::NoLease, "reject 404/1", "no_lease"),
        (Refusal::NotOnWhitelist, "reject 403/21", "not_allowed"),
        (Refusal::NoIdentity, "reject 433/24", "no_identity"),
        (Refusal::NotMember, "reject 403/21", "not_allowed"),
        (Refusal::Suspended, "reject 403/21", "suspended"),
        (
            Refusal::ServiceDisabled,
            "reject 403/21",
            "service_disabled",
        ),
        (
            Refusal::TargetNotAllowed,
            "reject 403/21",
            "target_not_allowed",
        ),
        (Refusal::NoCredit, "reject 480/18", "no_credit"),
        (Refusal::LeaseBusy, "reject 486/17", "lease_busy"),
        (Refusal::CustomerBusy, "reject 486/17", "customer_busy"),
        (Refusal::BooksUnavailable, "reject 503/41", "overloaded"),
    ];
    for (refusal, answer, reason) in rows {
        let mut bench = Bench::new();
        bench.auto.admit = false;
        bench.feed(Input::Invite(Box::new(invite())));
        bench.expect(&["admit 60388880001 by 60111111111"]);
        bench.books(BooksEvent::Refused(refusal));
        bench.expect(&[answer, &format!("record {reason} 0"), "finished"]);
        assert_eq!(bench.record().charge.0, 0);
    }
}

#[test]
fn no_credit_as_configured() {
    let mut bench = Bench::new();
    bench.auto.admit = false;
    bench.settings.no_credit = 402;
    bench.feed(Input::Invite(Box::new(invite())));
    bench.take();
    bench.books(BooksEvent::Refused(Refusal::NoCredit));
    bench.expect(&["reject 402/18", "record no_credit 0", "finished"]);
}

#[test]
fn no_acceptable_media_and_no_port() {
    for (refusal, answer, reason) in [
        (Refusal::NoMedia, "reject 488/88", "record no_media 0"),
        (Refusal::NoPort, "reject 503/34", "record no_port 0"),
    ] {
        let mut bench = Bench::new();
        bench.auto.open = false;
        bench.feed(Input::Invite(Box::new(invite())));
        bench.take();
        bench.media(MediaEvent::Refused(refusal));
        bench.expect(&[answer, reason, "finished"]);
        assert_eq!(bench.record().customer_id, Some(CustomerId(1)));
    }
}

#[test]
fn no_outbound_trunk_up() {
    let mut bench = Bench::new();
    bench.trunks = Trunks::new(vec![trunks().remove(0)]);
    bench.feed(Input::Invite(Box::new(invite())));
    bench.expect(&[
        "admit 60388880001 by 60111111111",
        "protect caller 60122222222,0122222222,012-222 2222",
        "open 0 offer",
        "reject 503/34",
        "close",
        "record no_trunk 0",
        "finished",
    ]);
}

#[test]
fn no_outbound_trunk_can_write_the_number() {
    let mut bench = Bench::new();
    bench.world.unfit = vec![TrunkId(1), TrunkId(2)];
    bench.feed(Input::Invite(Box::new(invite())));
    bench.expect(&[
        "admit 60388880001 by 60111111111",
        "protect caller 60122222222,0122222222,012-222 2222",
        "open 0 offer",
        "reject 503/34",
        "close",
        "record no_trunk 0",
        "finished",
    ]);
}

#[test]
fn refused_by_sip_gets_a_record_and_no_answer() {
    let mut bench = Bench::new();
    let mut invite = invite();
    invite.refused = Some(cause(483, 25));
    bench.feed(Input::Invite(Box::new(invite)));
    bench.expect(&["record sip_refused 0", "finished"]);
    let record = bench.record();
    assert_eq!((record.sip_code, record.q850_cause), (483, 25));
    assert_eq!(&*record.leased_number, "+60388880001");
    assert_eq!(&*record.trunk_in, "in");
}

/// Dials by the given lease, identity and policy; the caller ID of the dial and of the record.
fn seen(
    mut bench: Bench,
    identity: Identity,
    policy: SingleCallerId,
    own: Option<SingleCallerId>,
) -> (String, String) {
    bench.settings.single_caller_id = policy;
    let mut list = trunks();
    list[1] = Some(Trunk {
        single_caller_id: own,
        ..trunk("out1", 1)
    });
    bench.trunks = Trunks::new(list);
    let mut invite = invite();
    invite.identity = identity;
    bench.feed(Input::Invite(Box::new(invite)));
    let lines = bench.take();
    let dial = lines.iter().find(|line| line.starts_with("dial")).unwrap();
    let shown = dial.split(" as ").nth(1).unwrap();
    let shown = shown.split(" mf").next().unwrap();
    bench.feed(Input::Shutdown);
    (shown.to_owned(), bench.record().shown_number.to_string())
}

#[test]
fn what_the_callee_sees() {
    use SingleCallerId::{Leased, Pass};
    let own = |user: &str, withheld, asserted| Identity {
        user: user.into(),
        display_name: "Ann".into(),
        withheld,
        asserted,
    };
    let plain = || own("+60111111111", false, false);
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let number = pair("60111111111 'Ann'", "+60111111111");
    let leased = pair("60388880001 ''", "+60388880001");
    assert_eq!(seen(Bench::new(), plain(), Pass, None), number);
    assert_eq!(seen(Bench::new(), plain(), Leased, None), leased);
    assert_eq!(seen(Bench::new(), plain(), Pass, Some(Leased)), leased);
    assert_eq!(seen(Bench::new(), plain(), Leased, Some(Pass)), number);
    // Withheld stays withheld; a number is known only where it was asserted.
    assert_eq!(
        seen(Bench::new(), own("+60111111111", true, true), Pass, None),
        pair("withheld 60111111111", "anonymous")
    );
    assert_eq!(
        seen(Bench::new(), own("+60111111111", true, false), Pass, None),
        pair("withheld ", "anonymous")
    );
    assert_eq!(
        seen(Bench::new(), own("alice", false, false), Pass, None),
        pair("alice 'Ann'", "alice")
    );
    assert_eq!(
        seen(Bench::new(), own("", false, false), Pass, None),
        pair("withheld ", "anonymous")
    );
    // Group: the caller's leased number everywhere, the display name dropped, whatever the policy.
    let group = pair("60388880002 ''", "+60388880002");
    assert_eq!(seen(Bench::group(), plain(), Pass, None), group);
    assert_eq!(seen(Bench::group(), plain(), Leased, Some(Pass)), group);
    let mut broken = Bench::group();
    broken.admission.shown = None;
    assert_eq!(
        seen(broken, plain(), Pass, None),
        pair("withheld ", "anonymous")
    );
}

#[test]
fn protected_numbers_come_before_the_dial() {
    let mut bench = Bench::group();
    bench.feed(Input::Invite(Box::new(invite())));
    bench.expect(&[
        "admit 60388880001 by 60111111111",
        "protect caller 60122222222,0122222222,012-222 2222",
        "protect callee 60111111111,0111111111,011 1111 1111",
        "open 0 offer",
        "route 1",
        "describe caller f0 Offer offer",
        "dial 1 60122222222 as 60388880002 '' mf 69 ~offer",
    ]);
}

#[test]
fn a_subscriber_who_calls_himself_may_see_his_number() {
    let mut bench = Bench::new();
    let mut invite = invite();
    invite.identity.user = CALLEE.into();
    bench.feed(Input::Invite(Box::new(invite)));
    assert!(bench.take().contains(&"protect caller ".to_owned()));
}
