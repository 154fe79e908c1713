use super::*;

#[test]
fn a_lease_is_given_queried_and_released() {
    let mut rig = Rig::furnished();
    let command = rig.single(1);
    let lease = rig.lease(command);
    assert_eq!(
        lease.pairs,
        [("0388880000".to_owned(), phone(1).spelling.into_string())]
    );
    assert_eq!(rig.ask(query(&lease)), Ok(Answer::Lease(lease.clone())));
    let directory = rig.books.directory();
    assert!(matches!(
        directory.lookup(pool_number(0)),
        Dialled::Leased {
            kind: LeaseKind::Single,
            only_caller: None,
            whitelist: false,
            ..
        }
    ));
    assert_eq!(rig.ask(release(&lease)), Ok(Answer::Done));
    assert_eq!(directory.lookup(pool_number(0)), Dialled::NotLeased);
    assert_eq!(directory.lookup(pool_number(10)), Dialled::Unknown);
    assert_eq!(rig.ask(query(&lease)), Err(Code(10)));
    assert_eq!(rig.ask(release(&lease)), Err(Code(10)));
}

#[test]
fn a_restart_finds_the_same_leases() {
    let mut rig = Rig::furnished();
    let command = rig.single(1);
    let lease = rig.lease(command);
    let mut odd = rig.single(2);
    if let Command::LeaseSingle {
        phone, whitelist, ..
    } = &mut odd
    {
        phone.spelling = "+60 123-000 002".into();
        whitelist.push(super::phone(7).number);
    }
    let odd = rig.lease(odd);
    let before = rig.digest();
    let report = rig.restart();
    assert_eq!(report.leases, 2);
    assert_eq!(rig.digest(), before);
    assert_eq!(rig.ask(query(&lease)), Ok(Answer::Lease(lease)));
    assert_eq!(odd.pairs[0].1, "+60 123-000 002");
    let directory = rig.books.directory();
    let number = rig.dialled(&odd, 0);
    assert!(directory.whitelisted(number, Some(phone(7).number)));
    assert!(!directory.whitelisted(number, Some(phone(8).number)));
    assert!(!directory.whitelisted(number, None));
}

#[test]
fn kinds_scopes_and_strangers_are_told_apart() {
    let mut rig = Rig::furnished();
    let command = rig.single(1);
    let lease = rig.lease(command);
    for (kind, scope) in [
        (LeaseKind::Group, CustomerScope::All),
        (LeaseKind::Single, CustomerScope::Only(vec![CustomerId(2)])),
    ] {
        let command = Command::QueryLease {
            kind,
            reference: lease.reference,
            scope,
        };
        assert_eq!(rig.ask(command), Err(Code(10)));
    }
}

#[test]
fn conditions_are_checked_in_their_order() {
    let mut rig = Rig::furnished();
    let mut stranger = rig.single(1);
    if let Command::LeaseSingle { customer, .. } = &mut stranger {
        *customer = CustomerId(9);
    }
    assert_eq!(rig.ask(stranger), Err(Code(35)));
    let mut own = rig.single(1);
    if let Command::LeaseSingle { phone, .. } = &mut own {
        phone.number = pool_number(3);
    }
    assert_eq!(rig.ask(own), Err(Code(8)));
    rig.ask(update(|u| {
        u.suspended = Some(true);
        u.enable_single = Some(false);
    }))
    .unwrap();
    let command = rig.single(1);
    assert_eq!(rig.ask(command), Err(Code(37)));
    rig.ask(update(|u| u.suspended = Some(false))).unwrap();
    let command = rig.single(1);
    assert_eq!(rig.ask(command), Err(Code(6)));
    rig.ask(update(|u| {
        u.enable_single = Some(true);
        u.max_lease_single = Some(2);
    }))
    .unwrap();
    for _ in 0..2 {
        let command = rig.single(1);
        rig.lease(command);
    }
    let command = rig.single(1);
    assert_eq!(rig.ask(command), Err(Code(39)));
    rig.ask(update(|u| u.max_lease_single = Some(0))).unwrap();
    rig.settings.max_per_phone = 2;
    rig.books.reload(rig.settings.clone());
    let command = rig.single(1);
    assert_eq!(rig.ask(command), Err(Code(12)));
    for n in 2..10 {
        let command = rig.single(n);
        rig.lease(command);
    }
    let command = rig.single(10);
    assert_eq!(rig.ask(command), Err(Code(11)));
}

#[test]
fn a_group_lease_takes_two_numbers_or_none() {
    let mut rig = Rig::furnished();
    for n in 0..9 {
        let command = rig.single(n);
        rig.lease(command);
    }
    let group = |rig: &mut Rig| Command::LeaseGroup {
        reference: ReferenceId(rig.uuid()),
        customer: CustomerId(1),
        phones: [phone(20), phone(21)],
        expires: rig.now.wall.plus(Duration::from_secs(60)),
    };
    let command = group(&mut rig);
    assert_eq!(rig.ask(command), Err(Code(11)));
    rig.wait(Duration::from_secs(3600));
    rig.wait(Duration::from_secs(60));
    rig.ask(update(|u| u.max_lease_group = Some(1))).unwrap();
    let command = group(&mut rig);
    let lease = rig.lease(command);
    assert_eq!(lease.pairs.len(), 2);
    let command = group(&mut rig);
    assert_eq!(rig.ask(command), Err(Code(40)));
    let before = rig.digest();
    rig.restart();
    assert_eq!(rig.digest(), before);
}

#[test]
fn never_leased_numbers_go_first_then_the_longest_rested() {
    let mut rig = Rig::new(Settings {
        cooldown: Duration::ZERO,
        ..settings()
    });
    rig.add_numbers(3);
    rig.ask(create(0)).unwrap();
    let leases: Vec<_> = (0..3)
        .map(|n| {
            let command = rig.single(n);
            rig.lease(command)
        })
        .collect();
    // Released within one millisecond: the order of release counts all the same.
    for n in [2, 0, 1] {
        rig.ask(release(&leases[n])).unwrap();
    }
    // Set back by a year.
    rig.now.wall = UnixMillis(START - 31_536_000_000);
    let mut order = Vec::new();
    for n in 0..3 {
        let command = rig.single(n);
        let lease = rig.lease(command);
        order.push(lease.pairs[0].0.clone());
        rig.ask(release(&lease)).unwrap();
    }
    assert_eq!(order, ["0388880002", "0388880000", "0388880001"]);
    let command = rig.single(0);
    assert_eq!(rig.lease(command).pairs[0].0, "0388880002");
}

#[test]
fn numbers_rest_before_they_are_leased_again() {
    let mut rig = Rig::furnished();
    let leases: Vec<_> = (0..10)
        .map(|n| {
            let command = rig.single(n);
            rig.lease(command)
        })
        .collect();
    rig.ask(release(&leases[4])).unwrap();
    rig.wait(Duration::from_secs(59));
    let command = rig.single(1);
    assert_eq!(rig.ask(command), Err(Code(11)));
    rig.restart();
    let command = rig.single(1);
    assert_eq!(rig.ask(command), Err(Code(11)));
    assert_eq!(
        rig.books.poll_timeout(),
        Some(rig.now.mono + Duration::from_secs(1))
    );
    rig.wait(Duration::from_secs(1));
    let command = rig.single(1);
    assert_eq!(rig.lease(command).pairs[0].0, "0388880004");
}

#[test]
fn a_lease_ends_at_its_instant() {
    let mut rig = Rig::furnished();
    let command = rig.single(1);
    let lease = rig.lease(command);
    rig.wait(Duration::from_millis(3_599_999));
    assert!(rig.ask(query(&lease)).is_ok());
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.ask(query(&lease)), Err(Code(10)));
    assert_eq!(
        rig.books.directory().lookup(pool_number(0)),
        Dialled::NotLeased
    );
    assert_eq!(rig.table::<LeaseRecord>(Table::Lease), []);
    // A clock that is set back does not bring it back.
    rig.now.wall = UnixMillis(START);
    assert_eq!(rig.ask(query(&lease)), Err(Code(10)));
}

#[test]
fn an_expired_lease_that_cannot_be_removed_is_over_all_the_same() {
    let mut rig = Rig::furnished();
    let command = rig.single(1);
    let lease = rig.lease(command);
    rig.pass(Duration::from_secs(3600));
    rig.books.handle_timeout(rig.now);
    rig.fail(&StoreError::Full);
    let (_, event) = rig.admit(pool_number(0), None);
    assert!(matches!(
        event,
        BooksEvent::Refused(crate::call::event::Refusal::NoLease)
    ));
    assert_eq!(rig.ask(query(&lease)), Err(Code(10)));
    assert_eq!(rig.table::<LeaseRecord>(Table::Lease).len(), 1);
    rig.wait(Duration::from_secs(1));
    assert_eq!(rig.table::<LeaseRecord>(Table::Lease).len(), 0);
}

#[test]
fn reservations_are_drawn_alone() {
    let mut rig = Rig::furnished();
    rig.ask(create(0)).unwrap();
    let reserve = |customer, quantity| Command::Reserve {
        customer: CustomerId(customer),
        quantity,
    };
    assert_eq!(rig.ask(reserve(3, 1)), Err(Code(35)));
    assert_eq!(rig.ask(reserve(2, 11)), Err(Code(11)));
    assert_eq!(
        rig.ask(reserve(2, 2)),
        Ok(Answer::Reserved(vec![
            "0388880000".into(),
            "0388880001".into()
        ]))
    );
    let command = rig.single(1);
    assert_eq!(rig.lease(command).pairs[0].0, "0388880002");
    let theirs = |rig: &mut Rig, n| {
        let mut command = rig.single(n);
        if let Command::LeaseSingle { customer, .. } = &mut command {
            *customer = CustomerId(2);
        }
        command
    };
    for shown in ["0388880000", "0388880001"] {
        let command = theirs(&mut rig, 5);
        assert_eq!(rig.lease(command).pairs[0].0, shown);
    }
    let command = theirs(&mut rig, 5);
    assert_eq!(rig.ask(command), Err(Code(11)));
    let before = rig.digest();
    rig.restart();
    assert_eq!(rig.digest(), before);
    let Ok(Answer::Customer(view)) = rig.ask(Command::ViewCustomer(CustomerId(2))) else {
        panic!("no view");
    };
    assert!(view.has_reserved_number);
    // They come back to the reservation, and from there to the general pool.
    rig.wait(Duration::from_secs(3600));
    rig.wait(Duration::from_secs(60));
    let unreserve = |what| Command::Unreserve {
        customer: CustomerId(2),
        what,
    };
    let numbers = |list: &[u64]| Unreserve::Numbers(list.iter().map(|n| pool_number(*n)).collect());
    assert_eq!(rig.ask(unreserve(Unreserve::Quantity(3))), Err(Code(11)));
    assert_eq!(rig.ask(unreserve(numbers(&[2]))), Err(Code(2)));
    assert_eq!(rig.ask(unreserve(numbers(&[0, 0]))), Ok(Answer::Done));
    assert_eq!(rig.ask(unreserve(Unreserve::Quantity(1))), Ok(Answer::Done));
    let Ok(Answer::Customer(view)) = rig.ask(Command::ViewCustomer(CustomerId(2))) else {
        panic!("no view");
    };
    assert!(!view.has_reserved_number);
}

#[test]
fn retired_numbers_are_never_leased_again() {
    let mut rig = Rig::furnished();
    let command = rig.single(1);
    let lease = rig.lease(command);
    assert_eq!(
        rig.ask(Command::RetireNumber(pool_number(0))),
        Ok(Answer::Done)
    );
    assert_eq!(
        rig.ask(Command::RetireNumber(pool_number(1))),
        Ok(Answer::Done)
    );
    assert_eq!(
        rig.ask(Command::RetireNumber(pool_number(77))),
        Err(Code(2))
    );
    assert!(rig.ask(query(&lease)).is_ok());
    rig.ask(release(&lease)).unwrap();
    rig.restart();
    rig.wait(Duration::from_secs(61));
    let command = rig.single(1);
    assert_eq!(rig.lease(command).pairs[0].0, "0388880002");
    let numbers = rig.books.figures().numbers;
    assert_eq!((numbers.retired, numbers.leased, numbers.free), (2, 1, 7));
    // Added again, they stay retired.
    let range = PoolRange {
        first: pool_number(0),
        last: pool_number(10),
        style: NumberStyle {
            strip: 2,
            prefix: "0".into(),
        },
    };
    assert_eq!(
        rig.ask(Command::AddNumbers(vec![range])),
        Ok(Answer::Added(1))
    );
    assert_eq!(rig.books.figures().numbers.retired, 2);
}

#[test]
fn numbers_are_listed_in_order_by_page_and_by_scope() {
    let mut rig = Rig::furnished();
    let command = rig.single(1);
    rig.lease(command);
    let list = |state, scope, from, limit| Command::ListNumbers {
        state,
        scope,
        from,
        limit,
    };
    let rows = |rig: &mut Rig, command| match rig.ask(command) {
        Ok(Answer::Numbers { rows, next }) => (rows, next),
        other => panic!("{other:?}"),
    };
    let (page, next) = rows(&mut rig, list(None, CustomerScope::All, None, 4));
    assert_eq!(page.len(), 4);
    assert_eq!(page[0].state, NumberState::Leased);
    assert_eq!(next, Some(pool_number(4)));
    let (page, next) = rows(&mut rig, list(None, CustomerScope::All, next, 100));
    assert_eq!(page.len(), 6);
    assert_eq!(page[0].shown, "0388880004");
    assert_eq!(next, None);
    let free = list(Some(NumberState::Free), CustomerScope::All, None, 100);
    assert_eq!(rows(&mut rig, free).0.len(), 9);
    let own = CustomerScope::Only(vec![CustomerId(1)]);
    assert_eq!(rows(&mut rig, list(None, own, None, 100)).0.len(), 1);
    let other = CustomerScope::Only(vec![CustomerId(2)]);
    assert_eq!(rows(&mut rig, list(None, other, None, 100)).0.len(), 0);
}

#[test]
fn nothing_comes_out_before_the_commit() {
    let mut rig = Rig::furnished();
    let command = rig.single(1);
    let ticket = rig.send(command);
    assert!(rig.replies.is_empty());
    assert_eq!(rig.books.batch_is_urgent(), Some(true));
    assert_eq!(
        rig.books.directory().lookup(pool_number(0)),
        Dialled::NotLeased
    );
    rig.flush();
    assert!(rig.outcome(ticket).is_ok());
    assert_eq!(rig.books.batch_is_urgent(), None);
}

#[test]
fn a_failed_batch_is_as_if_it_had_not_been() {
    let mut rig = Rig::furnished();
    let command = rig.single(1);
    let lease = rig.lease(command);
    let before = rig.digest();
    let mut tickets = Vec::new();
    tickets.push(rig.send(release(&lease)));
    for n in 0..3 {
        let command = rig.single(n);
        tickets.push(rig.send(command));
    }
    tickets.push(rig.send(Command::Reserve {
        customer: CustomerId(1),
        quantity: 3,
    }));
    tickets.push(rig.send(Command::RetireNumber(pool_number(0))));
    tickets.push(rig.send(Command::RetireNumber(pool_number(8))));
    tickets.push(rig.send(Command::TopUp {
        customer: CustomerId(1),
        credit: Credit(5),
    }));
    tickets.push(rig.send(create(7)));
    tickets.push(rig.send(update(|u| u.enable_group = Some(false))));
    let view = rig.send(Command::ViewCustomer(CustomerId(1)));
    assert!(rig.replies.is_empty());
    rig.fail(&StoreError::Failed("power".into()));
    for ticket in tickets {
        assert_eq!(rig.outcome(ticket), Err(Code(99)));
    }
    let Ok(Answer::Customer(view)) = rig.outcome(view) else {
        panic!("no view");
    };
    assert_eq!(view.balance, Credit(1000));
    assert_eq!(rig.digest(), before);
    assert_eq!(rig.books.batch_is_urgent(), None);
}

#[test]
fn a_full_store_refuses_at_once_and_recovers() {
    let mut rig = Rig::furnished();
    let command = rig.single(1);
    rig.send(command);
    rig.fail(&StoreError::Full);
    let command = rig.single(1);
    let ticket = rig.send(command);
    assert_eq!(rig.outcome(ticket), Err(Code(99)));
    assert_eq!(rig.books.batch_is_urgent(), None);
    rig.books.set_room(true, rig.now.mono);
    let command = rig.single(1);
    rig.lease(command);
    rig.books.set_room(false, rig.now.mono);
    let command = rig.single(1);
    assert_eq!(rig.ask(command), Err(Code(99)));
    rig.wait(FULL_PATIENCE);
    let command = rig.single(1);
    rig.lease(command);
}

#[test]
fn the_same_key_gets_the_same_answer() {
    let mut rig = Rig::furnished();
    let command = rig.single(1);
    let first = rig.send_with(command.clone(), Some(idempotency(1, 1)));
    let second = rig.send_with(command.clone(), Some(idempotency(1, 1)));
    let other = rig.send_with(command.clone(), Some(idempotency(1, 2)));
    assert!(rig.replies.is_empty());
    rig.flush();
    let outcome = rig.outcome(first);
    assert!(outcome.is_ok());
    let body = AsText.render(&outcome);
    let kept = |rig: &mut Rig, ticket| match rig.replies.remove(&ticket) {
        Some(Reply::Kept(code, body)) => (code, body),
        other => panic!("{other:?}"),
    };
    assert_eq!(kept(&mut rig, second), (Code(0), body.clone()));
    assert_eq!(rig.outcome(other), Err(Code(2)));
    assert_eq!(rig.books.leases.len(), 1);
    let third = rig.send_with(command.clone(), Some(idempotency(1, 1)));
    assert_eq!(kept(&mut rig, third), (Code(0), body.clone()));
    rig.restart();
    let fourth = rig.send_with(command.clone(), Some(idempotency(1, 1)));
    assert_eq!(kept(&mut rig, fourth), (Code(0), body));
    // After a day it is a new request.
    rig.wait(Duration::from_secs(86_400));
    let command = rig.single(1);
    let fifth = rig.send_with(command, Some(idempotency(1, 1)));
    rig.flush();
    assert!(rig.outcome(fifth).is_ok());
    assert_eq!(rig.books.figures().kept_answers, 1);
    assert_eq!(
        rig.store
            .keys()
            .filter(|key| key.table == Table::AnswerExpiry)
            .count(),
        1
    );
}

#[test]
fn refusals_are_kept_but_not_our_own_faults() {
    let mut rig = Rig::furnished();
    let command = Command::TopUp {
        customer: CustomerId(9),
        credit: Credit(1),
    };
    let ticket = rig.send_with(command, Some(idempotency(1, 1)));
    rig.flush();
    assert_eq!(rig.outcome(ticket), Err(Code(35)));
    let ticket = rig.send_with(Command::Remember(Code(15)), Some(idempotency(2, 1)));
    rig.flush();
    assert_eq!(rig.outcome(ticket), Err(Code(15)));
    rig.send_with(Command::Remember(Code(100)), Some(idempotency(3, 1)));
    assert_eq!(rig.books.batch_is_urgent(), None);
    assert_eq!(rig.table::<KeptAnswer>(Table::Answer).len(), 2);
    let command = rig.single(1);
    rig.send_with(command.clone(), Some(idempotency(4, 1)));
    let again = rig.send_with(command.clone(), Some(idempotency(4, 1)));
    rig.fail(&StoreError::Failed("x".into()));
    assert_eq!(rig.outcome(again), Err(Code(99)));
    rig.send_with(command, Some(idempotency(4, 1)));
    rig.flush();
    assert_eq!(rig.books.leases.len(), 1);
}

#[test]
fn kept_answers_are_forgotten_in_time() {
    let mut rig = Rig::furnished();
    for n in 0..5 {
        rig.send_with(Command::Remember(Code(15)), Some(idempotency(n, 1)));
    }
    rig.flush();
    assert!(rig.books.stale_answers(rig.now, 100).is_empty());
    rig.wait(Duration::from_secs(86_400));
    rig.restart();
    let stale = rig.books.stale_answers(rig.now, 3);
    assert_eq!(stale.len(), 3);
    for key in stale {
        let stored = rig.store.get(&key).cloned();
        rig.books.forget_answer(&key, stored, rig.now);
    }
    assert_eq!(rig.books.stale_answers(rig.now, 100).len(), 2);
    rig.fail(&StoreError::Full);
    assert_eq!(rig.books.stale_answers(rig.now, 100).len(), 5);
    for key in rig.books.stale_answers(rig.now, 100) {
        let stored = rig.store.get(&key).cloned();
        rig.books.forget_answer(&key, stored, rig.now);
    }
    rig.flush();
    assert_eq!(rig.table::<KeptAnswer>(Table::Answer).len(), 0);
    assert_eq!(rig.books.figures().kept_answers, 0);
    assert!(rig.store.keys().all(|key| key.table != Table::AnswerExpiry));
}
