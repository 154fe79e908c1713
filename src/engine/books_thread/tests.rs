use super::*;
use crate::books::command::{Answer, CustomerUpdate, Render};
use crate::call::event::{BlocksRefusal, BooksEvent, LedgerCommand, Refusal};
use crate::domain::{CallId, CallKey, Credit, CustomerId, E164};
use crate::store::memory::{Fault, FaultPlan, MemoryStore};
use crate::store::sled::{Options, SledStore};
use std::sync::mpsc;

/// Books that do one thing: a top-up writes its credit under its customer, `OpenCalls` reads
/// nothing, a call's `Hold` is what must not be lost.
#[derive(Default)]
struct Stub {
    memory: BTreeMap<Vec<u8>, Bytes>,
    batch: BTreeMap<Vec<u8>, Change>,
    replies: Vec<(Ticket, Reply)>,
    holds: Vec<CallCommand>,
    urgent: bool,
    out: std::collections::VecDeque<Output>,
    /// Waited on in every request, where given.
    gate: Option<mpsc::Receiver<()>>,
    timeouts: Option<mpsc::Sender<()>>,
    due: Option<Instant>,
    /// What it was told of the disk last.
    full: bool,
}

impl Stub {
    fn write(&mut self, key: Vec<u8>, value: Vec<u8>) {
        let before = self.memory.get(&key).cloned();
        let change = Change {
            key: Key {
                table: Table::Meta,
                bytes: key.clone().into(),
            },
            before,
            after: Some(value.into()),
        };
        let after = change.after.clone();
        self.batch.entry(key).or_insert(change).after = after;
    }
}

impl Core for Stub {
    fn load(&mut self, _: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.memory
            .insert(key.to_vec(), Bytes::copy_from_slice(value));
        Ok(())
    }
    fn loaded(&mut self, _: Now) -> Result<LoadReport, StoreError> {
        let starts = self.memory.get(&b"starts"[..]).map_or(0, |seen| seen[0]);
        self.write(b"starts".to_vec(), vec![starts + 1]);
        Ok(LoadReport {
            customers: self.memory.len() as u64,
            ..LoadReport::default()
        })
    }
    fn request(
        &mut self,
        ticket: Ticket,
        command: Command,
        _: Option<Idempotency>,
        kept: Option<Bytes>,
        _: Now,
    ) {
        if let Some(gate) = &self.gate {
            gate.recv().unwrap();
        }
        match (command, kept) {
            (_, Some(kept)) => self
                .out
                .push_back(Output::Reply(ticket, Reply::Kept(Code(0), kept))),
            (Command::TopUp { customer, credit }, None) => {
                self.write(
                    customer.0.to_be_bytes().to_vec(),
                    credit.0.to_be_bytes().to_vec(),
                );
                self.urgent = true;
                self.replies
                    .push((ticket, Reply::Outcome(Ok(Answer::Balance(credit)))));
            }
            (_, None) => self
                .out
                .push_back(Output::Reply(ticket, Reply::Outcome(Ok(Answer::Done)))),
        }
    }
    fn call(&mut self, command: CallCommand, _: Now) {
        if command.is_admission() {
            let refusal = if self.full {
                Refusal::BooksUnavailable
            } else {
                Refusal::NoLease
            };
            self.out.push_back(Output::Notice(CallNotice {
                worker: command.worker,
                key: command.key,
                event: BooksEvent::Refused(refusal),
            }));
            return;
        }
        let key = [&b"call"[..], &command.key.0.to_be_bytes()].concat();
        self.write(key, vec![1]);
        self.holds.push(command);
    }
    fn reload(&mut self, _: Settings) {}
    fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }
    fn handle_timeout(&mut self, _: Now) {
        self.due = None;
        self.timeouts.take().unwrap().send(()).unwrap();
    }
    fn batch_is_urgent(&self) -> Option<bool> {
        (!self.batch.is_empty()).then_some(self.urgent)
    }
    fn take_batch(&mut self) -> Vec<Change> {
        self.batch.values().cloned().collect()
    }
    fn committed(&mut self, _: Now) {
        for (key, change) in std::mem::take(&mut self.batch) {
            self.memory.insert(key, change.after.unwrap());
        }
        self.urgent = false;
        for (ticket, reply) in self.replies.drain(..) {
            self.out.push_back(Output::Reply(ticket, reply));
        }
        for command in self.holds.drain(..) {
            self.out.push_back(Output::Notice(CallNotice {
                worker: command.worker,
                key: command.key,
                event: BooksEvent::BlocksHeld(1),
            }));
        }
    }
    fn failed(&mut self, _: &StoreError, _: Now) {
        self.batch.retain(|key, _| key.starts_with(b"call"));
        self.urgent = false;
        for (ticket, _) in self.replies.drain(..) {
            let reply = Reply::Outcome(Err(INTERNAL));
            self.out.push_back(Output::Reply(ticket, reply));
        }
    }
    fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }
    fn set_room(&mut self, room: bool, _: Instant) {
        self.full = !room;
    }
}

enum Seen {
    Notice(CallNotice),
    Wake(u16),
}

struct Sink(mpsc::Sender<Seen>);

impl BooksHandle {
    /// One command; what the call gets instead if it finds no room.
    fn call(&self, command: CallCommand) -> Result<(), Box<CallNotice>> {
        let mut outcome = Ok(());
        self.calls([command], |notice| outcome = Err(Box::new(notice)));
        outcome
    }
}

impl NoticeSink for Sink {
    fn deliver(&self, notice: CallNotice) {
        self.0.send(Seen::Notice(notice)).unwrap();
    }
    fn wake(&self, worker: u16) {
        self.0.send(Seen::Wake(worker)).unwrap();
    }
}

fn started(
    stub: Stub,
    store: impl Store + 'static,
    limits: Limits,
) -> (BooksHandle, mpsc::Receiver<Seen>) {
    let (tell, told) = mpsc::channel();
    let (handle, _) = start_core(stub, Box::new(store), Box::new(Sink(tell)), limits).unwrap();
    (handle, told)
}

fn topup(customer: u32) -> Command {
    Command::TopUp {
        customer: CustomerId(customer),
        credit: Credit(i64::from(customer) + 1),
    }
}

fn hold(key: u64, worker: u16) -> CallCommand {
    CallCommand {
        worker,
        key: CallKey(key),
        call_id: CallId(uuid::Uuid::nil()),
        command: LedgerCommand::Hold(1),
    }
}

fn admission() -> CallCommand {
    CallCommand {
        command: LedgerCommand::Admit {
            dialled: E164::from_packed(60_312_345_678).unwrap(),
            caller: None,
        },
        ..hold(9, 0)
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn stored(handle: &BooksHandle, key: &[u8]) -> Option<Bytes> {
    let key = Key {
        table: Table::Meta,
        bytes: Bytes::copy_from_slice(key),
    };
    handle.reader().get(&key).unwrap()
}

#[test]
fn an_answer_comes_after_its_commit() {
    let (handle, _told) = started(Stub::default(), MemoryStore::default(), Limits::default());
    let reply = block_on(handle.request(topup(7), None));
    assert!(matches!(
        reply,
        Reply::Outcome(Ok(Answer::Balance(Credit(8))))
    ));
    assert_eq!(
        stored(&handle, &7u32.to_be_bytes()).unwrap(),
        8i64.to_be_bytes()[..]
    );
    assert!(handle.is_ready());
    // The start's own commit, and this one.
    assert_eq!(handle.metrics().commits.get(), 2);
    assert_eq!(handle.metrics().commit_micros.count(), 2);
    handle.stop();
    assert!(!handle.is_ready());
    assert!(matches!(
        block_on(handle.request(topup(7), None)),
        Reply::Outcome(Err(BUSY))
    ));
}

#[test]
fn many_clients_share_commits_on_the_real_engine() {
    let dir = tempfile::tempdir().unwrap();
    let open = || SledStore::open(Options::new(dir.path())).unwrap();
    let (handle, _told) = started(Stub::default(), open(), Limits::default());
    let clients: Vec<_> = (0..8u32)
        .map(|client| {
            let handle = handle.clone();
            std::thread::spawn(move || {
                for n in 0..25 {
                    let reply = block_on(handle.request(topup(client * 100 + n), None));
                    assert!(matches!(reply, Reply::Outcome(Ok(_))));
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    assert!(handle.metrics().commits.get() <= 201);
    assert_eq!(handle.metrics().changes.get(), 201);
    handle.stop();
    drop(handle);
    let (tell, _told) = mpsc::channel();
    let store = Box::new(open());
    let (handle, report) = start_core(
        Stub::default(),
        store,
        Box::new(Sink(tell)),
        Limits::default(),
    )
    .unwrap();
    assert_eq!(report.customers, 201);
    assert_eq!(stored(&handle, b"starts").unwrap(), [2u8][..]);
    handle.stop();
}

#[test]
fn notices_reach_their_worker_and_wake_it_once() {
    let (handle, told) = started(Stub::default(), MemoryStore::default(), Limits::default());
    handle.call(hold(1, 3)).unwrap();
    let Seen::Notice(notice) = told.recv().unwrap() else {
        panic!("woken before there was anything");
    };
    assert!(matches!(notice.event, BooksEvent::BlocksHeld(1)));
    assert_eq!((notice.worker, notice.key), (3, CallKey(1)));
    assert!(matches!(told.recv().unwrap(), Seen::Wake(3)));
    handle.stop();
}

#[test]
fn a_full_queue_refuses_each_in_its_own_words() {
    let (open, gate) = mpsc::channel();
    let stub = Stub {
        gate: Some(gate),
        ..Stub::default()
    };
    let limits = Limits {
        requests: 1,
        calls: 1,
        round: 10,
    };
    let (handle, told) = started(stub, MemoryStore::default(), limits);
    // The first request is inside the books (at the gate) once its place in the queue is free.
    let first = {
        let handle = handle.clone();
        std::thread::spawn(move || block_on(handle.request(topup(1), None)))
    };
    while handle.inbox.is_closed() || !first_is_inside(&handle) {
        std::thread::yield_now();
    }
    let second = {
        let handle = handle.clone();
        std::thread::spawn(move || block_on(handle.request(topup(2), None)))
    };
    while handle.inbox.is_empty() {
        std::thread::yield_now();
    }
    assert!(matches!(
        block_on(handle.request(topup(3), None)),
        Reply::Outcome(Err(BUSY))
    ));
    handle.call(admission()).unwrap();
    let refused = handle.call(admission()).unwrap_err();
    assert!(matches!(
        refused.event,
        BooksEvent::Refused(Refusal::BooksUnavailable)
    ));
    handle.call(hold(2, 0)).unwrap();
    let refused = handle.call(hold(3, 0)).unwrap_err();
    assert!(matches!(
        refused.event,
        BooksEvent::BlocksRefused(BlocksRefusal::Store)
    ));
    assert_eq!(handle.metrics().requests_refused.get(), 1);
    assert_eq!(handle.metrics().calls_refused.get(), 2);
    open.send(()).unwrap();
    open.send(()).unwrap();
    assert!(matches!(first.join().unwrap(), Reply::Outcome(Ok(_))));
    assert!(matches!(second.join().unwrap(), Reply::Outcome(Ok(_))));
    handle.stop();
    let notices = told
        .try_iter()
        .filter(|seen| matches!(seen, Seen::Notice(_)));
    assert_eq!(notices.count(), 2);
}

/// Whether the thread has taken the queue and is at work on it.
fn first_is_inside(handle: &BooksHandle) -> bool {
    handle.inbox.is_empty() && handle.inbox.taken() > 0
}

#[test]
fn a_full_disk_refuses_requests_and_keeps_calls_going() {
    let faults = (1..6).fold(FaultPlan::none(), |plan, n| plan.with(n, Fault::Full));
    let (handle, told) = started(Stub::default(), MemoryStore::new(faults), Limits::default());
    // Commit 1 is full; commit 2 carries the call's change alone and passes as essential.
    let both = {
        let handle = handle.clone();
        std::thread::spawn(move || block_on(handle.request(topup(1), None)))
    };
    handle.call(hold(1, 0)).unwrap();
    let reply = both.join().unwrap();
    let Seen::Notice(notice) = told.recv().unwrap() else {
        panic!("no notice");
    };
    assert!(matches!(notice.event, BooksEvent::BlocksHeld(1)));
    assert!(matches!(reply, Reply::Outcome(Err(INTERNAL))));
    // It recovers by itself.
    while !matches!(
        block_on(handle.request(topup(2), None)),
        Reply::Outcome(Ok(_))
    ) {}
    while !handle.is_ready() {
        std::thread::yield_now();
    }
    assert!(handle.metrics().commits_full.get() > 0);
    assert_eq!(stored(&handle, &1u32.to_be_bytes()), None);
    handle.stop();
}

/// An admission needs no commit that could fail: without a look at the disk it would ring, and be
/// refused when it is answered.
#[test]
fn a_call_is_refused_on_a_full_disk_before_it_rings() {
    let plan = FaultPlan::none().with(1, Fault::Full);
    let (handle, told) = started(Stub::default(), MemoryStore::new(plan), Limits::default());
    let refused = || {
        handle.call(admission()).unwrap();
        loop {
            if let Seen::Notice(notice) = told.recv().unwrap()
                && let BooksEvent::Refused(refusal) = notice.event
            {
                return refusal;
            }
        }
    };
    assert_eq!(refused(), Refusal::BooksUnavailable);
    assert_eq!(refused(), Refusal::BooksUnavailable);
    // What a running call needs passes, and what comes after it finds room.
    handle.call(hold(1, 0)).unwrap();
    while handle.metrics().commits.get() < 2 {
        std::thread::yield_now();
    }
    while refused() != Refusal::NoLease {}
    handle.stop();
}

#[test]
fn what_must_not_be_lost_is_tried_again_after_a_failure() {
    let plan = FaultPlan::none().with(1, Fault::Fail).with(2, Fault::Fail);
    let (handle, told) = started(Stub::default(), MemoryStore::new(plan), Limits::default());
    handle.call(hold(5, 2)).unwrap();
    let Seen::Notice(notice) = told.recv().unwrap() else {
        panic!("no notice");
    };
    assert!(matches!(notice.event, BooksEvent::BlocksHeld(1)));
    assert_eq!(handle.metrics().commits_failed.get(), 2);
    assert!(handle.metrics().retries.get() >= 2);
    handle.stop();
    assert!(stored(&handle, &[&b"call"[..], &5u64.to_be_bytes()].concat()).is_some());
}

#[test]
fn what_nobody_waits_for_is_committed_at_the_end() {
    let store = MemoryStore::default();
    let reader = store.reader();
    let (handle, _told) = started(Stub::default(), store, Limits::default());
    for key in 0..500 {
        handle.call(hold(key, 0)).unwrap();
    }
    handle.stop();
    for key in 0..500u64 {
        let key = Key {
            table: Table::Meta,
            bytes: [&b"call"[..], &key.to_be_bytes()].concat().into(),
        };
        assert!(reader.get(&key).unwrap().is_some());
    }
    let late = handle.call(hold(1, 0)).unwrap_err();
    assert!(matches!(
        late.event,
        BooksEvent::BlocksRefused(BlocksRefusal::Store)
    ));
}

struct Plain;

impl Render for Plain {
    fn render(&self, _: &crate::books::command::Outcome) -> Bytes {
        Bytes::new()
    }
}

#[test]
fn a_kept_answer_is_read_for_the_books() {
    let mut store = MemoryStore::default();
    let key = [9u8; 16];
    store
        .commit(&[crate::store::conformance::change(
            Table::Answer,
            &key,
            None,
            Some(b"kept"),
        )])
        .unwrap();
    let (handle, _told) = started(Stub::default(), store, Limits::default());
    let idempotency = |key| {
        Some(Idempotency {
            key,
            parameters: [0; 16],
            render: Arc::new(Plain),
        })
    };
    let update = || Command::UpdateCustomer {
        customer: CustomerId(1),
        update: Box::<CustomerUpdate>::default(),
    };
    let Reply::Kept(code, bytes) = block_on(handle.request(update(), idempotency(key))) else {
        panic!("not kept");
    };
    assert_eq!((code, bytes), (Code(0), Bytes::from_static(b"kept")));
    let fresh = block_on(handle.request(update(), idempotency([8; 16])));
    assert!(matches!(fresh, Reply::Outcome(Ok(Answer::Done))));
    handle.stop();
}

#[test]
fn timeouts_are_handled_when_due() {
    let (tell, told) = mpsc::channel();
    let stub = Stub {
        due: Some(Instant::now() + Duration::from_millis(5)),
        timeouts: Some(tell),
        ..Stub::default()
    };
    let (handle, _told) = started(stub, MemoryStore::default(), Limits::default());
    told.recv().unwrap();
    handle.stop();
}

#[test]
fn a_damaged_record_stops_the_start() {
    struct Picky(Stub);
    impl Core for Picky {
        fn load(&mut self, _: Table, _: &[u8], _: &[u8]) -> Result<(), StoreError> {
            Err(StoreError::Damaged("does not decode".into()))
        }
        fn loaded(&mut self, now: Now) -> Result<LoadReport, StoreError> {
            self.0.loaded(now)
        }
        fn request(
            &mut self,
            t: Ticket,
            c: Command,
            i: Option<Idempotency>,
            k: Option<Bytes>,
            n: Now,
        ) {
            self.0.request(t, c, i, k, n);
        }
        fn call(&mut self, command: CallCommand, now: Now) {
            self.0.call(command, now);
        }
        fn reload(&mut self, settings: Settings) {
            self.0.reload(settings);
        }
        fn poll_timeout(&self) -> Option<Instant> {
            self.0.poll_timeout()
        }
        fn handle_timeout(&mut self, now: Now) {
            self.0.handle_timeout(now);
        }
        fn batch_is_urgent(&self) -> Option<bool> {
            self.0.batch_is_urgent()
        }
        fn take_batch(&mut self) -> Vec<Change> {
            self.0.take_batch()
        }
        fn committed(&mut self, now: Now) {
            self.0.committed(now);
        }
        fn failed(&mut self, error: &StoreError, now: Now) {
            self.0.failed(error, now);
        }
        fn poll_output(&mut self) -> Option<Output> {
            self.0.poll_output()
        }
        fn set_room(&mut self, room: bool, now: Instant) {
            self.0.set_room(room, now);
        }
    }
    let mut store = MemoryStore::default();
    store
        .commit(&[crate::store::conformance::change(
            Table::Meta,
            b"x",
            None,
            Some(b"y"),
        )])
        .unwrap();
    let (tell, _told) = mpsc::channel();
    let started = start_core(
        Picky(Stub::default()),
        Box::new(store),
        Box::new(Sink(tell)),
        Limits::default(),
    );
    assert!(matches!(started.map(drop), Err(StoreError::Damaged(_))));
}

/// Else the thread would run in circles until the retry.
#[test]
fn what_lingers_while_commits_fail_waits_for_the_retry() {
    let store = MemoryStore::new(FaultPlan::none().with(0, Fault::Spent));
    let later = Instant::now() + Duration::from_secs(60);
    let (tell, _told) = mpsc::channel();
    let mut shell = Shell {
        core: Stub::default(),
        reader: store.reader(),
        store: Box::new(store),
        sink: Box::new(Sink(tell)),
        inbox: Arc::new(Inbox::new(Limits::default())),
        metrics: Arc::default(),
        waiting: BTreeMap::new(),
        next_ticket: 0,
        linger_until: None,
        retry_at: None,
        pause: RETRY_MIN,
        housekeeping_at: later,
    };
    shell.core.call(hold(1, 0), now());
    shell.settle(true, true);
    let retry_at = shell.retry_at.expect("the commit failed");
    // Something new comes while it waits, and lingers.
    shell.core.call(hold(2, 0), now());
    shell.settle(true, false);
    shell.linger_until = Some(Instant::now());
    shell.settle(false, false);
    assert_eq!(shell.next_deadline(), retry_at);
}
