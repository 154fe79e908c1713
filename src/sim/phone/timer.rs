//! Session timers of telephones (RFC 4028), in both roles.

use super::super::text::header;
use super::{Line, Phones, State, Todo};
use std::time::{Duration, Instant};

/// How a telephone has its session timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timer {
    /// It knows none.
    #[default]
    None,
    /// It refreshes.
    Refreshes,
    /// It says that it refreshes and never does.
    Forgets,
    /// It wants to be refreshed.
    Watches,
    /// It asks for an interval that is too short.
    Hurries,
}

/// Seconds of every interval.
const INTERVAL: u64 = 12;

impl Timer {
    /// Header lines of its INVITE or of its 2xx to one.
    pub(super) fn lines(self, request: bool) -> String {
        let client = match self {
            Self::None => return String::new(),
            Self::Hurries => {
                return "Supported: timer\r\nSession-Expires: 3\r\n".to_owned();
            }
            Self::Refreshes | Self::Forgets => request,
            Self::Watches => !request,
        };
        let refresher = if client { "uac" } else { "uas" };
        let tag = if request { "Supported" } else { "Require" };
        format!("{tag}: timer\r\nSession-Expires: {INTERVAL};refresher={refresher}\r\n")
    }
}

impl Line {
    /// The session begins anew.
    pub(super) fn refreshed(&mut self, now: Instant) {
        self.refreshed_at = Some(now);
    }
}

impl Phones {
    pub(super) fn plan_timer(&mut self, id: &str, now: Instant) {
        let Some(line) = self.lines.get_mut(id) else {
            return;
        };
        line.refreshed(now);
        let interval = Duration::from_secs(INTERVAL);
        match line.up.timer {
            Timer::Refreshes => self.plan(id, Todo::Refresh, now + interval / 2),
            Timer::Watches => self.plan(id, Todo::Expire, now + interval),
            _ => {}
        }
    }

    pub(super) fn refresh(&mut self, id: &str, now: Instant) {
        let Some(line) = self.lines.get(id) else {
            return;
        };
        if line.reinviting.is_some() || self.is_unacknowledged(id) {
            return self.plan(id, Todo::Refresh, now + Duration::from_secs(1));
        }
        let body = line.described.clone();
        self.in_dialog(id, "INVITE", &body, now);
        self.seen.refreshes += 1;
        self.plan(id, Todo::Refresh, now + Duration::from_secs(INTERVAL) / 2);
    }

    /// Nobody refreshed in time: it hangs up.
    pub(super) fn expire(&mut self, id: &str, now: Instant) {
        let Some(line) = self.lines.get(id) else {
            return;
        };
        let end = line.refreshed_at.unwrap_or(now) + Duration::from_secs(INTERVAL);
        if now < end {
            return self.plan(id, Todo::Expire, end);
        }
        self.seen.expired += 1;
        self.act(id, &Todo::HangUp, now);
    }

    /// A re-INVITE of the gateway's was answered.
    pub(super) fn was_refreshed(&mut self, id: &str, text: &str, now: Instant) {
        let refresh = header(text, "Session-Expires").contains("refresher=uac");
        if let Some(line) = self
            .lines
            .get_mut(id)
            .filter(|line| line.state == State::Up)
        {
            line.refreshed(now);
            let watched = refresh && line.up.timer == Timer::Watches;
            self.seen.refreshed += u64::from(watched);
        }
    }
}
