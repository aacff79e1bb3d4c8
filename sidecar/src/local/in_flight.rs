//! Something that runs at an endpoint, counted as long as it lives.

use super::{Local, Slot};
use crate::model::{ErrorClass, Trial};
use std::{num::NonZeroU32, rc::Rc};
use tokio::time::Instant;

/// A request at an endpoint.
pub(crate) struct InFlight {
    local: Rc<Local>,
    slot: Slot,
    started: Instant,
    ended: bool,
    /// Where its endpoint has not answered well yet; until it is known how this one ends.
    trial: Option<Trial>,
    /// Where its cluster takes only so many: by what that counts them.
    permit: Option<NonZeroU32>,
}

impl InFlight {
    /// Counts a request that is sent, with the permit that its cluster asks for.
    pub(crate) fn begin(
        local: &Rc<Local>,
        slot: Slot,
        started: Instant,
        permit: Option<NonZeroU32>,
    ) -> Self {
        local.load.borrow_mut().update(slot, |load| {
            load.issued += 1;
            load.requests_active += 1;
        });
        Self {
            local: Rc::clone(local),
            slot,
            started,
            ended: false,
            trial: None,
            permit,
        }
    }

    /// The worker that it runs on.
    pub(crate) fn local(&self) -> &Local {
        &self.local
    }

    /// How it ends decides whether its endpoint gets another one.
    pub(crate) fn on_trial(mut self, trial: Option<Trial>) -> Self {
        self.trial = trial;
        self
    }

    /// Its response ended, or failed. Only the first end counts.
    pub(crate) fn end(&mut self, ended: Result<(), ErrorClass>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.trial = None;
        let us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.local.load.borrow_mut().update(self.slot, |load| {
            match ended {
                Ok(()) => load.succeeded += 1,
                Err(class) => load.errors.count(class),
            }
            load.latency.record(us);
        });
    }

    /// It became an opaque connection.
    pub(crate) fn upgrade(mut self) -> Opaque {
        self.end(Ok(()));
        Opaque::begin(&self.local, self.slot)
    }

    /// A connection was tried for it.
    pub(crate) fn connected(&self, came_about: bool) {
        let mut load = self.local.load.borrow_mut();
        load.update(self.slot, |load| load.connected(came_about));
    }

    /// Nothing of it was sent: it was never issued.
    pub(crate) fn withdraw(self) {
        let mut load = self.local.load.borrow_mut();
        load.update(self.slot, |load| {
            load.issued = load.issued.saturating_sub(1);
        });
    }

    /// A live session token placed it.
    pub(crate) fn pinned(&self) {
        let mut load = self.local.load.borrow_mut();
        load.update(self.slot, |load| load.pinned_requests += 1);
    }

    /// Its response begins a session.
    pub(crate) fn began_session(&self) {
        let mut load = self.local.load.borrow_mut();
        load.update(self.slot, |load| load.new_sessions += 1);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(trial) = self.trial.take() {
            trial.give_back();
        }
        if let Some(number) = self.permit {
            self.local.end_request(number);
        }
        self.local.load.borrow_mut().update(self.slot, |load| {
            load.requests_active = load.requests_active.saturating_sub(1);
        });
    }
}

/// An opaque connection at an endpoint.
pub(crate) struct Opaque {
    local: Rc<Local>,
    slot: Slot,
}

impl Opaque {
    /// Counts a connection that was opened.
    pub(crate) fn begin(local: &Rc<Local>, slot: Slot) -> Self {
        local.load.borrow_mut().update(slot, |load| {
            load.connections_opened += 1;
            load.connections_active += 1;
        });
        Self {
            local: Rc::clone(local),
            slot,
        }
    }
}

impl Drop for Opaque {
    fn drop(&mut self) {
        self.local.load.borrow_mut().update(self.slot, |load| {
            load.connections_active = load.connections_active.saturating_sub(1);
        });
    }
}
