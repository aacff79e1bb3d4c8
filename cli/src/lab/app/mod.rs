//! The lab's application, `segue-lab-app`: an ordinary server that knows nothing of Segue.
//!
//! It says with every answer which version and which instance gave it, and can turn bad in four ways, so that an upgrade
//! to it has something to notice.

mod fault;
mod http;
mod tcp;

pub use fault::FaultKind;

use ::http::HeaderValue;
use anyhow::{Context as _, Result};
use clap::Parser as _;
use fault::Fault;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use std::{ffi::OsString, io, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
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
    /// How it turns bad
    #[arg(long, value_enum)]
    fault: Option<FaultKind>,
    /// When it turns bad, in seconds; without this, at SIGUSR1
    #[arg(long, requires = "fault")]
    fault_after: Option<f64>,
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
    let mut terminate = signal(SignalKind::terminate()).context("cannot hear SIGTERM")?;
    let turn = signal(SignalKind::user_defined1()).context("cannot hear SIGUSR1")?;
    let told = tcp.as_ref().map(TcpListener::local_addr).transpose()?;
    let told = told
        .map(|address| format!(" tcp={address}"))
        .unwrap_or_default();
    println!("listening http={}{told}", http.local_addr()?);
    let (closing, closed) = watch::channel(false);
    let app = App {
        identity,
        fault,
        closed,
    };
    let mut servers = JoinSet::new();
    servers.spawn(app.clone().serve(http, App::http));
    if let Some(tcp) = tcp {
        servers.spawn(app.serve(tcp, App::tcp));
    }
    let kind = flags.fault.unwrap_or(FaultKind::Errors);
    tokio::select! {
        () = turn_bad(turn, flags.fault_after, kind) => {}
        _ = terminate.recv() => return finish(&closing, servers).await,
    }
    if kind == FaultKind::Crash {
        return Ok(ExitCode::FAILURE);
    }
    begin.send_replace(Some(kind));
    terminate.recv().await;
    finish(&closing, servers).await
}

async fn turn_bad(mut turn: tokio::signal::unix::Signal, after: Option<f64>, kind: FaultKind) {
    match after.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(after) => tokio::time::sleep(after).await,
        None => drop(turn.recv().await),
    }
    tracing::debug!(?kind, "turns bad");
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
            mut closed,
        } = self;
        let service =
            service_fn(move |request| http::answer(request, identity.clone(), fault.clone()));
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
