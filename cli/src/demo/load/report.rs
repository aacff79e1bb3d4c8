//! What the load generator says on its standard output: one JSON document a line.
//!
//! Counters count from the start, so a lost line loses no request. What happened once (a session
//! began, moved, a request failed) is listed in the report that follows it, up to a bound; what is
//! beyond is counted. Times are milliseconds since the Unix epoch, as in the control API.

use super::histogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What came to pass until now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// When it was written.
    pub at: u64,
    /// The generator has stopped: nothing follows.
    pub last: bool,
    /// Requests sent.
    pub sent: u64,
    /// Requests that were due but found every session busy.
    pub late: u64,
    /// Good answers by the version that gave them.
    pub answered: BTreeMap<String, u64>,
    /// Requests without a good answer.
    pub failed: u64,
    /// When the newest request that a version got (or, without an answer, should have got) was
    /// sent.
    pub newest: BTreeMap<String, u64>,
    /// Sessions that began (their first answer came).
    pub sessions_begun: u64,
    /// Sessions alive, by the version of their last answer.
    pub sessions: BTreeMap<String, u64>,
    /// Streams.
    pub streams: Channels,
    /// TCP connections.
    pub tcp: Channels,
    /// Latency of good answers since the report before.
    pub latency: Histogram,
    /// Sessions that began since the report before.
    pub begun: Vec<Begun>,
    /// What went wrong or changed since the report before.
    pub events: Vec<Event>,
    /// Events that found no room in `events`.
    pub events_omitted: u64,
}

/// Long-lived exchanges of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channels {
    /// Alive, by version.
    pub alive: BTreeMap<String, u64>,
    /// Opened since the start.
    pub opened: u64,
    /// Ended in order since the start.
    pub ended: u64,
    /// Cut since the start.
    pub cut: u64,
}

/// A session's first answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// When the request was sent.
    pub sent: u64,
    /// When the answer came.
    pub at: u64,
    /// The version that gave it.
    pub version: String,
}

impl Begun {
    /// The sessions that began in a span, as milliseconds since the Unix epoch: all of them, and those of `version`.
    ///
    /// Which sessions count must not depend on which version answered them. So it goes by the time of sending alone, and
    /// the span ends early enough that the slowest answer came in it: what was placed after it is not among them.
    pub fn between(begun: &[Self], from: u64, until: Option<u64>, version: &str) -> (u32, u32) {
        let sent = |until: u64| {
            let span = from..until;
            begun.iter().filter(move |one| span.contains(&one.sent))
        };
        let until = until.map_or(u64::MAX, |until| {
            let took = |one: &Self| one.at.saturating_sub(one.sent);
            let slowest = sent(until).map(took).max().unwrap_or_default();
            until.saturating_sub(slowest)
        });
        sent(until).fold((0, 0), |(all, of_it), one| {
            (all + 1, of_it + u32::from(one.version == version))
        })
    }
}

/// Something that went wrong or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A session was answered by another version than before.
    Moved {
        /// When the request was sent.
        sent: u64,
        /// When the answer came.
        at: u64,
        /// The session's number.
        session: u64,
        /// The version before.
        from: String,
        /// The version now.
        to: String,
    },
    /// A request got no good answer.
    Failed {
        /// Its id, which it carried in `x-lab-request`.
        request: String,
        /// When it was sent.
        sent: u64,
        /// When that was known.
        at: u64,
        /// The version concerned, if known.
        version: Option<String>,
        /// How the version is known.
        known: Known,
        /// What happened.
        kind: Kind,
        /// In words.
        detail: String,
    },
    /// A stream or a TCP connection ended out of order.
    Cut {
        /// Which of the two.
        channel: Channel,
        /// When it was opened.
        opened: u64,
        /// When it was cut.
        at: u64,
        /// The version that served it, if it had said so.
        version: Option<String>,
        /// In words.
        detail: String,
    },
}

/// Where the version of a failed request is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// The bad answer named it.
    Answer,
    /// There was no such answer, but the session lived there.
    Session,
    /// Not at all: a new session's first request.
    No,
}

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An answer of 500 to 599.
    #[serde(rename = "5xx")]
    ServerError,
    /// Another status than 200.
    Status,
    /// The connection broke before the answer was whole.
    Reset,
    /// No answer in time.
    TimedOut,
    /// No connection.
    Refused,
    /// Anything else.
    Other,
}

impl Kind {
    /// As it stands in the summary.
    pub fn label(self) -> &'static str {
        match self {
            Self::ServerError => "5xx",
            Self::Status => "other status",
            Self::Reset => "reset",
            Self::TimedOut => "timed out",
            Self::Refused => "refused",
            Self::Other => "other",
        }
    }
}

/// The kinds of long-lived exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// A two-way HTTP/2 stream with trailers, as gRPC has them.
    Stream,
    /// A TCP connection.
    Tcp,
}

#[cfg(test)]
mod tests {
    use super::{Begun, Event, Kind, Known, Report};

    #[test]
    fn sessions_are_counted_whatever_the_time_that_a_version_takes_to_answer() {
        let begun = |sent, at, version: &str| Begun {
            sent,
            at,
            version: version.into(),
        };
        // v1 takes 30, v2 1: by the answers' times the last of v1 would be left out, that of v2 not.
        let all: Vec<Begun> = (99..=220)
            .flat_map(|sent| [begun(sent, sent + 30, "v1"), begun(sent, sent + 1, "v2")])
            .collect();
        assert_eq!(Begun::between(&all, 100, Some(200), "v2"), (140, 70));
        assert_eq!(Begun::between(&all, 100, None, "v2"), (242, 121));
        assert_eq!(Begun::between(&all, 300, Some(400), "v2"), (0, 0));
        assert_eq!(Begun::between(&all, 190, Some(200), "v2"), (0, 0));
    }

    #[test]
    fn a_report_survives_writing_and_reading() {
        let mut report = Report {
            at: 7,
            ..Report::default()
        };
        report.latency.record(1234);
        report.answered.insert("v1".into(), 3);
        report.events.push(Event::Failed {
            request: "web-1-1".into(),
            sent: 1,
            at: 2,
            version: Some("v2".into()),
            known: Known::Answer,
            kind: Kind::ServerError,
            detail: "500".into(),
        });
        let line = serde_json::to_string(&report).unwrap();
        assert!(line.contains(r#""kind":"5xx""#), "{line}");
        assert_eq!(serde_json::from_str::<Report>(&line).unwrap(), report);
    }
}
