//! The first INVITE, from the caller's end.

use super::super::text::{ack_of_failure, cseq, header, tag, uri, via_lines};
use super::{CallerPlan, Phones, State, Todo, description};
use std::net::SocketAddr;
use std::time::Instant;

impl Phones {
    /// Places a call; says its Call-ID.
    pub fn call(
        &mut self,
        gateway: SocketAddr,
        dialled: &str,
        plan: CallerPlan,
        now: Instant,
    ) -> String {
        let number = &plan.number;
        let address = self.address;
        let mut line = self.line(true, number, gateway);
        let id = format!("{}.{number}@{}", self.counter, address.ip());
        line.target = format!("sip:{dialled}@{gateway}");
        let privacy = if plan.withheld {
            line.local = format!(
                "\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=c{}",
                self.counter
            );
            "Privacy: id\r\n"
        } else {
            line.local = format!(
                "\"{number} of {}\" <sip:+{number}@{address}>;tag=c{}x{number}",
                address.ip(),
                self.counter
            );
            ""
        };
        line.remote = format!("<sip:{dialled}@{gateway}>");
        line.never_ack = plan.never_ack;
        line.delayed_offer = plan.delayed_offer;
        let body = if plan.delayed_offer {
            String::new()
        } else {
            description(number, line.media, "sendrecv", 1)
        };
        let identity = super::super::identity::line(self.counter, number, dialled);
        let says = line.habit.says;
        let asserted = format!(
            "P-Asserted-Identity: <sip:+{number}@{address}>\r\n{privacy}{identity}{says}CSeq:"
        );
        line.up = plan.up;
        line.described.clone_from(&body);
        line.invite = self
            .request(&id, &line, "INVITE", 1, &body)
            .replacen("CSeq:", &asserted, 1);
        self.repeat(&id, "INVITE 1", gateway, line.invite.clone(), now);
        if let Some(after) = plan.cancel_after {
            self.plan(&id, Todo::Cancel, now + after);
        }
        self.lines.insert(id.clone(), line);
        id
    }

    pub(super) fn invite_response(&mut self, id: &str, status: u16, text: &str, now: Instant) {
        if status < 200 {
            self.wait_for_final(id, "INVITE 1", now);
            if let Some(line) = self.lines.get_mut(id) {
                line.ringing = true;
            }
            self.acknowledge(id, text, now);
            return self.cancel_if_ready(id, now);
        }
        self.repeats.remove(&(id.to_owned(), "INVITE 1".to_owned()));
        if status == 401 && self.prove(id, text, now) {
            return;
        }
        let Some(line) = self.lines.get_mut(id) else {
            return;
        };
        if status >= 300 {
            let (peer, ack) = (line.peer, ack_of_failure(&line.invite, text));
            self.outbox.push_back((peer, ack));
            return self.over(id);
        }
        let first = tag(&line.remote).is_empty();
        let late = first && line.state != State::Calling;
        if first {
            line.remote = header(text, "To").to_owned();
            line.target = uri(header(text, "Contact")).to_owned();
        }
        if first && !late {
            line.state = State::Up;
        }
        let (never_ack, delayed) = (line.never_ack, line.delayed_offer);
        self.learn_media(id, text);
        self.seen.ignored += u64::from(never_ack);
        if !never_ack && let Some(line) = self.lines.get(id) {
            // The 200's own offer is answered; one that came before it has its answer.
            let body = if delayed && !super::super::text::body(text).is_empty() {
                description(&line.number, line.media, "sendrecv", 1)
            } else {
                String::new()
            };
            let (peer, ack) = (
                line.peer,
                self.request(id, line, "ACK", cseq(&line.invite).0, &body),
            );
            self.outbox.push_back((peer, ack));
            self.described(id, &body);
        }
        if late {
            // It had a failure before: of an INVITE that a crash made two of.
            self.in_dialog(id, "BYE", "", now);
        } else if first {
            self.plan_up(id, now);
        }
    }

    /// RFC 3261 §9.1: not before a provisional response.
    pub(super) fn cancel_if_ready(&mut self, id: &str, now: Instant) {
        let Some(line) = self.lines.get_mut(id) else {
            return;
        };
        if !line.ringing || !std::mem::take(&mut line.cancel_wanted) {
            return;
        }
        let text = format!(
            "CANCEL {} SIP/2.0\r\n{}Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {id}\r\n\
             CSeq: {} CANCEL\r\nContent-Length: 0\r\n\r\n",
            line.target,
            via_lines(&line.invite),
            line.local,
            line.remote,
            cseq(&line.invite).0
        );
        let peer = line.peer;
        self.seen.cancels += 1;
        let key = format!("CANCEL {}", cseq(&text).0);
        self.repeat(id, &key, peer, text, now);
    }
}
