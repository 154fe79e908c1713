//! A request's body: of the type that it must have, as long as it may be, in the time that it may
//! take (lease-api 1).

use super::form::MAX_FORM_BYTES;
use super::status::{HEADER, PARAMETER, Refusal};
use crate::books::command::Code;
use bytes::{Buf, Bytes, BytesMut};
use std::pin::Pin;
use std::time::Duration;
use warp::http::HeaderMap;
use warp::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};

/// What is read and thrown away of a body that is too long, so that its sender gets the answer.
const MAX_DRAINED_BYTES: usize = 1024 * 1024;
/// Who has sent nothing for so long is not in the middle of sending.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

/// Whether the headers that describe the body can be understood.
///
/// # Errors
/// Status 1: more than one `Content-Type` (RFC 9110 section 8.3 has one).
pub fn check_headers(headers: &HeaderMap) -> Result<(), Code> {
    if headers.get_all(CONTENT_TYPE).iter().nth(1).is_some() {
        Err(HEADER)
    } else {
        Ok(())
    }
}

/// Reads a body.
///
/// # Errors
/// Status 2: too long (HTTP 413, as soon as that is known), of another type than a form (415), too
/// slow (408).
pub async fn read<S, D>(headers: &HeaderMap, stream: S, timeout: Duration) -> Result<Bytes, Refusal>
where
    S: warp::Stream<Item = Result<D, warp::Error>> + Send + 'static,
    D: Buf,
{
    let mut stream = Box::pin(stream);
    // A declared length that is no number never comes this far; one beyond all numbers is too long.
    let declared = headers
        .get(CONTENT_LENGTH)
        .map(|text| text.to_str().ok().and_then(|text| text.parse().ok()))
        .map_or(0, |length: Option<usize>| length.unwrap_or(usize::MAX));
    let read = async {
        if declared > MAX_FORM_BYTES {
            Ok(None)
        } else {
            collect(stream.as_mut()).await
        }
    };
    let body = match tokio::time::timeout(timeout, read).await {
        Ok(body) => body?,
        Err(_) => return Err(Refusal::with_http(PARAMETER, 408)),
    };
    let Some(body) = body else {
        // Who asked first whether to send it (100 Continue) has the answer, and sends nothing.
        if !headers.contains_key(EXPECT) {
            tokio::spawn(async move {
                let _ = tokio::time::timeout(timeout, drain(stream.as_mut())).await;
            });
        }
        return Err(Refusal::with_http(PARAMETER, 413));
    };
    if body.is_empty() || is_form(headers) {
        Ok(body)
    } else {
        Err(Refusal::with_http(PARAMETER, 415))
    }
}

/// The whole body; `None` as soon as it is too long.
async fn collect<S, D>(mut body: Pin<&mut S>) -> Result<Option<Bytes>, Refusal>
where
    S: warp::Stream<Item = Result<D, warp::Error>>,
    D: Buf,
{
    let mut kept = BytesMut::new();
    while let Some(chunk) = std::future::poll_fn(|context| body.as_mut().poll_next(context)).await {
        let Ok(mut chunk) = chunk else {
            return Err(HEADER.into());
        };
        let size = chunk.remaining();
        if kept.len().saturating_add(size) > MAX_FORM_BYTES {
            return Ok(None);
        }
        kept.extend_from_slice(&chunk.copy_to_bytes(size));
    }
    Ok(Some(kept.freeze()))
}

/// Throws away what still comes of a body that was refused, within reason: a connection that is
/// closed on unread bytes is reset, and the answer may be lost with it.
async fn drain<S, D>(mut body: Pin<&mut S>)
where
    S: warp::Stream<Item = Result<D, warp::Error>>,
    D: Buf,
{
    let mut length = 0usize;
    while length <= MAX_DRAINED_BYTES {
        let next = std::future::poll_fn(|context| body.as_mut().poll_next(context));
        match tokio::time::timeout(DRAIN_PATIENCE, next).await {
            Ok(Some(Ok(chunk))) => length = length.saturating_add(chunk.remaining()),
            Ok(Some(Err(_)) | None) | Err(_) => return,
        }
    }
}

/// A body without a type is taken for a form; one with another type, or of another character set
/// than UTF-8, is not.
fn is_form(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    value.to_str().is_ok_and(is_form_type)
}

/// A media type by RFC 9110 section 8.3.1: a `;` in a quoted value ends no parameter.
fn is_form_type(text: &str) -> bool {
    let mut quoted = false;
    let mut parts = text.split(|sign: char| {
        quoted ^= sign == '"';
        sign == ';' && !quoted
    });
    let is_form = parts.next().is_some_and(|kind| {
        kind.trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    });
    is_form && parts.all(is_readable)
}

/// Whether a parameter of the media type leaves the body UTF-8.
fn is_readable(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return true;
    };
    let value = value.trim();
    let bare = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    !name.trim().eq_ignore_ascii_case("charset")
        || bare.unwrap_or(value).eq_ignore_ascii_case("utf-8")
}

#[cfg(test)]
mod tests {
    use super::is_form_type;

    #[test]
    fn a_form_is_utf_8() {
        let form = "Application/x-www-form-urlencoded";
        for (parameters, good) in [
            ("", true),
            ("; charset=utf-8", true),
            (";CHARSET=\"UTF-8\" ; x=y", true),
            ("; x=\";charset=latin1\"", true),
            (";", true),
            ("; charset=iso-8859-1", false),
            ("; charset=\"utf-16\"", false),
            ("; charset=utf-8; Charset=latin1", false),
            ("; charset=", false),
            ("; charset=\"utf-8", false),
        ] {
            assert_eq!(
                is_form_type(&format!("{form}{parameters}")),
                good,
                "{parameters}"
            );
        }
        assert!(!is_form_type("application/json; charset=utf-8"));
    }
}
