//! Where the wanted state comes from. A source knows nothing of upgrades: it gives whole, valid
//! [`Catalog`](crate::model::Catalog)s, or says all that is wrong, and never half of each.

pub mod manifest;
