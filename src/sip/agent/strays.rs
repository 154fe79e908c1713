//! Answers to dials that are gone: a CANCEL crossed the 2xx, or its ACK was lost. Each gets ACK and
//! BYE (RFC 3261 §13.2.2.4), or the callee would hold a call that nobody else has.
//!
//! Nothing is left of such a dial that a 2xx could be compared with, and its Contact may lead
//! anywhere. So its From tag must prove to be ours ([`crate::sip::dialog::Seal`]); it must come from
//! where our dials go, or lead back to whoever sent it; and there are bounds, because who has had a
//! tag of ours could still have us send to others.

use super::callee_leg::dialled;
use super::compose;
use super::core::{Core, Owner};
use super::reason;
use crate::call::event::Cause;
use crate::sip::dialog::{Dialog, Tag, branch};
use crate::sip::message::{Header, Message, Method, Path};
use crate::sip::transaction;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most dialogs of calls that are gone that are answered within [`FOR`], by all workers: each has
/// its share.
const MOST: usize = 512;
/// Most of them of one INVITE.
const MOST_OF_ONE: usize = 16;
/// Most ACKs to one of them: a 2xx is repeated ten times in its 32 s (RFC 3261 §13.3.1.4).
const MOST_ACKS: u8 = 16;
/// So long a 2xx may be repeated, and is remembered (RFC 3261 §13.3.1.4: 64*T1).
const FOR: Duration = Duration::from_secs(32);

/// A dialog of a call that is gone, which has had its BYE.
struct Ended {
    ours: Tag,
    theirs: Box<str>,
    acks: u8,
    at: Instant,
}

/// What a stray 2xx gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// ACK and BYE.
    Both,
    /// It has had its BYE.
    Ack,
    /// There have been too many.
    Nothing,
}

/// Those that were answered lately, the oldest first.
#[derive(Default)]
pub(super) struct Strays(VecDeque<Ended>);

impl Strays {
    fn take(&mut self, (ours, theirs): (Tag, &str), workers: u16, now: Instant) -> Due {
        let old = |ended: &Ended| now.saturating_duration_since(ended.at) >= FOR;
        while self.0.front().is_some_and(old) {
            self.0.pop_front();
        }
        let mut of_one = 0;
        for ended in self.0.iter_mut().filter(|ended| ended.ours == ours) {
            if *ended.theirs == *theirs {
                ended.acks = ended.acks.saturating_add(1);
                return if ended.acks > MOST_ACKS {
                    Due::Nothing
                } else {
                    Due::Ack
                };
            }
            of_one += 1;
        }
        let most = MOST.checked_div(usize::from(workers)).unwrap_or(MOST);
        if of_one >= MOST_OF_ONE || self.0.len() >= most.max(1) {
            return Due::Nothing;
        }
        self.0.push_back(Ended {
            ours,
            theirs: theirs.into(),
            acks: 1,
            at: now,
        });
        Due::Both
    }
}

/// ACK and BYE to a 2xx of a dial that is gone, if it is one of ours.
pub(super) fn release(message: &Message, tag: Tag, path: Path, core: &mut Core, now: Instant) {
    let uri = dialled(message);
    if uri.is_empty() || !core.seal.is_ours(tag, message.call_id()) {
        return core.count("sip_dropped", "stray-response");
    }
    let local = message.get(Header::From).unwrap_or_default();
    let mut dialog = Dialog::from_success(message, (tag, local), uri, path);
    let (from, to) = (path.remote.ip(), dialog.path.remote.ip());
    if !core.sources.is_target(from) && !core.sources.is_same_end(from, to) {
        return core.count("sip_dropped", "stray-response");
    }
    let workers = core.shard.steering().workers();
    let due = core.strays.take((tag, message.to_tag()), workers, now);
    if due == Due::Nothing {
        return core.count("sip_bounds", "strays");
    }
    let ack_branch = branch(&mut *core.entropy);
    let cseq = message.cseq();
    let writer = compose::in_dialog(core, &dialog, Method::Ack, cseq, &ack_branch);
    let ack = transaction::Input::Send {
        bytes: writer.finish(None),
        path: core.settings.settle(dialog.path),
    };
    core.transactions.handle(ack, now);
    if due == Due::Ack {
        return;
    }
    let branch = branch(&mut *core.entropy);
    let cseq = dialog.next_cseq();
    let mut writer = compose::in_dialog(core, &dialog, Method::Bye, cseq, &branch);
    writer.header(Header::Reason, &reason::of_request(Cause::default()));
    let id = core.transactions.next_id();
    core.owners.insert(id, Owner::Stray);
    let bye = transaction::Input::Request {
        id,
        method: Method::Bye,
        branch,
        bytes: writer.finish(None),
        path: core.settings.settle(dialog.path),
    };
    core.transactions.handle(bye, now);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_invite_one_answer_and_all_together_have_their_bounds() {
        let (mut strays, mut now) = (Strays::default(), Instant::now());
        let mut taken = Vec::new();
        for n in 0..=MOST_OF_ONE {
            taken.push(strays.take((Tag(1), &n.to_string()), 1, now));
        }
        assert_eq!(taken.pop(), Some(Due::Nothing));
        assert!(taken.iter().all(|due| *due == Due::Both));
        for _ in 1..MOST_ACKS {
            assert_eq!(strays.take((Tag(1), "0"), 1, now), Due::Ack);
        }
        assert_eq!(strays.take((Tag(1), "0"), 1, now), Due::Nothing);
        // Two workers have half each.
        for tag in 2.. {
            if strays.take((Tag(tag), ""), 2, now) == Due::Nothing {
                break;
            }
        }
        assert_eq!(strays.0.len(), MOST / 2);
        assert_eq!(strays.take((Tag(9999), ""), 1, now), Due::Both);
        now += FOR;
        assert_eq!(strays.take((Tag(1), "0"), 2, now), Due::Both);
        assert_eq!(strays.0.len(), 1);
    }
}
