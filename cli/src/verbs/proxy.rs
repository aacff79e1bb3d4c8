//! `segue proxy list|config`.

use super::{Failure, Format, Server, object, table::table, time};
use clap::Subcommand;
use segue_proto::control::{GetProxyConfigRequest, ListProxiesRequest, Proxy, ProxyConfig};
use std::time::SystemTime;

/// `segue proxy`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    server: Server,
    /// How the answer is written
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    output: Format,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The proxies that are connected, and how far each has come
    List {
        /// Of this namespace alone
        #[arg(short, long)]
        namespace: Option<String>,
    },
    /// Every resource that a proxy has, with its version and state
    Config {
        /// The proxy, NAMESPACE/NAME of its workload
        id: String,
    },
}

/// Runs the verb.
pub async fn run(args: Args) -> Result<(), Failure> {
    let mut proxies = args.server.proxies().await?;
    match args.verb {
        Verb::List { namespace } => {
            let request = args.server.request(ListProxiesRequest {
                namespace: namespace.unwrap_or_default(),
            });
            let proxies = proxies.list_proxies(request).await?.into_inner().proxies;
            let items = proxies.iter().map(object::proxy);
            let list = object::list("ProxyList", items);
            args.output.write(&list, || list_table(&proxies))
        }
        Verb::Config { id } => {
            let request = args.server.request(GetProxyConfigRequest { id });
            let config = proxies.get_proxy_config(request).await?.into_inner();
            let object = object::proxy_config(&config);
            args.output.write(&object, || config_table(&config))
        }
    }
}

fn list_table(proxies: &[Proxy]) -> String {
    if proxies.is_empty() {
        return "no proxy is connected\n".to_owned();
    }
    let rows: Vec<Vec<String>> = proxies.iter().map(row).collect();
    table(
        &[
            "PROXY",
            "KIND",
            "ADDRESS",
            "CONNECTED",
            "GENERATION",
            "RESOURCES",
            "REFUSED",
        ],
        &rows,
    )
}

fn row(proxy: &Proxy) -> Vec<String> {
    let (acked, pending) = proxy.resources.iter().fold((0, 0), |(acked, pending), of| {
        (acked + of.acked, pending + of.pending)
    });
    let nacks: Vec<String> = proxy
        .resources
        .iter()
        .filter(|of| !of.nack.is_empty())
        .map(|of| format!("{}: {}", short_type(&of.type_url), of.nack))
        .collect();
    let connected = proxy
        .connected
        .and_then(|at| SystemTime::try_from(at).ok())
        .map(time::ago);
    vec![
        proxy.id.clone(),
        proxy.user_agent.clone(),
        proxy.address.clone(),
        connected.unwrap_or_default(),
        proxy.acked_generation.to_string(),
        format!("{acked}/{} applied", acked + pending),
        nacks.join("; "),
    ]
}

fn config_table(config: &ProxyConfig) -> String {
    let rows: Vec<Vec<String>> = config
        .resources
        .iter()
        .map(|resource| {
            vec![
                short_type(&resource.type_url).to_owned(),
                resource.name.clone(),
                resource.version.clone(),
                resource.state.clone(),
            ]
        })
        .collect();
    table(&["TYPE", "NAME", "VERSION", "STATE"], &rows)
}

/// `Cluster` for `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
fn short_type(url: &str) -> &str {
    url.rsplit('.').next().unwrap_or(url)
}
