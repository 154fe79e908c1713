//! The core against a store in memory that checks every precondition.

mod calls;
mod leases;
mod money;
mod random;

use super::command::*;
use super::records::*;
use super::*;
use crate::call::event::{BooksEvent, LedgerCommand};
use crate::domain::numbering::Plan;
use crate::domain::*;
use crate::store::Key;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Where all tests begin: 2026-01-01T00:00:00Z.
const START: u64 = 1_767_225_600_000;

/// The core, a store and a clock.
struct Rig {
    books: Books,
    store: BTreeMap<Key, Bytes>,
    now: Now,
    settings: Settings,
    tickets: u64,
    uuids: u128,
    replies: BTreeMap<u64, Reply>,
    notices: Vec<CallNotice>,
}

fn settings() -> Settings {
    Settings {
        cooldown: Duration::from_secs(60),
        max_per_phone: 100,
        hang_up_at_end: false,
        calls_per_lease: 1,
        calls_per_customer: 0,
        keep_answers: Duration::from_secs(86_400),
        target_allowed: Plan::target_allowed,
        plan: Arc::new(Plan::default()),
    }
}

impl Rig {
    fn new(settings: Settings) -> Self {
        let now = Now {
            mono: Instant::now(),
            wall: UnixMillis(START),
        };
        let mut books = Books::new(settings.clone());
        books.loaded(now).unwrap();
        Self {
            books,
            store: BTreeMap::new(),
            now,
            settings,
            tickets: 0,
            uuids: 0,
            replies: BTreeMap::new(),
            notices: Vec::new(),
        }
    }

    /// With customer 1 (prepaid, 1000 credits, 60 s at 100) and ten numbers.
    fn furnished() -> Self {
        let mut rig = Self::new(settings());
        rig.add_numbers(10);
        assert_eq!(rig.ask(create(1000)), Ok(Answer::Created(CustomerId(1))));
        rig
    }

    fn add_numbers(&mut self, count: u64) {
        let range = PoolRange {
            first: pool_number(0),
            last: pool_number(count - 1),
            style: NumberStyle {
                strip: 2,
                prefix: "0".into(),
            },
        };
        let reply = self.ask(Command::AddNumbers(vec![range]));
        assert_eq!(reply, Ok(Answer::Added(count)));
    }

    fn uuid(&mut self) -> Uuid {
        self.uuids += 1;
        Uuid::from_u128(self.uuids << 64 | 0x1234_5678_9abc)
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall = self.now.wall.plus(time);
    }

    /// Lets time pass as the shell does, commits included.
    fn wait(&mut self, time: Duration) {
        self.pass(time);
        self.books.handle_timeout(self.now);
        self.flush();
    }

    fn send(&mut self, command: Command) -> u64 {
        self.send_with(command, None)
    }

    fn send_with(&mut self, command: Command, idempotency: Option<Idempotency>) -> u64 {
        self.tickets += 1;
        let kept = idempotency
            .as_ref()
            .and_then(|i| self.store.get(&answer_key(&i.key)).cloned());
        self.books
            .request(Ticket(self.tickets), command, idempotency, kept, self.now);
        self.drain();
        self.tickets
    }

    /// Sends, commits, and gives the outcome.
    fn ask(&mut self, command: Command) -> Outcome {
        let ticket = self.send(command);
        self.flush();
        self.outcome(ticket)
    }

    fn outcome(&mut self, ticket: u64) -> Outcome {
        match self.replies.remove(&ticket) {
            Some(Reply::Outcome(outcome)) => outcome,
            other => panic!("no outcome: {other:?}"),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.books.poll_output() {
            match output {
                Output::Reply(ticket, reply) => {
                    assert!(self.replies.insert(ticket.0, reply).is_none());
                }
                Output::Notice(notice) => self.notices.push(notice),
            }
        }
    }

    /// Commits until nothing is left.
    fn flush(&mut self) {
        while self.books.batch_is_urgent().is_some() {
            for change in self.books.take_batch() {
                assert_eq!(
                    self.store.get(&change.key),
                    change.before.as_ref(),
                    "precondition of {:?}",
                    change.key
                );
                match change.after {
                    Some(after) => self.store.insert(change.key, after),
                    None => self.store.remove(&change.key),
                };
            }
            self.books.committed(self.now);
            self.drain();
        }
    }

    fn fail(&mut self, error: &StoreError) {
        let changes = self.books.take_batch();
        for change in &changes {
            assert_eq!(self.store.get(&change.key), change.before.as_ref());
        }
        self.books.failed(error, self.now);
        self.drain();
    }

    /// A crash: what is not in the store is gone.
    fn restart(&mut self) -> LoadReport {
        let mut books = Books::new(self.settings.clone());
        for (key, value) in &self.store {
            books.load(key.table, &key.bytes, value).unwrap();
        }
        let report = books.loaded(self.now).unwrap();
        self.books = books;
        self.replies.clear();
        self.notices.clear();
        self.flush();
        report
    }

    fn single(&mut self, phone: u64) -> Command {
        Command::LeaseSingle {
            reference: ReferenceId(self.uuid()),
            customer: CustomerId(1),
            phone: self::phone(phone),
            expires: self.now.wall.plus(Duration::from_secs(3600)),
            whitelist: Vec::new(),
        }
    }

    fn lease(&mut self, command: Command) -> LeaseAnswer {
        match self.ask(command) {
            Ok(Answer::Lease(lease)) => lease,
            other => panic!("{other:?}"),
        }
    }

    fn command(&mut self, call: CallId, command: LedgerCommand) {
        let command = CallCommand {
            worker: 0,
            key: CallKey(call.0.as_u64_pair().0),
            call_id: call,
            command,
        };
        self.books.call(command, self.now);
        self.drain();
    }

    /// The latest event of a call.
    fn event(&mut self) -> Option<BooksEvent> {
        self.notices.pop().map(|notice| notice.event)
    }

    fn dialled(&self, lease: &LeaseAnswer, member: usize) -> E164 {
        let shown = &lease.pairs[member].0;
        E164::from_digits(&format!("60{}", &shown[1..])).unwrap()
    }

    fn admit(&mut self, dialled: E164, caller: Option<E164>) -> (CallId, BooksEvent) {
        let call = CallId(self.uuid());
        self.command(call, LedgerCommand::Admit { dialled, caller });
        (call, self.event().expect("an answer to Admit"))
    }

    fn record(&self, call: CallId) -> CallRecord {
        CallRecord {
            call_id: call,
            caller_leg_call_id: "a".into(),
            callee_leg_call_id: "b".into(),
            reference_id: None,
            customer_id: Some(CustomerId(1)),
            lease_kind: Some(LeaseKind::Single),
            caller: None,
            callee: None,
            leased_number: "+60388880000".into(),
            shown_number: "".into(),
            trunk_in: "in".into(),
            trunk_out: "out".into(),
            received_at: UnixMillis(START),
            ringing_at: None,
            answered_at: Some(self.now.wall),
            ended_at: self.now.wall,
            duration_millis: 0,
            blocks: 0,
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
        }
    }

    fn answer(&mut self, call: CallId) {
        let record = self.record(call);
        self.command(call, LedgerCommand::Answer(Box::new(record)));
    }

    fn close(&mut self, call: CallId, blocks: u64) {
        let mut record = self.record(call);
        record.blocks = blocks;
        self.command(call, LedgerCommand::Close(Box::new(record)));
    }

    fn balance(&mut self, customer: u32) -> i64 {
        match self.ask(Command::ViewCustomer(CustomerId(customer))) {
            Ok(Answer::Customer(answer)) => answer.balance.0,
            other => panic!("{other:?}"),
        }
    }

    fn entries(&self, customer: u32) -> Vec<Entry> {
        let of = |key: &Key| read_entry_key(&key.bytes).map(|(customer, _)| customer.0);
        self.store
            .iter()
            .filter(|(key, _)| key.table == Table::Entry && of(key) == Some(customer))
            .map(|(_, value)| decode(value).unwrap())
            .collect()
    }

    fn records(&self) -> Vec<CallRecord> {
        self.table(Table::Record)
    }

    fn table<T: Stored>(&self, table: Table) -> Vec<T> {
        self.store
            .iter()
            .filter(|(key, _)| key.table == table)
            .map(|(_, value)| decode(value).unwrap())
            .collect()
    }

    /// Everything in memory that an answer could show, as text.
    fn digest(&self) -> String {
        use std::fmt::Write;
        let books = &self.books;
        let mut text = String::new();
        let pool = books.leases.pool();
        for slot in pool.slots_from(None) {
            let record = books.leases.number_record(slot);
            let number = pool.number(slot).unwrap();
            let place = pool
                .lease(slot)
                .and_then(|place| books.leases.record(place));
            let state = pool.state(slot);
            let calls = pool.calls(slot);
            let listed = books.directory().lookup(number);
            writeln!(
                text,
                "{} {state:?} {calls} {record:?} {place:?} {listed:?}",
                number.packed()
            )
            .unwrap();
        }
        let free = usize::try_from(pool.figures().free).unwrap();
        writeln!(text, "{:?} {:?}", pool.figures(), pool.draw_general(free)).unwrap();
        writeln!(text, "{:?}", books.leases.next_expiry()).unwrap();
        for id in 1..=u32::try_from(books.ledger.len()).unwrap() {
            let account = books.ledger.account(CustomerId(id)).unwrap();
            let next = pool.draw(CustomerId(id), 1);
            let holdings = books.leases.holdings(CustomerId(id));
            writeln!(text, "{account:?} {holdings:?} {next:?}").unwrap();
        }
        for (call, hold) in books.ledger.holds() {
            writeln!(text, "{call} {hold:?}").unwrap();
        }
        for n in 0..10 {
            let count = books.leases.leases_of_phone(phone(n).number);
            write!(text, "{count} ").unwrap();
        }
        writeln!(text, "{:?} {}", books.calls, books.answers.len()).unwrap();
        text
    }
}

fn pool_number(n: u64) -> E164 {
    E164::from_packed(60_388_880_000 + n).unwrap()
}

fn phone(n: u64) -> Phone {
    let number = E164::from_packed(60_123_000_000 + n).unwrap();
    Phone {
        number,
        spelling: format!("0{}", &number.digits()[2..]).into(),
    }
}

pub(crate) fn customer() -> Customer {
    Customer {
        id: CustomerId(0),
        first_name: "Siti".into(),
        last_name: "Tan".into(),
        suspended: false,
        charge_method: ChargeMethod::Prepaid,
        enable_single: true,
        enable_group: true,
        tariff_single: Tariff {
            block_seconds: 60,
            rate: Credit(100),
        },
        tariff_group: Tariff {
            block_seconds: 60,
            rate: Credit(100),
        },
        max_lease_single: 0,
        max_lease_group: 0,
        date_created: UnixMillis(0),
        date_suspended: None,
    }
}

fn create(opening: i64) -> Command {
    Command::CreateCustomer {
        customer: Box::new(customer()),
        opening: Credit(opening),
    }
}

fn update(change: impl FnOnce(&mut CustomerUpdate)) -> Command {
    let mut update = CustomerUpdate::default();
    change(&mut update);
    Command::UpdateCustomer {
        customer: CustomerId(1),
        update: Box::new(update),
    }
}

fn release(lease: &LeaseAnswer) -> Command {
    Command::Release {
        kind: LeaseKind::Single,
        reference: lease.reference,
        scope: CustomerScope::All,
    }
}

fn query(lease: &LeaseAnswer) -> Command {
    Command::QueryLease {
        kind: LeaseKind::Single,
        reference: lease.reference,
        scope: CustomerScope::All,
    }
}

struct AsText;

impl Render for AsText {
    fn render(&self, outcome: &Outcome) -> Bytes {
        Bytes::from(format!("{outcome:?}"))
    }
}

fn idempotency(key: u8, parameters: u8) -> Idempotency {
    Idempotency {
        key: [key; 16],
        parameters: [parameters; 16],
        render: Arc::new(AsText),
    }
}

/// What an older build wrote, and what has come since.
#[test]
fn records_of_version_1_read_back_as_they_were() {
    let rig = Rig::furnished();
    let call = CallId(uuid::Uuid::from_u128(5));
    let record = rig.record(call);
    // Version 1 ended where the last but one field of today begins.
    let mut old = vec![1];
    old.extend(postcard::to_allocvec(&record).unwrap());
    assert_eq!((old.pop(), old.pop()), (Some(0), Some(0)));
    assert_eq!(decode::<CallRecord>(&old).as_ref(), Ok(&record));
    assert_eq!(
        encode(&record),
        old,
        "written as it was: a change's before fits it"
    );
    let open = OpenCallRecord {
        customer: CustomerId(1),
        prepared: 2,
        begun: 1,
        draft: record.clone(),
    };
    let mut old = vec![1];
    old.extend(postcard::to_allocvec(&open).unwrap());
    old.truncate(old.len() - 2);
    assert_eq!(decode::<OpenCallRecord>(&old).as_ref(), Ok(&open));
    assert_eq!(encode(&open), old);

    let mut vouched = record;
    vouched.vouching = Some(Vouching {
        verdict: Verdict::Valid,
        attestation: Some(Attestation::Partial),
        origin: "trace".into(),
        signer: "12AB".into(),
    });
    let bytes = encode(&vouched);
    assert_eq!(bytes.first(), Some(&2));
    assert_eq!(
        bytes[1..],
        postcard::to_allocvec(&vouched).unwrap()[..bytes.len() - 1]
    );
    assert_eq!(decode::<CallRecord>(&bytes).as_ref(), Ok(&vouched));
    for vouching in [None, vouched.vouching.clone()] {
        let mut heard = vouched.clone();
        heard.vouching = vouching;
        heard.quality = Some(CallQuality {
            to_callee: MediaQuality {
                score_hundredths: Some(441),
                round_trip_micros: Some(20_000),
                reported: Some(Reported::default()),
            },
            to_caller: MediaQuality::default(),
        });
        let bytes = encode(&heard);
        assert_eq!(bytes.first(), Some(&3));
        assert_eq!(decode::<CallRecord>(&bytes), Ok(heard));
    }
    let open = OpenCallRecord {
        draft: vouched,
        ..open
    };
    assert_eq!(decode::<OpenCallRecord>(&encode(&open)), Ok(open));
    assert!(decode::<CallRecord>(&[3]).is_err());
    assert!(decode::<CallRecord>(&[4]).is_err());
    assert!(decode::<CallRecord>(&[0]).is_err());
}

#[test]
fn records_survive_their_encoding_and_nothing_else_does() {
    let rig = Rig::furnished();
    let account = rig.books.ledger.account(CustomerId(1)).unwrap().record();
    let bytes = encode(&account);
    assert_eq!(decode::<AccountRecord>(&bytes), Ok(account));
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert!(decode::<AccountRecord>(&longer).is_err());
    assert!(decode::<AccountRecord>(&bytes[..bytes.len() - 1]).is_err());
    assert!(decode::<AccountRecord>(&[2]).is_err());
    assert!(decode::<AccountRecord>(&[]).is_err());
}

#[test]
fn damage_is_refused_at_start() {
    let mut rig = Rig::furnished();
    let command = rig.single(1);
    rig.lease(command);
    let broken = |spoil: &dyn Fn(&mut BTreeMap<Key, Bytes>)| {
        let mut store = rig.store.clone();
        spoil(&mut store);
        let mut books = Books::new(settings());
        let loaded: Result<(), _> = store
            .iter()
            .try_for_each(|(key, value)| books.load(key.table, &key.bytes, value));
        loaded
            .and_then(|()| books.loaded(rig.now).map(|_| ()))
            .is_err()
    };
    assert!(!broken(&|_| {}));
    assert!(broken(&|store| {
        store.retain(|key, _| key.table != Table::Lease);
    }));
    assert!(broken(&|store| {
        store.retain(|key, _| key.table != Table::Number);
    }));
    assert!(broken(&|store| {
        store.retain(|key, _| key.table != Table::Account);
    }));
    assert!(broken(&|store| {
        for (key, value) in store.iter_mut() {
            if key.table == Table::Entry {
                let mut entry: Entry = decode(value).unwrap();
                entry.balance = Credit(7);
                *value = encode(&entry);
            }
        }
    }));
    assert!(broken(&|store| {
        store.insert(number_key(pool_number(99)), Bytes::from_static(&[9]));
    }));
}
