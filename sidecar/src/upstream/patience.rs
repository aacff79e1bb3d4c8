//! How long is waited for a peer that owes something.
//!
//! One timer per wait-er, made when there is first something to wait for and set again only once it
//! has run out: what goes on steadily costs a comparison. So the limit is kept to within a factor
//! of two.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep};

/// Watches that at least so many bytes move in so much time, while they are waited for.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    least: u64,
    timer: Option<Pin<Box<Sleep>>>,
    moved: u64,
    /// What had moved when the timer was set.
    mark: u64,
    waiting: bool,
    /// What is waited for began while the timer was running.
    fresh: bool,
}

impl Patience {
    /// At least `least` bytes, one or more, in each `limit`.
    pub(crate) fn new(limit: Duration, least: u64) -> Self {
        Self {
            limit,
            least: least.max(1),
            timer: None,
            moved: 0,
            mark: 0,
            waiting: false,
            fresh: true,
        }
    }

    /// At least so many bytes a second.
    pub(crate) fn rate(limit: Duration, bytes_per_second: u64) -> Self {
        Self::new(limit, limit.as_secs().saturating_mul(bytes_per_second))
    }

    /// Bytes moved.
    pub(crate) fn moved(&mut self, bytes: usize) {
        self.moved = self.moved.saturating_add(u64::try_from(bytes).unwrap_or(0));
        self.waiting = false;
    }

    /// Something else is owed from now on: it has all of its time.
    pub(crate) const fn restart(&mut self) {
        self.fresh = true;
        self.waiting = false;
    }

    /// Nothing moves now. Ready: too little did, for too long. Time in which nobody asked is not
    /// the peer's.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut excused = !std::mem::replace(&mut self.waiting, true);
        let (limit, moved) = (self.limit, self.moved);
        let mark = &mut self.mark;
        let fresh = &mut self.fresh;
        let timer = self.timer.get_or_insert_with(|| {
            *mark = moved;
            *fresh = false;
            Box::pin(sleep(limit))
        });
        while timer.as_mut().poll(cx).is_ready() {
            excused |= std::mem::replace(fresh, false);
            if !std::mem::replace(&mut excused, false) && moved.saturating_sub(*mark) < self.least {
                return Poll::Ready(());
            }
            *mark = moved;
            timer.as_mut().reset(Instant::now() + limit);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::Patience;
    use std::{future::poll_fn, time::Duration};
    use tokio::time::{advance, timeout};

    const LIMIT: Duration = Duration::from_secs(10);
    const STEP: Duration = Duration::from_secs(1);

    async fn over(patience: &mut Patience) -> bool {
        let over = poll_fn(|cx| patience.poll_over(cx));
        timeout(Duration::from_millis(1), over).await.is_ok()
    }

    /// True where it was over within `steps` seconds of which each moved so many bytes.
    async fn ends(patience: &mut Patience, steps: u32, bytes: usize) -> bool {
        for _ in 0..steps {
            if over(patience).await {
                return true;
            }
            advance(STEP).await;
            if over(patience).await {
                return true;
            }
            if bytes > 0 {
                patience.moved(bytes);
            }
        }
        false
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_for_the_whole_time_is_too_little() {
        assert!(!ends(&mut Patience::new(LIMIT, 1), 9, 0).await);
        assert!(ends(&mut Patience::new(LIMIT, 1), 11, 0).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_below_the_rate_is_too_little_and_one_above_is_not() {
        assert!(ends(&mut Patience::rate(LIMIT, 64), 25, 1).await);
        assert!(!ends(&mut Patience::rate(LIMIT, 64), 100, 80).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asked_for_is_not_late() {
        let mut patience = Patience::new(LIMIT, 1);
        assert!(!over(&mut patience).await);
        patience.moved(1);
        advance(LIMIT * 5).await;
        assert!(!over(&mut patience).await);
    }

    #[tokio::test(start_paused = true)]
    async fn another_thing_has_all_of_its_time() {
        let mut patience = Patience::new(LIMIT, 1_000);
        assert!(!ends(&mut patience, 9, 1).await);
        patience.restart();
        assert!(!ends(&mut patience, 9, 0).await);
        assert!(ends(&mut patience, 11, 0).await);
    }
}
