//! The sections whose keys stand each for themselves: node, leases, calls, billing, store,
//! observe, records.

use super::SingleCallerId;
use super::reader::Section;
use super::trunk::SINGLE_CALLER_ID;
use super::value::{boolean, duration, integer, name, size, socket, text, word};
use crate::domain::Credit;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// `[node]`
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What this node is called in logs.
    pub name: String,
    /// Where the store is.
    pub data_dir: PathBuf,
    /// How long running calls may go on after SIGTERM.
    pub drain_timeout: Duration,
}

/// `[leases]`
#[derive(Clone, Debug, PartialEq)]
pub struct Leases {
    /// No lease ends later than this from now.
    pub max_duration: Duration,
    /// Concurrent leases for one phone; 0 = no limit.
    pub max_per_phone: u32,
    /// Numbers on one whitelist.
    pub max_whitelist: u32,
    /// `calls_at_end = "hang-up"`: a lease's end ends its answered calls too.
    pub hang_up_at_end: bool,
}

/// `[calls]`
#[derive(Clone, Debug, PartialEq)]
pub struct Calls {
    /// A call that is not answered for so long is given up.
    pub ring_timeout: Duration,
    /// No call is longer.
    pub max_duration: Duration,
    /// Concurrent calls on one leased number; 0 = no cap.
    pub per_lease: u32,
    /// Concurrent calls of one customer; 0 = no cap.
    pub per_customer: u32,
    /// What the callee of a single lease sees; a trunk may set its own.
    pub single_caller_id: SingleCallerId,
    /// SIP status where no lease holds the number: 404, 410 or 480.
    pub no_lease: u16,
    /// SIP status where the credit does not cover the first block: 480 or 402.
    pub no_credit: u16,
}

/// `[billing]`
#[derive(Clone, Debug, PartialEq)]
pub struct Billing {
    /// Seconds per block of customers created without.
    pub default_block: u32,
    /// Credits per block of customers created without.
    pub default_rate: Credit,
    /// So long before the credit of a prepaid call ends its caller is warned; zero: never.
    pub credit_warning: Duration,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// Memory for the engine's cache, bytes.
    pub cache: u64,
    /// Disk space set aside for running calls when the disk is full, bytes.
    pub ballast: u64,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[observe]`
#[derive(Clone, Debug, PartialEq)]
pub struct Observe {
    /// Which events are logged (filter syntax of `tracing`).
    pub log: String,
    /// How.
    pub log_format: LogFormat,
    /// Metrics and health on their own address too.
    pub listen: Option<SocketAddr>,
}

/// `[records]`
#[derive(Clone, Debug, PartialEq)]
pub struct Records {
    /// How long call records are kept; `None`: for ever.
    pub retention: Option<Duration>,
}

pub(super) fn node(section: &Section<'_>) -> Node {
    Node {
        name: section
            .read("name", name)
            .unwrap_or_else(|| "leasebridge".to_owned()),
        data_dir: section
            .read("data_dir", text)
            .unwrap_or_else(|| "data".to_owned())
            .into(),
        drain_timeout: section
            .read("drain_timeout", duration(Duration::ZERO, DAY))
            .unwrap_or(SECOND * 30),
    }
}

pub(super) fn leases(section: &Section<'_>) -> Leases {
    Leases {
        max_duration: section
            .read("max_duration", duration(SECOND * 60, YEAR * 100))
            .unwrap_or(YEAR * 5),
        max_per_phone: section
            .read("max_per_phone", integer(0, u32::MAX))
            .unwrap_or(100),
        max_whitelist: section
            .read("max_whitelist", integer(0, 1_000))
            .unwrap_or(10),
        hang_up_at_end: section
            .read(
                "calls_at_end",
                word(&[("continue", false), ("hang-up", true)]),
            )
            .unwrap_or(false),
    }
}

pub(super) fn calls(section: &Section<'_>) -> Calls {
    Calls {
        ring_timeout: section
            .read("ring_timeout", duration(SECOND, HOUR))
            .unwrap_or(SECOND * 120),
        max_duration: section
            .read("max_duration", duration(SECOND, DAY * 7))
            .unwrap_or(HOUR * 4),
        per_lease: section.read("per_lease", integer(0, u32::MAX)).unwrap_or(1),
        per_customer: section
            .read("per_customer", integer(0, u32::MAX))
            .unwrap_or(0),
        single_caller_id: section
            .read("single_caller_id", word(SINGLE_CALLER_ID))
            .unwrap_or(SingleCallerId::Pass),
        no_lease: section
            .read("no_lease", one_of(&[404, 410, 480]))
            .unwrap_or(404),
        no_credit: section
            .read("no_credit", one_of(&[480, 402]))
            .unwrap_or(480),
    }
}

pub(super) fn billing(section: &Section<'_>) -> Billing {
    Billing {
        default_block: section
            .read("default_block", integer(1, 86_400))
            .unwrap_or(60),
        default_rate: Credit(
            section
                .read("default_rate", integer(0, Credit::TOPUP_LIMIT))
                .unwrap_or(100),
        ),
        credit_warning: section
            .read("credit_warning", duration(Duration::ZERO, HOUR))
            .unwrap_or(Duration::ZERO),
    }
}

pub(super) fn store(section: &Section<'_>) -> Store {
    let engine = section.read("engine", word(&[("sled", true), ("postgres", false)]));
    if engine == Some(false) {
        section.fault(
            "engine",
            "postgres is not in this version: expected \"sled\"",
        );
    }
    section.refuse(
        "url",
        "belongs to the engine postgres, which is not in this version",
    );
    Store {
        cache: section
            .read("cache", size(1 << 20, 1 << 40))
            .unwrap_or(64 << 20),
        ballast: section
            .read("ballast", size(16 << 20, 1 << 40))
            .unwrap_or(16 << 20),
    }
}

/// Whether a filter's directive says at which level: a bare word that is none would be taken for the
/// name of a module, and switch everything else off.
fn names_a_level(directive: &str) -> bool {
    let level = directive
        .rsplit_once('=')
        .map_or(directive, |(_, level)| level)
        .trim();
    ["off", "error", "warn", "info", "debug", "trace"]
        .iter()
        .any(|name| level.eq_ignore_ascii_case(name))
}

pub(super) fn observe(section: &Section<'_>) -> Observe {
    let filter = section.read("log", |value| {
        let text = text(value)?;
        match tracing_subscriber::EnvFilter::try_new(&text) {
            Ok(_) if text.split(',').all(names_a_level) => Ok(text),
            _ => Err("a log filter (\"info\", \"info,leasebridge::call=debug\")".to_owned()),
        }
    });
    Observe {
        log: filter.unwrap_or_else(|| "info".to_owned()),
        log_format: section
            .read(
                "log_format",
                word(&[("text", LogFormat::Text), ("json", LogFormat::Json)]),
            )
            .unwrap_or(LogFormat::Text),
        listen: section.read("listen", socket),
    }
}

pub(super) fn records(section: &Section<'_>) -> Records {
    let retention = section.read("retention", duration(Duration::ZERO, YEAR * 100));
    let retention = retention.filter(|length| !length.is_zero());
    if retention.is_some() {
        section.fault(
            "retention",
            "deleting old records is not in this version: leave it out, or \"0s\" (kept for ever)",
        );
    }
    Records { retention }
}

fn one_of(codes: &'static [u16]) -> impl Fn(&super::reader::Value<'_>) -> Result<u16, String> {
    move |value| {
        let code = integer(0_u16, 999)(value).ok();
        code.filter(|code| codes.contains(code)).ok_or_else(|| {
            let codes: Vec<String> = codes.iter().map(u16::to_string).collect();
            format!("one of {}", codes.join(", "))
        })
    }
}

/// Used by the HTTP section for its own switches.
pub(super) fn flag(section: &Section<'_>, key: &str, default: bool) -> bool {
    section.read(key, boolean).unwrap_or(default)
}
