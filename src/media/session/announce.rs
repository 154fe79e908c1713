//! Recordings in a session: one instead of a call, and the credit warning in a call that is up.

use super::describe::{advertised, is_acceptable};
use super::install::source_rule;
use super::{Context, Output, Session, State};
use crate::call::event::{Announcement, MediaEvent};
use crate::domain::TrunkId;
use crate::domain::srtp::Srtp;
use crate::media::exchange::Remote;
use crate::media::flow::{Content, Encoding, End, Flow, Manner, Play, PortPair, SourceRule};
use crate::media::recording::Recording;
use crate::media::settings::{Settings, Trunk};
use crate::sdp::rewrite::Announcement as Answer;
use crate::sdp::shape::Place;
use crate::sdp::{self, Description, Media, Shape};
use bytes::Bytes;
use smallvec::SmallVec;
use std::sync::Arc;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The metrics' label of the warning.
const WARNING: &str = "credit_warning";

/// What is played to whom.
struct Choice<'a> {
    recording: &'a Arc<Recording>,
    encoding: Encoding,
    payload_type: u8,
    remote: Remote,
}

impl Session {
    /// Begins a recording instead of a call, or says that it cannot be.
    pub(super) fn announce(
        &mut self,
        trunk: TrunkId,
        offer: &[u8],
        which: Announcement,
        context: &mut Context<'_>,
    ) {
        let (event, count) = match self.try_announce(trunk, offer, which, context) {
            Some(answer) => (MediaEvent::Announcing(answer), "announcements"),
            None => (MediaEvent::Unannounced, "announcements_refused"),
        };
        self.count(count, which.name());
        self.outputs.push_back(Output::Event(event));
    }

    fn try_announce(
        &mut self,
        trunk: TrunkId,
        offer: &[u8],
        which: Announcement,
        context: &mut Context<'_>,
    ) -> Option<Bytes> {
        let settings = context.settings;
        let rules = settings.trunk(trunk)?;
        let recording = settings.recordings.of(which)?;
        if !is_acceptable(offer, rules, settings) {
            return None;
        }
        let description = sdp::parse(offer).ok()?;
        // A recording is played as plain RTP, so not to a trunk that takes nothing but SRTP, nor in
        // answer to an offer of nothing else.
        let srtp = match rules.srtp {
            Srtp::None | Srtp::Offered => Srtp::None,
            Srtp::Required => return None,
        };
        let shape = Shape::of_offer(&description, srtp)?;
        let media = shape.audio_of(&description)?;
        let peer = self.legs.caller.peer;
        let remote = Remote::read(&description, media, false, xxh3_64(offer), peer)?;
        let choice = choose(&description, media, (rules, recording), remote)?;
        let taken = context.ports.take_alone(rules.network, context.bind)?;
        self.legs.caller.trunk = Some(trunk);
        self.legs.caller.ports = Some(taken);
        self.state = State::Announcing;
        let answer = Answer {
            address: advertised(settings, taken)?,
            port: taken.pair.rtp,
            session: self.legs.caller.session,
            shape: &shape,
            payload_type: choice.payload_type,
            codec: choice.encoding.name(),
        };
        let answer = answer.answer()?;
        let flow = self.announcement(&choice, taken.pair, settings);
        self.installed = true;
        self.outputs
            .push_back(Output::Install(self.flow, Box::new(flow)));
        Some(answer.into())
    }

    /// The flow of a caller who only listens; there is nobody on the other side.
    fn announcement(&self, choice: &Choice<'_>, ports: PortPair, settings: &Settings) -> Flow {
        let remote = &choice.remote;
        let rule = source_rule(&self.legs.caller, remote, settings);
        let nobody = Remote {
            place: Place::Off,
            ..remote.clone()
        };
        // Numbers that nobody can foresee (RFC 3550 §5.1).
        let bytes = self.random.to_be_bytes();
        let [first, second] = [1, 2].map(|seed| xxh3_64_with_seed(&bytes, seed));
        let play = Play {
            id: 0,
            recording: Arc::clone(choice.recording),
            manner: Manner::Alone {
                payload_type: choice.payload_type,
                encoding: choice.encoding,
                ssrc: low(first),
                sequence: u16::try_from(first >> 48).unwrap_or(0),
                timestamp: low(second),
            },
        };
        Flow {
            caller: remote.end(ports, rule, &nobody),
            callee: End {
                ports: PortPair::none(ports.address),
                rtp: None,
                rtcp: None,
                rtcp_mux: false,
                source: SourceRule::Nobody,
                may_send: false,
                crypto: None,
            },
            clock_rates: Box::new([0; 128]),
            cname: self.cname.clone(),
            extensions: Vec::new(),
            content: Content::default(),
            silence: None,
            play: Some(Box::new(play)),
        }
    }

    /// Lets the caller hear that credit is about to end, where there is a way to, or stops that.
    pub(super) fn warn(&mut self, warn: bool, context: &Context<'_>) {
        if warn == self.warning.is_some() {
            return;
        }
        if !warn {
            return self.warning_over(context);
        }
        self.warnings = self.warnings.wrapping_add(1);
        self.warning = Some(self.warnings);
        // A caller who has not described itself yet hears it from then on.
        let flow = self.flow(context.settings);
        let heard = flow.is_none_or(|flow| flow.plays());
        if heard {
            self.count("announcements", WARNING);
            self.install(context);
        } else {
            self.warning = None;
            self.count("announcements_refused", WARNING);
        }
    }

    /// The warning is over: the flow is as it was.
    pub(super) fn warning_over(&mut self, context: &Context<'_>) {
        if self.warning.take().is_some() {
            self.install(context);
        }
    }

    /// The warning that a flow between the two is to carry: over the codecs that both have.
    pub(super) fn warning(
        &self,
        caller: &Remote,
        callee: &Remote,
        settings: &Settings,
    ) -> Option<Box<Play>> {
        let id = self.warning?;
        let recording = settings.recordings.credit_warning.as_ref()?;
        let heard = |(_, encoding): &&(u8, Encoding)| {
            let both = callee.voices.iter().any(|(_, other)| other == encoding);
            both && !recording.codes(*encoding).is_empty()
        };
        let codecs: SmallVec<[(u8, Encoding); 4]> =
            caller.voices.iter().filter(heard).copied().collect();
        (!codecs.is_empty()).then(|| {
            Box::new(Play {
                id,
                recording: Arc::clone(recording),
                manner: Manner::Over(codecs),
            })
        })
    }

    fn count(&mut self, name: &'static str, label: &'static str) {
        self.outputs.push_back(Output::Count(name, label));
    }
}

/// The caller's first codec that the trunk may use and the recording is there for, where the caller
/// listens at all.
fn choose<'a>(
    description: &Description<'_>,
    media: &Media<'_>,
    (rules, recording): (&Trunk, &'a Arc<Recording>),
    remote: Remote,
) -> Option<Choice<'a>> {
    let listens = sdp::rewrite::direction(description, media, false).receives();
    if !listens || !matches!(remote.place, Place::At(..)) {
        return None;
    }
    let played = |number: u8| {
        let codec = media.codec(number)?;
        let encoding = Encoding::named(codec.name, codec.clock)?;
        let fits = codec.channels.is_none_or(|channels| channels == 1)
            && rules.codecs.allows(Some(&codec))
            && !recording.codes(encoding).is_empty();
        fits.then_some((number, encoding))
    };
    let (payload_type, encoding) = media.payload_types().find_map(played)?;
    Some(Choice {
        recording,
        encoding,
        payload_type,
        remote,
    })
}

fn low(random: u64) -> u32 {
    u32::try_from(random & 0xffff_ffff).unwrap_or(0)
}
