//! `segue upgrade watch`: follows one upgrade, or all, across restarts of the control plane.

use super::{
    Session,
    screen::{self, Contact},
    terminal::{self, REDRAW, Screen},
    text,
};
use crate::verbs::{
    Failure, Format, object,
    output::{eprint, print},
};
use segue_proto::control::{
    Upgrade, WatchUpgradesRequest, WatchUpgradesResponse, watch_upgrades_response::Kind,
};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tonic::Code;

/// The first pause before another attempt to connect, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// `segue upgrade watch`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The upgrade; without it, all
    name: Option<String>,
    /// A line for each change, on a terminal too
    #[arg(long)]
    no_tty: bool,
    /// Go on when the upgrade is over, until Ctrl-C (it may be tried once more)
    #[arg(long, requires = "name")]
    follow: bool,
}

/// What comes from the control plane.
#[derive(Debug)]
enum News {
    Change(Box<WatchUpgradesResponse>),
    /// It can't be reached; another attempt follows.
    Lost(String),
    /// It says no: another attempt would end alike.
    Refused(Failure),
}

/// Shows where upgrades stand now, then every change.
pub(super) async fn run(mut session: Session, args: Args) -> Result<(), Failure> {
    let request = match &args.name {
        Some(name) => {
            let upgrade = session.find(name).await?;
            WatchUpgradesRequest {
                namespace: upgrade.namespace,
                name: upgrade.name,
            }
        }
        None => WatchUpgradesRequest {
            namespace: session.namespace.clone().unwrap_or_default(),
            name: String::new(),
        },
    };
    let on_screen = session.output == Format::Table && !args.no_tty && terminal::is_watched();
    let view = if on_screen {
        View::Screen(Screen::open())
    } else {
        View::Lines {
            output: session.output,
            last: BTreeMap::new(),
        }
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut resized = signal(SignalKind::window_change())?;
    let (sender, news) = mpsc::channel(1);
    let following = tokio::spawn(follow(session, request, sender));
    let watching = Watching {
        view,
        one: args.name.is_some(),
        until_the_end: args.name.is_some() && !args.follow,
        upgrades: BTreeMap::new(),
        fresh: BTreeMap::new(),
        contact: Contact::Live,
    };
    let result = tokio::select! {
        result = watching.run(news, &mut resized) => result,
        _ = interrupt.recv() => Err(Failure::Interrupted),
        _ = terminate.recv() => Err(Failure::Interrupted),
    };
    following.abort();
    result
}

/// Reads the watch, and begins it anew whenever it breaks off.
async fn follow(session: Session, request: WatchUpgradesRequest, news: mpsc::Sender<News>) {
    let mut pause = RETRY.0;
    let mut client = Some(session.upgrades);
    loop {
        let connected = match client.take() {
            Some(client) => Ok(client),
            None => session.server.upgrades().await,
        };
        let lost = match connected {
            Ok(mut client) => match client.watch_upgrades(request.clone()).await {
                Ok(stream) => read(stream.into_inner(), &news, &mut pause).await,
                Err(status) => News::of(status),
            },
            Err(Failure::Unreachable { reason, .. }) => News::Lost(reason),
            Err(failure) => News::Refused(failure),
        };
        let ends = matches!(lost, News::Refused(_));
        if news.send(lost).await.is_err() || ends {
            return;
        }
        // Not all who wait come back in the same instant.
        sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

/// Until the stream breaks off: why.
async fn read(
    mut stream: tonic::Streaming<WatchUpgradesResponse>,
    news: &mpsc::Sender<News>,
    pause: &mut Duration,
) -> News {
    loop {
        match stream.message().await {
            Ok(Some(change)) => {
                *pause = RETRY.0;
                // Whoever listened has gone: the task is about to be ended.
                drop(news.send(News::Change(Box::new(change))).await);
            }
            Ok(None) => return News::Lost("it ended the watch".to_owned()),
            Err(status) => return News::of(status),
        }
    }
}

impl News {
    fn of(status: tonic::Status) -> Self {
        match status.code() {
            Code::NotFound
            | Code::InvalidArgument
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented => Self::Refused(status.into()),
            _ => Self::Lost(status.message().to_owned()),
        }
    }
}

struct Watching {
    view: View,
    one: bool,
    until_the_end: bool,
    /// What is shown.
    upgrades: BTreeMap<(String, String), Upgrade>,
    /// What has come since the watch began anew: what is not among it at `SYNCED` is gone.
    fresh: BTreeMap<(String, String), Upgrade>,
    contact: Contact,
}

enum View {
    Screen(Screen),
    Lines {
        output: Format,
        last: BTreeMap<(String, String), String>,
    },
}

impl Watching {
    async fn run(
        mut self,
        mut news: mpsc::Receiver<News>,
        resized: &mut Signal,
    ) -> Result<(), Failure> {
        let mut synced = false;
        let mut redraw = Instant::now() + REDRAW;
        loop {
            tokio::select! {
                next = news.recv() => match next {
                    Some(News::Change(change)) => {
                        if let Some(ended) = self.change(*change, &mut synced)? {
                            return ended;
                        }
                    }
                    Some(News::Lost(reason)) => {
                        synced = false;
                        self.lose(reason)?;
                    }
                    Some(News::Refused(failure)) => return Err(failure),
                    None => return Err(Failure::NotReached("the watch has ended".to_owned())),
                },
                () = sleep_until(redraw) => {}
                _ = resized.recv() => {}
            }
            self.draw()?;
            redraw = Instant::now() + REDRAW;
        }
    }

    /// Takes in a change; the outcome where that ends the watch.
    fn change(
        &mut self,
        change: WatchUpgradesResponse,
        synced: &mut bool,
    ) -> Result<Option<Result<(), Failure>>, Failure> {
        let kind = change.kind();
        if kind == Kind::Synced {
            *synced = true;
            self.upgrades = std::mem::take(&mut self.fresh);
            self.contact = Contact::Live;
            let gone = self.until_the_end && self.upgrades.is_empty();
            return Ok(gone.then(|| Err(Failure::NotReached("the upgrade is gone".to_owned()))));
        }
        let Some(upgrade) = change.upgrade else {
            return Ok(None);
        };
        self.view.line(kind, &upgrade)?;
        let key = (upgrade.namespace.clone(), upgrade.name.clone());
        if kind == Kind::Deleted {
            self.upgrades.remove(&key);
            let gone = format!("{}/{} is gone", key.0, key.1);
            return Ok(self.until_the_end.then_some(Err(Failure::NotReached(gone))));
        }
        let outcome = text::outcome(&upgrade).filter(|_| self.until_the_end);
        if *synced {
            self.upgrades.insert(key.clone(), upgrade);
        } else {
            self.fresh.insert(key.clone(), upgrade);
        }
        let Some(outcome) = outcome else {
            return Ok(None);
        };
        // The last picture is the one that stays on the terminal.
        self.upgrades.append(&mut self.fresh);
        self.contact = Contact::Live;
        self.draw()?;
        Ok(Some(outcome.map_err(|reason| {
            Failure::NotReached(format!("{}/{} {reason}", key.0, key.1))
        })))
    }

    fn lose(&mut self, reason: String) -> Result<(), Failure> {
        self.fresh.clear();
        let since = match &self.contact {
            Contact::Lost { since, .. } => *since,
            Contact::Live => {
                self.view.lost(&reason)?;
                SystemTime::now()
            }
        };
        self.contact = Contact::Lost { since, reason };
        Ok(())
    }

    fn draw(&mut self) -> Result<(), Failure> {
        let View::Screen(screen) = &mut self.view else {
            return Ok(());
        };
        let now = SystemTime::now();
        let upgrades: Vec<&Upgrade> = self.upgrades.values().collect();
        let lines = match upgrades.as_slice() {
            [upgrade] if self.one => screen::lines(upgrade, &self.contact, now),
            upgrades => screen::table(upgrades, &self.contact, now),
        };
        screen.draw(&lines)?;
        Ok(())
    }
}

impl View {
    /// Where there is no screen: a line for each change, an object where programs read.
    fn line(&mut self, kind: Kind, upgrade: &Upgrade) -> Result<(), Failure> {
        let Self::Lines { output, last } = self else {
            return Ok(());
        };
        let line = match kind {
            Kind::Deleted => format!("{}/{}: gone", upgrade.namespace, upgrade.name),
            _ => text::line(upgrade),
        };
        let key = (upgrade.namespace.clone(), upgrade.name.clone());
        let before = last.insert(key, line.clone());
        if *output == Format::Table && before.as_ref() == Some(&line) {
            return Ok(());
        }
        let at = screen::clock(SystemTime::now());
        output.write_next(&object::upgrade(upgrade), || format!("{at} {line}"))
    }

    fn lost(&self, reason: &str) -> Result<(), Failure> {
        let Self::Lines { output, .. } = self else {
            return Ok(());
        };
        let text = format!("no control plane answers ({reason}): trying again");
        match output {
            Format::Table => print(&format!("{text}\n")),
            // Programs read objects alone.
            Format::Json | Format::Yaml => eprint(&format!("segue: {text}\n")),
        }
    }
}
