//! `segue-sidecar redirect install|remove`: flags, and an exit code. Decides nothing about rules.

use super::{Cidr, Config, Error, install, remove};
use std::process::ExitCode;

/// Flags of `segue-sidecar redirect`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Action {
    /// Hand this Pod's TCP connections to the sidecar, in place of earlier rules
    Install(Install),
    /// Take the rules away; no error where there are none
    Remove,
}

#[derive(Debug, Clone, clap::Args)]
struct Install {
    /// Where outgoing connections go
    #[arg(long, env = "SEGUE_OUTBOUND_PORT", default_value_t = 15_001)]
    outbound_port: u16,
    /// Where incoming connections go
    #[arg(long, env = "SEGUE_INBOUND_PORT", default_value_t = 15_006)]
    inbound_port: u16,
    /// The user the sidecar runs as; its own connections are left alone
    #[arg(long, env = "SEGUE_UID")]
    uid: Option<u32>,
    /// The mark that the sidecar's sockets carry; its own connections are left alone
    #[arg(long, env = "SEGUE_MARK", value_name = "N", value_parser = mark)]
    mark: Option<u32>,
    /// Ports of this Pod that stay reachable directly (15000 and 15021 always do)
    #[arg(
        long,
        env = "SEGUE_EXCLUDE_INBOUND_PORTS",
        value_delimiter = ',',
        value_name = "PORT,…"
    )]
    exclude_inbound_ports: Vec<u16>,
    /// Destination ports that the Pod reaches directly
    #[arg(
        long,
        env = "SEGUE_EXCLUDE_OUTBOUND_PORTS",
        value_delimiter = ',',
        value_name = "PORT,…"
    )]
    exclude_outbound_ports: Vec<u16>,
    /// Destinations that the Pod reaches directly
    #[arg(
        long,
        env = "SEGUE_EXCLUDE_CIDRS",
        value_delimiter = ',',
        value_name = "CIDR,…"
    )]
    exclude_cidrs: Vec<Cidr>,
}

/// A mark as people write it: decimal, or hexadecimal after `0x`.
fn mark(text: &str) -> Result<u32, std::num::ParseIntError> {
    text.strip_prefix("0x")
        .map_or_else(|| text.parse(), |digits| u32::from_str_radix(digits, 16))
}

impl From<Install> for Config {
    fn from(flags: Install) -> Self {
        Self {
            outbound_port: flags.outbound_port,
            inbound_port: flags.inbound_port,
            uid: flags.uid,
            mark: flags.mark,
            exclude_inbound_ports: flags.exclude_inbound_ports,
            exclude_outbound_ports: flags.exclude_outbound_ports,
            exclude_cidrs: flags.exclude_cidrs,
        }
    }
}

/// Carries the command out; a failure is one sentence on standard error.
#[expect(
    clippy::print_stderr,
    reason = "a command's one sentence for the person who ran it"
)]
pub fn run(args: Args) -> ExitCode {
    let outcome = match args.action {
        Action::Install(flags) => install(&flags.into()),
        Action::Remove => remove(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("segue-sidecar redirect: {error}");
            ExitCode::from(if matches!(error, Error::Config(_)) {
                2
            } else {
                1
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(flags: &[&str]) -> Result<Config, clap::Error> {
        let program = Program::try_parse_from(["redirect", "install"].iter().chain(flags))?;
        match program.args.action {
            Action::Install(flags) => Ok(flags.into()),
            Action::Remove => unreachable!(),
        }
    }

    #[test]
    fn flags_become_the_setting() {
        let config = parsed(&[
            "--uid=1337",
            "--mark=0x5e90e",
            "--exclude-inbound-ports=22,9100",
            "--exclude-cidrs=10.0.0.0/8,192.168.0.0/16",
        ])
        .unwrap();
        assert_eq!((config.uid, config.mark), (Some(1337), Some(0x5e90e)));
        assert_eq!(config.exclude_inbound_ports, [22, 9100]);
        assert_eq!(config.exclude_cidrs.len(), 2);
        assert_eq!(
            (config.outbound_port, config.inbound_port),
            (15_001, 15_006)
        );
    }

    #[test]
    fn a_wrong_network_is_named() {
        let error = parsed(&["--exclude-cidrs=10.0.0.0/99"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("10.0.0.0/99"), "{error}");
    }
}
