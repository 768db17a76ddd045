//! The command `tidings`: what the client crate does, as a program.
//!
//! Each command is a file of `commands`, and does with the public calls of the crate what anyone's program can do with
//! them. Around them: `cli` (the arguments), `config` (which server, which key), `output` and `rows` (what is printed),
//! `failure` (how it ends).

mod backlog;
mod cli;
mod commands;
mod config;
mod documents;
mod failure;
mod filter;
mod forward;
mod handler;
mod output;
mod progress;
mod rows;
mod values;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;
use crate::progress::say;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The receiver of `listen` needs the system of actix.
    let outcome = actix_web::rt::System::new().block_on(commands::run(cli));
    let exit = outcome.unwrap_or_else(|failure| {
        if !failure.message.is_empty() {
            say(&format!("tidings: {}", failure.message));
        }
        if let Some(hint) = &failure.hint {
            say(&format!("  {hint}"));
        }
        failure.exit
    });
    ExitCode::from(exit as u8)
}
