//! Identity headers: what comes in is read and goes no further, what goes out is ours.

use super::*;
use crate::domain::{Attestation, Presented, Verdict};
use crate::sip::passport::{self, Claims, Signer};
use std::sync::Arc;

fn invite() -> Draft {
    End::caller().invite()
}

fn signer() -> Arc<Signer> {
    let key = crate::sip::passport::tests::KEY;
    Arc::new(Signer::new(key, "https://cert.example.org/passport.cer", None).unwrap())
}

fn with(policy: IdentityPolicy, signs: bool) -> World {
    let mut settings = settings();
    settings.trunks[0].as_mut().unwrap().identity = policy;
    settings.signer = signs.then(signer);
    World::with(settings)
}

/// An Identity that names the real caller.
fn inbound(world: &World) -> String {
    signer().sign(&Claims {
        attestation: Attestation::Full,
        orig: number(CALLER_NUMBER),
        dest: number(LEASED),
        call: uuid::Uuid::nil(),
        issued_at: world.time().wall.0 / 1000,
    })
}

fn presented(world: &mut World, draft: Draft) -> Option<Presented> {
    world.receive(CALLER, draft);
    world.response(CALLER, 100);
    world.invited().1.presented.clone()
}

#[test]
fn the_policy_says_whether_an_identity_is_read() {
    let mut world = with(IdentityPolicy::Off, false);
    let identity = inbound(&world);
    let draft = || invite().add("Identity", &identity);
    assert_eq!(presented(&mut world, draft()), None);
    let mut world = with(IdentityPolicy::Record, false);
    let found = presented(&mut world, draft()).unwrap();
    assert!(!found.required);
    assert_eq!(&*found.passport.unwrap().orig, CALLER_NUMBER);
    let mut world = with(IdentityPolicy::Require, false);
    let found = presented(&mut world, invite()).unwrap();
    assert!(found.required);
    assert_eq!(found.passport, Err(Verdict::Missing));
    let mut world = with(IdentityPolicy::Require, false);
    let found = presented(&mut world, invite().add("y", "nonsense")).unwrap();
    assert_eq!(found.passport, Err(Verdict::Invalid));
    let mut world = with(IdentityPolicy::Require, false);
    world.pass(Duration::from_secs(61));
    let found = presented(&mut world, draft()).unwrap();
    assert_eq!(found.passport, Err(Verdict::Stale));
}

/// Our INVITE for a dial of a call that came with an Identity.
fn dialled(world: &mut World, dial: Dial) -> Message {
    let identity = inbound(world);
    world.receive(CALLER, invite().add("Identity", &identity));
    let (key, _) = world.invited();
    let set = vec![CALLER_NUMBER.into()];
    world.command(key, SipCommand::Protect(Side::Callee, set));
    world.command(key, SipCommand::Dial(Box::new(dial)));
    world.request(CALLEE, Method::Invite)
}

#[test]
fn an_inbound_identity_never_goes_further() {
    for policy in [
        IdentityPolicy::Off,
        IdentityPolicy::Record,
        IdentityPolicy::Require,
    ] {
        let message = dialled(&mut with(policy, false), dial());
        assert_eq!(message.get(Header::Identity), None);
    }
}

#[test]
fn the_new_leg_is_signed_for_the_number_that_the_callee_is_shown() {
    let mut world = with(IdentityPolicy::Record, true);
    let message = dialled(&mut world, dial());
    let identities: Vec<&str> = message.all(Header::Identity).collect();
    let [identity] = &identities[..] else {
        panic!("{identities:?}")
    };
    let now = world.time().wall.0 / 1000;
    let read = passport::read(std::iter::once(*identity), now, Duration::from_secs(1)).unwrap();
    assert_eq!(&*read.orig, LEASED);
    assert_eq!(read.dest, [Box::<str>::from(CALLEE_NUMBER)]);
    assert_eq!(read.attestation, Some(Attestation::Full));
    assert_eq!(&*read.origin, "00000000-0000-0000-0000-000000000007");
    // Nothing of the real caller, not even under base64.
    let claims = String::from_utf8(passport::payload(identity.as_bytes()).unwrap()).unwrap();
    assert!(!claims.contains(CALLER_NUMBER), "{claims}");
}

#[test]
fn a_trunk_may_go_unsigned_and_what_is_no_number_does() {
    let mut settings = settings();
    settings.signer = Some(signer());
    settings.trunks[1].as_mut().unwrap().sign = false;
    let message = dialled(&mut World::with(settings), dial());
    assert_eq!(message.get(Header::Identity), None);
    for caller_id in [
        CallerId::Withheld(Some(number(LEASED))),
        CallerId::Withheld(None),
        CallerId::Verbatim {
            user: "alice".into(),
            display_name: "".into(),
        },
    ] {
        let mut world = with(IdentityPolicy::Off, true);
        let message = dialled(
            &mut world,
            Dial {
                caller_id,
                ..dial()
            },
        );
        assert_eq!(message.get(Header::Identity), None);
    }
}
