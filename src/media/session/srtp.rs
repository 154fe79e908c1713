//! SRTP by keys in the descriptions (RFC 4568), each leg by itself: which key of ours a leg's other
//! end is given, and which of its own is taken. Each end's line holds the key that it sends by.

use super::{Context, Session};
use crate::domain::Side;
use crate::domain::srtp::{Srtp, Suite};
use crate::media::exchange::{Agreed, Exchange, Given, Remote};
use crate::media::flow::Crypto;
use crate::media::settings::Settings;
use crate::rtp::srtp::{MAX_MASTER, MasterKey};
use crate::sdp::shape::Place;
use crate::sdp::{Crypto as Line, Media, Protocol, Shape, crypto};
use smallvec::{SmallVec, smallvec};
use zeroize::Zeroizing;

/// The suites that are offered, in order: first the one that everybody has (RFC 4568 §6.2), as some
/// read but the first line. Those with short tags are taken where they are offered.
const OFFERED: [Suite; 4] = [
    Suite::Cm128Sha1_80,
    Suite::Gcm256,
    Suite::Gcm128,
    Suite::Cm256Sha1_80,
];
/// Keys that are drawn until one can be written without what the guard could take for a number.
const DRAWS: usize = 16;

impl Session {
    /// What the trunk of this leg says of SRTP. A leg that has it keeps it, whatever a reload says.
    pub(super) fn srtp_of(&self, side: Side, settings: &Settings) -> Srtp {
        let trunk = self.legs.of(side).trunk;
        let rules = trunk.and_then(|trunk| settings.trunk(trunk));
        let has_it = || self.in_force(side).is_some_and(|now| now.srtp.is_some());
        match rules.map_or(Srtp::None, |rules| rules.srtp) {
            Srtp::None if has_it() => Srtp::Offered,
            srtp => srtp,
        }
    }

    /// Whether this leg may become a fax: UDPTL has nothing of SRTP.
    pub(super) fn may_fax(&self, side: Side, settings: &Settings) -> bool {
        self.srtp_of(side, settings) != Srtp::Required
    }

    /// Keeps through a fax what its leg had, so that the voice comes back as it was: by the keys and
    /// the counts of before, and never in the clear.
    fn keep(&self, side: Side, remote: &mut Remote) {
        if let Some(before) = self.in_force(side) {
            remote.protocol = before.protocol;
            remote.srtp.clone_from(&before.srtp);
        }
    }

    /// Takes the first line of an offer, if its trunk has SRTP at all, and finds the key that the
    /// answer will give.
    ///
    /// Our key stays while suite and host do: what is on its way is under it. Another host is another
    /// receiver, which has not counted our packets.
    pub(super) fn take_offered(
        &self,
        from: Side,
        media: &Media<'_>,
        remote: &mut Remote,
        context: &mut Context<'_>,
    ) {
        if media.is_fax() {
            return self.keep(from, remote);
        }
        let line = media.crypto.first();
        let Some(line) = line.filter(|_| self.srtp_of(from, context.settings) != Srtp::None) else {
            return;
        };
        let Some(receive) = key_of(line) else {
            return;
        };
        let own = self
            .in_force(from)
            .filter(|before| is_same_host(before, remote))
            .and_then(|before| before.srtp.as_ref())
            .map(|agreed| &agreed.keys.send)
            .filter(|own| own.suite() == line.suite);
        let send = own
            .cloned()
            .unwrap_or_else(|| draw(line.suite, context.random));
        remote.srtp = Some(Box::new(Agreed {
            tag: line.tag,
            keys: Crypto { send, receive },
        }));
    }

    /// What an offer to this leg says of SRTP: its profile, made of the one of the offer that is
    /// passed on, and our keys. A leg that is up is offered what it has.
    pub(super) fn give(
        &self,
        to: Side,
        shape: &Shape,
        context: &mut Context<'_>,
    ) -> (Protocol, SmallVec<[Given; 1]>) {
        let protocol = shape.protocol();
        if shape.is_fax() {
            return (protocol, SmallVec::new());
        }
        let policy = self.srtp_of(to, context.settings);
        if let Some(before) = self.in_force(to) {
            let protocol = protocol.with_security(before.protocol.is_secure());
            match &before.srtp {
                Some(agreed) => return (protocol, smallvec![given(agreed)]),
                None if policy != Srtp::Required => {
                    return (protocol.with_security(false), SmallVec::new());
                }
                None => {}
            }
        }
        let protocol = protocol.with_security(policy == Srtp::Required);
        if policy == Srtp::None {
            return (protocol, SmallVec::new());
        }
        let one = |(suite, tag): (Suite, u32)| Given {
            tag,
            key: draw(suite, context.random),
        };
        (protocol, OFFERED.into_iter().zip(1..).map(one).collect())
    }

    /// Takes the line that an answer chose of those that were given. `false` where the answer is none:
    /// SRTP without a key, or plain RTP where the trunk requires more.
    pub(super) fn take_answered(
        &self,
        from: Side,
        exchange: &Exchange,
        media: &Media<'_>,
        remote: &mut Remote,
        settings: &Settings,
    ) -> bool {
        if media.is_fax() {
            self.keep(from, remote);
            return true;
        }
        if remote.place == Place::Off {
            return true;
        }
        let chosen = media.crypto.iter().find_map(|line| {
            let fits = |own: &&Given| own.tag == line.tag && own.key.suite() == line.suite;
            let own = exchange.given.iter().find(fits)?;
            Some(Agreed {
                tag: line.tag,
                keys: Crypto {
                    send: own.key.clone(),
                    receive: key_of(line)?,
                },
            })
        });
        let found = chosen.is_some();
        remote.srtp = chosen.map(Box::new);
        found
            || !(remote.protocol.is_secure()
                || exchange.protocol.is_secure()
                || self.srtp_of(from, settings) == Srtp::Required)
    }
}

/// Our side of what was agreed.
pub(super) fn given(agreed: &Agreed) -> Given {
    Given {
        tag: agreed.tag,
        key: agreed.keys.send.clone(),
    }
}

fn is_same_host(before: &Remote, now: &Remote) -> bool {
    match (before.place, now.place) {
        (Place::At(before, _), Place::At(now, _)) => before.ip() == now.ip(),
        // On hold: it is not said where to, so it is where it was.
        _ => true,
    }
}

fn key_of(line: &Line<'_>) -> Option<MasterKey> {
    MasterKey::new(line.suite, &line.key_and_salt()?)
}

/// A new key of ours.
fn draw(suite: Suite, random: &mut dyn FnMut() -> u64) -> MasterKey {
    let mut bytes = Zeroizing::new([0; MAX_MASTER]);
    for _ in 0..DRAWS {
        for chunk in bytes.chunks_mut(8) {
            for (to, from) in chunk.iter_mut().zip(random().to_le_bytes()) {
                *to = from;
            }
        }
        let written = bytes.get(..suite.master_length()).unwrap_or_default();
        if crypto::spells_no_number(written) {
            break;
        }
    }
    MasterKey::made(suite, &bytes)
}
