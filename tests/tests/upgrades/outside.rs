//! Clients without a sidecar: each request is a connection of its own to the next ready instance, whatever its
//! version, as kube-proxy deals them out. Sessions keep the cookies that they are given.

use super::{
    mesh::unix_ms,
    ready::{Answer, Instance, Ready, TIMEOUT, ask},
};
use parking_lot::Mutex;
use segue_cli::demo::{
    interval,
    load::{Begun, Event, Kind, Known, Report},
};
use segue_proto::control::{Transition, UpgradeStatus};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, interval_at, sleep, timeout},
};

/// Between two requests of a session.
const PAUSE: Duration = Duration::from_millis(300);
/// Requests of a session that does not last.
const SHORT: u32 = 4;
/// Sessions that last.
const LASTING: u64 = 20;
/// Between the beginnings of two sessions.
const BEGINS: Duration = Duration::from_millis(20);

/// What the clients saw.
#[derive(Debug, Default)]
struct Said {
    report: Report,
    /// Answered by another version than that of the instance that was asked.
    forwarded: u64,
    /// What belonged to the version asked, and was answered by another instance of it.
    strayed: Vec<String>,
    ids: Vec<String>,
}

/// Clients under way.
#[derive(Debug)]
pub(crate) struct Outside {
    said: Arc<Mutex<Said>>,
    clients: JoinSet<()>,
}

/// What became of all their requests.
#[derive(Debug)]
pub(crate) struct Account {
    /// As other clients report it.
    pub(crate) report: Report,
    forwarded: u64,
    strayed: Vec<String>,
    ids: Vec<String>,
}

impl Outside {
    /// Starts them on the instances that are ready, and are so from time to time.
    pub(crate) fn start(ready: &Ready) -> Self {
        let said = Arc::new(Mutex::new(Said::default()));
        let mut clients = JoinSet::new();
        for number in 0..LASTING {
            let session = Session::new(number, ready, &said);
            clients.spawn(session.last(u32::MAX));
        }
        let (ready, shared) = (ready.clone(), Arc::clone(&said));
        clients.spawn(async move {
            let mut ticks = interval_at(Instant::now(), BEGINS);
            let mut short = JoinSet::new();
            for number in LASTING.. {
                ticks.tick().await;
                short.spawn(Session::new(number, &ready, &shared).last(SHORT));
                while short.try_join_next().is_some() {}
            }
        });
        Self { said, clients }
    }

    /// Ends them. A request that is under way then was not sent, as far as this accounts for it.
    pub(crate) async fn finish(mut self) -> Account {
        self.clients.shutdown().await;
        let said = std::mem::take(&mut *self.said.lock());
        Account {
            report: Report {
                last: true,
                ..said.report
            },
            forwarded: said.forwarded,
            strayed: said.strayed,
            ids: said.ids,
        }
    }
}

impl Account {
    /// Every answered request reached one application, once; some had to be forwarded.
    pub(crate) fn check_once(&self, seen: &BTreeMap<String, u32>) {
        let wrong: Vec<_> = self
            .ids
            .iter()
            .map(|id| (id, seen.get(id).copied().unwrap_or_default()))
            .filter(|(_, times)| *times != 1)
            .take(5)
            .collect();
        assert!(
            wrong.is_empty(),
            "requests did not reach one application once: {wrong:?}"
        );
        assert!(self.forwarded > 0, "nothing was forwarded");
    }

    /// What belonged to the version asked was answered by the instance asked. But for a few: an instance that has not
    /// answered yet gets three requests at once, and its cluster fails over with the rest, to any of the old version's.
    pub(crate) fn check_direct(&self) {
        let (strayed, all) = (self.strayed.len(), self.ids.len());
        assert!(
            strayed * 50 <= all,
            "{strayed} of {all} answered by another instance of the version asked: {:?}",
            &self.strayed[..strayed.min(5)]
        );
    }

    /// The share of the new version among the sessions that began at each weight is as set. Returns what was looked
    /// at: weight, sessions, of these on the new version.
    pub(crate) fn check_shares(&self, status: &UpgradeStatus, new: &str) -> Vec<(u32, u32, u32)> {
        let mut steps = Vec::new();
        for pair in status.history.windows(2) {
            let [line, next] = pair else { unreachable!() };
            let (Some(from), Some(until)) = (applied(line), begun(next)) else {
                continue;
            };
            let (all, on_new) = Begun::between(&self.report.begun, from, Some(until), new);
            let (low, high) = interval::region(all, line.weight);
            assert!(
                (low..=high).contains(&on_new),
                "at {}: {on_new} of {all} sessions began on {new}, not {low} to {high}",
                line.weight
            );
            steps.push((line.weight, all, on_new));
        }
        steps
    }
}

fn applied(line: &Transition) -> Option<u64> {
    line.applied_at.as_ref().map(super::traffic::ms)
}

fn begun(line: &Transition) -> Option<u64> {
    line.at.as_ref().map(super::traffic::ms)
}

/// One client with its cookies.
struct Session {
    number: u64,
    ready: Ready,
    said: Arc<Mutex<Said>>,
    cookie: Option<String>,
    version: Option<String>,
}

impl Session {
    fn new(number: u64, ready: &Ready, said: &Arc<Mutex<Said>>) -> Self {
        Self {
            number,
            ready: ready.clone(),
            said: Arc::clone(said),
            cookie: None,
            version: None,
        }
    }

    async fn last(mut self, requests: u32) {
        for request in 0..requests {
            self.request(request).await;
            sleep(PAUSE).await;
        }
    }

    async fn request(&mut self, number: u32) {
        let id = format!("outside-{}-{number}", self.number);
        let instance = self.ready.next();
        let sent = unix_ms();
        let asked = ask(instance.address, &id, self.cookie.as_deref());
        let asked = timeout(TIMEOUT, asked).await;
        let at = unix_ms();
        let mut said = self.said.lock();
        said.report.sent += 1;
        let failed = |version: Option<String>, kind, detail: String| Event::Failed {
            request: id.clone(),
            sent,
            at,
            known: if version.is_some() {
                Known::Answer
            } else {
                Known::No
            },
            version,
            kind,
            detail,
        };
        let event = match asked {
            Ok(Ok(answer)) if answer.status == 200 => {
                drop(said);
                self.answered(answer, &instance, (sent, at), id);
                return;
            }
            Ok(Ok(answer)) => failed(answer.version, Kind::ServerError, answer.text),
            Ok(Err(error)) => failed(None, Kind::Reset, format!("{}: {error}", instance.address)),
            Err(_elapsed) => failed(None, Kind::TimedOut, instance.address.to_string()),
        };
        said.report.failed += 1;
        said.report.events.push(event);
    }

    fn answered(&mut self, answer: Answer, asked: &Instance, (sent, at): (u64, u64), id: String) {
        let mut said = self.said.lock();
        let version = answer.version.unwrap_or_default();
        said.forwarded += u64::from(version != asked.version);
        // A session whose version is gone comes to another one by way of the gone one's cluster, which has failed over
        // to any of the other's instances.
        let belongs = self.version.as_ref().is_none_or(|own| *own == version);
        let elsewhere = answer.instance.as_ref() != Some(&asked.name);
        if belongs && version == asked.version && elsewhere {
            let (asked, by) = (&asked.name, answer.instance.as_deref());
            said.strayed
                .push(format!("{id}: {asked} was asked, {by:?} answered at {at}"));
        }
        said.ids.push(id);
        *said.report.answered.entry(version.clone()).or_default() += 1;
        said.report.newest.insert(version.clone(), sent);
        match self.version.replace(version.clone()) {
            None => {
                said.report.sessions_begun += 1;
                let to = version;

                said.report.begun.push(Begun {
                    sent,
                    at,
                    version: to,
                });
            }
            Some(before) if before != version => said.report.events.push(Event::Moved {
                sent,
                at,
                session: self.number,
                from: before,
                to: version,
            }),
            Some(_) => {}
        }
        if answer.cookie.is_some() {
            self.cookie = answer.cookie;
        }
    }
}
