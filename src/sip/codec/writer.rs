//! The serialiser: our own, so that nobody's data becomes a header of ours.

use super::names::phrase as standard_phrase;
use super::via::write_received;
use crate::sip::message::{Header, Message, Method, Path, Writer};
use bytes::{BufMut, Bytes, BytesMut};
use std::fmt::{self, Write};

/// First size of a message buffer: most messages fit, and what is sent is cut to its size.
const ROOM: usize = 1024;

impl Writer {
    /// Begins a request. Only what can stand in a Request-URI gets into it: it ends at the first
    /// white space or control character.
    #[must_use]
    pub fn request(method: Method, uri: &str) -> Self {
        let mut writer = Self::empty();
        let end = uri
            .bytes()
            .position(|byte| byte <= b' ' || byte == 0x7f)
            .unwrap_or(uri.len());
        writer.cut |= end < uri.len();
        writer.put(method.as_str());
        writer.put(" ");
        writer.put(uri.get(..end).unwrap_or_default());
        writer.put(" SIP/2.0\r\n");
        writer
    }

    /// Begins a response with a phrase of one's own; [`super::phrase`] has the standard ones.
    #[must_use]
    pub fn response(status: u16, phrase: &str) -> Self {
        let mut writer = Self::empty();
        writer.line(format_args!("SIP/2.0 {status} {phrase}"));
        writer
    }

    /// Begins the response to a request (RFC 3261 §8.2.6.2): Via (with `received` and `rport` by
    /// RFC 3581), From, To (with `to_tag` if it has no tag), Call-ID and CSeq are the request's.
    #[must_use]
    pub fn response_to(
        request: &Message,
        status: u16,
        to_tag: Option<&str>,
        received: Path,
    ) -> Self {
        let mut writer = Self::response(status, standard_phrase(status));
        for (place, via) in request.all(Header::Via).enumerate() {
            if place == 0 {
                writer.top_via(via, received);
            } else {
                writer.header(Header::Via, via);
            }
        }
        writer.copy(request, Header::From);
        let to = request.get(Header::To).unwrap_or_default();
        match to_tag {
            Some(tag) if request.to_tag().is_empty() => {
                writer.header_fmt(Header::To, format_args!("{to};tag={tag}"))
            }
            _ => writer.header(Header::To, to),
        };
        writer.copy(request, Header::CallId);
        writer.copy(request, Header::CSeq);
        writer
    }

    /// Adds a header.
    pub fn header(&mut self, name: Header, value: &str) -> &mut Self {
        self.name(name);
        self.value(value);
        self.put("\r\n");
        self
    }

    /// Adds a header from `format_args!`.
    pub fn header_fmt(&mut self, name: Header, value: fmt::Arguments<'_>) -> &mut Self {
        self.name(name);
        self.line(value);
        self
    }

    /// Adds every value that `message` has of a header, each on a line.
    pub fn copy(&mut self, message: &Message, name: Header) -> &mut Self {
        for value in message.all(name) {
            self.header(name, value);
        }
        self
    }

    /// Whether something was left out for a CR, LF or NUL in it.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Ends the message: Content-Length, and the content with its type if there is some.
    #[must_use]
    pub fn finish(mut self, content: Option<(&str, &[u8])>) -> Bytes {
        let body = match content {
            Some((content_type, body)) => {
                self.header(Header::ContentType, content_type);
                body
            }
            None => &[],
        };
        self.header_fmt(Header::ContentLength, format_args!("{}", body.len()));
        self.buffer.reserve(body.len().saturating_add(2));
        self.put("\r\n");
        self.buffer.put_slice(body);
        // Transactions keep what they may have to repeat: not a byte more than there is.
        Bytes::copy_from_slice(&self.buffer)
    }

    /// A request's topmost Via, as a response to it has it.
    pub(super) fn top_via(&mut self, via: &str, received: Path) {
        self.name(Header::Via);
        let mut line = Line::of(self);
        // Writing into the buffer cannot fail; a cut value is an error to stop at, not to report.
        let _ = write_received(&mut line, via, received);
        self.put("\r\n");
    }

    fn empty() -> Self {
        Self {
            buffer: BytesMut::with_capacity(ROOM),
            cut: false,
        }
    }

    fn name(&mut self, name: Header) {
        self.put(name.as_str());
        self.put(": ");
    }

    fn line(&mut self, value: fmt::Arguments<'_>) {
        let _ = Line::of(self).write_fmt(value);
        self.put("\r\n");
    }

    fn value(&mut self, value: &str) {
        let _ = Line::of(self).write_str(value);
    }

    fn put(&mut self, text: &str) {
        self.buffer.put_slice(text.as_bytes());
    }
}

/// Writes one value, up to the first CR, LF or NUL.
struct Line<'a> {
    writer: &'a mut Writer,
}

impl<'a> Line<'a> {
    fn of(writer: &'a mut Writer) -> Self {
        Self { writer }
    }
}

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match memchr::memchr3(b'\r', b'\n', 0, text.as_bytes()) {
            None => {
                self.writer.put(text);
                Ok(())
            }
            Some(at) => {
                self.writer.put(text.get(..at).unwrap_or_default());
                self.writer.cut = true;
                Err(fmt::Error)
            }
        }
    }
}

/// The ACK to a final failure (RFC 3261 §17.1.1.3): Request-URI, topmost Via, From, Call-ID, CSeq
/// number, Route and credentials (§22.1) of the INVITE as it was sent, To of the response. `None` if `invite` cannot be
/// read, which those that we wrote can.
#[must_use]
pub fn ack_for(invite: &Bytes, response: &Message) -> Option<Bytes> {
    let invite = super::parse(invite.clone()).ok()?;
    let mut writer = Writer::request(Method::Ack, invite.uri());
    writer.header(Header::Via, invite.get(Header::Via)?);
    writer.header(
        Header::MaxForwards,
        invite.get(Header::MaxForwards).unwrap_or("70"),
    );
    writer.copy(&invite, Header::Route);
    writer.copy(&invite, Header::From);
    writer.copy(response, Header::To);
    writer.copy(&invite, Header::CallId);
    writer.header_fmt(Header::CSeq, format_args!("{} ACK", invite.cseq()));
    writer.copy(&invite, Header::Authorization);
    writer.copy(&invite, Header::ProxyAuthorization);
    Some(writer.finish(None))
}
