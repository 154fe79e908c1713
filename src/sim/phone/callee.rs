//! The first INVITE, from the callee's end.

use super::super::text::{digits, header, reply, tag, uri};
use super::{CalleePlan, Phones, State, Todo, description};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

impl Phones {
    pub(super) fn invited(
        &mut self,
        id: &str,
        from: SocketAddr,
        text: &str,
        plan: CalleePlan,
        now: Instant,
    ) {
        if let Some(line) = self.lines.get(id) {
            if let Some(last) = line.replies.get("1") {
                self.outbox.push_back((from, last.clone()));
            }
            return;
        }
        let number = digits(text.split(' ').nth(1).unwrap_or_default());
        let mut line = self.line(false, &number, from);
        line.target = uri(header(text, "Contact")).to_owned();
        line.local = format!("{};tag=f0x{number}", header(text, "To"));
        line.remote = header(text, "From").to_owned();
        line.sequence = 0;
        line.invite = text.to_owned();
        line.delayed_offer = super::super::text::body(text).is_empty();
        line.up = plan.up.clone();
        line.callee_plan = plan.clone();
        if plan.dead {
            line.state = State::Vanished;
        }
        let media = line.media;
        self.lines.insert(id.to_owned(), line);
        if plan.dead {
            return;
        }
        self.learn_media(id, text);
        if plan.trying {
            self.outbox
                .push_back((from, reply(text, "100 Trying", "", "", "")));
        }
        for fork in 0..plan.forks {
            let body = if plan.early_media {
                description(&number, media, "sendrecv", 1)
            } else {
                String::new()
            };
            let status = if plan.early_media {
                format!("183 Session of {number}")
            } else {
                format!("180 Ringing {number}")
            };
            let tag = format!("f{fork}x{number}");
            let ringing = reply(text, &status, &tag, &self.contact(&number), &body);
            if !self.ring_reliably(id, fork, &ringing, now) {
                self.keep(id, "1", &ringing);
                self.outbox.push_back((from, ringing));
            }
        }
        if let Some(status) = plan.refuse {
            self.refuse(id, status, now);
        } else if let Some(after) = plan.answer_after {
            self.plan(id, Todo::Answer, now + after);
        }
    }

    fn refuse(&mut self, id: &str, status: u16, now: Instant) {
        let Some(line) = self.lines.get(id) else {
            return;
        };
        let (peer, number) = (line.peer, line.number.clone());
        let extra = format!(
            "Warning: 399 {} \"{number}\"\r\nContact: <sip:{number}@{}>\r\nRetry-After: 3 ({number})\r\n",
            self.address, self.address
        );
        self.stop_ringing(id);
        let Some(line) = self.lines.get(id) else {
            return;
        };
        let phrase = format!("{status} Refused by {number}");
        let tag = format!("f0x{number}");
        let text = reply(&line.invite, &phrase, &tag, &extra, "");
        self.keep(id, "1", &text);
        self.repeat(id, "final 1 f0", peer, text, now);
        self.over(id);
    }

    pub(super) fn answer(&mut self, id: &str, now: Instant) {
        let Some(line) = self.lines.get_mut(id) else {
            return;
        };
        line.state = State::Up;
        let second = line.callee_plan.second_answer && line.callee_plan.forks > 1;
        self.accept(id, 0, now);
        self.plan_up(id, now);
        if second {
            self.plan(id, Todo::SecondAnswer, now + Duration::from_millis(100));
        }
    }

    /// Another fork answers as well: the gateway has to end it.
    pub(super) fn answer_again(&mut self, id: &str, now: Instant) {
        self.accept(id, 1, now);
        if let Some(line) = self.lines.get_mut(id) {
            line.losers.push(format!("f1x{}", line.number));
        }
    }

    fn accept(&mut self, id: &str, fork: u8, now: Instant) {
        self.stop_ringing(id);
        let Some(line) = self.lines.get(id) else {
            return;
        };
        let (peer, number) = (line.peer, line.number.clone());
        let body = if line.answered_early && fork == 0 {
            String::new()
        } else {
            description(&number, line.media, "sendrecv", 1)
        };
        let tag = format!("f{fork}x{number}");
        let extra = format!("{}{}", line.up.timer.lines(false), self.contact(&number));
        let status = format!("200 {number} here");
        let text = reply(&line.invite, &status, &tag, &extra, &body);
        if fork == 0 {
            self.described(id, &body);
            self.keep(id, "1", &text);
        }
        self.repeat(id, &format!("final 1 f{fork}"), peer, text, now);
    }

    pub(super) fn cancelled(&mut self, id: &str, from: SocketAddr, text: &str, now: Instant) {
        let Some(line) = self.lines.get(id) else {
            let answer = reply(text, "481 Unknown", "n", "", "");
            return self.outbox.push_back((from, answer));
        };
        let tag = format!("f0x{}", line.number);
        let calling = line.state == State::Calling;
        self.outbox
            .push_back((from, reply(text, "200 OK", &tag, "", "")));
        if calling {
            self.refuse(id, 487, now);
        }
    }

    /// Whether a request belongs to the dialog that this telephone goes on with, and not to
    /// another of its forks.
    pub(super) fn is_winner(&self, id: &str, text: &str) -> bool {
        self.lines
            .get(id)
            .is_some_and(|line| tag(header(text, "To")) == tag(&line.local))
    }

    /// Whether the 200 of the fork that goes on is still repeated.
    pub(super) fn is_unacknowledged(&self, id: &str) -> bool {
        let key = (id.to_owned(), "final 1 f0".to_owned());
        self.repeats.contains_key(&key)
    }

    pub(super) fn keep(&mut self, id: &str, key: &str, text: &str) {
        if let Some(line) = self.lines.get_mut(id) {
            line.replies.insert(key.to_owned(), text.to_owned());
        }
    }
}
