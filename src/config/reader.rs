//! Walks the TOML tree with line numbers, follows `{ env = }` and `{ file = }`, gathers faults.

use super::fault::{Fault, Faults};
use super::{Environment, keys};
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A parsed file: its tree, as far as its syntax allowed, and the faults of its syntax.
pub(super) struct Document<'t> {
    tree: Spanned<DeTable<'t>>,
    syntax: Vec<Fault>,
    lines: Vec<usize>,
}

impl<'t> Document<'t> {
    /// Parses `text`, going on after faults.
    pub(super) fn parse(text: &'t str) -> Self {
        let (tree, errors) = DeTable::parse_recoverable(text);
        let lines = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(offset, _)| offset)
            .collect();
        let mut document = Self {
            tree,
            syntax: Vec::new(),
            lines,
        };
        document.syntax = errors
            .iter()
            .map(|error| Fault {
                line: error.span().map_or(0, |span| document.line(&span)),
                key: String::new(),
                message: said(text, error),
            })
            .collect();
        document
    }

    fn line(&self, span: &Range<usize>) -> usize {
        self.lines.partition_point(|newline| *newline < span.start) + 1
    }
}

/// What is wrong with the syntax, in words that fit what was most likely meant.
fn said(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.and_then(|before| before.rsplit('\n').find(|line| !line.trim().is_empty()));
    match line.and_then(|line| line.trim().strip_suffix('=')) {
        Some(key) => format!("{}: a value is missing", key.trim()),
        None => error.message().to_owned(),
    }
}

/// One reading of one document.
pub(super) struct Reader<'d> {
    document: &'d Document<'d>,
    environment: &'d Environment<'d>,
    faults: RefCell<Vec<Fault>>,
    #[cfg(test)]
    pub(super) asked: RefCell<std::collections::BTreeSet<String>>,
}

impl<'d> Reader<'d> {
    pub(super) fn new(document: &'d Document<'d>, environment: &'d Environment<'d>) -> Self {
        Self {
            document,
            environment,
            faults: RefCell::new(document.syntax.clone()),
            #[cfg(test)]
            asked: RefCell::default(),
        }
    }

    /// The whole file as a section.
    pub(super) fn root(&self) -> Section<'_> {
        Section {
            reader: self,
            table: Some(self.document.tree.get_ref()),
            line: 0,
            schema: String::new(),
            shown: String::new(),
        }
    }

    /// Reports keys that do not exist.
    pub(super) fn check_keys(&self) {
        self.check_table("", self.document.tree.get_ref());
    }

    fn check_table(&self, schema: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let full = joined(schema, name);
            if keys::is_key(&full) {
                continue;
            }
            let line = self.document.line(&key.span());
            if !keys::is_table(&full) {
                self.fault(line, full, unknown_key(schema, name));
                continue;
            }
            match value.get_ref() {
                DeValue::Table(inner) => self.check_table(&full, inner),
                DeValue::Array(items) => {
                    for item in items.iter() {
                        if let DeValue::Table(inner) = item.get_ref() {
                            self.check_table(&full, inner);
                        } else {
                            let line = self.document.line(&item.span());
                            self.fault(line, full.clone(), "expected a table".to_owned());
                        }
                    }
                }
                other => {
                    let message = format!("expected a table, found {}", other.type_str());
                    self.fault(line, full, message);
                }
            }
        }
    }

    fn fault(&self, line: usize, key: String, message: String) {
        self.faults.borrow_mut().push(Fault { line, key, message });
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_sound(&self) -> bool {
        self.faults.borrow().is_empty()
    }

    /// Nothing, or every fault.
    pub(super) fn finish(self, file: &str) -> Result<(), Faults> {
        let mut faults = self.faults.into_inner();
        let broken: Vec<usize> = self.document.syntax.iter().map(|f| f.line).collect();
        if !broken.is_empty() {
            // What follows from a broken line is no news, nor is a key that it may have held.
            faults.retain(|fault| {
                fault.key.is_empty() || (fault.line > 0 && !broken.contains(&fault.line))
            });
        }
        faults.sort();
        faults.dedup();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Faults {
                file: file.to_owned(),
                faults,
            })
        }
    }
}

/// One table of the file, or the absence of one (then every key has its default).
pub(super) struct Section<'r> {
    reader: &'r Reader<'r>,
    table: Option<&'r DeTable<'r>>,
    line: usize,
    schema: String,
    shown: String,
}

/// One value, indirection followed.
pub(super) struct Value<'r> {
    /// What it is.
    pub(super) found: Found<'r>,
    /// Its line.
    pub(super) line: usize,
    /// It came from the environment or a file, or is secret by itself: never shown.
    pub(super) hidden: bool,
}

/// Kinds of values.
pub(super) enum Found<'r> {
    /// `true`, `false`
    Bool(bool),
    /// An integer that fits.
    Integer(i64),
    /// A string, or a TOML date as text.
    Text(Cow<'r, str>),
    /// A list.
    List(Vec<Value<'r>>),
    /// An inline table that is no indirection.
    Table(&'r DeTable<'r>),
    /// Anything else, by name.
    Other(&'static str),
}

impl<'r> Section<'r> {
    /// The table `name` inside this one.
    pub(super) fn section(&self, name: &str) -> Section<'r> {
        let found = self.table.and_then(|table| table.get(name));
        Section {
            reader: self.reader,
            table: found.and_then(|value| value.get_ref().as_table()),
            line: found.map_or(self.line, |value| self.reader.document.line(&value.span())),
            schema: joined(&self.schema, name),
            shown: joined(&self.shown, name),
        }
    }

    /// Each `[[name]]` inside this one. They are shown by the value of their key `label`, where
    /// they have it.
    pub(super) fn sections(&self, name: &str, label: &str) -> Vec<Section<'r>> {
        let items = self
            .table
            .and_then(|table| table.get(name))
            .and_then(|value| value.get_ref().as_array());
        let tables = items.into_iter().flat_map(|items| items.iter());
        tables
            .enumerate()
            .filter_map(|(position, item)| {
                let table = item.get_ref().as_table()?;
                let named = table.get(label).and_then(|value| value.get_ref().as_str());
                let full = joined(&self.shown, name);
                Some(Section {
                    reader: self.reader,
                    table: Some(table),
                    line: self.reader.document.line(&item.span()),
                    schema: joined(&self.schema, name),
                    shown: match named {
                        Some(named) => format!("{full} \"{named}\""),
                        None => format!("{full}[{position}]"),
                    },
                })
            })
            .collect()
    }

    /// Whether the file has this table.
    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Whether the file sets `key` here.
    pub(super) fn has(&self, key: &str) -> bool {
        self.asked(key);
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The value of `key`, indirection followed; `None` where absent or where following failed
    /// (which is reported).
    pub(super) fn value(&self, key: &str) -> Option<Value<'r>> {
        self.asked(key);
        let value = self.table?.get(key)?;
        self.resolve(key, value)
    }

    /// Reads `key` with `parse`, whose error says what was expected. `None` where absent or wrong.
    pub(super) fn read<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&Value<'r>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.value(key)?;
        match parse(&value) {
            Ok(parsed) => Some(parsed),
            Err(expected) => {
                let found = value.shown();
                self.fault_at(
                    value.line,
                    key,
                    format!("expected {expected}, found {found}"),
                );
                None
            }
        }
    }

    /// As [`Self::read`], reporting absence as a fault.
    pub(super) fn require<T>(
        &self,
        key: &str,
        expected: &str,
        parse: impl FnOnce(&Value<'r>) -> Result<T, String>,
    ) -> Option<T> {
        if !self.has(key) {
            self.fault(key, format!("missing: expected {expected}"));
            return None;
        }
        self.read(key, parse)
    }

    /// Reads each item of the list `key`; items that are wrong are reported and left out.
    pub(super) fn read_list<T>(
        &self,
        key: &str,
        mut parse: impl FnMut(&Value<'r>) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.value(key)?;
        let line = value.line;
        let items = match value.items() {
            Ok(items) => items,
            Err(value) => {
                let found = value.shown();
                self.fault_at(line, key, format!("expected a list, found {found}"));
                return None;
            }
        };
        let mut parsed = Vec::with_capacity(items.len());
        for item in items {
            match parse(&item) {
                Ok(one) => parsed.push(one),
                Err(expected) => {
                    let found = item.shown();
                    self.fault_at(
                        item.line,
                        key,
                        format!("expected {expected}, found {found}"),
                    );
                }
            }
        }
        Some(parsed)
    }

    /// Refuses `key` wherever it is set.
    pub(super) fn refuse(&self, key: &str, why: &str) {
        if self.has(key) {
            self.fault(key, why.to_owned());
        }
    }

    /// Whether something was wrong with `key` already: what follows from that is no news.
    pub(super) fn is_faulty(&self, key: &str) -> bool {
        let shown = self.shown_as(key);
        let faults = self.reader.faults.borrow();
        faults.iter().any(|fault| fault.key == shown)
    }

    /// Reports a fault of `key`, at its line, or at its table's where it is absent.
    pub(super) fn fault(&self, key: &str, message: impl Display) {
        let line = self.line_of(key);
        self.fault_at(line, key, message);
    }

    /// Of the whole file: reports what cannot be used.
    pub(super) fn fault_of(&self, unusable: super::Unusable) {
        let trunk = unusable.trunk.and_then(|name| {
            let shown = format!("trunk \"{name}\"");
            let mut all = self.sections("trunk", "name").into_iter();
            all.find(|section| section.shown == shown)
        });
        let mut inner = trunk;
        let mut rest = unusable.key.as_str();
        while let Some((table, within)) = rest.split_once('.') {
            inner = Some(inner.as_ref().unwrap_or(self).section(table));
            rest = within;
        }
        inner.as_ref().unwrap_or(self).fault(rest, unusable.message);
    }

    pub(super) fn fault_at(&self, line: usize, key: &str, message: impl Display) {
        self.reader
            .fault(line, self.shown_as(key), message.to_string());
    }

    fn shown_as(&self, key: &str) -> String {
        if self.shown.ends_with(['"', ']']) {
            format!("{} {key}", self.shown)
        } else {
            joined(&self.shown, key)
        }
    }

    /// Line of `key`, or of its table where it is absent.
    pub(super) fn line_of(&self, key: &str) -> usize {
        let entry = self.table.and_then(|table| table.get_key_value(key));
        entry.map_or(self.line, |(key, _)| self.reader.document.line(&key.span()))
    }

    fn resolve(&self, key: &str, value: &'r Spanned<DeValue<'r>>) -> Option<Value<'r>> {
        let line = self.reader.document.line(&value.span());
        let found = match value.get_ref() {
            DeValue::Boolean(flag) => Found::Bool(*flag),
            DeValue::Integer(digits) => {
                match i64::from_str_radix(&digits.as_str().replace('_', ""), digits.radix()) {
                    Ok(number) => Found::Integer(number),
                    Err(_) => Found::Other("an integer out of range"),
                }
            }
            DeValue::String(text) => Found::Text(Cow::Borrowed(text.as_ref())),
            DeValue::Datetime(date) => Found::Text(Cow::Owned(date.to_string())),
            DeValue::Array(items) => Found::List(
                items
                    .iter()
                    .filter_map(|item| self.resolve(key, item))
                    .collect(),
            ),
            DeValue::Table(table) => match indirection(table) {
                Some((kind, name)) => {
                    let text = self.follow(key, line, kind, name)?;
                    return Some(Value {
                        found: Found::Text(Cow::Owned(text)),
                        line,
                        hidden: true,
                    });
                }
                None => Found::Table(table),
            },
            other => Found::Other(other.type_str()),
        };
        Some(Value {
            found,
            line,
            hidden: keys::is_secret(&joined(&self.schema, key)),
        })
    }

    fn follow(&self, key: &str, line: usize, kind: &str, name: &str) -> Option<String> {
        let text = if kind == "env" {
            let value = (self.reader.environment.variable)(name);
            value.ok_or_else(|| format!("the environment variable {name} is not set"))
        } else {
            let content = (self.reader.environment.file)(Path::new(name));
            content.map_err(|error| format!("the file {name} cannot be read: {error}"))
        };
        match text {
            Ok(mut text) => {
                // Editors and `echo` end a file with a newline that nobody means.
                if text.ends_with('\n') {
                    text.pop();
                    if text.ends_with('\r') {
                        text.pop();
                    }
                }
                Some(text)
            }
            Err(message) => {
                self.fault_at(line, key, message);
                None
            }
        }
    }

    /// The file that `value` names: its path and its text.
    pub(super) fn file(&self, value: &Value<'_>) -> Result<(PathBuf, String), String> {
        let path = Path::new(value.text().ok_or("a file's path")?);
        match (self.reader.environment.file)(path) {
            Ok(text) => Ok((path.to_owned(), text)),
            Err(error) => Err(format!("a readable file ({error})")),
        }
    }

    /// The text of a file that nobody named, if it is there.
    pub(super) fn default_file(&self, path: &str) -> Option<String> {
        (self.reader.environment.file)(Path::new(path)).ok()
    }

    /// The text of a file that the configuration does not name.
    pub(super) fn text_of(&self, path: &Path) -> Result<String, String> {
        (self.reader.environment.file)(path)
    }

    #[cfg(test)]
    fn asked(&self, key: &str) {
        let full = joined(&self.schema, key);
        assert!(
            keys::is_key(&full) || keys::is_table(&full),
            "{full} is not in keys.rs"
        );
        self.reader.asked.borrow_mut().insert(full);
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self)]
    fn asked(&self, _key: &str) {}
}

impl<'r> Value<'r> {
    /// How a fault shows it.
    pub(super) fn shown(&self) -> String {
        if self.hidden {
            return "something else (not shown)".to_owned();
        }
        match &self.found {
            Found::Bool(flag) => flag.to_string(),
            Found::Integer(number) => number.to_string(),
            Found::Text(text) => format!("{:?}", cut(text)),
            Found::List(_) => "a list".to_owned(),
            Found::Table(_) => "a table".to_owned(),
            Found::Other(kind) => (*kind).to_owned(),
        }
    }

    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.found {
            Found::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Its items: a list's, or those of a text from the environment or a file, split at commas.
    fn items(self) -> Result<Vec<Value<'r>>, Value<'r>> {
        match self.found {
            Found::List(items) => Ok(items),
            Found::Text(ref text) if self.hidden => Ok(text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value {
                    found: Found::Text(Cow::Owned(item.to_owned())),
                    line: self.line,
                    hidden: true,
                })
                .collect()),
            _ => Err(self),
        }
    }
}

/// `{ env = "NAME" }` or `{ file = "PATH" }`, and nothing else in it.
fn indirection<'r>(table: &'r DeTable<'r>) -> Option<(&'static str, &'r str)> {
    if table.len() != 1 {
        return None;
    }
    ["env", "file"]
        .into_iter()
        .find_map(|kind| Some((kind, table.get(kind)?.get_ref().as_str()?)))
}

fn unknown_key(table: &str, name: &str) -> String {
    match keys::nearest(table, name) {
        Some(near) => format!("unknown key; `{near}` was meant?"),
        None => format!(
            "unknown key; known here: {}",
            keys::inside(table).join(", ")
        ),
    }
}

fn joined(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

/// At most 60 characters of it.
fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(60) {
        Some((end, _)) => Cow::Owned(format!("{}...", text.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}
