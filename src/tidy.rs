//! The house rules, checked by machine: `cargo test tidy`.
//!
//! Each rule is a test, and each failure names file, line, rule and reason. A rule that has no
//! subject yet (a file that is not there) passes; it bites as soon as there is one.
//!
//! The rules look at text with comments and string contents blanked ([`source`]), not at a syntax
//! tree: they must be simple enough to be believed.

mod bans;
mod documents;
mod guards;
mod layers;
mod lengths;
mod source;

use source::{File, files};

/// What a rule found.
struct Finding {
    path: String,
    line: usize,
    what: String,
}

/// Fails with every finding, if there are any.
fn assert_none(rule: &str, findings: &[Finding]) {
    let lines: Vec<String> = findings
        .iter()
        .map(|finding| format!("{}:{}: {}", finding.path, finding.line, finding.what))
        .collect();
    assert!(lines.is_empty(), "{rule}\n{}", lines.join("\n"));
}

/// Modules whose code decides and touches nothing (docs/architecture.md, "Cores decide, shells
/// do").
const CORES: &[&str] = &[
    "domain", "rtp", "sdp", "sip", "call", "lease", "ledger", "media", "books",
];

fn is_core(file: &File) -> bool {
    CORES.contains(&file.layer())
}

#[test]
fn there_is_something_to_check() {
    let files = files();
    assert!(files.len() > 30, "only {} files found", files.len());
    assert!(files.iter().any(|file| file.path == "src/lib.rs"));
    assert!(files.iter().any(is_core));
}
