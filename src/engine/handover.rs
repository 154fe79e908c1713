//! What workers hand to each other: messages that one has read and another owns, messages that only
//! the owner of their connection can send, and news of trunks and paths.
//!
//! ```text
//!   worker 0 ── batch ──► worker 1       one bounded queue a worker, from all others;
//!            ◄── batch ──                a batch a turn, so one wake at most
//! ```
//!
//! What comes by one socket or connection passes one queue, so its order is kept. A worker that
//! takes nothing loses what is beyond the bound, as it would from a full socket.

use super::worker::Heard;
use crate::domain::TrunkId;
use crate::sip::message::{Path, Transport};
use crate::sip::steering::{Shard, Steering};
use bytes::Bytes;
use hashbrown::HashMap;
use std::time::Instant;
use tokio::sync::mpsc;

/// Batches that may wait for one worker.
const BATCHES: usize = 256;
/// Messages in a batch.
const BATCH: usize = 64;
/// Connections of other workers that are remembered.
const CONNECTIONS: usize = 65_536;

/// One thing handed over.
#[derive(Clone, Debug)]
pub enum Handed {
    /// A message that came by `Path` at that moment.
    Message(Bytes, Path, Instant),
    /// To be sent by a connection of the one it is handed to.
    Transmit(Bytes, Path),
    /// A path failed.
    Failed(Path),
    /// Something was learnt of a trunk.
    Heard(TrunkId, Heard),
}

/// What one worker handed over in a turn.
#[derive(Debug)]
pub struct Batch {
    from: u16,
    content: Vec<Handed>,
}

/// One worker's end of it.
pub struct Handover {
    shard: Shard,
    senders: Vec<mpsc::Sender<Batch>>,
    pending: Vec<Vec<Handed>>,
    receiver: mpsc::Receiver<Batch>,
    /// Connections by whose worker reads them.
    owners: HashMap<Path, u16>,
    lost: u64,
}

impl Handover {
    /// The ends of all workers, in order.
    #[must_use]
    pub fn mesh(steering: Steering) -> Vec<Self> {
        let workers = steering.workers();
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| mpsc::channel(BATCHES)).unzip();
        let end = |(index, receiver)| Self {
            shard: Shard::new(steering, index),
            senders: senders.clone(),
            pending: (0..workers).map(|_| Vec::new()).collect(),
            receiver,
            owners: HashMap::new(),
            lost: 0,
        };
        (0..workers).zip(receivers).map(end).collect()
    }

    /// Whose it is.
    #[must_use]
    pub const fn shard(&self) -> Shard {
        self.shard
    }

    /// Whether there are no others.
    #[must_use]
    pub const fn is_alone(&self) -> bool {
        self.shard.steering().workers() == 1
    }

    /// The worker that messages of a Call-ID belong to, if that is another. What has none that a
    /// glance finds is answered by whoever read it.
    #[must_use]
    pub fn elsewhere(&self, call_id: Option<&[u8]>) -> Option<u16> {
        let worker = self.shard.steering().worker_of(call_id?);
        (worker != self.shard.index()).then_some(worker)
    }

    /// The worker that reads the connection of a path, if that is another.
    #[must_use]
    pub fn owner(&self, path: &Path) -> Option<u16> {
        if path.transport == Transport::Udp {
            return None;
        }
        self.owners.get(path).copied()
    }

    /// Hands something to a worker; it leaves with [`Self::flush`].
    pub fn give(&mut self, worker: u16, what: Handed) {
        let Some(pending) = self.pending.get_mut(usize::from(worker)) else {
            return;
        };
        pending.push(what);
        if pending.len() >= BATCH {
            self.send(worker);
        }
    }

    /// Hands something to all others.
    pub fn tell(&mut self, what: &Handed) {
        for worker in 0..self.shard.steering().workers() {
            if worker != self.shard.index() {
                self.give(worker, what.clone());
            }
        }
    }

    /// Lets go of what was given. Returns how much was lost since the last time because a worker took
    /// nothing.
    pub fn flush(&mut self) -> u64 {
        for worker in 0..self.shard.steering().workers() {
            self.send(worker);
        }
        std::mem::take(&mut self.lost)
    }

    fn send(&mut self, worker: u16) {
        let place = usize::from(worker);
        let (Some(pending), Some(sender)) = (self.pending.get_mut(place), self.senders.get(place))
        else {
            return;
        };
        if pending.is_empty() {
            return;
        }
        let batch = Batch {
            from: self.shard.index(),
            content: std::mem::take(pending),
        };
        if let Err(refused) = sender.try_send(batch) {
            let (mpsc::error::TrySendError::Full(batch) | mpsc::error::TrySendError::Closed(batch)) =
                refused;
            let lost = u64::try_from(batch.content.len()).unwrap_or(u64::MAX);
            self.lost = self.lost.saturating_add(lost);
        }
    }

    /// Waits for batches, up to so many. Its end never comes: each holds a way to itself.
    pub async fn receive(&mut self, into: &mut Vec<Batch>, most: usize) {
        self.receiver.recv_many(into, most).await;
    }

    /// As [`Self::receive`], without waiting.
    pub fn take(&mut self, into: &mut Vec<Batch>, most: usize) {
        while into.len() < most
            && let Ok(batch) = self.receiver.try_recv()
        {
            into.push(batch);
        }
    }

    /// What is in a batch. Whose connections its messages came by is remembered.
    pub fn open(&mut self, batch: Batch) -> Vec<Handed> {
        for handed in &batch.content {
            match handed {
                Handed::Message(_, path, _)
                    if path.transport != Transport::Udp
                        && (self.owners.len() < CONNECTIONS || self.owners.contains_key(path)) =>
                {
                    self.owners.insert(*path, batch.from);
                }
                Handed::Failed(path) => {
                    self.owners.remove(path);
                }
                _ => {}
            }
        }
        batch.content
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::codec::glance;

    fn path(transport: Transport) -> Path {
        Path {
            transport,
            local: ([192, 0, 2, 1], 5060).into(),
            remote: ([198, 51, 100, 1], 33_000).into(),
        }
    }

    fn message(call: u32) -> Bytes {
        format!("BYE sip:a@b SIP/2.0\r\nCall-ID: {call}\r\nTo: <sip:a@b>;tag=1\r\n\r\n").into()
    }

    async fn received(end: &mut Handover) -> Vec<Handed> {
        let mut batches = Vec::new();
        end.receive(&mut batches, 16).await;
        batches
            .into_iter()
            .flat_map(|batch| end.open(batch))
            .collect()
    }

    #[tokio::test]
    async fn each_message_finds_its_worker_and_order_is_kept() {
        let mut ends = Handover::mesh(Steering::new(5, 3));
        let (now, udp) = (Instant::now(), path(Transport::Udp));
        let mut own = 0;
        for call in 0..100 {
            let bytes = message(call);
            match ends[0].elsewhere(glance(&bytes).call_id) {
                Some(worker) => ends[0].give(worker, Handed::Message(bytes, udp, now)),
                None => own += 1,
            }
        }
        assert_eq!(ends[0].flush(), 0);
        let mut got = own;
        for end in &mut ends[1..] {
            let mut before = None;
            for handed in received(end).await {
                let Handed::Message(bytes, _, _) = handed else {
                    panic!("{handed:?}");
                };
                assert_eq!(end.elsewhere(glance(&bytes).call_id), None);
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                let call: u32 = text
                    .split("Call-ID: ")
                    .nth(1)
                    .unwrap()
                    .split('\r')
                    .next()
                    .unwrap()
                    .parse()
                    .unwrap();
                assert!(before < Some(call));
                before = Some(call);
                got += 1;
            }
        }
        assert_eq!(got, 100);
        assert!((20..50).contains(&own), "{own}");
    }

    #[test]
    fn one_worker_alone_owns_everything() {
        let ends = Handover::mesh(Steering::new(5, 1));
        for call in 0..20 {
            assert_eq!(ends[0].elsewhere(glance(&message(call)).call_id), None);
            assert!(ends[0].is_alone());
        }
    }

    #[tokio::test]
    async fn the_way_back_over_a_connection_of_another_worker_is_known() {
        let mut ends = Handover::mesh(Steering::new(5, 2));
        let (now, tcp, udp) = (Instant::now(), path(Transport::Tcp), path(Transport::Udp));
        ends[0].give(1, Handed::Message(message(1), tcp, now));
        ends[0].give(1, Handed::Message(message(2), udp, now));
        ends[0].flush();
        received(&mut ends[1]).await;
        assert_eq!(ends[1].owner(&tcp), Some(0));
        assert_eq!(ends[1].owner(&udp), None);
        ends[0].tell(&Handed::Failed(tcp));
        ends[0].flush();
        received(&mut ends[1]).await;
        assert_eq!(ends[1].owner(&tcp), None);
    }

    #[test]
    fn a_worker_that_takes_nothing_loses_what_is_beyond_the_bound() {
        let mut ends = Handover::mesh(Steering::new(5, 2));
        let now = Instant::now();
        let mut lost = 0;
        for _ in 0..BATCHES + 3 {
            for _ in 0..BATCH {
                ends[0].give(1, Handed::Message(message(1), path(Transport::Udp), now));
            }
            lost += ends[0].flush();
        }
        assert_eq!(lost, 3 * u64::try_from(BATCH).unwrap());
    }
}
