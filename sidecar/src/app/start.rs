//! Starts the parts and ties them together.

use super::{
    Failure,
    sockets::{Sockets, local},
};
use crate::{
    admin::{self, Sources},
    config::{self, Run},
    health::Checker,
    store::{Publisher, Questions, Worker, disk::Disk},
    telemetry::{Collector, Loads, Reporter, Telling, Told},
    worker::{self, AccessLog, Records},
    xds::{self, Client, Dialer, Handle},
};
use std::{
    io::{Write as _, stdout},
    net::TcpListener,
    sync::Arc,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tracing::{error, info};

/// A running sidecar.
#[derive(Debug)]
pub(super) struct Sidecar {
    pub(super) workers: Vec<Worker>,
    pub(super) client: Handle,
}

impl Sidecar {
    /// Starts everything; once this ends, it serves.
    pub(super) async fn start(flags: &Run, sockets: Sockets) -> Result<Self, Failure> {
        let started = Instant::now();
        let disk = open_disk(flags)?;
        let dialer = Dialer::new(flags.mark);
        let channel = xds::channel(flags.control_plane.clone(), &dialer);
        let line = listening(&sockets)?;
        let (questions, asked) = mpsc::unbounded_channel();
        let told = Told::default();
        let records = telling(flags, &dialer).begin(&flags.identity(), &told);
        let workers = start_workers(flags, sockets.workers, started, (&questions, records))?;
        let publisher = Publisher::new(workers.clone());
        let snapshot = publisher.current();

        let settings = xds::Settings {
            identity: flags.identity(),
            channel: channel.clone(),
            disk,
            seed: fastrand::u64(..),
            started,
        };
        let (mut client, handle) = Client::new(settings, publisher, asked);
        client.restore().await;
        tokio::spawn(client.run());

        let own = watch::Sender::new(None);
        let reporter = Reporter {
            identity: flags.identity(),
            channel: channel.clone(),
            dialer: dialer.clone(),
            own: own.subscribe(),
            loads: Arc::new(Loads::new(workers.clone())),
            snapshot,
            started,
        };
        tokio::spawn(reporter.clone().run(fastrand::u64(..)));
        let checker = Checker {
            identity: flags.identity(),
            channel,
            dialer,
            own,
        };
        tokio::spawn(checker.run(fastrand::u64(..)));

        let sources = Sources {
            workers: workers.clone(),
            client: handle.clone(),
            reporter,
            told,
            drain_timeout: flags.drain_timeout,
        };
        serve(sockets.admin, admin::admin(sources.clone()))?;
        serve(sockets.probe, admin::probe(sources))?;
        announce(&line)?;
        info!(workload = flags.identity().node().id, "{line}");
        Ok(Self {
            workers,
            client: handle,
        })
    }
}

fn listening(sockets: &Sockets) -> Result<String, Failure> {
    Ok(format!(
        "listening outbound={} inbound={} admin={} probe={}",
        sockets.outbound,
        sockets.inbound,
        local(&sockets.admin)?,
        local(&sockets.probe)?
    ))
}

fn open_disk(flags: &Run) -> Result<Option<Disk>, Failure> {
    let open = |folder: &std::path::PathBuf| {
        Disk::open(folder).map_err(|error| {
            Failure::usage(format_args!(
                "--state: the folder {} can't be used: {error}",
                folder.display()
            ))
        })
    };
    flags.state.as_ref().map(open).transpose()
}

fn telling(flags: &Run, dialer: &Dialer) -> Telling {
    let collector = |url| Collector::new(url, dialer.clone());
    Telling {
        log: match flags.access_log {
            config::AccessLog::Off => AccessLog::Off,
            config::AccessLog::Errors => AccessLog::Errors,
            config::AccessLog::All => AccessLog::All,
        },
        collector: flags.traces.clone().map(collector),
        sampled: flags.trace_sampling,
    }
}

fn start_workers(
    flags: &Run,
    sockets: Vec<(TcpListener, TcpListener)>,
    started: Instant,
    (questions, records): (&Questions, Option<Records>),
) -> Result<Vec<Worker>, Failure> {
    let workers = u32::try_from(sockets.len()).unwrap_or(u32::MAX);
    let start = |(index, (outbound, inbound))| {
        let (commands, receiver) = mpsc::unbounded_channel();
        let settings = worker::Settings {
            inbound: Some(inbound),
            mark: flags.mark,
            workers,
            max_connections: flags.max_connections.get(),
            request_head_timeout: flags.request_head_timeout,
            stream_idle_timeout: flags.stream_idle_timeout,
            records: records.clone(),
            endpoint_drain: flags.endpoint_drain_timeout,
            stream_gap: flags.stream_gap(),
            ..worker::Settings::new(outbound, started.into_std(), fastrand::u64(..))
        };
        worker::spawn(
            &format!("worker-{index}"),
            settings,
            Arc::default(),
            receiver,
            questions.clone(),
        )
        .map_err(|error| Failure::system(format_args!("a worker did not start: {error}")))?;
        Ok(Worker { commands })
    };
    sockets.into_iter().enumerate().map(start).collect()
}

fn serve(socket: TcpListener, router: axum::Router) -> Result<(), Failure> {
    let listener = tokio::net::TcpListener::from_std(socket)
        .map_err(|error| Failure::system(format_args!("a socket is unusable: {error}")))?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            error!(%error, "an admin address went away");
        }
    });
    Ok(())
}

fn announce(line: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| Failure::system(format_args!("standard output is closed: {error}")))
}
