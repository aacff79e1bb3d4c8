//! `segue-lab-load`: the application of the demo's `web` Pod, an ordinary client of `checkout`.
//!
//! It knows nothing of Segue. It sends a steady rate of requests by sessions with cookies, keeps
//! streams and TCP connections open, and says on standard output what became of all of them; it
//! judges nothing. SIGTERM ends it in order: what is under way is finished, a last report written.

mod failure;
mod histogram;
mod pace;
mod report;
mod session;
mod stream;
mod tally;
mod target;
mod tcp;
#[cfg(test)]
mod tests;

pub use histogram::Histogram;
pub use report::{Begun, Channel, Channels, Event, Kind, Known, Report};
pub(super) use tally::unix_ms;

use clap::Parser;
use std::{
    ffi::OsString,
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    rc::Rc,
    time::Duration,
};
use tally::Shared;
use target::Target;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::{JoinSet, LocalSet},
    time::{MissedTickBehavior, interval, sleep},
};

/// How often a report is written.
const REPORT_EVERY: Duration = Duration::from_millis(250);

/// The lab's load generator: sessions, streams and TCP connections against one service.
#[derive(Debug, Parser)]
#[command(name = "segue-lab-load")]
pub struct Args {
    /// The service's name, as clients write it
    #[arg(long, default_value = "checkout.shop")]
    host: String,
    /// The service's address, where the name is not found
    #[arg(long)]
    address: Option<IpAddr>,
    /// The service's HTTP port
    #[arg(long, default_value_t = 80)]
    http_port: u16,
    /// The service's TCP port
    #[arg(long, default_value_t = 9000)]
    tcp_port: u16,
    /// Connect through this explicit proxy
    #[arg(long)]
    proxy: Option<SocketAddr>,
    /// Its own name, with which the ids of its requests begin
    #[arg(long, env = "SEGUE_LAB_WORKLOAD", default_value = "web")]
    client: String,
    /// Streams open at a time
    #[arg(long, default_value_t = 20)]
    streams: u32,
    /// TCP connections open at a time
    #[arg(long, default_value_t = 10)]
    tcp: u32,
    #[command(flatten)]
    settings: Settings,
}

/// How much, of what.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Settings {
    /// Requests per second
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Sessions that last throughout
    #[arg(long, default_value_t = 200)]
    sessions: u32,
    /// New sessions per second, which last 5 to 15 s
    #[arg(long, default_value_t = 50)]
    new_sessions: u64,
    /// No answer for so many seconds is a failure
    #[arg(long, default_value_t = 2)]
    timeout: u64,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the load generator with these arguments, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            error.print().ok();
            return ExitCode::from(2);
        }
    };
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| LocalSet::new().block_on(&runtime, run(args)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "segue-lab-load: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> io::Result<()> {
    let ports = (args.http_port, args.tcp_port);
    let target = Target {
        client: args.client.clone(),
        timeout: Duration::from_secs(args.settings.timeout),
        ..Target::resolve(&args.host, ports, args.address, args.proxy).await?
    };
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    tokio::select! {
        () = served(&target) => {}
        _ = terminated.recv() => return Ok(()),
        _ = interrupted.recv() => return Ok(()),
    }
    let (stop, stopped) = watch::channel(false);
    let tally = Shared::default();
    let mut work = start(&args, &Rc::new(target), &tally, &stopped);
    let mut ticks = interval(REPORT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = terminated.recv() => { stop.send_replace(true); }
            _ = interrupted.recv() => { stop.send_replace(true); }
            _ = ticks.tick() => write(&tally.borrow_mut().take(false))?,
            ended = work.join_next() => if ended.is_none() { break },
        }
    }
    write(&tally.borrow_mut().take(true))
}

/// Waits until the service answers, as programs do that need it to start.
async fn served(target: &Target) {
    let mut session = session::Session::new(0, session::Style::PerRequest, None);
    while session.get(target).await.is_err() {
        sleep(Duration::from_millis(100)).await;
    }
}

/// Starts everything; the set is empty when all of it has ended in order.
fn start(
    args: &Args,
    target: &Rc<Target>,
    tally: &Shared,
    stopped: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut work = JoinSet::new();
    let mut random = fastrand::Rng::with_seed(args.settings.seed);
    let pacer = pace::Pacer::new(args.settings, Rc::clone(target), Rc::clone(tally));
    work.spawn_local(pacer.run(stopped.clone()));
    let shared = Rc::new(stream::Pool::default());
    for slot in 0..args.streams {
        let pool = if slot % 2 == 0 {
            Rc::clone(&shared)
        } else {
            Rc::default()
        };
        work.spawn_local(stream::run(
            Rc::clone(target),
            pool,
            Rc::clone(tally),
            random.fork(),
            stopped.clone(),
        ));
    }
    for _ in 0..args.tcp {
        work.spawn_local(tcp::run(
            Rc::clone(target),
            Rc::clone(tally),
            random.fork(),
            stopped.clone(),
        ));
    }
    work
}

fn write(report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    io::stdout().lock().write_all(&line)
}
