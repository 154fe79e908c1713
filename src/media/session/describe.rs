//! Descriptions in, descriptions out: the offers and answers that pass through a session.

use super::{Context, Dialog, Leg, MAX_FORKS, Session, srtp};
use crate::call::event::{Fork, Role};
use crate::domain::Side;
use crate::media::exchange::{Exchange, Given, Remote, Shown};
use crate::media::ports::Taken;
use crate::media::settings::{Network, Settings, Trunk};
use crate::sdp::shape::{Place, place};
use crate::sdp::{self, CodecList, Description, OwnCrypto, Shape, Terms};
use bytes::Bytes;
use smallvec::SmallVec;
use std::net::{IpAddr, SocketAddr};
use xxhash_rust::xxh3::xxh3_64;

impl Session {
    /// What the other side gets; `None` where nothing is to be sent.
    pub(super) fn describe(
        &mut self,
        from: Side,
        fork: Fork,
        role: Role,
        body: &[u8],
        context: &mut Context<'_>,
    ) -> Option<Bytes> {
        let description = sdp::parse(body).ok()?;
        let fingerprint = xxh3_64(body);
        match role {
            Role::Offer => self.offer(from, fork, &description, fingerprint, context),
            Role::Answer | Role::Provisional => {
                self.answer(from, fork, role, &description, fingerprint, context)
            }
        }
    }

    fn offer(
        &mut self,
        from: Side,
        fork: Fork,
        description: &Description<'_>,
        fingerprint: u64,
        context: &mut Context<'_>,
    ) -> Option<Bytes> {
        let shape = Shape::of_offer(description, self.srtp_of(from, context.settings))?;
        let media = shape.audio_of(description)?;
        let peer = self.legs.of(from).peer;
        let mut remote = Remote::read(description, media, media.rtcp_mux, fingerprint, peer)?;
        if !self.is_reached(from, &remote.place, context.settings) {
            return None;
        }
        let ended = remote.place == Place::Off;
        if shape.is_fax() && !ended && !self.may_fax(from.other(), context.settings) {
            return None;
        }
        self.take_offered(from, media, &mut remote, context);
        // Kept where the other leg has it already: an offer without it would end it there.
        let mux_offered = media.rtcp_mux
            || self
                .in_force(from.other())
                .is_some_and(|other| other.rtcp_mux);
        let (protocol, given) = self.give(from.other(), &shape, context);
        let mut exchange = Exchange {
            from,
            fork,
            remote,
            shape,
            mux_offered,
            given,
            protocol,
            sent: Bytes::new(),
            answered: false,
        };
        let written = self.write(description, &exchange, from, mux_offered, context)?;
        exchange.sent = written.clone();
        if !self.started && self.first.is_none() {
            self.first = self.exchange.take();
        }
        self.exchange = Some(Box::new(exchange));
        Some(written)
    }

    fn answer(
        &mut self,
        from: Side,
        fork: Fork,
        role: Role,
        description: &Description<'_>,
        fingerprint: u64,
        context: &mut Context<'_>,
    ) -> Option<Bytes> {
        let exchange = self.exchange.take()?;
        // A call is answered with a voice or not at all; an early description may still change.
        let refused = (from, role) == (Side::Callee, Role::Answer)
            && !exchange
                .shape
                .audio_of(description)
                .is_some_and(|media| exchange.is_taken_by(media));
        let outcome = if refused {
            None
        } else {
            self.answer_to(&exchange, from, fork, description, fingerprint, context)
        };
        let settled = role == Role::Answer && outcome.is_some();
        // Until the call is up the same answer may come again (18x, then 200).
        if !(settled && self.started) {
            self.exchange = Some(exchange);
        }
        if let Some(exchange) = self.exchange.as_deref_mut() {
            exchange.answered |= settled;
        }
        if settled && !self.started && self.first.is_some() {
            self.exchange = self.first.take();
        }
        let written = outcome?;
        if from == Side::Callee && (self.selected.is_none() || settled) {
            self.selected = Some(fork);
        }
        self.install(context);
        Some(written)
    }

    fn answer_to(
        &mut self,
        exchange: &Exchange,
        from: Side,
        fork: Fork,
        description: &Description<'_>,
        fingerprint: u64,
        context: &mut Context<'_>,
    ) -> Option<Bytes> {
        if exchange.from == from {
            return None;
        }
        let media = exchange.shape.audio_of(description)?;
        let mux = media.rtcp_mux && exchange.mux_offered;
        let peer = self.legs.of(from).peer;
        let mut remote = Remote::read(description, media, mux, fingerprint, peer)?;
        if !self.is_reached(from, &remote.place, context.settings) {
            return None;
        }
        if !self.take_answered(from, exchange, media, &mut remote, context.settings) {
            return None;
        }
        if from == Side::Callee && self.dialog(fork).is_none() {
            return None;
        }
        let fork = match from {
            Side::Caller => exchange.fork,
            Side::Callee => fork,
        };
        let agreed = exchange.remote.rtcp_mux;
        let written = self.write_in(description, exchange, from, fork, agreed, context)?;
        self.put_in_force(from, fork, remote);
        self.put_in_force(from.other(), fork, exchange.remote.clone());
        Some(written)
    }

    fn write(
        &mut self,
        description: &Description<'_>,
        exchange: &Exchange,
        from: Side,
        mux: bool,
        context: &Context<'_>,
    ) -> Option<Bytes> {
        self.write_in(description, exchange, from, exchange.fork, mux, context)
    }

    /// What the side other than `from` gets, in the dialog that stands for `fork`.
    fn write_in(
        &mut self,
        description: &Description<'_>,
        exchange: &Exchange,
        from: Side,
        fork: Fork,
        mux: bool,
        context: &Context<'_>,
    ) -> Option<Bytes> {
        let to = self.legs.of(from.other());
        let (ports, _) = to.ports.zip(to.trunk)?;
        let media = exchange.shape.audio_of(description)?;
        let unspecified = place(description, media, false)? == Place::Unspecified;
        let everything = CodecList::default();
        let codecs = |leg: &Leg| {
            let rules = leg.trunk.and_then(|trunk| context.settings.trunk(trunk));
            rules.map_or(&everything, |rules| &rules.codecs)
        };
        let offering = exchange.from == from;
        let answered = exchange.remote.srtp.as_deref().map(srtp::given);
        let given = if offering {
            &exchange.given[..]
        } else {
            answered.as_slice()
        };
        let crypto: SmallVec<[OwnCrypto<'_>; 4]> = given.iter().map(Given::line).collect();
        let mut terms = Terms {
            address: advertised(context.settings, ports)?,
            port: ports.pair.rtp,
            session: to.session,
            version: 0,
            shape: &exchange.shape,
            rtcp_mux: mux,
            unspecified,
            from_codecs: codecs(self.legs.of(from)),
            to_codecs: codecs(to),
            reorder: offering,
            protocol: if offering {
                exchange.protocol
            } else {
                exchange.shape.protocol()
            },
            crypto: &crypto,
        };
        let draft = sdp::rewrite(description, &terms)?;
        let fingerprint = xxh3_64(&draft);
        let shown = match from {
            Side::Caller => &mut self.shown_to_callee,
            Side::Callee => &mut self.dialog(fork)?.shown_to_caller,
        };
        terms.version = shown.version(fingerprint);
        sdp::rewrite(description, &terms).map(Bytes::from)
    }

    /// Whether the network of the describing side's leg can send to what it described.
    fn is_reached(&self, from: Side, place: &Place, settings: &Settings) -> bool {
        let ports = self.legs.of(from).ports;
        let network = ports.and_then(|taken| settings.networks.get(taken.network));
        network.is_some_and(|network| can_be_sent_to(place, network, settings))
    }

    /// The callee's dialog `fork`, made where there is room; `None` where there is none.
    pub(super) fn dialog(&mut self, fork: Fork) -> Option<&mut Dialog> {
        let known = self.dialogs.iter().position(|dialog| dialog.fork == fork);
        let place = match known {
            Some(place) => place,
            None if self.dialogs.len() < MAX_FORKS => {
                self.dialogs.push(Dialog {
                    fork,
                    remote: None,
                    shown_to_caller: Shown::default(),
                });
                self.dialogs.len() - 1
            }
            None => return None,
        };
        self.dialogs.get_mut(place)
    }
}

pub(super) fn advertised(settings: &Settings, taken: Taken) -> Option<IpAddr> {
    settings
        .networks
        .get(taken.network)
        .map(|network: &Network| network.advertised)
}

/// Whether a place is in the reach of a network and no media port of ours, of whatever call: packets
/// would go round for ever, or come to a stranger. One that takes nothing is harmless.
fn can_be_sent_to(place: &Place, network: &Network, settings: &Settings) -> bool {
    let good = |at: SocketAddr| {
        network.reaches(at.ip()) && !settings.networks.iter().any(|own| own.holds(at))
    };
    match place {
        Place::At(rtp, rtcp) => good(*rtp) && good(*rtcp),
        Place::Unspecified | Place::Off => true,
    }
}

/// Whether an offer has audio that can be relayed, in a codec that its trunk may use, at an address
/// that its trunk's network can send to.
pub(super) fn is_acceptable(offer: &[u8], rules: &Trunk, settings: &Settings) -> bool {
    let Some(network) = settings.networks.get(rules.network) else {
        return false;
    };
    let Ok(description) = sdp::parse(offer) else {
        return false;
    };
    let Some(shape) = Shape::of_offer(&description, rules.srtp) else {
        return false;
    };
    // A call begins with a voice; it may become a fax.
    !shape.is_fax()
        && shape.audio_of(&description).is_some_and(|media| {
            let usable = media.payload_types().any(|number| {
                let codec = media.codec(number);
                rules.codecs.allows(codec.as_ref())
                    && !codec.is_some_and(|codec| codec.is_companion())
            });
            let place = place(&description, media, media.rtcp_mux);
            let reached = place.is_some_and(|place| can_be_sent_to(&place, network, settings));
            media.port != 0 && usable && reached
        })
}
