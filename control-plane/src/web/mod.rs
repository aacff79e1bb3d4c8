//! The HTTP client for servers that policies name: sinks, Prometheus, webhooks.
//!
//! They are other people's: every try ends, every answer is bounded, no redirect is followed, and
//! nothing but scheme, host and port of an address is ever shown (paths and queries hold tokens).

mod text;

pub use text::{form, percent_encode};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::{error::Error, sync::Arc, time::Duration};
use tokio::time::timeout;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection is kept for the next request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// An HTTP/1.1 client with a pool of connections, which its clones share.
#[derive(Clone, Debug)]
pub struct Client {
    inner: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// An answer, its body read to the end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It did not come in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// It was too long.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The connection, TLS or the protocol.
    #[error("{0}")]
    Failed(String),
}

impl Client {
    /// A client that trusts the root certificates of this machine. Where there are none, it still
    /// speaks cleartext HTTP.
    ///
    /// # Errors
    ///
    /// Where the cryptography has no protocol version in common with TLS, which is a fault of the
    /// build.
    pub fn new() -> Result<Self, rustls::Error> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_nodelay(true);
        let provider = ring::default_provider();
        let builder = HttpsConnectorBuilder::new();
        let builder = match builder.with_provider_and_native_roots(provider.clone()) {
            Ok(builder) => builder,
            Err(error) => {
                tracing::info!("no https server will be trusted: {error}");
                let config = ClientConfig::builder_with_provider(Arc::new(provider))
                    .with_safe_default_protocol_versions()?
                    .with_root_certificates(RootCertStore::empty())
                    .with_no_client_auth();
                HttpsConnectorBuilder::new().with_tls_config(config)
            }
        };
        let connector = builder.https_or_http().enable_http1().wrap_connector(http);
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { inner })
    }

    /// Sends a request and reads all of the answer: within `within`, and of at most `most` bytes.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        within: Duration,
        most: usize,
    ) -> Result<Answer, AskError> {
        let answer = async {
            let answer = self.inner.request(request).await;
            let (head, body) = answer
                .map_err(|error| AskError::Failed(whole(&error)))?
                .into_parts();
            let body = Limited::new(body, most).collect().await;
            let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => AskError::TooLong(most),
                None => AskError::Failed(whole(&*error)),
            })?;
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            })
        };
        timeout(within, answer)
            .await
            .unwrap_or(Err(AskError::TimedOut(within)))
    }
}

/// An error with all its causes: the outermost says little.
fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
