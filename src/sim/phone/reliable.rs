//! Reliable provisional responses and UPDATE, at both ends. What a telephone does of it follows from
//! how many lines there were before, so that no chance is drawn for it: old seeds stay what they are.

use super::super::text::{body, cseq, header, reply, status, tag, uri};
use super::{Phones, State, Todo, description};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What a telephone's messages say of its methods.
pub(super) const ALLOW: &str = "Allow: INVITE, ACK, BYE, CANCEL, INFO, OPTIONS, PRACK, UPDATE\r\n";

/// What one line does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habit {
    /// Caller: header line of its INVITE.
    pub says: &'static str,
    /// Callee: its provisional responses are reliable, where the INVITE allows.
    pub reliable: bool,
    /// It says that it takes UPDATE, and holds by it.
    pub updates: bool,
    /// Callee: it offers another description before it answers.
    pub early_update: bool,
}

impl Habit {
    pub(super) fn of(line: u64) -> Self {
        Self {
            says: match line % 5 {
                0 | 1 => "Supported: 100rel\r\n",
                2 => "Require: 100rel\r\n",
                _ => "",
            },
            reliable: !line.is_multiple_of(3),
            updates: line % 7 < 4,
            early_update: line % 11 < 5,
        }
    }
}

impl Phones {
    /// Caller: a provisional response that wants a PRACK gets one, the first time.
    pub(super) fn acknowledge(&mut self, id: &str, text: &str, now: Instant) {
        let number = header(text, "RSeq").to_owned();
        let theirs = tag(header(text, "To")).to_owned();
        let Some(line) = self.lines.get_mut(id).filter(|_| !number.is_empty()) else {
            return;
        };
        let key = format!("prack {theirs} {number}");
        if line.replies.insert(key, String::new()).is_some() {
            return;
        }
        line.sequence += 1;
        let sequence = line.sequence;
        let (target, remote) = (line.target.clone(), line.remote.clone());
        uri(header(text, "Contact")).clone_into(&mut line.target);
        header(text, "To").clone_into(&mut line.remote);
        // An offer, where the INVITE had none.
        let offered = line.delayed_offer && !body(text).is_empty();
        line.answered_early |= offered;
        let described = !body(text).is_empty();
        let answer = if offered {
            description(&line.number, line.media, "sendrecv", 1)
        } else {
            String::new()
        };
        let Some(line) = self.lines.get(id) else {
            return;
        };
        // A second one, where the first was challenged.
        let (invite, _) = cseq(&line.invite);
        let rack = format!("RAck: {number} {invite} INVITE\r\nCSeq:");
        let request = self.request(id, line, "PRACK", sequence, &answer);
        let request = request.replacen("CSeq:", &rack, 1);
        let peer = line.peer;
        self.seen.pracks += 1;
        self.repeat(id, &format!("PRACK {sequence}"), peer, request, now);
        if let Some(line) = self.lines.get_mut(id) {
            line.target = target;
            line.remote = remote;
        }
        if described {
            self.learn_media(id, text);
        }
    }

    /// Callee: sends a provisional response of a fork reliably, if its line does so and the INVITE
    /// allows. False where it is to be sent as ever.
    pub(super) fn ring_reliably(&mut self, id: &str, fork: u8, text: &str, now: Instant) -> bool {
        let Some(line) = self.lines.get(id) else {
            return false;
        };
        let supported = header(&line.invite, "Supported");
        let allowed = supported.split(", ").any(|tag| tag == "100rel");
        // The first reliable one to an INVITE without an offer carries it (RFC 3262 §5).
        let lacks_offer = line.delayed_offer && body(text).is_empty();
        if !line.habit.reliable || !allowed || lacks_offer {
            return false;
        }
        let number = 1_000 * (u32::from(fork) + 1);
        let extra = format!("Require: 100rel\r\nRSeq: {number}\r\n{ALLOW}Content-Length:");
        let text = text.replacen("Content-Length:", &extra, 1);
        let peer = line.peer;
        if fork == 0 {
            self.keep(id, "1", &text);
        }
        self.repeat(id, &format!("reliable {fork}"), peer, text, now);
        true
    }

    /// Callee: whether a response with a description has no PRACK yet: no 2xx may go (§3).
    pub(super) fn is_unpracked(&self, id: &str) -> bool {
        let key = (id.to_owned(), "reliable 0".to_owned());
        self.repeats.contains_key(&key)
    }

    /// Callee: nothing is repeated after the final response.
    pub(super) fn stop_ringing(&mut self, id: &str) {
        self.repeats
            .retain(|(call, key), _| call != id || !key.starts_with("reliable "));
    }

    /// Callee: a PRACK.
    pub(super) fn pracked(&mut self, id: &str, from: SocketAddr, text: &str, now: Instant) {
        let number: u32 = header(text, "RAck")
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0);
        let fork = (number / 1_000).saturating_sub(1);
        let key = (id.to_owned(), format!("reliable {fork}"));
        let known = self.repeats.remove(&key);
        let (sequence, _) = cseq(text);
        let answer = format!("pracked {fork} {sequence}");
        let before = self.lines.get(id);
        let before = before.and_then(|line| line.replies.get(&answer)).cloned();
        let response = match (&known, before) {
            (_, Some(before)) => before,
            (Some(_), None) => reply(text, "200 OK", "", "", ""),
            (None, None) => reply(text, "481 No such response", "", "", ""),
        };
        self.keep(id, &answer, &response);
        self.outbox.push_back((from, response));
        if known.is_none() {
            return;
        }
        self.seen.pracked += 1;
        if fork == 0 {
            self.learn_media(id, text);
        }
        let Some(line) = self.lines.get_mut(id) else {
            return;
        };
        let described = known.is_some_and(|sent| !body(&sent.text).is_empty());
        if fork == 0 && described {
            line.answered_early |= line.delayed_offer;
            if line.habit.early_update && line.state == State::Calling {
                self.plan(id, Todo::EarlyUpdate, now + Duration::from_millis(50));
            }
        }
    }

    /// Callee: another description before the answer.
    pub(super) fn update_early(&mut self, id: &str, now: Instant) {
        let Some(line) = self.lines.get(id) else {
            return;
        };
        let body = description(&line.number, line.media, "sendonly", line.sequence + 2);
        self.seen.early_updates += 1;
        self.in_dialog(id, "UPDATE", &body, now);
    }

    /// An UPDATE: a description is answered, in whatever state the call is.
    pub(super) fn updated(&mut self, id: &str, from: SocketAddr, text: &str) {
        let (sequence, _) = cseq(text);
        let open = |line: &&super::Line| matches!(line.state, State::Up | State::Calling);
        let Some(line) = self.lines.get(id).filter(open) else {
            let answer = reply(text, "481 Gone", "n", "", "");
            return self.outbox.push_back((from, answer));
        };
        let key = format!("updated {sequence}");
        let answer = if let Some(before) = line.replies.get(&key) {
            before.clone()
        } else if line.reinviting.is_some() {
            reply(text, "491 Request Pending", "", "", "")
        } else if body(text).is_empty() {
            reply(text, "200 OK", "", "", "")
        } else {
            let direction = match text {
                _ if text.contains("a=sendonly") => "recvonly",
                _ if text.contains("a=inactive") => "inactive",
                _ => "sendrecv",
            };
            let number = &line.number;
            let body = description(number, line.media, direction, line.sequence + sequence + 2);
            reply(text, "200 OK", "", &self.contact(number), &body)
        };
        if status(&answer) == Some(200) {
            self.seen.updated += 1;
            self.learn_media(id, text);
        }
        self.keep(id, &key, &answer);
        self.outbox.push_back((from, answer));
    }

    /// The final response to an UPDATE of ours.
    pub(super) fn update_response(&mut self, id: &str, number: u32, status: u16, text: &str) {
        self.repeats
            .remove(&(id.to_owned(), format!("UPDATE {number}")));
        let Some(line) = self.lines.get_mut(id) else {
            return;
        };
        if line.reinviting == Some(number) {
            line.reinviting = None;
        }
        if status == 200 {
            self.learn_media(id, text);
        }
    }
}
