//! Running, draining, cut: how the work of one worker comes to an end.
//!
//! Draining changes what is said to clients (`Connection: close`, GOAWAY), not whether they are
//! served: whoever still sends is still answered. [`Drain::finished`] ends once nothing is under
//! way; how long idle connections are still waited for is the worker's to say.
//!
//! Long-lived streams end by a [budget](budget::Budget): all of them where the worker drains, those
//! of one endpoint where that one does. [`Drain::turn`] tells them; each ends itself, at a boundary
//! of its protocol.
//!
//! Invariant: what is under way is exactly what has a living [`Underway`], or holds a [`Hold`].

mod budget;
mod open;

pub(crate) use open::{Ending, Kind, Underway};

use crate::model::EndpointId;
use budget::{Budget, DRAWS, Turn};
use open::{All, Open};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

/// How often is looked whether more streams or fewer are to be ended.
const LOOK: Duration = Duration::from_millis(100);

/// How far the end has come. Only ever goes on, never back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Nothing ends.
    Running,
    /// Answer on, but send clients elsewhere.
    Draining,
    /// The deadline has passed: what is left is closed.
    Cut,
}

/// One worker's end.
#[derive(Debug)]
pub(crate) struct Drain {
    phase: watch::Sender<Phase>,
    open: RefCell<All>,
    holds: Cell<u64>,
    /// When the last of what was under way ended.
    ended: Cell<Option<Instant>>,
    idle: Notify,
    plans: RefCell<Plans>,
    /// Something is to be ended that was not before.
    planned: Notify,
    /// From when the budgets count.
    epoch: Instant,
}

/// What is to be ended, and by when.
#[derive(Debug, Default)]
struct Plans {
    all: Option<Budget>,
    endpoints: HashMap<EndpointId, Budget>,
}

/// One of what is under way, as it is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed {
    /// What it is.
    pub kind: Kind,
    /// True: it came in for the Pod's own application.
    pub inbound: bool,
    /// How long it has been open.
    pub age: Duration,
    /// It was told to end.
    pub ending: bool,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Running),
            open: RefCell::default(),
            holds: Cell::new(0),
            ended: Cell::new(None),
            idle: Notify::new(),
            plans: RefCell::default(),
            planned: Notify::new(),
            epoch: Instant::now(),
        }
    }
}

impl Drain {
    /// True from the beginning of the drain on.
    pub(crate) fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Goes on to a phase; an earlier one changes nothing.
    pub(crate) fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = phase > *now;
            if later {
                *now = phase;
            }
            later
        });
        if phase == Phase::Cut {
            self.end_all(None, Ending::Cut);
        }
    }

    /// Waits until `phase` is reached.
    pub(crate) fn reached(&self, phase: Phase) -> impl Future<Output = ()> + use<> {
        let mut receiver = self.phase.subscribe();
        async move {
            // The sender lives as long as the worker: an error means that all ends anyway.
            receiver.wait_for(|now| *now >= phase).await.ok();
        }
    }

    /// Notes that something is under way, since `since`.
    pub(crate) fn begin(self: &Rc<Self>, kind: Kind, inbound: bool, since: Instant) -> Underway {
        let open = Open::new(kind, inbound, since);
        let key = self.open.borrow_mut().insert(open);
        if kind.is_long_lived() {
            self.opened();
        }
        Underway {
            drain: Rc::clone(self),
            key,
        }
    }

    /// Keeps the drain from being finished for as long as the result lives.
    pub(crate) fn hold(self: &Rc<Self>) -> Hold {
        self.holds.set(self.holds.get() + 1);
        Hold(Rc::clone(self))
    }

    /// Waits until nothing is under way. Returns since when that is so; None: nothing ever was.
    pub(crate) async fn finished(&self) -> Option<Instant> {
        loop {
            let idle = self.idle.notified();
            if self.is_idle() {
                return self.ended.get();
            }
            idle.await;
        }
    }

    /// All that is under way.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let open = self.open.borrow();
        open.iter()
            .map(|(_, open)| Listed {
                kind: open.kind,
                inbound: open.inbound,
                age: open.since.elapsed(),
                ending: open.ending > Ending::No,
            })
            .collect()
    }

    /// Long-lived streams are to have ended in `left`, one in each `gap`. Where that was said before
    /// and is not over, the first time counts.
    pub(crate) fn end_streams(&self, left: Duration, gap: Option<Duration>) {
        let now = self.epoch.elapsed();
        let mut plans = self.plans.borrow_mut();
        plans
            .all
            .get_or_insert_with(|| Budget::new(now, now + left, gap));
        drop(plans);
        self.planned.notify_one();
    }

    /// The same for those at the endpoints that drain. `serving` is the rest: one of them that
    /// drained before keeps the streams that it has left. An endpoint that is neither is gone, and
    /// what was begun goes on.
    pub(crate) fn end_streams_at(
        &self,
        draining: &[EndpointId],
        serving: impl Iterator<Item = EndpointId>,
        left: Duration,
        gap: Option<Duration>,
    ) {
        let now = self.epoch.elapsed();
        let mut plans = self.plans.borrow_mut();
        if !plans.endpoints.is_empty() {
            for endpoint in serving {
                plans.endpoints.remove(&endpoint);
            }
            plans
                .endpoints
                .retain(|endpoint, _| draining.contains(endpoint) || self.is_any(Some(*endpoint)));
        }
        for endpoint in draining {
            let plan = || Budget::new(now, now + left, gap);
            plans.endpoints.entry(*endpoint).or_insert_with(plan);
        }
        drop(plans);
        self.planned.notify_one();
    }

    /// Tells streams to end whose turn it is. Returns when to look again; None: not before
    /// [`planned`](Self::planned).
    pub(crate) fn turn(&self, draw: impl Fn(u32) -> u32) -> Option<Instant> {
        let now = self.epoch.elapsed();
        let mut plans = self.plans.borrow_mut();
        let plans = &mut *plans;
        let all = plans.all.iter_mut().map(|budget| (None, budget));
        let endpoints = plans.endpoints.iter_mut();
        let endpoints = endpoints.map(|(endpoint, budget)| (Some(*endpoint), budget));
        let next = all
            .chain(endpoints)
            .filter_map(|(of, budget)| self.carry_out(budget, of, now, &draw))
            .min();
        // Whoever comes later is still served.
        plans.all.take_if(|budget| budget.is_over(now));
        Some(self.epoch + next?.min(now + LOOK))
    }

    /// Waits until something is to be ended that was not before.
    pub(crate) async fn planned(&self) {
        self.planned.notified().await;
    }

    /// Ends what is due of one plan. Returns when the next is.
    fn carry_out(
        &self,
        budget: &mut Budget,
        of: Option<EndpointId>,
        now: Duration,
        draw: impl Fn(u32) -> u32,
    ) -> Option<Duration> {
        loop {
            let candidates = self.candidates(of);
            match budget.turn(now, candidates.len(), draw(DRAWS)) {
                Turn::End => {
                    let count = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
                    let chosen = usize::try_from(draw(count)).unwrap_or(0);
                    if let Some(key) = candidates.get(chosen)
                        && let Some(open) = self.open.borrow_mut().get_mut(*key)
                    {
                        open.end(Ending::Asked);
                    }
                }
                // Nothing new begins at an endpoint that drains; in a worker it does.
                Turn::Wait(until) => {
                    return (of.is_none() || self.is_any(of)).then_some(until);
                }
                Turn::Over => {
                    self.end_all(of, Ending::Due);
                    return None;
                }
            }
        }
    }

    fn candidates(&self, of: Option<EndpointId>) -> Vec<usize> {
        let open = self.open.borrow();
        open.iter()
            .filter(|(_, open)| open.may_be_asked(of))
            .map(|(key, _)| key)
            .collect()
    }

    fn is_any(&self, of: Option<EndpointId>) -> bool {
        let open = self.open.borrow();
        open.iter().any(|(_, open)| open.is_at(of))
    }

    fn end_all(&self, of: Option<EndpointId>, ending: Ending) {
        let mut all = self.open.borrow_mut();
        for (_, open) in &mut *all {
            if open.is_at(of) {
                open.end(ending);
            }
        }
    }

    /// What may be told to end was begun, or something has become it.
    fn opened(&self) {
        let plans = self.plans.borrow();
        if plans.all.is_some() || !plans.endpoints.is_empty() {
            self.planned.notify_one();
        }
    }

    fn is_idle(&self) -> bool {
        self.holds.get() == 0 && self.open.borrow().is_empty()
    }

    /// Something has ended, perhaps the last.
    fn ended(&self) {
        if self.is_idle() {
            self.ended.set(Some(Instant::now()));
            self.idle.notify_waiters();
        }
    }
}

/// The drain is not finished as long as this lives.
#[derive(Debug)]
pub(crate) struct Hold(Rc<Drain>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holds.set(self.0.holds.get().saturating_sub(1));
        self.0.ended();
    }
}

#[cfg(test)]
mod tests;
