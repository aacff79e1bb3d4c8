//! `segue upgrade explain`.

use super::{Session, rehearse, story};
use crate::verbs::{Failure, Format, object, output::print};
use segue_proto::control::{Decision, ExplainUpgradeRequest};
use std::path::PathBuf;

/// `segue upgrade explain`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The upgrade
    name: String,
    /// Run what was seen through another policy, and show where it would have decided otherwise
    #[arg(long, requires = "policy")]
    replay: bool,
    /// The other policy: a file with one UpgradePolicy, put over the built-in norms
    #[arg(long, value_name = "FILE", requires = "replay")]
    policy: Option<PathBuf>,
}

/// Tells the decision log.
pub(super) async fn run(session: &mut Session, args: &Args) -> Result<(), Failure> {
    // The policy first: a mistake in it needs no control plane to be found.
    let policy = args.policy.as_deref().map(rehearse::read).transpose()?;
    let upgrade = session.find(&args.name).await?;
    let key = format!("{}/{}", upgrade.namespace, upgrade.name);
    let request = session.server.request(ExplainUpgradeRequest {
        namespace: upgrade.namespace,
        name: upgrade.name,
    });
    let mut stream = session
        .upgrades
        .explain_upgrade(request)
        .await?
        .into_inner();
    let mut log: Vec<Decision> = Vec::new();
    while let Some(decision) = stream.message().await? {
        if policy.is_none() && session.output != Format::Table {
            session
                .output
                .write_next(&object::decision(&decision), String::new)?;
        } else {
            log.push(decision);
        }
    }
    match (policy, &args.policy) {
        (Some(policy), Some(file)) => {
            let replay = rehearse::replay(&log, &policy)?;
            let object = serde_json::to_value(&replay).unwrap_or_default();
            session.output.write(&object, || {
                rehearse::tell(&key, &file.display().to_string(), &replay)
            })
        }
        _ if session.output == Format::Table => print(&story::tell(&key, &log)),
        _ => Ok(()),
    }
}
