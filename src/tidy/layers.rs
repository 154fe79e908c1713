//! Imports point downwards (docs/architecture.md, "Direction").

use super::source::{File, files};
use super::{Finding, assert_none};

/// Each module and what it may name of the crate. Reading from top to bottom, nobody names anybody
/// above, with three exceptions that are told apart here: `books` speaks the store's words (a
/// change, a key: `Store` is defined beside what it serves, its engines are below nobody); `media`
/// and the SIP user agent speak the call's words (`call::event`), not its insides.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "cli",
        &[
            "app", "engine", "api", "observe", "books", "call", "rtp", "sdp", "sip", "config",
            "domain",
        ],
    ),
    (
        "app",
        &[
            "engine",
            "api",
            "observe",
            "identity",
            "relay",
            "store",
            "transport",
            "books",
            "call",
            "lease",
            "ledger",
            "media",
            "sip::agent",
            "rtp",
            "sdp",
            "sip",
            "config",
            "domain",
        ],
    ),
    (
        "engine",
        &[
            "observe",
            "relay",
            "store",
            "transport",
            "books",
            "call",
            "lease",
            "ledger",
            "media",
            "sip::agent",
            "rtp",
            "sdp",
            "sip",
            "domain",
        ],
    ),
    (
        "api",
        &["observe", "store", "books", "lease", "ledger", "domain"],
    ),
    ("observe", &["media", "rtp", "domain"]),
    ("identity", &["sip", "domain"]),
    ("relay", &["media", "rtp", "domain"]),
    ("store", &["domain"]),
    ("transport", &["sip", "domain"]),
    ("books", &["store", "call", "lease", "ledger", "domain"]),
    ("lease", &["domain"]),
    ("ledger", &["domain"]),
    ("media", &["call", "rtp", "sdp", "domain"]),
    ("sip::agent", &["call", "sdp", "sip", "domain"]),
    ("call", &["domain"]),
    ("sip", &["domain"]),
    ("sdp", &["domain"]),
    ("rtp", &["domain"]),
    ("config", &["domain"]),
    ("domain", &[]),
];

#[test]
fn imports_point_downwards() {
    let mut findings = Vec::new();
    for file in files().iter().filter(|file| !file.is_test) {
        let from = module(file);
        if from == "lib" {
            continue;
        }
        let Some((_, may)) = ARROWS.iter().find(|(name, _)| *name == from) else {
            findings.push(Finding {
                path: file.path.clone(),
                line: 1,
                what: format!("module `{from}` has no row in ARROWS"),
            });
            continue;
        };
        for (line, to) in named(file) {
            if to != from && !may.contains(&to.as_str()) {
                findings.push(Finding {
                    path: file.path.clone(),
                    line,
                    what: format!("`{from}` may not name `crate::{to}`"),
                });
            }
        }
    }
    assert_none("imports point downwards, never up", &findings);
}

/// The row of ARROWS that a file belongs to.
fn module(file: &File) -> String {
    if file.path.starts_with("src/sip/agent") {
        "sip::agent".to_owned()
    } else {
        file.layer().to_owned()
    }
}

/// Modules of the crate that a file names, by `crate::` or by enough `super::`.
fn named(file: &File) -> Vec<(usize, String)> {
    let up = "super::".repeat(depth(&file.path));
    let mut found = Vec::new();
    for root in ["crate::", up.as_str()]
        .into_iter()
        .filter(|root| !root.is_empty())
    {
        for (offset, _) in file.product.match_indices(root) {
            let before = &file.product[..offset];
            // Not the tail of a longer chain of `super::`, nor of `some_crate::`.
            if before.ends_with("::") || before.ends_with(|c: char| c.is_alphanumeric()) {
                continue;
            }
            let line = File::line(&file.product, offset);
            let rest = &file.product[offset + root.len()..];
            found.extend(heads(rest).into_iter().map(|name| (line, name)));
        }
    }
    found
}

/// How many modules deep a file is.
fn depth(path: &str) -> usize {
    let rest = path.strip_prefix("src/").unwrap_or(path);
    let rest = rest
        .strip_suffix("/mod.rs")
        .unwrap_or(rest.trim_end_matches(".rs"));
    rest.split('/').count()
}

/// The first names after a root: one, or several in braces. `sip::agent` is a module of its own.
fn heads(rest: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        let text = text.trim_start();
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        let first = &text[..end.unwrap_or(text.len())];
        let second = text[first.len()..].strip_prefix("::").unwrap_or_default();
        match (first, second.starts_with("agent")) {
            ("sip", true) => "sip::agent".to_owned(),
            _ => first.to_owned(),
        }
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![name(rest)];
    };
    let mut names = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (offset, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(name(&group[start..offset]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(name(&group[start..offset]));
                start = offset + 1;
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn heads_are_found_in_braces_too() {
    assert_eq!(heads("domain::E164;"), ["domain"]);
    assert_eq!(
        heads("{domain::{A, B}, sip::agent::X, call};"),
        ["domain", "sip::agent", "call"]
    );
    assert_eq!(depth("src/sip/agent/mod.rs"), 2);
    assert_eq!(depth("src/app.rs"), 1);
    assert_eq!(depth("src/config/value.rs"), 2);
}

#[test]
fn an_arrow_upwards_is_seen() {
    let file = |text: &str| File {
        path: "src/sip/agent/core.rs".to_owned(),
        text: text.to_owned(),
        code: text.to_owned(),
        product: text.to_owned(),
        is_test: false,
    };
    let names = |text: &str| -> Vec<String> {
        let found = named(&file(text));
        found.into_iter().map(|(_, name)| name).collect()
    };
    assert_eq!(names("use crate::engine::Worker;"), ["engine"]);
    assert_eq!(names("use super::super::super::books::Books;"), ["books"]);
    assert_eq!(
        names("use super::super::message::Path;"),
        Vec::<String>::new()
    );
    assert_eq!(names("fn f() { crate::api::call() }"), ["api"]);
}
