use super::*;

fn top_up(credit: i64) -> Command {
    Command::TopUp {
        customer: CustomerId(1),
        credit: Credit(credit),
    }
}

#[test]
fn every_top_up_is_an_entry() {
    let mut rig = Rig::furnished();
    assert_eq!(rig.ask(top_up(140)), Ok(Answer::Balance(Credit(1140))));
    assert_eq!(rig.ask(top_up(-2000)), Ok(Answer::Balance(Credit(-860))));
    let entries = rig.entries(1);
    let kinds: Vec<_> = entries.iter().map(|entry| entry.kind).collect();
    assert_eq!(
        kinds,
        [EntryKind::Opening, EntryKind::Topup, EntryKind::Topup]
    );
    assert_eq!(entries[2].balance, Credit(-860));
    rig.restart();
    assert_eq!(rig.balance(1), -860);
}

#[test]
fn limits_are_kept() {
    let mut rig = Rig::furnished();
    let limit = Credit::TOPUP_LIMIT;
    for credit in [limit + 1, -limit - 1, i64::MAX, i64::MIN] {
        assert_eq!(rig.ask(top_up(credit)), Err(Code(34)));
    }
    assert!(rig.ask(top_up(limit)).is_ok());
    let opening = Credit::BALANCE_LIMIT;
    assert_eq!(rig.ask(create(opening + 1)), Err(Code(23)));
    assert_eq!(rig.ask(create(opening)), Ok(Answer::Created(CustomerId(2))));
    let command = Command::TopUp {
        customer: CustomerId(2),
        credit: Credit(1),
    };
    assert_eq!(rig.ask(command), Err(Code(34)));
    assert_eq!(
        rig.ask(Command::TopUp {
            customer: CustomerId(3),
            credit: Credit(1),
        }),
        Err(Code(35))
    );
}

#[test]
fn customers_are_numbered_from_one_and_keep_their_dates() {
    let mut rig = Rig::furnished();
    let ticket = rig.send(create(0));
    rig.fail(&StoreError::Failed("x".into()));
    assert_eq!(rig.outcome(ticket), Err(Code(99)));
    assert_eq!(rig.ask(create(0)), Ok(Answer::Created(CustomerId(2))));
    rig.restart();
    assert_eq!(rig.ask(create(0)), Ok(Answer::Created(CustomerId(3))));
    let created = rig.now.wall;
    rig.pass(Duration::from_secs(5));
    let view = |rig: &mut Rig, command| match rig.ask(command) {
        Ok(Answer::Customer(answer)) => answer.customer,
        other => panic!("{other:?}"),
    };
    let suspended = view(&mut rig, update(|u| u.suspended = Some(true)));
    assert_eq!(suspended.date_created, created);
    assert_eq!(suspended.date_suspended, Some(rig.now.wall));
    let at = rig.now.wall;
    rig.pass(Duration::from_secs(5));
    let again = view(&mut rig, update(|u| u.suspended = Some(true)));
    assert_eq!(again.date_suspended, Some(at));
    let active = view(&mut rig, update(|u| u.suspended = Some(false)));
    assert_eq!((active.suspended, active.date_suspended), (false, Some(at)));
    let again = view(&mut rig, update(|u| u.suspended = Some(true)));
    assert_eq!(again.date_suspended, Some(rig.now.wall));
    assert_eq!(rig.ask(Command::ViewCustomer(CustomerId(9))), Err(Code(35)));
}

#[test]
fn a_price_is_fixed_at_admission() {
    let mut rig = Rig::furnished();
    let command = rig.single(1);
    let lease = rig.lease(command);
    let number = rig.dialled(&lease, 0);
    let (call, _) = rig.admit(number, None);
    rig.ask(update(|u| {
        u.rate_single = Some(Credit(1));
        u.block_single = Some(1);
    }))
    .unwrap();
    rig.answer(call);
    rig.close(call, 1);
    rig.flush();
    let record = &rig.records()[0];
    assert_eq!((record.rate, record.block_seconds), (Credit(100), 60));
    assert_eq!(rig.balance(1), 900);
}
