//! The rows of the table: what is measured, how, and what the sidecar must reach.

use super::{
    arena::Arena,
    load::{self, Http1},
    process::Process,
    proxies::{Kind, State},
};
use std::{
    thread::{self, sleep},
    time::Duration,
};

/// What the sidecar must reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// So many times Envoy's figure, at most.
    OfEnvoy(f64),
    /// This figure, at most.
    AtMost(f64),
}

/// A line of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) limit: Limit,
    measure: fn(Kind, &mut Process, &Arena, u32) -> Option<f64>,
}

const HTTP1: Http1 = Http1 {
    connections: 64,
    path: "/",
    paced: false,
    redirected: false,
    seconds: 0,
};
/// Idle connections are counted in thousands, of which this is one.
const IDLE: u32 = 1_000;
/// How long memory may take to settle.
const SETTLE: Duration = Duration::from_secs(2);

pub(crate) const ROWS: [Row; 9] = [
    Row {
        key: "h1c64",
        name: "HTTP/1.1, 64 connections",
        unit: "us/request",
        limit: Limit::OfEnvoy(0.60),
        measure: |kind, process, arena, seconds| {
            Some(http1_cpu(kind, process, arena, Http1 { seconds, ..HTTP1 }))
        },
    },
    Row {
        key: "h1c256",
        name: "HTTP/1.1, 256 connections",
        unit: "us/request",
        limit: Limit::OfEnvoy(0.40),
        measure: |kind, process, arena, seconds| {
            let load = Http1 {
                connections: 256,
                seconds,
                ..HTTP1
            };
            Some(http1_cpu(kind, process, arena, load))
        },
    },
    Row {
        key: "p99",
        name: "p99 at 4,000 requests/s over 64",
        unit: "us",
        limit: Limit::OfEnvoy(0.50),
        measure: |kind, _process, arena, seconds| Some(p99(kind, arena, seconds)),
    },
    Row {
        key: "h2",
        name: "HTTP/2 to HTTP/2, 8 x 8 streams",
        unit: "us/request",
        limit: Limit::OfEnvoy(0.70),
        measure: http2_cpu,
    },
    Row {
        key: "large",
        name: "1 MiB bodies, 8 connections",
        unit: "us/MiB",
        limit: Limit::OfEnvoy(0.75),
        measure: |kind, process, arena, seconds| {
            let load = Http1 {
                connections: 8,
                path: "/1m",
                seconds,
                ..HTTP1
            };
            Some(http1_cpu(kind, process, arena, load))
        },
    },
    Row {
        key: "tcp",
        name: "opaque TCP, 1 MiB answers",
        unit: "s/GiB",
        limit: Limit::OfEnvoy(0.70),
        measure: tcp_cpu,
    },
    Row {
        key: "idle",
        name: "anonymous memory, idle",
        unit: "MiB",
        limit: Limit::AtMost(6.0),
        measure: |kind, process, arena, _seconds| {
            fresh(kind, process, arena);
            Some(mib(process.anonymous_kib()))
        },
    },
    Row {
        key: "growth",
        name: "growth per 1,000 idle connections",
        unit: "MiB",
        limit: Limit::OfEnvoy(0.75),
        measure: |kind, process, arena, _seconds| {
            fresh(kind, process, arena);
            let before = process.anonymous_kib();
            let _idle = load::idle(kind.ports().http1, usize::try_from(IDLE).unwrap());
            sleep(SETTLE);
            Some(mib(process.anonymous_kib().saturating_sub(before)))
        },
    },
    Row {
        key: "change",
        name: "failed while routes and endpoints change",
        unit: "requests",
        limit: Limit::AtMost(0.0),
        measure: |kind, process, arena, seconds| Some(failed(kind, process, arena, seconds)),
    },
];

impl Row {
    /// One round at one proxy. None: the proxy can't do that, or not here.
    pub(crate) fn measure(
        &self,
        kind: Kind,
        process: &mut Process,
        arena: &Arena,
        seconds: u32,
    ) -> Option<f64> {
        (self.measure)(kind, process, arena, seconds)
    }
}

/// CPU microseconds per request.
fn http1_cpu(kind: Kind, process: &Process, arena: &Arena, load: Http1) -> f64 {
    let before = process.cpu_us();
    let seen = load.run(arena, kind.ports().http1);
    assert_eq!(seen.failed, 0, "{} failed requests: {seen:?}", kind.name());
    ratio(process.cpu_us() - before, seen.requests)
}

fn p99(kind: Kind, arena: &Arena, seconds: u32) -> f64 {
    let load = Http1 {
        paced: true,
        seconds,
        ..HTTP1
    };
    let seen = load.run(arena, kind.ports().http1);
    assert_eq!(seen.failed, 0, "{} failed requests: {seen:?}", kind.name());
    ratio(seen.p99_us, 1)
}

fn http2_cpu(kind: Kind, process: &mut Process, arena: &Arena, seconds: u32) -> Option<f64> {
    let port = kind.ports().http2?;
    if !arena.has("h2load") || !arena.has("nghttpd") {
        return None;
    }
    let before = process.cpu_us();
    let seen = load::http2(port, seconds);
    assert_eq!(seen.failed, 0, "{} failed requests: {seen:?}", kind.name());
    Some(ratio(process.cpu_us() - before, seen.requests))
}

fn tcp_cpu(kind: Kind, process: &mut Process, arena: &Arena, seconds: u32) -> Option<f64> {
    if !kind.has_tcp(arena) {
        return None;
    }
    let ports = kind.ports();
    let load = Http1 {
        connections: 8,
        path: "/1m",
        redirected: true,
        seconds,
        ..HTTP1
    };
    arena.redirect(ports.service, ports.tcp);
    let before = process.cpu_us();
    let seen = load.run(arena, ports.service);
    let spent = process.cpu_us() - before;
    Arena::unredirect();
    assert_eq!(seen.failed, 0, "{} failed requests: {seen:?}", kind.name());
    // Microseconds per MiB, and 1,024 MiB are a GiB.
    Some(ratio(spent, seen.requests) * 1024.0 / 1e6)
}

/// Four changes of endpoints and weights while 64 connections are busy.
fn failed(kind: Kind, process: &mut Process, arena: &Arena, seconds: u32) -> f64 {
    let load = Http1 { seconds, ..HTTP1 };
    let pause = Duration::from_secs(seconds.into()) / 6;
    let seen = thread::scope(|scope| {
        let client = scope.spawn(|| load.run(arena, kind.ports().http1));
        for (moved, weight) in [(true, 5), (true, 6), (false, 5), (false, 6)] {
            sleep(pause);
            kind.change(arena, process, State { moved, weight });
        }
        client.join().unwrap()
    });
    fresh(kind, process, arena);
    assert!(seen.requests > 0, "{} answered nothing", kind.name());
    ratio(seen.failed, 1)
}

/// Starts the proxy anew, as configured at first.
fn fresh(kind: Kind, process: &mut Process, arena: &Arena) {
    process.end();
    *process = kind.start(arena);
    sleep(SETTLE);
}

fn mib(kib: u64) -> f64 {
    ratio(kib, 1024)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "far below 2^52, and shown with two digits"
)]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
