//! STIR/SHAKEN, from the configuration: who signs, and the thread that verifies.

use crate::config::{Config, IdentityPolicy, Trunk};
use crate::domain::{CallKey, Passport};
use crate::engine::signalling::Verifier;
use crate::identity::{self, Answers, Handle, Judgement};
use crate::observe::Metrics;
use crate::sip::agent;
use crate::sip::passport::{Roots, Signer};
use crate::transport::poll::Bell;
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
        return Err(
            "identity.sign.cert: it is not the certificate of identity.sign.key".to_owned(),
        );
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

/// A worker's way to the thread, and where its answers come: they ring its bell.
#[must_use]
pub fn asker(
    handle: &Handle,
    bell: &Arc<Bell>,
) -> (Box<dyn Verifier>, mpsc::UnboundedReceiver<Judgement>) {
    let (sender, verdicts) = mpsc::unbounded_channel();
    let bell = Arc::clone(bell);
    let answers = move |judgement| {
        // A worker that is gone hears nothing any more.
        let _ = sender.send(judgement);
        bell.ring();
    };
    let asker = Asker {
        handle: handle.clone(),
        answers: Arc::new(answers),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, Sign};
    use crate::sip::passport::tests::{KEY, SPC_1234, chain};

    fn config() -> Config {
        Config::defaults().unwrap()
    }

    fn signing(key: &str, cert: Option<String>) -> Result<Option<Arc<Signer>>, String> {
        let mut config = config();
        config.identity.sign = Some(Sign {
            key: Secret::new(key.to_owned()),
            cert,
            cert_url: "https://a/b".to_owned(),
            origid: None,
        });
        signer(&config)
    }

    #[test]
    fn a_key_must_be_one_and_its_certificate_its_own() {
        assert!(signer(&config()).unwrap().is_none());
        assert!(signing(KEY, None).unwrap().is_some());
        let (chain, root) = chain(SPC_1234, |_| {});
        assert!(signing(KEY, Some(chain)).unwrap().is_some());
        let wrong = signing(KEY, Some(root)).unwrap_err();
        assert!(wrong.contains("identity.sign.cert"), "{wrong}");
        let wrong = signing("nothing", None).unwrap_err();
        assert!(wrong.contains("identity.sign.key"), "{wrong}");
    }

    #[test]
    fn roots_and_authorities_must_be_certificates() {
        let (_, root) = chain(SPC_1234, |_| {});
        let with = |roots: &str, fetch_ca: &str| {
            let mut config = config();
            config.identity.roots = Some(roots.to_owned());
            config.identity.fetch_ca = fetch_ca.to_owned();
            settings(&config)
        };
        assert!(settings(&config()).unwrap().is_none());
        assert!(with(&root, &root).unwrap().is_some());
        assert!(with("x", &root).unwrap_err().contains("identity.roots"));
        assert!(with(&root, "x").unwrap_err().contains("identity.fetch_ca"));
    }

    #[test]
    fn a_trunk_has_its_own_policy_or_the_general_one() {
        let mut config = config();
        config.identity.policy = IdentityPolicy::Record;
        let text =
            "[[trunk]]\nname = \"a\"\ndirection = \"inbound\"\nsources = [\"192.0.2.0/24\"]\n";
        let environment = crate::config::Environment::of_process(None);
        let mut trunks = Config::parse("test", text, &environment).unwrap().trunks;
        let mut trunk = trunks.remove(0);
        assert_eq!(policy(&config, &trunk), agent::IdentityPolicy::Record);
        trunk.identity = Some(IdentityPolicy::Require);
        assert_eq!(policy(&config, &trunk), agent::IdentityPolicy::Require);
        trunk.identity = Some(IdentityPolicy::Off);
        assert_eq!(policy(&config, &trunk), agent::IdentityPolicy::Off);
    }
}
