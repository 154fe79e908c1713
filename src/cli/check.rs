//! `check`: every fault of a configuration file at once.

use super::{WRONG_INPUT, print};
use crate::app::{limits, recordings};
use crate::config::{Config, Environment};
use std::path::Path;
use std::process::ExitCode;

/// Prints that the file is good, or each fault on a line of its own (exit 2).
pub(super) fn run(path: &Path) -> ExitCode {
    match load(path) {
        Ok(_) => print(&format!("{}: good", path.display())),
        Err(code) => code,
    }
}

/// Loads the configuration for a command; faults are printed and become the exit code.
pub(super) fn load(path: &Path) -> Result<Config, ExitCode> {
    let environment = Environment::of_process(limits::descriptor_limit());
    let config = Config::load(path, &environment).map_err(|faults| {
        eprintln!("{faults}");
        ExitCode::from(WRONG_INPUT)
    })?;
    match recordings::load(&config) {
        Ok(_) => Ok(config),
        Err(fault) => {
            eprintln!("{}: {fault}", path.display());
            Err(ExitCode::from(WRONG_INPUT))
        }
    }
}
