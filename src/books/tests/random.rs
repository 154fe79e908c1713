//! Random histories: commands, calls, failures, crashes, a clock that is set back. After every
//! step the store must make sense by itself, and memory must be what the store says.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Act {
    Single(u64, u8),
    Group(u64, u64),
    Release(usize),
    Reserve(u32),
    Unreserve(u32),
    Retire(u64),
    TopUp(i64),
    Suspend(bool),
    Admit(usize, u64),
    Answer(usize),
    Hold(usize, u64),
    Close(usize, u64),
    Pass(u64),
    SetBack(u64),
    Commit,
    Fail(bool),
    Crash,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0u64..8, 0u8..4).prop_map(|(phone, minutes)| Act::Single(phone, minutes)),
        3 => (0u64..8, 0u64..8).prop_map(|(a, b)| Act::Group(a, b)),
        4 => any::<usize>().prop_map(Act::Release),
        1 => (0u32..4).prop_map(Act::Reserve),
        1 => (0u32..4).prop_map(Act::Unreserve),
        1 => (0u64..14).prop_map(Act::Retire),
        2 => (0i64..400).prop_map(Act::TopUp),
        1 => any::<bool>().prop_map(Act::Suspend),
        6 => (any::<usize>(), 0u64..8).prop_map(|(lease, caller)| Act::Admit(lease, caller)),
        5 => any::<usize>().prop_map(Act::Answer),
        5 => (any::<usize>(), 1u64..6).prop_map(|(call, n)| Act::Hold(call, n)),
        5 => (any::<usize>(), 0u64..6).prop_map(|(call, n)| Act::Close(call, n)),
        4 => (0u64..90).prop_map(Act::Pass),
        1 => (0u64..500).prop_map(Act::SetBack),
        8 => Just(Act::Commit),
        3 => any::<bool>().prop_map(Act::Fail),
        1 => Just(Act::Crash),
    ]
}

/// What the test knows by itself.
#[derive(Default)]
struct Model {
    leases: Vec<LeaseAnswer>,
    /// Calls admitted and not closed: blocks they were told they may use, and whether answered.
    calls: BTreeMap<CallId, (u64, bool)>,
    /// Calls that were told to be recorded.
    recorded: usize,
    /// Blocks that closed calls used, by call.
    used: BTreeMap<CallId, u64>,
    /// Credit given, confirmed by answers.
    given: i64,
}

fn pick<T: Clone>(list: &[T], at: usize) -> Option<T> {
    (!list.is_empty()).then(|| list[at % list.len()].clone())
}

struct History {
    rig: Rig,
    model: Model,
    asked: BTreeMap<u64, i64>,
}

impl History {
    fn new() -> Self {
        let mut rig = Rig::new(Settings {
            calls_per_lease: 0,
            ..settings()
        });
        rig.add_numbers(12);
        rig.ask(create(500)).unwrap();
        Self {
            rig,
            model: Model {
                given: 500,
                ..Model::default()
            },
            asked: BTreeMap::new(),
        }
    }

    fn request(&mut self, command: Command) {
        self.rig.send(command);
    }

    fn step(&mut self, act: &Act) {
        match act {
            Act::Single(phone, minutes) => {
                let mut command = self.rig.single(*phone);
                if let Command::LeaseSingle { expires, .. } = &mut command {
                    let minutes = u64::from(*minutes) * 60 + 1;
                    *expires = self.rig.now.wall.plus(Duration::from_secs(minutes));
                }
                self.request(command);
            }
            Act::Group(a, b) if a != b => {
                let reference = ReferenceId(self.rig.uuid());
                self.request(Command::LeaseGroup {
                    reference,
                    customer: CustomerId(1),
                    phones: [phone(*a), phone(*b)],
                    expires: self.rig.now.wall.plus(Duration::from_secs(100)),
                });
            }
            Act::Release(at) => {
                if let Some(lease) = pick(&self.model.leases, *at) {
                    let kind = [LeaseKind::Single, LeaseKind::Group][lease.pairs.len() - 1];
                    self.request(Command::Release {
                        kind,
                        reference: lease.reference,
                        scope: CustomerScope::All,
                    });
                }
            }
            Act::Reserve(quantity) => self.request(Command::Reserve {
                customer: CustomerId(1),
                quantity: *quantity,
            }),
            Act::Unreserve(quantity) => self.request(Command::Unreserve {
                customer: CustomerId(1),
                what: Unreserve::Quantity(*quantity),
            }),
            Act::Retire(n) => self.request(Command::RetireNumber(pool_number(*n))),
            Act::TopUp(credit) => {
                let ticket = self.rig.send(Command::TopUp {
                    customer: CustomerId(1),
                    credit: Credit(*credit),
                });
                self.asked.insert(ticket, *credit);
            }
            Act::Suspend(suspended) => self.request(update(|u| u.suspended = Some(*suspended))),
            Act::Pass(seconds) => {
                self.rig.pass(Duration::from_secs(*seconds));
                self.rig.books.handle_timeout(self.rig.now);
                self.rig.drain();
            }
            Act::SetBack(seconds) => {
                let wall = self.rig.now.wall.0.saturating_sub(seconds * 1000);
                self.rig.now.wall = UnixMillis(wall);
            }
            _ => self.step_of_calls(act),
        }
        self.listen();
    }

    /// What calls, the store and fate do.
    fn step_of_calls(&mut self, act: &Act) {
        let calls: Vec<CallId> = self.model.calls.keys().copied().collect();
        match act {
            Act::Admit(at, caller) => {
                if let Some(lease) = pick(&self.model.leases, *at) {
                    let dialled = self.rig.dialled(&lease, at % lease.pairs.len());
                    let call = CallId(self.rig.uuid());
                    let caller = Some(phone(*caller).number);
                    self.rig
                        .command(call, LedgerCommand::Admit { dialled, caller });
                }
            }
            Act::Answer(at) => {
                if let Some(call) = pick(&calls, *at) {
                    self.rig.answer(call);
                }
            }
            Act::Hold(at, blocks) => {
                if let Some(call) = pick(&calls, *at) {
                    self.rig.command(call, LedgerCommand::Hold(*blocks));
                }
            }
            Act::Close(at, blocks) => self.close(pick(&calls, *at), *blocks),
            Act::Commit => self.rig.flush(),
            Act::Fail(full) => {
                let error = if *full {
                    StoreError::Full
                } else {
                    StoreError::Failed("x".into())
                };
                self.rig.fail(&error);
                self.rig.books.set_room(true, self.rig.now.mono);
            }
            Act::Crash => self.crash(),
            _ => {}
        }
    }

    /// An end that keeps to what the call was told.
    fn close(&mut self, call: Option<CallId>, blocks: u64) {
        let Some(call) = call else { return };
        let (held, answered) = self.model.calls.remove(&call).unwrap();
        let blocks = if answered { blocks.clamp(1, held) } else { 0 };
        self.model.used.insert(call, blocks);
        self.rig.close(call, blocks);
    }

    fn crash(&mut self) {
        let open: Vec<OpenCallRecord> = self.rig.table(Table::OpenCall);
        let records = self.rig.records().len();
        let report = self.rig.restart();
        assert_eq!(report.recovered_calls, open.len() as u64);
        assert_eq!(self.rig.records().len(), records + open.len());
        // Ends that were not acknowledged are the recovery's business now.
        let records: Vec<CallId> = self.rig.records().iter().map(|r| r.call_id).collect();
        self.model.recorded = records.len();
        self.model.used.retain(|call, _| records.contains(call));
        for call in open {
            let id = call.draft.call_id;
            let charged = self
                .rig
                .records()
                .iter()
                .find(|r| r.call_id == id)
                .unwrap()
                .blocks;
            assert!((1..=call.prepared).contains(&charged));
            self.model.used.insert(id, charged);
        }
        self.model.calls.clear();
        self.asked.clear();
        self.model.given = self
            .rig
            .entries(1)
            .iter()
            .filter(|entry| entry.kind != EntryKind::Charge)
            .map(|entry| entry.credit.0)
            .sum();
    }

    /// Takes in what came out.
    fn listen(&mut self) {
        for notice in std::mem::take(&mut self.rig.notices) {
            let call = CallId(Uuid::from_u64_pair(notice.key.0, 0x1234_5678_9abc));
            match notice.event {
                BooksEvent::Admitted(_) => {
                    self.model.calls.insert(call, (1, false));
                }
                BooksEvent::AnswerDurable => {
                    if let Some(state) = self.model.calls.get_mut(&call) {
                        state.1 = true;
                    }
                }
                BooksEvent::BlocksHeld(blocks) => {
                    if let Some(state) = self.model.calls.get_mut(&call) {
                        state.0 = state.0.max(blocks);
                    }
                }
                BooksEvent::Recorded => self.model.recorded += 1,
                _ => {}
            }
        }
        for (ticket, reply) in std::mem::take(&mut self.rig.replies) {
            match reply {
                Reply::Outcome(Ok(Answer::Lease(lease))) => self.model.leases.push(lease),
                Reply::Outcome(Ok(Answer::Balance(_))) => {
                    self.model.given += self.asked.get(&ticket).copied().unwrap_or(0);
                }
                _ => {}
            }
        }
    }

    /// The store by itself.
    fn check_store(&self) {
        let mut leased = BTreeMap::new();
        for lease in self.rig.table::<LeaseRecord>(Table::Lease) {
            for member in &lease.members {
                assert!(
                    leased.insert(member.number, ()).is_none(),
                    "leased twice: {:?}",
                    member.number
                );
            }
        }
        for (key, value) in &self.rig.store {
            if key.table == Table::Number {
                let number = read_number_key(&key.bytes).unwrap();
                let record: NumberRecord = decode(value).unwrap();
                assert_eq!(record.lease.is_some(), leased.contains_key(&number));
            }
        }
        let entries = self.rig.entries(1);
        let mut sum = 0;
        let mut charged = BTreeMap::new();
        for entry in &entries {
            sum += entry.credit.0;
            assert_eq!(entry.balance.0, sum);
            if let Some(call) = entry.call_id {
                assert!(
                    charged.insert(call, entry.blocks).is_none(),
                    "charged twice"
                );
                assert_eq!(entry.credit.0, -100 * i64::try_from(entry.blocks).unwrap());
            }
        }
        let account: AccountRecord = self.rig.table(Table::Account).remove(0);
        assert_eq!(
            (account.balance.0, account.entries),
            (sum, entries.len() as u64)
        );
        let open: Vec<OpenCallRecord> = self.rig.table(Table::OpenCall);
        let posted: u64 = open.iter().map(|call| call.prepared).sum();
        assert!(sum - 100 * i64::try_from(posted).unwrap() >= 0, "overspent");
        for record in self.rig.records() {
            let entry = charged.get(&record.call_id).copied().unwrap_or(0);
            assert_eq!(record.blocks, entry);
            if let Some(used) = self.model.used.get(&record.call_id) {
                assert_eq!(
                    record.blocks, *used,
                    "what a call used is what it is charged"
                );
            }
        }
    }

    /// Memory against the store, once everything is committed.
    fn check_memory(&mut self) {
        self.rig.flush();
        self.listen();
        self.check_store();
        assert_eq!(self.rig.books.figures().ledger_imbalance, 0);
        assert_eq!(self.rig.records().len(), self.model.recorded);
        assert_eq!(
            self.rig.books.figures().calls,
            self.model.calls.len() as u64
        );
        let given: i64 = self
            .rig
            .entries(1)
            .iter()
            .filter(|entry| entry.kind != EntryKind::Charge)
            .map(|entry| entry.credit.0)
            .sum();
        assert_eq!(given, self.model.given);
        let books = &self.rig.books;
        for (key, value) in &self.rig.store {
            let held = match key.table {
                Table::Account => books.account_bytes(CustomerId(1)),
                Table::Number => {
                    let number = read_number_key(&key.bytes).unwrap();
                    let slot = books.leases.pool().find(number).unwrap();
                    let listed = books.directory().lookup(number);
                    let leased = matches!(listed, Dialled::Leased { .. });
                    assert_eq!(leased, books.leases.pool().lease(slot).is_some());
                    books.leases.number_record(slot).as_ref().map(encode)
                }
                Table::Lease => {
                    let place = books.leases.find(&read_lease_key(&key.bytes).unwrap());
                    books.leases.record(place.unwrap()).as_ref().map(encode)
                }
                Table::OpenCall => {
                    let call = read_open_call_key(&key.bytes).unwrap();
                    books.ledger.hold(&call).and_then(|h| h.open()).map(encode)
                }
                _ => continue,
            };
            assert_eq!(held.as_ref(), Some(value), "{key:?}");
        }
        let leases: Vec<LeaseRecord> = self.rig.table(Table::Lease);
        let of = |kind| leases.iter().filter(|lease| lease.kind == kind).count();
        let total = books.leases.total();
        assert_eq!(
            of(LeaseKind::Single),
            usize::try_from(total.single).unwrap()
        );
        assert_eq!(of(LeaseKind::Group), usize::try_from(total.group).unwrap());
        assert_eq!(leases.len(), books.leases.len());
    }
}

/// The checks above are worth something: each way to break the ledger is noticed by some history.
#[test]
fn a_broken_ledger_is_noticed() {
    use crate::ledger::Fault;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let quietly = |fault: Option<Fault>| {
        let mut runner = TestRunner::deterministic();
        let histories = prop::collection::vec(act(), 1..80);
        (0..100).any(|_| {
            let acts = histories.new_tree(&mut runner).unwrap().current();
            std::panic::catch_unwind(|| {
                let mut history = History::new();
                if let Some(fault) = fault {
                    history.rig.books.set_fault(fault);
                }
                for act in acts.iter().filter(|act| !matches!(act, Act::Crash)) {
                    history.step(act);
                    history.check_store();
                }
                history.check_memory();
            })
            .is_err()
        })
    };
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let noticed = [
        None,
        Some(Fault::LoseBlock),
        Some(Fault::DoubleBlock),
        Some(Fault::OverlookHolds),
        Some(Fault::KeepCredit),
    ]
    .map(quietly);
    std::panic::set_hook(hook);
    assert_eq!(noticed, [false, true, true, true, true]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_the_books(acts in prop::collection::vec(act(), 1..80)) {
        let mut history = History::new();
        for act in &acts {
            history.step(act);
            history.check_store();
        }
        history.check_memory();
        // And a crash at the end loses nothing that was acknowledged.
        history.crash();
        history.check_memory();
    }

    #[test]
    fn a_failed_batch_of_requests_leaves_no_trace(
        acts in prop::collection::vec(act(), 0..40),
        failing in prop::collection::vec(act(), 1..30),
    ) {
        let mut history = History::new();
        for act in &acts {
            history.step(act);
        }
        history.rig.books.handle_timeout(history.rig.now);
        history.check_memory();
        let before = history.rig.digest();
        for act in &failing {
            let request = matches!(
                act,
                Act::Single(..) | Act::Group(..) | Act::Release(_) | Act::Reserve(_)
                    | Act::Unreserve(_) | Act::Retire(_) | Act::TopUp(_) | Act::Suspend(_)
            );
            if request {
                history.step(act);
            }
        }
        history.rig.fail(&StoreError::Full);
        prop_assert_eq!(history.rig.digest(), before);
        history.rig.books.set_room(true, history.rig.now.mono);
        history.listen();
        history.check_memory();
    }
}
