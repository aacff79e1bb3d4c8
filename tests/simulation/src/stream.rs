//! The control plane's side of a connection: the real ADS state machine, and around it the rules of
//! `xds::server` (which stream speaks for a proxy, when it is introduced, what is a goodbye).

use super::{
    network::Up,
    queue::{ConnectionId, Event, Ms},
    simulation::Simulation,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use prost::Message as _;
use segue_control_plane::{
    model::{Generation, HealthSample, Key, Observed, ProxyId, ProxyState},
    xds::{
        server::INTRODUCTION,
        stream::{Client, Variant, delta},
        translate::Node,
    },
};

/// One stream.
#[derive(Debug)]
pub(crate) struct ServerStream {
    client: Client,
    reported: Option<ProxyState>,
    introduced: bool,
    seen: Generation,
}

impl Simulation {
    pub(crate) fn server_receives(&mut self, id: ConnectionId, message: Up) {
        let Some(name) = self.connections.get(&id).map(|c| c.proxy.clone()) else {
            return;
        };
        match message {
            Up::Ads(bytes) => self.ads(id, &name, &bytes),
            Up::Load(mut sample) => {
                sample.at = self.timestamp();
                self.observe(Observed::Load(*sample));
            }
            Up::Health(healthy) => {
                let at = self.timestamp();
                if let Ok(workload) = Key::try_from(format!("shop/{name}")) {
                    self.observe(Observed::Health(HealthSample {
                        workload,
                        at,
                        healthy,
                    }));
                }
            }
            Up::Goodbye => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.said_goodbye = true;
                }
                self.server_ends(id, true);
            }
        }
    }

    fn ads(&mut self, id: ConnectionId, name: &str, bytes: &[u8]) {
        let Ok(request) = DeltaDiscoveryRequest::decode(bytes) else {
            return;
        };
        let Some(snapshot) = self.plane.snapshot.clone() else {
            return;
        };
        if !self.plane.streams.contains_key(&id) {
            let Some(node) = request.node.as_ref().and_then(Node::read) else {
                return;
            };
            let client = Client::new(Variant::Delta, id, node, None, snapshot.clone());
            self.plane.registry.insert(name.to_owned(), id);
            let stream = ServerStream {
                client,
                reported: None,
                introduced: false,
                seen: snapshot.generation(),
            };
            self.plane.streams.insert(id, stream);
            let introduction = u64::try_from(INTRODUCTION.as_millis()).unwrap_or(Ms::MAX);
            self.queue
                .push(self.now + introduction, Event::Introduced(id));
        }
        let Some(stream) = self.plane.streams.get_mut(&id) else {
            return;
        };
        stream.seen = snapshot.generation();
        if let Some(error) = &request.error_detail {
            let line = format!("{name} NACKs {}: {}", request.type_url, error.message);
            self.checks.nacked(&line);
            self.trace.note(self.now, &line);
        }
        let responses = delta::on_request(&mut stream.client, &snapshot, &request);
        self.respond(id, responses.unwrap_or_default());
        self.report_state(id);
    }

    pub(crate) fn stream_snapshot(&mut self, id: ConnectionId) {
        let Some(snapshot) = self.plane.snapshot.clone() else {
            return;
        };
        let Some(stream) = self.plane.streams.get_mut(&id) else {
            return;
        };
        if stream.seen == snapshot.generation() {
            return;
        }
        stream.seen = snapshot.generation();
        let responses = delta::on_snapshot(&mut stream.client, &snapshot);
        self.respond(id, responses);
        self.report_state(id);
    }

    pub(crate) fn introduced(&mut self, id: ConnectionId) {
        if let Some(stream) = self.plane.streams.get_mut(&id) {
            stream.introduced = true;
            self.report_state(id);
        }
    }

    fn respond(&mut self, id: ConnectionId, responses: Vec<DeltaDiscoveryResponse>) {
        for response in responses {
            self.send_down(id, response.encode_to_vec());
        }
    }

    /// Tells the engine where the client's state has changed.
    fn report_state(&mut self, id: ConnectionId) {
        let now = self.now;
        let Some(stream) = self.plane.streams.get_mut(&id) else {
            return;
        };
        if stream.reported.is_none() && !stream.client.is_introduced() && !stream.introduced {
            return;
        }
        let state = stream.client.state();
        let Some((_, name)) = state.proxy.0.split_once('/') else {
            return;
        };
        let speaks = self.plane.registry.get(name) == Some(&id);
        if !speaks || stream.reported.as_ref() == Some(&state) {
            return;
        }
        if let Some(proxy) = self.proxies.get_mut(name) {
            let in_sync = state.acked >= stream.seen;
            proxy.is_seen(in_sync, now);
        }
        let (acked, sent) = (state.acked.0, state.sent.0);
        let line = format!("{name} on {id}: acked {acked}, sent {sent}");
        stream.reported = Some(state.clone());
        self.note(&line);
        self.observe(Observed::Proxy(state));
    }

    pub(crate) fn server_loses(&mut self, id: ConnectionId) {
        self.server_ends(id, false);
        self.sweep_connections();
    }

    fn server_ends(&mut self, id: ConnectionId, clean: bool) {
        let Some(connection) = self.connections.get_mut(&id).filter(|c| c.server_open) else {
            return;
        };
        connection.server_open = false;
        let name = connection.proxy.clone();
        if clean && connection.proxy_open {
            self.within(0, 5, Event::ProxyLoses(id));
        }
        if self.plane.streams.remove(&id).is_none() {
            return;
        }
        if self.plane.registry.get(&name) != Some(&id) {
            return;
        }
        self.plane.registry.remove(&name);
        self.note(&format!("{name} on {id}: gone, clean {clean}"));
        if let Some(proxy) = self.proxies.get_mut(&name) {
            proxy.is_lost(self.now);
        }
        let proxy = ProxyId::from(format!("shop/{name}").as_str());
        self.observe(Observed::ProxyGone { proxy, clean });
    }
}
