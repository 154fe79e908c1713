//! Passwords: carriers that ask the gateway for its own, and telephones that are asked for theirs
//! (RFC 3261 §22, RFC 2617 §3.2.2). Reckoned here with MD5 alone, by none of the gateway's code.

use super::super::text::{ack_of_failure, cseq, header, method, reply, tag};
use super::{Phones, State};
use md5::{Digest as _, Md5};
use std::net::SocketAddr;
use std::time::Instant;

/// Realms, users and passwords: of the carriers, and of the gateway.
pub const CARRIERS_OWN: [&str; 3] = ["carriers", "gateway", "our secret"];
pub const GATEWAYS_OWN: [&str; 3] = ["gateway", "carrier", "their secret"];

/// So many calls are let in with one nonce.
const CALLS_A_NONCE: u64 = 3;

impl Phones {
    /// Whether a request was answered 401: a new call or OPTIONS without the gateway's password, or
    /// with a nonce that is used up.
    pub(super) fn asks_for_a_password(&mut self, from: SocketAddr, text: &str) -> bool {
        let known = self.lines.get(header(text, "Call-ID"));
        let again = known.is_some_and(|line| line.invite == text);
        let new = tag(header(text, "To")).is_empty();
        if !self.asks || again || !new || !matches!(method(text), "INVITE" | "OPTIONS") {
            return false;
        }
        let credentials = header(text, "Authorization");
        let right = is_right(credentials, method(text), CARRIERS_OWN);
        let nonce = format!("n{}", self.let_in / CALLS_A_NONCE);
        if right && parameter(credentials, "nonce") == nonce {
            self.let_in += 1;
            self.seen.proven += 1;
            return false;
        }
        let stale = if right { ", stale=true" } else { "" };
        let challenge = format!(
            "WWW-Authenticate: Digest realm=\"{}\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\"{stale}\r\n",
            CARRIERS_OWN[0]
        );
        let answer = reply(text, "401 Who", "q", &challenge, "");
        self.outbox.push_back((from, answer));
        true
    }

    /// The gateway asks for a password: the call is placed once more, with it.
    pub(super) fn prove(&mut self, id: &str, text: &str, now: Instant) -> bool {
        let Some(line) = self.lines.get_mut(id) else {
            return false;
        };
        let challenge = text
            .lines()
            .rfind(|line| line.starts_with("WWW-Authenticate:"));
        let (Some(challenge), 1) = (challenge, cseq(&line.invite).0) else {
            return false;
        };
        let (peer, ack) = (line.peer, ack_of_failure(&line.invite, text));
        let uri = line.target.clone();
        let nonce = parameter(challenge, "nonce");
        let [realm, user, password] = GATEWAYS_OWN;
        let figure = response(
            [realm, user, password],
            ("INVITE", &uri),
            nonce,
            ["00000001", "c"],
        );
        let credentials = format!(
            "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", \
             uri=\"{uri}\", response=\"{figure}\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"c\"\r\n"
        );
        let again = line
            .invite
            .replacen("branch=z9hG4bK1", "branch=z9hG4bK2", 1)
            .replacen(
                "CSeq: 1 INVITE\r\n",
                &format!("CSeq: 2 INVITE\r\n{credentials}"),
                1,
            );
        let waiting = line.state == State::Calling && !line.cancel_wanted;
        if waiting {
            line.invite.clone_from(&again);
            line.sequence = 2;
            line.ringing = false;
        }
        self.keep(id, "ack 1", &ack);
        self.outbox.push_back((peer, ack));
        if waiting {
            self.seen.proven += 1;
            self.repeat(id, "INVITE 1", peer, again, now);
        } else {
            self.over(id);
        }
        true
    }
}

/// Whether credentials prove the password of that realm and user.
fn is_right(credentials: &str, method: &str, account: [&str; 3]) -> bool {
    let value = |name| parameter(credentials, name);
    let (uri, nonce) = (value("uri"), value("nonce"));
    let figure = response(
        account,
        (method, uri),
        nonce,
        [value("nc"), value("cnonce")],
    );
    value("realm") == account[0] && value("username") == account[1] && value("response") == figure
}

fn response(
    [realm, user, password]: [&str; 3],
    (method, uri): (&str, &str),
    nonce: &str,
    [nc, cnonce]: [&str; 2],
) -> String {
    let secret = hash(&format!("{user}:{realm}:{password}"));
    let request = hash(&format!("{method}:{uri}"));
    hash(&format!("{secret}:{nonce}:{nc}:{cnonce}:auth:{request}"))
}

fn hash(text: &str) -> String {
    let digest = Md5::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A parameter, its quotes taken off.
fn parameter<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, list) = text.split_once("Digest ").unwrap_or_default();
    let mut all = list.split(',').filter_map(|one| one.trim().split_once('='));
    all.find(|(known, _)| *known == name)
        .map_or("", |(_, value)| value.trim_matches('"'))
}
