//! The steady stream of requests: an open loop, so that a slow service does not slow its clients.
//!
//! Every millisecond the requests that are due are sent, each by the session that has waited
//! longest; where all of them wait for answers the request is not sent, and counted as such. A session has one request under way at a time: a first request without its cookie
//! and a second one beside it would be two sessions.

use super::{
    Settings,
    session::{Session, Style},
    tally::{Shared, unix_ms},
    target::Target,
};
use std::{collections::VecDeque, rc::Rc, time::Duration};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

/// Counts up evenly with time.
struct Rate {
    per_second: u64,
    begun: Instant,
    done: u64,
}

impl Rate {
    fn new(per_second: u64, begun: Instant) -> Self {
        Self {
            per_second,
            begun,
            done: 0,
        }
    }

    /// When each was due that is due since the last call.
    fn due(&mut self, now: Instant) -> impl Iterator<Item = Instant> + use<> {
        let elapsed = u64::try_from((now - self.begun).as_micros()).unwrap_or(u64::MAX);
        let total = elapsed.saturating_mul(self.per_second) / 1_000_000;
        let (begun, per_second) = (self.begun, self.per_second);
        let due = self.done + 1..=total;
        self.done = self.done.max(total);
        due.map(move |nth| {
            let micros = nth.saturating_mul(1_000_000).checked_div(per_second);
            begun + Duration::from_micros(micros.unwrap_or(0))
        })
    }
}

/// Sends requests until `stop`, then waits for those under way.
pub(super) struct Pacer {
    settings: Settings,
    target: Rc<Target>,
    tally: Shared,
    random: fastrand::Rng,
    waiting: VecDeque<Session>,
    under_way: JoinSet<Session>,
    sessions_made: u64,
}

impl Pacer {
    pub(super) fn new(settings: Settings, target: Rc<Target>, tally: Shared) -> Self {
        Self {
            settings,
            target,
            tally,
            random: fastrand::Rng::with_seed(settings.seed),
            waiting: VecDeque::new(),
            under_way: JoinSet::new(),
            sessions_made: 0,
        }
    }

    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        for _ in 0..self.settings.sessions {
            let session = self.session(None);
            self.waiting.push_back(session);
        }
        let begun = Instant::now();
        let mut requests = Rate::new(self.settings.rate, begun);
        let mut fresh = Rate::new(self.settings.new_sessions, begun);
        let mut ticks = interval(Duration::from_millis(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let now = tokio::select! {
                now = ticks.tick() => now,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            while let Some(session) = self.under_way.try_join_next() {
                self.waiting.extend(session);
            }
            for _ in fresh.due(now) {
                let lasts = Duration::from_millis(self.random.u64(5_000..15_000));
                let session = self.session(Some(now + lasts));
                // First in the line: what it is drawn for is what counts now.
                self.waiting.push_front(session);
            }
            for due in requests.due(now) {
                self.send(now, due);
            }
        }
        while self.under_way.join_next().await.is_some() {}
    }

    fn session(&mut self, ends: Option<Instant>) -> Session {
        self.sessions_made += 1;
        Session::new(self.sessions_made, Style::drawn(&mut self.random), ends)
    }

    fn send(&mut self, now: Instant, due: Instant) {
        let Some(mut session) = self.next_session(now) else {
            self.tally.borrow_mut().late();
            return;
        };
        let (target, tally) = (Rc::clone(&self.target), Rc::clone(&self.tally));
        tally.borrow_mut().sent();
        self.under_way.spawn_local(async move {
            request(&mut session, &target, &tally, due).await;
            session
        });
    }

    fn next_session(&mut self, now: Instant) -> Option<Session> {
        while let Some(session) = self.waiting.pop_front() {
            if session.ends.is_none_or(|ends| ends > now) {
                return Some(session);
            }
            self.tally.borrow_mut().session_ended(&session);
        }
        None
    }
}

/// Its latency counts from when it was due: what held the generator up is no better for a user.
async fn request(session: &mut Session, target: &Target, tally: &Shared, due: Instant) {
    let sent = unix_ms();
    let answer = session.get(target).await;
    let mut tally = tally.borrow_mut();
    match answer {
        Ok(version) => tally.answered(session, version, sent, due.elapsed()),
        Err(failure) => tally.failed(session, session.request_id(target), failure, sent),
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn a_rate_is_kept_whatever_the_ticks() {
        let begun = Instant::now();
        let mut rate = Rate::new(1_000, begun);
        let due: usize = [1_u64, 2, 2, 50, 999, 1_000]
            .iter()
            .map(|ms| rate.due(begun + Duration::from_millis(*ms)).count())
            .sum();
        assert_eq!(due, 1_000);
    }

    #[test]
    fn after_a_stall_each_request_keeps_the_time_it_was_due() {
        let begun = Instant::now();
        let mut rate = Rate::new(1_000, begun);
        let due: Vec<_> = rate.due(begun + Duration::from_millis(3)).collect();
        let at = [1, 2, 3].map(|ms| begun + Duration::from_millis(ms));
        assert_eq!(due, at);
    }
}
