//! What one reporter says of one instance: its newest levels, and the last reports for the rates.

use crate::model::{EndpointSample, Timestamp};
use std::{collections::VecDeque, time::Duration};

/// Rates are taken over so much time.
const RATE_SPAN: Duration = Duration::from_secs(2);
/// Reports this old say nothing about the present rate.
const RATE_AGE: Duration = Duration::from_secs(15);
/// What is recent.
const RECENT: Duration = Duration::from_secs(1);
/// A report over more than this tells of other seconds too. Reports that are asked for each second
/// come a little later than that.
const ABOUT_RECENT: Duration = Duration::from_millis(1_250);
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

impl Window {
    /// A second's part of what was counted.
    fn recent(&self, count: u64) -> u64 {
        if self.span <= ABOUT_RECENT {
            return count;
        }
        let part = u128::from(count) * RECENT.as_millis() / self.span.as_millis();
        u64::try_from(part).unwrap_or(u64::MAX)
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
    /// report came in meanwhile. Of a report over a longer time it is a second's part: nobody knows
    /// when in that time they ended.
    pub(super) fn recent(&self, until: Timestamp) -> Option<(u64, u64)> {
        let mut sum = None;
        let known = self.recent.iter().skip_while(|window| window.at > until);
        for window in known.take_while(|window| until.since(window.at) < RECENT) {
            let (ended, errors) = sum.get_or_insert((0_u64, 0_u64));
            *ended = ended.saturating_add(window.recent(window.ended));
            *errors = errors.saturating_add(window.recent(window.errors));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::support::at;

    fn counts(ended: u64, errors: u64) -> Counts {
        Counts {
            issued: ended,
            ended,
            errors,
            ..Counts::default()
        }
    }

    #[test]
    fn of_a_report_over_a_minute_a_second_counts() {
        let mut reports = Reports::default();
        reports.add(counts(0, 0), at(0));
        reports.add(counts(9, 5), at(60));
        assert_eq!(reports.recent(at(60)), Some((0, 0)));
        let mut busy = Reports::default();
        busy.add(counts(0, 0), at(0));
        busy.add(counts(600, 60), at(60));
        busy.add(counts(7, 2), Timestamp(at(60).0 + 250));
        assert_eq!(busy.recent(Timestamp(at(60).0 + 250)), Some((17, 3)));
    }

    #[test]
    fn a_report_each_second_counts_whole_also_where_it_is_a_little_late() {
        let mut reports = Reports::default();
        let late = Timestamp(at(1).0 + 200);
        reports.add(counts(0, 0), at(0));
        reports.add(counts(9, 5), late);
        assert_eq!(reports.recent(late), Some((9, 5)));
    }

    #[test]
    fn no_number_is_too_large() {
        let mut reports = Reports::default();
        reports.add(counts(0, 0), at(0));
        reports.add(counts(u64::MAX, u64::MAX), at(2));
        assert_eq!(reports.recent(at(2)), Some((u64::MAX / 2, u64::MAX / 2)));
    }
}
