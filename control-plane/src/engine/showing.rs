//! What the engine shows: its board, kept up to date.

use super::{
    board::{Board, UpgradeView, VersionNumbers},
    core::Engine,
    evidence::Gathered,
    run::Run,
    served::Reported,
};
use crate::model::{Side, Timestamp, UpgradeKey};
use std::{collections::BTreeSet, sync::Arc};

impl Engine {
    /// Everything that can be seen.
    pub fn board(&mut self, now: Timestamp) -> Board {
        self.refresh_views(now);
        Board {
            upgrades: self.views.clone(),
            proxies: Arc::new(self.proxies.views()),
            generation: self.world.generation,
            ends: self.ends.clone(),
            journal_error: self.journal_error.clone(),
        }
    }

    fn refresh_views(&mut self, now: Timestamp) {
        self.views.retain(|key, _| self.runs.contains_key(key));
        // A run that ends as the next one of its service begins is no longer the current one, but
        // how it ended is still to be shown.
        let stale = self.runs.iter().filter(|(key, run)| {
            let shown = self.views.get(*key);
            shown.is_none_or(|view| view.resource_version != run.resource_version)
        });
        let keys: BTreeSet<UpgradeKey> = stale
            .map(|(key, _)| key)
            .chain(self.current.values())
            .cloned()
            .collect();
        for key in keys {
            if let Some(view) = self.view(&key, now) {
                match self.views.get(&key) {
                    Some(before) if **before == view => {}
                    before => {
                        let began_before = self.resumed.contains(&key);
                        let before = before.map(|view| &view.status);
                        if before.is_some() || !began_before {
                            self.ends.note(before, &view.status);
                        }
                        self.views.insert(key, Arc::new(view));
                    }
                }
            }
        }
    }

    pub(super) fn view(&self, key: &UpgradeKey, now: Timestamp) -> Option<UpgradeView> {
        let run = self.runs.get(key)?;
        let service = &run.spec.service;
        let policy = self.policy_of(run);
        let (new_latency, old_latency) = run
            .trial
            .as_ref()
            .map_or((None, None), |trial| trial.latencies(&policy.analysis));
        let measured = self
            .gathered
            .get(key)
            .filter(|_| run.is_on_trial())
            .and_then(|gathered| gathered.measured(run, &policy, (&self.loads, &self.index)));
        Some(UpgradeView {
            spec: run.spec.clone(),
            status: run.status.clone(),
            created: run.created,
            resource_version: run.resource_version,
            steps: policy.steps.len(),
            old: self.numbers(run, Side::Old, old_latency, now),
            new: self.numbers(run, Side::New, new_latency, now),
            measured,
            effective: policy,
            policy: self
                .catalog
                .policy_fields
                .get(service)
                .map_or_else(|| Arc::from([]), Arc::clone),
            events: Arc::clone(&run.events),
        })
    }

    fn numbers(
        &self,
        run: &Run,
        side: Side,
        latency_us: Option<u64>,
        now: Timestamp,
    ) -> VersionNumbers {
        let version = match side {
            Side::Old => &run.spec.from,
            Side::New => &run.spec.to,
        };
        let gathered = self.gathered.get(&run.spec.key);
        VersionNumbers {
            latency_us,
            new_sessions: gathered.map_or(0, |gathered: &Gathered| gathered.sessions(side)),
            last_session: self.loads.last_session(&run.spec.service, version),
            reported: gathered.map_or_else(Reported::default, |gathered| gathered.reported(side)),
            ..self.eyes().numbers(run, version, now)
        }
    }
}
