//! The session timer of one dialog (RFC 4028): who refreshes it, when, and when it is given up.
//!
//! ```text
//!          a 2xx to INVITE or UPDATE, of either side, begins anew from what it says:
//!
//!          refresher: us, or the peer knows no timers     refresher: the peer
//!               .---------------- Off ------------------------.
//!               v                                             v
//!           Refreshing                                     Watching
//!            |      \                                         |
//!            |       `-- expiry less a third, 32 s at most ---+--> Expired: BYE
//!            |           (not where the peer knows none)
//!            `-- half the interval --> Refresh: re-INVITE or UPDATE
//!                  |          2xx: anew    422: longer, again    else: half of what is left
//! ```
//!
//! Intervals are seconds, as in the messages. Whose role is whose (UAC or UAS) is a matter of one
//! transaction (§3); here it is us or them.

use crate::sip::message::{Header, Message, Writer};
use std::time::{Duration, Instant};

/// The option tag (§4).
pub const OPTION: &str = "timer";

/// Least interval that anybody may ask for (§5: 90 s), and what stands for an absent Min-SE.
pub const LEAST: u32 = 90;

/// Longest interval that is counted with: a peer that says more gets no longer a life.
const LONGEST: u32 = 86_400;

/// How often an interval is raised for a 422 before the next 2xx: each raise is one more try.
const MOST_RAISES: u8 = 2;

/// Shortest wait before a refresh is tried again.
const AGAIN: Duration = Duration::from_secs(4);

/// What is due waits so long while an INVITE is under way, whose 2xx would do as well.
pub const BUSY: Duration = Duration::from_secs(2);

/// What a trunk is configured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Interval that we ask for; 0: timers only where the peer asks for them.
    pub expires_seconds: u32,
    /// Least that we take.
    pub least_seconds: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            expires_seconds: 1_800,
            least_seconds: LEAST,
        }
    }
}

/// Who refreshes, as a message says it: its transaction's client or server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    /// `refresher=uac`
    Uac,
    /// `refresher=uas`
    Uas,
}

/// What a message of the peer says of session timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// `timer` stands in Supported or Require.
    pub supported: bool,
    /// Session-Expires.
    pub expires: Option<u32>,
    /// Its refresher.
    pub refresher: Option<Refresher>,
    /// Min-SE.
    pub least: Option<u32>,
}

/// A Session-Expires or Min-SE that cannot be read, or stands twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub Header);

impl Terms {
    /// Reads them.
    ///
    /// # Errors
    /// Names the header that is malformed.
    pub fn read(message: &Message) -> Result<Self, Malformed> {
        let tags = message.all(Header::Supported);
        let mut tags = tags.chain(message.all(Header::Require));
        let supported = tags.any(|tag| tag.trim().eq_ignore_ascii_case(OPTION));
        let (expires, parameters) = value(message, Header::SessionExpires)?.unzip();
        let refresher = parameters.and_then(refresher);
        let least = value(message, Header::MinSe)?.map(|(seconds, _)| seconds);
        Ok(Self {
            supported,
            expires,
            refresher,
            least,
        })
    }

    /// As [`Terms::read`], of a response: what cannot be read counts for nothing.
    #[must_use]
    pub fn of_response(message: &Message) -> Self {
        Self::read(message).unwrap_or_default()
    }

    /// The Min-SE of a 422 where they ask for too short an interval (§9). Who does not know timers
    /// is not told: a proxy on the way wrote that, and its wish is passed over.
    #[must_use]
    pub fn too_short(&self, policy: Policy) -> Option<u32> {
        let short = self
            .expires
            .is_some_and(|expires| expires < policy.least_seconds);
        (short && self.supported).then_some(policy.least_seconds)
    }
}

/// `delta-seconds` of a header that may stand once, and its parameters.
fn value(message: &Message, name: Header) -> Result<Option<(u32, &str)>, Malformed> {
    let mut all = message.all(name);
    let Some(text) = all.next() else {
        return Ok(None);
    };
    if all.next().is_some() {
        return Err(Malformed(name));
    }
    let (digits, parameters) = text.split_once(';').unwrap_or((text, ""));
    let digits = digits.trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Malformed(name));
    }
    // More than fits is more than anybody waits for.
    let seconds = digits.parse().unwrap_or(u32::MAX);
    Ok(Some((seconds, parameters)))
}

fn refresher(parameters: &str) -> Option<Refresher> {
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim();
        let known = name.trim().eq_ignore_ascii_case("refresher");
        match known {
            true if value.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
            true if value.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
            _ => None,
        }
    })
}

/// What a message of ours says of session timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Session-Expires with its refresher.
    expires: Option<(u32, Option<Refresher>)>,
    /// Min-SE, where it is not the least.
    least: Option<u32>,
    /// `Require: timer` (§9: in a 2xx, where the peer knows timers).
    required: bool,
}

impl Words {
    /// Writes them. `Supported` is not theirs.
    pub fn write(&self, writer: &mut Writer) {
        if self.required {
            writer.header(Header::Require, OPTION);
        }
        match self.expires {
            Some((seconds, None)) => {
                writer.header_fmt(Header::SessionExpires, format_args!("{seconds}"));
            }
            Some((seconds, Some(refresher))) => {
                let refresher = match refresher {
                    Refresher::Uac => "uac",
                    Refresher::Uas => "uas",
                };
                writer.header_fmt(
                    Header::SessionExpires,
                    format_args!("{seconds};refresher={refresher}"),
                );
            }
            None => {}
        }
        if let Some(least) = self.least {
            writer.header_fmt(Header::MinSe, format_args!("{least}"));
        }
    }
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A refresh, of ours.
    Refresh,
    /// The session has expired, or is about to: BYE (§10).
    Expired,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Off,
    Refreshing {
        /// `None` while one is under way.
        next: Option<Instant>,
        /// `None` where the peer knows no timers: an answer of any kind shows that it is there.
        end: Option<Instant>,
    },
    Watching {
        end: Option<Instant>,
    },
}

/// The session timer of one dialog.
#[derive(Clone, Debug)]
pub struct SessionTimer {
    policy: Policy,
    /// The highest Min-SE that was heard in the dialog.
    least: u32,
    /// What runs, or is to be asked for next.
    interval: u32,
    raises: u8,
    state: State,
}

impl SessionTimer {
    /// Of a dialog to be.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            least: policy.least_seconds,
            interval: policy.expires_seconds.max(policy.least_seconds),
            raises: 0,
            state: State::Off,
        }
    }

    /// What our INVITE or UPDATE says (§7.1, §7.4): roles stay as they are.
    #[must_use]
    pub fn ask(&self) -> Words {
        let refresher = match self.state {
            State::Off => None,
            State::Refreshing { .. } => Some(Refresher::Uac),
            State::Watching { .. } => Some(Refresher::Uas),
        };
        let silent = self.state == State::Off && self.policy.expires_seconds == 0;
        Words {
            expires: (!silent).then_some((self.interval, refresher)),
            least: (self.least > LEAST).then_some(self.least),
            required: false,
        }
    }

    /// Takes what their request asks for, as its 2xx goes out; gives back what that says (§9).
    pub fn grant(&mut self, terms: Terms, now: Instant) -> Words {
        self.hear(terms.least);
        let wanted = terms
            .expires
            .filter(|expires| *expires >= self.policy.least_seconds);
        let own = self.policy.expires_seconds;
        let interval = match wanted {
            Some(wanted) if own == 0 => wanted,
            Some(wanted) => wanted.min(own.max(self.least)),
            None if own == 0 => {
                self.state = State::Off;
                return Words::default();
            }
            None => own.max(self.least),
        };
        // §9's table: who knows no timers refreshes nothing; who names a refresher gets it; who
        // asks without a name does it itself, unless it was us all along.
        let refresher = match (terms.supported, terms.refresher) {
            (false, _) => Refresher::Uas,
            (true, Some(refresher)) => refresher,
            (true, None) => match self.state {
                State::Refreshing { end: Some(_), .. } => Refresher::Uas,
                State::Watching { .. } => Refresher::Uac,
                _ if wanted.is_some() => Refresher::Uac,
                _ => Refresher::Uas,
            },
        };
        let us = refresher == Refresher::Uas;
        self.run(interval, (us, terms.supported), now);
        Words {
            expires: Some((interval, Some(refresher))),
            least: None,
            required: terms.supported,
        }
    }

    /// Takes what a 2xx to our INVITE or UPDATE says (§7.2). One without Session-Expires is of a
    /// peer that knows no timers: we refresh for ourselves, to know whether it is there.
    pub fn granted(&mut self, terms: Terms, now: Instant) {
        match terms.expires {
            Some(expires) => {
                // Less than our Min-SE allows is against the rules, and no reason to hurry.
                let interval = expires.max(self.policy.least_seconds);
                self.run(
                    interval,
                    (terms.refresher != Some(Refresher::Uas), true),
                    now,
                );
            }
            None if self.policy.expires_seconds == 0 => self.state = State::Off,
            None => self.run(self.interval, (true, false), now),
        }
    }

    /// Takes a 422 of theirs; gives back whether to ask again, with the interval now raised (§7.3).
    pub fn raise(&mut self, least: Option<u32>) -> bool {
        let Some(least) = least.filter(|least| *least > self.interval) else {
            return false;
        };
        if self.raises >= MOST_RAISES || least > LONGEST {
            return false;
        }
        self.raises = self.raises.saturating_add(1);
        self.hear(Some(least));
        self.interval = least;
        true
    }

    fn hear(&mut self, least: Option<u32>) {
        if let Some(least) = least {
            self.least = self.least.max(least.min(LONGEST));
        }
    }

    fn run(&mut self, interval: u32, (us, agreed): (bool, bool), now: Instant) {
        self.raises = 0;
        self.interval = interval.min(LONGEST);
        let whole = Duration::from_secs(self.interval.into());
        let margin = Duration::from_secs(32).min(whole / 3);
        let end = now.checked_add(whole.saturating_sub(margin));
        self.state = if us {
            State::Refreshing {
                next: now.checked_add(whole / 2),
                end: end.filter(|_| agreed),
            }
        } else {
            State::Watching { end }
        };
    }

    /// When [`SessionTimer::due`] has something.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Off => None,
            State::Refreshing { next, end } => next.into_iter().chain(end).min(),
            State::Watching { end } => end,
        }
    }

    /// What is due. A refresh that is due is under way from now on.
    pub fn due(&mut self, now: Instant) -> Option<Due> {
        let is_due = |at: &Instant| *at <= now;
        match &mut self.state {
            State::Refreshing { end, .. } | State::Watching { end }
                if end.as_ref().is_some_and(is_due) =>
            {
                self.state = State::Off;
                Some(Due::Expired)
            }
            State::Refreshing { next, .. } => next.take_if(|at| is_due(at)).map(|_| Due::Refresh),
            _ => None,
        }
    }

    /// The refresh that was due could not go: an INVITE is under way.
    pub fn put_off(&mut self, now: Instant) {
        self.again_after(BUSY, now);
    }

    /// Our refresh was refused, and the dialog goes on. Where timers are agreed it is tried again
    /// in what time is left; who knows none has shown that it is there.
    pub fn refused(&mut self, now: Instant) {
        let wait = match self.state {
            State::Refreshing { end: Some(end), .. } => {
                (end.saturating_duration_since(now) / 2).max(AGAIN)
            }
            _ => Duration::from_secs(self.interval.into()) / 2,
        };
        self.again_after(wait.max(AGAIN), now);
    }

    fn again_after(&mut self, wait: Duration, now: Instant) {
        if let State::Refreshing { next, .. } = &mut self.state {
            *next = now.checked_add(wait);
        }
    }

    /// The session is over.
    pub fn stop(&mut self) {
        self.state = State::Off;
    }
}

#[cfg(test)]
mod tests;
