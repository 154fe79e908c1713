//! Words that do not stand where they would do harm.

use super::source::{File, files, root, words};
use super::{Finding, assert_none, is_core};
use std::fs;
use std::path::Path;

/// What no core calls: it is told the time, given its randomness, and touches nothing.
const IMPURE: &[(&str, &str)] = &[
    ("Instant::now", "time is an argument"),
    ("SystemTime::now", "time is an argument"),
    ("Utc::now", "time is an argument"),
    ("Local::now", "time is an argument"),
    ("elapsed()", "time is an argument"),
    ("new_v4", "random ids are arguments"),
    ("now_v7", "random ids are arguments"),
    ("rand::", "randomness is an argument"),
    ("getrandom::", "randomness is an argument"),
    ("RandomState", "its order differs from run to run"),
    ("tokio::", "a core is no task"),
    ("thread::", "a core is no thread"),
    ("UdpSocket", "a core has no socket"),
    ("TcpStream", "a core has no socket"),
    ("std::fs", "a core touches no file"),
    ("Mutex", "a core needs no lock"),
    ("RwLock", "a core needs no lock"),
    ("println!", "what is to be said comes out as a value"),
    ("eprintln!", "what is to be said comes out as a value"),
    ("dbg!", "left behind"),
];

#[test]
fn cores_are_pure() {
    let mut findings = Vec::new();
    for file in files().iter().filter(|file| is_core(file)) {
        for (word, why) in IMPURE {
            findings.extend(find(file, word, why));
        }
    }
    assert_none("cores decide, shells do", &findings);
}

fn find(file: &File, word: &str, why: &str) -> Vec<Finding> {
    words(&file.product, word)
        .map(|offset| Finding {
            path: file.path.clone(),
            line: File::line(&file.product, offset),
            what: format!("`{word}`: {why}"),
        })
        .collect()
}

/// Ways to go through a map in its own order.
const ITERATIONS: &[&str] = &[
    ".iter()",
    ".iter_mut()",
    ".keys()",
    ".values()",
    ".values_mut()",
    ".into_iter()",
    ".into_keys()",
    ".into_values()",
    ".drain()",
    ".retain(",
    ".extract_if(",
];

/// Types whose order differs from run to run, or from build to build.
const UNORDERED: &[&str] = &["HashMap", "HashSet", "DashMap"];

#[test]
fn cores_never_go_through_a_hash_map() {
    let mut findings = Vec::new();
    for file in files().iter().filter(|file| is_core(file)) {
        for name in unordered_names(&file.product) {
            for way in ITERATIONS {
                let call = format!("{name}{way}");
                findings.extend(find(file, &call, "its order is no order"));
            }
            for reference in ["in &", "in &mut ", "in &self.", "in &mut self.", "in self."] {
                let walk = format!("{reference}{name} {{");
                findings.extend(find(file, &walk, "its order is no order"));
            }
        }
    }
    assert_none("no core depends on the order of a hash map", &findings);
}

/// Names of fields and variables that are hash maps: `name: HashMap<` or `name = HashMap::`.
fn unordered_names(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for kind in UNORDERED {
        for offset in words(code, kind) {
            let before =
                code[..offset].trim_end_matches(|c: char| c.is_alphanumeric() || "_:".contains(c));
            let before = before.trim_end();
            let full = &code[before.len()..offset];
            let Some(before) = before
                .strip_suffix('=')
                .or_else(|| full.trim_start().starts_with(':').then_some(before))
                .or_else(|| before.strip_suffix(':'))
            else {
                continue;
            };
            let before = before.trim_end();
            let start = before
                .rfind(|c: char| !c.is_alphanumeric() && c != '_')
                .map_or(0, |at| at + 1);
            let name = &before[start..];
            if !name.is_empty() && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    names
}

#[test]
fn names_of_hash_maps_are_found() {
    let code = "struct A { calls: HashMap<u8, u8>, other: std::collections::HashSet<u8> }\n\
                let mut seen = HashMap::new();";
    let mut names = unordered_names(code);
    names.sort();
    assert_eq!(names, ["calls", "other", "seen"]);
}

/// Crates that stay behind one file of ours.
const BEHIND: &[(&str, &[&str], &str)] = &[
    (
        "rsip",
        &["src/sip/codec"],
        "unmaintained: only the codec knows it",
    ),
    (
        "rtp_rs",
        &["src/rtp/packet"],
        "only the packet reader knows it",
    ),
    ("sled", &["src/store/"], "only the store knows its engine"),
    ("warp", &["src/api/"], "only the API knows its framework"),
    (
        "prometheus",
        &["src/observe/"],
        "only the registry knows it",
    ),
    (
        "rustls",
        &[
            "src/api/",
            "src/transport/",
            "src/identity/",
            "src/config/tls.rs",
        ],
        "TLS is at the edges, and where its files are checked",
    ),
    (
        "phonenumber",
        &[
            "src/domain/numbering",
            "src/config/numbering",
            "src/sip/agent/caller_id",
        ],
        "numbers are read at the edge",
    ),
];

#[test]
fn crates_stay_behind_their_files() {
    let mut findings = Vec::new();
    for file in files() {
        for (name, places, why) in BEHIND {
            if places.iter().any(|place| file.path.starts_with(place)) {
                continue;
            }
            let path = format!("{name}::");
            for offset in words(&file.product, &path) {
                // `crate::x::sled::` is a module of ours.
                if file.product[..offset].ends_with("::") {
                    continue;
                }
                findings.push(Finding {
                    path: file.path.clone(),
                    line: File::line(&file.product, offset),
                    what: format!("`{path}`: {why}"),
                });
            }
        }
    }
    assert_none("crates behind one file", &findings);
}

#[test]
fn nothing_is_left_for_later() {
    let mut findings = Vec::new();
    let attribute = ["#[", "ignore"].concat();
    for file in files() {
        for word in ["todo!", "unimplemented!", "dbg!"] {
            let at: Vec<usize> = words(&file.code, word).collect();
            findings.extend(at.into_iter().map(|offset| Finding {
                path: file.path.clone(),
                line: File::line(&file.code, offset),
                what: format!("`{word}`"),
            }));
        }
        findings.extend(
            file.code
                .match_indices(&attribute)
                .map(|(offset, _)| Finding {
                    path: file.path.clone(),
                    line: File::line(&file.code, offset),
                    what: "a test that is not run".to_owned(),
                }),
        );
    }
    assert_none("nothing is left for later", &findings);
}

/// Words that have no place in text that others read: notes to oneself, and paths of one machine.
const LOOSE_ENDS: &[&str] = &[
    "TODO",
    "FIXME",
    "XXX",
    "HACK",
    "/root/",
    "/home/",
    "/tmp/wt",
    "../shared",
];

#[test]
fn no_loose_ends_in_text() {
    let mut findings = Vec::new();
    for path in texts() {
        if path.starts_with("src/tidy/") {
            continue;
        }
        let Ok(text) = fs::read_to_string(root().join(&path)) else {
            continue;
        };
        for word in LOOSE_ENDS {
            findings.extend(words(&text, word).map(|offset| Finding {
                path: path.clone(),
                line: File::line(&text, offset),
                what: format!("`{word}`"),
            }));
        }
    }
    assert_none("no loose ends", &findings);
}

/// Every text of the repository that people read.
fn texts() -> Vec<String> {
    let mut found = Vec::new();
    for name in ["src", "docs", "config", "sip-tests", "benches", ".ci"] {
        gather(&root().join(name), &mut found);
    }
    for name in [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Cargo.toml",
        "deny.toml",
    ] {
        found.push(name.to_owned());
    }
    found
}

fn gather(folder: &Path, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                gather(&path, found);
            }
        } else {
            found.push(
                path.strip_prefix(root())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
        }
    }
}

#[test]
fn modules_are_named_for_what_they_are() {
    let findings: Vec<Finding> = files()
        .iter()
        .filter(|file| {
            let name = file
                .path
                .trim_end_matches("/mod.rs")
                .trim_end_matches(".rs");
            let name = name.rsplit('/').next().unwrap_or(name);
            [
                "utils", "util", "common", "helpers", "helper", "manager", "service", "misc",
            ]
            .contains(&name)
        })
        .map(|file| Finding {
            path: file.path.clone(),
            line: 1,
            what: "a name that says nothing".to_owned(),
        })
        .collect();
    assert_none("modules are nouns for what they hold", &findings);
}

/// Methods of SIP, which no adapter names.
const METHODS: &[&str] = &[
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "PRACK",
    "UPDATE",
    "INFO",
    "REFER",
    "SUBSCRIBE",
    "NOTIFY",
    "MESSAGE",
    "PUBLISH",
];

#[test]
fn adapters_decide_nothing() {
    let files = files();
    let adapters: Vec<&File> = files
        .iter()
        .filter(|file| file.path.starts_with("src/engine/") && file.path.ends_with("_adapter.rs"))
        .collect();
    let mut findings = Vec::new();
    let mut lines = 0;
    for file in adapters {
        lines += file
            .product
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count();
        findings.extend(find(file, "Method::", "a SIP method"));
        for method in METHODS {
            let quoted = format!("\"{method}\"");
            for (offset, _) in file.text.match_indices(&quoted) {
                findings.push(Finding {
                    path: file.path.clone(),
                    line: File::line(&file.text, offset),
                    what: format!("the SIP method {method}"),
                });
            }
        }
        for status in 100..=699_u16 {
            findings.extend(find(file, &status.to_string(), "a SIP status"));
        }
    }
    assert_none("adapters carry, they do not decide", &findings);
    assert!(
        lines <= 1_500,
        "the engine's adapters have {lines} lines; at most 1500"
    );
}

#[test]
fn a_banned_word_is_seen_where_it_is_product() {
    let file = |product: &str| File {
        path: "src/call/mod.rs".to_owned(),
        text: String::new(),
        code: String::new(),
        product: product.to_owned(),
        is_test: false,
    };
    let found = |product: &str, word: &str| find(&file(product), word, "").len();
    assert_eq!(found("let now = Instant::now();", "Instant::now"), 1);
    assert_eq!(found("let now = Instant::nowhere();", "Instant::now"), 0);
    assert_eq!(found("let random = brand::new();", "rand::"), 0);
    let map = "struct A { calls: HashMap<u8, u8> } fn f() { for x in self.calls.values() {} }";
    assert_eq!(unordered_names(map), ["calls"]);
    assert_eq!(found(map, "calls.values()"), 1);
}
