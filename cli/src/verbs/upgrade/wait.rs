//! `segue upgrade wait`.

use super::Session;
use crate::verbs::{Failure, time};
use segue_control_plane::model::Phase;
use segue_proto::control::{Upgrade, WatchUpgradesRequest, watch_upgrades_response::Kind};

/// `segue upgrade wait`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The upgrade
    name: String,
    /// The phase that is waited for
    #[arg(
        long = "for",
        value_name = "PHASE",
        default_value = "Succeeded",
        value_parser = phase
    )]
    phase: String,
}

/// A phase's name as the control plane writes it.
fn phase(text: &str) -> Result<String, String> {
    let names = Phase::ALL.map(|phase| phase.to_string());
    let named = names.iter().find(|name| name.eq_ignore_ascii_case(text));
    named
        .cloned()
        .ok_or_else(|| format!("there is no phase {text:?}; there are {}", names.join(", ")))
}

/// Waits until an upgrade is in a phase, or can't come there any more; `--timeout` at most.
pub(super) async fn run(session: &mut Session, args: &Args) -> Result<(), Failure> {
    let upgrade = session.find(&args.name).await?;
    let within = session.server.timeout();
    let reached = until(session, &upgrade, &args.phase);
    let end = match within {
        None => reached.await?,
        Some(within) => tokio::time::timeout(within, reached).await.map_err(|_| {
            let within = time::short(within);
            Failure::NotReached(format!("not {} within {within}", args.phase))
        })??,
    };
    session.answer(&end)?;
    let phase = end.status.map(|status| status.phase).unwrap_or_default();
    if phase == args.phase {
        Ok(())
    } else {
        Err(Failure::NotReached(format!(
            "it ended {phase}, not {}",
            args.phase
        )))
    }
}

async fn until(session: &mut Session, upgrade: &Upgrade, wanted: &str) -> Result<Upgrade, Failure> {
    let request = WatchUpgradesRequest {
        namespace: upgrade.namespace.clone(),
        name: upgrade.name.clone(),
    };
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
