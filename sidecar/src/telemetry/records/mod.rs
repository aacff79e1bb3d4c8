//! What is told of requests that are over: the access log and traces.
//!
//! Workers hand [`Record`]s over and go on; here they are written, one JSON object a line to
//! standard error, and sent as spans to an OpenTelemetry collector (OTLP over HTTP). What can't be
//! told in time is dropped and counted, never waited for.

mod access_log;
mod export;
mod span;

pub use export::{Collector, CollectorUrl};

use crate::{
    model::Record,
    worker::{AccessLog, Records},
    xds::Identity,
};
use std::{
    io::{Write as _, stderr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tracing::warn;

/// Records that may wait to be told.
const WAITING: usize = 4_096;
/// Spans that go out together.
const BATCH: usize = 512;
/// How long a span may wait for others.
const LINGER: Duration = Duration::from_secs(1);
/// Spans that may wait for a collector that does not answer.
const BACKLOG: usize = 8_192;

/// What is told, and to whom.
#[derive(Clone, Debug, Default)]
pub struct Telling {
    /// Which requests stand in the access log.
    pub log: AccessLog,
    /// Takes spans.
    pub collector: Option<Collector>,
    /// Of so many requests in a million that belong to no trace, one is begun.
    pub sampled: u32,
}

/// What was told and what was not, since the process's start.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Records that workers could not hand over: too many came at once.
    pub records_lost: Arc<AtomicU64>,
    /// Spans that the collector took.
    pub spans_sent: Arc<AtomicU64>,
    /// Spans that it did not take.
    pub spans_lost: Arc<AtomicU64>,
}

impl Told {
    /// As of now: records lost, spans sent, spans lost.
    pub fn counts(&self) -> [u64; 3] {
        let all = [&self.records_lost, &self.spans_sent, &self.spans_lost];
        all.map(|count| count.load(Ordering::Relaxed))
    }
}

impl Telling {
    /// Begins to tell. None: there is nothing to tell.
    pub fn begin(self, identity: &Identity, told: &Told) -> Option<Records> {
        if self.log == AccessLog::Off && self.collector.is_none() {
            return None;
        }
        let (to, records) = mpsc::channel(WAITING);
        let handle = Records {
            to,
            log: self.log,
            traces: self.collector.is_some(),
            sampled: self.sampled,
            lost: Arc::clone(&told.records_lost),
        };
        let spans = self
            .collector
            .map(|collector| spawn_export(collector, identity.clone(), told.clone()));
        tokio::spawn(tell(records, self.log, spans, told.clone()));
        Some(handle)
    }
}

/// Writes lines and hands spans on until the workers have ended.
async fn tell(
    mut records: mpsc::Receiver<Record>,
    log: AccessLog,
    spans: Option<mpsc::Sender<Record>>,
    told: Told,
) {
    let mut together = Vec::with_capacity(64);
    let mut text = String::new();
    while records.recv_many(&mut together, 64).await > 0 {
        for record in together.drain(..) {
            if log.takes(&record) {
                access_log::line(&record, &mut text);
            }
            let Some(spans) = spans.as_ref().filter(|_| record.trace.is_some()) else {
                continue;
            };
            if spans.try_send(record).is_err() {
                told.spans_lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        // Where standard error is closed nobody reads it.
        stderr().lock().write_all(text.as_bytes()).ok();
        text.clear();
    }
}

fn spawn_export(collector: Collector, identity: Identity, told: Told) -> mpsc::Sender<Record> {
    let (to, mut spans) = mpsc::channel::<Record>(BACKLOG);
    tokio::spawn(async move {
        let mut batch = Vec::with_capacity(BATCH);
        let mut ticks = interval(LINGER);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let room = BATCH - batch.len();
            tokio::select! {
                received = spans.recv_many(&mut batch, room) => {
                    if received == 0 {
                        return;
                    }
                    if batch.len() < BATCH {
                        continue;
                    }
                }
                _ = ticks.tick() => {}
            }
            if batch.is_empty() {
                continue;
            }
            let body = span::request(&identity, &batch);
            let sent = u64::try_from(batch.len()).unwrap_or_default();
            batch.clear();
            let count = match collector.send(&body).await {
                Ok(()) => &told.spans_sent,
                Err(error) => {
                    warn!("{sent} spans lost: {error:#}");
                    &told.spans_lost
                }
            };
            count.fetch_add(sent, Ordering::Relaxed);
        }
    });
    to
}

#[cfg(test)]
mod tests {
    use super::{Collector, Telling, Told, access_log::tests::record};
    use crate::{worker::AccessLog, xds::Dialer};
    use axum::{Json, Router, http::StatusCode, routing::post};
    use serde_json::Value;
    use std::{net::SocketAddr, time::Duration};
    use tokio::{net::TcpListener, sync::mpsc, time::timeout};

    const LONG: Duration = Duration::from_secs(20);

    /// A collector that answers so, and what it gets.
    async fn collector(status: StatusCode) -> (SocketAddr, mpsc::UnboundedReceiver<Value>) {
        let (got, received) = mpsc::unbounded_channel();
        let take = move |Json(body): Json<Value>| {
            got.send(body).unwrap();
            async move { status }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (address, received)
    }

    fn telling(collector: SocketAddr) -> Telling {
        let url = format!("http://{collector}").parse().unwrap();
        Telling {
            log: AccessLog::Off,
            collector: Some(Collector::new(url, Dialer::new(None))),
            sampled: 0,
        }
    }

    async fn until(told: &Told, counts: [u64; 3]) {
        let wait = async {
            while told.counts() != counts {
                tokio::task::yield_now().await;
            }
        };
        let waited = timeout(LONG, wait).await;
        assert!(waited.is_ok(), "{:?} is not {counts:?}", told.counts());
    }

    #[tokio::test]
    async fn spans_reach_a_collector() {
        let (address, mut received) = collector(StatusCode::OK).await;
        let told = Told::default();
        let identity = "shop/web-0".parse().unwrap();
        let records = telling(address).begin(&identity, &told).unwrap();
        records.tell(record());
        let body = timeout(LONG, received.recv()).await.unwrap().unwrap();
        let span = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["spanId"], "0000000000000002");
        until(&told, [0, 1, 0]).await;
    }

    #[tokio::test]
    async fn spans_that_are_refused_or_reach_nobody_are_counted() {
        let (refusing, _received) = collector(StatusCode::INTERNAL_SERVER_ERROR).await;
        let nobody = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        for address in [refusing, nobody] {
            let told = Told::default();
            let identity = "shop/web-0".parse().unwrap();
            let records = telling(address).begin(&identity, &told).unwrap();
            records.tell(record());
            until(&told, [0, 0, 1]).await;
        }
    }

    #[test]
    fn where_nothing_is_to_be_told_workers_need_not_care() {
        let nothing = Telling::default();
        let identity = "shop/web-0".parse().unwrap();
        assert!(nothing.begin(&identity, &Told::default()).is_none());
    }
}
