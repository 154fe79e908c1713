//! Every key of the configuration file. What is not here is refused; what is here stands in
//! `config/leasebridge.toml` with its default, unit and reason (both are checked by tests).

/// Full names; `a.b` is key `b` of table `[a]` or of each `[[a]]`.
pub const KEYS: &[&str] = &[
    "node.name",
    "node.data_dir",
    "node.drain_timeout",
    "http.listen",
    "http.path_prefixes",
    "http.always_ok",
    "http.rate_limit",
    "http.issuer",
    "http.audience",
    "http.trusted_proxies",
    "http.max_connections",
    "http.max_connections_per_address",
    "http.header_timeout",
    "http.tls.cert",
    "http.tls.key",
    "http.keys.kid",
    "http.keys.algorithm",
    "http.keys.secret",
    "http.keys.public_key",
    "http.clients.name",
    "http.clients.scopes",
    "http.clients.customers",
    "http.clients.enabled",
    "http.clients.rate_limit",
    "http.clients.signing_secret",
    "http.clients.tokens_valid_from",
    "sip.listen",
    "sip.advertised",
    "sip.workers",
    "sip.unknown_source",
    "sip.session_expires",
    "sip.min_se",
    "sip.resolvers",
    "sip.tls.cert",
    "sip.tls.key",
    "sip.tls.client_ca",
    "sip.max_connections",
    "sip.header_timeout",
    "sip.idle_timeout",
    "trunk.name",
    "trunk.direction",
    "trunk.sources",
    "trunk.target",
    "trunk.transport",
    "trunk.numbers",
    "trunk.trusted",
    "trunk.max_calls",
    "trunk.max_cps",
    "trunk.priority",
    "trunk.weight",
    "trunk.options_interval",
    "trunk.max_retry_after",
    "trunk.ring_timeout",
    "trunk.session_expires",
    "trunk.early_media",
    "trunk.reliable_provisionals",
    "trunk.single_caller_id",
    "trunk.emergency",
    "trunk.media_source",
    "trunk.media_prefixes",
    "trunk.media_network",
    "trunk.codecs",
    "trunk.tls.ca",
    "trunk.tls.cert",
    "trunk.tls.key",
    "trunk.tls.server_name",
    "trunk.tls.require_client_cert",
    "trunk.tls.peer_names",
    "trunk.auth_user",
    "trunk.auth_password",
    "trunk.realm",
    "trunk.require_auth",
    "trunk.allow_users.user",
    "trunk.allow_users.password",
    "trunk.auth_algorithms",
    "trunk.srtp",
    "trunk.insecure_srtp",
    "trunk.nat",
    "trunk.identity",
    "trunk.sign",
    "media.address",
    "media.bind",
    "media.ports",
    "media.dscp",
    "media.receive_buffer",
    "media.networks.name",
    "media.networks.address",
    "media.networks.bind",
    "media.networks.ports",
    "media.timeout",
    "media.threads",
    "media.cpus",
    "numbering.timezone",
    "numbering.default_country",
    "numbering.pool",
    "numbering.cooldown",
    "numbering.allowed_targets",
    "numbering.emergency",
    "leases.max_duration",
    "leases.max_per_phone",
    "leases.max_whitelist",
    "leases.calls_at_end",
    "calls.ring_timeout",
    "calls.max_duration",
    "calls.per_lease",
    "calls.per_customer",
    "calls.single_caller_id",
    "calls.no_lease",
    "calls.no_credit",
    "billing.default_block",
    "billing.default_rate",
    "billing.credit_warning",
    "store.engine",
    "store.url",
    "store.cache",
    "store.ballast",
    "announce.no_lease",
    "announce.not_allowed",
    "announce.credit_exhausted",
    "announce.credit_warning",
    "identity.policy",
    "identity.roots",
    "identity.max_age",
    "identity.verdict_timeout",
    "identity.fetch_timeout",
    "identity.fetch_ca",
    "identity.fetch_hosts",
    "identity.fetch_private",
    "identity.sign.key",
    "identity.sign.cert",
    "identity.sign.cert_url",
    "identity.sign.origid",
    "records.retention",
    "observe.log",
    "observe.log_format",
    "observe.listen",
];

/// Keys whose value no fault may show.
const SECRETS: &[&str] = &[
    "http.keys.secret",
    "http.clients.signing_secret",
    "trunk.auth_password",
    "trunk.allow_users.password",
    "store.url",
    "identity.sign.key",
];

/// Whether the value of key `name` is a secret.
#[must_use]
pub fn is_secret(name: &str) -> bool {
    SECRETS.contains(&name)
}

/// Whether `name` is a key.
#[must_use]
pub fn is_key(name: &str) -> bool {
    KEYS.contains(&name)
}

/// Whether `name` is a table that holds keys.
#[must_use]
pub fn is_table(name: &str) -> bool {
    KEYS.iter().any(|key| {
        key.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// The keys and tables directly inside table `name` (empty for the whole file), as one sees them
/// there.
#[must_use]
pub fn inside(name: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = KEYS
        .iter()
        .filter_map(|key| {
            if name.is_empty() {
                Some(*key)
            } else {
                key.strip_prefix(name)?.strip_prefix('.')
            }
        })
        .filter_map(|rest| rest.split('.').next())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The name in `inside(table)` that `wrong` was most likely meant to be.
#[must_use]
pub fn nearest(table: &str, wrong: &str) -> Option<&'static str> {
    let bound = (wrong.chars().count() / 3).max(2);
    inside(table)
        .into_iter()
        .map(|name| (distance(wrong, name), name))
        .filter(|(distance, _)| *distance <= bound)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's distance: insertions, deletions and replacements between the two.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(line + 1);
        for (pair, to) in row.windows(2).zip(&right) {
            let [diagonal, above] = pair else { continue };
            let before = next.last().copied().unwrap_or(usize::MAX);
            let replaced = diagonal + usize::from(from != *to);
            next.push(replaced.min(above + 1).min(before.saturating_add(1)));
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn a_slip_of_the_finger_finds_its_key() {
        assert_eq!(nearest("node", "datadir"), Some("data_dir"));
        assert_eq!(nearest("", "trunks"), Some("trunk"));
        assert_eq!(nearest("node", "colour"), None);
    }

    #[test]
    fn no_key_stands_twice_and_none_is_a_table() {
        let mut sorted = KEYS.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), KEYS.len());
        for key in KEYS {
            assert!(!is_table(key), "{key} is both a key and a table");
        }
    }
}
