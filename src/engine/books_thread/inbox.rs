//! What waits for the books: two bounded queues under one lock that is held for a push or a take,
//! never longer.

use super::{CALL_LINGER, CROWD, GATHER, LINGER, Limits};
use crate::books::Settings;
use crate::books::command::{CallCommand, CallNotice, Command, Idempotency, Reply};
use crate::call::event::{BlocksRefusal, BooksEvent, LedgerCommand, Refusal};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A request from the API and where its answer goes.
pub(super) struct Request {
    pub command: Command,
    pub idempotency: Option<Idempotency>,
    pub reply: oneshot::Sender<Reply>,
}

/// What one round takes.
pub(super) struct Work {
    pub requests: Vec<Request>,
    pub calls: Vec<CallCommand>,
    pub reload: Option<Settings>,
    pub stopping: bool,
    /// When what has come is to be committed at the latest.
    pub due: Option<Instant>,
    /// Still waiting after this.
    pub requests_left: u64,
    pub calls_left: u64,
}

impl Work {
    /// Requests that had waited for this round.
    pub fn requests_found(&self) -> u64 {
        let taken = u64::try_from(self.requests.len()).unwrap_or(u64::MAX);
        self.requests_left.saturating_add(taken)
    }

    /// Commands of calls that had waited for this round.
    pub fn calls_found(&self) -> u64 {
        let taken = u64::try_from(self.calls.len()).unwrap_or(u64::MAX);
        self.calls_left.saturating_add(taken)
    }
}

#[derive(Default)]
struct Queues {
    requests: VecDeque<Request>,
    calls: VecDeque<CallCommand>,
    reload: Option<Settings>,
    /// Nothing new from the API; what calls send is still taken.
    stopping: bool,
    /// The thread is gone.
    closed: bool,
    /// The thread sleeps until then: what cannot wait so long must wake it.
    asleep_until: Option<Instant>,
    /// The thread is to take what there is now.
    called: bool,
    /// When what waits is to be committed at the latest.
    due: Option<Instant>,
    /// The last round found many requests: the next gathers for a moment.
    crowded: bool,
    /// Requests and commands taken so far.
    taken: u64,
}

impl Queues {
    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.calls.is_empty()
    }

    /// What a call gets instead of having its command queued, if there is no room for that.
    fn instead(&self, command: &LedgerCommand, most: usize) -> Option<BooksEvent> {
        let waiting = self.calls.len();
        let full = waiting >= most;
        let very_full = waiting >= most.saturating_mul(2);
        match command {
            LedgerCommand::Admit { .. } if full || self.closed => {
                Some(BooksEvent::Refused(Refusal::BooksUnavailable))
            }
            LedgerCommand::Answer(_) if very_full || self.closed => Some(BooksEvent::AnswerFailed),
            LedgerCommand::Hold(_) if very_full || self.closed => {
                Some(BooksEvent::BlocksRefused(BlocksRefusal::Store))
            }
            // Nobody can say: then nobody is warned.
            LedgerCommand::Look(count) if very_full || self.closed => {
                Some(BooksEvent::Covered(*count))
            }
            // Nobody is left to record it: the call is let go all the same. What the store has of
            // it becomes its record at the next start.
            LedgerCommand::Close(_) if self.closed => Some(BooksEvent::Recorded),
            _ => None,
        }
    }
}

/// How long a call's command may wait before the thread must have committed it, so that one wake and
/// one commit serve many; nothing where the call waits for the answer itself.
fn patience_of(command: &LedgerCommand) -> Option<Duration> {
    match command {
        LedgerCommand::Admit { .. } => None,
        LedgerCommand::Look(_) => Some(LINGER),
        LedgerCommand::Answer(_) | LedgerCommand::Hold(_) => Some(CALL_LINGER),
        LedgerCommand::Close(_) => Some(LINGER),
    }
}

/// The shorter of two patiences, where nothing is none at all; `before` is that of the commands before,
/// if there are some.
fn most_urgent(before: Option<Option<Duration>>, own: Option<Duration>) -> Option<Duration> {
    match before {
        None => own,
        Some(before) => before.zip(own).map(|(before, own)| before.min(own)),
    }
}

pub(super) struct Inbox {
    limits: Limits,
    queues: Mutex<Queues>,
    wake: Condvar,
}

/// Tells everybody that the thread is gone, however it went.
pub(super) struct CloseOnDrop(pub Arc<Inbox>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        let mut queues = self.0.lock();
        queues.closed = true;
        // Their senders go with them, which the waiting requests notice.
        queues.requests.clear();
        queues.calls.clear();
    }
}

impl Inbox {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            queues: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a request; false where there is no room.
    pub(super) fn push_request(&self, request: Request) -> bool {
        let mut queues = self.lock();
        if queues.closed || queues.stopping || queues.requests.len() >= self.limits.requests {
            return false;
        }
        queues.requests.push_back(request);
        let patience = queues.crowded.then_some(GATHER);
        self.call_within(queues, patience);
        true
    }

    /// Queues commands of calls, under one lock and with one wake; `refused` has what those calls get
    /// instead whose commands found no room.
    pub(super) fn push_calls(
        &self,
        commands: impl IntoIterator<Item = CallCommand>,
        mut refused: impl FnMut(CallNotice),
    ) {
        let mut queues = self.lock();
        // The shortest patience of all, if there is a command that was queued.
        let mut patience: Option<Option<Duration>> = None;
        for command in commands {
            if let Some(event) = queues.instead(&command.command, self.limits.calls) {
                let (worker, key) = (command.worker, command.key);
                refused(CallNotice { worker, key, event });
                continue;
            }
            let own = patience_of(&command.command);
            queues.calls.push_back(command);
            patience = Some(most_urgent(patience, own));
        }
        if let Some(patience) = patience {
            self.call_within(queues, patience);
        }
    }

    pub(super) fn push_reload(&self, settings: Settings) {
        let mut queues = self.lock();
        queues.reload = Some(settings);
        self.call(queues);
    }

    pub(super) fn stop(&self) {
        let mut queues = self.lock();
        queues.stopping = true;
        self.call(queues);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Requests and commands that the thread has taken so far.
    #[cfg(test)]
    pub(super) fn taken(&self) -> u64 {
        self.lock().taken
    }

    /// Waits until somebody calls, what waits is due, or `deadline`; takes up to a round, calls first.
    pub(super) fn wait(&self, deadline: Instant) -> Work {
        let mut queues = self.lock();
        while !queues.called && !queues.stopping {
            let now = Instant::now();
            // In a crowd the next request is about to come: it needs to wake nobody.
            let soon = queues.crowded.then(|| now + GATHER);
            let until = [queues.due, soon]
                .into_iter()
                .flatten()
                .fold(deadline, Instant::min);
            let left = until.saturating_duration_since(now);
            if left.is_zero() {
                break;
            }
            queues.asleep_until = Some(until);
            queues = self
                .wake
                .wait_timeout(queues, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            queues.asleep_until = None;
            if queues.is_empty() {
                queues.crowded = false;
            }
        }
        let calls = take(&mut queues.calls, self.limits.round);
        let room = self.limits.round.saturating_sub(calls.len()).max(1);
        let requests = take(&mut queues.requests, room);
        queues.crowded = requests.len() >= CROWD;
        let count = calls.len().saturating_add(requests.len());
        queues.taken = queues
            .taken
            .saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        // What is left is for the next round, at once.
        queues.called = !queues.is_empty();
        Work {
            requests,
            calls,
            reload: queues.reload.take(),
            stopping: queues.stopping,
            due: queues.due.take(),
            requests_left: u64::try_from(queues.requests.len()).unwrap_or(u64::MAX),
            calls_left: u64::try_from(queues.calls.len()).unwrap_or(u64::MAX),
        }
    }

    /// The thread is to take what there is now.
    fn call(&self, mut queues: MutexGuard<'_, Queues>) {
        queues.called = true;
        let asleep = queues.asleep_until.is_some();
        drop(queues);
        if asleep {
            self.wake.notify_one();
        }
    }

    /// The thread is to take what there is after `patience` at the latest, or with whatever comes
    /// before; it is woken only if it would sleep longer.
    fn call_within(&self, mut queues: MutexGuard<'_, Queues>, patience: Option<Duration>) {
        let Some(patience) = patience else {
            return self.call(queues);
        };
        let due = Instant::now() + patience;
        queues.due = Some(queues.due.map_or(due, |before| before.min(due)));
        match queues.asleep_until {
            Some(until) if until > due => self.call(queues),
            _ => {}
        }
    }
}

fn take<T>(queue: &mut VecDeque<T>, most: usize) -> Vec<T> {
    let count = queue.len().min(most);
    queue.drain(..count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CallId, CallKey, Credit, CustomerId};
    use std::thread;

    const NEVER: Duration = Duration::from_secs(3600);

    impl Inbox {
        fn push_call(&self, command: CallCommand) {
            self.push_calls([command], |notice| panic!("{notice:?}"));
        }
    }

    fn hold(key: u64) -> CallCommand {
        CallCommand {
            worker: 0,
            key: CallKey(key),
            call_id: CallId(uuid::Uuid::nil()),
            command: LedgerCommand::Hold(2),
        }
    }

    fn request() -> Request {
        Request {
            command: Command::TopUp {
                customer: CustomerId(1),
                credit: Credit(1),
            },
            idempotency: None,
            reply: oneshot::channel().0,
        }
    }

    /// Waits beside, as the books thread does, with nothing else to wake it for an hour.
    fn waiting(inbox: &Arc<Inbox>) -> thread::JoinHandle<Work> {
        let beside = Arc::clone(inbox);
        let waits = thread::spawn(move || beside.wait(Instant::now() + NEVER));
        while inbox.lock().asleep_until.is_none() {
            thread::yield_now();
        }
        waits
    }

    #[test]
    fn what_can_wait_wakes_who_would_sleep_longer() {
        let inbox = Arc::new(Inbox::new(Limits::default()));
        let waits = waiting(&inbox);
        let before = Instant::now();
        inbox.push_call(hold(1));
        let work = waits.join().unwrap();
        assert_eq!(work.calls.len(), 1);
        let due = work.due.expect("a time by which it must be committed");
        assert!(due >= before + CALL_LINGER && due <= Instant::now() + CALL_LINGER);
    }

    #[test]
    fn what_can_wait_goes_with_the_next_that_cannot() {
        let inbox = Inbox::new(Limits::default());
        inbox.push_call(hold(1));
        inbox.push_call(hold(2));
        assert!(!inbox.lock().called);
        assert!(inbox.push_request(request()));
        let work = inbox.wait(Instant::now() + NEVER);
        assert_eq!((work.calls.len(), work.requests.len()), (2, 1));
        assert!(!inbox.lock().called && inbox.lock().due.is_none());
    }

    #[test]
    fn many_commands_of_calls_are_queued_in_order_and_due_together() {
        let inbox = Inbox::new(Limits::default());
        let before = Instant::now();
        inbox.push_calls([1, 2, 3].map(hold), |notice| panic!("{notice:?}"));
        assert!(!inbox.lock().called);
        let due = inbox.lock().due.unwrap();
        assert!(due >= before + CALL_LINGER && due <= Instant::now() + CALL_LINGER);
        inbox.push_calls([], |notice| panic!("{notice:?}"));
        let keys: Vec<_> = inbox.wait(due).calls.iter().map(|call| call.key).collect();
        assert_eq!(keys, [1, 2, 3].map(CallKey));
    }

    #[test]
    fn one_command_that_cannot_wait_takes_the_others_along() {
        assert_eq!(most_urgent(None, Some(LINGER)), Some(LINGER));
        assert_eq!(
            most_urgent(Some(Some(CALL_LINGER)), Some(LINGER)),
            Some(CALL_LINGER)
        );
        assert_eq!(most_urgent(Some(Some(LINGER)), None), None);
        assert_eq!(most_urgent(Some(None), Some(LINGER)), None);
    }

    #[test]
    fn those_that_find_no_room_are_told_and_the_others_are_queued() {
        let limits = Limits {
            calls: 1,
            ..Limits::default()
        };
        let inbox = Inbox::new(limits);
        let mut refused = Vec::new();
        // Further blocks of a call have twice the room.
        inbox.push_calls([hold(1), hold(2), hold(3)], |notice| {
            refused.push(notice.key)
        });
        assert_eq!(refused, [CallKey(3)]);
        assert_eq!(inbox.lock().calls.len(), 2);
    }

    #[test]
    fn a_crowd_gathers_and_one_client_does_not() {
        let inbox = Arc::new(Inbox::new(Limits::default()));
        let push = |count| (0..count).for_each(|_| assert!(inbox.push_request(request())));
        push(1);
        assert!(inbox.lock().called, "a request by itself is taken at once");
        inbox.wait(Instant::now());
        push(CROWD);
        assert_eq!(inbox.wait(Instant::now()).requests.len(), CROWD);
        push(1);
        assert!(!inbox.lock().called && inbox.lock().due.is_some());
        // It is taken though nobody calls; then the crowd is gone.
        let work = inbox.wait(Instant::now() + NEVER);
        assert_eq!(work.requests.len(), 1);
        push(1);
        assert!(inbox.lock().called);
    }

    #[test]
    fn a_crowd_that_is_gone_is_forgotten() {
        let inbox = Arc::new(Inbox::new(Limits::default()));
        (0..CROWD).for_each(|_| assert!(inbox.push_request(request())));
        inbox.wait(Instant::now());
        let waits = waiting(&inbox);
        while inbox.lock().crowded {
            thread::yield_now();
        }
        // So whoever comes now is by himself.
        assert!(inbox.push_request(request()));
        assert_eq!(waits.join().unwrap().requests.len(), 1);
    }
}
