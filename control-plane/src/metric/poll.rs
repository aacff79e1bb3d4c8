//! Who asks when: a task for each metric of each upgrade that shifts traffic.

use super::{
    Subject,
    prometheus::{self, Bounds},
    template, webhook,
};
use crate::{
    engine::Board,
    model::{
        ExtraMetric, MetricOutcome, MetricSample, MetricSource, Observed, Phase, Share, Timestamp,
        UpgradeKey, origin,
    },
    web::{Answer, AskError, Client, form},
};
use http::{
    Request,
    header::{ACCEPT, CONTENT_TYPE},
};
use http_body_util::Full;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::{MissedTickBehavior, interval},
};

/// How long Prometheus may take.
const PROMETHEUS_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer.
const LONGEST_ANSWER: usize = 1 << 20;

/// One metric of one upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Job {
    subject: Subject,
    metric: ExtraMetric,
}

type Jobs = BTreeMap<(UpgradeKey, String), Job>;

/// What every task needs.
#[derive(Clone, Debug)]
struct Asker {
    board: watch::Receiver<Arc<Board>>,
    observed: mpsc::Sender<Observed>,
    client: Client,
    clock: fn() -> Timestamp,
}

/// Asks until `stop` turns true or its sender is gone: for each metric at its own interval, never
/// twice at once.
pub async fn poll(
    mut board: watch::Receiver<Arc<Board>>,
    observed: mpsc::Sender<Observed>,
    client: Client,
    clock: fn() -> Timestamp,
    mut stop: watch::Receiver<bool>,
) {
    let asker = Asker {
        board: board.clone(),
        observed,
        client,
        clock,
    };
    let mut tasks = JoinSet::new();
    let mut running: BTreeMap<(UpgradeKey, String), (Job, AbortHandle)> = BTreeMap::new();
    loop {
        let wanted = wanted(&board.borrow_and_update());
        running.retain(|key, (job, task)| {
            let stays = wanted.get(key) == Some(job);
            if !stays {
                task.abort();
            }
            stays
        });
        for (key, job) in wanted {
            running
                .entry(key)
                .or_insert_with(|| (job.clone(), tasks.spawn(asker.clone().ask_on(job))));
        }
        while tasks.try_join_next().is_some() {}
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            changed = board.changed() => if changed.is_err() { return },
        }
    }
}

/// What is to be asked for now.
fn wanted(board: &Board) -> Jobs {
    let mut jobs = Jobs::new();
    for (key, view) in &board.upgrades {
        if !view.status.phase.is_analysed() {
            continue;
        }
        for metric in &view.effective.analysis.metrics {
            let job = Job {
                subject: Subject {
                    upgrade: key.clone(),
                    service: view.spec.service.clone(),
                    from: view.spec.from.clone(),
                    to: view.spec.to.clone(),
                },
                metric: metric.clone(),
            };
            jobs.insert((key.clone(), metric.name.clone()), job);
        }
    }
    jobs
}

impl Asker {
    async fn ask_on(self, job: Job) {
        let mut ticks = interval(job.metric.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = true;
        loop {
            ticks.tick().await;
            let outcome = self.ask(&job).await;
            let (upgrade, metric) = (&job.subject.upgrade, &job.metric.name);
            tracing::debug!(%upgrade, metric, ?outcome, "metric");
            match &outcome {
                MetricOutcome::Unknown(reason) if known => {
                    tracing::warn!(%upgrade, metric, "the metric says nothing: {reason}");
                    known = false;
                }
                MetricOutcome::Unknown(_) => {}
                _ => known = true,
            }
            let sample = MetricSample {
                upgrade: upgrade.clone(),
                name: metric.clone(),
                at: (self.clock)(),
                outcome,
            };
            if self.observed.send(Observed::Metric(sample)).await.is_err() {
                return;
            }
        }
    }

    async fn ask(&self, job: &Job) -> MetricOutcome {
        match &job.metric.source {
            MetricSource::Prometheus {
                address,
                query,
                min,
                max,
            } => {
                let url = format!("{}/api/v1/query", address.trim_end_matches('/'));
                let body = form(&[("query", &template::fill(query, &job.subject))]);
                let content = "application/x-www-form-urlencoded";
                match self.post(&url, content, body, PROMETHEUS_TIMEOUT).await {
                    Ok(answer) => {
                        let bounds = Bounds {
                            min: min.as_deref(),
                            max: max.as_deref(),
                        };
                        prometheus::judge(&answer.status.to_string(), &answer.body, bounds)
                    }
                    Err(error) => unknown(address, &error),
                }
            }
            MetricSource::Webhook { url, timeout } => {
                let (phase, weight) = {
                    let board = self.board.borrow();
                    let view = board.upgrades.get(&job.subject.upgrade);
                    view.map_or((Phase::Shifting, Share::ZERO), |view| {
                        (view.status.phase, view.status.weight)
                    })
                };
                let body = webhook::body(&job.subject, &job.metric.name, phase, weight);
                match self.post(url, "application/json", body, *timeout).await {
                    Ok(answer) => webhook::judge(answer.status.as_u16(), &answer.body),
                    Err(error) => unknown(url, &error),
                }
            }
        }
    }

    async fn post(
        &self,
        url: &str,
        content: &str,
        body: String,
        within: Duration,
    ) -> Result<Answer, AskError> {
        let request = Request::post(url)
            .header(CONTENT_TYPE, content)
            .header(ACCEPT, "application/json")
            .body(Full::from(body))
            .map_err(|error| AskError::Failed(format!("its address can't be used: {error}")))?;
        self.client.send(request, within, LONGEST_ANSWER).await
    }
}

fn unknown(address: &str, error: &AskError) -> MetricOutcome {
    MetricOutcome::Unknown(format!("{}: {error}", origin(address)))
}
