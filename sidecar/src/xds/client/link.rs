//! One stream after the other: waits, opens, receives, and says what happened.

use crate::xds::backoff::Backoff;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
    aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
};
use std::{future::Future, pin::Pin, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Response, Status, Streaming, transport::Channel};

/// How long a closing stream waits for the server to see it.
const CLOSING: Duration = Duration::from_millis(500);

type Opened = Result<Response<Streaming<DeltaDiscoveryResponse>>, Status>;
type Opening = Pin<Box<dyn Future<Output = Opened> + Send>>;

/// The stream, or what stands in for it.
pub(super) struct Link {
    channel: Channel,
    backoff: Backoff,
    state: State,
    requests: Option<mpsc::UnboundedSender<DeltaDiscoveryRequest>>,
}

enum State {
    Waiting(Instant),
    Opening(Opening),
    Open(Box<Streaming<DeltaDiscoveryResponse>>),
}

/// What happened.
pub(super) enum Event {
    /// It is time for a new stream; [`Link::open`] it.
    Ready,
    /// The server accepted the stream.
    Opened,
    /// The server said something.
    Response(Box<DeltaDiscoveryResponse>),
    /// There is no stream any more; a new attempt follows by itself.
    Lost(String),
}

impl Link {
    /// Is ready at once.
    pub(super) fn new(channel: Channel, seed: u64) -> Self {
        Self {
            channel,
            backoff: Backoff::new(seed),
            state: State::Waiting(Instant::now()),
            requests: None,
        }
    }

    /// True while there is no stream, nor one that opens.
    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting(_))
    }

    /// Opens a stream that begins with these requests.
    pub(super) fn open(&mut self, first: Vec<DeltaDiscoveryRequest>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.requests = Some(sender);
        self.send(first);
        let mut client = AggregatedDiscoveryServiceClient::new(self.channel.clone())
            .max_decoding_message_size(usize::MAX);
        self.state = State::Opening(Box::pin(async move {
            client
                .delta_aggregated_resources(UnboundedReceiverStream::new(receiver))
                .await
        }));
    }

    /// Sends requests; they are dropped where there is no stream.
    pub(super) fn send(&self, requests: Vec<DeltaDiscoveryRequest>) {
        if let Some(sender) = &self.requests {
            for request in requests {
                // A closed channel is noticed on the receiving side.
                sender.send(request).ok();
            }
        }
    }

    /// The next event. Loses nothing when dropped.
    pub(super) async fn next(&mut self) -> Event {
        match &mut self.state {
            State::Waiting(until) => {
                sleep_until(*until).await;
                Event::Ready
            }
            State::Opening(opening) => match opening.as_mut().await {
                Ok(response) => {
                    self.state = State::Open(Box::new(response.into_inner()));
                    Event::Opened
                }
                Err(status) => self.lost(&status),
            },
            State::Open(stream) => match stream.message().await {
                Ok(Some(response)) => {
                    self.backoff.reset();
                    Event::Response(Box::new(response))
                }
                Ok(None) => self.lost(&Status::unavailable("the server ended the stream")),
                Err(status) => self.lost(&status),
            },
        }
    }

    /// Ends the stream and waits a moment for the server to see it.
    pub(super) async fn close(&mut self) {
        self.requests = None;
        if let State::Open(stream) = &mut self.state {
            let ended = async { while let Ok(Some(_)) = stream.message().await {} };
            timeout(CLOSING, ended).await.ok();
        }
    }

    /// The stream is over. Where it is we who could not go on, the server must not take the end of
    /// our requests for a goodbye: what is dropped here while they are still open is reset.
    fn lost(&mut self, status: &Status) -> Event {
        self.state = State::Waiting(Instant::now() + self.backoff.wait());
        self.requests = None;
        Event::Lost(describe(status))
    }
}

/// A status with the causes beneath it, which name the connection's fault.
fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    if text.is_empty() {
        status.code().to_string()
    } else {
        text
    }
}
