//! Addresses that a side uses, learnt from what it sends: they are protected towards the other
//! side (sip-bridging 4).

use super::core::Core;
use super::settings::Target;
use crate::domain::Side;
use crate::sip::guard::Guard;
use crate::sip::message::{Header, Message, NameAddr, Path, Uri, Via};
use std::net::IpAddr;

/// Most lines of a session description that are looked at.
const MOST_LINES: usize = 256;

/// From a request of `side`.
pub(super) fn learn(guard: &mut Guard, side: Side, message: &Message, path: Path, core: &Core) {
    ip(guard, side, path.remote.ip(), core);
    for via in message.all(Header::Via).filter_map(Via::parse) {
        host(guard, side, via.host, core);
    }
    learn_common(guard, side, message, core);
}

/// From a response of `side`: its Vias are ours.
pub(super) fn learn_response(
    guard: &mut Guard,
    side: Side,
    message: &Message,
    path: Option<Path>,
    core: &Core,
) {
    if let Some(path) = path {
        ip(guard, side, path.remote.ip(), core);
    }
    learn_common(guard, side, message, core);
}

/// Of an outbound trunk that is about to be dialled.
pub(super) fn learn_target(guard: &mut Guard, target: &Target, hop: Option<Path>, core: &Core) {
    if let Some(hop) = hop {
        ip(guard, Side::Callee, hop.remote.ip(), core);
    }
    if let Some(uri) = Uri::parse(&format!("sip:{}", target.host)) {
        host(guard, Side::Callee, uri.host, core);
    }
}

fn learn_common(guard: &mut Guard, side: Side, message: &Message, core: &Core) {
    for header in [Header::Contact, Header::RecordRoute] {
        for value in message.all(header) {
            let uri = NameAddr::parse(value).and_then(|name| Uri::parse(name.uri));
            if let Some(uri) = uri {
                host(guard, side, uri.host, core);
            }
        }
    }
    if !message.body().is_empty() {
        description(guard, side, message.body(), core);
    }
}

/// Addresses of a session description: `o=`, `c=`, `a=rtcp`, `a=candidate` and its like.
fn description(guard: &mut Guard, side: Side, body: &[u8], core: &Core) {
    for line in body.split(|byte| *byte == b'\n').take(MOST_LINES) {
        let candidate = line.starts_with(b"a=candidate") || line.starts_with(b"a=remote-cand");
        let named =
            line.starts_with(b"c=") || line.starts_with(b"o=") || line.starts_with(b"a=rtcp:");
        if !candidate && !named {
            continue;
        }
        let Ok(line) = std::str::from_utf8(line) else {
            continue;
        };
        let mut after_type = false;
        for word in line.trim_end().split(' ') {
            let text = word.split('/').next().unwrap_or_default();
            if after_type {
                host(guard, side, text, core);
            } else if candidate && let Ok(address) = text.parse() {
                ip(guard, side, address, core);
            }
            after_type = matches!(word, "IP4" | "IP6");
        }
    }
}

fn ip(guard: &mut Guard, side: Side, address: IpAddr, core: &Core) {
    if !core.own.has_ip(address) {
        guard.learn_ip(side, address);
    }
}

fn host(guard: &mut Guard, side: Side, host: &str, core: &Core) {
    if !core.own.has_host(host) {
        guard.learn_host(side, host);
    }
}
