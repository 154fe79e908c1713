//! Writing of our messages: what every request and response of ours carries.

use super::core::Core;
use super::reason;
pub(super) use super::transports::contact;
use super::transports::{is_secure, via_token};
use crate::call::event::Cause;
use crate::sip::dialog::{Dialog, Tag, reliable, session_timer};
use crate::sip::message::{Header, Message, Method, Path, Writer};
use bytes::Bytes;

/// Methods that we take (RFC 3261 §20.5).
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE";

/// Option tags that are ours (RFC 3261 §19.2): they stand in Supported, and may in Require.
pub(super) const OPTIONS: &[&str] = &[session_timer::OPTION, reliable::OPTION];

/// The same on a leg whose trunk has 100rel.
pub(super) const ALL_SUPPORTED: &str = "timer, 100rel";

/// Those that are ours on every leg, as Supported has them.
pub(super) const SUPPORTED: &str = "timer";

/// Body types that we take.
pub(super) const ACCEPT: &str = "application/sdp, multipart/mixed";

/// Body types that INFO may have.
const ACCEPT_INFO: &str = "application/dtmf-relay, application/dtmf";

/// Content type of a session description.
pub(super) const SDP: &str = "application/sdp";

/// Max-Forwards of requests that start with us (RFC 3261 §8.1.1.6).
const MAX_FORWARDS: u8 = 70;

/// Starts a request of ours: request line, Via, Max-Forwards.
pub(super) fn request(
    core: &Core,
    (method, uri): (Method, &str),
    branch: &str,
    path: Path,
    max_forwards: Option<u8>,
) -> Writer {
    let mut writer = Writer::request(method, uri);
    let path = core.settings.settle(path);
    writer.header_fmt(
        Header::Via,
        format_args!(
            "SIP/2.0/{} {};branch={branch};rport",
            via_token(path.transport),
            core.named(path)
        ),
    );
    writer.header_fmt(
        Header::MaxForwards,
        format_args!("{}", max_forwards.unwrap_or(MAX_FORWARDS)),
    );
    writer
}

/// Starts a request in a dialog: all that RFC 3261 §12.2.1.1 asks for.
pub(super) fn in_dialog(
    core: &Core,
    dialog: &Dialog,
    method: Method,
    cseq: u32,
    branch: &str,
) -> Writer {
    let mut writer = request(
        core,
        (method, dialog.request_uri()),
        branch,
        dialog.path,
        None,
    );
    for route in dialog.route_values() {
        writer.header(Header::Route, &route);
    }
    writer.header(Header::From, &dialog.local);
    writer.header(Header::To, &dialog.remote);
    writer.header(Header::CallId, &dialog.call_id);
    writer.header_fmt(Header::CSeq, format_args!("{cseq} {}", method.as_str()));
    writer
}

/// Ends a message whose body, if there is one, is a session description.
pub(super) fn finish(writer: Writer, body: Option<&Bytes>) -> Bytes {
    writer.finish(body.map(|body| (SDP, body.as_ref())))
}

/// Starts a response with our tag, if it is given one and the request had none.
pub(super) fn response(request: &Message, path: Path, status: u16, tag: Option<Tag>) -> Writer {
    let tag = tag.map(|tag| tag.to_string());
    Writer::response_to(request, status, tag.as_deref(), path)
}

/// A response to an INVITE that makes a dialog: Record-Route, Contact, Allow, SDP (§12.1.1).
pub(super) fn dialog_response(
    core: &Core,
    request: (&Message, Path),
    status: u16,
    tag: Option<Tag>,
    body: Option<&Bytes>,
) -> Bytes {
    finish(dialog_head(core, request, status, tag), body)
}

/// The same as far as its body, for who has more to say.
pub(super) fn dialog_head(
    core: &Core,
    (invite, path): (&Message, Path),
    status: u16,
    tag: Option<Tag>,
) -> Writer {
    let mut writer = response(invite, path, status, tag);
    for route in invite.all(Header::RecordRoute) {
        writer.header(Header::RecordRoute, route);
    }
    contact(core, &mut writer, path, is_secure(invite.uri()));
    writer.header(Header::Allow, ALLOW);
    writer.header(Header::Supported, SUPPORTED);
    writer
}

/// What a refusal carries beside its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Status; 0 stands for none.
    pub(super) status: u16,
    /// Q.850 cause of the Reason header, 0 for none (RFC 6432).
    pub(super) q850: u8,
    /// Seconds of Retry-After, 0 for none.
    pub(super) retry_after: u32,
    /// Seconds of Min-SE, with 422 (RFC 4028 §6), 0 for none.
    pub(super) least_interval: u32,
    /// Option tags of Unsupported, with 420.
    pub(super) unsupported: Option<Box<str>>,
    /// Reason phrase where the standard one does not say enough.
    pub(super) phrase: Option<&'static str>,
}

impl Refusal {
    /// A bare one.
    pub(super) fn of(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// With a Q.850 cause.
    pub(super) fn because(status: u16, q850: u8) -> Self {
        Self {
            status,
            q850,
            ..Self::default()
        }
    }

    /// The same as a cause.
    pub(super) fn cause(&self) -> Cause {
        Cause {
            sip: self.status,
            q850: self.q850,
        }
    }

    /// Writes it.
    pub(super) fn write(&self, request: &Message, path: Path, tag: Option<Tag>) -> Bytes {
        let mut writer = response(request, path, self.status, tag);
        if self.status == 405 {
            writer.header(Header::Allow, ALLOW);
        }
        if self.status == 415 {
            let info = request.method() == Method::Info;
            writer.header(Header::Accept, if info { ACCEPT_INFO } else { ACCEPT });
        }
        if let Some(tags) = &self.unsupported {
            writer.header(Header::Unsupported, tags);
        }
        if self.least_interval > 0 {
            writer.header_fmt(Header::MinSe, format_args!("{}", self.least_interval));
        }
        if self.retry_after > 0 {
            writer.header_fmt(Header::RetryAfter, format_args!("{}", self.retry_after));
        }
        if let Some(reason) = reason::of_response(self.cause()) {
            writer.header(Header::Reason, &reason);
        }
        let bytes = writer.finish(None);
        match self.phrase {
            Some(phrase) => with_phrase(&bytes, self.status, phrase),
            None => bytes,
        }
    }
}

/// The same response with another reason phrase.
fn with_phrase(bytes: &Bytes, status: u16, phrase: &str) -> Bytes {
    let line_end = bytes.iter().position(|byte| *byte == b'\r');
    let rest = line_end
        .and_then(|end| bytes.get(end..))
        .unwrap_or_default();
    let mut text = format!("SIP/2.0 {status} {phrase}").into_bytes();
    text.extend_from_slice(rest);
    Bytes::from(text)
}
