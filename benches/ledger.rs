//! What the books cost a call, without the store: admission, answer, a further block, the end with
//! its entry and record; and what they cost a lease request.

use criterion::{Criterion, criterion_group, criterion_main};
use leasebridge::books::command::{CallCommand, Command};
use leasebridge::books::{Books, Settings, Ticket};
use leasebridge::call::event::LedgerCommand;
use leasebridge::domain::numbering::{NumberStyle, Plan, PoolRange};
use leasebridge::domain::{
    CallId, CallKey, CallRecord, ChargeMethod, Credit, Customer, CustomerId, CustomerScope, E164,
    EndedBy, LeaseKind, MediaFigures, Now, Phone, ReferenceId, Tariff, UnixMillis,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const WALL: UnixMillis = UnixMillis(1_767_225_600_000);

fn number(packed: u64) -> E164 {
    E164::from_packed(packed).expect("a number of eleven digits")
}

fn commit(books: &mut Books, now: Now) {
    std::hint::black_box(books.take_batch());
    books.committed(now);
    while books.poll_output().is_some() {}
}

fn ask(books: &mut Books, command: Command, now: Now) {
    books.request(Ticket(0), command, None, None, now);
    commit(books, now);
}

fn customer() -> Customer {
    let tariff = Tariff {
        block_seconds: 60,
        rate: Credit(100),
    };
    Customer {
        id: CustomerId(0),
        first_name: "Siti".into(),
        last_name: "Tan".into(),
        suspended: false,
        charge_method: ChargeMethod::Postpaid,
        enable_single: true,
        enable_group: true,
        tariff_single: tariff,
        tariff_group: tariff,
        max_lease_single: 0,
        max_lease_group: 0,
        date_created: UnixMillis(0),
        date_suspended: None,
    }
}

fn lease(n: u128) -> Command {
    Command::LeaseSingle {
        reference: ReferenceId(Uuid::from_u128(n)),
        customer: CustomerId(1),
        phone: Phone {
            number: number(60_123_456_789),
            spelling: "0123456789".into(),
        },
        expires: UnixMillis(u64::MAX),
        whitelist: Vec::new(),
    }
}

fn furnished(now: Now) -> Books {
    let mut books = Books::new(Settings {
        cooldown: Duration::ZERO,
        max_per_phone: 0,
        hang_up_at_end: false,
        calls_per_lease: 0,
        calls_per_customer: 0,
        keep_answers: Duration::from_secs(86_400),
        target_allowed: Plan::target_allowed,
        plan: Arc::new(Plan::default()),
    });
    books.loaded(now).expect("nothing to load");
    let pool = PoolRange {
        first: number(60_388_880_000),
        last: number(60_388_889_999),
        style: NumberStyle {
            strip: 2,
            prefix: "0".into(),
        },
    };
    ask(&mut books, Command::AddNumbers(vec![pool]), now);
    let create = Command::CreateCustomer {
        customer: Box::new(customer()),
        opening: Credit(1_000_000),
    };
    ask(&mut books, create, now);
    books
}

fn record(call_id: CallId, blocks: u64) -> Box<CallRecord> {
    Box::new(CallRecord {
        call_id,
        caller_leg_call_id: "3848276298220188511@192.0.2.1".into(),
        callee_leg_call_id: "a84b4c76e66710".into(),
        reference_id: Some(ReferenceId(Uuid::from_u128(1))),
        customer_id: Some(CustomerId(1)),
        lease_kind: Some(LeaseKind::Single),
        caller: Some(number(60_198_765_432)),
        callee: Some(number(60_123_456_789)),
        leased_number: "+60388880000".into(),
        shown_number: "+60198765432".into(),
        trunk_in: "carrier-in".into(),
        trunk_out: "carrier-out".into(),
        received_at: WALL,
        ringing_at: Some(WALL),
        answered_at: Some(WALL),
        ended_at: WALL,
        duration_millis: 60_000,
        blocks,
        block_seconds: 60,
        rate: Credit(100),
        charge: Credit::ZERO,
        ended_by: EndedBy::Caller,
        reason: "completed".into(),
        sip_code: 200,
        q850_cause: 16,
        to_callee: MediaFigures::default(),
        to_caller: MediaFigures::default(),
        guard_hits: 0,
        vouching: None,
        quality: None,
    })
}

fn ledger(c: &mut Criterion) {
    let now = Now {
        mono: Instant::now(),
        wall: WALL,
    };
    let mut books = furnished(now);
    ask(&mut books, lease(1), now);
    let mut calls = 0u64;
    c.bench_function("a call from admission to record", |b| {
        b.iter(|| {
            calls += 1;
            let call_id = CallId(Uuid::from_u64_pair(calls, 0));
            let admit = LedgerCommand::Admit {
                dialled: number(60_388_880_000),
                caller: None,
            };
            for command in [
                admit,
                LedgerCommand::Answer(record(call_id, 0)),
                LedgerCommand::Hold(2),
                LedgerCommand::Close(record(call_id, 2)),
            ] {
                let command = CallCommand {
                    worker: 0,
                    key: CallKey(calls),
                    call_id,
                    command,
                };
                books.call(command, now);
                commit(&mut books, now);
            }
        });
    });
    let mut leases = 1u128;
    c.bench_function("a lease and its release", |b| {
        b.iter(|| {
            leases += 1;
            ask(&mut books, lease(leases), now);
            let release = Command::Release {
                kind: LeaseKind::Single,
                reference: ReferenceId(Uuid::from_u128(leases)),
                scope: CustomerScope::All,
            };
            ask(&mut books, release, now);
        });
    });
}

criterion_group!(benches, ledger);
criterion_main!(benches);
