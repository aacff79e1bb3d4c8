//! Moves the bytes of the ADS stream: carries out what the [`Stream`] says.
//!
//! Decides nothing about resources. While the control plane is away it goes on trying, and what is
//! in force stays in force.

mod keep;
mod link;

#[cfg(test)]
mod tests;

use super::{
    node::Identity,
    stream::{ResourceStatus, Step, Stream},
};
use crate::store::{Publisher, Question, disk::Disk};
use futures_util::{
    StreamExt as _,
    future::{BoxFuture, FutureExt as _},
    stream::FuturesOrdered,
};
use keep::Keeper;
use link::{Event, Link};
use std::{fmt, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tonic::transport::Channel;
use tracing::{debug, info, warn};

/// A moment that does not come: the timer's stand-in where there is no deadline.
const FAR: Duration = Duration::from_secs(3600);

/// What a client needs to know.
#[derive(Debug)]
pub struct Settings {
    /// Who asks.
    pub identity: Identity,
    /// To the control plane.
    pub channel: Channel,
    /// Where to keep the last good configuration.
    pub disk: Option<Disk>,
    /// For the jitter of reconnects.
    pub seed: u64,
    /// When the process started: ages count from it.
    pub started: Instant,
}

/// The ADS client.
pub struct Client {
    stream: Stream,
    link: Link,
    keeper: Keeper,
    publisher: Publisher,
    publishing: FuturesOrdered<BoxFuture<'static, u64>>,
    questions: mpsc::UnboundedReceiver<Question>,
    commands: mpsc::UnboundedReceiver<Command>,
    started: Instant,
    connection: Connection,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("stream", &self.stream)
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

/// How the stream stands, and since when (from the process's start).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// The control plane answers.
    Connected(Duration),
    /// It does not.
    Disconnected(Duration),
}

/// What the client knows, for people.
#[derive(Clone, Debug)]
pub struct Dump {
    /// How the stream stands.
    pub connection: Connection,
    /// The time of the dump, from the process's start.
    pub now: Duration,
    /// Every resource.
    pub resources: Vec<ResourceStatus>,
}

enum Command {
    Dump(oneshot::Sender<Dump>),
    Shutdown(oneshot::Sender<()>),
}

/// The rest of the process's end of a running client.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dump(_) => "Dump",
            Self::Shutdown(_) => "Shutdown",
        })
    }
}

impl Handle {
    /// What the client knows; none where it has ended.
    pub async fn dump(&self) -> Option<Dump> {
        let (answer, dump) = oneshot::channel();
        self.commands.send(Command::Dump(answer)).ok()?;
        dump.await.ok()
    }

    /// Ends the client: says goodbye to the control plane and saves what is not saved yet.
    pub async fn shutdown(&self) {
        let (answer, done) = oneshot::channel();
        if self.commands.send(Command::Shutdown(answer)).is_ok() {
            done.await.ok();
        }
    }
}

impl Client {
    /// A client that publishes to the publisher's workers and answers their questions.
    pub fn new(
        settings: Settings,
        publisher: Publisher,
        questions: mpsc::UnboundedReceiver<Question>,
    ) -> (Self, Handle) {
        let (sender, commands) = mpsc::unbounded_channel();
        let client = Self {
            stream: Stream::new(settings.identity.node()),
            link: Link::new(settings.channel, settings.seed),
            keeper: Keeper::new(settings.disk),
            publisher,
            publishing: FuturesOrdered::new(),
            questions,
            commands,
            started: settings.started,
            connection: Connection::Disconnected(settings.started.elapsed()),
        };
        (client, Handle { commands: sender })
    }

    /// Takes over the last good configuration from disk. When this ends, all workers serve by it.
    pub async fn restore(&mut self) {
        let saved = self.keeper.load().await;
        if saved.is_empty() {
            return;
        }
        let count = saved.len();
        for reason in self.stream.restore(saved, self.now()) {
            warn!(reason, "a saved resource is left out");
        }
        self.publish(self.stream.revision());
        while let Some(revision) = self.publishing.next().await {
            self.stream.applied(revision);
        }
        info!(resources = count, "serving by the last good configuration");
    }

    /// Runs until [`Handle::shutdown`].
    pub async fn run(mut self) {
        loop {
            let deadline = self
                .stream
                .deadline()
                .map_or_else(|| Instant::now() + FAR, |deadline| self.started + deadline);
            tokio::select! {
                // A new stream begins with what is in force, and that must be so in every worker.
                event = self.link.next(), if self.publishing.is_empty() || !self.link.is_waiting() => {
                    self.on_event(event);
                }
                Some(question) = self.questions.recv() => {
                    debug!(?question, "asking the control plane");
                    let step = self.stream.ask(&question, self.now());
                    self.carry_out(step);
                }
                Some(revision) = self.publishing.next() => {
                    let acks = self.stream.applied(revision);
                    self.link.send(acks);
                }
                () = sleep_until(deadline) => {
                    let step = self.stream.tick(self.now());
                    self.carry_out(step);
                }
                () = self.keeper.due() => self.keeper.save(self.stream.saved()),
                command = self.commands.recv() => match command {
                    Some(Command::Dump(answer)) => {
                        // Who asked may be gone.
                        answer.send(self.dump()).ok();
                    }
                    Some(Command::Shutdown(answer)) => {
                        self.close().await;
                        answer.send(()).ok();
                        return;
                    }
                    None => return self.close().await,
                },
            }
        }
    }

    async fn close(&mut self) {
        self.link.close().await;
        self.keeper.finish().await;
        if self.keeper.is_due() {
            self.keeper.save(self.stream.saved());
            self.keeper.finish().await;
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Ready => {
                let first = self.stream.connected();
                self.link.open(first);
            }
            Event::Opened => debug!("the control plane accepted the stream"),
            Event::Response(response) => {
                if let Connection::Disconnected(since) = self.connection {
                    let now = self.now();
                    self.connection = Connection::Connected(now);
                    info!(after = ?now.saturating_sub(since), "connected to the control plane");
                }
                let step = self.stream.receive(*response, self.now());
                self.carry_out(step);
            }
            Event::Lost(reason) => {
                self.stream.disconnected();
                if let Connection::Connected(_) = self.connection {
                    self.connection = Connection::Disconnected(self.now());
                    warn!(
                        reason,
                        "lost the control plane; serving on by the last good configuration"
                    );
                } else {
                    debug!(reason, "the control plane can't be reached");
                }
            }
        }
    }

    fn carry_out(&mut self, step: Step) {
        for reason in &step.refused {
            warn!(reason, "refused a resource; its last good version stays");
        }
        self.link.send(step.requests);
        if let Some(revision) = step.publish {
            self.publish(revision);
            self.keeper.changed();
        }
    }

    fn publish(&mut self, revision: u64) {
        debug!(revision, "publishing");
        let resources = self.stream.resources();
        let applied = self.publisher.publish(&resources, self.now());
        self.publishing
            .push_back(applied.map(move |()| revision).boxed());
    }

    fn dump(&self) -> Dump {
        Dump {
            connection: self.connection,
            now: self.now(),
            resources: self.stream.status(),
        }
    }
}
