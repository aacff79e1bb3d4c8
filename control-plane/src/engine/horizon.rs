//! Until when versions are compared: as far as the reports on both of them go.

use super::load::Loads;
use crate::model::{Timestamp, WorkloadKey};
use std::time::Duration;

/// A report that is later than this is not waited for before versions are compared.
const LATE: Duration = Duration::from_millis(500);
/// A reporter that has been silent for longer is not waited for at all.
const RECENTLY: Duration = Duration::from_secs(2);

impl Loads {
    /// Until when the reports on all of these instances go, so that versions are compared over the
    /// same seconds: proxies do not report at the same moment. A reporter that is late holds up
    /// nothing for longer than [`LATE`].
    pub(super) fn known_until<'a>(
        &self,
        workloads: impl Iterator<Item = &'a WorkloadKey>,
        now: Timestamp,
    ) -> Timestamp {
        let newest = |workload| {
            let reporters = self.instances.get(workload)?;
            let own = reporters.keys().any(|reporter| reporter.own);
            let those = reporters.iter().filter(|(reporter, _)| reporter.own == own);
            those.map(|(_, reports)| reports.newest).min()
        };
        let late = u64::try_from(LATE.as_millis()).unwrap_or_default();
        let earliest = Timestamp(now.0.saturating_sub(late));
        workloads
            .filter_map(newest)
            .filter(|at| now.since(*at) < RECENTLY)
            .min()
            .map_or(now, |at| at.max(earliest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        index::Index,
        load::tests::{endpoint, report},
        tests::support::{at, catalog},
    };

    #[test]
    fn versions_are_compared_as_far_as_the_reports_on_all_of_their_instances_go() {
        let index = Index::new(&catalog(&[("a-0", "v1"), ("b-0", "v2")]));
        let mut loads = Loads::new(at(0));
        let (old, new) = (
            WorkloadKey::new("shop", "a-0"),
            WorkloadKey::new("shop", "b-0"),
        );
        let report_at = |loads: &mut Loads, proxy: &str, ms: u64, errors: u64| {
            let mut own = endpoint("inbound|8080||", 0);
            own.issued = errors;
            own.errors = errors;
            let mut sample = report(proxy, 0, vec![own]);
            sample.at = Timestamp(at(0).0 + ms);
            loads.record(&sample, &index);
            sample.at
        };
        report_at(&mut loads, "shop/b-0", 10, 0);
        let known = report_at(&mut loads, "shop/a-0", 200, 0);
        let now = report_at(&mut loads, "shop/b-0", 260, 9);
        let both = [&old, &new];
        assert_eq!(loads.known_until(both.into_iter(), now), known);
        assert_eq!(loads.recent(&new, known), (0, 0), "not before a-0 reports");
        let later = report_at(&mut loads, "shop/a-0", 300, 7);
        assert_eq!(loads.known_until(both.into_iter(), later), now);
        assert_eq!(loads.recent(&new, now), (9, 9));
        let late = Timestamp(known.0 + 1_300);
        let waited = Timestamp(late.0 - 500);
        assert_eq!(loads.known_until(both.into_iter(), late), waited);
    }
}
