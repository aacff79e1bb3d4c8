//! Counts what the generator does, and makes the reports of it.

use super::{
    failure::Failure,
    histogram::Histogram,
    report::{Begun, Channel, Channels, Event, Known, Report},
    session::Session,
};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Events listed in one report; beyond that they are only counted.
const EVENTS_LISTED: usize = 2_000;

/// The tally, shared by all tasks of the one thread. Never borrowed over an await.
pub(super) type Shared = Rc<RefCell<Tally>>;

/// Everything counted until now.
#[derive(Debug, Default)]
pub(super) struct Tally {
    report: Report,
}

/// Now, as reports say it.
pub(in super::super) fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn up(counts: &mut BTreeMap<String, u64>, version: &str) {
    match counts.get_mut(version) {
        Some(count) => *count += 1,
        None => {
            counts.insert(version.to_owned(), 1);
        }
    }
}

fn down(counts: &mut BTreeMap<String, u64>, version: &str) {
    if let Some(count) = counts.get_mut(version) {
        *count = count.saturating_sub(1);
    }
}

impl Tally {
    pub(super) fn sent(&mut self) {
        self.report.sent += 1;
    }

    pub(super) fn late(&mut self) {
        self.report.late += 1;
    }

    /// A good answer; the session's version changes with it.
    pub(super) fn answered(
        &mut self,
        session: &mut Session,
        version: String,
        sent: u64,
        took: Duration,
    ) {
        let at = unix_ms();
        up(&mut self.report.answered, &version);
        self.newest(&version, sent);
        self.report
            .latency
            .record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        match session.version.take() {
            None => {
                up(&mut self.report.sessions, &version);
                self.report.sessions_begun += 1;
                self.report.begun.push(Begun {
                    sent,
                    at,
                    version: version.clone(),
                });
            }
            Some(before) if before != version => {
                down(&mut self.report.sessions, &before);
                up(&mut self.report.sessions, &version);
                self.event(Event::Moved {
                    sent,
                    at,
                    session: session.id,
                    from: before,
                    to: version.clone(),
                });
            }
            Some(_) => {}
        }
        session.version = Some(version);
    }

    /// No good answer. The session keeps its version: the next good answer tells where it is.
    pub(super) fn failed(
        &mut self,
        session: &Session,
        request: String,
        failure: Failure,
        sent: u64,
    ) {
        let (version, known) = match (failure.version, &session.version) {
            (Some(version), _) => (Some(version), Known::Answer),
            (None, Some(version)) => (Some(version.clone()), Known::Session),
            (None, None) => (None, Known::No),
        };
        if let Some(version) = &version {
            self.newest(version, sent);
        }
        self.report.failed += 1;
        self.event(Event::Failed {
            request,
            sent,
            at: unix_ms(),
            version,
            known,
            kind: failure.kind,
            detail: failure.detail,
        });
    }

    pub(super) fn session_ended(&mut self, session: &Session) {
        if let Some(version) = &session.version {
            down(&mut self.report.sessions, version);
        }
    }

    fn newest(&mut self, version: &str, sent: u64) {
        match self.report.newest.get_mut(version) {
            Some(newest) => *newest = sent.max(*newest),
            None => {
                self.report.newest.insert(version.to_owned(), sent);
            }
        }
    }

    fn channels(&mut self, channel: Channel) -> &mut Channels {
        match channel {
            Channel::Stream => &mut self.report.streams,
            Channel::Tcp => &mut self.report.tcp,
        }
    }

    pub(super) fn opened(&mut self, channel: Channel) {
        self.channels(channel).opened += 1;
    }

    /// The other side said which version it is.
    pub(super) fn identified(&mut self, channel: Channel, version: &str) {
        up(&mut self.channels(channel).alive, version);
    }

    /// It is over, in order or not.
    pub(super) fn closed(
        &mut self,
        channel: Channel,
        version: Option<String>,
        opened: u64,
        end: Result<(), Failure>,
    ) {
        let channels = self.channels(channel);
        if let Some(version) = &version {
            down(&mut channels.alive, version);
        }
        match end {
            Ok(()) => channels.ended += 1,
            Err(failure) => {
                channels.cut += 1;
                self.event(Event::Cut {
                    channel,
                    opened,
                    at: unix_ms(),
                    version,
                    detail: format!("{}: {}", failure.kind.label(), failure.detail),
                });
            }
        }
    }

    fn event(&mut self, event: Event) {
        if self.report.events.len() < EVENTS_LISTED {
            self.report.events.push(event);
        } else {
            self.report.events_omitted += 1;
        }
    }

    /// The report of what came to pass since the last one.
    pub(super) fn take(&mut self, last: bool) -> Report {
        self.report.at = unix_ms();
        self.report.last = last;
        let report = self.report.clone();
        self.report.latency = Histogram::default();
        self.report.begun.clear();
        self.report.events.clear();
        report
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            failure::Failure,
            report::{Event, Known},
            session::{Session, Style},
        },
        Tally,
    };
    use std::time::Duration;

    #[test]
    fn a_session_that_changes_its_version_has_moved_and_counts_once() {
        let mut tally = Tally::default();
        let mut session = Session::new(1, Style::KeepAlive, None);
        for version in ["v1", "v1", "v2"] {
            tally.answered(&mut session, version.into(), 1, Duration::ZERO);
        }
        let report = tally.take(false);
        assert_eq!(report.sessions.get("v1"), Some(&0));
        assert_eq!(report.sessions.get("v2"), Some(&1));
        assert_eq!(report.sessions_begun, 1);
        assert!(
            matches!(report.events.as_slice(), [Event::Moved { from, to, .. }] if from == "v1" && to == "v2")
        );
        assert!(tally.take(true).events.is_empty());
    }

    #[test]
    fn a_failure_counts_for_the_version_that_the_session_lives_on() {
        let mut tally = Tally::default();
        let mut session = Session::new(1, Style::KeepAlive, None);
        tally.failed(&session, String::new(), Failure::timed_out(), 5);
        tally.answered(&mut session, "v2".into(), 6, Duration::ZERO);
        tally.failed(&session, String::new(), Failure::timed_out(), 9);
        let report = tally.take(false);
        let known: Vec<_> = report
            .events
            .iter()
            .map(|event| match event {
                Event::Failed { known, .. } => *known,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(known, [Known::No, Known::Session]);
        assert_eq!(report.newest.get("v2"), Some(&9));
        assert_eq!(report.failed, 2);
    }
}
