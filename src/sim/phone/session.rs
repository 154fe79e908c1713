//! What both ends do once a call is up: hold, resume, hang up, sound.

use super::super::text::{ack_of_failure, body, cseq, header, reply, tag};
use super::{Hold, Phones, State, Timer, Todo, description, srtp};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Sound that a telephone sends now.
pub struct Sound {
    /// Call-ID of its leg.
    pub id: String,
    pub number: String,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub sequence: u16,
    /// An RTP and an RTCP packet as they go out.
    pub sent: [Vec<u8>; 2],
}

impl Phones {
    /// What telephones send now.
    pub fn sounds(&mut self) -> Vec<Sound> {
        let mut sounds = Vec::new();
        for (id, line) in &mut self.lines {
            if line.state != State::Up || line.up.silent {
                continue;
            }
            let Some(to) = line.sound_to else { continue };
            line.sounds += 1;
            let mut sound = Sound {
                id: id.clone(),
                number: line.number.clone(),
                from: line.media,
                to,
                sequence: line.sounds,
                sent: Default::default(),
            };
            let sender = line.sender.take().or_else(|| srtp::sender(line.media));
            line.sender = sender;
            let sender = &mut line.sender;
            let (packet, report) = (sound.packet(), sound.report());
            sound.sent = [
                srtp::protected(sender.as_mut(), packet, false),
                srtp::protected(sender.as_mut(), report, true),
            ];
            sounds.push(sound);
        }
        sounds
    }

    /// Sound arrived: whose line it is.
    pub fn heard(&mut self, at: SocketAddr) -> Option<String> {
        let found = self
            .lines
            .iter()
            .find(|(_, line)| line.media.ip() == at.ip() && line.media.port() / 2 == at.port() / 2);
        let id = found.map(|(id, _)| id.clone());
        self.seen.sounds += u64::from(id.is_some());
        id
    }

    pub(super) fn in_dialog(&mut self, id: &str, method: &str, body: &str, now: Instant) {
        let Some(line) = self.lines.get_mut(id) else {
            return;
        };
        line.sequence += 1;
        if !body.is_empty() {
            body.clone_into(&mut line.described);
        }
        let (sequence, peer) = (line.sequence, line.peer);
        if method == "INVITE" || (method == "UPDATE" && !body.is_empty()) {
            line.reinviting = Some(sequence);
        }
        let Some(line) = self.lines.get(id) else {
            return;
        };
        let text = self.request(id, line, method, sequence, body);
        self.repeat(id, &format!("{method} {sequence}"), peer, text, now);
    }

    /// What a telephone said last of its media.
    pub(super) fn described(&mut self, id: &str, body: &str) {
        if let Some(line) = self.lines.get_mut(id)
            && !body.is_empty()
        {
            body.clone_into(&mut line.described);
        }
    }

    /// A request that a gateway of this kind passes on, refuses or answers by itself.
    pub(super) fn ask_oddly(&mut self, id: &str, now: Instant) {
        let Some(line) = self.lines.get(id) else {
            return;
        };
        let (odd, number) = (line.up.odd, line.number.clone());
        self.seen.odd += 1;
        self.in_dialog(id, odd, "", now);
        let key = (id.to_owned(), format!("{odd} {}", self.lines[id].sequence));
        let Some(repeat) = self.repeats.get_mut(&key) else {
            return;
        };
        let address = self.address;
        let (extra, content) = match odd {
            "INFO" => (
                "Content-Type: application/dtmf-relay\r\n".to_owned(),
                "Signal=5\r\nDuration=160\r\n",
            ),
            "REFER" => (format!("Refer-To: <sip:{number}@{address}>\r\n"), ""),
            _ => (String::new(), ""),
        };
        let end = format!("{extra}Content-Length: {}\r\n\r\n{content}", content.len());
        let text = repeat.text.replacen("Content-Length: 0\r\n\r\n", &end, 1);
        repeat.text.clone_from(&text);
        let to = repeat.to;
        self.outbox.pop_back();
        self.outbox.push_back((to, text));
    }

    pub(super) fn hold(&mut self, id: &str, hold: bool, now: Instant) {
        let Some(line) = self.lines.get(id) else {
            return;
        };
        if line.reinviting.is_some() {
            return self.plan(id, Todo::Hold(hold), now + Duration::from_secs(2));
        }
        let line_updates = line.habit.updates;
        let direction = match (hold, line.up.hold) {
            (false, _) => "sendrecv",
            (true, Hold::SendOnly) => "sendonly",
            (true, Hold::Inactive) => "inactive",
            (true, Hold::ZeroAddress) => "zero",
            (true, Hold::Empty) => "",
        };
        let body = if direction.is_empty() {
            String::new()
        } else {
            description(&line.number, line.media, direction, line.sequence + 2)
        };
        self.seen.holds += u64::from(hold);
        let update = line_updates && !body.is_empty();
        self.in_dialog(id, if update { "UPDATE" } else { "INVITE" }, &body, now);
        if hold {
            self.plan(id, Todo::Hold(false), now + Duration::from_secs(1));
        }
    }

    pub(super) fn reinvited(&mut self, id: &str, from: SocketAddr, text: &str, now: Instant) {
        let (sequence, _) = cseq(text);
        let line = self.lines.get(id).filter(|line| line.state == State::Up);
        let (Some(line), true) = (line, self.is_winner(id, text)) else {
            let answer = reply(text, "481 Gone", "n", "", "");
            return self.outbox.push_back((from, answer));
        };
        let key = format!("their {sequence}");
        if let Some(last) = line.replies.get(&key) {
            return self.outbox.push_back((from, last.clone()));
        }
        let answer = if line.reinviting.is_some() {
            reply(text, "491 Request Pending", "", "", "")
        } else {
            self.was_refreshed(id, text, now);
            let Some(line) = self.lines.get_mut(id) else {
                return;
            };
            let direction = match text {
                _ if text.contains("a=sendonly") => "recvonly",
                _ if text.contains("a=inactive") => "inactive",
                _ => "sendrecv",
            };
            let number = line.number.clone();
            let version = line.sequence + sequence + 2;
            let body = description(&number, line.media, direction, version);
            line.described.clone_from(&body);
            let terms = line.up.timer.lines(false);
            let extra = format!("{terms}{}", self.contact(&number));
            reply(text, "200 OK", "", &extra, &body)
        };
        self.keep(id, &key, &answer);
        self.repeat(id, &format!("final their {sequence}"), from, answer, now);
        self.learn_media(id, text);
    }

    pub(super) fn reinvite_response(
        &mut self,
        id: &str,
        number: u32,
        status: u16,
        text: &str,
        now: Instant,
    ) {
        let repeated = self
            .repeats
            .remove(&(id.to_owned(), format!("INVITE {number}")));
        let Some(line) = self.lines.get_mut(id) else {
            return;
        };
        if line.reinviting == Some(number) {
            line.reinviting = None;
        }
        let peer = line.peer;
        if status < 300 {
            line.refreshed(now);
        }
        if status >= 300 {
            if let Some(repeat) = &repeated {
                let ack = ack_of_failure(&repeat.text, text);
                self.keep(id, &format!("ack {number}"), &ack);
            }
            let ack = self.lines.get(id);
            let ack = ack.and_then(|line| line.replies.get(&format!("ack {number}")));
            let ack = ack.cloned();
            self.outbox.extend(ack.map(|ack| (peer, ack)));
            if matches!(status, 408 | 481) {
                self.over(id);
            }
            return;
        }
        let Some(line) = self.lines.get(id) else {
            return;
        };
        // An offer in the 2xx is answered in the ACK: it is one where the request had none.
        let empty = repeated
            .as_ref()
            .map(|repeat| body(&repeat.text).is_empty());
        let key = format!("ack {number}");
        let ack = match (line.replies.get(&key), empty) {
            (Some(ack), _) => ack.clone(),
            (None, Some(true)) => {
                let answer = description(&line.number, line.media, "sendrecv", line.sequence + 2);
                let ack = self.request(id, line, "ACK", number, &answer);
                self.described(id, &answer);
                ack
            }
            _ => self.request(id, line, "ACK", number, ""),
        };
        self.keep(id, &key, &ack);
        self.outbox.push_back((peer, ack));
        self.learn_media(id, text);
    }

    pub(super) fn acknowledged(&mut self, id: &str, sequence: u32, text: &str) {
        let fork = tag(header(text, "To"))
            .split('x')
            .next()
            .unwrap_or_default();
        let first = self.lines.get(id);
        let first = first.is_some_and(|line| !line.caller && cseq(&line.invite).0 == sequence);
        if first {
            let key = format!("final 1 {fork}");
            self.repeats.remove(&(id.to_owned(), key));
        }
        self.repeats
            .remove(&(id.to_owned(), format!("final their {sequence}")));
        if self.is_winner(id, text) {
            self.learn_media(id, text);
        }
    }

    pub(super) fn hung_up(&mut self, id: &str, from: SocketAddr, text: &str) {
        let known = self.lines.contains_key(id);
        let status = if known { "200 OK" } else { "481 Gone" };
        self.outbox
            .push_back((from, reply(text, status, "", "", "")));
        if self.is_winner(id, text) {
            let forgot = self
                .lines
                .get(id)
                .map(|line| line.up.timer == Timer::Forgets);
            self.seen.forgotten += u64::from(forgot == Some(true));
            self.over(id);
        }
        if let Some(line) = self.lines.get_mut(id) {
            let own = tag(header(text, "To"));
            line.losers.retain(|loser| loser != own);
        }
    }
}

impl Sound {
    /// An RTP packet whose header extension says the number (RFC 8285).
    fn packet(&self) -> Vec<u8> {
        let mut packet = vec![0x90, 0];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend((u32::from(self.sequence) * 160).to_be_bytes());
        packet.extend(7u32.to_be_bytes());
        let mut extension = vec![0x1f];
        extension[0] = 0x10 | (u8::try_from(self.number.len()).unwrap() - 1);
        extension.extend(self.number.bytes());
        extension.resize(extension.len().next_multiple_of(4), 0);
        packet.extend([0xbe, 0xde]);
        packet.extend(u16::try_from(extension.len() / 4).unwrap().to_be_bytes());
        packet.extend(&extension);
        packet.extend([0xff; 20]);
        packet
    }

    /// An RTCP compound whose source description says number and address, and an APP packet that
    /// does (RFC 3550 §6.4, §6.5, §6.7).
    fn report(&self) -> Vec<u8> {
        let mut compound = vec![0x80, 201, 0, 1];
        compound.extend(7u32.to_be_bytes());
        let name = format!("{}@{}", self.number, self.from.ip());
        let mut chunk = 7u32.to_be_bytes().to_vec();
        for kind in [1, 4] {
            chunk.extend([kind, u8::try_from(name.len()).unwrap()]);
            chunk.extend(name.bytes());
        }
        chunk.push(0);
        chunk.resize(chunk.len().next_multiple_of(4), 0);
        section(&mut compound, 0x81, 202, &chunk);
        let mut application = 7u32.to_be_bytes().to_vec();
        application.extend(b"NAME");
        application.extend(name.bytes());
        application.resize(application.len().next_multiple_of(4), 0);
        section(&mut compound, 0x80, 204, &application);
        compound
    }
}

/// Appends an RTCP packet.
fn section(compound: &mut Vec<u8>, first: u8, kind: u8, content: &[u8]) {
    compound.extend([first, kind]);
    compound.extend(u16::try_from(content.len() / 4).unwrap().to_be_bytes());
    compound.extend(content);
}
