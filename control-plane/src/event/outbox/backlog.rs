//! What waits for one sink: in order, bounded, the oldest dropped first.

use super::record::{Header, Record};
use crate::model::Event;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

/// How much may wait for one sink.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events.
    pub events: usize,
    /// Bytes of them on disk.
    pub bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            events: 10_000,
            bytes: 16 << 20,
        }
    }
}

/// The next to be told.
#[derive(Clone, Debug)]
pub(in crate::event) struct Next {
    /// Its number.
    pub(in crate::event) seq: u64,
    /// What happened.
    pub(in crate::event) event: Arc<Event>,
    /// How many before it were lost.
    pub(in crate::event) lost: u64,
}

#[derive(Debug)]
struct Waiting {
    seq: u64,
    event: Arc<Event>,
    size: usize,
}

/// The events that wait. It changes by records alone, so that what is read back from disk is what
/// was.
#[derive(Debug)]
pub(super) struct Backlog {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    lost: u64,
    next: u64,
    /// On its way, and so not to be dropped.
    in_flight: Option<u64>,
}

impl Backlog {
    pub(super) fn new(header: &Header) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            lost: header.lost,
            next: header.next,
            in_flight: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    pub(super) fn next_seq(&self) -> u64 {
        self.next
    }

    /// The record of one more event of about this size; None: it waits already.
    pub(super) fn plan(&self, event: &Event, size: usize, bounds: Bounds) -> Option<Record> {
        if self
            .waiting
            .iter()
            .any(|waiting| waiting.event.id == event.id)
        {
            return None;
        }
        let (mut events, mut bytes) = (self.waiting.len() + 1, self.bytes + size);
        let mut dropped = Vec::new();
        for old in &self.waiting {
            if events <= bounds.events && bytes <= bounds.bytes {
                break;
            }
            if self.in_flight != Some(old.seq) {
                dropped.push(old.seq);
                events -= 1;
                bytes = bytes.saturating_sub(old.size);
            }
        }
        Some(Record::Event {
            seq: self.next,
            dropped,
            event: event.clone(),
        })
    }

    /// Takes in a record, which takes so many bytes on disk.
    pub(super) fn apply(&mut self, record: Record, size: usize) {
        match record {
            Record::Event {
                seq,
                dropped,
                event,
            } => {
                let dropped: BTreeSet<u64> = dropped.into_iter().collect();
                let before = self.waiting.len();
                self.remove(&dropped);
                self.lost += u64::try_from(before - self.waiting.len()).unwrap_or(u64::MAX);
                self.next = self.next.max(seq.saturating_add(1));
                self.bytes += size;
                self.waiting.push_back(Waiting {
                    seq,
                    event: Arc::new(event),
                    size,
                });
            }
            Record::Delivered { seq, told } => {
                self.remove(&BTreeSet::from([seq]));
                self.lost = self.lost.saturating_sub(told);
            }
            Record::GivenUp { seq } => {
                self.remove(&BTreeSet::from([seq]));
                self.lost = self.lost.saturating_add(1);
            }
        }
    }

    /// The oldest, which is on its way from now on.
    pub(super) fn head(&mut self) -> Option<Next> {
        let head = self.waiting.front()?;
        self.in_flight = Some(head.seq);
        Some(Next {
            seq: head.seq,
            event: Arc::clone(&head.event),
            lost: self.lost,
        })
    }

    /// What was on its way did not arrive.
    pub(super) fn landed(&mut self) {
        self.in_flight = None;
    }

    /// The records that say the same without any history.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> {
        self.waiting.iter().map(|waiting| Record::Event {
            seq: waiting.seq,
            dropped: Vec::new(),
            event: (*waiting.event).clone(),
        })
    }

    fn remove(&mut self, seqs: &BTreeSet<u64>) {
        if seqs.is_empty() {
            return;
        }
        let bytes = &mut self.bytes;
        self.waiting.retain(|waiting| {
            let goes = seqs.contains(&waiting.seq);
            if goes {
                *bytes = bytes.saturating_sub(waiting.size);
            }
            !goes
        });
        if self.in_flight.is_some_and(|seq| seqs.contains(&seq)) {
            self.in_flight = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        outbox::record::{FORMAT, VERSION},
        tests::{event, sink},
    };
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    fn empty() -> Backlog {
        Backlog::new(&Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            sink: sink("http://x/"),
            lost: 0,
            next: 0,
        })
    }

    const BOUNDS: Bounds = Bounds {
        events: 4,
        bytes: 1_000,
    };

    #[test]
    fn what_is_on_its_way_is_not_dropped_and_the_next_tells_of_the_lost() {
        let mut backlog = empty();
        for n in 0..6 {
            let record = backlog.plan(&event(n), 10, BOUNDS).unwrap();
            backlog.apply(record, 10);
            if n == 0 {
                assert_eq!(backlog.head().unwrap().lost, 0);
            }
        }
        assert_eq!((backlog.len(), backlog.lost()), (4, 2));
        backlog.apply(Record::Delivered { seq: 0, told: 0 }, 10);
        let next = backlog.head().unwrap();
        assert_eq!((next.seq, next.lost), (3, 2));
        backlog.apply(Record::Delivered { seq: 3, told: 2 }, 10);
        assert_eq!(backlog.head().unwrap().lost, 0);
    }

    #[test]
    fn an_event_that_waits_is_not_taken_twice() {
        let mut backlog = empty();
        let record = backlog.plan(&event(1), 10, BOUNDS).unwrap();
        backlog.apply(record, 10);
        assert_eq!(backlog.plan(&event(1), 10, BOUNDS), None);
    }

    proptest! {
        /// 0: an event comes; 1: a try begins; 2: it fails; 3: it succeeds.
        #[test]
        fn nothing_goes_but_what_was_told_or_counted(steps in prop::collection::vec(0..4_u8, 0..200)) {
            let (mut backlog, mut log) = (empty(), Vec::new());
            let (mut came, mut told_of, mut delivered) = (0, 0, Vec::new());
            let mut trying: Option<Next> = None;
            for step in steps {
                match step {
                    0 => {
                        log.push(backlog.plan(&event(came), 300, BOUNDS).unwrap());
                        came += 1;
                        backlog.apply(log.last().unwrap().clone(), 300);
                    }
                    1 if trying.is_none() => trying = backlog.head(),
                    2 => { trying = None; backlog.landed(); }
                    _ => if let Some(next) = trying.take() {
                        log.push(Record::Delivered { seq: next.seq, told: next.lost });
                        backlog.apply(log.last().unwrap().clone(), 0);
                        told_of += next.lost;
                        delivered.push(next.seq);
                    }
                }
                prop_assert!(backlog.len() <= 4 && backlog.bytes() <= 1_000);
                let waiting = u64::try_from(backlog.len() + delivered.len()).unwrap();
                prop_assert_eq!(came, waiting + told_of + backlog.lost());
            }
            prop_assert!(delivered.is_sorted_by(|a, b| a < b));
            // What is read back is what was.
            let mut read = empty();
            for record in log {
                let size = if matches!(record, Record::Event { .. }) { 300 } else { 0 };
                read.apply(record, size);
            }
            prop_assert!(read.records().eq(backlog.records()));
            prop_assert_eq!((read.lost(), read.bytes()), (backlog.lost(), backlog.bytes()));
        }
    }
}
