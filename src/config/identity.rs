//! `[identity]`: STIR/SHAKEN (RFC 8224), and what trunks say of it.

use super::reader::{Section, Value};
use super::value::{Secret, boolean, duration, text, word};
use super::{Config, Trunk};
use std::time::Duration;

/// What a trunk's INVITEs must present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityPolicy {
    /// Nobody looks at their Identity.
    Off,
    /// It is verified and recorded.
    Record,
    /// Calls without a valid one are refused.
    Require,
}

pub(super) const POLICY: &[(&str, IdentityPolicy)] = &[
    ("off", IdentityPolicy::Off),
    ("record", IdentityPolicy::Record),
    ("require", IdentityPolicy::Require),
];

/// Where Debian keeps the certificate authorities of the web.
const WEB_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// `[identity]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Of trunks that have none of their own.
    pub policy: IdentityPolicy,
    /// Who signs our calls, if anybody.
    pub sign: Option<Sign>,
    /// PEM of the certificates that signers must lead to.
    pub roots: Option<String>,
    /// Oldest passport that counts, and the farthest from the future.
    pub max_age: Duration,
    /// How long a call waits for a verdict.
    pub verdict_timeout: Duration,
    /// How long a fetch may take.
    pub fetch_timeout: Duration,
    /// PEM of the authorities of the servers that certificates are fetched from; empty where nothing
    /// is verified.
    pub fetch_ca: String,
    /// Hosts that certificates are fetched from; empty: any.
    pub fetch_hosts: Vec<String>,
    /// Private addresses may be fetched from.
    pub fetch_private: bool,
}

/// `[identity.sign]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sign {
    /// PEM of the private key.
    pub key: Secret,
    /// PEM of its certificate, where given: it is held against the key.
    pub cert: Option<String>,
    /// Where others fetch the certificate.
    pub cert_url: String,
    /// The `origid` of all calls, where configured.
    pub origid: Option<String>,
}

pub(super) fn read(section: &Section<'_>) -> Identity {
    let file = |value: &Value<'_>| section.file(value).map(|(_, text)| text);
    let roots = section.read("roots", file);
    let mut fetch_ca = section.read("fetch_ca", file);
    if roots.is_some() && !section.has("fetch_ca") {
        fetch_ca = section.default_file(WEB_AUTHORITIES);
        if fetch_ca.is_none() {
            let text = format!("missing, and {WEB_AUTHORITIES} cannot be read");
            section.fault("fetch_ca", text);
        }
    }
    Identity {
        policy: section
            .read("policy", word(POLICY))
            .unwrap_or(IdentityPolicy::Off),
        sign: sign(&section.section("sign")),
        roots,
        max_age: section
            .read("max_age", duration(seconds(1), seconds(3_600)))
            .unwrap_or(seconds(60)),
        verdict_timeout: section
            .read(
                "verdict_timeout",
                duration(Duration::from_millis(100), seconds(10)),
            )
            .unwrap_or(seconds(2)),
        fetch_timeout: section
            .read(
                "fetch_timeout",
                duration(Duration::from_millis(100), seconds(30)),
            )
            .unwrap_or(seconds(5)),
        fetch_ca: fetch_ca.unwrap_or_default(),
        fetch_hosts: section.read_list("fetch_hosts", host).unwrap_or_default(),
        fetch_private: section.read("fetch_private", boolean).unwrap_or(false),
    }
}

fn sign(section: &Section<'_>) -> Option<Sign> {
    let key = section.read("key", |value| {
        let pem = text(value)?;
        match pem.contains("PRIVATE KEY") {
            true => Ok(pem),
            false => Err("a private key in PEM, or { file = \"...\" } that holds one".to_owned()),
        }
    });
    let cert = section.read("cert", |value| section.file(value).map(|(_, text)| text));
    let cert_url = section.read("cert_url", url);
    let origid = section.read("origid", uuid);
    if !section.is_present() {
        return None;
    }
    for key in ["key", "cert_url"] {
        if !section.has(key) {
            section.fault(key, "missing: a signer has a key and a cert_url");
        }
    }
    Some(Sign {
        key: Secret::new(key?),
        cert,
        cert_url: cert_url?,
        origid,
    })
}

/// A host as a URL names it: without scheme, port or path.
fn host(value: &Value<'_>) -> Result<String, String> {
    let found = value.text().and_then(super::sip::parse_host_port);
    found
        .filter(|(_, port)| port.is_none())
        .map(|(host, _)| host.trim_matches(['[', ']']).to_owned())
        .ok_or_else(|| "a host alone (\"certificates.example.com\")".to_owned())
}

/// An HTTPS URL that may stand between `<` and `>` in a header.
fn url(value: &Value<'_>) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"<>\"\\;,".contains(&byte);
    let found = value.text().filter(|text| {
        let host = text.strip_prefix("https://");
        host.is_some_and(|host| !host.is_empty() && !host.starts_with('/'))
            && text.len() <= 512
            && text.bytes().all(plain)
    });
    found
        .map(str::to_owned)
        .ok_or_else(|| "an https:// URL".to_owned())
}

fn uuid(value: &Value<'_>) -> Result<String, String> {
    let hexadecimal = |group: &str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    let found = value.text().filter(|text| {
        let groups: Vec<&str> = text.split('-').collect();
        let lengths = groups.iter().map(|group| group.len());
        lengths.eq([8, 4, 4, 4, 12]) && groups.iter().all(|group| hexadecimal(group))
    });
    found
        .map(str::to_ascii_lowercase)
        .ok_or_else(|| "a UUID (RFC 8588 section 5)".to_owned())
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Who signs needs a signer, and who verifies roots.
pub(super) fn across(config: &Config, root: &Section<'_>) {
    let section = root.section("identity");
    if !section.has("sign") {
        for trunk in root.sections("trunk", "name") {
            if trunk.read("sign", boolean) == Some(true) {
                trunk.fault("sign", "no [identity.sign]: nobody could sign");
            }
        }
    }
    if config.identity.roots.is_some() || section.is_faulty("roots") {
        return;
    }
    let verifies = |trunk: &Trunk| trunk.identity.is_some_and(|own| own != IdentityPolicy::Off);
    if config.identity.policy != IdentityPolicy::Off || config.trunks.iter().any(verifies) {
        section.fault("roots", "missing: verification needs certificates to trust");
    }
}
