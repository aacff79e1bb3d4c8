//! The verbs that change something.

use super::Session;
use crate::verbs::Failure;
use segue_proto::control::{
    PromoteUpgradeRequest, RollbackUpgradeRequest, StartUpgradeRequest, UpgradeCommandRequest,
};

/// One upgrade, and how it is asked of it.
#[derive(Debug, clap::Args)]
pub(super) struct Asking {
    /// The upgrade
    name: String,
    #[command(flatten)]
    how: How,
}

/// What goes along with every verb.
#[derive(Debug, clap::Args)]
struct How {
    /// Why, for the history and the decision log
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Refuse where the upgrade has moved on since it had this version (metadata.resourceVersion)
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        hide_default_value = true
    )]
    resource_version: u64,
    /// Names this request: sent again under the same id, it is obeyed once
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl How {
    /// Sent anew by the transport, a verb is obeyed once.
    fn request_id(&mut self) -> String {
        self.request_id
            .take()
            .unwrap_or_else(|| format!("{:032x}", fastrand::u128(..)))
    }
}

/// `segue upgrade start`
#[derive(Debug, clap::Args)]
pub(super) struct Start {
    /// The upgrade that waits
    #[arg(required_unless_present = "service")]
    name: Option<String>,
    /// Make an upgrade of this service
    #[arg(long, requires = "to", conflicts_with = "name")]
    service: Option<String>,
    /// The version that is to serve
    #[arg(long, requires = "service")]
    to: Option<String>,
    #[command(flatten)]
    how: How,
}

impl Session {
    pub(super) async fn start(&mut self, start: Start) -> Result<(), Failure> {
        let mut how = start.how;
        let mut request = match (start.name, start.service) {
            (Some(name), _) => {
                let upgrade = self.find(&name).await?;
                StartUpgradeRequest {
                    namespace: upgrade.namespace,
                    name: upgrade.name,
                    ..StartUpgradeRequest::default()
                }
            }
            (None, service) => {
                let (namespace, service) = self.service(service.unwrap_or_default())?;
                StartUpgradeRequest {
                    namespace,
                    service,
                    to: start.to.unwrap_or_default(),
                    ..StartUpgradeRequest::default()
                }
            }
        };
        request.request_id = how.request_id();
        request.resource_version = how.resource_version;
        request.reason = how.reason;
        let request = self.server.request(request);
        let upgrade = self.upgrades.start_upgrade(request).await?.into_inner();
        self.answer(&upgrade)
    }

    /// Namespace and name of a service.
    fn service(&self, service: String) -> Result<(String, String), Failure> {
        match (service.split_once('/'), &self.namespace) {
            (Some((namespace, name)), _) => Ok((namespace.to_owned(), name.to_owned())),
            (None, Some(namespace)) => Ok((namespace.clone(), service)),
            (None, None) => Err(Failure::Usage(
                "say in which namespace the service is, with -n or --service NAMESPACE/NAME"
                    .to_owned(),
            )),
        }
    }

    async fn command(
        &mut self,
        mut asking: Asking,
    ) -> Result<tonic::Request<UpgradeCommandRequest>, Failure> {
        let upgrade = self.find(&asking.name).await?;
        Ok(self.server.request(UpgradeCommandRequest {
            namespace: upgrade.namespace,
            name: upgrade.name,
            request_id: asking.how.request_id(),
            resource_version: asking.how.resource_version,
            reason: asking.how.reason,
        }))
    }

    pub(super) async fn pause(&mut self, asking: Asking) -> Result<(), Failure> {
        let request = self.command(asking).await?;
        let upgrade = self.upgrades.pause_upgrade(request).await?.into_inner();
        self.answer(&upgrade)
    }

    pub(super) async fn resume(&mut self, asking: Asking) -> Result<(), Failure> {
        let request = self.command(asking).await?;
        let upgrade = self.upgrades.resume_upgrade(request).await?.into_inner();
        self.answer(&upgrade)
    }

    pub(super) async fn retry(&mut self, asking: Asking) -> Result<(), Failure> {
        let request = self.command(asking).await?;
        let upgrade = self.upgrades.retry_upgrade(request).await?.into_inner();
        self.answer(&upgrade)
    }

    pub(super) async fn promote(&mut self, mut asking: Asking, full: bool) -> Result<(), Failure> {
        let upgrade = self.find(&asking.name).await?;
        let request = self.server.request(PromoteUpgradeRequest {
            namespace: upgrade.namespace,
            name: upgrade.name,
            request_id: asking.how.request_id(),
            resource_version: asking.how.resource_version,
            full,
            reason: asking.how.reason,
        });
        let upgrade = self.upgrades.promote_upgrade(request).await?.into_inner();
        self.answer(&upgrade)
    }

    pub(super) async fn rollback(&mut self, mut asking: Asking) -> Result<(), Failure> {
        let upgrade = self.find(&asking.name).await?;
        let request = self.server.request(RollbackUpgradeRequest {
            namespace: upgrade.namespace,
            name: upgrade.name,
            request_id: asking.how.request_id(),
            resource_version: asking.how.resource_version,
            reason: asking.how.reason,
        });
        let upgrade = self.upgrades.rollback_upgrade(request).await?.into_inner();
        self.answer(&upgrade)
    }
}
