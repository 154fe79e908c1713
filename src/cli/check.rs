//! `check`: every fault of a configuration file at once.

use super::{WRONG_INPUT, print};
use crate::config::Config;
use std::path::Path;
use std::process::ExitCode;

/// Prints that the file is good, or each fault on a line of its own (exit 2).
pub(super) fn run(path: &Path) -> ExitCode {
    match load(path) {
        Ok(config) => {
            for warning in crate::app::warnings(&config) {
                eprintln!("{}: warning: {warning}", path.display());
            }
            print(&format!("{}: good", path.display()))
        }
        Err(code) => code,
    }
}

/// Loads the configuration for a command; faults are printed and become the exit code.
pub(super) fn load(path: &Path) -> Result<Config, ExitCode> {
    crate::app::load(path).map_err(|faults| {
        eprintln!("{faults}");
        ExitCode::from(WRONG_INPUT)
    })
}
