//! Pages of a list, as AIP-158 has them: bounded also where nobody asks for it.
//!
//! A token is the key after which the next page begins, so that nothing is shown twice or left out
//! where upgrades come and go in between.

use super::{names, refuse::bad_field};
use crate::{engine::UpgradeView, model::UpgradeKey};
use segue_proto::control::ListUpgradesRequest;
use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};
use tonic::Status;

/// Upgrades on a page where nobody says how many: about a megabyte.
const NORM: usize = 100;
/// And at most.
const MOST: usize = 500;

type Views = BTreeMap<UpgradeKey, Arc<UpgradeView>>;

/// The upgrades of a page, and the token of the next one; empty: there is none.
pub(super) fn of(
    all: &Views,
    request: &ListUpgradesRequest,
) -> Result<(Vec<Arc<UpgradeView>>, String), Status> {
    let size = match usize::try_from(request.page_size) {
        Ok(0) => NORM,
        Ok(size) => size.min(MOST),
        Err(_) => {
            return Err(bad_field(
                "page_size",
                "it is negative; leave it out, or say 1 to 500",
            ));
        }
    };
    let after = match request.page_token.as_str() {
        "" => Unbounded,
        token => Excluded(after(token)?),
    };
    let namespace = request.namespace.as_str();
    let mut rest = all
        .range((after, Unbounded))
        .filter(|(key, _)| namespace.is_empty() || *key.namespace == *namespace)
        .peekable();
    let page: Vec<_> = rest.by_ref().take(size).collect();
    let next = match (page.last(), rest.peek()) {
        (Some((last, _)), Some(_)) => last.to_string(),
        _ => String::new(),
    };
    let views = page.into_iter().map(|(_, view)| Arc::clone(view));
    Ok((views.collect(), next))
}

fn after(token: &str) -> Result<UpgradeKey, Status> {
    let key = token
        .split_once('/')
        .map(|(namespace, name)| names::key(namespace, "name", name));
    match key {
        Some(Ok(key)) => Ok(key),
        _ => Err(bad_field(
            "page_token",
            "no page ends there: give `next_page_token` of the page before, as it came",
        )),
    }
}
