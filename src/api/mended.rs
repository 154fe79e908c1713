//! What hyper answers by itself, made ours. A request that it cannot parse never reaches the API: it
//! writes a bare `400`, `414` or `431` without a body and closes, and offers no hook for it. The
//! contract wants JSON always (lease-api 1), so such an answer is recognised on its way to the socket
//! and written anew.
//!
//! It cannot be mistaken for one of ours: those have a content type.

use super::answer;
use super::status::{HEADER, PARAMETER};
use crate::books::command::Code;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that speaks HTTP/1 as a server.
#[derive(Debug)]
pub struct Mended<S, F> {
    stream: S,
    always_ok: bool,
    /// Told of each answer that was mended.
    count: F,
    /// What is written in place of hyper's bytes, and how much of it has been.
    instead: Vec<u8>,
    written: usize,
}

impl<S, F: FnMut(Code)> Mended<S, F> {
    /// Around `stream`; `always_ok`: HTTP 200 whatever the status (`http.always_ok`).
    pub fn new(stream: S, always_ok: bool, count: F) -> Self {
        Self {
            stream,
            always_ok,
            count,
            instead: Vec::new(),
            written: 0,
        }
    }

    /// Whether `bytes` are to be written otherwise; what is to be written is then in place.
    fn is_mended(&mut self, bytes: &[u8]) -> bool {
        if !self.instead.is_empty() {
            return true;
        }
        let Some((line, code)) = bare(bytes) else {
            return false;
        };
        let line = if self.always_ok { "200 OK" } else { line };
        let body = answer::failure(None, code);
        self.instead = format!(
            "HTTP/1.1 {line}\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();
        self.instead.extend_from_slice(&body);
        self.written = 0;
        (self.count)(code);
        true
    }
}

/// hyper's own refusals: the status line and which of our codes says the same. `None` for all else.
fn bare(bytes: &[u8]) -> Option<(&'static str, Code)> {
    let rest = bytes.strip_prefix(b"HTTP/1.")?;
    let (line, code) = match rest.get(1..5)? {
        b" 400" => ("400 Bad Request", HEADER),
        b" 414" => ("414 URI Too Long", PARAMETER),
        b" 431" => ("431 Request Header Fields Too Large", HEADER),
        _ => return None,
    };
    let head = bytes.strip_suffix(b"\r\n\r\n")?;
    let typed = head
        .windows(b"\ncontent-type:".len())
        .any(|part| part.eq_ignore_ascii_case(b"\ncontent-type:"));
    (!typed).then_some((line, code))
}

impl<S: AsyncWrite + Unpin, F: FnMut(Code) + Unpin> Mended<S, F> {
    /// Writes what stands in for `length` bytes of hyper's, which count as written at the end.
    fn write_instead(
        &mut self,
        context: &mut Context<'_>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        while let Some(rest) = self.instead.get(self.written..)
            && !rest.is_empty()
        {
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written = self.written.saturating_add(count);
        }
        self.instead.clear();
        Poll::Ready(Ok(length))
    }
}

impl<S: AsyncWrite + Unpin, F: FnMut(Code) + Unpin> AsyncWrite for Mended<S, F> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_mended(bytes) {
            self.write_instead(context, bytes.len())
        } else {
            Pin::new(&mut self.stream).poll_write(context, bytes)
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match slices.iter().find(|slice| !slice.is_empty()) {
            Some(first) if self.is_mended(first) => self.write_instead(context, first.len()),
            _ => Pin::new(&mut self.stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin, F: Unpin> AsyncRead for Mended<S, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn only_bare_refusals_are_mended() {
        let code = |text: &str| bare(text.as_bytes()).map(|(_, code)| code);
        let head = "content-length: 0\r\ndate: now\r\n\r\n";
        for (line, expected) in [
            ("HTTP/1.1 400 Bad Request", HEADER),
            ("HTTP/1.0 431 x", HEADER),
            ("HTTP/1.1 414 x", PARAMETER),
        ] {
            assert_eq!(code(&format!("{line}\r\n{head}")), Some(expected));
        }
        for other in [
            format!("HTTP/1.1 200 OK\r\n{head}"),
            format!("HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n{head}"),
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
            "HTTP/1.1 400".to_owned(),
            String::new(),
        ] {
            assert_eq!(code(&other), None, "{other:?}");
        }
    }

    /// A socket that takes a few bytes at a time gets all of the answer, once.
    #[tokio::test]
    async fn a_slow_socket_gets_the_whole_answer() {
        let (near, mut far) = tokio::io::duplex(7);
        let mut counted = Vec::new();
        let mut mended = Mended::new(near, false, |code| counted.push(code));
        let read = tokio::spawn(async move {
            let mut text = String::new();
            far.read_to_string(&mut text).await.unwrap();
            text
        });
        let bare = b"HTTP/1.1 431 x\r\ncontent-length: 0\r\n\r\n";
        mended.write_all(bare).await.unwrap();
        mended.write_all(b"after").await.unwrap();
        drop(mended);
        let text = read.await.unwrap();
        assert!(
            text.starts_with("HTTP/1.1 431 Request Header Fields"),
            "{text}"
        );
        assert!(text.contains("{\"status\":1,"), "{text}");
        assert!(text.ends_with("}after"), "{text}");
        assert_eq!(counted, [HEADER]);
    }
}
