//! STIR/SHAKEN, from the configuration: who signs, and the thread that verifies.

use crate::config::{Config, IdentityPolicy, Trunk};
use crate::domain::{CallKey, Passport};
use crate::engine::signalling::Verifier;
use crate::identity::{self, Answers, Handle, Judgement};
use crate::observe::Metrics;
use crate::sip::agent;
use crate::sip::passport::{Roots, Signer};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Who signs our calls, if anybody.
///
/// # Errors
/// A key that is none, or a certificate that is not its own.
pub fn signer(config: &Config) -> Result<Option<Arc<Signer>>, String> {
    let Some(sign) = &config.identity.sign else {
        return Ok(None);
    };
    let signer = Signer::new(sign.key.expose(), &sign.cert_url, sign.origid.as_deref())
        .map_err(|expected| format!("identity.sign.key: expected {expected}"))?;
    if let Some(cert) = &sign.cert
        && !signer.has_certificate(cert)
    {
        return Err("identity.sign.cert: it is not the certificate of identity.sign.key".to_owned());
    }
    Ok(Some(Arc::new(signer)))
}

/// A trunk's policy.
#[must_use]
pub fn policy(config: &Config, trunk: &Trunk) -> agent::IdentityPolicy {
    match trunk.identity.unwrap_or(config.identity.policy) {
        IdentityPolicy::Off => agent::IdentityPolicy::Off,
        IdentityPolicy::Record => agent::IdentityPolicy::Record,
        IdentityPolicy::Require => agent::IdentityPolicy::Require,
    }
}

/// What verification works with; `None` where nothing is to be trusted.
///
/// # Errors
/// Certificates that are none.
pub fn settings(config: &Config) -> Result<Option<identity::Settings>, String> {
    let Some(roots) = &config.identity.roots else {
        return Ok(None);
    };
    let settings = identity::Settings {
        roots: Roots::from_pem(roots)
            .map_err(|expected| format!("identity.roots: expected {expected}"))?,
        fetch_timeout: config.identity.fetch_timeout,
        fetch_ca: config.identity.fetch_ca.clone(),
        hosts: config.identity.fetch_hosts.clone(),
        private: config.identity.fetch_private,
    };
    identity::check(&settings)?;
    Ok(Some(settings))
}

/// Starts the thread.
///
/// # Errors
/// As [`settings`], or what cannot be started.
pub fn start(config: &Config, metrics: &Metrics) -> Result<Handle, String> {
    let metrics = metrics.clone();
    let count = move |event, detail| metrics.sip_event(event, detail);
    identity::start(settings(config)?, Box::new(count))
}

/// A worker's way to the thread, and where its answers come.
#[must_use]
pub fn asker(handle: &Handle) -> (Box<dyn Verifier>, mpsc::UnboundedReceiver<Judgement>) {
    let (answers, verdicts) = mpsc::unbounded_channel();
    let asker = Asker {
        handle: handle.clone(),
        answers,
    };
    (Box::new(asker), verdicts)
}

struct Asker {
    handle: Handle,
    answers: Answers,
}

impl Verifier for Asker {
    fn ask(&self, key: CallKey, passport: Box<Passport>) -> bool {
        self.handle.ask(key, passport, &self.answers)
    }
}
