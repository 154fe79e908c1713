//! No guard of a shared map lives beyond its line: a second look at the map while one is held may
//! wait for itself, for ever.

use super::source::{File, files, words};
use super::{Finding, assert_none};

/// The one file with a map that threads share, and its maps.
const SHARED: &str = "src/lease/directory.rs";
const MAPS: &[&str] = &["self.numbers", "self.whitelists"];

/// Ways that hand out no guard, or let go of it at once. What `get` gives must go through one of
/// the second kind in the same expression.
const PLAIN: &[&str] = &["insert(", "remove(", "len(", "is_empty(", "capacity("];
const AT_ONCE: &[&str] = &[
    ".map(|entry| *entry)",
    ".is_some_and(|list| list.binary_search(",
];

#[test]
fn a_shared_map_stands_in_one_file() {
    let mut findings = Vec::new();
    for file in files().iter().filter(|file| file.path != SHARED) {
        findings.extend(words(&file.product, "DashMap").map(|offset| Finding {
            path: file.path.clone(),
            line: File::line(&file.product, offset),
            what: format!("`DashMap` stands in {SHARED} alone"),
        }));
    }
    assert_none("shared maps", &findings);
}

#[test]
fn no_guard_of_a_shared_map_outlives_its_line() {
    let file = files().into_iter().find(|file| file.path == SHARED);
    let file = file.expect("the directory");
    let findings: Vec<Finding> = held(&file.product)
        .into_iter()
        .map(|offset| Finding {
            path: file.path.clone(),
            line: File::line(&file.product, offset),
            what: "a guard that lives on".to_owned(),
        })
        .collect();
    assert_none("guards of shared maps", &findings);
    assert!(
        file.product.matches(MAPS[0]).count() > 2,
        "the maps have other names now"
    );
}

/// Where a map is used in a way that may keep a guard.
fn held(code: &str) -> Vec<usize> {
    let mut found = Vec::new();
    for map in MAPS {
        for (offset, _) in code.match_indices(map) {
            let rest = &code[offset + map.len()..];
            let Some(call) = rest.trim_start().strip_prefix('.') else {
                found.push(offset); // handed on as it is
                continue;
            };
            let let_go = PLAIN.iter().any(|plain| call.starts_with(plain))
                || (call.starts_with("get(")
                    && after_call(call)
                        .is_some_and(|after| AT_ONCE.iter().any(|way| after.starts_with(way))));
            if !let_go {
                found.push(offset);
            }
        }
    }
    found
}

/// What follows the closing parenthesis of a call.
fn after_call(call: &str) -> Option<&str> {
    let mut depth = 0;
    for (offset, byte) in call.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' if depth == 1 => return Some(call[offset + 1..].trim_start()),
            b')' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[test]
fn a_guard_that_is_kept_is_seen() {
    for kept in [
        "let entry = self.numbers.get(&key)?;",
        "let entry = self.numbers.entry(key).or_default();",
        "for entry in self.numbers.iter() {}",
        "let map = &self.numbers;",
        "self.whitelists.get(&f(x)).map(|list| self.numbers.len())",
    ] {
        assert_eq!(held(kept).len(), 1, "{kept}");
    }
    let fine =
        "self.numbers.get(&number.packed()).map(|entry| *entry)?; self.numbers.insert(a, b);";
    assert_eq!(held(fine), Vec::<usize>::new());
}
