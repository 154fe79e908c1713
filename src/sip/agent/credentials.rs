//! Ours for them: challenges of a trunk are answered once with that trunk's user and password, and
//! what it let us in with is used for the requests that follow (RFC 3261 §22.2, §22.3).
//!
//! ```text
//!   request --+-- nonce known --> with credentials --+
//!             +-- none -------> as it is ------------+--> 401/407 of our realm --> once more (branch,
//!                                                    |      CSeq + 1, credentials); `stale`: twice
//!                                                    +--> anything else: it is over
//! ```
//!
//! Credentials go to no other realm than the trunk's, and to no address that is not the trunk's:
//! a Contact elsewhere gets none. Nothing is kept for trunks without a login.

use super::core::{Core, Owner, Wire};
use crate::domain::{Side, TrunkId};
use crate::sip::dialog::letters;
use crate::sip::digest::{Challenge, Login, challenges};
use crate::sip::guard::{Echo, Verdict};
use crate::sip::message::{Header, Message, Method, Path};
use crate::sip::transaction::TransactionId;
use bytes::{Bytes, BytesMut};
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// So long a nonce is used without being asked for; a trunk may say `stale` sooner.
const LIFE: Duration = Duration::from_secs(3600);

/// How often one request may be sent again.
const MOST_TRIES: u8 = 3;

/// How often a response is reckoned anew whose digits meet a protected number by chance.
const REDRAWS: usize = 3;

/// Most INVITEs of one call whose credentials are kept for their ACK.
const MOST_PROOFS: usize = 8;

/// Who asks: a user agent (401) or a proxy (407).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asker {
    UserAgent,
    Proxy,
}

impl Asker {
    const ALL: [Self; 2] = [Self::UserAgent, Self::Proxy];

    fn of(status: u16) -> Option<Self> {
        match status {
            401 => Some(Self::UserAgent),
            407 => Some(Self::Proxy),
            _ => None,
        }
    }

    const fn asks_by(self) -> Header {
        match self {
            Self::UserAgent => Header::WwwAuthenticate,
            Self::Proxy => Header::ProxyAuthenticate,
        }
    }

    const fn is_answered_by(self) -> Header {
        match self {
            Self::UserAgent => Header::Authorization,
            Self::Proxy => Header::ProxyAuthorization,
        }
    }
}

/// Header field and value.
type Line = (Header, Box<str>);

/// The last challenge of a trunk that was answered.
#[derive(Debug)]
struct Known {
    challenge: Challenge,
    /// How often its nonce has been used.
    count: u32,
    /// A request with it got through.
    proven: bool,
    until: Instant,
}

/// A request of ours that may be challenged, as it was sent.
#[derive(Debug)]
pub(super) struct Sent {
    trunk: TrunkId,
    method: Method,
    branch: Box<str>,
    bytes: Bytes,
    path: Path,
    /// What of it are the receiver's own words, for the guard.
    echoed: Vec<Box<str>>,
    /// Nonces that it carries.
    nonces: SmallVec<[(Asker, Box<str>); 1]>,
    tries: u8,
    /// Who has been answered by sending it again.
    answered: SmallVec<[Asker; 2]>,
}

/// What is known of the trunks' challenges, and the requests that may be challenged.
#[derive(Debug, Default)]
pub(super) struct Logins {
    known: BTreeMap<(TrunkId, Asker), Known>,
    sent: HashMap<TransactionId, Box<Sent>>,
}

/// A request that is to be sent again.
#[derive(Debug)]
pub(super) struct Retry {
    sent: Box<Sent>,
    /// CSeq of the request before.
    pub(super) cseq: u32,
    /// Challenges that it answers by themselves, not by what is known.
    challenge: (Asker, Challenge),
}

impl Logins {
    /// Requests that may still be challenged.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.sent.len()
    }

    /// Nothing more will come of a request.
    pub(super) fn forget(&mut self, id: TransactionId) {
        self.sent.remove(&id);
    }

    /// A response: what it says of our credentials, and whether the request is to be sent again.
    pub(super) fn on_response(
        core: &mut Core,
        id: TransactionId,
        response: &Message,
        now: Instant,
    ) -> Option<Retry> {
        let status = response.status()?;
        let Some(asker) = Asker::of(status) else {
            if status > 100 {
                core.logins.accept(id);
            }
            if status >= 200 {
                core.logins.forget(id);
            }
            return None;
        };
        let sent = core.logins.sent.remove(&id)?;
        let login = core.settings.trunk(sent.trunk)?.login.clone()?;
        let all = challenges(response.all(asker.asks_by()));
        let Some(challenge) = login.choose(all) else {
            core.count("sip_login", "foreign-realm");
            return None;
        };
        core.logins.drop_nonce(&sent, asker);
        if !sent.may_answer(asker, &challenge) {
            core.count("sip_login", "refused");
            return None;
        }
        core.logins.learn(sent.trunk, asker, &challenge, now);
        core.count("sip_login", "answered");
        Some(Retry {
            cseq: response.cseq(),
            sent,
            challenge: (asker, challenge),
        })
    }

    /// A request got past who asks for credentials.
    fn accept(&mut self, id: TransactionId) {
        let Some(sent) = self.sent.get(&id) else {
            return;
        };
        for (asker, nonce) in &sent.nonces {
            if let Some(known) = self.known.get_mut(&(sent.trunk, *asker))
                && known.challenge.nonce == *nonce
            {
                known.proven = true;
            }
        }
    }

    /// A nonce that a request carried in vain is not used again.
    fn drop_nonce(&mut self, sent: &Sent, asker: Asker) {
        let place = (sent.trunk, asker);
        let known = self.known.get(&place).map(|known| &known.challenge.nonce);
        if known.is_some_and(|nonce| sent.carries(asker, nonce)) {
            self.known.remove(&place);
        }
    }

    /// Takes a challenge. One whose nonce is known goes on counting.
    fn learn(&mut self, trunk: TrunkId, asker: Asker, challenge: &Challenge, now: Instant) {
        let place = (trunk, asker);
        let same = |known: &Known| known.challenge.nonce == challenge.nonce;
        if !self.known.get(&place).is_some_and(same) {
            let known = Known {
                challenge: challenge.clone(),
                count: 0,
                proven: false,
                until: now + LIFE,
            };
            self.known.insert(place, known);
        }
    }

    /// Counts one use of a nonce.
    fn count(&mut self, trunk: TrunkId, asker: Asker, nonce: &str) -> u32 {
        match self.known.get_mut(&(trunk, asker)) {
            Some(known) if *known.challenge.nonce == *nonce => {
                known.count = known.count.saturating_add(1);
                known.count
            }
            _ => 1,
        }
    }

    /// Challenges of a trunk that may be answered without being asked.
    fn proven(&self, trunk: TrunkId, now: Instant) -> SmallVec<[(Asker, Challenge); 2]> {
        let one = |asker: Asker| {
            let known = self.known.get(&(trunk, asker))?;
            let fresh = known.proven && known.until > now && known.count < u32::MAX;
            fresh.then(|| (asker, known.challenge.clone()))
        };
        Asker::ALL.into_iter().filter_map(one).collect()
    }
}

impl Sent {
    fn carries(&self, asker: Asker, nonce: &str) -> bool {
        let mut nonces = self.nonces.iter();
        nonces.any(|(one, carried)| *one == asker && **carried == *nonce)
    }

    /// Once for each who asks; and once more where the nonce alone was at fault. What was known
    /// and is not taken any more has not been asked for yet.
    fn may_answer(&self, asker: Asker, challenge: &Challenge) -> bool {
        if self.tries >= MOST_TRIES || self.carries(asker, &challenge.nonce) {
            return false;
        }
        let before = self.answered.iter().filter(|one| **one == asker).count();
        before == 0 || (before == 1 && challenge.stale)
    }
}

/// What is added to one request.
#[derive(Debug, Default)]
pub(super) struct Added {
    trunk: Option<TrunkId>,
    lines: SmallVec<[Line; 2]>,
    nonces: SmallVec<[(Asker, Box<str>); 1]>,
    /// What in the lines is the receiver's own word, or was configured for it.
    own: Vec<Box<str>>,
}

impl Added {
    /// Whether the request may be challenged.
    pub(super) fn is_asked(&self) -> bool {
        self.trunk.is_some()
    }

    /// What the guard need not look at.
    fn known<'a>(&'a self, echoed: &[&'a str]) -> SmallVec<[&'a str; 16]> {
        let own = self.own.iter().map(|text| &**text);
        echoed.iter().copied().chain(own).collect()
    }
}

/// The login of a trunk for requests to an address of its; `None` where there is none.
fn login_for(core: &Core, trunk: Option<TrunkId>, path: Path) -> Option<(TrunkId, Login)> {
    let trunk = trunk?;
    let settings = core.settings.trunk(trunk)?;
    let login = settings.login.as_ref()?;
    settings
        .has(path.remote.ip())
        .then(|| (trunk, login.clone()))
}

/// Credentials for a request: of what is known, and of `asked`, which has just been asked for.
pub(super) fn credentials(
    core: &mut Core,
    trunk: Option<TrunkId>,
    (method, bytes, path): (Method, &Bytes, Path),
    asked: Option<&(Asker, Challenge)>,
    now: Instant,
) -> Added {
    let mut added = Added::default();
    if matches!(method, Method::Ack | Method::Cancel) {
        return added;
    }
    let Some((trunk, login)) = login_for(core, trunk, path) else {
        return added;
    };
    added.trunk = Some(trunk);
    let uri = request_uri(bytes);
    let mut all = core.logins.proven(trunk, now);
    if let Some((asker, challenge)) = asked {
        all.retain(|(known, _)| known != asker);
        all.push((*asker, challenge.clone()));
    }
    for (asker, challenge) in all {
        let count = core.logins.count(trunk, asker, &challenge.nonce);
        let mut cnonce = String::with_capacity(16);
        letters(core.entropy.next(), &mut cnonce);
        let value = login.answer(&challenge, (method.as_str(), uri), (count, &cnonce));
        added.lines.push((asker.is_answered_by(), value.into()));
        added.own.extend(challenge.opaque);
        added.own.push(challenge.nonce.clone());
        added.own.push(challenge.realm);
        added.nonces.push((asker, challenge.nonce));
    }
    if !added.lines.is_empty() {
        added.own.push(login.user);
        added.own.push(uri.into());
    }
    added
}

/// What ACKs to our 2xx of one call repeat (RFC 3261 §22.1).
#[derive(Debug, Default)]
pub(super) struct Proofs {
    all: Vec<Proof>,
}

#[derive(Debug)]
struct Proof {
    trunk: TrunkId,
    call_id: Box<str>,
    cseq: Box<str>,
    lines: SmallVec<[Line; 2]>,
    own: Vec<Box<str>>,
}

impl Proofs {
    fn keep(&mut self, bytes: &Bytes, added: &Added) {
        let Some(trunk) = added.trunk.filter(|_| !added.lines.is_empty()) else {
            return;
        };
        if self.all.len() >= MOST_PROOFS {
            self.all.remove(0);
        }
        self.all.push(Proof {
            trunk,
            call_id: field(bytes, "Call-ID").into(),
            cseq: number(bytes).into(),
            lines: added.lines.clone(),
            own: added.own.clone(),
        });
    }

    /// What in an ACK's credentials the guard need not look at.
    pub(super) fn own(&self, ack: &Bytes) -> impl Iterator<Item = &str> {
        let proof = self.find(ack);
        proof
            .into_iter()
            .flat_map(|proof| proof.own.iter().map(|text| &**text))
    }

    fn find(&self, ack: &Bytes) -> Option<&Proof> {
        if self.all.is_empty() {
            return None;
        }
        let (call_id, cseq) = (field(ack, "Call-ID"), number(ack));
        self.all
            .iter()
            .find(|proof| *proof.call_id == *call_id && *proof.cseq == *cseq)
    }
}

impl Wire<'_> {
    /// A request with the credentials that go with it, past the guard; `None` if that keeps it.
    pub(super) fn proven(
        &mut self,
        side: Side,
        (method, bytes, path): (Method, Bytes, Path),
        asked: Option<&(Asker, Challenge)>,
        echoed: &[&str],
    ) -> Option<(Bytes, Added)> {
        let trunk = self.peers.trunk(side);
        let request = (method, &bytes, path);
        let mut added = credentials(self.core, trunk, request, asked, self.now);
        if added.lines.is_empty() {
            let bytes = self.checked(side, bytes, Echo::Request(echoed))?;
            return Some((bytes, added));
        }
        let mut signed = with_lines(&bytes, &added.lines, None);
        for _ in 0..REDRAWS {
            let verdict = self
                .guard
                .check(&signed, side, Echo::Request(&added.known(echoed)));
            if verdict == Verdict::Clean {
                break;
            }
            added = credentials(self.core, trunk, request, asked, self.now);
            signed = with_lines(&bytes, &added.lines, None);
        }
        let signed = self.checked(side, signed, Echo::Request(&added.known(echoed)))?;
        if method == Method::Invite {
            self.proofs.keep(&signed, &added);
        }
        Some((signed, added))
    }

    /// Remembers a request that may be challenged.
    pub(super) fn await_challenge(
        &mut self,
        id: TransactionId,
        (method, branch): (Method, &str),
        (bytes, path): (&Bytes, Path),
        (added, echoed): (Added, &[&str]),
    ) {
        let Some(trunk) = added.trunk else { return };
        let sent = Sent {
            trunk,
            method,
            branch: branch.into(),
            bytes: bytes.clone(),
            path,
            echoed: echoed.iter().map(|text| (*text).into()).collect(),
            nonces: added.nonces,
            tries: 0,
            answered: SmallVec::new(),
        };
        self.core.logins.sent.insert(id, Box::new(sent));
    }

    /// An ACK to a 2xx with the credentials of its INVITE, and what in it the guard need not look
    /// at.
    pub(super) fn proven_ack(&self, bytes: Bytes, path: Path) -> (Bytes, Vec<Box<str>>) {
        let core = &*self.core;
        let proof = self.proofs.find(&bytes);
        let proof = proof.filter(|proof| login_for(core, Some(proof.trunk), path).is_some());
        match proof {
            Some(proof) => (with_lines(&bytes, &proof.lines, None), proof.own.clone()),
            None => (bytes, Vec::new()),
        }
    }

    /// Sends a request again, with credentials; `None` if the guard keeps it.
    pub(super) fn resubmit(
        &mut self,
        (side, owner): (Side, Owner),
        retry: Retry,
        cseq: u32,
    ) -> Option<(TransactionId, Box<str>)> {
        let Retry {
            sent, challenge, ..
        } = retry;
        let branch = self.branch();
        let bytes = with_lines(&sent.bytes, &[], Some((&*sent.branch, &*branch, cseq)));
        let echoed: SmallVec<[&str; 8]> = sent.echoed.iter().map(|text| &**text).collect();
        let request = (sent.method, bytes, sent.path);
        let (bytes, added) = self.proven(side, request, Some(&challenge), &echoed)?;
        let request = (sent.method, branch.clone());
        let id = self.start(owner, request, (bytes.clone(), sent.path));
        let said = (sent.method, &*branch);
        self.await_challenge(id, said, (&bytes, sent.path), (added, echoed.as_slice()));
        self.core.logins.tried(id, &sent, challenge.0);
        Some((id, branch))
    }
}

impl Logins {
    /// A request is another one, sent again.
    fn tried(&mut self, id: TransactionId, before: &Sent, asker: Asker) {
        if let Some(sent) = self.sent.get_mut(&id) {
            sent.tries = before.tries.saturating_add(1);
            sent.answered = before.answered.clone();
            sent.answered.push(asker);
        }
    }

    /// OPTIONS to a trunk, sent again: no call is in it, and nothing to guard.
    pub(super) fn resubmit(core: &mut Core, retry: Retry, now: Instant) -> Probe {
        let Retry {
            sent,
            cseq,
            challenge,
        } = retry;
        let branch = crate::sip::dialog::branch(&mut *core.entropy);
        let cseq = cseq.saturating_add(1);
        let bytes = with_lines(&sent.bytes, &[], Some((&*sent.branch, &*branch, cseq)));
        let mut probe = Self::probe(
            core,
            sent.trunk,
            (bytes, branch, sent.path),
            Some(&challenge),
            now,
        );
        if let Some(next) = &mut probe.sent {
            next.tries = sent.tries.saturating_add(1);
            next.answered = sent.answered.clone();
            next.answered.push(challenge.0);
        }
        probe
    }

    /// OPTIONS to a trunk with the credentials that go with it.
    pub(super) fn probe(
        core: &mut Core,
        trunk: TrunkId,
        (bytes, branch, path): (Bytes, Box<str>, Path),
        asked: Option<&(Asker, Challenge)>,
        now: Instant,
    ) -> Probe {
        let request = (Method::Options, &bytes, path);
        let added = credentials(core, Some(trunk), request, asked, now);
        let bytes = with_lines(&bytes, &added.lines, None);
        let sent = added.trunk.map(|trunk| {
            Box::new(Sent {
                trunk,
                method: Method::Options,
                branch: branch.clone(),
                bytes: bytes.clone(),
                path,
                echoed: Vec::new(),
                nonces: added.nonces,
                tries: 0,
                answered: SmallVec::new(),
            })
        });
        Probe {
            bytes,
            branch,
            path,
            sent,
        }
    }

    /// A probe has gone.
    pub(super) fn await_probe(&mut self, id: TransactionId, probe: Option<Box<Sent>>) {
        if let Some(sent) = probe {
            self.sent.insert(id, sent);
        }
    }
}

/// OPTIONS that is about to go.
pub(super) struct Probe {
    pub(super) bytes: Bytes,
    pub(super) branch: Box<str>,
    pub(super) path: Path,
    pub(super) sent: Option<Box<Sent>>,
}

/// The Request-URI of a request of ours.
fn request_uri(bytes: &Bytes) -> &str {
    let line = lines(bytes).next().unwrap_or_default();
    line.split(' ').nth(1).unwrap_or_default()
}

/// A field of a message of ours.
fn field<'a>(bytes: &'a Bytes, name: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(": ");
    lines(bytes).find_map(value).unwrap_or_default()
}

/// The CSeq number of a message of ours, as it stands there.
fn number(bytes: &Bytes) -> &str {
    let cseq = field(bytes, "CSeq");
    cseq.split(' ').next().unwrap_or_default()
}

/// The head of a message of ours, line by line.
fn lines(bytes: &Bytes) -> impl Iterator<Item = &str> {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines
        .map(|line| {
            std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)).unwrap_or_default()
        })
        .take_while(|line| !line.is_empty())
}

/// A request of ours with other lines of credentials, which stand after its CSeq; and with another
/// branch and CSeq number, where it is sent again.
fn with_lines(bytes: &Bytes, added: &[Line], again: Option<(&str, &str, u32)>) -> Bytes {
    if added.is_empty() && again.is_none() {
        return bytes.clone();
    }
    let mut written = BytesMut::with_capacity(bytes.len().saturating_add(512));
    let mut put = |text: &str| {
        written.extend_from_slice(text.as_bytes());
        written.extend_from_slice(b"\r\n");
    };
    let (mut via, mut head) = (false, 0usize);
    for line in lines(bytes) {
        head = head.saturating_add(line.len()).saturating_add(2);
        let name = line.split(':').next().unwrap_or_default();
        match (name, again) {
            ("Authorization" | "Proxy-Authorization", _) => {}
            ("Via", Some((old, new, _))) if !via => {
                via = true;
                put(&line.replacen(old, new, 1));
            }
            ("CSeq", _) => {
                match again {
                    Some((_, _, cseq)) => {
                        let method = line.rsplit(' ').next().unwrap_or_default();
                        put(&format!("CSeq: {cseq} {method}"));
                    }
                    None => put(line),
                }
                for (name, value) in added {
                    put(&format!("{}: {value}", name.as_str()));
                }
            }
            _ => put(line),
        }
    }
    written.extend_from_slice(bytes.get(head..).unwrap_or_default());
    written.freeze()
}
