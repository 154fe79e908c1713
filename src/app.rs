//! The composition root: configuration, store, engine and servers are put together here and
//! nowhere else, and taken apart in the opposite order.
//!
//! ```text
//!   config ─► logs, metrics, health ─► store ─► books ─► relay ─► workers ─► API ─► ready
//!                                                                              │
//!   SIGHUP: read again, hand to each ◄──────────── running ◄───────────────────┘
//!   SIGTERM: 503, not ready ─► wait for calls, `node.drain_timeout` ─► BYE ─► flush ─► exit 0
//! ```

mod certificates;
mod entropy;
mod expected;
mod gateway;
pub mod limits;
mod meter;
mod parts;
pub mod places;
mod preflight;
mod recordings;
pub mod settings;
pub mod signals;
mod streams;
mod system_ports;
mod verification;
mod watch;

pub use certificates::warnings;
pub use gateway::Gateway;

use crate::config::LogFormat;
use crate::config::{Config, Environment, Faults};
use crate::observe::Metrics;
use crate::observe::log::{self, Log, LogError};
use signals::{Signals, Wish};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often a drain looks whether the last call has ended.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// Reads a configuration and looks whether all of it can be used: what `check` and `serve` do.
///
/// # Errors
/// Every fault.
pub fn load(path: &Path) -> Result<Config, Faults> {
    let environment = Environment::of_process(limits::descriptor_limit());
    Config::load_with(path, &environment, &preflight::unusable)
}

/// Runs the gateway with `config`, which was read from `path` (reloads read it again).
#[must_use]
pub fn serve(path: &Path, config: Config) -> ExitCode {
    let logs = match start_log(&config) {
        Ok(logs) => logs,
        Err(error) => {
            eprintln!("leasebridge: {error}");
            return ExitCode::FAILURE;
        }
    };
    warn(&config);
    let ended = start(config, &logs).and_then(|gateway| run(gateway, path, &logs));
    if let Err(error) = &ended {
        say_once(error);
    }
    logs.flush();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What is no fault, but had better be known.
fn warn(config: &Config) {
    for warning in warnings(config) {
        tracing::warn!("{warning}");
    }
}

fn start(config: Config, logs: &Log) -> Result<Gateway, String> {
    limits::raise_descriptor_limit()
        .map_err(|error| format!("the limit of descriptors cannot be raised: {error}"))?;
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    metrics.add_source(logs.source());
    Gateway::start(config, metrics)
}

/// Why the process ends: in the log, whose reader may want JSON alone; beside it where it is off.
fn say_once(error: &str) {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!("{error}");
    } else {
        eprintln!("leasebridge: {error}");
    }
}

/// The `OpenAPI` document.
#[must_use]
pub fn openapi() -> String {
    crate::api::openapi::document()
}

fn start_log(config: &Config) -> Result<Log, LogError> {
    let format = match config.observe.log_format {
        LogFormat::Text => log::Format::Text,
        LogFormat::Json => log::Format::Json,
    };
    Log::start(&config.observe.log, format)
}

fn run(mut gateway: Gateway, path: &Path, logs: &Log) -> Result<(), String> {
    let runtime = gateway.runtime().handle().clone();
    let mut signals = {
        let _context = runtime.enter();
        Signals::take().map_err(|error| format!("signals: {error}"))?
    };
    loop {
        match runtime.block_on(signals.next()) {
            Wish::Reload => reload(&mut gateway, path, logs),
            Wish::Drain => break,
            Wish::End => return gateway.end(),
        }
    }
    tracing::info!(calls = gateway.calls(), "draining");
    gateway.drain();
    let end = Instant::now() + gateway.drain_timeout();
    while gateway.calls() > 0 && Instant::now() < end {
        let wish =
            runtime.block_on(async { tokio::time::timeout(DRAIN_LOOK, signals.next()).await.ok() });
        if wish == Some(Wish::End) {
            break;
        }
    }
    gateway.end()
}

fn reload(gateway: &mut Gateway, path: &Path, logs: &Log) {
    let config = match load(path) {
        Ok(config) => config,
        Err(faults) => {
            for fault in faults.to_string().lines() {
                tracing::error!(fault, "a fault of the configuration");
            }
            tracing::error!("the configuration is faulty: nothing was changed");
            return;
        }
    };
    if let Err(error) = logs.set_filter(&config.observe.log) {
        tracing::error!(%error, "the log filter is faulty: nothing was changed");
        return;
    }
    match gateway.reload(config) {
        Ok(()) => {
            warn(gateway.config());
            tracing::info!("the configuration was reloaded");
        }
        Err(error) => tracing::error!(%error, "the configuration was not reloaded"),
    }
}

#[cfg(test)]
mod tests;
