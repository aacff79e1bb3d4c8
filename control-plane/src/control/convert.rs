//! The engine's nouns as the control API spells them.

use crate::{
    engine::{LoggedDecision, ProxyView, UpgradeView, VersionNumbers},
    event::{Outbox, SinkCounts},
    model::{self, Phase, Test, Timestamp, TypeState},
};
use segue_proto::control;
use std::time::{Duration, SystemTime};

/// Shows upgrades, with how their events fare.
#[derive(Clone, Debug)]
pub(super) struct Show {
    pub(super) outbox: Outbox,
    pub(super) clock: fn() -> Timestamp,
}

impl Show {
    pub(super) fn upgrade(&self, view: &UpgradeView) -> control::Upgrade {
        let sinks = self.outbox.counts_of(&view.effective.notify);
        upgrade(view, sinks.into_iter().map(sink).collect(), (self.clock)())
    }
}

fn upgrade(view: &UpgradeView, sinks: Vec<control::EventSink>, now: Timestamp) -> control::Upgrade {
    let spec = &view.spec;
    control::Upgrade {
        namespace: spec.key.namespace.to_string(),
        name: spec.key.name.to_string(),
        created: Some(timestamp(view.created)),
        resource_version: view.resource_version,
        spec: Some(control::UpgradeSpec {
            target_ref: Some(control::TargetRef {
                api_version: "v1".to_owned(),
                kind: "Service".to_owned(),
                name: spec.service.name.to_string(),
            }),
            from: spec.from.to_string(),
            to: spec.to.to_string(),
            paused: spec.paused,
        }),
        status: Some(status(view, sinks, now)),
    }
}

fn status(
    view: &UpgradeView,
    sinks: Vec<control::EventSink>,
    now: Timestamp,
) -> control::UpgradeStatus {
    let status = &view.status;
    control::UpgradeStatus {
        sinks,
        phase: status.phase.to_string(),
        weight: status.weight.basis_points().into(),
        generation: status.generation.unwrap_or_default().0,
        applied: Some(control::Applied {
            acked: status.applied.acked,
            total: status.applied.total,
            lagging: status
                .applied
                .lagging
                .iter()
                .map(|lagging| control::LaggingProxy {
                    proxy: lagging.proxy.to_string(),
                    since: duration(now.since(lagging.since)),
                    nack: lagging.nack.as_deref().unwrap_or_default().to_owned(),
                })
                .collect(),
        }),
        message: status.message.clone(),
        history: status.history.iter().map(transition).collect(),
        step: step(view),
        steps: count(view.steps),
        next_at: status.next_at.map(timestamp),
        old: Some(version(&view.old)),
        new: Some(version(&view.new)),
        conditions: status
            .conditions
            .iter()
            .map(|(kind, condition)| control::Condition {
                r#type: kind.clone(),
                status: condition.status,
                reason: condition.reason.clone(),
                message: condition.message.clone(),
                at: Some(timestamp(condition.at)),
            })
            .collect(),
        paused: status.paused,
        drained: status.drained.iter().map(ToString::to_string).collect(),
        sessions_released_at: status.sessions_released_at.map(timestamp),
        judgement: status.judgement.as_ref().map(judgement),
        measured_weight: view.measured.map(|share| share.basis_points().into()),
        policy: view.policy.iter().map(policy_field).collect(),
        events: view.events.iter().map(event).collect(),
        rollback_reason: status.rollback_reason.clone().unwrap_or_default(),
    }
}

/// The step that runs or ran last, from 1 on; 0 before the first.
fn step(view: &UpgradeView) -> u32 {
    match view.status.phase {
        Phase::Pending | Phase::Preparing => 0,
        _ => count(view.status.step.saturating_add(1)),
    }
}

fn transition(transition: &model::Transition) -> control::Transition {
    control::Transition {
        phase: transition.phase.to_string(),
        weight: transition.weight.basis_points().into(),
        at: Some(timestamp(transition.at)),
        reason: transition.reason.clone(),
        applied_at: transition.applied_at.map(timestamp),
    }
}

fn version(numbers: &VersionNumbers) -> control::VersionStatus {
    control::VersionStatus {
        id: numbers.id.to_string(),
        instances: numbers.instances,
        ready: numbers.ready,
        requests_per_second: numbers.requests_per_second,
        errors_per_second: numbers.errors_per_second,
        active_requests: numbers.active_requests,
        active_connections: numbers.active_connections,
        latency_us: numbers.latency_us,
        new_sessions: numbers.new_sessions,
        last_session: numbers.last_session.map(timestamp),
    }
}

fn judgement(judgement: &model::Judgement) -> control::Judgement {
    control::Judgement {
        verdict: format!("{:?}", judgement.verdict),
        requests: judgement.requests,
        eta: judgement.eta.and_then(duration),
        findings: judgement.findings.iter().map(finding).collect(),
    }
}

fn finding(finding: &model::Finding) -> control::Finding {
    control::Finding {
        test: match &finding.test {
            Test::Metric(name) => name.clone(),
            test => format!("{test:?}"),
        },
        verdict: format!("{:?}", finding.verdict),
        new: finding.new,
        old: finding.old,
        limit: finding.limit,
        smallest_visible: finding.smallest_visible,
        eta: finding.eta.and_then(duration),
        shared: finding.shared,
        text: finding.text.clone(),
    }
}

fn sink(counts: SinkCounts) -> control::EventSink {
    control::EventSink {
        address: counts.sink,
        waiting: counts.pending,
        delivered: counts.delivered,
        refused: counts.refused,
        dropped: counts.dropped,
        failure: counts.failure,
    }
}

fn policy_field(field: &model::PolicyField) -> control::PolicyField {
    control::PolicyField {
        path: field.path.clone(),
        value: field.value.clone(),
        source: field.source.clone(),
    }
}

fn event(event: &model::Event) -> control::Event {
    control::Event {
        id: event.id.clone(),
        at: Some(timestamp(event.at)),
        reason: event.reason.clone(),
        message: event.message.clone(),
        phase: event.phase.to_string(),
        weight: event.weight.basis_points().into(),
    }
}

pub(super) fn decision(logged: &LoggedDecision) -> control::Decision {
    control::Decision {
        at: Some(timestamp(logged.decision.at)),
        phase: logged.decision.phase.to_string(),
        rule: logged.decision.rule.clone(),
        verdict: logged.decision.verdict.clone(),
        inputs: logged.inputs.to_string(),
        context: logged.context(),
    }
}

pub(super) fn proxy(view: &ProxyView) -> control::Proxy {
    let state = &view.state;
    control::Proxy {
        id: state.proxy.to_string(),
        user_agent: state.user_agent.clone(),
        address: state.address.map(|a| a.to_string()).unwrap_or_default(),
        connected: Some(timestamp(view.connected_at)),
        acked_generation: state.acked.0,
        sent_generation: state.sent.0,
        resources: state.types.iter().map(resources).collect(),
    }
}

fn resources(kind: &TypeState) -> control::ProxyResources {
    let acked = kind.resources.values().filter(|state| state.acked).count();
    control::ProxyResources {
        type_url: kind.type_url.clone(),
        subscribed: count(kind.resources.len()),
        wildcard: kind.wildcard,
        acked: count(acked),
        pending: count(kind.resources.len() - acked),
        nack: kind.nack.as_deref().unwrap_or_default().to_owned(),
    }
}

pub(super) fn proxy_config(view: &ProxyView) -> control::ProxyConfig {
    let resources = view.state.types.iter().flat_map(|kind| {
        kind.resources.iter().map(|(name, state)| {
            let shown = match (&state.version, state.acked) {
                (None, _) => "NOT_FOUND",
                (Some(_), true) => "SYNCED",
                (Some(_), false) if kind.nack.is_some() => "NACKED",
                (Some(_), false) => "PENDING",
            };
            control::ProxyResource {
                type_url: kind.type_url.clone(),
                name: name.clone(),
                version: state.version.clone().unwrap_or_default(),
                state: shown.to_owned(),
            }
        })
    });
    control::ProxyConfig {
        proxy: Some(proxy(view)),
        resources: resources.collect(),
    }
}

fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    (SystemTime::UNIX_EPOCH + Duration::from_millis(at.0)).into()
}

fn duration(duration: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(duration).ok()
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
