//! Dialogs (RFC 3261 §12): the state that both ends of a leg share, and the requests that are
//! written from it. One type for both roles; what differs (whose tag is in From) is settled when
//! the dialog is made.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::panic
    )
)]

pub mod reliable;
mod route;
mod seal;
pub mod session_timer;
#[cfg(test)]
mod tests;
mod token;

use crate::sip::message::{Header, Message, NameAddr, Path, Transport};
pub use token::{Entropy, Tag, branch, call_id, letters, of_letters};

pub use route::RouteSet;
pub use seal::Seal;

/// One dialog, confirmed or about to be.
#[derive(Debug)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: Box<str>,
    /// Our tag.
    pub local_tag: Tag,
    /// Our name-addr with its tag: From of our requests.
    pub local: Box<str>,
    /// The peer gave us that name: it was To of its INVITE.
    pub named_by_peer: bool,
    /// Their tag; empty for an RFC 2543 peer.
    pub remote_tag: Box<str>,
    /// Their name-addr with its tag as they wrote it: To of our requests.
    pub remote: Box<str>,
    /// Remote target: URI of their Contact.
    pub target: Box<str>,
    /// Route set.
    pub routes: RouteSet,
    /// CSeq of our last request in it.
    pub local_cseq: u32,
    /// CSeq of their last request; 0 before the first.
    pub remote_cseq: u32,
    /// Where our requests go.
    pub path: Path,
    /// The connection that its INVITE came by. Our requests go back on it, where the peer's target
    /// is at the same address: who made a connection may hear by it alone.
    pub connection: Option<Path>,
}

impl Dialog {
    /// The dialog that an INVITE from the peer makes (§12.1.1), with our To-tag. `None` without
    /// a Contact.
    #[must_use]
    pub fn from_invite(invite: &Message, tag: Tag, path: Path) -> Option<Self> {
        let routes = RouteSet::of_request(invite);
        let connection = (path.transport != Transport::Udp).then_some(path);
        let target: Box<str> = contact_uri(invite)?.into();
        let to = invite.get(Header::To).unwrap_or_default();
        Some(Self {
            call_id: invite.call_id().into(),
            local_tag: tag,
            local: format!("{to};tag={tag}").into(),
            named_by_peer: true,
            remote_tag: invite.from_tag().into(),
            remote: invite.get(Header::From).unwrap_or_default().into(),
            path: hop(routes.next_hop(&target, path), connection),
            connection,
            target,
            routes,
            local_cseq: 0,
            remote_cseq: invite.cseq(),
        })
    }

    /// The dialog that a 2xx to our INVITE makes (§12.1.2). `local` is our From with its tag,
    /// `fallback` the target if the 2xx names none, against the rules.
    #[must_use]
    pub fn from_success(
        success: &Message,
        (tag, local): (Tag, &str),
        fallback: &str,
        path: Path,
    ) -> Self {
        let routes = RouteSet::of_response(success);
        let target: Box<str> = contact_uri(success).unwrap_or(fallback).into();
        Self {
            call_id: success.call_id().into(),
            local_tag: tag,
            local: local.into(),
            named_by_peer: false,
            remote_tag: success.to_tag().into(),
            remote: success.get(Header::To).unwrap_or_default().into(),
            path: routes.next_hop(&target, path),
            connection: None,
            target,
            routes,
            local_cseq: success.cseq(),
            remote_cseq: 0,
        }
    }

    /// Whether a request of the peer belongs to it: Call-ID and both tags (§12.2.2).
    #[must_use]
    pub fn matches_request(&self, request: &Message) -> bool {
        Tag::read(request.to_tag()) == Some(self.local_tag)
            && request.from_tag().eq_ignore_ascii_case(&self.remote_tag)
            && request.call_id() == &*self.call_id
    }

    /// Takes a new target from a target refresh request or its 2xx (§12.2). The route set stays.
    pub fn refresh_target(&mut self, message: &Message) {
        if let Some(uri) = contact_uri(message)
            && *uri != *self.target
        {
            self.target = uri.into();
            let next = self.routes.next_hop(&self.target, self.path);
            self.path = hop(next, self.connection);
        }
    }

    /// CSeq for our next request in it.
    pub fn next_cseq(&mut self) -> u32 {
        self.local_cseq = self.local_cseq.saturating_add(1);
        self.local_cseq
    }

    /// Request-URI of our requests: the target, or a strict router's (§12.2.1.1).
    #[must_use]
    pub fn request_uri(&self) -> &str {
        self.routes.strict().unwrap_or(&self.target)
    }

    /// Route values of our requests, in order.
    pub fn route_values(&self) -> impl Iterator<Item = String> + '_ {
        self.routes.values(&self.target)
    }

    /// The strings of the peer's own that a request in this dialog repeats to it.
    #[must_use]
    pub fn echoed(&self) -> smallvec::SmallVec<[&str; 8]> {
        let mut all = smallvec::SmallVec::new();
        for text in [&self.call_id, &self.remote, &self.target] {
            all.push(&**text);
        }
        if self.named_by_peer {
            all.push(&*self.local);
        }
        all.extend(self.routes.raw());
        all
    }
}

/// The connection that the dialog came by, where it leads to the same place.
fn hop(next: Path, connection: Option<Path>) -> Path {
    match connection {
        Some(connection)
            if connection.transport == next.transport
                && connection.remote.ip() == next.remote.ip() =>
        {
            connection
        }
        _ => next,
    }
}

/// URI of the first Contact, unless it is `*`.
fn contact_uri(message: &Message) -> Option<&str> {
    let contact = NameAddr::parse(message.get(Header::Contact)?)?;
    (!contact.uri.is_empty() && contact.uri != "*").then_some(contact.uri)
}
