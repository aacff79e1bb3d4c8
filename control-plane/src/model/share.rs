//! Shares of traffic, in basis points.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A share of traffic, 0 to 10,000 basis points. Integers, so that shares add up exactly and
/// states can be compared.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(into = "u16", try_from = "u16")]
pub struct Share(u16);

impl Share {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// Everything: what all shares of a service sum to.
    pub const ALL: Self = Self(10_000);

    /// None above 10,000.
    pub const fn from_basis_points(points: u16) -> Option<Self> {
        if points <= 10_000 {
            Some(Self(points))
        } else {
            None
        }
    }

    /// None above 100.
    pub const fn from_percent(percent: u16) -> Option<Self> {
        if percent <= 100 {
            Some(Self(percent * 100))
        } else {
            None
        }
    }

    /// 0 to 10,000.
    pub const fn basis_points(self) -> u16 {
        self.0
    }

    /// What is left of everything.
    pub const fn rest(self) -> Self {
        Self(10_000 - self.0)
    }

    /// The least number of `of` that makes up at least this share.
    pub fn of_ceil(self, of: u32) -> u32 {
        u32::try_from((u64::from(of) * u64::from(self.0)).div_ceil(10_000)).unwrap_or(of)
    }
}

impl From<Share> for u16 {
    fn from(share: Share) -> Self {
        share.0
    }
}

impl TryFrom<u16> for Share {
    type Error = String;

    fn try_from(points: u16) -> Result<Self, Self::Error> {
        Self::from_basis_points(points).ok_or_else(|| format!("{points} is more than 10000"))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 100 {
            0 => write!(f, "{} %", self.0 / 100),
            rest => write!(f, "{}.{rest:02} %", self.0 / 100),
        }
    }
}
