//! One encoded resource, and the types there are.

use crate::model::ServiceKey;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};
use segue_proto::names::type_url;
use sha2::{Digest, Sha256};
use std::{fmt::Write, sync::Arc};

/// The resource types that are served, in the order in which additions are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// CDS
    Cluster,
    /// EDS
    Endpoints,
    /// LDS
    Listener,
    /// RDS
    Route,
    /// VHDS
    VirtualHost,
}

impl ResourceType {
    /// All, in the order of delivery.
    pub const ALL: [Self; 5] = [
        Self::Cluster,
        Self::Endpoints,
        Self::Listener,
        Self::Route,
        Self::VirtualHost,
    ];

    /// Its type URL.
    pub const fn url(self) -> &'static str {
        match self {
            Self::Cluster => type_url::CLUSTER,
            Self::Endpoints => type_url::CLUSTER_LOAD_ASSIGNMENT,
            Self::Listener => type_url::LISTENER,
            Self::Route => type_url::ROUTE_CONFIGURATION,
            Self::VirtualHost => type_url::VIRTUAL_HOST,
        }
    }

    /// None: a type that is not served.
    pub fn from_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.url() == url)
    }

    /// True where a state-of-the-world response carries all there is: what is missing is deleted.
    pub const fn is_full_state(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }
}

/// A resource, encoded once and shared by all streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its canonical name.
    pub name: Arc<str>,
    /// A hash of its content.
    pub version: Arc<str>,
    /// The encoded message.
    pub body: Any,
    /// The services it speaks of.
    pub services: Vec<ServiceKey>,
}

impl Resource {
    /// Encodes a message. Its encoding must be deterministic: no map with more than one entry.
    pub fn new<M: Message + Name>(name: &str, message: &M, services: Vec<ServiceKey>) -> Arc<Self> {
        let value = message.encode_to_vec();
        Arc::new(Self {
            name: name.into(),
            version: content_hash([value.as_slice()]),
            body: Any {
                type_url: M::type_url(),
                value,
            },
            services,
        })
    }
}

/// 16 hex digits that change exactly when one of the parts does.
pub(crate) fn content_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Arc<str> {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part);
    }
    let mut text = String::with_capacity(16);
    for byte in hasher.finalize().iter().take(8) {
        // Writing to a String can't fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text.into()
}
