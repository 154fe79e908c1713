//! Where a path leads (lease-api 1): version, operation, or neither.

use super::operation;

/// Where a path leads (lease-api 1).
#[derive(Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// An operation; its place in the table.
    Operation(usize),
    /// Status 4.
    OtherVersion,
    /// Status 3 below `/api/v1`.
    NoOperation,
    /// Not the API's.
    Beside(&'a str),
}

/// Reads `path`; any of `prefixes` may stand before `/api`.
#[must_use]
pub fn route<'a>(prefixes: &[String], path: &'a str) -> Route<'a> {
    for prefix in prefixes {
        let below = path
            .strip_prefix(prefix.as_str())
            .and_then(|rest| rest.strip_prefix("/api"));
        let Some(rest) = below.filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
            continue;
        };
        let mut parts = rest.splitn(3, '/').skip(1);
        if parts.next() != Some("v1") {
            return Route::OtherVersion;
        }
        let named = parts.next().and_then(|name| name.split_once('/'));
        let found = named.and_then(|(group, name)| operation::find(group, name));
        return found.map_or(Route::NoOperation, |(place, _)| Route::Operation(place));
    }
    Route::Beside(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_the_contract_says() {
        let prefixes = [String::new(), "/axiata".to_owned()];
        let to = |path| route(&prefixes, path);
        assert_eq!(to("/api/v1/leasesingle/request"), Route::Operation(0));
        assert_eq!(
            to("/axiata/api/v1/leasesingle/request"),
            Route::Operation(0)
        );
        for path in [
            "/api",
            "/api/",
            "/api/leaserequest",
            "/api/v2/leasesingle/request",
            "/api/v1.0/x/y",
            "/axiata/api/v3/x/y",
            "/api//v1/leasesingle/request",
        ] {
            assert_eq!(to(path), Route::OtherVersion, "{path}");
        }
        for path in [
            "/api/v1",
            "/api/v1/",
            "/api/v1/leasesingle",
            "/api/v1/leasesingle/request/",
            "/api/v1/leasesingle/Request",
            "/api/v1/x/y/z",
        ] {
            assert_eq!(to(path), Route::NoOperation, "{path}");
        }
        for path in [
            "/",
            "",
            "/apis/v1/leasesingle/request",
            "/other/api/v1/leasesingle/request",
            "/healthz",
        ] {
            assert_eq!(to(path), Route::Beside(path), "{path}");
        }
    }
}
