//! `[[trunk]]`: the carriers (sip-bridging 1).

use super::digest::{self, Digest};
use super::identity::{IdentityPolicy, POLICY};
use super::reader::{Found, Section, Value};
use super::sip::{TRANSPORTS, Transport, parse_host_port};
use super::tls::TrunkTls;
use super::value::{Cidr, boolean, cidr, duration, integer, name, word};
use crate::domain::srtp::Srtp;
use std::time::Duration;

/// Which way calls go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It brings calls.
    Inbound,
    /// It is given calls.
    Outbound,
    /// Both.
    Both,
}

impl Direction {
    /// Whether it brings calls.
    #[must_use]
    pub fn brings(self) -> bool {
        self != Self::Outbound
    }

    /// Whether it is given calls.
    #[must_use]
    pub fn takes(self) -> bool {
        self != Self::Inbound
    }
}

/// How numbers are written on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NumberForm {
    /// `+60123456789`
    PlusE164,
    /// `60123456789`
    E164,
    /// By `numbering.default_country`.
    National,
    /// A technical prefix before E.164 digits of which `strip` leading ones are left out.
    Prefix {
        /// The prefix, 1 to 15 digits, `*` or `#`.
        prefix: String,
        /// Digits left out.
        strip: u8,
    },
}

/// Who may send media (sip-bridging 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaSource {
    /// The described address and port alone.
    AddressAndPort,
    /// Any port of the described address.
    Address,
    /// The first source after a description that is the SIP peer or within `media_prefixes`.
    Latch,
}

/// Reliable provisional responses on a trunk's legs (RFC 3262).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reliability {
    /// Never.
    Off,
    /// Where the other end wants them.
    Supported,
    /// Always.
    Required,
}

/// What the callee of a single lease sees (sip-bridging 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SingleCallerId {
    /// The caller's number.
    Pass,
    /// The leased number.
    Leased,
}

pub(super) const SINGLE_CALLER_ID: &[(&str, SingleCallerId)] = &[
    ("pass", SingleCallerId::Pass),
    ("leased", SingleCallerId::Leased),
];

/// Where an outbound trunk's requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrunkTarget {
    /// Host as it stands in Request-URI and To; an IPv6 address in brackets.
    pub host: String,
    /// Port; without one the DNS says it (RFC 3263 §4.2).
    pub port: Option<u16>,
    /// Transport; without one the DNS says it (RFC 3263 §4.1).
    pub transport: Option<Transport>,
    /// A `sips:` URI: TLS on every hop (RFC 5630).
    pub secure: bool,
}

/// One of `[[trunk]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Trunk {
    /// Its name, in logs, metrics and records.
    pub name: String,
    /// Which way calls go.
    pub direction: Direction,
    /// Where its requests come from.
    pub sources: Vec<Cidr>,
    /// Where its requests go; outbound only.
    pub target: Option<TrunkTarget>,
    /// How numbers are written.
    pub numbers: NumberForm,
    /// Its P-Asserted-Identity is believed, and it is given ours.
    pub trusted: bool,
    /// Calls at once; 0 = no cap.
    pub max_calls: u32,
    /// New calls a second; 0 = no cap.
    pub max_cps: u32,
    /// Lower goes first.
    pub priority: u16,
    /// Share among trunks of one priority.
    pub weight: u16,
    /// How often it is asked whether it lives; zero = never.
    pub options_interval: Duration,
    /// Longest rest that its Retry-After may ask for.
    pub max_retry_after: Duration,
    /// Its own ring timeout.
    pub ring_timeout: Option<Duration>,
    /// Its own `sip.session_expires`.
    pub session_expires: Option<Duration>,
    /// Media before the answer is passed on.
    pub early_media: bool,
    /// Whether provisional responses are acknowledged.
    pub reliable_provisionals: Reliability,
    /// Its own `calls.single_caller_id`.
    pub single_caller_id: Option<SingleCallerId>,
    /// Numbers that count as emergency numbers when dialled here, beside `numbering.emergency`.
    pub emergency: Vec<String>,
    /// Who may send media.
    pub media_source: MediaSource,
    /// Where a latched source may be, beside the SIP peer.
    pub media_prefixes: Vec<Cidr>,
    /// The network of its media, by name; `None`: the one of `[media]` itself.
    pub media_network: Option<String>,
    /// TLS with it.
    pub tls: TrunkTls,
    /// Codecs that may be used, in order of preference; empty: all, as offered.
    pub codecs: Vec<String>,
    /// SRTP on its legs.
    pub srtp: Srtp,
    /// Keys for SRTP may be said over transports that anybody on the way can read.
    pub insecure_srtp: bool,
    /// Digest authentication, both ways.
    pub digest: Digest,
    /// Its own `identity.policy`.
    pub identity: Option<IdentityPolicy>,
    /// INVITEs to it are signed, where `identity.sign` says by whom.
    pub sign: bool,
}

pub(super) fn read(root: &Section<'_>) -> Vec<Trunk> {
    let mut trunks: Vec<Trunk> = Vec::new();
    for section in root.sections("trunk", "name") {
        refuse_later(&section);
        let Some(trunk) = one(&section) else { continue };
        if trunks.iter().any(|other| other.name == trunk.name) {
            section.fault("name", "another trunk has this name already");
        }
        if trunk.direction.brings() {
            shared_sources(&section, &trunk, &trunks);
        }
        trunks.push(trunk);
    }
    trunks
}

const DIRECTIONS: &[(&str, Direction)] = &[
    ("inbound", Direction::Inbound),
    ("outbound", Direction::Outbound),
    ("both", Direction::Both),
];

const RELIABILITY: &[(&str, Reliability)] = &[
    ("supported", Reliability::Supported),
    ("required", Reliability::Required),
    ("off", Reliability::Off),
];

const SRTP: &[(&str, Srtp)] = &[
    ("none", Srtp::None),
    ("offered", Srtp::Offered),
    ("required", Srtp::Required),
];

fn one(section: &Section<'_>) -> Option<Trunk> {
    let name = section.require("name", "the trunk's name", name);
    let direction = section.require(
        "direction",
        "\"inbound\", \"outbound\" or \"both\"",
        word(DIRECTIONS),
    );
    let sources = section.read_list("sources", cidr);
    let transport = section.read("transport", word(TRANSPORTS));
    let target = section.read("target", |value| target(value, transport));
    one_transport(section, transport);
    let by_tls = target.as_ref().and_then(|to| by_tls(section, to));
    let tls = super::tls::trunk(&section.section("tls"), by_tls);
    if let Some(direction) = direction {
        reach(section, direction, sources.as_deref());
        one_way(section, direction);
    }
    // All of it is read, so that all of its faults are told at once.
    let sound = name.is_some() && direction.is_some();
    let trunk = Trunk {
        name: name.unwrap_or_default(),
        direction: direction.unwrap_or(Direction::Both),
        sources: sources.unwrap_or_default(),
        target,
        numbers: section
            .read("numbers", number_form)
            .unwrap_or(NumberForm::PlusE164),
        trusted: section.read("trusted", boolean).unwrap_or(false),
        max_calls: section.read("max_calls", integer(0, u32::MAX)).unwrap_or(0),
        max_cps: section.read("max_cps", integer(0, u32::MAX)).unwrap_or(0),
        priority: section.read("priority", integer(0, u16::MAX)).unwrap_or(1),
        weight: section.read("weight", integer(1, u16::MAX)).unwrap_or(1),
        options_interval: section
            .read(
                "options_interval",
                duration(Duration::ZERO, seconds(86_400)),
            )
            .unwrap_or(seconds(30)),
        max_retry_after: section
            .read("max_retry_after", duration(Duration::ZERO, seconds(30)))
            .unwrap_or(seconds(30)),
        ring_timeout: section.read("ring_timeout", duration(seconds(1), seconds(3_600))),
        session_expires: section.read("session_expires", super::sip::interval),
        early_media: section
            .read("early_media", word(&[("pass", true), ("block", false)]))
            .unwrap_or(true),
        reliable_provisionals: section
            .read("reliable_provisionals", word(RELIABILITY))
            .unwrap_or(Reliability::Supported),
        single_caller_id: section.read("single_caller_id", word(SINGLE_CALLER_ID)),
        emergency: section
            .read_list("emergency", emergency)
            .unwrap_or_default(),
        media_source: media_source(section),
        media_prefixes: section
            .read_list("media_prefixes", cidr)
            .unwrap_or_default(),
        media_network: section.read("media_network", super::value::name),
        tls,
        codecs: section.read_list("codecs", codec).unwrap_or_default(),
        srtp: section.read("srtp", word(SRTP)).unwrap_or_default(),
        insecure_srtp: section.read("insecure_srtp", boolean).unwrap_or(false),
        digest: digest::read(section, direction.is_none_or(Direction::brings)),
        identity: section.read("identity", word(POLICY)),
        sign: section.read("sign", boolean).unwrap_or(true),
    };
    sound.then_some(trunk)
}

/// The host of a target that may be called by TLS. Without a transport the DNS may say so: then
/// what is said of TLS here counts.
fn by_tls(section: &Section<'_>, target: &TrunkTarget) -> Option<String> {
    let may = match target.transport {
        Some(transport) => transport == Transport::Tls,
        None => section.has("tls"),
    };
    may.then(|| target.host.clone())
}

/// An inbound trunk needs sources, an outbound one a target, and neither the other's.
fn reach(section: &Section<'_>, direction: Direction, sources: Option<&[Cidr]>) {
    if direction.brings() {
        if sources.is_none() && !section.has("sources") {
            section.fault(
                "sources",
                "missing: a trunk that brings calls needs their addresses",
            );
        }
        if sources.is_some_and(<[Cidr]>::is_empty) {
            section.fault("sources", "expected at least one address or block");
        }
    } else {
        section.refuse(
            "sources",
            "an outbound trunk has none; direction \"both\" was meant?",
        );
    }
    if direction.takes() {
        if !section.has("target") {
            section.fault(
                "target",
                "missing: a trunk that is given calls needs a target",
            );
        }
    } else {
        section.refuse(
            "target",
            "an inbound trunk has none; direction \"both\" was meant?",
        );
        for key in ["priority", "weight", "options_interval", "max_retry_after"] {
            section.refuse(key, "only a trunk that is given calls has one");
        }
    }
}

/// What has a meaning in one direction alone is refused on a trunk of the other.
fn one_way(section: &Section<'_>, direction: Direction) {
    if !direction.takes() {
        for key in ["ring_timeout", "sign"] {
            section.refuse(key, "only a trunk that is given calls has one");
        }
    }
    if !direction.brings() {
        section.refuse("identity", "only a trunk that brings calls has one");
        let tls = section.section("tls");
        if tls.read("require_client_cert", boolean) == Some(true) {
            let message = "only a trunk that brings calls is asked for a certificate";
            tls.fault("require_client_cert", message);
        }
    }
}

/// A target that names its transport is not overruled; one that says otherwise is a mistake.
fn one_transport(section: &Section<'_>, transport: Option<Transport>) {
    let Some(transport) = transport else { return };
    let Some(value) = section.value("target") else {
        return;
    };
    let own = value.text().and_then(|text| text.split_once(";transport="));
    if let Some((_, own)) = own
        && own != transport.name()
    {
        let message = format!("\"{}\", and the target says \"{own}\"", transport.name());
        section.fault("transport", message);
    }
}

/// Two inbound trunks with one and the same block: nobody could say whose a call is. (Where blocks
/// overlap otherwise, the longer prefix wins.)
fn shared_sources(section: &Section<'_>, trunk: &Trunk, before: &[Trunk]) {
    for source in &trunk.sources {
        let other = before
            .iter()
            .find(|other| other.direction.brings() && other.sources.contains(source));
        if let Some(other) = other {
            let message = format!("trunk \"{}\" has {source} already", other.name);
            section.fault("sources", message);
        }
    }
}

fn media_source(section: &Section<'_>) -> MediaSource {
    let rule = section
        .read(
            "media_source",
            word(&[
                ("address+port", MediaSource::AddressAndPort),
                ("address", MediaSource::Address),
                ("latch", MediaSource::Latch),
            ]),
        )
        .unwrap_or(MediaSource::AddressAndPort);
    if rule != MediaSource::Latch {
        section.refuse("media_prefixes", "only goes with media_source = \"latch\"");
    }
    rule
}

/// The URI's own transport goes before the trunk's; a `sips:` URI is TLS whatever it says of TCP (RFC
/// 3261 §26.2.2).
fn target(value: &Value<'_>, transport: Option<Transport>) -> Result<TrunkTarget, String> {
    let wrong = || "a SIP URI (\"sip:192.0.2.10:5060;transport=udp\")".to_owned();
    let text = value.text().ok_or_else(wrong)?;
    let secure = text.starts_with("sips:");
    let rest = text
        .strip_prefix("sip:")
        .or_else(|| text.strip_prefix("sips:"))
        .ok_or_else(wrong)?;
    let (host_port, parameters) = match rest.split_once(';') {
        Some((host_port, parameters)) => (host_port, Some(parameters)),
        None => (rest, None),
    };
    let own = match parameters {
        None => None,
        Some(parameters) => {
            let named = parameters.strip_prefix("transport=").ok_or_else(wrong)?;
            let found = TRANSPORTS.iter().find(|(name, _)| *name == named);
            Some(found.ok_or_else(wrong)?.1)
        }
    };
    let asked = own.or(transport);
    if secure && asked == Some(Transport::Udp) {
        return Err("a \"sip:\" URI, or another transport: \"sips:\" is TLS".to_owned());
    }
    let transport = if secure { Some(Transport::Tls) } else { asked };
    let (host, port) = parse_host_port(host_port).ok_or_else(wrong)?;
    Ok(TrunkTarget {
        host: host.to_owned(),
        port,
        transport,
        secure,
    })
}

fn number_form(value: &Value<'_>) -> Result<NumberForm, String> {
    let wrong =
        || "\"+e164\", \"e164\", \"national\" or { prefix = \"9991\", strip = 0 }".to_owned();
    match &value.found {
        Found::Text(text) => match text.as_ref() {
            "+e164" => Ok(NumberForm::PlusE164),
            "e164" => Ok(NumberForm::E164),
            "national" => Ok(NumberForm::National),
            _ => Err(wrong()),
        },
        Found::Table(table) => {
            if table
                .keys()
                .any(|key| !matches!(key.get_ref().as_ref(), "prefix" | "strip"))
            {
                return Err(wrong());
            }
            let prefix = table
                .get("prefix")
                .and_then(|value| value.get_ref().as_str())
                .filter(|text| (1..=15).contains(&text.len()))
                .filter(|text| text.chars().all(|c| c.is_ascii_digit() || "*#".contains(c)))
                .ok_or_else(wrong)?;
            let strip = match table.get("strip") {
                None => 0,
                Some(value) => value
                    .get_ref()
                    .as_integer()
                    .and_then(|digits| digits.as_str().parse::<u8>().ok())
                    .filter(|strip| *strip <= 14)
                    .ok_or_else(wrong)?,
            };
            Ok(NumberForm::Prefix {
                prefix: prefix.to_owned(),
                strip,
            })
        }
        _ => Err(wrong()),
    }
}

/// An emergency number as it is dialled.
pub(super) fn emergency(value: &Value<'_>) -> Result<String, String> {
    value
        .text()
        .filter(|text| (2..=15).contains(&text.len()))
        .filter(|text| text.chars().all(|c| c.is_ascii_digit()))
        .map(str::to_owned)
        .ok_or_else(|| "an emergency number as it is dialled, 2 to 15 digits (\"112\")".to_owned())
}

/// An encoding name as in `a=rtpmap` (RFC 4855), with or without its clock rate.
fn codec(value: &Value<'_>) -> Result<String, String> {
    value
        .text()
        .filter(|text| (1..=40).contains(&text.len()))
        .filter(|text| {
            let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
            text.chars().all(good)
        })
        .map(str::to_owned)
        .ok_or_else(|| "a codec's name (\"PCMA\", \"opus\", \"telephone-event\")".to_owned())
}

/// What the format knows and this version does not do.
fn refuse_later(section: &Section<'_>) {
    if section.read("nat", boolean) == Some(true) {
        let why = "is not in this version: media_source = \"latch\" does its part for media";
        section.fault("nat", why);
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
