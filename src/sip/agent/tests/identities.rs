use super::*;
use crate::call::event::Identity;

fn identity(draft: Draft, trusted: bool) -> Identity {
    let mut settings = settings();
    settings.trunks[0].as_mut().unwrap().trusted = trusted;
    let mut world = World::with(settings);
    world.receive(CALLER, draft);
    world.response(CALLER, 100);
    let (_, invite) = world.invited();
    invite.identity
}

fn invite() -> Draft {
    End::caller().invite()
}

#[test]
fn an_asserted_identity_counts_on_a_trusted_trunk_only() {
    let asserted = || {
        invite()
            .add(
                "P-Asserted-Identity",
                "\"A, \\\"B\\\"\" <sip:+60122222222;x=y@c.example>",
            )
            .add("P-Asserted-Identity", "tel:+60133333333")
    };
    let identity_of = identity(asserted(), true);
    assert_eq!(&*identity_of.user, "+60122222222");
    assert_eq!(&*identity_of.display_name, "A, \"B\"");
    assert!(identity_of.asserted && !identity_of.withheld);
    let identity_of = identity(asserted(), false);
    assert_eq!(&*identity_of.user, "+60111111111");
    assert!(!identity_of.asserted);
}

#[test]
fn withheld_is_seen() {
    let private = invite()
        .add("P-Asserted-Identity", "<tel:+60122222222>")
        .add("Privacy", "critical;ID");
    let identity_of = identity(private, true);
    assert_eq!(&*identity_of.user, "+60122222222");
    assert!(identity_of.asserted && identity_of.withheld);

    let anonymous = "\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=callertag";
    let identity_of = identity(invite().set("From", anonymous), true);
    assert_eq!(&*identity_of.user, "");
    assert!(identity_of.withheld && !identity_of.asserted);

    let identity_of = identity(invite().add("Privacy", "none"), true);
    assert!(!identity_of.withheld);
}

#[test]
fn odd_spellings_are_read() {
    let from = "<sip:%2B6011;phone-context=x@h>;tag=callertag";
    assert_eq!(&*identity(invite().set("From", from), false).user, "+6011");
    let from = "tel:+60-11-1;tag=callertag";
    assert_eq!(
        &*identity(invite().set("From", from), false).user,
        "+60-11-1"
    );
    let from = "\"<sip:+60999@x>\" <sip:+60111@y>;tag=callertag";
    assert_eq!(&*identity(invite().set("From", from), false).user, "+60111");
}

#[test]
fn the_dialled_number_is_read_from_sip_and_tel() {
    for (uri, dialled) in [
        ("sip:%2B60388880001@x", "+60388880001"),
        ("sips:0388880001;npdi@x;user=phone", "0388880001"),
        ("tel:+60-3-8888-0001;phone-context=z", "+60-3-8888-0001"),
        ("sip:203.0.113.1", ""),
    ] {
        let mut world = World::new();
        world.receive(CALLER, invite().uri(uri));
        world.response(CALLER, 100);
        assert_eq!(&*world.invited().1.dialled, dialled);
    }
}

/// Our INVITE for a caller ID.
fn written(caller_id: CallerId, trusted: bool, form: NumberForm) -> Message {
    let mut settings = settings();
    let trunk = settings.trunks[1].as_mut().unwrap();
    trunk.trusted = trusted;
    trunk.form = form;
    let mut world = World::with(settings);
    world.receive(CALLER, invite());
    let (key, _) = world.invited();
    world.command(
        key,
        SipCommand::Dial(Box::new(Dial {
            caller_id,
            ..dial()
        })),
    );
    world.request(CALLEE, Method::Invite)
}

fn from(message: &Message) -> &str {
    message
        .get(Header::From)
        .unwrap()
        .rsplit_once(";tag=")
        .unwrap()
        .0
}

#[test]
fn a_number_is_shown_in_the_form_of_the_trunk() {
    let caller_id = || CallerId::Number {
        number: number(LEASED),
        display_name: "J \"X\" \\".into(),
    };
    for (form, caller, callee) in [
        (NumberForm::PlusE164, "+60388880001", "+60123456789"),
        (NumberForm::E164, "60388880001", "60123456789"),
        (
            NumberForm::National("MY".into()),
            "0388880001",
            "0123456789",
        ),
        (
            NumberForm::National("GB".into()),
            "0060388880001",
            "0060123456789",
        ),
        (
            NumberForm::Prefix("9991".into(), "60".into()),
            "60388880001",
            "9991123456789",
        ),
    ] {
        let message = written(caller_id(), true, form);
        let expected = format!("\"J \\\"X\\\" \\\\\" <sip:{caller}@203.0.113.1>");
        assert_eq!(from(&message), expected);
        assert_eq!(message.uri(), format!("sip:{callee}@carrier.example"));
        let asserted = format!("<sip:{caller}@203.0.113.1>");
        assert_eq!(
            message.get(Header::PAssertedIdentity),
            Some(asserted.as_str())
        );
    }
}

#[test]
fn an_untrusted_trunk_gets_no_assertion() {
    let caller_id = CallerId::Number {
        number: number(LEASED),
        display_name: "".into(),
    };
    let message = written(caller_id, false, NumberForm::PlusE164);
    assert_eq!(message.get(Header::PAssertedIdentity), None);
}

#[test]
fn withheld_stays_withheld() {
    let anonymous = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";
    let known = CallerId::Withheld(Some(number(CALLER_NUMBER)));
    let message = written(known.clone(), true, NumberForm::PlusE164);
    assert_eq!(from(&message), anonymous);
    assert_eq!(
        message.get(Header::PAssertedIdentity),
        Some("<sip:+60111111111@203.0.113.1>")
    );
    assert_eq!(message.get(Header::Privacy), Some("id"));
    let message = written(known, false, NumberForm::PlusE164);
    assert_eq!(from(&message), anonymous);
    assert_eq!(message.get(Header::PAssertedIdentity), None);
    let message = written(CallerId::Withheld(None), true, NumberForm::PlusE164);
    assert_eq!(message.get(Header::PAssertedIdentity), None);
}

#[test]
fn an_odd_identity_is_written_without_harm() {
    let caller_id = CallerId::Verbatim {
        user: "a b@c>\r\nX: y;z".into(),
        display_name: "n\r\n\"".into(),
    };
    let message = written(caller_id, false, NumberForm::PlusE164);
    assert_eq!(
        from(&message),
        "\"n\\\"\" <sip:a%20b%40c%3E%0D%0AX%3A%20y%3Bz@203.0.113.1>"
    );
}

#[test]
fn of_two_asserted_identities_the_telephone_number_counts() {
    let two = |first: &str, second: &str| {
        let draft = invite()
            .add("P-Asserted-Identity", first)
            .add("P-Asserted-Identity", second);
        identity(draft, true)
    };
    let read = two("\"Ali\" <sip:ali77@x.example>", "<tel:+60122222222>");
    assert_eq!(&*read.user, "+60122222222");
    assert!(read.asserted);
    let read = two("<tel:+60-12-222.2222>", "<sip:ali77@x.example>");
    assert_eq!(&*read.user, "+60-12-222.2222");
    let read = two("<sip:anonymous@x.example>", "<sip:ali77@x.example>");
    assert_eq!(&*read.user, "ali77");
    let read = two("<sip:ali77@x.example>", "<sip:+@x.example>");
    assert_eq!(&*read.user, "ali77");
    // As one line, too.
    let line = "<sip:ali77@x.example>, <tel:+60122222222>";
    let read = identity(invite().add("P-Asserted-Identity", line), true);
    assert_eq!(&*read.user, "+60122222222");
}
