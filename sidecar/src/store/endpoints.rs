//! Gives endpoints their ids: the same cluster and address keep theirs, and what all workers know
//! about them, over every snapshot.
//!
//! When one that was not there or not healthy is healthy, its slow start begins.
//!
//! No id is given out twice: a stream may outlive its endpoint, and its numbers and its connection
//! must not become another's.

use super::resource::Name;
use crate::model::{EndpointId, EndpointState};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::NonZeroU32,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// How long an endpoint that is gone is remembered, and with it that it was ejected.
const REST: Duration = Duration::from_secs(600);

/// The ids given out.
#[derive(Debug, Default)]
pub(super) struct EndpointIds {
    entries: BTreeMap<(Name, SocketAddr), Entry>,
    next: u32,
}

#[derive(Debug)]
struct Entry {
    id: u32,
    state: Arc<EndpointState>,
    /// It was healthy when it was last seen.
    is_ready: bool,
    /// Outlier detection was on when it was last seen.
    watched: bool,
    last_seen: Duration,
}

impl EndpointIds {
    /// The id and the shared state of an endpoint that is healthy or not as `is_ready` says. Where
    /// `watched` (by outlier detection) ends, what was held against the endpoint is forgotten.
    pub(super) fn intern(
        &mut self,
        cluster: &Name,
        (address, is_ready): (SocketAddr, bool),
        watched: bool,
        now: Duration,
    ) -> (EndpointId, Arc<EndpointState>) {
        let Self { entries, next } = self;
        let entry = entries
            .entry((Arc::clone(cluster), address))
            .or_insert_with(|| {
                let id = *next;
                *next += 1;
                Entry {
                    id,
                    state: Arc::default(),
                    is_ready: false,
                    watched,
                    last_seen: now,
                }
            });
        if entry.watched && !watched {
            let since = entry.state.ready_since.load(Ordering::Relaxed);
            entry.state = Arc::default();
            entry.state.ready_since.store(since, Ordering::Relaxed);
        }
        if is_ready && !entry.is_ready {
            let since = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            entry.state.ready_since.store(since, Ordering::Relaxed);
        }
        entry.is_ready = is_ready;
        entry.watched = watched;
        entry.last_seen = now;
        (EndpointId(entry.id), Arc::clone(&entry.state))
    }

    /// A number for a cluster itself, out of the same: what limits it counts by that.
    pub(super) fn cluster(&mut self, name: &Name, now: Duration) -> NonZeroU32 {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let (EndpointId(number), _) = self.intern(name, (nowhere, false), false, now);
        NonZeroU32::MIN.saturating_add(number)
    }

    /// Forgets endpoints that are long gone.
    pub(super) fn sweep(&mut self, now: Duration) {
        self.entries.retain(|_, entry| entry.last_seen + REST > now);
    }

    /// All ids are below it.
    pub(super) fn bound(&self) -> u32 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::{EndpointIds, REST};
    use crate::store::resource::Name;
    use std::{
        sync::{Arc, atomic::Ordering},
        time::Duration,
    };

    #[test]
    fn an_endpoint_keeps_its_id_and_state() {
        let mut ids = EndpointIds::default();
        let (a, state) = ids.intern(
            &Name::from("c"),
            ("10.0.0.1:80".parse().unwrap(), true),
            true,
            REST,
        );
        let (b, _) = ids.intern(
            &Name::from("c"),
            ("10.0.0.2:80".parse().unwrap(), true),
            true,
            REST,
        );
        let (again, same) = ids.intern(
            &Name::from("c"),
            ("10.0.0.1:80".parse().unwrap(), true),
            true,
            REST,
        );
        assert_ne!(a, b);
        assert_eq!(a, again);
        assert!(Arc::ptr_eq(&state, &same));
    }

    #[test]
    fn an_ejection_ends_with_outlier_detection() {
        let mut ids = EndpointIds::default();
        let address = "10.0.0.1:80".parse().unwrap();
        let (_, state) = ids.intern(&Name::from("c"), (address, true), true, REST);
        state.eject(1_000);
        let (_, state) = ids.intern(&Name::from("c"), (address, true), true, REST);
        assert!(state.is_ejected(1));
        let (_, state) = ids.intern(&Name::from("c"), (address, true), false, REST);
        assert!(!state.is_ejected(1));
    }

    #[test]
    fn an_endpoint_is_ready_from_when_it_was_first_healthy_or_healthy_again() {
        let mut ids = EndpointIds::default();
        let address = "10.0.0.1:80".parse().unwrap();
        let mut since = |is_ready, watched, seconds| {
            let now = Duration::from_secs(seconds);
            let (_, state) = ids.intern(&Name::from("c"), (address, is_ready), watched, now);
            state.ready_since.load(Ordering::Relaxed)
        };
        assert_eq!(since(false, true, 1), 0);
        assert_eq!(since(true, true, 2), 2_000);
        assert_eq!(since(true, true, 3), 2_000);
        assert_eq!(since(true, false, 4), 2_000);
        assert_eq!(since(false, false, 5), 2_000);
        assert_eq!(since(true, false, 6), 6_000);
    }

    #[test]
    fn an_endpoint_that_was_long_gone_begins_anew() {
        let mut ids = EndpointIds::default();
        let (cluster, address) = (Name::from("c"), "10.0.0.1:80".parse().unwrap());
        let (a, state) = ids.intern(&cluster, (address, true), true, Duration::ZERO);
        state.eject(u64::MAX);
        ids.sweep(REST / 2);
        let (same, _) = ids.intern(&cluster, (address, true), true, Duration::ZERO);
        assert_eq!(a, same);
        ids.sweep(REST);
        let (b, state) = ids.intern(&cluster, (address, true), true, REST);
        assert_ne!(a, b);
        assert!(!state.is_ejected(1));
        assert_eq!(ids.bound(), 2);
    }
}
