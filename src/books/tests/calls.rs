use super::*;
use crate::call::event::{BlocksRefusal, Refusal};

fn leased(rig: &mut Rig) -> (LeaseAnswer, E164) {
    let command = rig.single(1);
    let lease = rig.lease(command);
    let number = rig.dialled(&lease, 0);
    (lease, number)
}

fn refused(rig: &mut Rig, dialled: E164, caller: Option<E164>) -> Refusal {
    match rig.admit(dialled, caller) {
        (_, BooksEvent::Refused(refusal)) => refusal,
        (_, other) => panic!("{other:?}"),
    }
}

fn admitted(rig: &mut Rig, dialled: E164, caller: Option<E164>) -> CallId {
    match rig.admit(dialled, caller) {
        (call, BooksEvent::Admitted(_)) => call,
        (_, other) => panic!("{other:?}"),
    }
}

/// A call that is up, its record durable.
fn up(rig: &mut Rig, dialled: E164) -> CallId {
    let call = admitted(rig, dialled, None);
    rig.answer(call);
    assert!(rig.notices.is_empty());
    rig.flush();
    assert!(matches!(rig.event(), Some(BooksEvent::AnswerDurable)));
    call
}

#[test]
fn a_call_is_admitted_answered_held_and_charged_once() {
    let mut rig = Rig::furnished();
    let (lease, number) = leased(&mut rig);
    let (call, event) = rig.admit(number, None);
    let BooksEvent::Admitted(admission) = event else {
        panic!("{event:?}");
    };
    assert_eq!(admission.reference, lease.reference);
    assert_eq!(admission.callee, phone(1).number);
    assert_eq!(admission.shown, None);
    assert!(admission.prepaid);
    assert_eq!(&*admission.callee_spelling, &*phone(1).spelling);
    assert_eq!(rig.books.batch_is_urgent(), None);
    rig.answer(call);
    assert_eq!(rig.books.batch_is_urgent(), Some(true));
    rig.flush();
    assert!(matches!(rig.event(), Some(BooksEvent::AnswerDurable)));
    assert_eq!(rig.balance(1), 900);
    rig.command(call, LedgerCommand::Hold(2));
    assert!(rig.notices.is_empty());
    rig.flush();
    assert!(matches!(rig.event(), Some(BooksEvent::BlocksHeld(2))));
    assert_eq!(rig.balance(1), 800);
    let Ok(Answer::OpenCalls { calls, balance }) = rig.ask(Command::OpenCalls(CustomerId(1)))
    else {
        panic!("no open calls");
    };
    assert_eq!((calls[0].blocks, calls[0].credit), (2, Credit(200)));
    assert_eq!(balance, Credit(1000));
    rig.close(call, 1);
    assert_eq!(rig.books.batch_is_urgent(), Some(false));
    rig.flush();
    assert!(matches!(rig.event(), Some(BooksEvent::Recorded)));
    assert_eq!(rig.balance(1), 900);
    let entries = rig.entries(1);
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1].credit, Credit(-100));
    assert_eq!(entries[1].balance, Credit(900));
    assert_eq!(entries[1].call_id, Some(call));
    assert_eq!(entries[1].blocks, 1);
    let records = rig.records();
    assert_eq!((records[0].blocks, records[0].charge), (1, Credit(100)));
    assert!(rig.store.keys().all(|key| key.table != Table::OpenCall));
    // Told again, it is acknowledged again and written once.
    rig.close(call, 1);
    rig.flush();
    assert!(matches!(rig.event(), Some(BooksEvent::Recorded)));
    assert_eq!(rig.entries(1).len(), 2);
    assert_eq!(rig.books.figures().ledger_imbalance, 0);
}

#[test]
fn admission_fails_in_the_order_of_the_table() {
    let mut rig = Rig::furnished();
    assert_eq!(
        refused(&mut rig, pool_number(50), None),
        Refusal::UnknownNumber
    );
    assert_eq!(refused(&mut rig, pool_number(0), None), Refusal::NoLease);
    let mut command = rig.single(1);
    if let Command::LeaseSingle { whitelist, .. } = &mut command {
        whitelist.push(phone(5).number);
    }
    let lease = rig.lease(command);
    let number = rig.dialled(&lease, 0);
    let friend = Some(phone(5).number);
    // Everything is wrong at once; the first counts, and is then put right.
    rig.settings.target_allowed = |_, _| false;
    rig.settings.calls_per_customer = 1;
    rig.books.reload(rig.settings.clone());
    rig.ask(update(|u| {
        u.suspended = Some(true);
        u.enable_single = Some(false);
        u.rate_single = Some(Credit(1001));
    }))
    .unwrap();
    for caller in [None, Some(phone(6).number)] {
        assert_eq!(refused(&mut rig, number, caller), Refusal::NotOnWhitelist);
    }
    assert_eq!(refused(&mut rig, number, friend), Refusal::Suspended);
    rig.ask(update(|u| u.suspended = Some(false))).unwrap();
    assert_eq!(refused(&mut rig, number, friend), Refusal::ServiceDisabled);
    rig.ask(update(|u| u.enable_single = Some(true))).unwrap();
    assert_eq!(refused(&mut rig, number, friend), Refusal::TargetNotAllowed);
    rig.settings.target_allowed = Plan::target_allowed;
    rig.books.reload(rig.settings.clone());
    assert_eq!(refused(&mut rig, number, friend), Refusal::NoCredit);
    rig.ask(update(|u| u.rate_single = Some(Credit(100))))
        .unwrap();
    admitted(&mut rig, number, friend);
    assert_eq!(refused(&mut rig, number, friend), Refusal::LeaseBusy);
    rig.settings.calls_per_lease = 0;
    rig.books.reload(rig.settings.clone());
    assert_eq!(refused(&mut rig, number, friend), Refusal::CustomerBusy);
    rig.settings.calls_per_customer = 0;
    rig.books.reload(rig.settings.clone());
    rig.books.set_room(false, rig.now.mono);
    assert_eq!(refused(&mut rig, number, friend), Refusal::BooksUnavailable);
    rig.books.set_room(true, rig.now.mono);
    admitted(&mut rig, number, friend);
    // A target that has become a number of ours.
    let range = PoolRange {
        first: phone(1).number,
        last: phone(1).number,
        style: NumberStyle {
            strip: 0,
            prefix: "+".into(),
        },
    };
    rig.ask(Command::AddNumbers(vec![range])).unwrap();
    assert_eq!(refused(&mut rig, number, friend), Refusal::TargetNotAllowed);
}

#[test]
fn group_members_reach_each_other_alone() {
    let mut rig = Rig::furnished();
    let command = Command::LeaseGroup {
        reference: ReferenceId(rig.uuid()),
        customer: CustomerId(1),
        phones: [phone(1), phone(2)],
        expires: rig.now.wall.plus(Duration::from_secs(60)),
    };
    let lease = rig.lease(command);
    let (first, second) = (rig.dialled(&lease, 0), rig.dialled(&lease, 1));
    let (one, two) = (phone(1).number, phone(2).number);
    assert_eq!(refused(&mut rig, first, None), Refusal::NoIdentity);
    assert_eq!(refused(&mut rig, first, Some(one)), Refusal::NotMember);
    assert_eq!(
        refused(&mut rig, first, Some(phone(3).number)),
        Refusal::NotMember
    );
    let (_, event) = rig.admit(first, Some(two));
    let BooksEvent::Admitted(admission) = event else {
        panic!("{event:?}");
    };
    assert_eq!((admission.callee, admission.shown), (one, Some(second)));
    assert_eq!(&*admission.caller_spelling, &*phone(2).spelling);
    let (_, event) = rig.admit(second, Some(one));
    let BooksEvent::Admitted(admission) = event else {
        panic!("{event:?}");
    };
    assert_eq!((admission.callee, admission.shown), (two, Some(first)));
    assert!(matches!(
        rig.books.directory().lookup(first),
        Dialled::Leased { only_caller, .. } if only_caller == Some(two)
    ));
}

#[test]
fn ringing_calls_do_not_count_on_the_same_credit() {
    let mut rig = Rig::furnished();
    rig.ask(Command::TopUp {
        customer: CustomerId(1),
        credit: Credit(-850),
    })
    .unwrap();
    let (_, first) = leased(&mut rig);
    let (_, second) = leased(&mut rig);
    let call = admitted(&mut rig, first, None);
    assert_eq!(refused(&mut rig, second, None), Refusal::NoCredit);
    rig.close(call, 0);
    rig.flush();
    assert_eq!(rig.entries(1).len(), 2);
    admitted(&mut rig, second, None);
}

#[test]
fn blocks_are_refused_when_the_credit_ends() {
    let mut rig = Rig::furnished();
    rig.ask(Command::TopUp {
        customer: CustomerId(1),
        credit: Credit(-700),
    })
    .unwrap();
    let (_, number) = leased(&mut rig);
    let call = up(&mut rig, number);
    // Who asks how far it goes is told at once, and holds nothing.
    for (asked, told) in [(2, 2), (3, 3), (6, 3), (0, 1)] {
        rig.command(call, LedgerCommand::Look(asked));
        assert!(matches!(rig.event(), Some(BooksEvent::Covered(count)) if count == told));
    }
    assert_eq!(rig.books.batch_is_urgent(), None);
    // A run is held as far as the credit goes.
    rig.command(call, LedgerCommand::Hold(6));
    rig.flush();
    assert!(matches!(rig.event(), Some(BooksEvent::BlocksHeld(3))));
    rig.command(call, LedgerCommand::Hold(6));
    assert!(matches!(
        rig.event(),
        Some(BooksEvent::BlocksRefused(BlocksRefusal::NoCredit))
    ));
    assert_eq!(rig.balance(1), 0);
    rig.close(call, 3);
    rig.flush();
    assert_eq!(rig.balance(1), 0);
}

#[test]
fn postpaid_balances_go_below_zero() {
    let mut rig = Rig::furnished();
    rig.ask(update(|u| u.charge_method = Some(ChargeMethod::Postpaid)))
        .unwrap();
    let (_, number) = leased(&mut rig);
    let call = up(&mut rig, number);
    rig.command(call, LedgerCommand::Hold(15));
    rig.flush();
    assert!(matches!(rig.event(), Some(BooksEvent::BlocksHeld(15))));
    rig.close(call, 15);
    rig.flush();
    assert_eq!(rig.balance(1), -500);
}

#[test]
fn a_postpaid_call_pays_for_what_began_while_the_books_were_silent() {
    let mut rig = Rig::furnished();
    let (_, number) = leased(&mut rig);
    let prepaid = up(&mut rig, number);
    rig.close(prepaid, 2);
    rig.flush();
    rig.notices.clear();
    assert_eq!(rig.balance(1), 900);
    rig.ask(update(|u| u.charge_method = Some(ChargeMethod::Postpaid)))
        .unwrap();
    let postpaid = up(&mut rig, number);
    rig.close(postpaid, 2);
    rig.flush();
    assert_eq!(rig.balance(1), 700);
    let record = rig.records().pop().unwrap();
    assert_eq!((record.blocks, record.charge), (2, Credit(200)));
}

/// Whoever looks for a lease's calls finds the refused ones too.
#[test]
fn records_of_refused_calls_name_their_lease() {
    let mut rig = Rig::furnished();
    let (lease, number) = leased(&mut rig);
    let refused_record = |rig: &Rig, customer: u32| {
        let mut record = rig.record(CallId(Uuid::from_u128(u128::from(customer) + 900)));
        record.customer_id = Some(CustomerId(customer));
        record.leased_number = number.to_string().into();
        record.answered_at = None;
        record.reason = "no_credit".into();
        record
    };
    let close = |rig: &mut Rig, record: CallRecord| {
        let call = record.call_id;
        rig.command(call, LedgerCommand::Close(Box::new(record)));
        rig.fail(&StoreError::Failed("x".into()));
        rig.flush();
        rig.records()
            .into_iter()
            .find(|record| record.call_id == call)
            .unwrap()
    };
    let record = refused_record(&rig, 1);
    let record = close(&mut rig, record);
    assert_eq!(record.reference_id, Some(lease.reference));
    let key = record_by_reference_key(lease.reference, record.received_at, record.call_id);
    assert!(rig.store.contains_key(&key));
    // Another customer's lease is not taken for it, nor one of another kind.
    let record = refused_record(&rig, 2);
    assert_eq!(close(&mut rig, record).reference_id, None);
    let mut record = refused_record(&rig, 3);
    record.customer_id = Some(CustomerId(1));
    record.lease_kind = Some(LeaseKind::Group);
    assert_eq!(close(&mut rig, record).reference_id, None);
    // No lease was found.
    let mut record = refused_record(&rig, 4);
    record.lease_kind = None;
    assert_eq!(close(&mut rig, record).reference_id, None);
    // It has ended meanwhile.
    rig.ask(release(&lease)).unwrap();
    let mut record = refused_record(&rig, 5);
    record.customer_id = Some(CustomerId(1));
    assert_eq!(close(&mut rig, record).reference_id, None);
}

#[test]
fn an_unanswered_call_costs_nothing_and_leaves_its_record() {
    let mut rig = Rig::furnished();
    let (_, number) = leased(&mut rig);
    let call = admitted(&mut rig, number, None);
    // A count that no answer stands behind is not believed.
    rig.close(call, 5);
    rig.flush();
    assert_eq!(rig.balance(1), 1000);
    assert_eq!(rig.records()[0].blocks, 0);
    // A call that never was admitted.
    let stranger = CallId(rig.uuid());
    rig.close(stranger, 2);
    rig.flush();
    assert_eq!(rig.records().len(), 2);
    assert_eq!(rig.entries(1).len(), 1);
}

#[test]
fn a_failed_answer_is_not_sent_and_a_failed_hold_is_tried_again() {
    let mut rig = Rig::furnished();
    let (_, number) = leased(&mut rig);
    let call = admitted(&mut rig, number, None);
    let before = rig.digest();
    rig.answer(call);
    rig.fail(&StoreError::Failed("x".into()));
    assert!(matches!(rig.event(), Some(BooksEvent::AnswerFailed)));
    assert_eq!(rig.digest(), before);
    assert_eq!(rig.books.batch_is_urgent(), None);
    rig.close(call, 0);
    rig.flush();
    rig.notices.clear();
    let call = up(&mut rig, number);
    let before = rig.digest();
    rig.command(call, LedgerCommand::Hold(2));
    rig.fail(&StoreError::Full);
    assert!(rig.notices.is_empty());
    rig.flush();
    assert!(matches!(rig.event(), Some(BooksEvent::BlocksHeld(2))));
    rig.command(call, LedgerCommand::Hold(3));
    rig.fail(&StoreError::Full);
    rig.pass(Duration::from_secs(3));
    rig.fail(&StoreError::Full);
    assert!(matches!(
        rig.event(),
        Some(BooksEvent::BlocksRefused(BlocksRefusal::Store))
    ));
    assert_eq!(rig.books.batch_is_urgent(), None);
    assert_eq!(rig.balance(1), 800);
    rig.close(call, 0);
    assert_ne!(rig.digest(), before);
}

#[test]
fn an_end_survives_every_failure() {
    let mut rig = Rig::furnished();
    let (_, number) = leased(&mut rig);
    let call = up(&mut rig, number);
    rig.close(call, 1);
    let command = rig.single(3);
    let ticket = rig.send(command);
    for _ in 0..3 {
        rig.fail(&StoreError::Full);
        assert!(rig.notices.is_empty());
        assert_eq!(rig.books.batch_is_urgent(), Some(false));
    }
    assert_eq!(rig.outcome(ticket), Err(Code(99)));
    rig.flush();
    assert!(matches!(rig.event(), Some(BooksEvent::Recorded)));
    assert_eq!(rig.entries(1).len(), 2);
    assert_eq!(rig.balance(1), 900);
    assert_eq!(rig.books.calls.len(), 0);
}

#[test]
fn an_admission_waits_for_what_it_hangs_on() {
    let mut rig = Rig::furnished();
    let (_, number) = leased(&mut rig);
    rig.ask(Command::TopUp {
        customer: CustomerId(1),
        credit: Credit(-1000),
    })
    .unwrap();
    for (fails, expected) in [(true, false), (false, true)] {
        rig.send(Command::TopUp {
            customer: CustomerId(1),
            credit: Credit(100),
        });
        let call = CallId(rig.uuid());
        let admit = LedgerCommand::Admit {
            dialled: number,
            caller: None,
        };
        rig.command(call, admit);
        assert!(rig.notices.is_empty());
        if fails {
            rig.fail(&StoreError::Failed("x".into()));
        } else {
            rig.flush();
        }
        let event = rig.event();
        assert_eq!(
            matches!(event, Some(BooksEvent::Admitted(_))),
            expected,
            "{event:?}"
        );
    }
    // A caller who gives up meanwhile leaves nothing behind.
    let mut rig = Rig::furnished();
    let (_, number) = leased(&mut rig);
    rig.send(Command::TopUp {
        customer: CustomerId(1),
        credit: Credit(1),
    });
    let call = CallId(rig.uuid());
    let admit = LedgerCommand::Admit {
        dialled: number,
        caller: None,
    };
    rig.command(call, admit);
    rig.close(call, 0);
    rig.flush();
    assert!(matches!(rig.event(), Some(BooksEvent::Recorded)));
    assert!(rig.notices.is_empty());
    assert_eq!(rig.books.figures().calls, 0);
}

#[test]
fn calls_hear_once_that_their_lease_has_ended() {
    let mut rig = Rig::furnished();
    rig.settings.hang_up_at_end = true;
    rig.books.reload(rig.settings.clone());
    let (lease, number) = leased(&mut rig);
    let call = up(&mut rig, number);
    rig.send(release(&lease));
    assert!(rig.notices.is_empty());
    rig.flush();
    assert!(matches!(
        rig.event(),
        Some(BooksEvent::LeaseEnded { hang_up: true })
    ));
    // The number is held back until the call ends, however long it has rested.
    rig.wait(Duration::from_secs(600));
    assert_eq!(rig.books.figures().numbers.free, 9);
    assert_eq!(rig.books.figures().numbers.resting, 1);
    rig.close(call, 1);
    rig.flush();
    assert_eq!(rig.books.figures().numbers.free, 10);
    let (_, number) = leased(&mut rig);
    admitted(&mut rig, number, None);
    rig.notices.clear();
    rig.pass(Duration::from_secs(3600));
    rig.books.handle_timeout(rig.now);
    rig.drain();
    assert!(matches!(rig.event(), Some(BooksEvent::LeaseEnded { .. })));
    rig.fail(&StoreError::Full);
    rig.wait(Duration::from_secs(2));
    assert!(rig.event().is_none());
}

#[test]
fn a_crash_charges_what_had_begun_and_leaves_a_record() {
    let mut rig = Rig::furnished();
    let (_, number) = leased(&mut rig);
    let call = up(&mut rig, number);
    for _ in 0..50 {
        rig.wait(Duration::from_secs(1));
    }
    rig.command(call, LedgerCommand::Hold(2));
    rig.flush();
    for _ in 0..25 {
        rig.wait(Duration::from_secs(1));
    }
    // What was not committed is lost, the heartbeat of the last second is not.
    rig.command(call, LedgerCommand::Hold(3));
    rig.pass(Duration::from_secs(3600));
    let report = rig.restart();
    assert_eq!(report.recovered_calls, 1);
    let record = &rig.records()[0];
    assert_eq!(&*record.reason, "crash");
    assert_eq!(record.ended_by, EndedBy::Gateway);
    assert_eq!(record.blocks, 2);
    assert_eq!(record.duration_millis, 75_000);
    assert_eq!(record.charge, Credit(200));
    assert_eq!(rig.balance(1), 800);
    assert_eq!(rig.entries(1).len(), 2);
    assert_eq!(rig.books.figures().open_calls, 0);
    let of_customer = rig
        .store
        .keys()
        .filter(|key| key.table == Table::RecordByCustomer);
    assert_eq!(of_customer.count(), 1);
    // Nothing is charged again.
    assert_eq!(rig.restart().recovered_calls, 0);
    assert_eq!(rig.balance(1), 800);
}

/// Both times of a crash's record are the wall clock's; the charge must not hang on them.
#[test]
fn a_clock_that_is_set_changes_no_charge_of_a_crash() {
    for (forwards, duration) in [(false, 60_000), (true, 180_000)] {
        let mut rig = Rig::furnished();
        let (_, number) = leased(&mut rig);
        let call = up(&mut rig, number);
        for _ in 0..130 {
            rig.wait(Duration::from_secs(1));
            match rig.now.wall.0 - START {
                58_000 => rig.command(call, LedgerCommand::Hold(2)),
                118_000 => rig.command(call, LedgerCommand::Hold(3)),
                _ => {}
            }
        }
        let hour = 3_600_000;
        rig.now.wall.0 = match forwards {
            true => rig.now.wall.0 + hour,
            false => rig.now.wall.0 - hour,
        };
        rig.wait(Duration::from_secs(1));
        rig.restart();
        let record = &rig.records()[0];
        assert_eq!((record.blocks, record.charge), (3, Credit(300)));
        // Within what had begun for certain and what was held.
        assert_eq!(record.duration_millis, duration);
        assert!(Some(record.ended_at) >= record.answered_at);
    }
}

#[test]
fn a_recovery_that_cannot_be_stored_is_tried_again() {
    let mut rig = Rig::furnished();
    let (_, number) = leased(&mut rig);
    up(&mut rig, number);
    let mut books = Books::new(rig.settings.clone());
    for (key, value) in &rig.store {
        books.load(key.table, &key.bytes, value).unwrap();
    }
    assert_eq!(books.loaded(rig.now).unwrap().recovered_calls, 1);
    rig.books = books;
    rig.fail(&StoreError::Full);
    rig.flush();
    assert_eq!(rig.records().len(), 1);
    assert_eq!(rig.balance(1), 900);
}

#[test]
fn the_heart_beats_while_calls_are_up() {
    let mut rig = Rig::furnished();
    rig.wait(Duration::from_secs(10));
    assert!(!rig.store.contains_key(&alive_key()));
    let (_, number) = leased(&mut rig);
    let call = up(&mut rig, number);
    assert!(
        rig.books
            .poll_timeout()
            .is_some_and(|at| at <= rig.now.mono)
    );
    rig.wait(Duration::ZERO);
    let beat: UnixMillis = decode(&rig.store[&alive_key()]).unwrap();
    assert_eq!(beat, rig.now.wall);
    assert_eq!(rig.books.poll_timeout(), Some(rig.now.mono + HEARTBEAT));
    rig.close(call, 1);
    rig.flush();
    rig.wait(Duration::from_secs(10));
    assert_eq!(decode(&rig.store[&alive_key()]), Ok(beat));
}

/// Else a crash after an hour of a full disk would leave calls that ended an hour ago.
#[test]
fn the_heart_beats_while_the_store_is_full() {
    let mut rig = Rig::furnished();
    let (_, number) = leased(&mut rig);
    let call = up(&mut rig, number);
    for _ in 0..100 {
        rig.pass(Duration::from_secs(1));
        rig.books.handle_timeout(rig.now);
        rig.fail(&StoreError::Full);
        // What is left goes into the commit that a full store still takes.
        rig.flush();
        assert_eq!(decode(&rig.store[&alive_key()]), Ok(rig.now.wall));
    }
    // A heart that beats for nobody is not tried again for ever.
    rig.pass(Duration::from_secs(1));
    rig.books.handle_timeout(rig.now);
    rig.close(call, 1);
    rig.flush();
    rig.wait(Duration::from_secs(1));
    assert_eq!(rig.books.batch_is_urgent(), None);
}
