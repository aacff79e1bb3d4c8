//! Gives endpoints their ids: the same cluster and address keep theirs, and what all workers know
//! about them, over every snapshot.
//!
//! Ids index each worker's numbers, so they stay small: an id is given out again once its endpoint
//! has been gone for [`REST`] and nobody holds its state any more.

use super::resource::Name;
use crate::model::{EndpointId, EndpointState};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

/// How long the id of an endpoint that is gone is not given out again: many reports long, so that
/// a worker's numbers for it are collected.
const REST: Duration = Duration::from_secs(600);

/// The ids given out.
#[derive(Debug, Default)]
pub(super) struct EndpointIds {
    entries: BTreeMap<(Name, SocketAddr), Entry>,
    free: BTreeSet<u32>,
    next: u32,
}

#[derive(Debug)]
struct Entry {
    id: u32,
    state: Arc<EndpointState>,
    /// Outlier detection was on when it was last seen.
    watched: bool,
    last_seen: Duration,
}

impl EndpointIds {
    /// The id and the shared state of an endpoint. Where `watched` (by outlier detection) ends,
    /// what was held against the endpoint is forgotten.
    pub(super) fn intern(
        &mut self,
        cluster: &Name,
        address: SocketAddr,
        watched: bool,
        now: Duration,
    ) -> (EndpointId, Arc<EndpointState>) {
        let Self {
            entries,
            free,
            next,
        } = self;
        let entry = entries
            .entry((Arc::clone(cluster), address))
            .or_insert_with(|| Entry {
                id: free.pop_first().unwrap_or_else(|| {
                    let id = *next;
                    *next += 1;
                    id
                }),
                state: Arc::default(),
                watched,
                last_seen: now,
            });
        if entry.watched && !watched {
            entry.state = Arc::default();
        }
        entry.watched = watched;
        entry.last_seen = now;
        (EndpointId(entry.id), Arc::clone(&entry.state))
    }

    /// Takes back the ids of endpoints that are long gone.
    pub(super) fn sweep(&mut self, now: Duration) {
        let free = &mut self.free;
        self.entries.retain(|_, entry| {
            let stays = entry.last_seen + REST > now || Arc::strong_count(&entry.state) > 1;
            if !stays {
                free.insert(entry.id);
            }
            stays
        });
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
    use std::{sync::Arc, time::Duration};

    #[test]
    fn an_endpoint_keeps_its_id_and_state() {
        let mut ids = EndpointIds::default();
        let (a, state) = ids.intern(&Name::from("c"), "10.0.0.1:80".parse().unwrap(), true, REST);
        let (b, _) = ids.intern(&Name::from("c"), "10.0.0.2:80".parse().unwrap(), true, REST);
        let (again, same) =
            ids.intern(&Name::from("c"), "10.0.0.1:80".parse().unwrap(), true, REST);
        assert_ne!(a, b);
        assert_eq!(a, again);
        assert!(Arc::ptr_eq(&state, &same));
    }

    #[test]
    fn an_ejection_ends_with_outlier_detection() {
        let mut ids = EndpointIds::default();
        let address = "10.0.0.1:80".parse().unwrap();
        let (_, state) = ids.intern(&Name::from("c"), address, true, REST);
        state.eject(1_000);
        let (_, state) = ids.intern(&Name::from("c"), address, true, REST);
        assert!(state.is_ejected(1));
        let (_, state) = ids.intern(&Name::from("c"), address, false, REST);
        assert!(!state.is_ejected(1));
    }

    #[test]
    fn an_id_is_given_out_again_only_when_nobody_holds_it() {
        let mut ids = EndpointIds::default();
        let cluster = Name::from("c");
        let (a, held) = ids.intern(&cluster, "10.0.0.1:80".parse().unwrap(), false, REST);
        let later = REST * 3;
        ids.sweep(later);
        let (b, _) = ids.intern(&cluster, "10.0.0.2:80".parse().unwrap(), false, later);
        assert_ne!(a, b);
        drop(held);
        ids.sweep(later + Duration::from_secs(1));
        let (c, _) = ids.intern(&cluster, "10.0.0.3:80".parse().unwrap(), false, later);
        assert_eq!(a, c);
        assert_eq!(ids.bound(), 2);
    }
}
