//! `UpgradeService`.

use super::{
    convert::{self, Show},
    deadline, names, page, refuse, watch,
};
use crate::{
    clock::now,
    engine::{Handle, LoggedDecision, Request, Target, UpgradeView},
    event::Outbox,
    model::Command,
};
use segue_proto::control::{
    Decision, ExplainUpgradeRequest, GetUpgradeRequest, ListUpgradesRequest, ListUpgradesResponse,
    PromoteUpgradeRequest, RollbackUpgradeRequest, StartUpgradeRequest, Upgrade,
    UpgradeCommandRequest, WatchUpgradesRequest, WatchUpgradesResponse,
    upgrade_service_server::UpgradeService,
};
use std::{io, sync::Arc};
use tokio::{sync::mpsc, task::spawn_blocking};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

/// Lines of a log that may wait for their reader.
const WAITING: usize = 16;
/// States that may wait for their reader: none but the one being sent, or they would be old ones.
const STATES_WAITING: usize = 1;

/// Steers and shows upgrades.
#[derive(Clone, Debug)]
pub struct Upgrades {
    engine: Handle,
    show: Show,
}

impl Upgrades {
    pub(super) fn new(engine: Handle, outbox: Outbox) -> Self {
        let show = Show { outbox, clock: now };
        Self { engine, show }
    }

    async fn ask(&self, mut request: Request, reason: &str) -> Result<Response<Upgrade>, Status> {
        names::asked(&request.request_id, reason)?;
        let name = match &request.target {
            Target::Named(key) => key.to_string(),
            Target::To { service, .. } => service.to_string(),
        };
        tracing::info!(
            target = name, command = ?request.command, request_id = request.request_id, reason,
            "asked"
        );
        reason.clone_into(&mut request.reason);
        match self.engine.ask(request).await {
            Ok(view) => Ok(Response::new(self.show.upgrade(&view))),
            Err(refusal) => Err(refuse::refusal(&refusal, &name)),
        }
    }

    async fn plain(
        &self,
        request: UpgradeCommandRequest,
        command: Command,
    ) -> Result<Response<Upgrade>, Status> {
        let asked = Request {
            target: Target::Named(names::key(&request.namespace, "name", &request.name)?),
            command,
            reason: String::new(),
            request_id: request.request_id,
            resource_version: checked(request.resource_version),
        };
        self.ask(asked, &request.reason).await
    }

    fn find(&self, namespace: &str, name: &str) -> Result<Arc<UpgradeView>, Status> {
        let key = names::key(namespace, "name", name)?;
        let board = self.engine.board();
        board.upgrades.get(&key).cloned().ok_or_else(|| {
            let message = match refuse::some_of(board.upgrades.keys()).as_str() {
                "" => format!("there is no upgrade {key}, nor any other"),
                names => format!("there is no upgrade {key}; there are {names}"),
            };
            refuse::not_found(refuse::UPGRADE, &key.to_string(), message)
        })
    }
}

#[tonic::async_trait]
impl UpgradeService for Upgrades {
    async fn list_upgrades(
        &self,
        request: tonic::Request<ListUpgradesRequest>,
    ) -> Result<Response<ListUpgradesResponse>, Status> {
        let request = request.into_inner();
        names::namespace(&request.namespace)?;
        let board = self.engine.board();
        let (views, next_page_token) = page::of(&board.upgrades, &request)?;
        Ok(Response::new(ListUpgradesResponse {
            upgrades: views.iter().map(|view| self.show.upgrade(view)).collect(),
            next_page_token,
        }))
    }

    async fn get_upgrade(
        &self,
        request: tonic::Request<GetUpgradeRequest>,
    ) -> Result<Response<Upgrade>, Status> {
        let request = request.into_inner();
        let view = self.find(&request.namespace, &request.name)?;
        Ok(Response::new(self.show.upgrade(&view)))
    }

    type WatchUpgradesStream = ReceiverStream<Result<WatchUpgradesResponse, Status>>;

    async fn watch_upgrades(
        &self,
        request: tonic::Request<WatchUpgradesRequest>,
    ) -> Result<Response<Self::WatchUpgradesStream>, Status> {
        let until = deadline::of(request.metadata());
        let request = request.into_inner();
        match request.name.as_str() {
            "" => names::namespace(&request.namespace)?,
            name => drop(names::key(&request.namespace, "name", name)?),
        }
        let (sender, receiver) = mpsc::channel(STATES_WAITING);
        let watch = watch::Watch::new(
            request,
            self.engine.watch(),
            sender.clone(),
            self.show.clone(),
        );
        tokio::spawn(deadline::end_at(until, sender, watch.run()));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn start_upgrade(
        &self,
        request: tonic::Request<StartUpgradeRequest>,
    ) -> Result<Response<Upgrade>, Status> {
        let request = request.into_inner();
        let target = match (request.name.as_str(), request.service.as_str()) {
            ("", "") => {
                return Err(refuse::bad_field(
                    "name",
                    "name an upgrade that waits, or a `service` and the version `to` which it is to go",
                ));
            }
            ("", service) => Target::To {
                service: names::key(&request.namespace, "service", service)?,
                version: names::version(&request.to)?.into(),
            },
            (name, "") => Target::Named(names::key(&request.namespace, "name", name)?),
            (_, _) => {
                return Err(refuse::bad_field(
                    "service",
                    "either `name`, or `service` and `to`: not both",
                ));
            }
        };
        if request.resource_version != 0 && !request.service.is_empty() {
            return Err(refuse::bad_field(
                "resource_version",
                "an upgrade that is to be made has none yet: leave it out",
            ));
        }
        let asked = Request {
            target,
            command: Command::Start,
            reason: String::new(),
            request_id: request.request_id,
            resource_version: checked(request.resource_version),
        };
        self.ask(asked, &request.reason).await
    }

    async fn pause_upgrade(
        &self,
        request: tonic::Request<UpgradeCommandRequest>,
    ) -> Result<Response<Upgrade>, Status> {
        self.plain(request.into_inner(), Command::Pause).await
    }

    async fn resume_upgrade(
        &self,
        request: tonic::Request<UpgradeCommandRequest>,
    ) -> Result<Response<Upgrade>, Status> {
        self.plain(request.into_inner(), Command::Resume).await
    }

    async fn promote_upgrade(
        &self,
        request: tonic::Request<PromoteUpgradeRequest>,
    ) -> Result<Response<Upgrade>, Status> {
        let request = request.into_inner();
        let asked = Request {
            target: Target::Named(names::key(&request.namespace, "name", &request.name)?),
            command: Command::Promote { full: request.full },
            reason: String::new(),
            request_id: request.request_id,
            resource_version: checked(request.resource_version),
        };
        self.ask(asked, &request.reason).await
    }

    async fn rollback_upgrade(
        &self,
        request: tonic::Request<RollbackUpgradeRequest>,
    ) -> Result<Response<Upgrade>, Status> {
        let request = request.into_inner();
        let asked = Request {
            target: Target::Named(names::key(&request.namespace, "name", &request.name)?),
            command: Command::Rollback {
                reason: request.reason.clone(),
            },
            reason: String::new(),
            request_id: request.request_id,
            resource_version: checked(request.resource_version),
        };
        self.ask(asked, &request.reason).await
    }

    async fn retry_upgrade(
        &self,
        request: tonic::Request<UpgradeCommandRequest>,
    ) -> Result<Response<Upgrade>, Status> {
        self.plain(request.into_inner(), Command::Retry).await
    }

    type ExplainUpgradeStream = ReceiverStream<Result<Decision, Status>>;

    async fn explain_upgrade(
        &self,
        request: tonic::Request<ExplainUpgradeRequest>,
    ) -> Result<Response<Self::ExplainUpgradeStream>, Status> {
        let until = deadline::of(request.metadata());
        let request = request.into_inner();
        let view = self.find(&request.namespace, &request.name)?;
        let lines = self.engine.decisions().read(&view.spec.key);
        let lines = lines.map_err(|error| refuse::unreadable(&error))?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let telling = tell(lines, sender.clone());
        tokio::spawn(deadline::end_at(until, sender, telling));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Sends a log. Whoever reads slowly holds up no thread: those that wait for the disk are few, and
/// the outbox needs them too.
async fn tell(
    mut lines: impl Iterator<Item = io::Result<LoggedDecision>> + Send + 'static,
    sender: mpsc::Sender<Result<Decision, Status>>,
) {
    loop {
        let read = spawn_blocking(move || {
            let some: Vec<_> = lines.by_ref().take(WAITING).collect();
            (some, lines)
        });
        let Ok((some, rest)) = read.await else {
            return;
        };
        if some.is_empty() {
            return;
        }
        lines = rest;
        for line in some {
            let line = line
                .map(|logged| convert::decision(&logged))
                .map_err(|error| refuse::unreadable(&error));
            let ends = line.is_err();
            if sender.send(line).await.is_err() || ends {
                return;
            }
        }
    }
}

fn checked(resource_version: u64) -> Option<u64> {
    (resource_version != 0).then_some(resource_version)
}
