//! `watch` and `wait`.

use super::{Session, text};
use crate::verbs::{Failure, object};
use segue_proto::control::{Upgrade, WatchUpgradesRequest, watch_upgrades_response::Kind};
use std::time::Duration;

/// `segue upgrade wait`
#[derive(Debug, clap::Args)]
pub(super) struct Wait {
    /// The upgrade
    name: String,
    /// The phase that is waited for
    #[arg(long = "for", value_name = "PHASE", default_value = "Succeeded")]
    phase: String,
    /// Seconds to wait at most
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

/// Where upgrades stand now, then every change.
pub(super) async fn watch(session: &mut Session, name: Option<&str>) -> Result<(), Failure> {
    let request = match name {
        Some(name) => one(&session.find(name).await?),
        None => WatchUpgradesRequest {
            namespace: session.namespace.clone().unwrap_or_default(),
            name: String::new(),
        },
    };
    let mut changes = session.upgrades.watch_upgrades(request).await?.into_inner();
    let mut last = String::new();
    while let Some(change) = changes.message().await? {
        let kind = change.kind();
        let Some(upgrade) = change.upgrade else {
            continue;
        };
        let line = match kind {
            Kind::Deleted => format!("{}/{}: gone", upgrade.namespace, upgrade.name),
            _ => text::line(&upgrade),
        };
        let for_people = session.output == crate::verbs::Format::Table;
        if for_people && line == last {
            continue;
        }
        session
            .output
            .write_next(&object::upgrade(&upgrade), || line.clone())?;
        last = line;
    }
    Err(Failure::NotReached(
        "the control plane ended the watch".to_owned(),
    ))
}

/// Waits until an upgrade is in a phase, or can't come there any more.
pub(super) async fn wait(session: &mut Session, wait: &Wait) -> Result<(), Failure> {
    let upgrade = session.find(&wait.name).await?;
    let reached = until(session, one(&upgrade), &wait.phase);
    let end = match wait.timeout {
        None => reached.await?,
        Some(seconds) => tokio::time::timeout(Duration::from_secs(seconds), reached)
            .await
            .map_err(|_| Failure::NotReached(format!("not {} within {seconds} s", wait.phase)))??,
    };
    session.answer(&end)?;
    let phase = end.status.map(|status| status.phase).unwrap_or_default();
    if phase == wait.phase {
        Ok(())
    } else {
        Err(Failure::NotReached(format!(
            "it ended {phase}, not {}",
            wait.phase
        )))
    }
}

async fn until(
    session: &mut Session,
    request: WatchUpgradesRequest,
    wanted: &str,
) -> Result<Upgrade, Failure> {
    let mut changes = session.upgrades.watch_upgrades(request).await?.into_inner();
    while let Some(change) = changes.message().await? {
        let gone = change.kind() == Kind::Deleted;
        let Some(upgrade) = change.upgrade else {
            continue;
        };
        let phase = upgrade
            .status
            .as_ref()
            .map(|status| status.phase.as_str())
            .unwrap_or_default();
        if gone || phase == wanted || matches!(phase, "Succeeded" | "RolledBack") {
            return Ok(upgrade);
        }
    }
    Err(Failure::NotReached(
        "the control plane ended the watch".to_owned(),
    ))
}

fn one(upgrade: &Upgrade) -> WatchUpgradesRequest {
    WatchUpgradesRequest {
        namespace: upgrade.namespace.clone(),
        name: upgrade.name.clone(),
    }
}
