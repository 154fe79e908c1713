//! A request's body: of the type that it must have, as long as it may be, in the time that it may
//! take (lease-api 1).

use super::form::MAX_FORM_BYTES;
use super::status::{HEADER, PARAMETER, Refusal};
use bytes::{Buf, Bytes, BytesMut};
use std::pin::{Pin, pin};
use std::time::Duration;
use warp::http::HeaderMap;
use warp::http::header::{CONTENT_LENGTH, CONTENT_TYPE};

/// What is read and thrown away of a body that is too long, so that its sender gets the answer.
const MAX_DRAINED_BYTES: usize = 1024 * 1024;

/// Reads a body.
///
/// # Errors
/// Status 2: too long (HTTP 413), of another type than a form (415), too slow (408).
pub async fn read<S, D>(headers: &HeaderMap, stream: S, timeout: Duration) -> Result<Bytes, Refusal>
where
    S: warp::Stream<Item = Result<D, warp::Error>> + Send,
    D: Buf,
{
    let declared = headers.get(CONTENT_LENGTH);
    let declared = declared.and_then(|text| text.to_str().ok()?.parse::<usize>().ok());
    let too_long = declared.is_some_and(|length| length > MAX_FORM_BYTES);
    let most = if too_long { 0 } else { MAX_FORM_BYTES };
    let mut stream = pin!(stream);
    let read = collect(stream.as_mut(), most);
    let body = match tokio::time::timeout(timeout, read).await {
        Ok(body) => body?,
        Err(_) => return Err(Refusal::with_http(PARAMETER, 408)),
    };
    if body.is_empty() || is_form(headers) {
        Ok(body)
    } else {
        Err(Refusal::with_http(PARAMETER, 415))
    }
}

/// The first `most` bytes at the longest; the rest is thrown away, within reason.
async fn collect<S, D>(mut body: Pin<&mut S>, most: usize) -> Result<Bytes, Refusal>
where
    S: warp::Stream<Item = Result<D, warp::Error>>,
    D: Buf,
{
    let mut kept = BytesMut::new();
    let mut length = 0usize;
    while let Some(chunk) = std::future::poll_fn(|context| body.as_mut().poll_next(context)).await {
        let Ok(mut chunk) = chunk else {
            return Err(HEADER.into());
        };
        length = length.saturating_add(chunk.remaining());
        if length > MAX_DRAINED_BYTES {
            break;
        }
        if length <= most {
            let size = chunk.remaining();
            kept.extend_from_slice(&chunk.copy_to_bytes(size));
        }
    }
    if length > most {
        Err(Refusal::with_http(PARAMETER, 413))
    } else {
        Ok(kept.freeze())
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
