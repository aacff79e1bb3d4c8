//! The load of a benchmark: one steady stream of requests through each sidecar as an explicit proxy.

use super::mesh::unix_ms;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

/// No answer for so long is a failure.
const TIMEOUT: Duration = Duration::from_secs(8);

/// A request that is over. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    /// As in `x-lab-request`.
    pub(super) id: String,
    /// The number of the sidecar.
    pub(super) client: usize,
    pub(super) sent: u64,
    pub(super) ended: u64,
    /// None: no answer.
    pub(super) status: Option<u16>,
    /// Who answered; empty: nobody who said so.
    pub(super) instance: String,
}

/// What all clients share.
#[derive(Debug, Default)]
struct Shared {
    over: Mutex<Vec<Exchange>>,
    /// When each that is under way was sent, and its id.
    under_way: Mutex<BTreeSet<(u64, String)>>,
}

/// The load under way.
#[derive(Debug)]
pub(super) struct Load {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

impl Load {
    /// So many requests per second through these sidecars together. Returns once each has had an answer.
    pub(super) async fn start(proxies: &[SocketAddr], rate: u32) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut load = Self {
            shared: Arc::default(),
            stop,
            clients: JoinSet::new(),
        };
        let count = u32::try_from(proxies.len()).unwrap();
        let period = Duration::from_secs(1) * count / rate;
        for (number, proxy) in (0_u32..).zip(proxies) {
            let client = Client {
                number: usize::try_from(number).unwrap(),
                proxy: *proxy,
                shared: Arc::clone(&load.shared),
                kept: Arc::default(),
            };
            client.answers().await;
            // Evenly, not all of them at one moment.
            let first = Instant::now() + period * number / count;
            load.clients
                .spawn(client.run(first, period, stopped.clone()));
        }
        load
    }

    /// What is over since it was asked last.
    pub(super) fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut *self.shared.over.lock())
    }

    /// As `take`, once everything that was sent before now has ended.
    pub(super) async fn settle(&self) -> Vec<Exchange> {
        let now = unix_ms();
        let is_open = || {
            let under_way = self.shared.under_way.lock();
            under_way.first().is_some_and(|(sent, _)| *sent <= now)
        };
        while is_open() {
            sleep(Duration::from_millis(20)).await;
        }
        self.take()
    }

    pub(super) async fn stop(&mut self) {
        self.stop.send_replace(true);
        while self.clients.join_next().await.is_some() {}
    }
}

/// One sidecar's client.
#[derive(Debug, Clone)]
struct Client {
    number: usize,
    proxy: SocketAddr,
    shared: Arc<Shared>,
    /// Connections that wait for the next request.
    kept: Arc<Mutex<Vec<Connection>>>,
}

type Connection = SendRequest<Empty<Bytes>>;

impl Client {
    /// Waits for a first good answer.
    async fn answers(&self) {
        while !matches!(self.exchange("").await, Ok((200, _))) {
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn run(self, first: Instant, period: Duration, mut stop: watch::Receiver<bool>) {
        let mut ticks = interval_at(first, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut requests = JoinSet::new();
        for n in 0_u64.. {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            while requests.try_join_next().is_some() {}
            let client = self.clone();
            requests.spawn(async move { client.request(format!("{}-{n}", client.number)).await });
        }
        requests.join_all().await;
    }

    async fn request(&self, id: String) {
        let sent = unix_ms();
        self.shared.under_way.lock().insert((sent, id.clone()));
        let answer = timeout(TIMEOUT, self.exchange(&id)).await;
        let (status, instance) = match answer {
            Ok(Ok((status, instance))) => (Some(status), instance),
            Ok(Err(_)) | Err(_) => (None, String::new()),
        };
        self.shared.under_way.lock().remove(&(sent, id.clone()));
        self.shared.over.lock().push(Exchange {
            id,
            client: self.number,
            sent,
            ended: unix_ms(),
            status,
            instance,
        });
    }

    async fn exchange(&self, id: &str) -> anyhow::Result<(u16, String)> {
        let mut connection = self.connection().await?;
        let request = Request::get("/")
            .header("host", "checkout.shop")
            .header("x-lab-request", id)
            .body(Empty::new())?;
        let response = connection.send_request(request).await?;
        let (head, body) = response.into_parts();
        body.collect().await?;
        self.kept.lock().push(connection);
        let instance = head.headers.get("x-lab-instance");
        let instance = instance.map(|name| name.to_str().map(str::to_owned));
        Ok((
            head.status.as_u16(),
            instance.transpose()?.unwrap_or_default(),
        ))
    }

    async fn connection(&self) -> anyhow::Result<Connection> {
        loop {
            let kept = self.kept.lock().pop();
            let Some(mut kept) = kept else { break };
            if kept.ready().await.is_ok() {
                return Ok(kept);
            }
        }
        let stream = TcpStream::connect(self.proxy).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its errors reach the request that is under way.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }
}
