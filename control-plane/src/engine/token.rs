//! Session tokens: unguessable names of versions.
//!
//! A token is made from a key of the control plane's own, the service, the version and the number
//! of times that version was rolled back; so it is the same after a restart, can neither be chosen
//! nor forged by a client, and one that was rolled back never holds again.

use crate::model::{ServiceKey, SessionToken, Timestamp, UpgradeKey, VersionId};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

/// The key of all session tokens.
#[derive(Clone)]
pub(super) struct TokenKey([u8; 32]);

impl TokenKey {
    /// From 32 random bytes.
    pub(super) const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The token of a version that was rolled back `epoch` times.
    pub(super) fn token(
        &self,
        service: &ServiceKey,
        version: &VersionId,
        epoch: u32,
    ) -> SessionToken {
        SessionToken(self.name(&format!("{service}/{version}/{epoch}"), 8).into())
    }

    /// The mark of the control group of one attempt at a run: `c` and 8 hex digits. It tells no
    /// version, so it need not be long; another attempt's differs.
    pub(super) fn mark(&self, service: &ServiceKey, run: &Attempt<'_>) -> Arc<str> {
        let Attempt {
            upgrade,
            to,
            created,
            number,
            shifts,
        } = run;
        let created = created.0;
        let text = format!("control/{service}/{upgrade}/{to}/{created}/{number}/{shifts}");
        format!("c{}", self.name(&text, 4)).into()
    }

    /// `count` bytes in hex that nobody without the key can tell from the text.
    fn name(&self, text: &str, count: usize) -> String {
        let digest = match Hmac::<Sha256>::new_from_slice(&self.0) {
            Ok(mut mac) => {
                mac.update(text.as_bytes());
                mac.finalize().into_bytes().to_vec()
            }
            // HMAC takes keys of every length; this arm keeps the function total.
            Err(_) => Sha256::digest([&self.0, text.as_bytes()].concat()).to_vec(),
        };
        hex(&digest, count)
    }
}

/// One attempt at a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt<'a> {
    pub upgrade: &'a UpgradeKey,
    pub to: &'a VersionId,
    pub created: Timestamp,
    /// How often the run was tried before.
    pub number: usize,
    /// It has begun to shift traffic: sessions that were drawn before are not of the group.
    pub shifts: bool,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// `segue-` and 8 hex digits of namespace/service.
pub(super) fn default_cookie_name(service: &ServiceKey) -> String {
    format!(
        "segue-{}",
        hex(&Sha256::digest(service.to_string().as_bytes()), 4)
    )
}

fn hex(bytes: &[u8], count: usize) -> String {
    bytes
        .iter()
        .take(count)
        .fold(String::new(), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_depends_on_service_version_epoch_and_key() {
        let key = TokenKey::new([7; 32]);
        let service = ServiceKey::new("shop", "checkout");
        let token = key.token(&service, &"v1".into(), 0);
        assert_eq!(token.0.len(), 16);
        assert_eq!(token, key.token(&service, &"v1".into(), 0));
        for other in [
            key.token(&service, &"v2".into(), 0),
            key.token(&service, &"v1".into(), 1),
            key.token(&ServiceKey::new("shop", "cart"), &"v1".into(), 0),
            TokenKey::new([8; 32]).token(&service, &"v1".into(), 0),
        ] {
            assert_ne!(token, other);
        }
    }

    #[test]
    fn every_attempt_at_a_run_has_a_mark_of_its_own() {
        let key = TokenKey::new([7; 32]);
        let service = ServiceKey::new("shop", "checkout");
        let (upgrade, other) = (
            UpgradeKey::new("shop", "checkout-v2-1"),
            UpgradeKey::new("shop", "checkout-v2-2"),
        );
        let to = VersionId::from("v2");
        let first = Attempt {
            upgrade: &upgrade,
            to: &to,
            created: Timestamp(5),
            number: 0,
            shifts: true,
        };
        let mark = key.mark(&service, &first);
        assert_eq!((mark.len(), &mark[..1]), (9, "c"));
        assert_eq!(mark, key.mark(&service, &first));
        for run in [
            Attempt { number: 1, ..first },
            Attempt {
                shifts: false,
                ..first
            },
            Attempt {
                created: Timestamp(6),
                ..first
            },
            Attempt {
                upgrade: &other,
                ..first
            },
        ] {
            assert_ne!(mark, key.mark(&service, &run));
        }
    }

    #[test]
    fn the_default_cookie_name_is_short_and_stable() {
        let name = default_cookie_name(&ServiceKey::new("shop", "checkout"));
        assert_eq!(name.len(), "segue-".len() + 8);
        assert_eq!(
            name,
            default_cookie_name(&ServiceKey::new("shop", "checkout"))
        );
    }
}
