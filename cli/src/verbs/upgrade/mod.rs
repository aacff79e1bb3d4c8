//! `segue upgrade list|get|watch|wait|start|pause|resume|promote|rollback|retry|explain`.

mod follow;
mod text;

use super::{
    Failure, Format, Server,
    client::{Upgrades, find},
    object,
};
use clap::Subcommand;
use segue_proto::control::{
    ExplainUpgradeRequest, ListUpgradesRequest, PromoteUpgradeRequest, RollbackUpgradeRequest,
    StartUpgradeRequest, Upgrade, UpgradeCommandRequest,
};

/// `segue upgrade`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "NAME is an upgrade's name, NAMESPACE/NAME, or the name of its service \
                        (then its newest upgrade)."
)]
pub struct Args {
    #[command(flatten)]
    server: Server,
    /// The namespace; without it, all are looked at
    #[arg(short, long, global = true)]
    namespace: Option<String>,
    /// How the answer is written
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    output: Format,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// All upgrades, those that are over too
    List,
    /// Where an upgrade stands, and how it came there
    Get(Named),
    /// Where upgrades stand now, then every change
    Watch {
        /// The upgrade; without it, all
        name: Option<String>,
    },
    /// Wait until an upgrade is over: exit code 0 where it succeeded, 1 where it did not
    Wait(follow::Wait),
    /// Start an upgrade that waits for it, or make one with --service and --to
    Start(Start),
    /// Stand still at the present weight; failures still roll back
    Pause(Named),
    /// Go on
    Resume(Named),
    /// End the present hold: on to the next step
    Promote {
        #[command(flatten)]
        named: Named,
        /// Straight to 100 %
        #[arg(long)]
        full: bool,
    },
    /// Everything back to the old version, at once
    Rollback {
        #[command(flatten)]
        named: Named,
        /// Why, for the history
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Try an upgrade that was rolled back once more
    Retry(Named),
    /// What was decided and why, oldest first; with -o json the inputs too
    Explain(Named),
}

/// One upgrade.
#[derive(Debug, clap::Args)]
struct Named {
    /// The upgrade
    name: String,
}

#[derive(Debug, clap::Args)]
struct Start {
    /// The upgrade that waits
    #[arg(required_unless_present = "service")]
    name: Option<String>,
    /// Make an upgrade of this service
    #[arg(long, requires = "to", conflicts_with = "name")]
    service: Option<String>,
    /// The version that is to serve
    #[arg(long, requires = "service")]
    to: Option<String>,
}

/// Runs the verb.
pub async fn run(args: Args) -> Result<(), Failure> {
    let Args {
        server,
        namespace,
        output,
        verb,
    } = args;
    let mut session = Session {
        upgrades: server.upgrades().await?,
        namespace,
        output,
    };
    match verb {
        Verb::List => session.list().await,
        Verb::Get(named) => {
            let upgrade = session.find(&named.name).await?;
            session.show(&upgrade)
        }
        Verb::Watch { name } => follow::watch(&mut session, name.as_deref()).await,
        Verb::Wait(wait) => follow::wait(&mut session, &wait).await,
        Verb::Start(start) => session.start(start).await,
        Verb::Pause(named) => session.pause(&named.name).await,
        Verb::Resume(named) => session.resume(&named.name).await,
        Verb::Promote { named, full } => session.promote(&named.name, full).await,
        Verb::Rollback { named, reason } => session.rollback(&named.name, reason).await,
        Verb::Retry(named) => session.retry(&named.name).await,
        Verb::Explain(named) => session.explain(&named.name).await,
    }
}

/// A connection and how its answers are written.
#[derive(Debug)]
struct Session {
    upgrades: Upgrades,
    namespace: Option<String>,
    output: Format,
}

impl Session {
    async fn find(&mut self, name: &str) -> Result<Upgrade, Failure> {
        find(&mut self.upgrades, self.namespace.as_deref(), name).await
    }

    fn show(&self, upgrade: &Upgrade) -> Result<(), Failure> {
        self.output
            .write(&object::upgrade(upgrade), || text::describe(upgrade))
    }

    /// What a verb brought: a line where people read, the object else.
    fn answer(&self, upgrade: &Upgrade) -> Result<(), Failure> {
        let line = || format!("{}\n", text::line(upgrade));
        self.output.write(&object::upgrade(upgrade), line)
    }

    async fn list(&mut self) -> Result<(), Failure> {
        let request = ListUpgradesRequest {
            namespace: self.namespace.clone().unwrap_or_default(),
        };
        let list = self.upgrades.list_upgrades(request).await?.into_inner();
        let items = list.upgrades.iter().map(object::upgrade);
        self.output.write(&object::list("UpgradeList", items), || {
            text::list(&list.upgrades)
        })
    }

    async fn start(&mut self, start: Start) -> Result<(), Failure> {
        let request = match (start.name, start.service) {
            (Some(name), _) => {
                let upgrade = self.find(&name).await?;
                StartUpgradeRequest {
                    namespace: upgrade.namespace,
                    name: upgrade.name,
                    request_id: request_id(),
                    ..StartUpgradeRequest::default()
                }
            }
            (None, service) => {
                let service = service.unwrap_or_default();
                let (namespace, service) = match (service.split_once('/'), &self.namespace) {
                    (Some((namespace, name)), _) => (namespace.to_owned(), name.to_owned()),
                    (None, Some(namespace)) => (namespace.clone(), service),
                    (None, None) => {
                        return Err(Failure::Usage(
                            "say in which namespace the service is, with -n or --service NAMESPACE/NAME"
                                .to_owned(),
                        ));
                    }
                };
                StartUpgradeRequest {
                    namespace,
                    service,
                    to: start.to.unwrap_or_default(),
                    request_id: request_id(),
                    ..StartUpgradeRequest::default()
                }
            }
        };
        let upgrade = self.upgrades.start_upgrade(request).await?.into_inner();
        self.answer(&upgrade)
    }

    async fn command(&mut self, name: &str) -> Result<UpgradeCommandRequest, Failure> {
        let upgrade = self.find(name).await?;
        Ok(UpgradeCommandRequest {
            namespace: upgrade.namespace,
            name: upgrade.name,
            request_id: request_id(),
            ..UpgradeCommandRequest::default()
        })
    }

    async fn pause(&mut self, name: &str) -> Result<(), Failure> {
        let request = self.command(name).await?;
        let upgrade = self.upgrades.pause_upgrade(request).await?.into_inner();
        self.answer(&upgrade)
    }

    async fn resume(&mut self, name: &str) -> Result<(), Failure> {
        let request = self.command(name).await?;
        let upgrade = self.upgrades.resume_upgrade(request).await?.into_inner();
        self.answer(&upgrade)
    }

    async fn retry(&mut self, name: &str) -> Result<(), Failure> {
        let request = self.command(name).await?;
        let upgrade = self.upgrades.retry_upgrade(request).await?.into_inner();
        self.answer(&upgrade)
    }

    async fn promote(&mut self, name: &str, full: bool) -> Result<(), Failure> {
        let upgrade = self.find(name).await?;
        let request = PromoteUpgradeRequest {
            namespace: upgrade.namespace,
            name: upgrade.name,
            request_id: request_id(),
            resource_version: 0,
            full,
        };
        let upgrade = self.upgrades.promote_upgrade(request).await?.into_inner();
        self.answer(&upgrade)
    }

    async fn rollback(&mut self, name: &str, reason: String) -> Result<(), Failure> {
        let upgrade = self.find(name).await?;
        let request = RollbackUpgradeRequest {
            namespace: upgrade.namespace,
            name: upgrade.name,
            request_id: request_id(),
            resource_version: 0,
            reason,
        };
        let upgrade = self.upgrades.rollback_upgrade(request).await?.into_inner();
        self.answer(&upgrade)
    }

    async fn explain(&mut self, name: &str) -> Result<(), Failure> {
        let upgrade = self.find(name).await?;
        let request = ExplainUpgradeRequest {
            namespace: upgrade.namespace,
            name: upgrade.name,
        };
        let mut decisions = self.upgrades.explain_upgrade(request).await?.into_inner();
        while let Some(decision) = decisions.message().await? {
            self.output
                .write_next(&object::decision(&decision), || text::decision(&decision))?;
        }
        Ok(())
    }
}

/// Sent anew by the transport, a verb is obeyed once.
fn request_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}
