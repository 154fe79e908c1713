//! What a reload may change (operations, "Commands": trunks, caps, keys, clients, log level, and
//! numbers added to the pool) and what waits for the next start.

use super::Config;

/// Keys whose new value takes effect at the next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartOnly(pub Vec<&'static str>);

impl Config {
    /// Which settings differ between `self`, which is in force, and `new` that a reload cannot
    /// change. They are to be logged; the rest of `new` takes effect.
    #[must_use]
    pub fn restart_only(&self, new: &Self) -> RestartOnly {
        let pairs = [
            ("node.name", self.node.name == new.node.name),
            ("node.data_dir", self.node.data_dir == new.node.data_dir),
            ("http.listen", self.http.listen == new.http.listen),
            (
                "http.tls",
                self.http.tls.is_some() == new.http.tls.is_some(),
            ),
            (
                "http.max_connections",
                self.http.max_connections == new.http.max_connections,
            ),
            (
                "http.max_connections_per_address",
                self.http.max_connections_per_address == new.http.max_connections_per_address,
            ),
            (
                "http.header_timeout",
                self.http.header_timeout == new.http.header_timeout,
            ),
            (
                "sip.listen",
                self.sip.listen.iter().map(|(listen, _)| listen).eq(new
                    .sip
                    .listen
                    .iter()
                    .map(|(listen, _)| listen)),
            ),
            ("sip.resolvers", self.sip.resolvers == new.sip.resolvers),
            ("sip.workers", self.sip.workers == new.sip.workers),
            (
                "sip.max_connections",
                self.sip.max_connections == new.sip.max_connections,
            ),
            (
                "sip.header_timeout",
                self.sip.header_timeout == new.sip.header_timeout,
            ),
            (
                "sip.idle_timeout",
                self.sip.idle_timeout == new.sip.idle_timeout,
            ),
            ("media.address", self.media.addresses == new.media.addresses),
            ("media.ports", self.media.ports == new.media.ports),
            ("media.networks", self.media.networks == new.media.networks),
            ("media.dscp", self.media.dscp == new.media.dscp),
            (
                "media.receive_buffer",
                self.media.receive_buffer == new.media.receive_buffer,
            ),
            ("media.threads", self.media.threads == new.media.threads),
            ("media.cpus", self.media.cpus == new.media.cpus),
            ("store", self.store == new.store),
            (
                "observe.log_format",
                self.observe.log_format == new.observe.log_format,
            ),
            ("observe.listen", self.observe.listen == new.observe.listen),
        ];
        RestartOnly(
            pairs
                .into_iter()
                .filter(|(_, same)| !same)
                .map(|(key, _)| key)
                .collect(),
        )
    }
}
