//! HTTP around an answer's bytes: status, headers, streams.

use super::history::{Format, export};
use super::status::{Refusal, status};
use bytes::Bytes;
use warp::http::StatusCode;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use warp::reply::{Reply as _, Response};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer with its HTTP status, or 200 where every answer has that.
pub fn respond(always_ok: bool, refusal: Refusal, bytes: Bytes) -> Response {
    let row = status(refusal.code);
    let http = if always_ok {
        200
    } else {
        refusal.http.unwrap_or(row.http)
    };
    let mut response = json(http, bytes);
    if row.retry_after > 0 {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(row.retry_after));
    }
    response
}

/// JSON with this HTTP status.
pub fn json(http: u16, bytes: Bytes) -> Response {
    let mut response = Response::new(bytes.into());
    *response.status_mut() =
        StatusCode::from_u16(http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    // Answers hold numbers and balances: nothing on the way may keep them.
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An export on its way.
pub fn stream(stream: export::ExportStream, format: Format) -> Response {
    let mut response = warp::reply::stream(stream).into_response();
    let kind = match format {
        Format::Csv => "text/csv; charset=utf-8; header=present",
        Format::JsonLines => "application/jsonl; charset=utf-8",
    };
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
