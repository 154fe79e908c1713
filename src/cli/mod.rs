//! Commands of the binary (operations, "Commands").

mod check;
mod demo;
mod openapi;
mod serve;
mod token;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Done.
pub const DONE: u8 = 0;
/// Failed at run time.
pub const FAILED: u8 = 1;
/// The input is wrong: arguments or configuration.
pub const WRONG_INPUT: u8 = 2;

/// A gateway that lends out temporary phone numbers and connects the calls.
#[derive(Debug, Parser)]
#[command(name = "leasebridge", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway until SIGTERM or SIGINT; SIGHUP reloads the configuration.
    Serve {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Checks a configuration file and prints every fault in it.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Shows the whole thing at work on this machine: leases, calls with audio, charges, records.
    Demo {
        /// Leave the gateway running and print its addresses.
        #[arg(long)]
        keep: bool,
    },
    /// Prints an access token for an API client, signed with the first HS256 key.
    Token {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        // Help is read as it stands: without the marks of a doc comment.
        #[arg(
            long,
            value_name = "NAME",
            help = "The client's name, as in [[http.clients]]"
        )]
        client: String,
        /// How long it is valid ("30d", "1h"); "0s": without an end.
        #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = duration)]
        ttl: std::time::Duration,
    },
    #[command(about = "Prints the OpenAPI document of the API")]
    Openapi,
    /// Prints the version.
    Version,
}

/// Runs the command of the process's arguments. Wrong arguments end the process with code 2.
#[must_use]
pub fn run() -> ExitCode {
    dispatch(Arguments::parse().command)
}

fn dispatch(command: Command) -> ExitCode {
    match command {
        Command::Serve { config } => serve::run(&config),
        Command::Check { config } => check::run(&config),
        Command::Demo { keep } => demo::run(keep),
        Command::Token {
            config,
            client,
            ttl,
        } => token::run(&config, &client, ttl),
        Command::Openapi => openapi::run(),
        Command::Version => print(concat!("leasebridge ", env!("CARGO_PKG_VERSION"))),
    }
}

/// Prints a line; a reader that went away is no failure of ours to report by a panic.
fn print(line: &str) -> ExitCode {
    use std::io::Write;
    match writeln!(std::io::stdout().lock(), "{line}") {
        Ok(()) => ExitCode::from(DONE),
        Err(_) => ExitCode::from(FAILED),
    }
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    crate::config::value::parse_duration(text)
        .ok_or_else(|| "expected a duration such as \"30d\"".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_commands_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_page_is_understood() {
        for line in [
            "leasebridge serve --config f.toml",
            "leasebridge check --config f.toml",
            "leasebridge demo",
            "leasebridge demo --keep",
            "leasebridge token --config f.toml --client a",
            "leasebridge token --config f.toml --client a --ttl 30d",
            "leasebridge openapi",
            "leasebridge version",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn help_has_no_marks_of_another_language() {
        let mut commands = vec![Arguments::command()];
        while let Some(mut command) = commands.pop() {
            let help = command.render_long_help().to_string();
            assert!(!help.contains('`'), "{help}");
            commands.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn wrong_arguments_exit_with_two() {
        for line in [
            "leasebridge serve",
            "leasebridge sing",
            "leasebridge check --config",
            "leasebridge token --config f.toml --client a --ttl soon",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), i32::from(WRONG_INPUT), "{line}");
        }
    }
}
