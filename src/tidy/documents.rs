//! What is there is documented and tested: status codes, metrics. (Configuration keys are compared
//! with `config/leasebridge.toml` in `config::tests`.)

use super::source::{File, files, root, words};
use crate::observe::catalogue;
use std::fs;

/// The text of all code that is compiled for tests alone, comments left out, strings kept.
fn tests_of(folders: &[&str]) -> String {
    let mut text = String::new();
    for file in files() {
        if folders.iter().any(|folder| file.path.starts_with(folder)) {
            text.push_str(&test_part(&file));
        }
    }
    text
}

/// What `code` has and `product` has not, from the text itself.
fn test_part(file: &File) -> String {
    let kept = file
        .text
        .lines()
        .zip(file.code.lines().zip(file.product.lines()))
        .filter(|(_, (code, product))| !code.trim().is_empty() && product.trim().is_empty())
        .map(|(text, _)| text);
    kept.collect::<Vec<_>>().join("\n")
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_default()
}

/// The texts of a folder's files, one after the other.
fn folder(name: &str) -> String {
    let entries = fs::read_dir(root().join(name)).into_iter().flatten();
    entries
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
        .collect()
}

#[test]
fn every_metric_is_documented() {
    let text = document("docs/metrics.md");
    let missing: Vec<&str> = catalogue::ALL
        .iter()
        .map(|row| row.name)
        .filter(|name| !text.contains(&format!("`{name}`")))
        .collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:?}");
    let known = |name: &&str| catalogue::ALL.iter().any(|row| row.name == *name);
    let unknown: Vec<&str> = text
        .split('`')
        .filter(|word| word.starts_with("leasebridge_") && !word.contains(['{', ' ', '*', '(']))
        .filter(|name| !known(name))
        .collect();
    assert!(
        unknown.is_empty(),
        "in docs/metrics.md, but no metric: {unknown:?}"
    );
}

/// The labels of SIP events: where they are counted, where they are known beforehand, where they are
/// explained.
#[test]
fn every_sip_event_is_known_and_documented() {
    let document = document("docs/metrics.md");
    for (event, detail) in catalogue::SIP_EVENT_LABELS {
        for label in [event, detail] {
            let found = label.is_empty() || document.contains(&format!("`{label}`"));
            assert!(found, "docs/metrics.md does not explain {event} {detail}");
        }
    }
    let mut counted = 0;
    for file in files().iter().filter(|file| !file.is_test) {
        let product = file.text.lines().zip(file.product.lines());
        for (line, _) in product.filter(|(_, product)| product.contains(".count(\"")) {
            let mut labels = line.split('"').skip(1).step_by(2);
            if let (Some(event), Some(detail)) = (labels.next(), labels.next()) {
                counted += 1;
                let known = catalogue::SIP_EVENT_LABELS.contains(&(event, detail));
                assert!(known, "{}: {event} {detail} is not known", file.path);
            }
        }
    }
    assert!(counted > 20, "only {counted} places count an event");
}

#[test]
fn every_metric_is_named_in_a_test() {
    let mut text = tests_of(&["src/"]);
    for folder in ["sip-tests", "tests"] {
        text.push_str(&scripts(&root().join(folder)));
    }
    let missing: Vec<&str> = catalogue::ALL
        .iter()
        .filter(|row| is_counted(row.name))
        .map(|row| row.name)
        .filter(|name| !text.contains(name))
        .collect();
    assert!(missing.is_empty(), "no test names: {missing:?}");
}

/// A row that nobody fills would stay at nought for ever.
#[test]
fn every_metric_is_counted_somewhere() {
    if !files()
        .iter()
        .any(|file| file.path.starts_with("src/app/meter"))
    {
        return; // what the running gateway counts is not joined to the registry yet
    }
    let dead: Vec<&str> = catalogue::ALL
        .iter()
        .map(|row| row.name)
        .filter(|name| !is_counted(name))
        .collect();
    assert!(dead.is_empty(), "nobody counts: {dead:?}");
}

/// Whether product code names the row's constant, as `catalogue::NAME` or `rows::NAME`.
fn is_counted(metric: &str) -> bool {
    const CATALOGUE: &str = "src/observe/catalogue.rs";
    let files = files();
    let rows = files.iter().find(|file| file.path == CATALOGUE);
    let text = &rows.expect("the catalogue").text;
    let quoted = format!("\"{metric}\"");
    let before = &text[..text.find(&quoted).expect("a row")];
    let declared = before.rfind("pub const ").expect("a constant") + "pub const ".len();
    let constant = before[declared..].split(':').next().unwrap_or_default();
    let uses = [
        format!("catalogue::{constant}"),
        format!("rows::{constant}"),
    ];
    files.iter().any(|file| {
        uses.iter()
            .any(|named| words(&file.product, named).next().is_some())
    })
}

fn scripts(folder: &std::path::Path) -> String {
    let mut text = String::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return text;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text.push_str(&scripts(&path));
        } else if let Ok(script) = fs::read_to_string(&path) {
            text.push_str(&script);
        }
    }
    text
}

/// Names of metrics in rules and alerts are those of the catalogue.
#[test]
fn alerts_and_rules_name_real_metrics() {
    for name in ["config/alerts.yml", "config/recording-rules.yml"] {
        let text = document(name);
        assert!(!text.is_empty(), "{name} is missing");
        for (offset, _) in text.match_indices("leasebridge_") {
            if text[..offset].ends_with(':') {
                continue; // the name of a recording rule
            }
            let rest = &text[offset..];
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            let found = &rest[..end];
            let known = catalogue::ALL.iter().any(|row| {
                let part = found.strip_prefix(row.name);
                part.is_some_and(|part| ["", "_count", "_sum", "_bucket"].contains(&part))
            });
            assert!(known, "{name}: {found} is no metric");
        }
    }
}

/// The rows of `api/status.rs`: `row(N, ...)` and `retry(N, ...)`.
fn status_codes() -> Vec<u16> {
    let files = files();
    let Some(file) = files.iter().find(|file| file.path == "src/api/status.rs") else {
        return Vec::new();
    };
    let mut codes = Vec::new();
    for opening in ["row(", "retry("] {
        for offset in words(&file.product, opening) {
            let rest = &file.product[offset + opening.len()..];
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
            codes.extend(digits.and_then(|digits| digits.parse::<u16>().ok()));
        }
    }
    codes
}

#[test]
fn every_status_code_is_documented_and_named_in_a_test() {
    let codes = status_codes();
    let text = document("docs/status-codes.md");
    let tests = tests_of(&["src/api"]);
    for code in codes {
        let row = text.lines().any(|line| {
            let cell = line.split('|').nth(1).unwrap_or_default();
            cell.trim().trim_matches('`') == code.to_string()
        });
        assert!(row, "status {code} has no row in docs/status-codes.md");
        let named = words(&tests, &code.to_string()).next().is_some();
        assert!(named, "no test of the API names status {code}");
    }
}

/// docs/bug-classes.md: the second cell of a row names tests, the third files; a class that is not
/// covered yet has a dash.
#[test]
fn the_bug_classes_name_real_tests() {
    let text = document("docs/bug-classes.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split('|').collect())
        .collect();
    assert!(
        rows.len() > 30,
        "docs/bug-classes.md has {} rows",
        rows.len()
    );
    let wrong = not_there(rows.iter().map(|row| match row[..] {
        [_, tests, places] => (places, tests),
        _ => ("`a row of three cells`", ""),
    }));
    assert!(
        wrong.is_empty(),
        "in docs/bug-classes.md, but not there: {wrong:#?}"
    );
}

/// Files and tests that cells name and that do not exist.
fn not_there<'a>(cells: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<&'a str> {
    let mut cases = folder("sip-tests/sipp/cases");
    cases.push_str(&folder("sip-tests/wire"));
    cases.push_str(&folder("sip-tests/stir"));
    cases.push_str(&folder("sip-tests/srtp"));
    let code: Vec<String> = files().into_iter().map(|file| file.code).collect();
    let is_test = |name: &str| {
        let declared = format!("fn {name}(");
        code.iter().any(|code| code.contains(&declared))
    };
    let there = |path: &str| root().join("src").join(path).exists() || root().join(path).exists();
    let mut wrong = Vec::new();
    for (places, tests) in cells {
        wrong.extend(quoted(places, '`').filter(|path| !there(path)));
        wrong.extend(quoted(tests, '`').filter(|name| !is_test(name)));
        wrong.extend(quoted(tests, '"').filter(|name| !cases.contains(*name)));
    }
    wrong
}

/// docs/rfc-coverage.md: the third cell of a row names files, the last one tests.
#[test]
fn the_rfc_table_names_real_files_and_tests() {
    let text = document("docs/rfc-coverage.md");
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        match cells[..] {
            [_, _, places, tests] => rows.push((places, tests)),
            _ => wrong.push(line),
        }
    }
    wrong.extend(not_there(rows.iter().copied()));
    let rows = rows.len();
    assert!(rows > 100, "docs/rfc-coverage.md has {rows} rows");
    assert!(
        wrong.is_empty(),
        "in docs/rfc-coverage.md, but not there: {wrong:#?}"
    );
}

/// Every section of RFC 3261 §§7 to 26 that says what is to be done; one above covers those below.
const SECTIONS: &str = "7.1 7.2 7.3.1 7.3.2 7.3.3 7.4.1 7.4.2 7.5 8.1.1.1 8.1.1.2 8.1.1.3 8.1.1.4 8.1.1.5 \
    8.1.1.6 8.1.1.7 8.1.1.8 8.1.1.9 8.1.1.10 8.1.2 8.1.3.1 8.1.3.2 8.1.3.3 8.1.3.4 8.1.3.5 8.2.1 8.2.2.1 \
    8.2.2.2 8.2.2.3 8.2.3 8.2.4 8.2.5 8.2.6.1 8.2.6.2 8.2.7 8.3 9.1 9.2 10.1 10.2 10.3 11.1 11.2 12.1.1 \
    12.1.2 12.2.1.1 12.2.1.2 12.2.2 12.3 13.1 13.2.1 13.2.2.1 13.2.2.2 13.2.2.3 13.2.2.4 13.3.1.1 \
    13.3.1.2 13.3.1.3 13.3.1.4 14.1 14.2 15.1.1 15.1.2 16.1 16.2 16.3 16.4 16.5 16.6 16.7 16.8 16.9 16.10 \
    16.11 16.12 17.1.1.1 17.1.1.2 17.1.1.3 17.1.2.1 17.1.2.2 17.1.3 17.1.4 17.2.1 17.2.2 17.2.3 17.2.4 \
    18.1.1 18.1.2 18.2.1 18.2.2 18.3 18.4 19.1.1 19.1.2 19.1.3 19.1.4 19.1.5 19.1.6 19.2 19.3 21.1 21.2 \
    21.3 21.4 21.5 21.6 22 23 24 25 26";

#[test]
fn every_section_of_rfc_3261_has_a_row() {
    let text = document("docs/rfc-coverage.md");
    let start = text.find("## RFC 3261").expect("its chapter");
    let end = text.find("## SIP extensions").expect("the next one");
    let rows = text[start..end]
        .lines()
        .filter(|line| line.starts_with("| "));
    let named: Vec<&str> = rows
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|cell| cell.split(", "))
        .map(str::trim)
        .collect();
    let covers = |row: &&str, section: &str| {
        let rest = section.strip_prefix(*row);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let fields = (1..=44).map(|field| format!("20.{field}"));
    let missing: Vec<String> = SECTIONS
        .split_whitespace()
        .map(str::to_owned)
        .chain(fields)
        .filter(|section| !named.iter().any(|row| covers(row, section)))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/rfc-coverage.md has no row for {missing:?}"
    );
}

/// What stands between pairs of `mark`.
fn quoted(cell: &str, mark: char) -> impl Iterator<Item = &str> {
    cell.split(mark).skip(1).step_by(2)
}
