//! `[announce]`: recordings for callers (sip-bridging 6). The files themselves are read by who plays
//! them.

use super::plain::Billing;
use super::reader::Section;
use super::value::text;
use std::path::PathBuf;

/// `[announce]`: WAV files; `None`: nothing is played.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announce {
    /// The number is not in service.
    pub no_lease: Option<PathBuf>,
    /// The caller may not call it.
    pub not_allowed: Option<PathBuf>,
    /// Credit does not cover the call.
    pub credit_exhausted: Option<PathBuf>,
    /// Credit is about to end; without it a tone is heard.
    pub credit_warning: Option<PathBuf>,
}

pub(super) fn read(section: &Section<'_>, billing: &Billing) -> Announce {
    let file = |key: &str| section.read(key, text).map(PathBuf::from);
    let announce = Announce {
        no_lease: file("no_lease"),
        not_allowed: file("not_allowed"),
        credit_exhausted: file("credit_exhausted"),
        credit_warning: file("credit_warning"),
    };
    if announce.credit_warning.is_some() && billing.credit_warning.is_zero() {
        section.fault(
            "credit_warning",
            "is never heard without billing.credit_warning, how long before credit ends",
        );
    }
    announce
}
