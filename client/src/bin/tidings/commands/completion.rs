//! `tidings completion`: a script for the shell.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Outcome;
use crate::cli::Cli;
use crate::failure::Exit;

/// The arguments.
#[derive(clap::Args)]
#[command(
    after_help = "For example: tidings completion bash > ~/.local/share/bash-completion/completions/tidings"
)]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    // Into memory first: the generator doesn't survive a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "tidings", &mut script);
    std::io::Write::write_all(&mut std::io::stdout().lock(), &script)?;
    Ok(Exit::Done)
}
