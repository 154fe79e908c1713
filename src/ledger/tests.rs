use super::*;
use crate::domain::ChargeMethod;
use uuid::Uuid;

fn ledger(opening: i64) -> Ledger {
    let mut ledger = Ledger::default();
    let tariff = Tariff {
        block_seconds: 60,
        rate: Credit(100),
    };
    let made = ledger.create(Customer {
        id: CustomerId(1),
        first_name: String::new(),
        last_name: String::new(),
        suspended: false,
        charge_method: ChargeMethod::Prepaid,
        enable_single: true,
        enable_group: true,
        tariff_single: tariff,
        tariff_group: tariff,
        max_lease_single: 0,
        max_lease_group: 0,
        date_created: UnixMillis(0),
        date_suspended: None,
    });
    assert!(made.is_some());
    ledger
        .post(
            CustomerId(1),
            EntryKind::Opening,
            Credit(opening),
            UnixMillis(0),
        )
        .unwrap();
    ledger
}

fn call(n: u128) -> CallId {
    CallId(Uuid::from_u128(n))
}

fn tariff(rate: i64) -> Tariff {
    Tariff {
        block_seconds: 60,
        rate: Credit(rate),
    }
}

#[test]
fn extreme_rates_and_counts_overflow_nothing() {
    let mut ledger = ledger(i64::from(u32::MAX));
    let top = tariff(i64::MAX);
    assert!(!ledger.covers(CustomerId(1), top, true));
    assert!(!ledger.covers(CustomerId(1), top, false));
    ledger
        .admit(call(1), CustomerId(1), tariff(1), true)
        .unwrap();
    let (raise, _) = ledger.raise(call(1), u64::MAX);
    assert_eq!(raise, Raise::To(u64::from(u32::MAX)));
    assert_eq!(ledger.raise(call(1), u64::MAX).0, Raise::NoCredit);
    assert_eq!(ledger.raise(call(2), 1).0, Raise::NoCall);
    assert_eq!(ledger.imbalance(), 0);
}

#[test]
fn free_calls_hold_any_number_of_blocks() {
    let mut ledger = ledger(0);
    ledger
        .admit(call(1), CustomerId(1), tariff(0), true)
        .unwrap();
    assert_eq!(ledger.raise(call(1), 1_000).0, Raise::To(1_000));
    assert_eq!(
        ledger.account(CustomerId(1)).unwrap().balance(),
        Credit::ZERO
    );
}

#[test]
fn a_call_is_admitted_once() {
    let mut ledger = ledger(1000);
    ledger
        .admit(call(1), CustomerId(1), tariff(100), true)
        .unwrap();
    assert!(
        ledger
            .admit(call(1), CustomerId(1), tariff(100), true)
            .is_err()
    );
    assert_eq!(
        ledger.admit(call(2), CustomerId(2), tariff(100), true),
        Err(LedgerError::NoAccount)
    );
    let (posting, _) = ledger.close(call(1), 3, UnixMillis(0)).unwrap();
    assert_eq!(posting, None);
    assert!(ledger.close(call(1), 3, UnixMillis(0)).is_none());
    assert_eq!(ledger.account(CustomerId(1)).unwrap().calls(), 0);
}

#[test]
fn entries_must_follow_from_each_other() {
    let entry = |credit, balance| Entry {
        time: UnixMillis(0),
        kind: EntryKind::Topup,
        credit: Credit(credit),
        balance: Credit(balance),
        call_id: None,
        blocks: 0,
    };
    let mut loading = ledger(100);
    loading
        .load_entry(CustomerId(1), 1, &entry(100, 100))
        .unwrap();
    assert!(
        loading
            .load_entry(CustomerId(1), 3, &entry(1, 101))
            .is_err()
    );
    assert!(
        loading
            .load_entry(CustomerId(1), 2, &entry(1, 102))
            .is_err()
    );
    loading.loaded().unwrap();
    let mut loading = ledger(100);
    loading
        .load_entry(CustomerId(1), 1, &entry(100, 100))
        .unwrap();
    loading
        .load_entry(CustomerId(1), 2, &entry(1, 101))
        .unwrap();
    assert!(loading.loaded().is_err());
    let mut loading = ledger(100);
    assert!(
        loading
            .load_entry(CustomerId(1), 1, &entry(100, 99))
            .is_err()
    );
}
