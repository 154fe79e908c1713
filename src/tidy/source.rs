//! Rust files as the rules see them.

use std::fs;
use std::path::Path;

/// One file of `src/`.
pub(super) struct File {
    /// From the root of the crate, with `/`.
    pub(super) path: String,
    /// As it is.
    pub(super) text: String,
    /// With comments, and what stands in strings, blanked; lines stay where they are.
    pub(super) code: String,
    /// As `code`, with what is compiled for tests alone blanked too.
    pub(super) product: String,
    /// The whole file is compiled for tests alone.
    pub(super) is_test: bool,
}

impl File {
    /// The top-level module that it belongs to (`main` and `lib` are their own).
    pub(super) fn layer(&self) -> &str {
        let rest = self.path.strip_prefix("src/").unwrap_or(&self.path);
        rest.split('/')
            .next()
            .unwrap_or(rest)
            .trim_end_matches(".rs")
    }

    /// Line of an offset into any of its texts, from 1.
    pub(super) fn line(text: &str, offset: usize) -> usize {
        text.as_bytes()[..offset]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1
    }
}

/// The root of the crate.
pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of `src/`, sorted by path.
pub(super) fn files() -> Vec<File> {
    let mut paths = Vec::new();
    walk(&root().join("src"), &mut paths);
    paths.sort();
    let mut files: Vec<File> = paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(root().join(&path)).unwrap();
            let code = blank_text(&text);
            let product = blank_tests(&code);
            File {
                path,
                text,
                code,
                product,
                is_test: false,
            }
        })
        .collect();
    mark_test_files(&mut files);
    files
}

fn walk(folder: &Path, paths: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, paths);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let path = path.strip_prefix(root()).unwrap();
            paths.push(path.to_str().unwrap().to_owned());
        }
    }
}

/// Files that a `#[cfg(test)] mod name;` brings in, and all below them.
fn mark_test_files(files: &mut [File]) {
    let mut roots = Vec::new();
    for file in files.iter() {
        let folder = match file.path.strip_suffix("/mod.rs") {
            Some(folder) => folder.to_owned(),
            None if file.path == "src/lib.rs" => "src".to_owned(),
            None => file.path.trim_end_matches(".rs").to_owned(),
        };
        for name in test_modules(&file.code) {
            roots.push(format!("{folder}/{name}"));
        }
    }
    for file in files {
        let stem = file.path.trim_end_matches(".rs");
        if roots
            .iter()
            .any(|root| stem == root || file.path.starts_with(&format!("{root}/")))
        {
            file.is_test = true;
            file.product = blank(&file.code, 0, file.code.len());
        }
    }
}

/// Names declared as `#[cfg(test)] mod name;`.
fn test_modules(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (start, end) in test_items(code) {
        let item = &code[start..end];
        if let (Some(rest), true) = (item.split("mod ").nth(1), item.ends_with(';')) {
            names.push(rest.trim_end_matches(';').trim().to_owned());
        }
    }
    names
}

/// `text` with everything between the offsets blanked, line breaks kept.
fn blank(text: &str, start: usize, end: usize) -> String {
    let blanked = text[start..end]
        .bytes()
        .map(|byte| if byte == b'\n' { '\n' } else { ' ' });
    let blanked: String = blanked.collect();
    [&text[..start], &blanked, &text[end..]].concat()
}

/// Blanks comments and what stands in strings and character literals. Offsets and lines stay.
pub(super) fn blank_text(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_end(bytes, at),
            b'"' => {
                let end = string_end(bytes, at);
                blank_bytes(&mut out, at + 1, end - 1);
                at = end;
                continue;
            }
            b'r' | b'b' if !follows_name(bytes, at) => match raw_string(bytes, at) {
                Some((inner, close, end)) => {
                    blank_bytes(&mut out, inner, close);
                    at = end;
                    continue;
                }
                None => {
                    at += 1;
                    continue;
                }
            },
            b'\'' => match character_end(text, at) {
                Some(end) => {
                    blank_bytes(&mut out, at + 1, end - 1);
                    at = end;
                    continue;
                }
                None => {
                    at += 1;
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        blank_bytes(&mut out, at, end);
        at = end;
    }
    String::from_utf8(out).unwrap()
}

fn blank_bytes(out: &mut [u8], start: usize, end: usize) {
    for byte in &mut out[start..end] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes[at..].iter().position(|byte| *byte == b'\n');
    rest.map_or(bytes.len(), |length| at + length)
}

fn block_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < bytes.len() {
        match &bytes[at..bytes.len().min(at + 2)] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// Offset after the closing quote.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn follows_name(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

/// `r"..."`, `r#"..."#`, `br"..."`: where the inside begins, where it ends, and what comes after.
fn raw_string(bytes: &[u8], start: usize) -> Option<(usize, usize, usize)> {
    let mut at = start;
    if bytes[at] == b'b' {
        at += 1;
    }
    if bytes.get(at) != Some(&b'r') {
        return None;
    }
    at += 1;
    let hashes = bytes[at..].iter().take_while(|byte| **byte == b'#').count();
    at += hashes;
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let inner = at + 1;
    let close: Vec<u8> = std::iter::once(b'"')
        .chain(std::iter::repeat_n(b'#', hashes))
        .collect();
    let length = bytes[inner..]
        .windows(close.len())
        .position(|window| window == close)?;
    Some((inner, inner + length, inner + length + close.len()))
}

/// Offset after the closing quote of a character literal; `None` for a lifetime.
fn character_end(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.get(start + 1) == Some(&b'\\') {
        let rest = bytes[start + 3..].iter().position(|byte| *byte == b'\'')?;
        return Some(start + 3 + rest + 1);
    }
    let character = text[start + 1..].chars().next()?;
    let end = start + 1 + character.len_utf8();
    (bytes.get(end) == Some(&b'\'')).then_some(end + 1)
}

/// Blanks every item under `#[cfg(test)]`.
fn blank_tests(code: &str) -> String {
    let mut out = code.to_owned();
    for (start, end) in test_items(code) {
        out = blank(&out, start, end);
    }
    out
}

/// Where items under `#[cfg(test)]` (and functions under `#[test]`) begin and end.
fn test_items(code: &str) -> Vec<(usize, usize)> {
    let mut items = Vec::new();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let end = item_end(code, start);
        items.push((start, end));
        from = end;
    }
    items
}

/// Where the item that begins at `start` (with its attributes) ends: after its `;` or `,`, or its
/// closing brace.
fn item_end(code: &str, start: usize) -> usize {
    let bytes = code.as_bytes();
    let (mut at, mut depth) = (start, 0_i32);
    while at < bytes.len() {
        match bytes[at] {
            b'{' => return matching_brace(code, at) + 1,
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b';' | b',' if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Offset of the brace that closes the one at `open` (the end of the text if none does).
pub(super) fn matching_brace(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return offset,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len().saturating_sub(1)
}

/// Offsets where `word` stands as a whole word.
pub(super) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let starts_name = word.starts_with(is_name);
    let ends_name = word.ends_with(is_name);
    text.match_indices(word).filter_map(move |(offset, _)| {
        let before = text[..offset].chars().next_back().is_some_and(is_name);
        let after = text[offset + word.len()..]
            .chars()
            .next()
            .is_some_and(is_name);
        let part = (starts_name && before) || (ends_name && after);
        (!part).then_some(offset)
    })
}

#[test]
fn comments_and_strings_are_blanked_in_place() {
    let text = "let a = \"// no\"; // yes\nlet b = 'x'; /* a /* b */ c */ fn f<'a>() {}\n\
                let r = r#\"raw \"q\" \"#;\nlet q = '\\''; let s = \"\\\"\";";
    let code = blank_text(text);
    assert_eq!(code.len(), text.len());
    assert!(
        !code.contains("yes") && !code.contains("no") && !code.contains("raw"),
        "{code}"
    );
    assert!(
        code.contains("fn f<'a>() {}") && code.contains("let s = \""),
        "{code}"
    );
    assert_eq!(code.lines().count(), text.lines().count());
}

#[test]
fn test_items_are_blanked() {
    let code = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { { } } }\nfn c() {}\n#[cfg(test)]\nmod more;\n";
    let product = blank_tests(code);
    assert!(product.contains("fn a") && product.contains("fn c"));
    assert!(!product.contains("fn b") && !product.contains("more"));
    assert_eq!(test_modules(code), ["more"]);
}
