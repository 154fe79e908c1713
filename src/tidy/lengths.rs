//! Files and functions that one can read at a sitting.

use super::source::{File, files, matching_brace, words};
use super::{Finding, assert_none};

/// Lines of a file, its tests not counted.
const FILE: usize = 800;
/// Lines of a function, from `fn` to its closing brace.
const FUNCTION: usize = 70;

#[test]
fn no_file_is_too_long() {
    let findings: Vec<Finding> = files()
        .iter()
        .filter(|file| !file.is_test)
        .filter_map(|file| {
            let lines = length_without_tests(file);
            (lines > FILE).then(|| Finding {
                path: file.path.clone(),
                line: 1,
                what: format!("{lines} lines without tests; at most {FILE}: is it one thing?"),
            })
        })
        .collect();
    assert_none("files", &findings);
}

/// All lines but those that hold code of tests alone.
fn length_without_tests(file: &File) -> usize {
    file.code
        .lines()
        .zip(file.product.lines())
        .filter(|(code, product)| code.trim().is_empty() || !product.trim().is_empty())
        .count()
}

#[test]
fn no_function_is_too_long() {
    let mut findings = Vec::new();
    for file in files() {
        for (line, lines) in functions(&file.code) {
            if lines > FUNCTION {
                findings.push(Finding {
                    path: file.path.clone(),
                    line,
                    what: format!("a function of {lines} lines; at most {FUNCTION}"),
                });
            }
        }
    }
    assert_none("functions", &findings);
}

/// First line and length of each function that has a body.
fn functions(code: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for start in words(code, "fn") {
        let named = code[start + 2..].trim_start();
        if !named.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            continue; // `fn(..)` as a type
        }
        let Some(open) = body(code, start) else {
            continue;
        };
        let first = File::line(code, start);
        let last = File::line(code, matching_brace(code, open));
        found.push((first, last + 1 - first));
    }
    found
}

/// The brace that opens a function's body; `None` where it has none.
fn body(code: &str, start: usize) -> Option<usize> {
    let mut depth = 0;
    for (offset, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

#[test]
fn functions_are_measured() {
    let code =
        "fn a(f: fn(u8) -> [u8; 2]) -> u8 {\n    1\n}\ntrait T { fn b(&self); }\nfn c() {}\n";
    assert_eq!(functions(code), [(1, 3), (5, 1)]);
}
