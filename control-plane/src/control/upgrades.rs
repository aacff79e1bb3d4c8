//! `UpgradeService`.

use super::{convert, watch};
use crate::{
    clock::now,
    engine::{Handle, Request, Target, UpgradeView},
    model::{Command, Key, UpgradeKey},
};
use segue_proto::control::{
    Decision, ExplainUpgradeRequest, GetUpgradeRequest, ListUpgradesRequest, ListUpgradesResponse,
    PromoteUpgradeRequest, RollbackUpgradeRequest, StartUpgradeRequest, Upgrade,
    UpgradeCommandRequest, WatchUpgradesRequest, WatchUpgradesResponse,
    upgrade_service_server::UpgradeService,
};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

/// Answers of a stream that may wait for their reader.
const WAITING: usize = 16;

/// Steers and shows upgrades.
#[derive(Clone, Debug)]
pub struct Upgrades {
    engine: Handle,
}

impl Upgrades {
    pub(super) fn new(engine: Handle) -> Self {
        Self { engine }
    }

    async fn ask(&self, request: Request) -> Result<Response<Upgrade>, Status> {
        match self.engine.ask(request).await {
            Ok(view) => Ok(Response::new(convert::upgrade(&view, now()))),
            Err(refusal) => Err(convert::refusal(&refusal)),
        }
    }

    fn find(&self, namespace: &str, name: &str) -> Result<Arc<UpgradeView>, Status> {
        let key = key(namespace, name)?;
        let board = self.engine.board();
        board.upgrades.get(&key).cloned().ok_or_else(|| {
            let names: Vec<String> = board.upgrades.keys().map(ToString::to_string).collect();
            Status::not_found(match names.as_slice() {
                [] => format!("there is no upgrade {key}, nor any other"),
                names => format!("there is no upgrade {key}; there are {}", names.join(", ")),
            })
        })
    }
}

#[tonic::async_trait]
impl UpgradeService for Upgrades {
    async fn list_upgrades(
        &self,
        request: tonic::Request<ListUpgradesRequest>,
    ) -> Result<Response<ListUpgradesResponse>, Status> {
        let namespace = request.into_inner().namespace;
        let upgrades = self
            .engine
            .board()
            .upgrades
            .values()
            .filter(|view| namespace.is_empty() || *view.spec.key.namespace == *namespace)
            .map(|view| convert::upgrade(view, now()))
            .collect();
        Ok(Response::new(ListUpgradesResponse { upgrades }))
    }

    async fn get_upgrade(
        &self,
        request: tonic::Request<GetUpgradeRequest>,
    ) -> Result<Response<Upgrade>, Status> {
        let request = request.into_inner();
        let view = self.find(&request.namespace, &request.name)?;
        Ok(Response::new(convert::upgrade(&view, now())))
    }

    type WatchUpgradesStream = ReceiverStream<Result<WatchUpgradesResponse, Status>>;

    async fn watch_upgrades(
        &self,
        request: tonic::Request<WatchUpgradesRequest>,
    ) -> Result<Response<Self::WatchUpgradesStream>, Status> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let watch = watch::Watch::new(request.into_inner(), self.engine.watch(), sender, now);
        tokio::spawn(watch.run());
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn start_upgrade(
        &self,
        request: tonic::Request<StartUpgradeRequest>,
    ) -> Result<Response<Upgrade>, Status> {
        let request = request.into_inner();
        let target = match (request.name.as_str(), request.service.as_str()) {
            ("", "") => {
                return Err(Status::invalid_argument(
                    "name an upgrade that waits, or a `service` and the version `to` which it is to go",
                ));
            }
            ("", service) => Target::To {
                service: key(&request.namespace, service)?,
                version: version(&request.to)?.into(),
            },
            (name, "") => Target::Named(key(&request.namespace, name)?),
            (_, _) => {
                return Err(Status::invalid_argument(
                    "either `name`, or `service` and `to`: not both",
                ));
            }
        };
        self.ask(Request {
            target,
            command: Command::Start,
            request_id: request.request_id,
            resource_version: None,
        })
        .await
    }

    async fn pause_upgrade(
        &self,
        request: tonic::Request<UpgradeCommandRequest>,
    ) -> Result<Response<Upgrade>, Status> {
        self.ask(plain(request.into_inner(), Command::Pause)?).await
    }

    async fn resume_upgrade(
        &self,
        request: tonic::Request<UpgradeCommandRequest>,
    ) -> Result<Response<Upgrade>, Status> {
        self.ask(plain(request.into_inner(), Command::Resume)?)
            .await
    }

    async fn promote_upgrade(
        &self,
        request: tonic::Request<PromoteUpgradeRequest>,
    ) -> Result<Response<Upgrade>, Status> {
        let request = request.into_inner();
        self.ask(Request {
            target: Target::Named(key(&request.namespace, &request.name)?),
            command: Command::Promote { full: request.full },
            request_id: request.request_id,
            resource_version: checked(request.resource_version),
        })
        .await
    }

    async fn rollback_upgrade(
        &self,
        request: tonic::Request<RollbackUpgradeRequest>,
    ) -> Result<Response<Upgrade>, Status> {
        let request = request.into_inner();
        self.ask(Request {
            target: Target::Named(key(&request.namespace, &request.name)?),
            command: Command::Rollback {
                reason: request.reason,
            },
            request_id: request.request_id,
            resource_version: checked(request.resource_version),
        })
        .await
    }

    async fn retry_upgrade(
        &self,
        request: tonic::Request<UpgradeCommandRequest>,
    ) -> Result<Response<Upgrade>, Status> {
        self.ask(plain(request.into_inner(), Command::Retry)?).await
    }

    type ExplainUpgradeStream = ReceiverStream<Result<Decision, Status>>;

    async fn explain_upgrade(
        &self,
        request: tonic::Request<ExplainUpgradeRequest>,
    ) -> Result<Response<Self::ExplainUpgradeStream>, Status> {
        let request = request.into_inner();
        let key = self
            .find(&request.namespace, &request.name)?
            .spec
            .key
            .clone();
        let log = self.engine.decisions().clone();
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::task::spawn_blocking(move || {
            let unreadable = |error: std::io::Error| {
                Status::internal(format!("the decision log can't be read: {error}"))
            };
            let lines = match log.read(&key) {
                Ok(lines) => lines,
                Err(error) => return drop(sender.blocking_send(Err(unreadable(error)))),
            };
            for line in lines {
                let line = line
                    .map(|logged| convert::decision(&logged))
                    .map_err(unreadable);
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn plain(request: UpgradeCommandRequest, command: Command) -> Result<Request, Status> {
    Ok(Request {
        target: Target::Named(key(&request.namespace, &request.name)?),
        command,
        request_id: request.request_id,
        resource_version: checked(request.resource_version),
    })
}

fn key(namespace: &str, name: &str) -> Result<UpgradeKey, Status> {
    if namespace.is_empty() || name.is_empty() {
        return Err(Status::invalid_argument(
            "`namespace` and `name` are needed",
        ));
    }
    Ok(Key::new(namespace, name))
}

/// A version id as labels allow it: it becomes part of file and cluster names.
fn version(id: &str) -> Result<&str, Status> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.is_empty() || id.len() > 63 || !id.chars().all(good) {
        return Err(Status::invalid_argument(format!(
            "to: {id:?} is no version id (letters, digits, '-', '_' and '.', at most 63)"
        )));
    }
    Ok(id)
}

fn checked(resource_version: u64) -> Option<u64> {
    (resource_version != 0).then_some(resource_version)
}
