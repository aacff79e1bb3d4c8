//! What is under way in clusters that take only so much.
//!
//! Each worker counts for itself, without a line of memory that all would write: it takes its part of
//! a limit, rounded up. Connections are spread over workers by the kernel, so that a worker may be full
//! while another is not; Envoy shares one count.

use super::Local;
use crate::model::{Breaker, Cluster};
use std::{collections::BTreeMap, num::NonZeroU32, rc::Rc, sync::Arc};

#[derive(Clone, Copy, Default)]
struct Counts {
    requests: u32,
    retries: u32,
}

/// A worker's counts, by the number of the breaker.
#[derive(Default)]
pub(crate) struct Breakers {
    counts: Vec<Counts>,
    /// What was refused since the last time this was asked, by cluster.
    refused: BTreeMap<Arc<str>, u64>,
}

/// What a permit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request,
    Retry,
}

/// A retry under way in a cluster that takes only so many, as long as this lives.
pub(crate) struct Permit {
    local: Rc<Local>,
    number: NonZeroU32,
}

/// The cluster has as much as it takes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Breakers {
    /// What was refused since the last time this was asked, by cluster.
    pub(crate) fn take_refused(&mut self) -> BTreeMap<Arc<str>, u64> {
        std::mem::take(&mut self.refused)
    }

    fn admit(&mut self, breaker: &Breaker, kind: Kind, workers: u32) -> Result<(), Full> {
        let index = index(breaker.number);
        if index >= self.counts.len() {
            let length = index.saturating_add(1);
            self.counts.resize(length, Counts::default());
        }
        let counts = self.counts.get_mut(index).ok_or(Full)?;
        let limits = &breaker.limits;
        let part = |limit: u32| limit.div_ceil(workers.max(1));
        let (count, limit) = match kind {
            Kind::Request => (&mut counts.requests, part(limits.max_requests)),
            Kind::Retry => {
                let requests = counts.requests;
                let all = limits.max_retries.allowed(requests.saturating_mul(workers));
                (&mut counts.retries, part(all))
            }
        };
        if *count >= limit {
            return Err(Full);
        }
        *count += 1;
        Ok(())
    }

    fn end(&mut self, number: NonZeroU32, kind: Kind) {
        let Some(counts) = self.counts.get_mut(index(number)) else {
            return;
        };
        let count = match kind {
            Kind::Request => &mut counts.requests,
            Kind::Retry => &mut counts.retries,
        };
        *count = count.saturating_sub(1);
    }
}

fn index(number: NonZeroU32) -> usize {
    usize::try_from(number.get()).unwrap_or(usize::MAX)
}

impl Local {
    /// Lets a request to a cluster. Some: it takes only so many, and counts this one until
    /// [`Self::end_request`].
    pub(crate) fn admit_request(&self, cluster: &Cluster) -> Result<Option<NonZeroU32>, Full> {
        self.admit(cluster, Kind::Request)
    }

    /// A request that was admitted has ended.
    pub(super) fn end_request(&self, number: NonZeroU32) {
        self.breakers.borrow_mut().end(number, Kind::Request);
    }

    /// Lets a request to a cluster be tried again. None: it takes any number.
    pub(crate) fn admit_retry(self: &Rc<Self>, cluster: &Cluster) -> Result<Option<Permit>, Full> {
        let number = self.admit(cluster, Kind::Retry)?;
        let permit = |number| Permit {
            local: Rc::clone(self),
            number,
        };
        Ok(number.map(permit))
    }

    fn admit(&self, cluster: &Cluster, kind: Kind) -> Result<Option<NonZeroU32>, Full> {
        let Some(breaker) = &cluster.balancing.breaker else {
            return Ok(None);
        };
        let mut breakers = self.breakers.borrow_mut();
        let admitted = breakers.admit(breaker, kind, self.limits.workers);
        if admitted.is_err() {
            let name = Arc::clone(&cluster.name);
            *breakers.refused.entry(name).or_default() += 1;
        }
        admitted.map(|()| Some(breaker.number))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut breakers = self.local.breakers.borrow_mut();
        breakers.end(self.number, Kind::Retry);
    }
}

#[cfg(test)]
mod tests {
    use super::{Breakers, Full, Kind};
    use crate::model::{Breaker, Limits, Retries};
    use std::num::NonZeroU32;

    const BREAKER: Breaker = Breaker {
        number: NonZeroU32::MIN,
        limits: Limits {
            max_requests: 5,
            max_retries: Retries::Fixed(1),
        },
    };

    #[test]
    fn a_worker_takes_its_part_of_a_limit_rounded_up() {
        let mut breakers = Breakers::default();
        let mut admit = |kind| breakers.admit(&BREAKER, kind, 2);
        for _ in 0..3 {
            assert_eq!(admit(Kind::Request), Ok(()));
        }
        assert_eq!(admit(Kind::Request), Err(Full));
        assert_eq!(admit(Kind::Retry), Ok(()));
        assert_eq!(admit(Kind::Retry), Err(Full));
    }

    #[test]
    fn a_budget_grows_with_what_is_under_way() {
        let budget = Breaker {
            limits: Limits {
                max_requests: 100,
                max_retries: Retries::Budget {
                    percent: 50.0,
                    least: 0,
                },
            },
            ..BREAKER
        };
        let mut breakers = Breakers::default();
        assert_eq!(breakers.admit(&budget, Kind::Retry, 1), Err(Full));
        for _ in 0..2 {
            breakers.admit(&budget, Kind::Request, 1).unwrap();
        }
        assert_eq!(breakers.admit(&budget, Kind::Retry, 1), Ok(()));
        assert_eq!(breakers.admit(&budget, Kind::Retry, 1), Err(Full));
    }
}
