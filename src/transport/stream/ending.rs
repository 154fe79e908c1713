//! Why connections end, or never begin: each reason is counted.

/// A reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The peer closed it.
    Peer,
    /// The network or the peer broke it.
    Broken,
    /// It could not be made.
    Refused,
    /// It was not made in time.
    ConnectTimeout,
    /// A place that could not be reached a moment ago is not tried again yet.
    Backoff,
    /// TLS was not agreed on: certificate, name, version.
    Handshake,
    /// TLS was not agreed on in time.
    HandshakeTimeout,
    /// No first message, or not the rest of one, in time.
    HeaderTimeout,
    /// Nothing passed for long, and nothing was owed.
    Idle,
    /// The peer does not read what it is sent.
    Backlog,
    /// What came cannot be told apart as messages.
    Unframed,
    /// There are as many connections as there may be.
    Full,
    /// Its address has as many as it may have.
    Share,
    /// Its address is no trunk's.
    Stranger,
    /// There is no socket or no TLS for where it should go.
    NoWay,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Peer,
        Self::Broken,
        Self::Refused,
        Self::ConnectTimeout,
        Self::Backoff,
        Self::Handshake,
        Self::HandshakeTimeout,
        Self::HeaderTimeout,
        Self::Idle,
        Self::Backlog,
        Self::Unframed,
        Self::Full,
        Self::Share,
        Self::Stranger,
        Self::NoWay,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Broken => "broken",
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect-timeout",
            Self::Backoff => "backoff",
            Self::Handshake => "handshake",
            Self::HandshakeTimeout => "handshake-timeout",
            Self::HeaderTimeout => "header-timeout",
            Self::Idle => "idle",
            Self::Backlog => "backlog",
            Self::Unframed => "unframed",
            Self::Full => "full",
            Self::Share => "share",
            Self::Stranger => "stranger",
            Self::NoWay => "no-way",
        }
    }
}
