//! SRTP on one leg of a flow: what is taken off a packet that came, and put on one that goes. The keys
//! are the flow's; what was counted by them (rollovers, replay windows) outlives an update that has
//! the same keys.

use super::flow::{Crypto, DropReason};
use super::gate::Kind;
use crate::rtp::srtp::{Fault, MasterKey, Receiver, Sender};

/// How long packets under the key before are taken, once there is another: they are still on their
/// way when the description with the new one is there.
const OVERLAP_MICROS: u64 = 5_000_000;

/// The contexts of one leg.
#[derive(Debug)]
pub(super) struct Secured {
    send_key: MasterKey,
    receive_key: MasterKey,
    send: Sender,
    receive: Receiver,
    previous: Option<Box<Previous>>,
}

#[derive(Debug)]
struct Previous {
    receive: Receiver,
    until_micros: u64,
}

impl Secured {
    fn new(crypto: &Crypto) -> Option<Self> {
        Some(Self {
            send: Sender::new(&crypto.send)?,
            receive: Receiver::new(&crypto.receive)?,
            send_key: crypto.send.clone(),
            receive_key: crypto.receive.clone(),
            previous: None,
        })
    }

    /// Makes of `slot` what the flow says now.
    pub(super) fn update(slot: &mut Option<Box<Self>>, crypto: Option<&Crypto>, micros: u64) {
        match (slot.as_deref_mut(), crypto) {
            (_, None) => *slot = None,
            (Some(secured), Some(crypto)) => {
                if secured.change(crypto, micros).is_none() {
                    *slot = None;
                }
            }
            (None, Some(crypto)) => *slot = Self::new(crypto).map(Box::new),
        }
    }

    fn change(&mut self, crypto: &Crypto, micros: u64) -> Option<()> {
        if self.send_key != crypto.send {
            self.send = Sender::new(&crypto.send)?;
            self.send_key = crypto.send.clone();
        }
        if self.receive_key != crypto.receive {
            let fresh = Receiver::new(&crypto.receive)?;
            self.previous = Some(Box::new(Previous {
                receive: std::mem::replace(&mut self.receive, fresh),
                until_micros: micros.saturating_add(OVERLAP_MICROS),
            }));
            self.receive_key = crypto.receive.clone();
        }
        Some(())
    }

    /// Unprotects a packet that came, in place; its length then. `spare` has room for a copy.
    #[inline]
    pub(super) fn unprotect(
        &mut self,
        kind: Kind,
        packet: &mut [u8],
        spare: &mut [u8],
        micros: u64,
    ) -> Result<usize, DropReason> {
        if self.previous.is_some() {
            return self.unprotect_by_either(kind, packet, spare, micros);
        }
        let left = unprotect(&mut self.receive, kind, packet, spare);
        left.map_err(|fault| reason(fault, kind))
    }

    /// By the key, else by the one before.
    #[cold]
    fn unprotect_by_either(
        &mut self,
        kind: Kind,
        packet: &mut [u8],
        spare: &mut [u8],
        micros: u64,
    ) -> Result<usize, DropReason> {
        let spare = spare.get_mut(..packet.len()).ok_or(DropReason::TooLong)?;
        spare.copy_from_slice(packet);
        let mut left = unprotect(&mut self.receive, kind, packet, spare);
        match self.previous.as_deref_mut() {
            Some(previous) if micros < previous.until_micros => {
                if left == Err(Fault::Unauthentic) {
                    packet.copy_from_slice(spare);
                    left = unprotect(&mut previous.receive, kind, packet, spare);
                }
            }
            _ => self.previous = None,
        }
        left.map_err(|fault| reason(fault, kind))
    }

    /// Protects the packet in the first `length` bytes of `buffer`; its length then.
    #[inline]
    pub(super) fn protect(
        &mut self,
        kind: Kind,
        buffer: &mut [u8],
        length: usize,
    ) -> Result<usize, DropReason> {
        let longer = match kind {
            Kind::Rtp => self.send.protect(buffer, length),
            Kind::Rtcp => self.send.protect_rtcp(buffer, length),
        };
        longer.map_err(|fault| reason(fault, kind))
    }
}

#[inline]
fn unprotect(
    receiver: &mut Receiver,
    kind: Kind,
    packet: &mut [u8],
    spare: &mut [u8],
) -> Result<usize, Fault> {
    match kind {
        Kind::Rtp => receiver.unprotect(packet, spare),
        Kind::Rtcp => receiver.unprotect_rtcp(packet),
    }
}

const fn reason(fault: Fault, kind: Kind) -> DropReason {
    match (fault, kind) {
        (Fault::Malformed, Kind::Rtp) => DropReason::NotRtp,
        (Fault::Malformed, Kind::Rtcp) => DropReason::Rtcp,
        (Fault::Unauthentic, _) => DropReason::SrtpAuth,
        (Fault::Replayed, _) => DropReason::SrtpReplay,
        (Fault::Exhausted, _) => DropReason::SrtpLimit,
    }
}
