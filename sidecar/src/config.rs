//! Flags. Each has an environment variable `SEGUE_…`; a flag beats its variable.

use crate::{redirect, telemetry::CollectorUrl, xds::Identity};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::{
    ffi::OsString,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    thread,
    time::Duration,
};
use tonic::transport::Uri;

/// Segue's sidecar: takes a Pod's traffic and sends it where the control plane says.
#[derive(Debug, Parser)]
#[command(name = "segue-sidecar", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the sidecar
    Run(Box<Run>),
    /// Tell the sidecar that runs here to drain, before it is stopped
    Drain(Drain),
    /// Make the kernel hand this Pod's connections to the sidecar
    Redirect(redirect::Args),
}

/// Flags of `segue-sidecar drain`.
#[derive(Clone, Debug, Args)]
pub struct Drain {
    /// The sidecar's admin address
    #[arg(
        long,
        env = "SEGUE_ADMIN",
        value_name = "ADDR",
        default_value = "127.0.0.1:15000"
    )]
    pub admin: SocketAddr,
    /// Wait until it is drained, or its --drain-timeout has passed
    #[arg(long)]
    pub wait: bool,
    /// Then become this program
    #[arg(last = true, value_name = "ARGV")]
    pub then: Vec<OsString>,
}

/// Flags of `segue-sidecar run`.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// The control plane
    #[arg(
        long,
        env = "SEGUE_CONTROL_PLANE",
        value_name = "URL",
        default_value = "http://127.0.0.1:15010",
        value_parser = control_plane
    )]
    pub control_plane: Uri,
    /// The workload that this sidecar serves
    #[arg(long, env = "SEGUE_WORKLOAD", value_name = "NAMESPACE/NAME")]
    pub workload: Identity,
    /// The zone in which the workload runs
    #[arg(long, env = "SEGUE_ZONE", default_value = "")]
    pub zone: String,
    /// Takes the workload's own connections, redirected or as an explicit proxy
    #[arg(
        long,
        env = "SEGUE_OUTBOUND",
        value_name = "ADDR",
        default_value = "127.0.0.1:15001"
    )]
    pub outbound: SocketAddr,
    /// Takes connections for the workload
    #[arg(
        long,
        env = "SEGUE_INBOUND",
        value_name = "ADDR",
        default_value = "0.0.0.0:15006"
    )]
    pub inbound: SocketAddr,
    /// Serves /ready, /metrics, /config_dump, /connections, /streams and POST /drain
    #[arg(
        long,
        env = "SEGUE_ADMIN",
        value_name = "ADDR",
        default_value = "127.0.0.1:15000"
    )]
    pub admin: SocketAddr,
    /// Serves /ready alone, for the kubelet
    #[arg(
        long,
        env = "SEGUE_PROBE",
        value_name = "ADDR",
        default_value = "0.0.0.0:15021"
    )]
    pub probe: SocketAddr,
    /// Worker threads [default: one per CPU, at most 2]
    #[arg(long, env = "SEGUE_THREADS", value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Keeps the last good configuration here, so that a restart needs no control plane
    #[arg(long, env = "SEGUE_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Marks the sidecar's own sockets (SO_MARK), so that redirection leaves them alone
    #[arg(long, env = "SEGUE_MARK", value_name = "N", value_parser = mark)]
    pub mark: Option<u32>,
    /// How long open requests and connections may take to end after SIGTERM
    #[arg(
        long,
        env = "SEGUE_DRAIN_TIMEOUT",
        value_name = "TIME",
        default_value = "30s",
        value_parser = duration
    )]
    pub drain_timeout: Duration,
    /// How long streams may go on at an instance that the control plane drains
    #[arg(
        long,
        env = "SEGUE_ENDPOINT_DRAIN_TIMEOUT",
        value_name = "TIME",
        default_value = "55s",
        value_parser = duration
    )]
    pub endpoint_drain_timeout: Duration,
    /// Long-lived streams that a drain ends per second, more only where time is short [default: by
    /// how many are open and the time that is left]
    #[arg(long, env = "SEGUE_DRAIN_RATE", value_name = "N")]
    pub drain_rate: Option<NonZeroU32>,
    /// Downstream connections that each worker serves at once; more are closed
    #[arg(
        long,
        env = "SEGUE_MAX_CONNECTIONS",
        value_name = "N",
        default_value = "10000"
    )]
    pub max_connections: NonZeroUsize,
    /// How long a request's head may take from its first byte to its last
    #[arg(
        long,
        env = "SEGUE_REQUEST_HEAD_TIMEOUT",
        value_name = "TIME",
        default_value = "10s",
        value_parser = positive
    )]
    pub request_head_timeout: Duration,
    /// How long a client may leave an answer unread, or an announced body without 64 bytes a second.
    /// Streams that are merely quiet are not cut
    #[arg(
        long,
        env = "SEGUE_STREAM_IDLE_TIMEOUT",
        value_name = "TIME",
        default_value = "5m",
        value_parser = positive
    )]
    pub stream_idle_timeout: Duration,
    /// Which requests are written to standard error when they are over, one JSON object a line
    #[arg(
        long,
        env = "SEGUE_ACCESS_LOG",
        value_enum,
        value_name = "WHICH",
        default_value = "off"
    )]
    pub access_log: AccessLog,
    /// Sends spans to this OpenTelemetry collector (OTLP over HTTP) for the requests of sampled traces
    #[arg(long, env = "SEGUE_TRACES", value_name = "URL")]
    pub traces: Option<CollectorUrl>,
    /// Of a hundred requests that come without a trace, so many begin one
    #[arg(
        long,
        env = "SEGUE_TRACE_SAMPLING",
        value_name = "PERCENT",
        default_value = "1",
        value_parser = percent
    )]
    pub trace_sampling: u32,
}

/// `--access-log`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccessLog {
    /// None
    Off,
    /// Those that went wrong
    Errors,
    /// All
    All,
}

impl Run {
    /// How many workers to start.
    pub fn worker_count(&self) -> usize {
        let default = || thread::available_parallelism().map_or(1, |cpus| cpus.get().min(2));
        self.threads.map_or_else(default, NonZeroUsize::get)
    }

    /// The time from one long-lived stream's end to the next, of each worker by itself.
    pub fn stream_gap(&self) -> Option<Duration> {
        let workers = u32::try_from(self.worker_count()).unwrap_or(1);
        let gap = |rate: NonZeroU32| Duration::from_secs(1) * workers / rate.get();
        self.drain_rate.map(gap)
    }

    /// Who this sidecar is.
    pub fn identity(&self) -> Identity {
        Identity {
            zone: self.zone.clone(),
            ..self.workload.clone()
        }
    }
}

fn control_plane(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() {
        return Err("expected http://HOST:PORT".to_owned());
    }
    Ok(uri)
}

/// Decimal, or hexadecimal with `0x`.
fn mark(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| error.to_string())
}

/// `500ms`, `30s`, `5m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u32 = digits
        .parse()
        .map_err(|_| "expected a number and a unit, such as 30s".to_owned())?;
    let unit = match text.get(digits.len()..) {
        Some("ms") => Duration::from_millis(1),
        Some("s") => Duration::from_secs(1),
        Some("m") => Duration::from_secs(60),
        Some("h") => Duration::from_secs(3600),
        _ => return Err("expected ms, s, m or h after the number, such as 30s".to_owned()),
    };
    Ok(unit * number)
}

/// A percentage, in parts of a million.
fn percent(text: &str) -> Result<u32, String> {
    let expected = || "expected a percentage from 0 to 100, such as 0.5".to_owned();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 3 || fraction.len() > 4 {
        return Err(expected());
    }
    if !is_number(whole) || !is_number(fraction) {
        return Err(expected());
    }
    let parts: u32 = format!("{whole}{fraction:0<4}")
        .parse()
        .map_err(|_| expected())?;
    (parts <= 1_000_000).then_some(parts).ok_or_else(expected)
}

/// A [`duration`] that is not zero.
fn positive(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time.is_zero() {
        return Err("expected more than nothing, such as 30s".to_owned());
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::{Cli, Command, duration, percent, positive};
    use clap::{CommandFactory as _, Parser as _};
    use std::time::Duration;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_workload_and_a_control_plane_are_checked() {
        let parse = |workload: &str, url: &str| {
            Cli::try_parse_from([
                "segue-sidecar",
                "run",
                "--workload",
                workload,
                "--control-plane",
                url,
            ])
        };
        let cli = parse("shop/web-0", "http://127.0.0.1:15010").unwrap();
        assert!(matches!(cli.command, Command::Run(run) if run.workload.name == "web-0"));
        for (workload, url) in [
            ("web-0", "http://127.0.0.1:15010"),
            ("shop/", "http://127.0.0.1:15010"),
            ("shop/web-0", "127.0.0.1:15010"),
            ("shop/web-0", "https://127.0.0.1:15010"),
        ] {
            assert_eq!(parse(workload, url).unwrap_err().exit_code(), 2);
        }
    }

    #[test]
    fn a_percentage_is_read_to_a_ten_thousandth() {
        assert_eq!(percent("0"), Ok(0));
        assert_eq!(percent("0.5"), Ok(5_000));
        assert_eq!(percent("1"), Ok(10_000));
        assert_eq!(percent("100.0000"), Ok(1_000_000));
        for wrong in ["", ".5", "-1", "100.1", "0.00001", "1e1", "1%", "1.x"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_rate_of_a_drain_is_shared_by_the_workers() {
        let flags = "segue-sidecar run --workload shop/web-0 --threads 2 --drain-rate 10";
        let cli = Cli::try_parse_from(flags.split(' ')).unwrap();
        let gap = Some(Duration::from_millis(200));
        assert!(matches!(cli.command, Command::Run(run) if run.stream_gap() == gap));
    }

    #[test]
    fn a_drain_may_be_followed_by_a_program() {
        let flags = "segue-sidecar drain --wait -- sh -c true";
        let cli = Cli::try_parse_from(flags.split(' ')).unwrap();
        assert!(matches!(cli.command, Command::Drain(drain)
            if drain.wait && drain.then == ["sh", "-c", "true"]));
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert!(duration("5").is_err());
        assert!(positive("0s").is_err());
        assert_eq!(positive("1s"), Ok(Duration::from_secs(1)));
        assert!(duration("s").is_err());
        assert!(duration("5 s").is_err());
    }
}
