//! A message on its way from where it was read to the worker: handed to the one it belongs to; a new
//! INVITE into the line, everything else at once.

use super::handover::{Batch, Handed, Handover};
use super::waiting::{Fate, Waiting};
use super::worker::Worker;
use crate::domain::Now;
use crate::sip::codec::{Glance, Peek, glance};
use crate::sip::message::{Method, Path};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// INVITEs served in a turn, so that what belongs to calls is read again soon.
const SERVED_A_TURN: usize = 32;
/// The same while there is more to be read. What belongs to calls is in there too, and a socket's
/// buffer that runs over loses it; but a flood that never ends does not lock new calls out.
const SERVED_WHILE_BEHIND: usize = 2;
/// INVITEs refused in a turn.
const REFUSED_A_TURN: usize = 512;
/// Admissions that the books may owe an answer for. Beyond it new INVITEs wait, and so are refused
/// if the books stay behind.
const ADMISSIONS: usize = 1024;
/// How soon it is looked again when the books owe that many.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The way in.
pub struct Intake {
    pub(super) handover: Handover,
    waiting: Waiting<(Bytes, Path)>,
    /// Admissions that the books have not answered.
    admissions: usize,
}

impl Intake {
    pub(super) fn new(handover: Handover) -> Self {
        Self {
            handover,
            waiting: Waiting::default(),
            admissions: 0,
        }
    }

    /// A message was read, which came at `since`.
    pub(super) fn message(
        &mut self,
        worker: &mut Worker,
        (bytes, path): (Bytes, Path),
        since: Instant,
        now: Now,
    ) {
        // By itself a worker need not look at what waits in no case.
        let may_wait = matches!(bytes.first(), Some(b'I' | b'C' | b'\r'));
        if self.handover.is_alone() && !may_wait {
            return worker.datagram(bytes, path, now);
        }
        let seen = glance(&bytes);
        match self.handover.elsewhere(seen.call_id) {
            Some(other) => self
                .handover
                .give(other, Handed::Message(bytes, path, since)),
            None if self.waits(worker, &seen, path) => {
                let call = hash(seen.call_id.unwrap_or_default());
                self.waiting.push(call, since, (bytes, path));
            }
            None => worker.datagram(bytes, path, now),
        }
    }

    /// Whether a message goes into the line: a new INVITE of a trunk, and the CANCEL of one that
    /// waits there.
    fn waits(&self, worker: &mut Worker, seen: &Glance<'_>, path: Path) -> bool {
        match seen.first {
            Peek::Request(Method::Invite) => {
                seen.new_call().is_some() && worker.is_inbound(path.remote.ip())
            }
            Peek::Request(Method::Cancel) => seen
                .call_id
                .is_some_and(|call_id| self.waiting.holds(hash(call_id))),
            _ => false,
        }
    }

    /// Takes what another worker handed over; what is to be sent comes back by `transmit`.
    pub(super) fn open(
        &mut self,
        worker: &mut Worker,
        batch: Batch,
        now: Now,
        transmit: &mut dyn FnMut(Bytes, Path),
    ) {
        for handed in self.handover.open(batch) {
            match handed {
                Handed::Message(bytes, path, since) => {
                    self.message(worker, (bytes, path), since, now);
                }
                Handed::Transmit(bytes, path) => transmit(bytes, path),
                Handed::Failed(path) => worker.path_failed(path, now),
                Handed::Heard(trunk, heard) => worker.heard(trunk, heard, now),
                Handed::HopNews(path, until) => worker.hop_news(path, until, now),
            }
        }
    }

    /// Serves those that wait, or refuses them, within a bound. `now` is read anew for each: serving
    /// takes time. `read_all`: the sockets had no more.
    pub(super) fn serve(&mut self, worker: &mut Worker, read_all: bool, now: impl Fn() -> Now) {
        let (mut served, mut refused) = (0, 0);
        while served < served_a_turn(read_all) && refused < REFUSED_A_TURN {
            let at = now();
            let room = self.admissions.saturating_add(served) < ADMISSIONS;
            match self.waiting.next(at.mono, room, is_invite) {
                Some(Fate::Serve((bytes, path))) => {
                    served += 1;
                    worker.datagram(bytes, path, at);
                }
                Some(Fate::Refuse((bytes, path))) => {
                    refused += 1;
                    worker.shed(bytes, path, at);
                }
                None => return,
            }
        }
    }

    /// When [`Self::serve`] must be called again, if anybody waits.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        if self.waiting.is_empty() {
            return None;
        }
        if self.admissions < ADMISSIONS {
            Some(now)
        } else {
            now.checked_add(LOOK_AGAIN)
        }
    }

    /// An admission went to the books.
    pub(super) fn asked(&mut self) {
        self.admissions = self.admissions.saturating_add(1);
    }

    /// The books answered one.
    pub(super) fn answered(&mut self) {
        self.admissions = self.admissions.saturating_sub(1);
    }

    /// INVITEs that wait, and how often the worker fell behind so far.
    pub(super) fn line(&self) -> (usize, u64) {
        (self.waiting.len(), self.waiting.began())
    }
}

const fn served_a_turn(read_all: bool) -> usize {
    if read_all {
        SERVED_A_TURN
    } else {
        SERVED_WHILE_BEHIND
    }
}

fn is_invite((bytes, _): &(Bytes, Path)) -> bool {
    bytes.trim_ascii_start().starts_with(b"INVITE")
}

/// For the search in the line alone: who chooses Call-IDs that meet makes his own CANCEL wait.
fn hash(call_id: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(call_id)
}

#[cfg(test)]
mod tests {
    use super::{SERVED_A_TURN, served_a_turn};

    #[test]
    fn what_is_in_the_sockets_goes_before_new_calls_and_does_not_lock_them_out() {
        assert_eq!(served_a_turn(true), SERVED_A_TURN);
        assert!((1..SERVED_A_TURN / 8).contains(&served_a_turn(false)));
    }
}
