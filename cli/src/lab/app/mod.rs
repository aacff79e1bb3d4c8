//! The lab's application, `segue-lab-app`: an ordinary server that knows nothing of Segue.
//!
//! It says with every answer which version and which instance gave it, can keep the ids of all requests that reached it,
//! and can turn bad in four ways (SIGUSR1) and good again (SIGUSR2), so that an upgrade to it has something to notice.

mod fault;
mod http;
pub mod seen;
mod tcp;

pub use fault::FaultKind;

use ::http::{HeaderValue, Request};
use anyhow::{Context as _, Result};
use clap::Parser as _;
use fault::{Fault, Malady};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use seen::Seen;
use std::{
    ffi::OsString, io, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::Instant,
};

/// A server for demonstrations: HTTP/1.1 and HTTP/2 on one port, echoed lines on another.
#[derive(Debug, clap::Parser)]
#[command(name = "segue-lab-app")]
struct Flags {
    /// The version it says it is
    #[arg(long, default_value = "v1")]
    version: String,
    /// The instance it says it is
    #[arg(long, env = "SEGUE_LAB_WORKLOAD", default_value = "instance")]
    name: String,
    /// Where it serves HTTP
    #[arg(long, default_value = "0.0.0.0:8080")]
    http: SocketAddr,
    /// Where it echoes lines
    #[arg(long)]
    tcp: Option<SocketAddr>,
    /// Where it appends the ids of the requests that reach it
    #[arg(long, value_name = "FILE")]
    seen: Option<PathBuf>,
    #[command(flatten)]
    fault: FaultFlags,
}

/// How it turns bad, and when.
#[derive(Debug, clap::Args)]
struct FaultFlags {
    /// How it turns bad
    #[arg(long, value_enum)]
    fault: Option<FaultKind>,
    /// When it turns bad, in seconds; without this, at SIGUSR1. SIGUSR2 heals it
    #[arg(long, requires = "fault")]
    fault_after: Option<f64>,
    /// With --fault slow: by how many milliseconds answers are late
    #[arg(long, value_name = "MS")]
    slow_by: Option<u64>,
    /// With --fault errors: the share of answers that are errors
    #[arg(long, value_name = "0..1", value_parser = fraction)]
    errors_fraction: Option<f64>,
}

impl FaultFlags {
    fn malady(&self) -> Malady {
        let common = Malady::from(self.fault.unwrap_or(FaultKind::Errors));
        Malady {
            slow_by: self.slow_by.map_or(common.slow_by, Duration::from_millis),
            errors_fraction: self.errors_fraction.unwrap_or(common.errors_fraction),
            ..common
        }
    }

    /// When it turns bad by itself.
    fn at(&self) -> Option<Instant> {
        let after = Duration::try_from_secs_f64(self.fault_after?).ok()?;
        Instant::now().checked_add(after)
    }
}

fn fraction(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&number) {
        Ok(number)
    } else {
        Err("not between 0 and 1".to_owned())
    }
}

/// Who answers.
#[derive(Debug)]
struct Identity {
    version: String,
    name: String,
    version_header: HeaderValue,
    name_header: HeaderValue,
}

impl Identity {
    fn new(version: String, name: String) -> Result<Self> {
        let header = |text: &str| {
            HeaderValue::from_str(text).with_context(|| format!("'{text}' can't be in a header"))
        };
        Ok(Self {
            version_header: header(&version)?,
            name_header: header(&name)?,
            version,
            name,
        })
    }
}

/// Runs `segue-lab-app`; the program's name comes first in `arguments`.
#[expect(clippy::print_stderr, reason = "the process ends with this sentence")]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let flags = match Flags::try_parse_from(arguments) {
        Ok(flags) => flags,
        Err(error) => {
            // Without a terminal to write to, the code alone tells.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")
        .and_then(|runtime| runtime.block_on(run(flags)));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("segue-lab-app: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the line by which others know that it serves"
)]
async fn run(flags: Flags) -> Result<ExitCode> {
    let identity = Arc::new(Identity::new(flags.version, flags.name)?);
    let (begin, fault) = Fault::new();
    let http = bind(flags.http).await?;
    let tcp = match flags.tcp {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let mut signals = Signals::hear()?;
    let told = tcp.as_ref().map(TcpListener::local_addr).transpose()?;
    let told = told
        .map(|address| format!(" tcp={address}"))
        .unwrap_or_default();
    println!("listening http={}{told}", http.local_addr()?);
    let (closing, closed) = watch::channel(false);
    let app = App {
        identity,
        fault,
        seen: Seen::open(flags.seen.as_deref())?,
        closed,
    };
    let mut servers = JoinSet::new();
    servers.spawn(app.clone().serve(http, App::http));
    if let Some(tcp) = tcp {
        servers.spawn(app.serve(tcp, App::tcp));
    }
    let malady = flags.fault.malady();
    let mut at = flags.fault.at();
    loop {
        match signals.next(&mut at).await {
            Turn::End => return finish(&closing, servers).await,
            Turn::Bad if malady.kind == FaultKind::Crash => return Ok(ExitCode::FAILURE),
            Turn::Bad => drop(begin.send_replace(Some(malady))),
            Turn::Good => drop(begin.send_replace(None)),
        }
    }
}

/// What others do to it.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    bad: Signal,
    good: Signal,
}

/// What it is to do then.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Bad,
    Good,
    End,
}

impl Signals {
    fn hear() -> Result<Self> {
        let hear = |kind| signal(kind).context("cannot hear signals");
        Ok(Self {
            terminate: hear(SignalKind::terminate())?,
            bad: hear(SignalKind::user_defined1())?,
            good: hear(SignalKind::user_defined2())?,
        })
    }

    /// The next signal, or the time at which it turns bad by itself.
    async fn next(&mut self, at: &mut Option<Instant>) -> Turn {
        let due = async {
            match *at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Turn::End,
            _ = self.bad.recv() => Turn::Bad,
            _ = self.good.recv() => Turn::Good,
            () = due => {
                *at = None;
                Turn::Bad
            }
        }
    }
}

/// Takes nothing new, and ends when everything under way is answered.
async fn finish(closing: &watch::Sender<bool>, servers: JoinSet<()>) -> Result<ExitCode> {
    closing.send_replace(true);
    servers.join_all().await;
    Ok(ExitCode::SUCCESS)
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

#[derive(Debug, Clone)]
struct App {
    identity: Arc<Identity>,
    fault: Fault,
    seen: Seen,
    closed: watch::Receiver<bool>,
}

impl App {
    /// Accepts until closed, then waits for the connections there are.
    async fn serve<Served>(
        self,
        listener: TcpListener,
        connection: impl Fn(Self, TcpStream) -> Served + Send + 'static,
    ) where
        Served: Future<Output = ()> + Send + 'static,
    {
        let mut connections = JoinSet::new();
        let mut closed = self.closed.clone();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => drop(connections.spawn(connection(self.clone(), stream))),
                    Err(error) => settle(&error).await,
                },
                Some(_) = connections.join_next() => {}
                () = closes(&mut closed) => break,
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn http(self, stream: TcpStream) {
        no_delay(&stream);
        let Self {
            identity,
            fault,
            seen,
            mut closed,
        } = self;
        let service = service_fn(move |request| {
            seen.note(Request::headers(&request));
            http::answer(request, identity.clone(), fault.clone())
        });
        let builder = auto::Builder::new(TokioExecutor::new());
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = closes(&mut closed) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a connection ended");
        }
    }

    async fn tcp(self, stream: TcpStream) {
        no_delay(&stream);
        if let Err(error) = tcp::serve(stream, self.identity, self.fault).await {
            tracing::debug!(%error, "a connection ended");
        }
    }
}

/// Waits until the application takes nothing new. Its end is that too.
async fn closes(closed: &mut watch::Receiver<bool>) {
    drop(closed.wait_for(|closed| *closed).await);
}

fn no_delay(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "answers may wait for each other");
    }
}

/// Out of descriptors, accepting fails at once again; a breath keeps that from filling the processor.
async fn settle(error: &io::Error) {
    tracing::warn!(%error, "cannot accept");
    tokio::time::sleep(Duration::from_millis(10)).await;
}

#[cfg(test)]
mod tests;
