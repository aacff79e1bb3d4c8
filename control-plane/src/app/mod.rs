//! The wiring, as a table of contents.
//!
//! ```text
//! manifests -> engine (a thread of its own) -> snapshots -> xDS server
//!                 ^  |                                        |
//!                 |  |-> outbox -> event sinks                |
//!                 |  '-> board -> control API, metrics        |
//!                 |        '----> extra metrics ------------. |
//!                 '------------------- observed ------------'-'
//! ```

mod grpc;

use crate::{
    clock::{self, now},
    config::{Config, Source, Standalone},
    engine::{self, Engine, Handle, Inputs, Journal, JournalError, Outputs, Published},
    event::{self, Outbox, Pace},
    listen::{self, Door},
    metric,
    model::{Catalog, Event, Observed, Sink},
    source::manifest::{self, Invalid},
    telemetry,
    web::Client,
    xds::{Server, server::INTRODUCTION},
};
use clap::Parser as _;
use std::{
    ffi::OsString,
    fmt::Display,
    io::{self, Write as _},
    net::SocketAddr,
    process::ExitCode,
    thread,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

/// Observations that may wait for the engine; who observes waits when it is full.
const OBSERVATIONS_WAITING: usize = 4_096;
/// How long streams may take to end at SIGTERM.
const GOODBYE: Duration = Duration::from_secs(5);
/// A proxy that does not answer a ping for so long is gone.
const KEEPALIVE: Duration = Duration::from_secs(5);
const _: () = assert!(
    2 * KEEPALIVE.as_millis() < INTRODUCTION.as_millis(),
    "a proxy that is cut off while it comes back is noticed before it is taken at its word"
);

/// How many streams one connection may have open: a proxy has three (ADS, LRS, HDS), the command
/// line a few. More wait.
const STREAMS: u32 = 100;
/// Connections at `--http`: whoever scrapes, and probes.
const SCRAPERS: usize = 100;

/// Why the program ends, and with which exit code.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn usage(message: impl Display) -> Self {
        Self {
            code: 2,
            message: message.to_string(),
        }
    }

    fn failed(message: impl Display) -> Self {
        Self {
            code: 1,
            message: message.to_string(),
        }
    }
}

/// Runs the program with these arguments, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let config = match Config::try_parse_from(arguments) {
        Ok(config) => config,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    telemetry::init();
    let Source::Standalone(standalone) = config.source;
    match run(&standalone) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            drop(writeln!(
                io::stderr(),
                "segue-control-plane: {}",
                failure.message
            ));
            ExitCode::from(failure.code)
        }
    }
}

fn run(config: &Standalone) -> Result<(), Failure> {
    let catalog = manifest::read(&config.manifests).map_err(|wrong| invalid(&wrong))?;
    let journal = Journal::open(&config.state).map_err(|error| match error {
        JournalError::Locked(_) => Failure::usage(error),
        other => Failure::failed(other),
    })?;
    let outbox = Outbox::open(&config.state.join("outbox")).map_err(Failure::failed)?;
    welcome(&catalog, &outbox);
    clock::begin(journal.1.latest());
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("serve")
        .enable_all()
        .build()
        .map_err(Failure::failed)?;
    let events = {
        let outbox = outbox.clone();
        Box::new(move |event: &Event, sinks: &[Sink]| outbox.append(event, sinks))
    };
    let engine = Engine::new(journal, catalog, config.proxy_lease, events, now());
    let served = runtime.block_on(serve(config, engine, outbox));
    runtime.shutdown_background();
    served
}

async fn serve(config: &Standalone, mut engine: Engine, outbox: Outbox) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let (xds, http) = (
        bind(config.xds, "--xds").await?,
        bind(config.http, "--http").await?,
    );
    let addresses = (
        xds.local_addr().map_err(Failure::failed)?,
        http.local_addr().map_err(Failure::failed)?,
    );
    let Some((outputs, published)) = Outputs::begin(&mut engine, now()) else {
        let reason = engine.journal_error().unwrap_or("nothing to publish");
        return Err(Failure::failed(reason));
    };
    let (handle, requests) = Handle::new(published.board.clone(), engine.decisions().clone());
    let (observed, observations) = mpsc::channel(OBSERVATIONS_WAITING);
    let (stop, stopped) = watch::channel(false);
    let inputs = Inputs {
        catalogs: follow_manifests(config, outbox.clone()),
        observed: observations,
        requests,
        stop: stopped,
    };
    let engine_ended = spawn_engine(engine, inputs, outputs)?;
    let (end, ended) = watch::channel(false);
    let events = spawn_outward(&outbox, &published, &observed, &ended)?;
    let server = xds_server(published, observed);
    let doors = doors(config);
    let [xds_door, http_door] = doors.clone();
    let mut serving = Box::pin(grpc::serve(
        (xds, xds_door),
        server.clone(),
        (handle.clone(), outbox.clone()),
        ended.clone(),
    ));
    let shown = telemetry::Shown::new(handle, outbox, doors);
    let metrics = tokio::spawn(telemetry::serve((http, http_door), shown, wished(ended)));
    announce(addresses).map_err(Failure::failed)?;

    tokio::select! {
        result = &mut serving => return result.map_err(Failure::failed),
        _ = engine_ended => return Err(Failure::failed("the engine has ended unexpectedly")),
        () = either(&mut terminate, &mut interrupt) => tracing::info!("ends"),
    }
    // The engine first: proxies that are sent away now are expected back after the restart.
    stop.send_replace(true);
    server.drain();
    end.send_replace(true);
    let goodbye = async {
        drop(serving.await);
        drop(metrics.await);
        drop(events.await);
    };
    tokio::select! {
        _ = tokio::time::timeout(GOODBYE, goodbye) => {}
        () = either(&mut terminate, &mut interrupt) => {}
    }
    Ok(())
}

/// How many may come in at `--xds` and `--http`.
fn doors(config: &Standalone) -> [Door; 2] {
    [
        Door::new("xds", listen::affordable(config.max_connections.get())),
        Door::new("http", SCRAPERS),
    ]
}

/// What goes to other people's servers: events, and questions for metrics. What is returned ends
/// with the last try to deliver an event.
fn spawn_outward(
    outbox: &Outbox,
    published: &Published,
    observed: &mpsc::Sender<Observed>,
    ended: &watch::Receiver<bool>,
) -> Result<JoinHandle<()>, Failure> {
    let client = Client::new().map_err(Failure::failed)?;
    tokio::spawn(metric::poll(
        published.board.clone(),
        observed.clone(),
        client.clone(),
        now,
        ended.clone(),
    ));
    let (outbox, pace) = (outbox.clone(), Pace::default());
    let delivery = event::deliver(outbox, client, pace, ended.clone());
    Ok(tokio::spawn(delivery))
}

fn xds_server(published: Published, observed: mpsc::Sender<Observed>) -> Server {
    Server::new(
        published.snapshots,
        observed,
        published.report_interval,
        now,
    )
}

/// The engine waits for the disk, so it has a thread of its own. What is returned ends with it.
fn spawn_engine(
    engine: Engine,
    inputs: Inputs,
    outputs: Outputs,
) -> Result<oneshot::Receiver<()>, Failure> {
    let (ended, end) = oneshot::channel::<()>();
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(Failure::failed)?;
    thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || {
            runtime.block_on(engine::run(engine, inputs, outputs, now));
            drop(ended);
        })
        .map_err(Failure::failed)?;
    Ok(end)
}

/// Reads the manifests whenever they change; what is invalid is said, and the last good set stays.
fn follow_manifests(config: &Standalone, outbox: Outbox) -> mpsc::Receiver<Catalog> {
    let (readings, mut read) = mpsc::channel(1);
    let (catalogs, receiver) = mpsc::channel(1);
    tokio::spawn(manifest::watch(config.manifests.clone(), readings));
    tokio::spawn(async move {
        while let Some(reading) = read.recv().await {
            match reading {
                Ok(catalog) => {
                    welcome(&catalog, &outbox);
                    if catalogs.send(catalog).await.is_err() {
                        return;
                    }
                }
                Err(wrong) => {
                    for invalid in wrong {
                        tracing::error!("{invalid}; the last good manifests stay in force");
                    }
                }
            }
        }
    });
    receiver
}

/// What is to be done with a catalog beside the engine.
fn welcome(catalog: &Catalog, outbox: &Outbox) {
    for warning in &catalog.warnings {
        tracing::warn!("{warning}");
    }
    let policies = catalog.policies.values();
    outbox.name(policies.flat_map(|policy| policy.notify.clone()), now());
}

fn invalid(wrong: &[Invalid]) -> Failure {
    let lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    Failure::usage(lines.join("\n"))
}

async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::usage(match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "{address} is in use: stop what listens there, or give {flag} another address"
            ),
            _ => format!("cannot listen on {flag} {address}: {error}"),
        })
    })
}

/// The one line on standard output: it serves.
fn announce((xds, http): (SocketAddr, SocketAddr)) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "listening xds={xds} http={http}")?;
    out.flush()
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn wished(mut end: watch::Receiver<bool>) {
    // A sender that is gone wishes the end too.
    drop(end.wait_for(|end| *end).await);
}
