//! Reliable provisional responses (RFC 3262): the numbers of both roles, and what is repeated until
//! it is acknowledged. The state of one early dialog; forks have their own each.

use crate::sip::message::{Header, Message};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The option tag (RFC 3262 §8.1).
pub const OPTION: &str = "100rel";

/// Most provisional responses that wait for the one before to be acknowledged.
const MOST_WAITING: usize = 8;

/// Whether a message lists the option in Supported.
#[must_use]
pub fn is_supported(message: &Message) -> bool {
    lists(message, Header::Supported)
}

/// Whether a message lists the option in Require.
#[must_use]
pub fn is_required(message: &Message) -> bool {
    lists(message, Header::Require)
}

fn lists(message: &Message, header: Header) -> bool {
    message
        .all(header)
        .any(|tag| tag.trim().eq_ignore_ascii_case(OPTION))
}

/// RSeq of a provisional response that wants a PRACK (§4): it requires the option and has a number.
/// A 100 never does (§3).
#[must_use]
pub fn sequence(response: &Message) -> Option<u32> {
    let provisional = response
        .status()
        .is_some_and(|status| (101..200).contains(&status));
    if !provisional || !is_required(response) {
        return None;
    }
    let number = response.get(Header::RSeq)?.trim().parse().ok()?;
    (number > 0).then_some(number)
}

/// What a PRACK acknowledges (§7.2): RSeq, CSeq number and method of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RAck {
    /// RSeq of the response.
    pub rseq: u32,
    /// CSeq number of the INVITE.
    pub cseq: u32,
}

impl RAck {
    /// Of a PRACK; `None` where it has none, or one that speaks of another method.
    #[must_use]
    pub fn read(prack: &Message) -> Option<Self> {
        let mut words = prack.get(Header::RAck)?.split_ascii_whitespace();
        let rseq = words.next()?.parse().ok()?;
        let cseq = words.next()?.parse().ok()?;
        let method = words.next()?;
        (method == "INVITE" && words.next().is_none()).then_some(Self { rseq, cseq })
    }

    /// As it stands in the header.
    #[must_use]
    pub fn write(&self) -> String {
        format!("{} {} INVITE", self.rseq, self.cseq)
    }
}

/// What a numbered response is to who gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The next one: it is acknowledged and taken.
    InOrder,
    /// One that was acknowledged before: its PRACK is on its way, or is being repeated.
    Repeated,
    /// One before it is missing: it must be neither acknowledged nor taken (§4).
    OutOfOrder,
}

/// The client's side: the last number that was taken in one early dialog.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    last: Option<u32>,
}

impl Taken {
    /// Takes a number. The first may be any (§4).
    pub fn take(&mut self, rseq: u32) -> Arrival {
        match self.last {
            Some(last) if rseq <= last => Arrival::Repeated,
            Some(last) if last.checked_add(1) != Some(rseq) => Arrival::OutOfOrder,
            _ => {
                self.last = Some(rseq);
                Arrival::InOrder
            }
        }
    }
}

/// The server's side: what was sent in one early dialog and what waits.
///
/// ```text
///            sent, repeated: T1, 2×T1, ...             PRACK with its RAck
///   idle --------------------------------> outstanding --------------------> idle, or the next
///                                               |                            that waits
///                                               | 64×T1
///                                               v
///                                           given up: 5xx to the INVITE (§3)
/// ```
#[derive(Debug)]
pub struct Provisionals {
    /// CSeq number of the INVITE.
    cseq: u32,
    next: u32,
    outstanding: Option<Outstanding>,
    waiting: VecDeque<Waiting>,
}

/// A response that waits for the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its status.
    pub status: u16,
    /// Its description.
    pub body: Option<Bytes>,
}

#[derive(Debug)]
struct Outstanding {
    rseq: u32,
    status: u16,
    described: bool,
    bytes: Bytes,
    interval: Duration,
    next: Instant,
    deadline: Instant,
}

/// What time brings to a response without its PRACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// Send it again.
    Repeat(u16, Bytes),
    /// Nobody acknowledges it.
    GivenUp,
}

impl Provisionals {
    /// For an INVITE with this CSeq; `first` is the first number (§3: a random one, which starts
    /// low enough never to come round).
    #[must_use]
    pub fn new(cseq: u32, first: u32) -> Self {
        Self {
            cseq,
            next: first.max(1),
            outstanding: None,
            waiting: VecDeque::new(),
        }
    }

    /// The number of the response that is sent now. `None`: one is outstanding (§3: the next must
    /// not go before), so this one waits, or is lost where too many do.
    pub fn number(&mut self) -> Option<u32> {
        if self.outstanding.is_some() {
            return None;
        }
        let number = self.next;
        self.next = self.next.saturating_add(1);
        Some(number)
    }

    /// Keeps a response until the one before has its PRACK; false if there is no room.
    pub fn wait(&mut self, response: Waiting) -> bool {
        if self.waiting.back() == Some(&response) {
            return true; // it says nothing new
        }
        if self.waiting.len() >= MOST_WAITING {
            return false;
        }
        self.waiting.push_back(response);
        true
    }

    /// The response that is to go next, if none is outstanding.
    pub fn take_waiting(&mut self) -> Option<Waiting> {
        match self.outstanding {
            Some(_) => None,
            None => self.waiting.pop_front(),
        }
    }

    /// Notes what is being sent, in the same breath: whatever comes back, however quickly, finds it.
    /// `times` are T1 and 64×T1. Gives back when it is due again.
    pub fn sent(
        &mut self,
        (rseq, status): (u32, u16),
        (bytes, described): (Bytes, bool),
        now: Instant,
        (interval, patience): (Duration, Duration),
    ) -> Instant {
        let next = now.checked_add(interval).unwrap_or(now);
        self.outstanding = Some(Outstanding {
            rseq,
            status,
            described,
            bytes,
            interval,
            next,
            deadline: now.checked_add(patience).unwrap_or(now),
        });
        next
    }

    /// A PRACK: whether the response that it acknowledges had a description; `None` if there is no
    /// such response (481, §3).
    pub fn acknowledge(&mut self, rack: RAck) -> Option<bool> {
        let outstanding = self
            .outstanding
            .take_if(|sent| sent.rseq == rack.rseq && self.cseq == rack.cseq)?;
        Some(outstanding.described)
    }

    /// Whether a response with a description, sent or waiting, has no PRACK yet: until then no 2xx
    /// may go (§3).
    #[must_use]
    pub fn owes_description(&self) -> bool {
        self.outstanding.as_ref().is_some_and(|sent| sent.described)
            || self.waiting.iter().any(|waiting| waiting.body.is_some())
    }

    /// What is outstanding: its PRACK is taken even after the final response (§3).
    #[must_use]
    pub fn unacknowledged(&self) -> Option<RAck> {
        self.outstanding.as_ref().map(|sent| RAck {
            rseq: sent.rseq,
            cseq: self.cseq,
        })
    }

    /// When [`Self::due`] has something to say.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.outstanding.as_ref().map(|sent| sent.next)
    }

    /// What is due.
    pub fn due(&mut self, now: Instant) -> Due {
        let Some(sent) = self.outstanding.as_mut().filter(|sent| sent.next <= now) else {
            return Due::Nothing;
        };
        if now >= sent.deadline {
            self.outstanding = None;
            self.waiting.clear();
            return Due::GivenUp;
        }
        // §3: unlike a final response's, the interval has no upper bound.
        sent.interval = sent.interval.saturating_mul(2);
        let next = now.checked_add(sent.interval).unwrap_or(now);
        sent.next = next.min(sent.deadline);
        Due::Repeat(sent.status, sent.bytes.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T1: Duration = Duration::from_millis(500);

    fn sent(all: &mut Provisionals, status: u16, described: bool, now: Instant) -> u32 {
        let rseq = all.number().expect("nothing outstanding");
        let bytes = Bytes::from(format!("{rseq}"));
        all.sent((rseq, status), (bytes, described), now, (T1, T1 * 64));
        rseq
    }

    fn rack(rseq: u32) -> RAck {
        RAck { rseq, cseq: 7 }
    }

    #[test]
    fn numbers_rise_by_one_and_only_one_is_outstanding() {
        let now = Instant::now();
        let mut all = Provisionals::new(7, 100);
        assert_eq!(sent(&mut all, 180, false, now), 100);
        assert_eq!(all.number(), None);
        let waiting = Waiting {
            status: 183,
            body: None,
        };
        assert!(all.wait(waiting.clone()) && all.wait(waiting.clone()));
        assert_eq!(all.take_waiting(), None);
        assert_eq!(all.acknowledge(rack(99)), None);
        assert_eq!(all.acknowledge(RAck { rseq: 100, cseq: 8 }), None);
        assert_eq!(all.acknowledge(rack(100)), Some(false));
        assert_eq!(all.acknowledge(rack(100)), None, "once");
        assert_eq!(all.take_waiting(), Some(waiting));
        assert_eq!(all.take_waiting(), None, "the same twice is one");
        assert_eq!(sent(&mut all, 183, true, now), 101);
        assert!(all.owes_description());
        assert_eq!(all.acknowledge(rack(101)), Some(true));
        assert!(!all.owes_description());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut all = Provisionals::new(7, 1);
        sent(&mut all, 180, false, Instant::now());
        let mut kept = 0;
        for status in 0..100 {
            kept += usize::from(all.wait(Waiting { status, body: None }));
        }
        assert_eq!(kept, MOST_WAITING);
    }

    /// RFC 3262 §3: "retransmitted with an exponential backoff that starts at T1 ... MUST cease if
    /// 64*T1 passed".
    #[test]
    fn it_is_repeated_with_a_growing_interval_and_given_up_after_64_t1() {
        let start = Instant::now();
        let mut all = Provisionals::new(7, 1);
        sent(&mut all, 183, true, start);
        let mut times = Vec::new();
        loop {
            let at = all.next_due().unwrap();
            assert_eq!(all.due(at - Duration::from_millis(1)), Due::Nothing);
            match all.due(at) {
                Due::Repeat(status, bytes) => {
                    assert_eq!((status, bytes.as_ref()), (183, b"1".as_slice()));
                    times.push((at - start).as_millis());
                }
                Due::GivenUp => {
                    assert_eq!(at - start, T1 * 64);
                    break;
                }
                Due::Nothing => panic!("nothing due"),
            }
        }
        assert_eq!(times, [500, 1_500, 3_500, 7_500, 15_500, 31_500]);
        assert_eq!(all.next_due(), None);
    }

    #[test]
    fn a_client_takes_numbers_in_order_from_whichever_comes_first() {
        let mut taken = Taken::default();
        assert_eq!(taken.take(4_294_967_294), Arrival::InOrder);
        assert_eq!(taken.take(4_294_967_294), Arrival::Repeated);
        assert_eq!(taken.take(4_294_967_295), Arrival::InOrder);
        assert_eq!(taken.take(1), Arrival::Repeated);
        let mut taken = Taken::default();
        taken.take(10);
        assert_eq!(taken.take(12), Arrival::OutOfOrder);
        assert_eq!(taken.take(11), Arrival::InOrder);
        assert_eq!(taken.take(12), Arrival::InOrder);
    }

    #[test]
    fn a_rack_names_a_response_to_an_invite() {
        let read = |value: &str| {
            let text = format!(
                "PRACK sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP b;branch=z9hG4bKa\r\nMax-Forwards: 70\r\n\
                 From: <sip:a@b>;tag=a\r\nTo: <sip:b@b>;tag=b\r\nCall-ID: c\r\nCSeq: 2 PRACK\r\n\
                 RAck: {value}\r\nContent-Length: 0\r\n\r\n"
            );
            RAck::read(&crate::sip::codec::parse(Bytes::from(text)).unwrap())
        };
        let wanted = RAck { rseq: 5, cseq: 1 };
        assert_eq!(read("5 1 INVITE"), Some(wanted));
        assert_eq!(read("  5   1  INVITE "), Some(wanted));
        assert_eq!(wanted.write(), "5 1 INVITE");
        for bad in [
            "5 1",
            "5 1 invite",
            "5 1 BYE",
            "x 1 INVITE",
            "5 99999999999 INVITE",
            "5 1 INVITE x",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
