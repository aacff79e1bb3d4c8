//! `segue upgrade list|get|watch|wait|start|pause|resume|promote|rollback|retry|explain`.

mod ask;
mod explain;
mod rehearse;
mod screen;
mod story;
mod terminal;
mod text;
mod wait;
mod watch;

use super::{
    Failure, Format, Server,
    client::{Upgrades, all, find},
    object,
};
pub(super) use text::policy as policy_table;

use ask::{Asking, Start};
use clap::Subcommand;
use segue_proto::control::Upgrade;

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
    /// Where an upgrade stands, how it came there, and the policy that holds (with -o yaml: where
    /// each of its values comes from)
    Get(Named),
    /// One screen, redrawn in place, until the upgrade is over: exit code 0 where it succeeded, 1
    /// where it did not
    Watch(watch::Args),
    /// Wait until an upgrade is over: exit code 0 where it succeeded, 1 where it did not
    Wait(wait::Args),
    /// Start an upgrade that waits for it, or make one with --service and --to
    Start(Start),
    /// Stand still at the present weight; failures still roll back
    Pause(Asking),
    /// Go on
    Resume(Asking),
    /// End the present hold: on to the next step
    Promote {
        #[command(flatten)]
        asking: Asking,
        /// Straight to 100 %
        #[arg(long)]
        full: bool,
    },
    /// Everything back to the old version, at once
    Rollback(Asking),
    /// Try an upgrade that was rolled back once more
    Retry(Asking),
    /// What was decided and why, as a story; with -o json the lines of the log with their inputs
    Explain(explain::Args),
}

/// One upgrade.
#[derive(Debug, clap::Args)]
struct Named {
    /// The upgrade
    name: String,
}

/// Runs the verb.
pub async fn run(args: Args) -> Result<(), Failure> {
    let Args {
        server,
        namespace,
        output,
        verb,
    } = args;
    let upgrades = server.upgrades().await?;
    let mut session = Session {
        server,
        upgrades,
        namespace,
        output,
    };
    match verb {
        Verb::List => session.list().await,
        Verb::Get(named) => {
            let upgrade = session.find(&named.name).await?;
            session.show(&upgrade)
        }
        Verb::Watch(args) => watch::run(session, args).await,
        Verb::Wait(args) => wait::run(&mut session, &args).await,
        Verb::Start(start) => session.start(start).await,
        Verb::Pause(asking) => session.pause(asking).await,
        Verb::Resume(asking) => session.resume(asking).await,
        Verb::Promote { asking, full } => session.promote(asking, full).await,
        Verb::Rollback(asking) => session.rollback(asking).await,
        Verb::Retry(asking) => session.retry(asking).await,
        Verb::Explain(args) => explain::run(&mut session, &args).await,
    }
}

/// A connection and how its answers are written.
#[derive(Debug)]
struct Session {
    server: Server,
    upgrades: Upgrades,
    namespace: Option<String>,
    output: Format,
}

impl Session {
    async fn find(&mut self, name: &str) -> Result<Upgrade, Failure> {
        let namespace = self.namespace.as_deref();
        find(&self.server, &mut self.upgrades, namespace, name).await
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
        let namespace = self.namespace.as_deref();
        let upgrades = all(&self.server, &mut self.upgrades, namespace).await?;
        let items = upgrades.iter().map(object::upgrade);
        self.output.write(&object::list("UpgradeList", items), || {
            text::list(&upgrades)
        })
    }
}
