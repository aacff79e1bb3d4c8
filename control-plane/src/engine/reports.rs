//! What one reporter says of one instance: its newest levels, and the last reports for the rates.

use crate::model::{EndpointSample, Timestamp};
use std::{collections::VecDeque, time::Duration};

/// Rates are taken over so much time.
const RATE_SPAN: Duration = Duration::from_secs(2);
/// Reports this old say nothing about the present rate.
const RATE_AGE: Duration = Duration::from_secs(15);
/// What is recent.
const RECENT: Duration = Duration::from_secs(1);
/// Reports kept of one reporter for the rates.
const KEPT: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Reports {
    pub(super) levels: Counts,
    pub(super) last_activity: Option<Timestamp>,
    pub(super) newest: Timestamp,
    /// Since when its outlier detection has kept the instance out.
    pub(super) ejected_since: Option<Timestamp>,
    recent: VecDeque<Window>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    issued: u64,
    ended: u64,
    errors: u64,
    pub(super) requests: u64,
    pub(super) connections: u64,
    opened: u64,
    pub(super) ejected: bool,
}

#[derive(Debug)]
struct Window {
    at: Timestamp,
    span: Duration,
    issued: u64,
    ended: u64,
    errors: u64,
}

impl Counts {
    pub(super) fn add(&mut self, sample: &EndpointSample) {
        // What proxies say is not trusted to be small.
        let add = |sum: &mut u64, more| *sum = sum.saturating_add(more);
        add(&mut self.issued, sample.issued);
        add(&mut self.ended, sample.ended());
        add(&mut self.errors, sample.errors);
        add(&mut self.requests, sample.requests_active);
        add(&mut self.connections, sample.connections_active);
        add(&mut self.opened, sample.connections_opened);
        self.ejected |= sample.ejected;
    }

    /// Under way.
    pub(super) fn active(&self) -> u64 {
        self.requests.saturating_add(self.connections)
    }

    fn is_active(&self) -> bool {
        self.issued > 0 || self.active() > 0 || self.opened > 0
    }
}

impl Reports {
    pub(super) fn add(&mut self, counts: Counts, at: Timestamp) {
        if counts.is_active() {
            self.last_activity = Some(at);
        }
        if self.newest > Timestamp::default() {
            self.recent.push_front(Window {
                at,
                span: at.since(self.newest),
                issued: counts.issued,
                ended: counts.ended,
                errors: counts.errors,
            });
            self.recent.truncate(KEPT);
        }
        self.ejected_since = match self.ejected_since {
            _ if !counts.ejected => None,
            since => since.or(Some(at)),
        };
        self.levels = counts;
        self.newest = at;
    }

    /// Requests and errors a second over the last reports that make up [`RATE_SPAN`].
    pub(super) fn rates(&self, now: Timestamp) -> (f64, f64) {
        let mut span = Duration::ZERO;
        let (mut issued, mut errors) = (0_u64, 0_u64);
        for window in &self.recent {
            if span >= RATE_SPAN || now.since(window.at) > RATE_AGE {
                break;
            }
            span += window.span;
            issued = issued.saturating_add(window.issued);
            errors = errors.saturating_add(window.errors);
        }
        (per_second(issued, span), per_second(errors, span))
    }

    /// Requests that ended in the last second until then, and how many of them were errors; None: no
    /// report came in meanwhile.
    pub(super) fn recent(&self, until: Timestamp) -> Option<(u64, u64)> {
        let mut sum = None;
        let known = self.recent.iter().skip_while(|window| window.at > until);
        for window in known.take_while(|window| until.since(window.at) < RECENT) {
            let (ended, errors) = sum.get_or_insert((0_u64, 0_u64));
            *ended = ended.saturating_add(window.ended);
            *errors = errors.saturating_add(window.errors);
        }
        sum
    }
}

fn per_second(count: u64, span: Duration) -> f64 {
    if span.is_zero() {
        return 0.0;
    }
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / span.as_secs_f64()
}
