//! Who vouches for callers, and who checks it: verdicts come soon, late or never.

use super::chance::Chance;
use crate::domain::{Attestation, CallKey, E164, Verdict};
use crate::sip::passport::{Claims, Signer};
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// The key of RFC 8225 Appendix A.
const KEY: &str = "-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIFeZ1R208QCvcu5GuYyMfG4W7sH4m99/7eHSDLpdYllFoAoGCCqGSM49
AwEHoUQDQgAE8HNbQd/TmvCKwPKHkMF9fScavGeH78YTU8qLS8I5HLHSSmlATLcs
lQMhNC/OhlWBYC626nIlo7XeebYS7Sb37g==
-----END EC PRIVATE KEY-----
";

pub fn signer() -> Arc<Signer> {
    static SIGNER: OnceLock<Arc<Signer>> = OnceLock::new();
    let make = || Signer::new(KEY, "https://cert.example.org/passport.cer", None).unwrap();
    Arc::clone(SIGNER.get_or_init(|| Arc::new(make())))
}

/// The Identity line of a caller's INVITE: two of three have one, and not all of those are about the
/// call that they come with. None where what is dialled is no number.
pub fn line(count: u64, caller: &str, dialled: &str) -> String {
    let digits = dialled.trim_start_matches('+');
    let (Some(orig), Some(dest)) = (E164::from_digits(caller), E164::from_digits(digits)) else {
        return String::new();
    };
    if count.is_multiple_of(3) {
        return String::new();
    }
    let identity = signer().sign(&Claims {
        attestation: Attestation::Full,
        orig,
        dest: if count % 7 == 1 { orig } else { dest },
        call: uuid::Uuid::nil(),
        issued_at: 1_700_000_000,
    });
    format!("Identity: {identity}\r\n")
}

/// What becomes of the passports that a node asks about.
pub struct Verdicts {
    chance: Chance,
    due: BTreeSet<(Instant, CallKey)>,
}

impl Verdicts {
    pub fn new(seed: u64) -> Self {
        Self {
            chance: Chance::new(seed),
            due: BTreeSet::new(),
        }
    }

    pub fn ask(&mut self, key: CallKey, now: Instant) {
        if let Some(after) = self.chance.maybe_millis(80, 3000) {
            self.due.insert((now + after, key));
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    pub fn due(&mut self, now: Instant) -> Option<(CallKey, Verdict)> {
        let (at, key) = self.due.first().copied().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, key));
        let place = usize::try_from(self.chance.below(12)).unwrap();
        let verdict = Verdict::ALL.get(place).copied();
        Some((key, verdict.unwrap_or(Verdict::Valid)))
    }
}
