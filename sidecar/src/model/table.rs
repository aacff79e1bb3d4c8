//! Where a hash leads: consistent hashing.

/// The places of the endpoints of one priority, by their index in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table {
    /// Places on a ring in the order of their numbers: a hash belongs to the next one.
    Ring(Box<[(u64, u32)]>),
    /// As many places as the table is long: a hash belongs to its remainder.
    Maglev(Box<[u32]>),
}

impl Table {
    /// The endpoints for a hash: first its own, then those that stand in where that can't serve. Ends
    /// after one round.
    pub fn walk(&self, hash: u64) -> impl Iterator<Item = usize> {
        let (length, first) = match self {
            Self::Ring(places) => {
                let next = places.partition_point(|(number, _)| *number < hash);
                (places.len(), next)
            }
            Self::Maglev(places) => {
                let length = u64::try_from(places.len()).unwrap_or(u64::MAX).max(1);
                (places.len(), usize::try_from(hash % length).unwrap_or(0))
            }
        };
        // Beyond the last comes the first.
        (first..length)
            .chain(0..first.min(length))
            .filter_map(|place| self.endpoint(place))
    }

    fn endpoint(&self, place: usize) -> Option<usize> {
        let index = match self {
            Self::Ring(places) => places.get(place)?.1,
            Self::Maglev(places) => *places.get(place)?,
        };
        usize::try_from(index).ok()
    }
}
