//! `rangegate completions`: a script that teaches a shell the commands.

use super::{Exit, Terminal, command};
use clap::Args;
use clap_complete::Shell;

const EXAMPLES: &str = "\
Examples:
  rangegate completions bash > /etc/bash_completion.d/rangegate
  rangegate completions fish > ~/.config/fish/completions/rangegate.fish
  rangegate completions zsh > ~/.zfunc/_rangegate";

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell to write for
    shell: Shell,
}

pub fn run(args: &CompletionsArgs, terminal: &mut Terminal) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "rangegate", &mut script);
    terminal.write(&script);
    Exit::Ok
}
