//! The configuration file: one TOML file in, checked values out (operations, "Configuration").
//!
//! ```text
//!   text ── reader ──► sections (node, http, trunk, ...) ──► cross checks ──► Config
//!             │                   │                              │
//!             └───────────────────┴──────── faults ◄─────────────┘
//! ```
//!
//! Nothing stops at the first fault: every section is read with its defaults standing in for what
//! is wrong, so that one run of `check` names everything there is to mend. A [`Config`] exists only
//! if there was no fault at all, and what it holds needs no second look.
//!
//! `config/leasebridge.toml` documents every key; [`keys`] is the list of them.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::panic
    )
)]

mod announce;
mod check;
mod digest;
mod fault;
mod http;
mod identity;
pub mod keys;
mod media;
mod numbering;
mod plain;
mod reader;
mod reload;
mod sip;
mod tls;
mod trunk;
pub mod value;

#[cfg(test)]
mod tests;

pub use announce::Announce;
pub use digest::{Digest, DigestAlgorithm, User};
pub use fault::{Fault, Faults};
pub use http::{Algorithm, Client, Http, Key, Scope, Tls};
pub use identity::{Identity, IdentityPolicy, Sign};
pub use media::{DEFAULT as DEFAULT_NETWORK, Media, MediaAddress};
pub use numbering::Numbering;
pub use plain::{Billing, Calls, Leases, LogFormat, Node, Observe, Records, Store};
pub use reload::RestartOnly;
pub use sip::{Listen, Sip, Transport};
pub use tls::{Certificate, ServerTls, TrunkTls};
pub use trunk::{
    Direction, MediaSource, NumberForm, Reliability, SingleCallerId, Trunk, TrunkTarget,
};
pub use value::{Cidr, PortRange, Secret};

use reader::Reader;
use std::path::Path;

/// Everything that is configured, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[node]`
    pub node: Node,
    /// `[http]`
    pub http: Http,
    /// `[sip]`
    pub sip: Sip,
    /// `[[trunk]]`, in the order of the file.
    pub trunks: Vec<Trunk>,
    /// `[media]`
    pub media: Media,
    /// `[numbering]`
    pub numbering: Numbering,
    /// `[leases]`
    pub leases: Leases,
    /// `[calls]`
    pub calls: Calls,
    /// `[billing]`
    pub billing: Billing,
    /// `[store]`
    pub store: Store,
    /// `[observe]`
    pub observe: Observe,
    /// `[records]`
    pub records: Records,
    /// `[identity]`
    pub identity: Identity,
    /// `[announce]`
    pub announce: Announce,
}

/// What reading a configuration needs of the world; given, so that tests need none of it.
pub struct Environment<'a> {
    /// The value of an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The content of a file, or why it cannot be read.
    pub file: &'a dyn Fn(&Path) -> Result<String, String>,
    /// How many descriptors the process may open at most (the hard limit); `None`: not checked.
    pub descriptor_limit: Option<u64>,
}

/// Something that is well-formed and cannot be used: only who makes use of it can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The trunk that it is of, by name.
    pub trunk: Option<String>,
    /// Its full key, or that within the trunk; empty where the file as a whole is meant.
    pub key: String,
    /// What was expected.
    pub message: String,
}

/// Looks for what cannot be used in a configuration; it is told whether that has had no fault so far.
/// Where it has, defaults stand in for what is wrong.
pub type Further<'a> = &'a dyn Fn(&Config, bool) -> Vec<Unusable>;

impl Environment<'static> {
    /// The process's own environment and file system. Relative paths start at the working
    /// directory.
    #[must_use]
    pub fn of_process(descriptor_limit: Option<u64>) -> Self {
        Self {
            variable: &|name| std::env::var(name).ok(),
            file: &|path| std::fs::read_to_string(path).map_err(|error| error.to_string()),
            descriptor_limit,
        }
    }
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Every fault in it, or that it cannot be read.
    pub fn load(path: &Path, environment: &Environment<'_>) -> Result<Self, Faults> {
        Self::load_with(path, environment, &|_, _| Vec::new())
    }

    /// As [`Self::load`]; `further` finds what is wrong beyond the file's form.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(
        path: &Path,
        environment: &Environment<'_>,
        further: Further<'_>,
    ) -> Result<Self, Faults> {
        let name = path.display().to_string();
        match (environment.file)(path) {
            Ok(text) => Self::parse_with(&name, &text, environment, further),
            Err(error) => Err(Faults::unreadable(&name, &error)),
        }
    }

    /// Reads `text`; `name` is what faults call the file.
    ///
    /// # Errors
    /// Every fault in it, sorted by line.
    pub fn parse(name: &str, text: &str, environment: &Environment<'_>) -> Result<Self, Faults> {
        Self::parse_with(name, text, environment, &|_, _| Vec::new())
    }

    /// As [`Self::parse`]; `further` finds what is wrong beyond the file's form.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_with(
        name: &str,
        text: &str,
        environment: &Environment<'_>,
        further: Further<'_>,
    ) -> Result<Self, Faults> {
        let document = reader::Document::parse(text);
        let reader = Reader::new(&document, environment);
        reader.check_keys();
        let root = reader.root();
        let billing = plain::billing(&root.section("billing"));
        let config = Self {
            node: plain::node(&root.section("node")),
            http: http::read(&root.section("http")),
            sip: sip::read(&root.section("sip")),
            trunks: trunk::read(&root),
            media: media::read(&root.section("media")),
            numbering: numbering::read(&root.section("numbering")),
            leases: plain::leases(&root.section("leases")),
            calls: plain::calls(&root.section("calls")),
            announce: announce::read(&root.section("announce"), &billing),
            billing,
            store: plain::store(&root.section("store")),
            observe: plain::observe(&root.section("observe")),
            records: plain::records(&root.section("records")),
            identity: identity::read(&root.section("identity")),
        };
        check::across(&config, &root, environment);
        identity::across(&config, &root);
        for unusable in further(&config, reader.is_sound()) {
            root.fault_of(unusable);
        }
        reader.finish(name).map(|()| config)
    }

    /// The first fault-free reading of an empty file: every default.
    ///
    /// # Errors
    /// None in practice; the signature is that of [`Self::parse`].
    pub fn defaults() -> Result<Self, Faults> {
        let nothing = Environment {
            variable: &|_| None,
            file: &|_| Err(String::new()),
            descriptor_limit: None,
        };
        Self::parse("defaults", "", &nothing)
    }
}
