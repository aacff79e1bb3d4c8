//! `segue completions` and `segue man`: made from the flags themselves.

use super::{Failure, output::print};
use clap::Command;
use clap_complete::Shell;
use std::{fs, io, path::PathBuf};

/// `segue completions`
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
    /// For which of the three programs
    #[arg(long, value_name = "NAME", default_value = "segue")]
    program: String,
}

/// `segue man`
#[derive(Debug, clap::Args)]
pub struct Man {
    /// Write a page for every program and verb into this folder; without it, segue(1) goes to
    /// standard output
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Writes a completion script to standard output.
pub fn completions(args: &Completions, mut programs: Vec<Command>) -> Result<(), Failure> {
    let names: Vec<String> = programs
        .iter()
        .map(|program| program.get_name().to_owned())
        .collect();
    let Some(program) = programs
        .iter_mut()
        .find(|program| program.get_name() == args.program)
    else {
        return Err(Failure::Usage(format!(
            "--program {:?} is none of {}",
            args.program,
            names.join(", ")
        )));
    };
    let mut script = Vec::new();
    clap_complete::generate(args.shell, program, args.program.clone(), &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Writes man pages.
pub fn man(args: &Man, programs: Vec<Command>) -> Result<(), Failure> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        if let Some(first) = programs.into_iter().next() {
            clap_mangen::Man::new(first).render(&mut page)?;
        }
        return print(&String::from_utf8_lossy(&page));
    };
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", dir.display()));
    fs::create_dir_all(dir).map_err(named)?;
    for program in programs {
        clap_mangen::generate_to(program, dir).map_err(named)?;
    }
    Ok(())
}
