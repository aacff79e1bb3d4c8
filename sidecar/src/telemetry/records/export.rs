//! Where spans go: an OpenTelemetry collector, by OTLP over HTTP with JSON.
//!
//! One connection a batch, at most one a second: no more state than that is worth keeping.

use crate::xds::Dialer;
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{
    Method, Request, Uri,
    header::{CONTENT_TYPE, HOST},
};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::{str::FromStr, time::Duration};
use tokio::time::timeout;

/// Where a collector takes traces by OTLP over HTTP, unless its URL says so itself.
const PATH: &str = "/v1/traces";
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A collector's URL: `http://HOST:4318`, with a path where it is not `/v1/traces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorUrl(Uri);

impl FromStr for CollectorUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "expected http://HOST:PORT, such as http://otel-collector.ops:4318";
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("{error}; {expected}"))?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() {
            return Err(expected.to_owned());
        }
        let mut parts = uri.into_parts();
        let is_bare = |path: &http::uri::PathAndQuery| path.as_str() == "/";
        if parts.path_and_query.as_ref().is_none_or(is_bare) {
            parts.path_and_query = PATH.parse().ok();
        }
        let uri = Uri::from_parts(parts).map_err(|error| error.to_string())?;
        Ok(Self(uri))
    }
}

/// Takes spans.
#[derive(Clone, Debug)]
pub struct Collector {
    url: CollectorUrl,
    dialer: Dialer,
}

impl Collector {
    /// The one at this URL.
    pub fn new(url: CollectorUrl, dialer: Dialer) -> Self {
        Self { url, dialer }
    }

    /// Posts a batch.
    pub(super) async fn send(&self, body: &Value) -> anyhow::Result<()> {
        timeout(PATIENCE, self.post(body))
            .await
            .context("the collector does not answer")?
    }

    async fn post(&self, body: &Value) -> anyhow::Result<()> {
        let uri = &self.url.0;
        let authority = uri.authority().context("no host")?;
        let path = uri.path_and_query().context("no path")?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(path.as_str())
            .header(HOST, authority.as_str())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(serde_json::to_vec(body)?)))?;
        let stream = self.dialer.dial(uri).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            if !response.status().is_success() {
                bail!("the collector answers {}", response.status());
            }
            Ok(())
        };
        tokio::select! {
            answer = exchange => answer,
            ended = connection => {
                ended?;
                bail!("the collector closed the connection")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CollectorUrl;

    #[test]
    fn a_collector_is_an_http_url() {
        let read = |text: &str| text.parse::<CollectorUrl>().map(|url| url.0.to_string());
        assert_eq!(
            read("http://otel:4318").unwrap(),
            "http://otel:4318/v1/traces"
        );
        assert_eq!(read("http://otel:80/in").unwrap(), "http://otel:80/in");
        for wrong in ["otel:4318", "https://otel:4318", "grpc://otel", ""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
