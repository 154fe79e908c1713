//! The status codes (lease-api 5): one row a code.

use crate::books::command::Code;

/// One row of lease-api 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The number in the JSON.
    pub code: u16,
    /// Its fixed text.
    pub description: &'static str,
    /// HTTP status, where the reason does not give another (405, 413, 415).
    pub http: u16,
    /// Seconds to say in `Retry-After`; 0 = no such header.
    pub retry_after: u16,
}

const fn row(code: u16, http: u16, description: &'static str) -> Status {
    Status {
        code,
        description,
        http,
        retry_after: 0,
    }
}

const fn retry(code: u16, http: u16, description: &'static str) -> Status {
    Status {
        code,
        description,
        http,
        retry_after: 1,
    }
}

/// Every status code there is, by number. Ours begin at 100.
pub static STATUSES: [Status; 45] = [
    row(0, 200, "Success"),
    row(1, 400, "Invalid HTTP header or HTTP header error."),
    row(2, 400, "Invalid request parameter or parameter error."),
    row(3, 404, "Invalid API requested."),
    row(4, 404, "Invalid/deprecated API version."),
    row(5, 401, "Authentication failure."),
    row(6, 403, "Authorization failure."),
    row(7, 401, "Invalid request signature."),
    row(8, 400, "Invalid phone number format."),
    row(9, 400, "Too many whitelist phone numbers."),
    row(10, 404, "Invalid reference id."),
    row(11, 409, "Insufficient resources."),
    row(12, 409, "Too many leases exist for same user."),
    row(13, 401, "Invalid access token."),
    row(14, 401, "Access token missing."),
    row(15, 400, "Invalid phone number parameter."),
    row(16, 400, "Invalid IMSI parameter."),
    row(17, 400, "Invalid MCC parameter."),
    row(18, 400, "Invalid MNC parameter."),
    row(19, 400, "Invalid reference id parameter."),
    row(20, 400, "Invalid first name parameter."),
    row(21, 400, "Invalid last name parameter."),
    row(22, 400, "Invalid account status parameter."),
    row(23, 400, "Invalid account credit parameter."),
    row(24, 400, "Invalid charge method parameter."),
    row(25, 400, "Invalid 'enable single service' parameter."),
    row(26, 400, "Invalid 'charge block single' parameter."),
    row(27, 400, "Invalid 'charge rate single' parameter."),
    row(28, 400, "Invalid 'enable group service' parameter."),
    row(29, 400, "Invalid 'charge block group' parameter."),
    row(30, 400, "Invalid 'charge rate group' parameter."),
    row(31, 400, "Invalid 'max lease single' parameter."),
    row(32, 400, "Invalid 'max lease group' parameter."),
    row(33, 400, "Invalid 'customer id' parameter."),
    row(34, 400, "Invalid 'credit' parameter."),
    row(35, 404, "Invalid customer account id parameter."),
    row(36, 400, "Invalid 'quantity' parameter."),
    row(
        37,
        403,
        "Account status does not permit the requested operation.",
    ),
    retry(38, 503, "Lock is busy, try again later."),
    row(39, 409, "Reached max allowed single lease."),
    row(40, 409, "Reached max allowed group lease."),
    row(41, 400, "Invalid 'expiry value' parameter."),
    row(42, 400, "Invalid 'expiry unit' parameter."),
    row(99, 500, "Internal/system error."),
    retry(100, 429, "Too many requests."),
];

/// Success.
pub const OK: Code = Code(0);
/// Invalid HTTP header.
pub const HEADER: Code = Code(1);
/// Invalid parameter.
pub const PARAMETER: Code = Code(2);
/// No such operation.
pub const OPERATION: Code = Code(3);
/// No such version.
pub const VERSION: Code = Code(4);
/// Unknown or disabled API client.
pub const AUTHENTICATION: Code = Code(5);
/// The client lacks the scope, or may not act for this customer.
pub const AUTHORIZATION: Code = Code(6);
/// Bad request signature.
pub const SIGNATURE: Code = Code(7);
/// Not a valid number.
pub const PHONE_FORMAT: Code = Code(8);
/// Whitelist too long.
pub const WHITELIST: Code = Code(9);
/// Bad token.
pub const TOKEN: Code = Code(13);
/// No token.
pub const TOKEN_MISSING: Code = Code(14);
/// Phone missing.
pub const PHONE: Code = Code(15);
/// Bad IMSI.
pub const IMSI: Code = Code(16);
/// Bad MCC.
pub const MCC: Code = Code(17);
/// Bad MNC.
pub const MNC: Code = Code(18);
/// Bad reference.
pub const REFERENCE: Code = Code(19);
/// Bad customer id.
pub const CUSTOMER: Code = Code(33);
/// Bad amount.
pub const CREDIT: Code = Code(34);
/// Bad quantity.
pub const QUANTITY: Code = Code(36);
/// Busy, try again.
pub const BUSY: Code = Code(38);
/// Bad expiry value.
pub const EXPIRY_VALUE: Code = Code(41);
/// Bad expiry unit.
pub const EXPIRY_UNIT: Code = Code(42);
/// Our own fault.
pub const INTERNAL: Code = Code(99);
/// Over the rate limit.
pub const RATE: Code = Code(100);

/// Place of `code` in [`STATUSES`]; a code that is not there counts as 99.
#[must_use]
pub fn position(code: Code) -> usize {
    match code.0 {
        known @ 0..=42 => usize::from(known),
        100 => 44,
        _ => 43,
    }
}

/// The row of `code`; that of 99 where there is none.
#[must_use]
pub fn status(code: Code) -> Status {
    STATUSES.get(position(code)).copied().unwrap_or(Status {
        code: 99,
        description: "Internal/system error.",
        http: 500,
        retry_after: 0,
    })
}

/// A failure found before the books were asked, with the HTTP status where it is not the row's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status code.
    pub code: Code,
    /// 405, 413 or 415, where one of these applies.
    pub http: Option<u16>,
}

impl Refusal {
    /// `code` with another HTTP status than its row's.
    #[must_use]
    pub const fn with_http(code: Code, http: u16) -> Self {
        Self {
            code,
            http: Some(http),
        }
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self { code, http: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_finds_its_own_row() {
        for (place, row) in STATUSES.iter().enumerate() {
            assert_eq!(position(Code(row.code)), place);
            assert_eq!(status(Code(row.code)), *row);
        }
        assert_eq!(status(Code(77)).code, 99);
    }

    #[test]
    fn the_documentation_has_every_row() {
        let page = include_str!("../../docs/status-codes.md");
        for row in &STATUSES {
            let line = format!("| {} | {} | {}", row.code, row.description, row.http);
            assert!(page.contains(&line), "docs/status-codes.md lacks `{line}`");
        }
    }
}
