//! Connections between sidecars and the control plane: late, cut, half open.
//!
//! One connection carries a sidecar's ADS, LRS and HDS streams, as in life: in order within each, and
//! each at its own pace, since at both ends another task serves each of them.

use super::{
    queue::{ConnectionId, Event, Ms},
    simulation::Simulation,
};
use segue_control_plane::model::LoadSample;
use std::collections::{BTreeMap, VecDeque};

/// A peer that says nothing is given up after the keepalive's interval and time-out.
const KEEPALIVE: (Ms, Ms) = (5_000, 10_000);
/// Until a reset is seen.
const RESET: (Ms, Ms) = (0, 40);
/// All is well until the clients come.
const CALM: Ms = 2_000;
/// Until a connect that nobody answers is given up.
const CONNECT_TIMEOUT: Ms = 2_000;

/// What a sidecar sends.
#[derive(Debug)]
pub(crate) enum Up {
    /// A request of its ADS stream, encoded.
    Ads(Vec<u8>),
    /// A load report.
    Load(Box<LoadSample>),
    /// The result of a health check.
    Health(bool),
    /// It half-closes its ADS stream.
    Goodbye,
}

/// A stream of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stream {
    /// Configuration.
    Ads,
    /// Load reports.
    Lrs,
    /// Health checks.
    Hds,
}

impl Up {
    fn stream(&self) -> Stream {
        match self {
            Self::Ads(_) | Self::Goodbye => Stream::Ads,
            Self::Load(_) => Stream::Lrs,
            Self::Health(_) => Stream::Hds,
        }
    }
}

/// What is under way on a stream.
#[derive(Debug, Default)]
struct Pipe {
    messages: VecDeque<Up>,
    /// No message comes in before the one sent before it.
    next: Ms,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) proxy: String,
    /// As the sidecar sees it.
    pub(crate) proxy_open: bool,
    /// As the control plane sees it.
    pub(crate) server_open: bool,
    /// Nothing passes any more, whatever its ends believe.
    cut: bool,
    /// The sidecar said goodbye: its ADS stream is over, and what is under way on the others comes in.
    pub(crate) said_goodbye: bool,
    up: BTreeMap<Stream, Pipe>,
    pub(crate) down: VecDeque<Vec<u8>>,
    /// No message comes in before the one sent before it.
    next_down: Ms,
}

/// How a connection breaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Break {
    /// Both sides see it soon.
    Reset,
    /// The control plane goes on believing in it.
    ProxyOnly,
    /// The sidecar does.
    ServerOnly,
    /// Nobody sees it before the keepalive.
    Silent,
}

impl Simulation {
    pub(crate) fn connect(&mut self, name: &str, process: u32) {
        let now = self.now;
        let Some(proxy) = self.proxies.get_mut(name) else {
            return;
        };
        if !proxy.is(process) || proxy.connection.is_some() {
            return;
        }
        let wait = u64::try_from(proxy.backoff.wait().as_millis()).unwrap_or(Ms::MAX);
        if proxy.partitioned_until > now {
            let again = now + CONNECT_TIMEOUT + wait;
            self.queue
                .push(again, Event::Connect(name.to_owned(), process));
            return;
        }
        if self.plane.engine.is_none() {
            self.queue
                .push(now + wait, Event::Connect(name.to_owned(), process));
            return;
        }
        self.numbered += 1;
        let id = self.numbered;
        proxy.connection = Some(id);
        let requests = proxy.stream.connected();
        proxy.forget_counts();
        self.connections.insert(
            id,
            Connection {
                proxy: name.to_owned(),
                proxy_open: true,
                server_open: true,
                cut: false,
                said_goodbye: false,
                up: BTreeMap::new(),
                down: VecDeque::new(),
                next_down: now,
            },
        );
        self.note(&format!("{name} connects as {id}"));
        self.send_requests(name, requests);
    }

    pub(crate) fn send_up(&mut self, id: ConnectionId, message: Up) {
        let at = self.now + self.latency();
        let Some(connection) = self
            .connections
            .get_mut(&id)
            .filter(|c| c.proxy_open && !c.cut)
        else {
            return;
        };
        let stream = message.stream();
        let pipe = connection.up.entry(stream).or_default();
        pipe.messages.push_back(message);
        pipe.next = pipe.next.max(at);
        self.queue.push(pipe.next, Event::ToServer(id, stream));
    }

    pub(crate) fn send_down(&mut self, id: ConnectionId, message: Vec<u8>) {
        let at = self.now + self.latency();
        let Some(connection) = self
            .connections
            .get_mut(&id)
            .filter(|c| c.server_open && !c.cut)
        else {
            return;
        };
        connection.down.push_back(message);
        connection.next_down = connection.next_down.max(at);
        self.queue.push(connection.next_down, Event::ToProxy(id));
    }

    /// Mostly a millisecond or two, sometimes much more.
    fn latency(&mut self) -> Ms {
        match self.rng.u8(..40) {
            0 if self.scenario.faults.network && self.now > CALM && !self.healed => {
                self.rng.u64(50..1_500)
            }
            1..=3 => self.rng.u64(5..60),
            _ => self.rng.u64(1..4),
        }
    }

    /// Until when nothing passes, where that is later than now.
    fn held_until(&self, id: ConnectionId) -> Option<Ms> {
        let name = &self.connections.get(&id)?.proxy;
        let until = self.proxies.get(name)?.partitioned_until;
        (until > self.now).then_some(until)
    }

    pub(crate) fn reaches_server(&mut self, id: ConnectionId, stream: Stream) {
        if let Some(until) = self.held_until(id) {
            return self.queue.push(until, Event::ToServer(id, stream));
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let pipe = connection.up.get_mut(&stream);
        let message = pipe.and_then(|pipe| pipe.messages.pop_front());
        let outlives_ads = connection.said_goodbye && stream != Stream::Ads;
        if (connection.server_open || outlives_ads)
            && let Some(message) = message
        {
            self.server_receives(id, message);
        }
    }

    pub(crate) fn reaches_proxy(&mut self, id: ConnectionId) {
        if let Some(until) = self.held_until(id) {
            return self.queue.push(until, Event::ToProxy(id));
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let message = connection.down.pop_front();
        if connection.proxy_open
            && let Some(message) = message
        {
            let name = connection.proxy.clone();
            self.proxy_receives(&name, &message);
        }
    }

    /// Breaks a connection.
    pub(crate) fn break_off(&mut self, id: ConnectionId, how: Break) {
        self.note(&format!("connection {id} breaks: {how:?}"));
        let (proxy, server) = match how {
            Break::Reset => (RESET, RESET),
            Break::ProxyOnly => (RESET, KEEPALIVE),
            Break::ServerOnly => (KEEPALIVE, RESET),
            Break::Silent => (KEEPALIVE, KEEPALIVE),
        };
        if matches!(how, Break::Silent | Break::ProxyOnly | Break::ServerOnly)
            && let Some(connection) = self.connections.get_mut(&id)
        {
            // What is under way is lost with it, and what is sent from now on: no message is lost
            // out of the middle of a stream.
            connection.cut = true;
            connection.up.clear();
            connection.down.clear();
        }
        self.within(proxy.0, proxy.1, Event::ProxyLoses(id));
        self.within(server.0, server.1, Event::ServerLoses(id));
    }

    /// The control plane's end is gone at once; the sidecar sees that soon, or once it is reached.
    pub(crate) fn server_is_gone(&mut self) {
        for connection in self.connections.values_mut() {
            connection.said_goodbye = false;
        }
        let open: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.server_open)
            .map(|(id, _)| *id)
            .collect();
        for id in open {
            let held = self.held_until(id).unwrap_or(self.now);
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.server_open = false;
            }
            let at = held + self.rng.u64(RESET.0..=RESET.1);
            self.queue.push(at, Event::ProxyLoses(id));
        }
    }

    /// A sidecar's process ended: its peer sees that soon, or (its machine is gone) not before the
    /// keepalive.
    pub(crate) fn proxy_is_gone(&mut self, id: ConnectionId, silently: bool) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.proxy_open = false;
        }
        let (from, to) = if silently { KEEPALIVE } else { RESET };
        self.within(from, to, Event::ServerLoses(id));
    }

    pub(crate) fn proxy_loses(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id).filter(|c| c.proxy_open) else {
            return;
        };
        connection.proxy_open = false;
        let name = connection.proxy.clone();
        let now = self.now;
        let Some(proxy) = self.proxies.get_mut(&name) else {
            return;
        };
        if proxy.connection != Some(id) {
            return;
        }
        proxy.connection = None;
        proxy.stream.disconnected();
        let wait = u64::try_from(proxy.backoff.wait().as_millis()).unwrap_or(Ms::MAX);
        let process = proxy.process;
        self.queue.push(now + wait, Event::Connect(name, process));
    }

    /// Forgets connections that nobody holds any more.
    pub(crate) fn sweep_connections(&mut self) {
        self.connections.retain(|_, connection| {
            let under_way = connection.up.values().any(|pipe| !pipe.messages.is_empty());
            connection.proxy_open
                || connection.server_open
                || (connection.said_goodbye && under_way)
        });
    }
}
