//! The engine's task: takes what comes in, lets the engine decide, hands out what it decided.
//!
//! Everything that changes is changed here, one thing after the other; so there is no lock and no
//! order to get wrong. The task writes files and waits for the disk: give it a thread of its own.

use super::{
    board::Board,
    core::Engine,
    inbox::{Answer, Refusal, Request},
    journal::DecisionLog,
    turn::Turn,
};
use crate::{
    model::{Catalog, Observed, Timestamp},
    xds::Snapshot,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

/// Looks so often while an upgrade is under way.
const BUSY_TICK: Duration = Duration::from_millis(100);
/// And else.
const IDLE_TICK: Duration = Duration::from_secs(1);
/// Load reports come so often while an upgrade is under way.
const BUSY_REPORTS: Duration = Duration::from_millis(250);
/// And else.
const IDLE_REPORTS: Duration = Duration::from_secs(5);
/// Observations taken in at a time.
const BATCH: usize = 256;

/// What comes in.
#[derive(Debug)]
pub struct Inputs {
    /// What the source reads.
    pub catalogs: mpsc::Receiver<Catalog>,
    /// What is seen of proxies.
    pub observed: mpsc::Receiver<Observed>,
    /// Verbs.
    pub requests: Requests,
    /// Ends the task when it turns true, or its sender is gone.
    pub stop: watch::Receiver<bool>,
}

/// What goes out.
#[derive(Debug)]
pub struct Outputs {
    snapshots: watch::Sender<Arc<Snapshot>>,
    board: watch::Sender<Arc<Board>>,
    report_interval: watch::Sender<Duration>,
}

/// Where it comes out.
#[derive(Clone, Debug)]
pub struct Published {
    /// To the xDS server.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// To the control API and the metrics.
    pub board: watch::Receiver<Arc<Board>>,
    /// How often proxies are to report their load.
    pub report_interval: watch::Receiver<Duration>,
}

/// The verbs that wait.
pub type Requests = mpsc::Receiver<(Request, oneshot::Sender<Answer>)>;

/// How the control API reaches the engine.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<(Request, oneshot::Sender<Answer>)>,
    board: watch::Receiver<Arc<Board>>,
    decisions: DecisionLog,
}

impl Handle {
    /// A handle and where its verbs come out.
    pub fn new(board: watch::Receiver<Arc<Board>>, decisions: DecisionLog) -> (Self, Requests) {
        let (requests, receiver) = mpsc::channel(64);
        let handle = Self {
            requests,
            board,
            decisions,
        };
        (handle, receiver)
    }

    /// Asks for something and waits for the answer.
    pub async fn ask(&self, request: Request) -> Answer {
        let gone = || Refusal::Unavailable("the control plane is going down".to_owned());
        let (sender, answer) = oneshot::channel();
        self.requests
            .send((request, sender))
            .await
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// What can be seen now.
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board.borrow())
    }

    /// What can be seen, and every change of it.
    pub fn watch(&self) -> watch::Receiver<Arc<Board>> {
        self.board.clone()
    }

    /// Where decisions are read back.
    pub fn decisions(&self) -> &DecisionLog {
        &self.decisions
    }
}

/// Runs the engine until it is told to stop.
pub async fn run(
    mut engine: Engine,
    mut inputs: Inputs,
    outputs: Outputs,
    clock: fn() -> Timestamp,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut next_tick = Instant::now();
    loop {
        let now = tokio::select! {
            biased;
            _ = inputs.stop.wait_for(|stop| *stop) => return,
            Some((request, answer)) = inputs.requests.recv() => {
                let now = clock();
                let (result, turn) = engine.command(&request, now);
                outputs.publish(turn);
                outputs.show(&mut engine, now);
                // Whoever asked may have gone: then nobody needs the answer.
                drop(answer.send(result));
                now
            }
            Some(catalog) = inputs.catalogs.recv() => {
                engine.catalog_changed(catalog);
                clock()
            }
            1.. = inputs.observed.recv_many(&mut batch, BATCH) => {
                let now = clock();
                for observed in batch.drain(..) {
                    engine.observed(observed, now);
                }
                now
            }
            () = sleep_until(next_tick) => clock(),
        };
        outputs.publish(engine.turn(now));
        if Instant::now() >= next_tick {
            outputs.show(&mut engine, now);
            let busy = !engine.active.is_empty();
            next_tick = Instant::now() + if busy { BUSY_TICK } else { IDLE_TICK };
            outputs.set_report_interval(if busy { BUSY_REPORTS } else { IDLE_REPORTS });
        } else if !engine.active.is_empty() {
            next_tick = next_tick.min(Instant::now() + BUSY_TICK);
        }
    }
}

impl Outputs {
    /// Publishes the first world, before anybody can ask: a proxy that comes back early must not
    /// be told that there is nothing. None where the state folder refuses.
    pub fn begin(engine: &mut Engine, now: Timestamp) -> Option<(Self, Published)> {
        let world = engine.turn(now).world?;
        let (snapshots, snapshots_out) = watch::channel(Arc::new(Snapshot::build(world, None)));
        let (board, board_out) = watch::channel(Arc::new(engine.board(now)));
        let (report_interval, report_interval_out) = watch::channel(IDLE_REPORTS);
        let outputs = Self {
            snapshots,
            board,
            report_interval,
        };
        let published = Published {
            snapshots: snapshots_out,
            board: board_out,
            report_interval: report_interval_out,
        };
        Some((outputs, published))
    }

    fn publish(&self, turn: Turn) {
        if let Some(world) = turn.world {
            let generation = world.generation.0;
            let snapshot = Snapshot::build(world, Some(&self.snapshots.borrow()));
            self.snapshots.send_replace(Arc::new(snapshot));
            tracing::debug!(generation, "published");
        }
    }

    fn show(&self, engine: &mut Engine, now: Timestamp) {
        let board = engine.board(now);
        self.board.send_if_modified(|shown| {
            let news = **shown != board;
            if news {
                *shown = Arc::new(board);
            }
            news
        });
    }

    fn set_report_interval(&self, interval: Duration) {
        self.report_interval.send_if_modified(|set| {
            let news = *set != interval;
            *set = interval;
            news
        });
    }
}
