//! One worker: one thread, one runtime, its listeners, its commands.
//!
//! It wires `listen` to `local` and carries out what the rest of the process asks. It serves
//! nothing itself.
//!
//! Invariant: once [`Command::Apply`] is answered, every request that begins is served by that
//! snapshot or a later one.

pub use crate::local::{AccessLog, Records};

use crate::{
    drain::{Listed, Phase},
    listen,
    local::{Limits, Local},
    model::Snapshot,
    store::{Command, OpenStreams, Questions, StreamInfo},
};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    thread::{Builder, JoinHandle},
    time::Duration,
};
use tokio::{
    runtime, select,
    sync::{mpsc, oneshot},
    task::{JoinSet, LocalSet, spawn_local},
    time::{Instant, interval, sleep, timeout, timeout_at},
};

/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// How often a draining worker looks whether it is quiet.
const LOOK: Duration = Duration::from_millis(10);

/// So long before its deadline a drain has asked for every end, so that what is said then arrives;
/// less where there is little time.
const LAST_WORDS: Duration = Duration::from_millis(1_500);

/// What a worker is set up with.
#[derive(Debug)]
pub struct Settings {
    /// Takes the Pod's own connections, redirected or as an explicit proxy.
    pub outbound: TcpListener,
    /// Takes connections for the Pod's application.
    pub inbound: Option<TcpListener>,
    /// SO_MARK of every upstream socket, so that redirection lets it pass.
    pub mark: Option<u32>,
    /// Of this worker's random numbers.
    pub seed: u64,
    /// The process's start: ejections are counted from it, alike in all workers.
    pub started: std::time::Instant,
    /// How long to wait for a client's first bytes before trying whether the server speaks first.
    pub detect_timeout: Duration,
    /// How long a request's head may take from its first byte to its last.
    pub request_head_timeout: Duration,
    /// How long a client may leave what it owes, or what it is sent, where it is.
    pub stream_idle_timeout: Duration,
    /// How many workers there are.
    pub workers: u32,
    /// How many downstream connections may be open.
    pub max_connections: usize,
    /// How long a request waits for the control plane's answer to a question.
    pub on_demand_timeout: Duration,
    /// A drain is over once nothing happened for this time.
    pub quiet: Duration,
    /// Who is told of requests that are over.
    pub records: Option<Records>,
    /// How long streams may go on at an endpoint that drains.
    pub endpoint_drain: Duration,
    /// The time from one long-lived stream's end to the next while something drains. None: by how
    /// many are open and the time that is left.
    pub stream_gap: Option<Duration>,
}

impl Settings {
    /// The settings of a worker that only takes outbound connections.
    pub fn new(outbound: TcpListener, started: impl Into<std::time::Instant>, seed: u64) -> Self {
        Self {
            outbound,
            inbound: None,
            mark: None,
            seed,
            started: started.into(),
            detect_timeout: Duration::from_millis(100),
            request_head_timeout: Duration::from_secs(10),
            stream_idle_timeout: Duration::from_secs(300),
            workers: 1,
            max_connections: 10_000,
            on_demand_timeout: Duration::from_millis(100),
            quiet: Duration::from_secs(1),
            records: None,
            endpoint_drain: Duration::from_secs(55),
            stream_gap: None,
        }
    }
}

/// The worker's sockets, on its runtime.
struct Listeners {
    outbound: tokio::net::TcpListener,
    inbound: Option<tokio::net::TcpListener>,
}

/// Starts a worker. It serves until the sending half of `commands` is dropped.
pub fn spawn(
    name: &str,
    settings: Settings,
    snapshot: Arc<Snapshot>,
    commands: mpsc::UnboundedReceiver<Command>,
    questions: Questions,
) -> io::Result<JoinHandle<()>> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let limits = Limits {
        mark: settings.mark,
        started: settings.started,
        detect: settings.detect_timeout,
        request_head: settings.request_head_timeout,
        stream_idle: settings.stream_idle_timeout,
        workers: settings.workers,
        max_connections: settings.max_connections,
        on_demand: settings.on_demand_timeout,
        quiet: settings.quiet,
        endpoint_drain: settings.endpoint_drain,
        stream_gap: settings.stream_gap,
        own: own_addresses(&settings)?,
    };
    let listeners = {
        let _context = runtime.enter();
        Listeners {
            outbound: into_tokio(settings.outbound)?,
            inbound: settings.inbound.map(into_tokio).transpose()?,
        }
    };
    let (seed, records) = (settings.seed, settings.records);
    Builder::new().name(name.to_owned()).spawn(move || {
        LocalSet::new().block_on(&runtime, async move {
            let local = Local::new(limits, seed, snapshot, questions, records);
            run(local, listeners, commands).await;
        });
    })
}

fn own_addresses(settings: &Settings) -> io::Result<Vec<SocketAddr>> {
    let inbound = settings.inbound.iter().map(TcpListener::local_addr);
    std::iter::once(settings.outbound.local_addr())
        .chain(inbound)
        .collect()
}

fn into_tokio(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

async fn run(
    local: Rc<Local>,
    listeners: Listeners,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let mut accepting = JoinSet::new();
    accepting.spawn_local(listen::accept(listeners.outbound, Rc::clone(&local), false));
    if let Some(inbound) = listeners.inbound {
        accepting.spawn_local(listen::accept(inbound, Rc::clone(&local), true));
    }
    let mut ending = JoinSet::new();
    ending.spawn_local(end_streams(Rc::clone(&local)));
    let mut sweep = interval(SWEEP);
    loop {
        select! {
            command = commands.recv() => match command {
                Some(command) => carry_out(&local, command),
                None => return,
            },
            now = sweep.tick() => local.pool.sweep(now),
            Some(Err(panic)) = accepting.join_next() => {
                // A worker that accepts no more must not look alive.
                tracing::error!(%panic, "a worker can't accept connections any more");
                return;
            }
        }
    }
}

fn carry_out(local: &Rc<Local>, command: Command) {
    match command {
        Command::Apply(snapshot, applied) => {
            local.apply(snapshot);
            answer(applied, ());
        }
        Command::CollectLoad(load) => {
            let mut collected = local
                .load
                .borrow_mut()
                .collect(&local.snapshot(), local.now());
            collected.refused = local.breakers.borrow_mut().take_refused();
            collected.connections = local.connections.count();
            collected.connections_refused = local.connections.take_refused();
            answer(load, collected);
        }
        Command::ListConnections(list) => answer(list, local.connections.list()),
        Command::ListStreams(list) => answer(list, streams(local)),
        Command::Drain {
            deadline,
            cut,
            done,
        } => {
            let drained = drain(Rc::clone(local), deadline, cut);
            spawn_local(async move {
                drained.await;
                answer(done, ());
            });
        }
    }
}

fn streams(local: &Local) -> OpenStreams {
    let stream = |listed: Listed| StreamInfo {
        kind: listed.kind.name(),
        inbound: listed.inbound,
        age: listed.age,
        ending: listed.ending,
    };
    OpenStreams {
        draining: local.drain.is_draining(),
        streams: local.drain.list().into_iter().map(stream).collect(),
    }
}

/// Whoever asked may have gone: then there is nobody to tell.
fn answer<T>(to: oneshot::Sender<T>, value: T) {
    to.send(value).ok();
}

/// Tells long-lived streams to end when it is their turn.
async fn end_streams(local: Rc<Local>) {
    let draw = |below: u32| u32::try_from(local.draw(below.into())).unwrap_or(0);
    loop {
        match local.drain.turn(draw) {
            Some(next) => {
                timeout_at(next, local.drain.planned()).await.ok();
            }
            None => local.drain.planned().await,
        }
    }
}

async fn drain(local: Rc<Local>, deadline: Duration, cut: bool) {
    local.drain.advance(Phase::Draining);
    let left = deadline.saturating_sub(LAST_WORDS.min(deadline / 4));
    local.drain.end_streams(left, local.limits.stream_gap);
    if timeout(deadline, settled(&local)).await.is_err() && cut {
        local.drain.advance(Phase::Cut);
    }
}

/// Waits until nothing is under way, nothing was for [`Limits::quiet`], and nothing is left to
/// write. Connections that are open without a request have that long to send one or to end: each
/// answer they get asks them to.
async fn settled(local: &Local) {
    let begun = Instant::now();
    loop {
        let mut since = local.drain.finished().await;
        if !local.connections.is_empty() {
            since = since.max(Some(begun));
        }
        let is_quiet = since.is_none_or(|since| since.elapsed() >= local.limits.quiet);
        if is_quiet && !local.connections.is_writing() {
            return;
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests;
