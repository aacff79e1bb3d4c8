//! Envoy in a Pod: as the sidecar of a client, or as a gateway that the client is told of. Both have their routes, clusters
//! and endpoints from the control plane.

use super::{mesh::Mesh, peers, traffic::Load};
use segue_cli::lab::{Pod, PodSpec};
use serde_json::{Value, json};
use std::{
    ffi::OsString,
    fs,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode, Stdio},
};

/// What keeps the connections of a Pod's sidecar from being redirected to it again.
const MARK: u32 = 0x5_e90e;
const GATEWAY: &str = "127.0.0.1:8000";
const ADMIN_PORT: u16 = 9901;

/// An Envoy to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Envoy {
    pub(crate) name: &'static str,
    /// As `ApiConfigSource` calls it.
    pub(crate) api: &'static str,
    /// It takes what the client sends anywhere; else the client sends to it.
    pub(crate) is_sidecar: bool,
}

impl Envoy {
    /// Starts it and a client of `checkout` beside it.
    pub(crate) async fn start(self, mesh: &Mesh, load: Load) -> Pod {
        let folder = mesh.folder.path();
        let config = folder.join(format!("{}.json", self.name));
        fs::write(&config, self.bootstrap(mesh).to_string()).unwrap();
        let log = mesh.lab.logs().join(format!("{}.envoy.log", self.name));
        let mut app: Vec<OsString> = vec!["/proc/self/exe".into(), "beside".into()];
        app.extend([peers::envoy().unwrap().into(), config.into(), log.into()]);
        app.push("--".into());
        app.extend(load.client_of("checkout"));
        if !self.is_sidecar {
            app.extend(["--proxy".into(), GATEWAY.into()]);
        }
        let spec = PodSpec {
            workload: format!("shop/{}", self.name),
            app: Some(app),
            redirect: self.is_sidecar.then_some((15_001, 15_006)),
            lines: true,
            ..PodSpec::default()
        };
        mesh.lab.start_pod(spec).await.unwrap()
    }

    fn bootstrap(self, mesh: &Mesh) -> Value {
        let xds = mesh.control_plane.xds();
        let services = json!([{"envoy_grpc": {"cluster_name": "xds"}}]);
        let ads = json!({"ads": {}, "resource_api_version": "V3"});
        let mark = json!({
            "description": "SO_MARK", "level": 1, "name": 36, "int_value": MARK, "state": "STATE_PREBIND",
        });
        json!({
            "node": {"id": format!("shop/{}", self.name), "cluster": "shop"},
            "admin": {"address": address("127.0.0.1", ADMIN_PORT)},
            "dynamic_resources": {
                "ads_config": {"api_type": self.api, "transport_api_version": "V3", "grpc_services": services},
                "cds_config": ads,
                "lds_config": ads,
            },
            "cluster_manager": {
                "upstream_bind_config": {"socket_options": [mark]},
                "load_stats_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": services},
            },
            "static_resources": {
                "clusters": [{
                    "name": "xds",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                            "explicit_http_config": {"http2_protocol_options": {
                                "connection_keepalive": {"interval": "5s", "timeout": "5s"},
                            }},
                        },
                    },
                    "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [
                        {"endpoint": {"address": address(&xds.ip().to_string(), xds.port())}},
                    ]}]},
                }],
                "listeners": if self.is_sidecar { json!([]) } else { json!([gateway(&ads)]) },
            },
        })
    }
}

fn address(ip: &str, port: u16) -> Value {
    json!({"socket_address": {"address": ip, "port_value": port}})
}

/// A listener of the operator's own, with the routes of the mesh.
fn gateway(ads: &Value) -> Value {
    json!({
        "name": "gateway",
        "address": address("127.0.0.1", 8000),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "gateway",
                "rds": {"config_source": ads, "route_config_name": "80"},
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                }],
            },
        }]}],
    })
}

/// Starts Envoy, which dies with this process, and becomes the client.
pub(crate) fn beside(program: &str, config: &str, log: &str, load: &[&str]) -> ExitCode {
    let log = fs::File::create(log).unwrap();
    let mut envoy = Command::new("/proc/self/exe");
    envoy
        .arg0("segue-lab-pod")
        .args(["exec", program, "-c", config])
        .args(["--concurrency", "1", "--log-level", "info"])
        .args(["--use-dynamic-base-id", "--disable-hot-restart"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    drop(envoy.spawn().unwrap());
    let (name, arguments) = load.split_first().unwrap();
    let error = Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .exec();
    panic!("the client does not start: {error}")
}
