//! Theirs for us: an inbound trunk that must prove itself (RFC 3261 §22.1).

use super::*;
use crate::sip::digest::{Account, Algorithm, Challenge, Login, Password, challenges};

const USERS: &str = "carrier";

fn world() -> World {
    let mut settings = settings();
    settings.trunks[0].as_mut().unwrap().account = Some(Account {
        realm: "us.example".into(),
        users: [(USERS.into(), Password::new("secret"))].into(),
        algorithms: Algorithm::STRONGEST_FIRST.into(),
    });
    World::with(settings)
}

fn login(password: &str) -> Login {
    Login {
        user: USERS.into(),
        password: Password::new(password),
        realm: "us.example".into(),
        algorithms: Algorithm::STRONGEST_FIRST.into(),
    }
}

/// The challenges of a 401, as they came.
fn offered(response: &Message) -> Vec<Challenge> {
    challenges(response.all(Header::WwwAuthenticate))
}

/// The INVITE once more, with credentials.
fn again(caller: &mut End, challenge: &Challenge, password: &str, count: u32) -> Draft {
    caller.cseq += 1;
    caller.branches += 1;
    let request = ("INVITE", caller.target.as_str());
    let value = login(password).answer(challenge, request, (count, "cnonce"));
    caller.invite().set("Authorization", &value)
}

/// Sends an INVITE, acknowledges its 401 and gives back what that offered.
fn refused(world: &mut World, caller: &End, invite: Draft) -> Vec<Challenge> {
    world.receive(CALLER, invite);
    let response = world.response(CALLER, 401);
    world.receive(CALLER, caller.ack_failure(&response));
    world.quiet();
    offered(&response)
}

#[test]
fn a_call_is_challenged_by_the_strongest_first_and_then_let_in() {
    let mut world = world();
    let mut caller = End::caller();
    let invite = caller.invite();
    let all = refused(&mut world, &caller, invite);
    let names: Vec<Algorithm> = all.iter().map(|one| one.algorithm).collect();
    assert_eq!(names, [Algorithm::Sha256, Algorithm::Md5]);
    assert!(all.iter().all(|one| one.qop && !one.stale));
    let invite = again(&mut caller, &all[0], "secret", 1);
    world.receive(CALLER, invite);
    world.response(CALLER, 100);
    let (key, invite) = world.invited();
    assert_eq!(invite.refused, None);
    world.command(
        key,
        SipCommand::Reject {
            cause: cause(404, 1),
            retry_after: 0,
        },
    );
    let response = world.response(CALLER, 404);
    world.receive(CALLER, caller.ack_failure(&response));
    world.gone();
    world.quiet();
    assert_eq!(
        world.counted,
        [("sip_digest", "challenged"), ("sip_digest", "accepted")]
    );
    world.assert_empty();
}

/// MD5 is taken as well, where it is offered; an INVITE that comes twice is no replay.
#[test]
fn a_repeated_invite_is_no_replay_and_an_ack_is_not_asked() {
    let mut world = world();
    let mut caller = End::caller();
    let invite = caller.invite();
    let all = refused(&mut world, &caller, invite);
    let bytes: Bytes = again(&mut caller, &all[1], "secret", 1).into();
    world.receive(CALLER, bytes.clone());
    world.response(CALLER, 100);
    let (key, _) = world.invited();
    world.receive(CALLER, bytes);
    world.response(CALLER, 100); // the same one, repeated
    world.quiet();
    world.receive(CALLER, caller.cancel());
    world.response(CALLER, 200); // nor is CANCEL asked
    assert!(matches!(world.event(Side::Caller), LegEvent::Cancelled(_)));
    world.command(
        key,
        SipCommand::Reject {
            cause: cause(487, 0),
            retry_after: 0,
        },
    );
    let response = world.response(CALLER, 487);
    world.receive(CALLER, caller.ack_failure(&response));
    world.gone();
    world.assert_empty();
}

#[test]
fn a_replayed_nonce_count_is_refused() {
    let mut world = world();
    let mut caller = End::caller();
    let invite = caller.invite();
    let all = refused(&mut world, &caller, invite);
    let invite = again(&mut caller, &all[0], "secret", 1);
    world.receive(CALLER, invite);
    world.response(CALLER, 100);
    world.invited();
    // The same credentials in another call.
    let mut other = End::caller();
    other.call_id = "another".into();
    other.branches = 50;
    let replay = again(&mut other, &all[0], "secret", 1);
    let all = refused(&mut world, &other, replay);
    assert!(all.iter().all(|one| one.stale));
    assert_eq!(world.counted.last(), Some(&("sip_digest", "replayed")));
    // With the nonce that it has just been given it gets in.
    let invite = again(&mut other, &all[0], "secret", 1);
    world.receive(CALLER, invite);
    world.response(CALLER, 100);
    world.invited();
}

#[test]
fn a_wrong_password_uses_up_no_nonce_count() {
    let mut world = world();
    let mut caller = End::caller();
    let invite = caller.invite();
    let all = refused(&mut world, &caller, invite);
    let wrong = again(&mut caller, &all[0], "guess", 1);
    let fresh = refused(&mut world, &caller, wrong);
    assert!(fresh.iter().all(|one| !one.stale));
    assert_eq!(world.counted.last(), Some(&("sip_digest", "wrong")));
    let right = again(&mut caller, &all[0], "secret", 1);
    world.receive(CALLER, right);
    world.response(CALLER, 100);
    world.invited();
}

#[test]
fn an_old_nonce_is_stale_to_who_knows_the_password() {
    let mut world = world();
    let mut caller = End::caller();
    let invite = caller.invite();
    let all = refused(&mut world, &caller, invite);
    world.pass(Duration::from_secs(301));
    let late = again(&mut caller, &all[0], "secret", 1);
    let fresh = refused(&mut world, &caller, late);
    assert!(fresh.iter().all(|one| one.stale));
    let wrong = again(&mut caller, &all[0], "guess", 2);
    let fresh = refused(&mut world, &caller, wrong);
    assert!(fresh.iter().all(|one| !one.stale));
}

#[test]
fn no_method_gets_in_unproven() {
    let mut world = world();
    let methods = [
        "MESSAGE",
        "SUBSCRIBE",
        "REGISTER",
        "NOTIFY",
        "PUBLISH",
        "REFER",
        "UPDATE",
        "PRACK",
        "INFO",
        "BYE",
        "NONSENSE",
    ];
    for (place, method) in methods.into_iter().enumerate() {
        let mut caller = End::caller();
        caller.call_id = format!("call-{place}");
        caller.branches = 10 * u32::try_from(place).unwrap();
        world.receive(CALLER, caller.request(method));
        let response = world.response(CALLER, 401);
        let value = login("secret").answer(
            &offered(&response)[0],
            (method, &caller.target),
            (1, "cnonce"),
        );
        let proven = caller.request(method).set("Authorization", &value);
        world.receive(CALLER, proven);
        let expected = match method {
            "REFER" => 603,
            "INFO" | "BYE" | "PRACK" | "UPDATE" => 481,
            _ => 405,
        };
        let response = world.next(CALLER).expect("an answer");
        let status = response.status().unwrap();
        assert!(status == expected || status == 405, "{method}: {status}");
        world.quiet();
    }
    // OPTIONS asks whether we live, and is told.
    let mut caller = End::caller();
    caller.branches = 900;
    world.receive(CALLER, caller.request("OPTIONS"));
    world.response(CALLER, 200);
    world.assert_empty();
}

#[test]
fn without_it_other_methods_are_not_allowed() {
    let mut world = World::new();
    for (place, method) in ["MESSAGE", "SUBSCRIBE", "REGISTER", "NOTIFY", "PUBLISH"]
        .into_iter()
        .enumerate()
    {
        let mut caller = End::caller();
        caller.branches = u32::try_from(place).unwrap();
        world.receive(CALLER, caller.request(method));
        world.response(CALLER, 405);
    }
    world.quiet();
    world.assert_empty();
}

/// A call that was let in is not asked again: its dialog's tag is proof enough.
#[test]
fn requests_inside_a_dialog_are_not_challenged() {
    let mut world = World::new();
    let call = up(&mut world);
    let mut settings = settings();
    settings.trunks[0].as_mut().unwrap().account = Some(Account {
        realm: "us.example".into(),
        users: [(USERS.into(), Password::new("secret"))].into(),
        algorithms: [Algorithm::Md5].into(),
    });
    world.input(Input::Settings(Box::new(settings)));
    hang_up(&mut world, call);
}

/// What cannot be read is 400 before anybody is asked who they are; what is not ours comes after.
#[test]
fn it_comes_after_what_cannot_be_read_and_before_what_is_not_ours() {
    let mut world = world();
    let caller = End::caller();
    world.receive(CALLER, caller.invite().without("Max-Forwards"));
    world.response(CALLER, 400);
    let foreign = caller.invite().uri("xmpp:somebody@example");
    world.receive(CALLER, foreign);
    world.response(CALLER, 401);
}

/// A retry of a merged request is none.
#[test]
fn the_retry_is_not_taken_for_the_same_request_by_another_way() {
    let mut world = world();
    let mut caller = End::caller();
    let invite = caller.invite();
    let all = refused(&mut world, &caller, invite);
    caller.cseq -= 1; // a client that forgets to count
    let invite = again(&mut caller, &all[0], "secret", 1);
    world.receive(CALLER, invite);
    world.response(CALLER, 100);
    world.invited();
}
