//! Between the gateway and the telephones.

use super::super::chance::Chance;
use super::super::checks::wire::is_caller_side;
use super::super::node::{GATEWAY, addr, path};
use super::super::phone::{CallerPlan, Sound, srtp};
use super::super::{plan, text};
use super::{Checked, Event, World};
use bytes::Bytes;
use std::net::SocketAddr;
use std::time::Duration;

/// How often telephones send sound.
const SOUND: Duration = Duration::from_millis(700);

impl World {
    /// Somebody dials, mostly a number that is leased.
    pub(super) fn call(&mut self, mut plan: CallerPlan) {
        self.summary.count("calls");
        let leased = self.answers.leased(self.now().wall);
        let choice = usize::try_from(self.chance.below(leased.len().max(1) as u64)).unwrap();
        let dialled = match leased.get(choice) {
            Some((number, caller)) if self.chance.percent(85) => {
                if let Some(caller) = caller
                    && self.chance.percent(85)
                {
                    plan.number.clone_from(caller);
                }
                format!("+{number}")
            }
            _ => format!("+{}", plan::pool_number(&mut self.chance)),
        };
        self.phones[0].call(addr(GATEWAY), &dialled, plan, self.now);
    }

    pub(super) fn deliver(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        let now = self.now();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if self.loud {
            println!("{:9.3} {from} -> {to} {}", self.seconds(), heading(&text));
        }
        if to != addr(GATEWAY) {
            if let Some(phones) = self.phones.iter_mut().find(|phones| phones.address == to) {
                phones.receive(from, &text, &mut self.chance, now.mono);
            }
            return;
        }
        let Some(node) = &mut self.node else { return };
        if self.weather.wild && self.chance.percent(20) {
            let bytes = mangled(&bytes, &mut self.chance);
            node.hear(
                bytes,
                path(from, self.weather.reliable),
                self.overloaded,
                now,
            );
        }
        let caller = is_caller_side(from);
        self.wire.received(&text, caller, self.now);
        let invite = text.starts_with("INVITE") && text::tag(text::header(&text, "To")).is_empty();
        // Who must prove a password and does not makes no call.
        let proven = !self.weather.proves || !text::header(&text, "Authorization").is_empty();
        if caller && invite && proven && !self.draining && !self.overloaded {
            let id = text::header(&text, "Call-ID").to_owned();
            self.invites.entry(id).or_default();
        }
        node.hear(
            bytes,
            path(from, self.weather.reliable),
            self.overloaded,
            now,
        );
    }

    /// Everybody who is up sends what sound there is, and strangers try to be heard.
    pub(super) fn sound(&mut self) -> Checked {
        if let Some(node) = &self.node {
            node.relay.advance(self.now.duration_since(self.origin));
        }
        for side in 0..self.phones.len() {
            for sound in self.phones[side].sounds() {
                self.hear_sound(side, &sound)?;
            }
        }
        let busy = self
            .node
            .as_ref()
            .is_some_and(|node| node.relay.flows() > 0);
        if busy || self.now < self.planned_until {
            self.at(self.now + SOUND, Event::Sound);
        }
        Ok(())
    }

    pub(super) fn hear_sound(&mut self, side: usize, sound: &Sound) -> Checked {
        let Some(node) = &self.node else {
            return Ok(());
        };
        if sound.from.is_ipv4() != sound.to.is_ipv4() {
            return Err(format!("{} was told to send to {}", sound.id, sound.to));
        }
        let stranger = match sound.to {
            SocketAddr::V4(_) => addr("10.9.0.1:4000"),
            SocketAddr::V6(_) => addr("[fd00:9::1]:4000"),
        };
        if node
            .relay
            .deliver(&sound.sent[0], stranger, sound.to)
            .is_some()
        {
            return Err("a stranger's sound was passed on".to_owned());
        }
        let up = SocketAddr::new(sound.to.ip(), sound.to.port() + 1);
        let from = SocketAddr::new(sound.from.ip(), sound.from.port() + 1);
        let sent = [
            node.relay.deliver(&sound.sent[0], sound.from, sound.to),
            node.relay.deliver(&sound.sent[1], from, up),
        ];
        let sent = sent.into_iter().flatten().filter(|_| !self.weather.wild);
        for sent in sent {
            let ours = match side {
                0 => ["10.1.0.", "fd00:1:"],
                1 => ["10.2.0.", "fd00:2:"],
                _ => ["10.3.0.", "fd00:3:"],
            };
            for secret in [sound.number.as_str(), ours[0], ours[1]] {
                if memchr::memmem::find(&sent.bytes, secret.as_bytes()).is_some() {
                    return Err(format!("a packet says {secret}: {:?}", sent.bytes));
                }
            }
            if srtp::has_srtp(sent.to) && sent.bytes.ends_with(&[0xff; 20]) {
                return Err(format!("plain sound went to {}, which has SRTP", sent.to));
            }
            let to_side = self.phones.iter_mut().enumerate();
            let heard = to_side.filter(|(other, _)| (*other == 0) != (side == 0));
            let lines: Vec<String> = heard.filter_map(|(_, p)| p.heard(sent.to)).collect();
            let Some(line) = lines.into_iter().next() else {
                return Err(format!(
                    "sound of {} went to {}, to nobody",
                    sound.id, sent.to
                ));
            };
            let pair = if side == 0 {
                (self.wire.life, sound.id.clone(), line)
            } else {
                (self.wire.life, line, sound.id.clone())
            };
            self.heard.insert(pair);
        }
        Ok(())
    }

    pub(super) fn phones_send(&mut self) {
        for index in 0..self.phones.len() {
            while let Some((to, text)) = self.phones[index].outbox.pop_front() {
                let from = self.phones[index].address;
                self.send(from, to, Bytes::from(text));
            }
        }
    }

    /// Puts a datagram on the network, which may lose, repeat, delay or overtake it.
    pub(super) fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        if self.weather.reliable {
            return self.send_in_order(from, to, bytes);
        }
        if self.chance.percent(self.weather.loss) {
            if self.loud {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                println!("{:9.3} lost: {to} {}", self.seconds(), heading(&text));
            }
            self.summary.count("lost");
            return;
        }
        let copies = 1 + u64::from(self.chance.percent(self.weather.duplication));
        for _ in 0..copies {
            let straggler = self.chance.percent(self.weather.stragglers);
            let longest = if straggler { 3000 } else { self.weather.delay };
            let delay = Duration::from_micros(200 + self.chance.below(longest * 1000));
            let bytes = bytes.clone();
            self.at(self.now + delay, Event::Datagram { from, to, bytes });
        }
    }
}

impl World {
    /// Puts a message on a connection, which delays it and no more.
    fn send_in_order(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        let delay = Duration::from_micros(200 + self.chance.below(self.weather.delay * 1000));
        let before = self.arrivals.get(&(from, to)).copied();
        let earliest = before.map_or(self.now, |before| before + Duration::from_micros(1));
        let at = (self.now + delay).max(earliest);
        self.arrivals.insert((from, to), at);
        self.at(at, Event::Datagram { from, to, bytes });
    }
}

/// What a message is, in a line.
fn heading(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let to = text::tag(text::header(text, "To"));
    let cseq = text::header(text, "CSeq");
    let id = text::header(text, "Call-ID");
    format!("{line} [{cseq}] to {to} of {id}")
}

/// A datagram that something happened to.
fn mangled(bytes: &[u8], chance: &mut Chance) -> Bytes {
    let mut bytes = bytes.to_vec();
    for _ in 0..=chance.below(3) {
        let at = usize::try_from(chance.below(bytes.len() as u64)).unwrap();
        match chance.below(5) {
            0 => bytes.truncate(at + 1),
            1 => bytes[at] ^= 1 << chance.below(8),
            2 => bytes.insert(
                at,
                b"\r\n ;:<>\"@%\0"[usize::try_from(chance.below(11)).unwrap()],
            ),
            3 => drop(bytes.remove(at)),
            _ => {
                let copy = bytes.split_off(at);
                bytes.extend(&copy[..copy.len() / 2]);
                bytes.extend(&copy);
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    Bytes::from(bytes)
}
