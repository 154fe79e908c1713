//! What workers hand to each other: messages that one has read and another owns, messages that only
//! the owner of their connection can send, and news of trunks and paths.
//!
//! ```text
//!   worker 0 ── batch ──► worker 1       one bounded queue a worker, from all others;
//!            ◄── batch ──                a batch a turn, so one wake at most
//! ```
//!
//! What comes by one socket or connection passes one queue, so its order is kept. A socket that goes
//! from one reader to the next goes behind what was read from it. A worker that takes nothing loses
//! what is beyond the bound, as it would from a full socket.

use super::worker::Heard;
use crate::domain::TrunkId;
use crate::sip::message::{Path, Transport};
use crate::sip::steering::{Shard, Steering};
use crate::transport::poll::Bell;
use crate::transport::udp::UdpReader;
use bytes::Bytes;
use hashbrown::HashMap;
use std::sync::Arc;
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
    /// What was learnt of a hop.
    HopNews(Path, Option<Instant>),
}

/// What one worker handed over in a turn.
#[derive(Debug)]
pub struct Batch {
    from: u16,
    content: Vec<Handed>,
    /// A socket that is the receiver's to read from now on.
    reader: Option<Box<UdpReader>>,
}

impl Batch {
    /// The socket that is the receiver's to read from now on, if there is one.
    pub fn reader(&mut self) -> Option<UdpReader> {
        self.reader.take().map(|reader| *reader)
    }
}

/// One worker's end of it.
pub struct Handover {
    shard: Shard,
    senders: Vec<(mpsc::Sender<Batch>, Arc<Bell>)>,
    bell: Arc<Bell>,
    pending: Vec<Vec<Handed>>,
    receiver: mpsc::Receiver<Batch>,
    /// Connections by whose worker reads them.
    owners: HashMap<Path, u16>,
    lost: u64,
}

impl Handover {
    /// The ends of all workers, in order, each with the bell of its thread.
    #[must_use]
    pub fn mesh(steering: Steering, bells: &[Arc<Bell>]) -> Vec<Self> {
        let workers = steering.workers();
        let (senders, receivers): (Vec<_>, Vec<_>) = bells
            .iter()
            .map(|bell| {
                let (sender, receiver) = mpsc::channel(BATCHES);
                ((sender, Arc::clone(bell)), (receiver, Arc::clone(bell)))
            })
            .unzip();
        let end = |(index, (receiver, bell))| Self {
            shard: Shard::new(steering, index),
            senders: senders.clone(),
            bell,
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

    /// What wakes its thread.
    #[must_use]
    pub const fn bell(&self) -> &Arc<Bell> {
        &self.bell
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
        let Some(pending) = self.pending.get_mut(place) else {
            return;
        };
        if pending.is_empty() {
            return;
        }
        let batch = Batch {
            from: self.shard.index(),
            content: std::mem::take(pending),
            reader: None,
        };
        if let Err(batch) = self.post(worker, batch) {
            let lost = u64::try_from(batch.content.len()).unwrap_or(u64::MAX);
            self.lost = self.lost.saturating_add(lost);
        }
    }

    /// Makes a socket the next worker's to read, behind all that was read from it so far. Returns it
    /// if that one takes nothing now.
    #[must_use]
    pub fn pass(&mut self, reader: UdpReader) -> Option<UdpReader> {
        let workers = self.shard.steering().workers();
        for worker in 0..workers {
            self.send(worker);
        }
        let next = self.shard.index().saturating_add(1) % workers;
        let batch = Batch {
            from: self.shard.index(),
            content: Vec::new(),
            reader: Some(Box::new(reader)),
        };
        let mut refused = self.post(next, batch).err()?;
        refused.reader()
    }

    /// Puts a batch into a worker's queue, or returns it.
    fn post(&self, worker: u16, batch: Batch) -> Result<(), Batch> {
        let Some((sender, bell)) = self.senders.get(usize::from(worker)) else {
            return Err(batch);
        };
        sender.try_send(batch).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(batch) | mpsc::error::TrySendError::Closed(batch) => {
                batch
            }
        })?;
        bell.ring();
        Ok(())
    }

    /// Whether nothing waits to be taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// Takes batches, up to so many.
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
    use crate::transport::udp::UdpEndpoint;

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

    fn call_of(handed: &Handed) -> u32 {
        let Handed::Message(bytes, _, _) = handed else {
            panic!("{handed:?}");
        };
        let call_id = glance(bytes).call_id.unwrap();
        std::str::from_utf8(call_id).unwrap().parse().unwrap()
    }

    fn mesh(seed: u64, workers: u16) -> Vec<Handover> {
        let bells = std::iter::repeat_with(|| Arc::new(Bell::new().unwrap()));
        let bells: Vec<_> = bells.take(workers.into()).collect();
        Handover::mesh(Steering::new(seed, workers), &bells)
    }

    fn received(end: &mut Handover) -> Vec<Handed> {
        let mut batches = Vec::new();
        end.take(&mut batches, 16);
        batches
            .into_iter()
            .flat_map(|batch| end.open(batch))
            .collect()
    }

    #[test]
    fn each_message_finds_its_worker_and_order_is_kept() {
        let mut ends = mesh(5, 3);
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
            for handed in received(end) {
                let Handed::Message(bytes, _, _) = &handed else {
                    panic!("{handed:?}");
                };
                assert_eq!(end.elsewhere(glance(bytes).call_id), None);
                let call = call_of(&handed);
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
        let ends = mesh(5, 1);
        for call in 0..20 {
            assert_eq!(ends[0].elsewhere(glance(&message(call)).call_id), None);
            assert!(ends[0].is_alone());
        }
    }

    #[test]
    fn the_way_back_over_a_connection_of_another_worker_is_known() {
        let mut ends = mesh(5, 2);
        let (now, tcp, udp) = (Instant::now(), path(Transport::Tcp), path(Transport::Udp));
        ends[0].give(1, Handed::Message(message(1), tcp, now));
        ends[0].give(1, Handed::Message(message(2), udp, now));
        ends[0].flush();
        received(&mut ends[1]);
        assert_eq!(ends[1].owner(&tcp), Some(0));
        assert_eq!(ends[1].owner(&udp), None);
        ends[0].tell(&Handed::Failed(tcp));
        ends[0].flush();
        received(&mut ends[1]);
        assert_eq!(ends[1].owner(&tcp), None);
    }

    #[test]
    fn a_worker_that_takes_nothing_loses_what_is_beyond_the_bound() {
        let mut ends = mesh(5, 2);
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

    #[test]
    fn a_socket_goes_to_the_next_reader_behind_what_was_read_from_it() {
        let endpoint = UdpEndpoint::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let local = endpoint.local();
        let mut ends = mesh(5, 3);
        let now = Instant::now();
        let message = |call| Handed::Message(message(call), path(Transport::Udp), now);
        let mut reader = endpoint.reader;
        // Each in turn reads one for worker 2 and one for the next reader.
        for from in [0, 1, 2] {
            let next = (from + 1) % 3;
            ends[from].give(2, message(10 + u32::try_from(from).unwrap()));
            ends[from].give(u16::try_from(next).unwrap(), message(1));
            assert!(ends[from].pass(reader).is_none());
            let mut batches = Vec::new();
            let end = &mut ends[next];
            while let Ok(batch) = end.receiver.try_recv() {
                batches.push(batch);
            }
            let mut last = batches.pop().unwrap();
            assert!(batches.iter_mut().all(|batch| batch.reader().is_none()));
            assert!(!batches.is_empty() && last.content.is_empty());
            reader = last.reader().unwrap();
            assert_eq!(reader.local(), local);
            if next == 2 {
                let calls = batches.iter().flat_map(|batch| &batch.content);
                let calls: Vec<u32> = calls.map(call_of).filter(|call| *call >= 10).collect();
                assert_eq!(calls, [10, 11], "in the order in which they were read");
            }
        }
    }

    #[test]
    fn a_socket_stays_where_it_is_while_the_next_takes_nothing() {
        let endpoint = UdpEndpoint::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut ends = mesh(5, 2);
        let now = Instant::now();
        for _ in 0..BATCHES {
            ends[0].give(1, Handed::Message(message(1), path(Transport::Udp), now));
            ends[0].flush();
        }
        let reader = ends[0].pass(endpoint.reader).unwrap();
        received(&mut ends[1]);
        assert!(ends[0].pass(reader).is_none());
    }
}
