//! One session: a cookie jar, a connection (or not), and requests one after another.
//!
//! It behaves as a browser or a service's HTTP client does: sends back the cookies it was given,
//! reuses its connection where its style says so, opens a new one where the server closed it, and
//! repeats a request only where it can know that no byte of it was sent.

use super::{failure::Failure, report::Kind, target::Target};
use crate::lab::app::seen::REQUEST_HEADER;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use tokio::time::{Instant, timeout};

/// The header by which the lab's application says which version it is.
pub(super) const VERSION_HEADER: &str = "x-lab-version";

/// How a session uses connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// One connection for as long as it lives.
    KeepAlive,
    /// A new one after so many requests.
    Every(u32),
    /// A new one for each request, said with `Connection: close`.
    PerRequest,
}

impl Style {
    /// Half keep their connection; of the others a quarter opens one per request.
    pub(super) fn drawn(random: &mut fastrand::Rng) -> Self {
        match random.u8(0..8) {
            0..4 => Self::KeepAlive,
            4 => Self::PerRequest,
            _ => Self::Every(5),
        }
    }
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    /// When it ends; None: never.
    pub(super) ends: Option<Instant>,
    /// The version of its last good answer.
    pub(super) version: Option<String>,
    style: Style,
    jar: BTreeMap<String, String>,
    connection: Option<SendRequest<Empty<Bytes>>>,
    uses: u32,
    connecting: bool,
    requests: u64,
}

impl Session {
    pub(super) fn new(id: u64, style: Style, ends: Option<Instant>) -> Self {
        Self {
            id,
            ends,
            version: None,
            style,
            jar: BTreeMap::new(),
            connection: None,
            uses: 0,
            connecting: false,
            requests: 0,
        }
    }

    /// One request; the version that answered it well.
    pub(super) async fn get(&mut self, target: &Target) -> Result<String, Failure> {
        self.connecting = false;
        self.requests += 1;
        let answer = timeout(target.timeout, self.exchange(target)).await;
        let answer = answer.unwrap_or_else(|_| {
            // Nothing was sent: no version is to blame.
            Err(if self.connecting {
                Failure::new(Kind::Refused, "no connection in time")
            } else {
                Failure::timed_out()
            })
        });
        if answer.is_err() {
            self.hang_up();
        }
        answer
    }

    /// The id of its newest request, of all that reach a service the only one.
    pub(super) fn request_id(&self, target: &Target) -> String {
        format!("{}-{}-{}", target.client, self.id, self.requests)
    }

    /// Closes its connection.
    pub(super) fn hang_up(&mut self) {
        self.connection = None;
        self.uses = 0;
    }

    async fn exchange(&mut self, target: &Target) -> Result<String, Failure> {
        let mut kept = self.kept_connection().await;
        let response = loop {
            let reused = kept.is_some();
            let mut sender = if let Some(sender) = kept.take() {
                sender
            } else {
                self.connecting = true;
                let opened = open(target).await?;
                self.connecting = false;
                opened
            };
            match sender.send_request(self.request(target)?).await {
                Ok(response) => {
                    self.connection = Some(sender);
                    break response;
                }
                // The kept connection had closed before the request went out.
                Err(error) if reused && error.is_canceled() => self.uses = 0,
                Err(error) => return Err(error.into()),
            }
        };
        self.uses += 1;
        self.finish(response).await
    }

    async fn kept_connection(&mut self) -> Option<SendRequest<Empty<Bytes>>> {
        let due = match self.style {
            Style::KeepAlive => false,
            Style::Every(uses) => self.uses >= uses,
            Style::PerRequest => true,
        };
        if due {
            self.hang_up();
        }
        let mut sender = self.connection.take()?;
        sender.ready().await.ok()?;
        Some(sender)
    }

    fn request(&self, target: &Target) -> Result<Request<Empty<Bytes>>, Failure> {
        let mut request = Request::get("/")
            .header(header::HOST, &target.host)
            .header(REQUEST_HEADER, self.request_id(target));
        if !self.jar.is_empty() {
            let cookies: Vec<_> = self.jar.iter().map(|(k, v)| format!("{k}={v}")).collect();
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        if self.style == Style::PerRequest {
            request = request.header(header::CONNECTION, "close");
        }
        request
            .body(Empty::new())
            .map_err(|error| Failure::new(Kind::Other, error.to_string()))
    }

    async fn finish(&mut self, response: Response<Incoming>) -> Result<String, Failure> {
        let (head, body) = response.into_parts();
        for cookie in head.headers.get_all(header::SET_COOKIE) {
            if let Ok(cookie) = cookie.to_str() {
                self.keep_cookie(cookie);
            }
        }
        let version = head
            .headers
            .get(VERSION_HEADER)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let body = body.collect().await?.to_bytes();
        match (head.status, version) {
            (http::StatusCode::OK, Some(version)) => Ok(version),
            (http::StatusCode::OK, None) => Err(Failure::new(
                Kind::Other,
                "200 that does not come from the application",
            )),
            (status, version) => Err(Failure::status(status, version, &body)),
        }
    }

    fn keep_cookie(&mut self, cookie: &str) {
        let mut parts = cookie.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        if parts.any(|attribute| attribute.eq_ignore_ascii_case("max-age=0")) {
            self.jar.remove(name);
        } else {
            self.jar.insert(name.to_owned(), value.to_owned());
        }
    }
}

async fn open(target: &Target) -> Result<SendRequest<Empty<Bytes>>, Failure> {
    let stream = target
        .connect_http()
        .await
        .map_err(|error| Failure::connect(&error))?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Its errors reach the request that is under way.
    tokio::task::spawn_local(async move { connection.await.ok() });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::{Session, Style};

    #[test]
    fn a_jar_keeps_the_newest_value_and_forgets_what_expired() {
        let mut session = Session::new(1, Style::KeepAlive, None);
        session.keep_cookie("a=1; Path=/; Max-Age=60; HttpOnly");
        session.keep_cookie("a=2");
        session.keep_cookie("b=x; Max-Age=60");
        session.keep_cookie("b=; max-age=0");
        session.keep_cookie("nonsense");
        assert_eq!(session.jar.len(), 1);
        assert_eq!(session.jar.get("a").unwrap(), "2");
    }
}
