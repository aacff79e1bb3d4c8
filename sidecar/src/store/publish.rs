//! Hands a snapshot to every worker.

use super::{
    command::{Command, Worker},
    compile::Compiler,
    resource::Resources,
};
use crate::model::Snapshot;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::sync::{oneshot, watch};

/// Compiles resources and hands the snapshot to every worker.
#[derive(Debug)]
pub struct Publisher {
    workers: Vec<Worker>,
    compiler: Compiler,
    current: watch::Sender<Arc<Snapshot>>,
}

impl Publisher {
    /// Publishes to these workers, which serve by an empty snapshot so far.
    pub fn new(workers: Vec<Worker>) -> Self {
        Self {
            workers,
            compiler: Compiler::default(),
            current: watch::Sender::new(Arc::default()),
        }
    }

    /// The newest snapshot that all workers serve by.
    pub fn current(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.current.subscribe()
    }

    /// Sends the snapshot of these resources to every worker; the future ends when all of them
    /// serve by it. Workers take snapshots in the order of these calls, whether or not the futures
    /// are awaited. A worker that has ended does not count.
    pub fn publish(
        &mut self,
        resources: &Resources,
        now: Duration,
    ) -> impl Future<Output = ()> + Send + use<> {
        let snapshot = Arc::new(self.compiler.compile(resources, now));
        let acks: Vec<_> = self
            .workers
            .iter()
            .filter_map(|worker| {
                let (done, ack) = oneshot::channel();
                let command = Command::Apply(Arc::clone(&snapshot), done);
                worker.commands.send(command).ok().map(|()| ack)
            })
            .collect();
        let current = self.current.clone();
        async move {
            for ack in acks {
                // An error says that the worker has ended.
                ack.await.ok();
            }
            current.send_if_modified(|newest| {
                let newer = newest.sequence < snapshot.sequence;
                if newer {
                    *newest = snapshot;
                }
                newer
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Publisher;
    use crate::store::{Command, Worker, resource::Resources};
    use std::time::Duration;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn a_snapshot_is_current_once_every_worker_serves_by_it() {
        let (first, mut first_commands) = mpsc::unbounded_channel();
        let (second, mut second_commands) = mpsc::unbounded_channel();
        let (ended, _) = mpsc::unbounded_channel();
        let workers = [first, second, ended].map(|commands| Worker { commands });
        let mut publisher = Publisher::new(workers.into());
        let current = publisher.current();
        let published =
            tokio::spawn(publisher.publish(&Resources::default(), Duration::from_secs(1)));

        let Some(Command::Apply(snapshot, done)) = first_commands.recv().await else {
            panic!("a snapshot was sent");
        };
        assert_eq!(snapshot.sequence, 1);
        done.send(()).unwrap();
        let Some(Command::Apply(_, done)) = second_commands.recv().await else {
            panic!("a snapshot was sent");
        };
        assert_eq!(current.borrow().sequence, 0);
        done.send(()).unwrap();
        published.await.unwrap();
        assert_eq!(current.borrow().sequence, 1);
    }
}
