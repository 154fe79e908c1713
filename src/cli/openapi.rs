//! `openapi`: the API's document.

use super::print;
use std::process::ExitCode;

/// Prints it.
pub(super) fn run() -> ExitCode {
    print(&crate::app::openapi())
}
