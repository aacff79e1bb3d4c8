//! CloudEvents over NATS.
//!
//! Source: CloudEvents NATS Protocol Binding 1.0.2, structured mode; NATS client protocol.

use super::{
    cloud_event::{CloudEvent, STRUCTURED},
    deliver::Failure,
};
use crate::web::percent_encode;
use async_nats::{Client, ConnectOptions, Event, HeaderMap, ServerAddr, jetstream};
use bytes::Bytes;
use futures_util::StreamExt as _;
use std::{fmt::Display, sync::atomic::Ordering::Relaxed};
use tokio::sync::mpsc;

/// By this header a stream knows what comes twice.
const MESSAGE_ID: &str = "Nats-Msg-Id";

/// A NATS subject.
pub(super) struct NatsSink {
    server: String,
    subject: String,
    jet_stream: bool,
    /// The connection to a stream's server, until something fails.
    client: Option<Client>,
}

impl std::fmt::Debug for NatsSink {
    /// Without the server's address, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsSink")
            .field("subject", &self.subject)
            .field("jet_stream", &self.jet_stream)
            .finish_non_exhaustive()
    }
}

impl NatsSink {
    pub(super) fn new(server: &str, subject: &str, jet_stream: bool) -> Self {
        Self {
            server: server.to_owned(),
            subject: subject.to_owned(),
            jet_stream,
            client: None,
        }
    }

    /// Publishes, and returns when the server has the message for sure.
    pub(super) async fn send(&mut self, event: &CloudEvent<'_>) -> Result<(), Failure> {
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", STRUCTURED);
        let id = percent_encode(&event.event.id, |c| c.is_ascii_graphic() && c != '%');
        headers.insert(MESSAGE_ID, id);
        let payload = Bytes::from(event.structured());
        if !self.jet_stream {
            return self.publish(headers, payload).await;
        }
        // Taken out: a try that fails or is cut off leaves no connection in an unknown state.
        let client = match self.client.take() {
            Some(client) => client,
            None => self.connect().await?.0,
        };
        self.store(&client, headers, payload).await?;
        self.client = Some(client);
        Ok(())
    }

    /// A connection, and what happens to it.
    async fn connect(&self) -> Result<(Client, mpsc::UnboundedReceiver<Event>), Failure> {
        let address: ServerAddr = self.server.parse().map_err(|error| self.failure(error))?;
        let mut options = ConnectOptions::new().name("segue");
        options = match (address.username(), address.password()) {
            (Some(user), Some(password)) => {
                options.user_and_password(user.to_owned(), password.to_owned())
            }
            (Some(token), None) => options.token(token.to_owned()),
            _ => options,
        };
        let (sender, events) = mpsc::unbounded_channel();
        let client = options
            .event_callback(move |event| {
                // Nobody may care: then it is gone.
                drop(sender.send(event));
                std::future::ready(())
            })
            .connect(address)
            .await
            .map_err(|error| self.failure(error))?;
        Ok((client, events))
    }

    /// To a stream, which acknowledges.
    async fn store(
        &self,
        client: &Client,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<(), Failure> {
        let stored = jetstream::new(client.clone())
            .publish_with_headers(self.subject.clone(), headers, payload)
            .await
            .map_err(|error| self.failure(error))?
            .await;
        match stored {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failure(format!("no stream took it: {error}"))),
        }
    }

    /// To the server. Flushing alone would say that the kernel has it; a message to ourselves that
    /// comes back on the same connection says that the server has read all before it.
    ///
    /// What the server has against a message (no permission to publish) it says before that, and
    /// the library tells it in order with what happens to the connection: so the connection is
    /// drained, and all that comes before that is looked at. Events are rare; one connection for
    /// each is no burden.
    async fn publish(&self, headers: HeaderMap, payload: Bytes) -> Result<(), Failure> {
        let failed = |error: &dyn Display| self.failure(error);
        let (client, mut events) = self.connect().await?;
        let echo = client.new_inbox();
        let subscribed = client.subscribe(echo.clone()).await;
        let mut echoes = subscribed.map_err(|error| failed(&error))?;
        let subject = self.subject.clone();
        let published = client.publish_with_headers(subject, headers, payload).await;
        published.map_err(|error| failed(&error))?;
        let published = client.publish(echo, Bytes::new()).await;
        published.map_err(|error| failed(&error))?;
        let echoed = echoes.next().await.is_some();
        if !echoed || client.statistics().connects.load(Relaxed) > 1 {
            return Err(failed(&"the connection broke off"));
        }
        client.drain().await.map_err(|error| failed(&error))?;
        while let Some(event) = events.recv().await {
            match event {
                Event::ServerError(error) => return Err(failed(&error)),
                Event::Draining => return Ok(()),
                _ => {}
            }
        }
        Err(failed(&"the connection broke off"))
    }

    /// A failure, without the password that may stand in the address.
    fn failure(&self, error: impl Display) -> Failure {
        let text = error.to_string();
        let secret = self
            .server
            .split_once("://")
            .and_then(|(_, rest)| rest.rsplit_once('@'))
            .map(|(secret, _)| secret);
        Failure::passing(match secret {
            Some(secret) if !secret.is_empty() => text.replace(secret, "…"),
            _ => text,
        })
    }
}
