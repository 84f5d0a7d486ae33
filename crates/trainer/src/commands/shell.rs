//! `trainer completions` and `trainer man`: the command line as shells and `man` read it.

use anyhow::{Context, Result};

use crate::cli::{Cli, CompletionsArgs, ManArgs};
use crate::destination::check_folder;
use crate::report;
use crate::run::atomic_file;

/// Prints the completions of a shell.
pub fn completions(args: &CompletionsArgs) {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::definition(), "trainer", &mut text);
    print!("{}", String::from_utf8_lossy(&text));
}

/// Writes a page for the program and one for each command.
pub fn man(args: &ManArgs) -> Result<()> {
    check_folder("DIR", &args.folder)?;
    let mut command = Cli::definition();
    // Gives each command its whole name, as in trainer-data-show.
    command.build();
    write_pages(&command, "trainer", args)
}

fn write_pages(command: &clap::Command, name: &str, args: &ManArgs) -> Result<()> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .render(&mut page)
        .context("cannot make a manual page")?;
    let path = args.folder.join(format!("{name}.1"));
    atomic_file::write(&path, &page).with_context(|| format!("cannot write {}", path.display()))?;
    report::wrote(&path);
    for command in command.get_subcommands().filter(|c| c.get_name() != "help") {
        write_pages(command, &format!("{name}-{}", command.get_name()), args)?;
    }
    Ok(())
}
