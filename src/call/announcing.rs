//! A recording for a caller whose call is refused: state `Announcing`, between the refusal and its
//! final response (sip-bridging 6).

use super::bridge::{Call, Media, State};
use super::cause::End;
use super::context::Context;
use super::event::{Announcement, Fork, Input, MediaCommand, MediaEvent, Refusal, SipCommand};
use super::setup::passes_early;
use crate::domain::Now;
use bytes::Bytes;
use std::time::{Duration, Instant};

/// How much longer than the recording the relay may take to say that it is over.
const GUARD: Duration = Duration::from_secs(2);

/// What a refused call waits for.
#[derive(Debug)]
pub(super) struct Announcing {
    /// How it ends.
    end: End,
    /// How long the recording is.
    length: Duration,
    /// When it is waited for no longer.
    pub until: Option<Instant>,
}

impl Call {
    /// A row of sip-bridging 2 failed: the caller is told so by a recording first, where there is
    /// one for it and the caller can hear it, and by the final response.
    pub(super) fn refuse_aloud(
        &mut self,
        refusal: Refusal,
        offer: Option<Bytes>,
        now: Now,
        context: &mut Context<'_>,
    ) {
        let which = Announcement::of(refusal);
        let length = which.and_then(|which| context.settings.announcements.length(which));
        let hears = passes_early(self.trunk_in, context);
        let (Some(which), Some(length), Some(trunk), Some(offer), true) =
            (which, length, self.trunk_in, offer, hears)
        else {
            return self.refuse(refusal, now, context);
        };
        let until = now.mono.checked_add(length + GUARD);
        self.announcing = Some(Box::new(Announcing {
            end: Self::refusal(refusal, context),
            length,
            until,
        }));
        self.setup = None;
        self.state = State::Announcing;
        self.media = Media::Open;
        self.media(MediaCommand::Announce {
            trunk,
            offer,
            which,
        });
    }

    /// Announcing: the recording, or whatever ends a call that is not answered.
    pub(super) fn announcing(&mut self, input: Input, now: Now, context: &mut Context<'_>) {
        match input {
            Input::Media(MediaEvent::Announcing(body)) => {
                if let Some(announcing) = &mut self.announcing {
                    announcing.until = now.mono.checked_add(announcing.length + GUARD);
                }
                self.sip(SipCommand::Progress {
                    fork: Fork(0),
                    status: 183,
                    body: Some(body),
                });
            }
            Input::Media(MediaEvent::Unannounced) => {
                self.media = Media::None;
                self.announced(now, context);
            }
            Input::Media(MediaEvent::Played) => self.announced(now, context),
            other => self.unanswered(other, now, context),
        }
    }

    /// Nobody says that it is over.
    pub(super) fn announcing_timeout(&mut self, now: Now, context: &mut Context<'_>) {
        let until = self.announcing.as_ref().and_then(|one| one.until);
        if until.is_none_or(|until| until <= now.mono) {
            self.announced(now, context);
        }
    }

    fn announced(&mut self, now: Now, context: &mut Context<'_>) {
        if let Some(announcing) = self.announcing.take() {
            self.end(announcing.end, now, context);
        }
    }
}
