//! Theirs for us: requests outside dialogs of a trunk that must prove itself (RFC 3261 §22.1,
//! sip-bridging 2: after what cannot be read, before what is not ours).
//!
//! ACK and CANCEL are never challenged (RFC 3261 §22.1). OPTIONS is not either, so that a peer may
//! ask whether we live; nor are requests inside a dialog, which come from its peer and name its
//! random tag.

use super::Agent;
use super::compose;
use super::core::Core;
use super::sources::Source;
use crate::domain::TrunkId;
use crate::sip::dialog::Tag;
use crate::sip::digest::{Account, Gate, Verdict};
use crate::sip::message::{Header, Message, Method, Path};
use crate::sip::transaction::TransactionId;
use std::time::Instant;

impl Agent {
    /// Whether a request outside dialogs may go on; else it has been answered 401.
    pub(super) fn is_proven(
        &mut self,
        (id, message, path): (TransactionId, &Message, Path),
        now: Instant,
    ) -> bool {
        if matches!(
            message.method(),
            Method::Options | Method::Ack | Method::Cancel
        ) {
            return true;
        }
        let Source::Inbound(trunk) = self.core.sources.find(path.remote.ip()) else {
            return true; // nothing of it gets in
        };
        let Some(account) = account(&self.core, trunk) else {
            return true;
        };
        let core = &mut self.core;
        let gate = core
            .gate
            .get_or_insert_with(|| Box::new(Gate::draw(&mut *core.entropy, now)));
        let address = path.remote.ip().to_canonical();
        let verdict = gate.check(
            (message, method(message)),
            &account,
            (trunk.0, address),
            now,
        );
        self.core.count("sip_digest", verdict.name());
        if verdict == Verdict::Accepted {
            return true;
        }
        self.challenge((id, message, path), (trunk, &account), verdict, now);
        false
    }

    /// 401 with a challenge for each algorithm. Whose password was right is told that the nonce
    /// was at fault (`stale`), so that nobody is asked for it again.
    fn challenge(
        &mut self,
        (id, message, path): (TransactionId, &Message, Path),
        (trunk, account): (TrunkId, &Account),
        verdict: Verdict,
        now: Instant,
    ) {
        let tag = Tag::draw(&mut *self.core.entropy);
        let mut writer = compose::response(message, path, 401, Some(tag));
        let stale = matches!(verdict, Verdict::Stale | Verdict::Replayed);
        let core = &mut self.core;
        if let Some(gate) = &core.gate {
            for challenge in gate.challenges(account, (trunk.0, stale), &mut *core.entropy, now) {
                writer.header_fmt(Header::WwwAuthenticate, format_args!("{challenge}"));
            }
        }
        self.respond(id, 401, writer.finish(None), now);
    }
}

fn account(core: &Core, trunk: TrunkId) -> Option<Account> {
    core.settings.trunk(trunk)?.account.clone()
}

/// The method as it was written: its name where we know none.
fn method(message: &Message) -> &str {
    let cseq = message.get(Header::CSeq).unwrap_or_default();
    cseq.split_ascii_whitespace().nth(1).unwrap_or_default()
}
