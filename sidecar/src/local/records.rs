//! Hands finished requests to whoever tells of them. A worker never waits for that: what finds no
//! room is counted as lost.

use crate::model::{Record, Span};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::mpsc;

/// Which requests are told of, and to whom.
#[derive(Clone, Debug)]
pub struct Records {
    /// Takes them.
    pub to: mpsc::Sender<Record>,
    /// Which stand in the access log.
    pub log: AccessLog,
    /// Traces are recorded.
    pub traces: bool,
    /// Of so many requests in a million that belong to no trace, one is begun.
    pub sampled: u32,
    /// How many found no room.
    pub lost: Arc<AtomicU64>,
}

/// Which requests stand in the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    #[default]
    Off,
    /// Those that went wrong ([`Record::is_error`]).
    Errors,
    /// All.
    All,
}

impl AccessLog {
    /// True where this request stands in it.
    pub fn takes(self, record: &Record) -> bool {
        match self {
            Self::Off => false,
            Self::Errors => record.is_error(),
            Self::All => true,
        }
    }
}

impl Records {
    /// True where a request may be told of that belongs to this.
    pub(crate) fn wants(&self, span: Option<Span>) -> bool {
        span.is_some() || self.log != AccessLog::Off
    }

    /// Tells of one.
    pub(crate) fn tell(&self, record: Record) {
        let wanted = record.trace.is_some() || self.log.takes(&record);
        if wanted && self.to.try_send(record).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
