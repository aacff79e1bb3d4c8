//! Envoy, HAProxy and nginx with the same job: two versions of a service, 95 to 5, pooled upstream connections.

use super::{
    arena::{Arena, STREAM_MODULE},
    backends::{NEW, OLD, local},
    process::{PROXY_CORE, Process, pinned},
    proxies::{Ports, State},
};
use nix::sys::signal::Signal;
use std::fmt::Write as _;

pub(crate) const ENVOY: Ports = Ports {
    http1: 10_001,
    http2: Some(10_002),
    tcp: 10_003,
    service: 9_001,
};
pub(crate) const HAPROXY: Ports = Ports {
    http1: 11_001,
    http2: Some(11_002),
    tcp: 11_003,
    service: 9_002,
};
pub(crate) const NGINX: Ports = Ports {
    http1: 12_001,
    http2: None,
    tcp: 12_003,
    service: 9_003,
};

pub(crate) fn envoy(arena: &Arena) -> Process {
    envoy_resources(arena, State::FIRST);
    let text = envoy_bootstrap(arena);
    let file = arena.file("envoy.yaml", &text);
    let mut command = pinned(PROXY_CORE, arena.envoy().unwrap());
    command
        .args([
            "--concurrency",
            "1",
            "--log-level",
            "warn",
            "--use-dynamic-base-id",
            "-c",
        ])
        .arg(file);
    Process::start(command, &arena.log("envoy"), local(ENVOY.http1))
}

/// Routes and endpoints, which Envoy reads again once their files are replaced.
pub(crate) fn envoy_resources(arena: &Arena, state: State) {
    let kind = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    for (name, version) in [("old", OLD), ("new", NEW)] {
        let http1 = state.port(version);
        for (name, port) in [
            (name.to_owned(), http1),
            (format!("{name}-h2"), version.http2),
        ] {
            arena.file(
                &format!("envoy/{name}.yaml"),
                &format!(
                    "resources: [{{\"@type\": {kind}, cluster_name: {name}, endpoints: [{{lb_endpoints: \
                     [{{endpoint: {{address: {}}}}}]}}]}}]\n",
                    address(port)
                ),
            );
        }
    }
    for suffix in ["", "-h2"] {
        let routes = format!(
            "resources:
- \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: routes{suffix}
  virtual_hosts:
  - name: checkout
    domains: [checkout.shop, \"checkout.shop:*\"]
    routes:
    - match: {{prefix: /}}
      route: {{weighted_clusters: {{clusters: [{{name: old{suffix}, weight: {}}}, {{name: new{suffix}, weight: {}}}]}}}}
",
            100 - state.weight,
            state.weight
        );
        arena.file(&format!("envoy/routes{suffix}.yaml"), &routes);
    }
}

fn address(port: u16) -> String {
    format!("{{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}")
}

fn envoy_bootstrap(arena: &Arena) -> String {
    let watched = |name: &str| {
        let path = arena.path(&format!("envoy/{name}.yaml"));
        let folder = arena.path("envoy");
        format!(
            "{{path_config_source: {{path: {}, watched_directory: {{path: {}}}}}}}",
            path.display(),
            folder.display()
        )
    };
    let listener = |suffix: &str, port: u16| {
        format!(
            "  - name: http{suffix}
    address: {}
    filter_chains: [{{filters: [{{name: hcm, typed_config: {{
      \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
      stat_prefix: http{suffix}, codec_type: AUTO, rds: {{route_config_name: routes{suffix}, config_source: {}}},
      http_filters: [{{name: router, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}]}}]\n",
            address(port),
            watched(&format!("routes{suffix}"))
        )
    };
    let mut clusters = String::new();
    let http2 = ", typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: \
                 {\"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, \
                 explicit_http_config: {http2_protocol_options: {}}}}";
    for (name, options) in [
        ("old", ""),
        ("new", ""),
        ("old-h2", http2),
        ("new-h2", http2),
    ] {
        writeln!(
            clusters,
            "  - {{name: {name}, type: EDS, lb_policy: LEAST_REQUEST, ignore_health_on_host_removal: true, \
             eds_cluster_config: {{eds_config: {}}}{options}}}",
            watched(name)
        )
        .unwrap();
    }
    format!(
        "node: {{id: bench, cluster: bench}}
static_resources:
  listeners:
{}{}  - name: tcp
    address: {}
    filter_chains: [{{filters: [{{name: tcp, typed_config: {{
      \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp,
      weighted_clusters: {{clusters: [{{name: old, weight: 95}}, {{name: new, weight: 5}}]}}}}}}]}}]
  clusters:
{clusters}",
        listener("", ENVOY.http1),
        listener("-h2", ENVOY.http2.unwrap_or_default()),
        address(ENVOY.tcp),
    )
}

pub(crate) fn haproxy(arena: &Arena) -> Process {
    let file = haproxy_file(arena, State::FIRST);
    let mut command = pinned(PROXY_CORE, "haproxy");
    command.args(["-W", "-db", "-f"]).arg(file);
    Process::start(command, &arena.log("haproxy"), local(HAPROXY.http1))
}

/// Writes the configuration and has HAProxy reload it.
pub(crate) fn haproxy_change(arena: &Arena, process: &Process, state: State) {
    haproxy_file(arena, state);
    process.signal(Signal::SIGUSR2);
}

fn haproxy_file(arena: &Arena, state: State) -> std::path::PathBuf {
    let mut text = "global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-request 1h
  timeout http-keep-alive 1h
  http-reuse always
"
    .to_owned();
    let http2 = " proto h2";
    let sections = [
        ("http", HAPROXY.http1, "", OLD.http1, NEW.http1),
        (
            "h2",
            HAPROXY.http2.unwrap_or_default(),
            http2,
            OLD.http2,
            NEW.http2,
        ),
        ("tcp", HAPROXY.tcp, "", OLD.http1, NEW.http1),
    ];
    for (name, port, protocol, old, new) in sections {
        let (old, new) = if name == "http" {
            (state.port(OLD), state.port(NEW))
        } else {
            (old, new)
        };
        let (mode, rule) = if name == "tcp" {
            ("tcp", String::new())
        } else {
            (
                "http",
                "  http-request deny unless { hdr(host),field(1,:) -i checkout.shop }\n".to_owned(),
            )
        };
        writeln!(
            text,
            "frontend {name}\n  mode {mode}\n  bind 127.0.0.1:{port}{protocol}\n{rule}  default_backend {name}-versions
backend {name}-versions\n  mode {mode}\n  balance random(2)
  server old 127.0.0.1:{old} weight {}{protocol}\n  server new 127.0.0.1:{new} weight {}{protocol}",
            100 - state.weight,
            state.weight
        )
        .unwrap();
    }
    arena.file("haproxy.cfg", &text)
}

pub(crate) fn nginx(arena: &Arena) -> Process {
    let file = nginx_file(arena, State::FIRST);
    let mut command = pinned(PROXY_CORE, "nginx");
    command.arg("-c").arg(file);
    Process::start(command, &arena.log("nginx"), local(NGINX.http1))
}

/// Writes the configuration and has nginx reload it.
pub(crate) fn nginx_change(arena: &Arena, process: &Process, state: State) {
    nginx_file(arena, state);
    process.signal(Signal::SIGHUP);
}

fn nginx_file(arena: &Arena, state: State) -> std::path::PathBuf {
    let servers = |old: u16, new: u16| {
        format!(
            "server 127.0.0.1:{old} weight={}; server 127.0.0.1:{new} weight={};",
            100 - state.weight,
            state.weight
        )
    };
    let (module, stream) = if arena.has(STREAM_MODULE) {
        let stream = format!(
            "stream {{ upstream tcp {{ {} }} server {{ listen 127.0.0.1:{} backlog=4096; proxy_pass tcp; }} }}\n",
            servers(OLD.http1, NEW.http1),
            NGINX.tcp
        );
        (format!("load_module {STREAM_MODULE};\n"), stream)
    } else {
        (String::new(), String::new())
    };
    let text = format!(
        "{module}daemon off; worker_processes 1; pid {}; error_log stderr crit; user root;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s; proxy_max_temp_file_size 0;
  upstream versions {{ {} keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{} backlog=4096; server_name checkout.shop;
    location / {{
      proxy_pass http://versions; proxy_http_version 1.1;
      proxy_set_header Connection \"\"; proxy_set_header Host $host;
    }}
  }}
}}
{stream}",
        arena.path("nginx.pid").display(),
        servers(state.port(OLD), state.port(NEW)),
        NGINX.http1,
    );
    arena.file("nginx.conf", &text)
}
