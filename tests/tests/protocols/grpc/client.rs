//! A gRPC client for a service that has no description: every message is bytes.

use super::{
    super::mesh::HOST,
    POLL,
    server::{GRPC, NAME},
};
use hyper::http::uri::PathAndQuery;
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::{Stream, wrappers::UnboundedReceiverStream};
use tonic::{
    Request, Response, Status, Streaming,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// A connection to the service.
#[derive(Clone)]
pub(super) struct Client(Grpc<Channel>);

/// Messages that are sent one after the other.
pub(super) fn channel() -> (
    mpsc::UnboundedSender<Vec<u8>>,
    UnboundedReceiverStream<Vec<u8>>,
) {
    let (send, messages) = mpsc::unbounded_channel();
    (send, UnboundedReceiverStream::new(messages))
}

impl Client {
    pub(super) async fn connect() -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{HOST}:{GRPC}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let client = Grpc::new(channel);
        Self(
            client
                .max_decoding_message_size(usize::MAX)
                .max_encoding_message_size(usize::MAX),
        )
    }

    pub(super) async fn unary(
        &mut self,
        method: &str,
        ask: Request<Vec<u8>>,
    ) -> Result<Response<Vec<u8>>, Status> {
        self.0.ready().await.unwrap();
        self.0.unary(ask, path(method), codec()).await
    }

    pub(super) async fn client_streaming(
        &mut self,
        method: &str,
        messages: impl Stream<Item = Vec<u8>> + Send + 'static,
    ) -> Result<Vec<u8>, Status> {
        self.0.ready().await.unwrap();
        let ask = Request::new(messages);
        let answer = self.0.client_streaming(ask, path(method), codec()).await?;
        Ok(answer.into_inner())
    }

    pub(super) async fn server_streaming(
        &mut self,
        method: &str,
        ask: Request<Vec<u8>>,
    ) -> Result<Response<Streaming<Vec<u8>>>, Status> {
        self.0.ready().await.unwrap();
        self.0.server_streaming(ask, path(method), codec()).await
    }

    pub(super) async fn streaming(
        &mut self,
        method: &str,
        messages: impl Stream<Item = Vec<u8>> + Send + 'static,
    ) -> Result<Streaming<Vec<u8>>, Status> {
        self.0.ready().await.unwrap();
        let ask = Request::new(messages);
        let answers = self.0.streaming(ask, path(method), codec()).await?;
        Ok(answers.into_inner())
    }

    /// What the server has counted.
    pub(super) async fn number(&mut self, method: &str) -> u64 {
        let answer = self.unary(method, Request::new(Vec::new())).await.unwrap();
        String::from_utf8(answer.into_inner())
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Waits until the server has counted so many.
    pub(super) async fn until(&mut self, method: &str, number: u64) {
        while self.number(method).await < number {
            sleep(POLL).await;
        }
    }
}

fn path(method: &str) -> PathAndQuery {
    format!("/{NAME}/{method}").parse().unwrap()
}

fn codec() -> ProstCodec<Vec<u8>, Vec<u8>> {
    ProstCodec::default()
}
