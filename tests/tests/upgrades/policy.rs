//! The policy of a scenario, as a document: short holds, and margins that little traffic can tell.

use std::fmt::Write as _;

/// A policy. Durations and percentages are as documents write them.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// `strategy`, in flow style.
    pub(crate) strategy: String,
    /// `sessionAffinity.type`
    pub(crate) affinity: &'static str,
    /// `drain.timeout`
    pub(crate) drain_timeout: &'static str,
    /// `drain.sessionTimeout`
    pub(crate) session_timeout: &'static str,
    /// `rollback.window`
    pub(crate) window: &'static str,
    /// `progressDeadline`
    pub(crate) progress_deadline: &'static str,
    /// `analysis`, in flow style.
    pub(crate) analysis: String,
    /// `notify`, in flow style.
    pub(crate) notify: Option<String>,
}

/// What a step holds.
pub(crate) const HOLD: &str = "700ms";

/// Margins that some dozens of requests can tell.
pub(crate) const WIDE: Margins = Margins {
    success: "{min: 70, maxDrop: 20}",
    latency: "{quantile: 0.5, maxIncrease: 100%}",
};
/// Five errors in a hundred are too many.
pub(crate) const NO_ERRORS: Margins = Margins {
    success: "{min: 99.5, maxDrop: 0.5}",
    latency: "{quantile: 0.5, maxIncrease: 100%}",
};

/// More than twice as slow is too slow.
pub(crate) const NOT_SLOWER: Margins = Margins {
    success: "{min: 70, maxDrop: 20}",
    latency: "{quantile: 0.5, maxIncrease: 100%}",
};

/// What analysis asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Margins {
    success: &'static str,
    latency: &'static str,
}

/// Steps of the short hold, and 100.
pub(crate) fn canary(weights: &[u32]) -> String {
    let mut steps = String::new();
    for weight in weights {
        // Writing to a String cannot fail.
        write!(steps, "{{weight: {weight}, hold: {HOLD}}}, ").unwrap();
    }
    format!("{{type: Canary, capacity: Full, steps: [{steps}{{weight: 100}}]}}")
}

/// Steps that wait for `promote`, and then 100.
pub(crate) fn by_hand(weights: &[u32]) -> String {
    let mut steps = String::new();
    for weight in weights {
        write!(steps, "{{weight: {weight}, manual: true}}, ").unwrap();
    }
    format!("{{type: Canary, capacity: Full, steps: [{steps}{{weight: 100}}]}}")
}

/// `analysis` with these margins; it waits long.
pub(crate) fn analysis(margins: Margins) -> String {
    waiting(margins, "2m", "Pause")
}

/// `analysis` with these margins, that waits so long and then does this.
pub(crate) fn waiting(margins: Margins, max_wait: &str, on_low_traffic: &str) -> String {
    let Margins { success, latency } = margins;
    format!(
        "{{interval: 250ms, warmUp: 0s, minRequests: 10, maxWait: {max_wait}, onLowTraffic: {on_low_traffic}, \
         confidence: 0.95, successRate: {success}, latency: {latency}}}"
    )
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            strategy: canary(&[20, 50]),
            affinity: "None",
            drain_timeout: "5s",
            session_timeout: "2s",
            window: "1s",
            progress_deadline: "20s",
            analysis: analysis(WIDE),
            notify: None,
        }
    }
}

impl Policy {
    /// The document, for this service.
    pub(crate) fn document(&self, service: &str) -> String {
        let Self {
            strategy,
            affinity,
            drain_timeout,
            session_timeout,
            window,
            progress_deadline,
            analysis,
            notify,
        } = self;
        let notify = notify
            .as_ref()
            .map_or_else(String::new, |list| format!("  notify: {list}\n"));
        format!(
            "apiVersion: segue.dev/v1alpha1
kind: UpgradePolicy
metadata: {{name: {service}, namespace: shop}}
spec:
  targetRef: {{kind: Service, name: {service}}}
  progressDeadline: {progress_deadline}
  strategy: {strategy}
  sessionAffinity: {{type: {affinity}}}
  drain: {{timeout: {drain_timeout}, sessionTimeout: {session_timeout}}}
  health: {{failureThreshold: 3}}
  analysis: {analysis}
  rollback: {{window: {window}}}
{notify}"
        )
    }
}
