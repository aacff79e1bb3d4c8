//! Takes events out of the outbox and to their sinks.

use super::{
    cloud_event::CloudEvent,
    http::HttpSink,
    nats::NatsSink,
    outbox::{DeadLetter, Next, Outbox, Queue, label},
    pace::{Pace, at_least},
};
use crate::{clock, model::Sink, web::Client};
use std::{collections::BTreeSet, io, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep, timeout},
};

/// Why a sink did not take an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// What went wrong, for people.
    pub(super) reason: String,
    /// The sink asks for a wait.
    pub(super) retry_after: Option<Duration>,
    /// The sink will refuse this event however often it is offered.
    pub(super) refused: bool,
}

impl Failure {
    /// One that may well be over at the next try.
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            retry_after: None,
            refused: false,
        }
    }
}

/// Delivers until `stop` turns true or its sender is gone; tries that are under way then are
/// finished. What is not delivered stays in the outbox.
pub async fn deliver(outbox: Outbox, client: Client, pace: Pace, stop: watch::Receiver<bool>) {
    let mut couriers = JoinSet::new();
    let mut attended = BTreeSet::new();
    loop {
        for queue in outbox.queues() {
            let has_work = queue.len() > 0 || !outbox.is_unnamed(&queue.sink);
            if has_work && attended.insert(queue.sink.clone()) {
                let courier = Courier::new((outbox.clone(), queue), &client, pace);
                couriers.spawn(courier.run(stop.clone()));
            }
        }
        tokio::select! {
            () = stopped(stop.clone()) => break,
            () = outbox.news() => {}
            Some(ended) = couriers.join_next() => match ended {
                Ok(sink) => drop(attended.remove(&sink)),
                Err(error) => tracing::error!("outbox: {error}"),
            },
        }
    }
    while couriers.join_next().await.is_some() {}
}

/// Whoever goes to one sink.
#[derive(Debug)]
struct Courier {
    outbox: Outbox,
    queue: Arc<Queue>,
    to: Destination,
    pace: Pace,
    /// Failures in a row.
    failures: u32,
    /// It has failed since then, and no policy names it.
    unnamed: Option<Instant>,
}

#[derive(Debug)]
enum Destination {
    Http(HttpSink),
    Nats(NatsSink),
}

impl Courier {
    fn new((outbox, queue): (Outbox, Arc<Queue>), client: &Client, pace: Pace) -> Self {
        let to = match &queue.sink {
            Sink::CloudEvents { sink, mode } => Destination::Http(HttpSink {
                client: client.clone(),
                address: sink.clone(),
                mode: *mode,
                within: pace.one_try,
            }),
            Sink::Nats {
                server,
                subject,
                jet_stream,
            } => Destination::Nats(NatsSink::new(server, subject, *jet_stream)),
        };
        Self {
            outbox,
            queue,
            to,
            pace,
            failures: 0,
            unnamed: None,
        }
    }

    /// Until the end, or until nothing waits and no policy names the sink: whose courier it was.
    async fn run(mut self, stop: watch::Receiver<bool>) -> Sink {
        let mut named = self.outbox.naming();
        while !*stop.borrow() {
            named.mark_unchanged();
            let Some(next) = self.queue.head() else {
                if self.outbox.is_unnamed(&self.queue.sink) {
                    break;
                }
                tokio::select! {
                    () = stopped(stop.clone()) => break,
                    () = self.queue.arrival.notified() => continue,
                    Ok(()) = named.changed() => continue,
                }
            };
            let wait = match self.offer(&next).await {
                Ok(()) => {
                    self.taken(&next).await;
                    continue;
                }
                Err(failure) => self.failed(&next, &failure).await,
            };
            tokio::select! {
                () = stopped(stop.clone()) => break,
                () = sleep(wait) => {}
            }
        }
        self.queue.sink.clone()
    }

    async fn offer(&mut self, next: &Next) -> Result<(), Failure> {
        let event = CloudEvent {
            event: &next.event,
            lost: next.lost,
        };
        let offered = async {
            match &mut self.to {
                Destination::Http(sink) => sink.send(&event).await,
                Destination::Nats(sink) => sink.send(&event).await,
            }
        };
        let within = self.pace.one_try;
        let late = || Failure::passing(format!("no answer within {within:?}"));
        timeout(within, offered)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    async fn taken(&mut self, next: &Next) {
        if self.failures > 0 {
            tracing::info!(
                sink = label(&self.queue.sink),
                queue = self.queue.id,
                failed_tries = self.failures,
                "takes events again"
            );
        }
        self.failures = 0;
        self.unnamed = None;
        let (seq, told) = (next.seq, next.lost);
        self.settle(move |queue| queue.delivered(seq, told)).await;
    }

    /// Counts a failure, and says how long to wait.
    async fn failed(&mut self, next: &Next, failure: &Failure) -> Duration {
        self.queue.landed();
        self.queue.counts.failed(&failure.reason);
        self.failures = self.failures.saturating_add(1);
        let wait = self.pace.wait(self.failures, fastrand::u16(..));
        if self.outbox.is_unnamed(&self.queue.sink) {
            let since = *self.unnamed.get_or_insert_with(Instant::now);
            if since.elapsed() >= self.pace.unnamed {
                self.let_go().await;
                return wait;
            }
        } else {
            self.unnamed = None;
        }
        if failure.refused && self.put_by(next, &failure.reason).await {
            return Duration::ZERO;
        }
        if self.failures == 1 {
            self.say_failed(&failure.reason);
        }
        at_least(wait, failure.retry_after)
    }

    /// Puts an event that the sink refuses with the dead letters, so that it holds up no other one.
    /// False where the disk refuses that: then it is offered again.
    async fn put_by(&mut self, next: &Next, reason: &str) -> bool {
        let letter = DeadLetter {
            at: clock::now(),
            sink: label(&self.queue.sink),
            queue: self.queue.id.clone(),
            reason: reason.to_owned(),
            event: (*next.event).clone(),
        };
        let (outbox, queue, seq) = (self.outbox.clone(), Arc::clone(&self.queue), next.seq);
        let put_by = spawn_blocking(move || {
            outbox.put_by(&letter)?;
            queue.give_up(seq);
            io::Result::Ok(())
        });
        match put_by.await.map_err(io::Error::other).flatten() {
            Ok(()) => {
                tracing::error!(
                    sink = label(&self.queue.sink),
                    queue = self.queue.id,
                    event = next.event.id,
                    "refuses an event: {reason}; it is put with the dead letters, and the next one is offered: mend the sink, or notify in the policy"
                );
                self.failures = 0;
                true
            }
            Err(error) => {
                tracing::error!("outbox: dead letters: {error}");
                false
            }
        }
    }

    fn say_failed(&self, reason: &str) {
        tracing::warn!(
            sink = label(&self.queue.sink),
            queue = self.queue.id,
            waiting = self.queue.len(),
            "does not take events: {reason}; they wait, and it is tried again"
        );
    }

    /// Nobody wants these events told any more, and nobody takes them.
    async fn let_go(&mut self) {
        (self.unnamed, self.failures) = (None, 0);
        self.settle(|queue| {
            let dropped = queue.let_go();
            tracing::warn!(
                sink = label(&queue.sink),
                queue = queue.id,
                dropped,
                "no policy names this sink any more, and it takes nothing: what waited for it is dropped"
            );
        })
        .await;
    }

    /// Writes to the outbox, which waits for the disk.
    async fn settle(&self, write: impl FnOnce(&Queue) + Send + 'static) {
        let queue = Arc::clone(&self.queue);
        if let Err(error) = spawn_blocking(move || write(&queue)).await {
            tracing::error!("outbox: {error}");
        }
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // A sender that is gone wishes the end too.
    drop(stop.wait_for(|stop| *stop).await);
}
