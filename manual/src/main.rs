//! Writes man pages and shell completions of the five commands, from their flags.

use std::{
    fs::{File, create_dir_all},
    io::BufWriter,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory, Parser};
use clap_complete::{
    Generator, generate,
    shells::{Bash, Fish, Zsh},
};
use clap_mangen::Man;

/// Writes man pages and shell completions of the five commands.
#[derive(Parser)]
#[command(name = "sctptrace-manual", version)]
struct Flags {
    /// Where to: `man` and `completions` are made in it
    dir: PathBuf,
}

fn main() -> Result<()> {
    let Flags { dir } = Flags::parse();
    let commands = [
        sctp_bufmon::Flags::command(),
        sctp_jitter::Flags::command(),
        sctp_rto::Flags::command(),
        sctp_rtt::Flags::command(),
        sctp_streamutil::Flags::command(),
    ];
    for command in commands {
        let name = command.get_name().to_owned();
        let man = Man::new(command.clone()).section("8");
        man.render(&mut create(&dir.join("man").join(format!("{name}.8")))?)?;
        let completions = dir.join("completions");
        complete(Bash, &command, &completions.join("bash").join(&name))?;
        complete(Fish, &command, &completions.join("fish").join(format!("{name}.fish")))?;
        complete(Zsh, &command, &completions.join("zsh").join(format!("_{name}")))?;
    }
    Ok(())
}

fn complete(shell: impl Generator, command: &Command, path: &Path) -> Result<()> {
    let mut file = create(path)?;
    generate(shell, &mut command.clone(), command.get_name(), &mut file);
    Ok(())
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    let create = || {
        create_dir_all(path.parent().unwrap_or(path))?;
        File::create(path)
    };
    let file = create().with_context(|| format!("cannot make {}", path.display()))?;
    Ok(BufWriter::new(file))
}
