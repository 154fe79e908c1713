//! What is wrong with a configuration file: where, and what was expected there.

use std::fmt;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Line in the file, from 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// The key, written as in the file (`http.listen`, `trunk "carrier-in" sources`).
    pub key: String,
    /// What was expected, and what was found unless it may be a secret.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}", self.message)
        } else {
            write!(f, "{}: {}", self.key, self.message)
        }
    }
}

/// All faults of one file, sorted by line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults {
    /// Name of the file.
    pub file: String,
    /// The faults; never empty.
    pub faults: Vec<Fault>,
}

impl Faults {
    /// The file itself could not be read.
    pub(super) fn unreadable(file: &str, error: &str) -> Self {
        Self {
            file: file.to_owned(),
            faults: vec![Fault {
                line: 0,
                key: String::new(),
                message: format!("cannot be read: {error}"),
            }],
        }
    }
}

/// One line a fault: `file:line: key: what was expected`.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, fault) in self.faults.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            if fault.line == 0 {
                write!(f, "{}: {fault}", self.file)?;
            } else {
                write!(f, "{}:{}: {fault}", self.file, fault.line)?;
            }
        }
        Ok(())
    }
}
