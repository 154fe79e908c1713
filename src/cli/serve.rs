//! `serve`: the gateway itself.

use std::path::Path;
use std::process::ExitCode;

/// Runs it until it is told to stop.
pub(super) fn run(path: &Path) -> ExitCode {
    match super::check::load(path) {
        Ok(config) => crate::app::serve(path, config),
        Err(code) => code,
    }
}
