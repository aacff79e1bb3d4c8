//! The connection to the control plane.

use super::Failure;
use segue_control_plane::resource::Period;
use segue_proto::control::{
    ListUpgradesRequest, Upgrade, proxy_service_client::ProxyServiceClient,
    upgrade_service_client::UpgradeServiceClient,
};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// A list of many proxies is long.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// How long a control plane may take to accept.
const CONNECT: Duration = Duration::from_secs(5);
/// Whoever does not answer a ping for so long is gone.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Upgrades that a refusal names.
const NAMED: usize = 10;

/// What may be on its way to us: HTTP/2's own norm.
const WINDOW: u32 = 65_535;

/// Where the control plane is.
#[derive(Debug, clap::Args)]
pub struct Server {
    /// Where the control plane is
    #[arg(
        long,
        value_name = "URL",
        env = "SEGUE_SERVER",
        default_value = "http://127.0.0.1:15010",
        global = true
    )]
    server: String,
    /// How long an answer may take, as 10s or 1m30s (a bare number is seconds); `wait`: how long
    /// is waited
    #[arg(long, value_name = "TIME", global = true, value_parser = duration)]
    timeout: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    Period::parse(text)
        .map(|Period(duration)| duration)
        .ok_or_else(|| format!("{text:?} is no duration; write 10s, 500ms or 1m30s"))
}

pub(super) type Upgrades = UpgradeServiceClient<Channel>;
pub(super) type Proxies = ProxyServiceClient<Channel>;

impl Server {
    /// `--timeout`
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// A call, with its deadline.
    pub(super) fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        request
    }

    pub(super) async fn upgrades(&self) -> Result<Upgrades, Failure> {
        let channel = self.connect().await?;
        Ok(UpgradeServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER))
    }

    pub(super) async fn proxies(&self) -> Result<Proxies, Failure> {
        let channel = self.connect().await?;
        Ok(ProxyServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER))
    }

    async fn connect(&self) -> Result<Channel, Failure> {
        let endpoint = Endpoint::from_shared(self.server.clone()).map_err(|_| {
            Failure::Usage(format!(
                "--server {:?} is no address; write http://HOST:PORT",
                self.server
            ))
        })?;
        endpoint
            .connect_timeout(CONNECT)
            // A watch of something that stands still is silent: only pings tell that nobody is there.
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true)
            // What is sent ahead of a watch that is not read is old when it is.
            .initial_stream_window_size(WINDOW)
            .connect()
            .await
            .map_err(|error| Failure::Unreachable {
                server: self.server.clone(),
                reason: root_cause(&error),
            })
    }
}

fn root_cause(error: &tonic::transport::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Every upgrade of a namespace, or of all; the control plane gives them page by page.
pub(super) async fn all(
    server: &Server,
    upgrades: &mut Upgrades,
    namespace: Option<&str>,
) -> Result<Vec<Upgrade>, Failure> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = server.request(ListUpgradesRequest {
            namespace: namespace.unwrap_or_default().to_owned(),
            page_size: 0,
            page_token,
        });
        let page = upgrades.list_upgrades(request).await?.into_inner();
        all.extend(page.upgrades);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

/// Finds the upgrade that a person means: by name, by `NAMESPACE/NAME`, or by its service's name
/// (then the newest).
pub(super) async fn find(
    server: &Server,
    upgrades: &mut Upgrades,
    namespace: Option<&str>,
    name: &str,
) -> Result<Upgrade, Failure> {
    let (namespace, name) = match (namespace, name.split_once('/')) {
        (_, Some((namespace, name))) => (Some(namespace), name),
        (namespace, None) => (namespace, name),
    };
    let all = all(server, upgrades, namespace).await?;
    if let Some(upgrade) = choose(&all, name)? {
        return Ok(upgrade.clone());
    }
    let mut names: Vec<String> = all
        .iter()
        .take(NAMED)
        .map(|upgrade| format!("{}/{}", upgrade.namespace, upgrade.name))
        .collect();
    if all.len() > NAMED {
        names.push(format!("and {} more", all.len() - NAMED));
    }
    let within = namespace.map_or(String::new(), |namespace| {
        format!(" in namespace {namespace}")
    });
    Err(Failure::Refused(match names.as_slice() {
        [] => format!("there is no upgrade {name}{within}, nor any other"),
        names => format!(
            "there is no upgrade {name}{within}, nor one of a service of that name; there are {}",
            names.join(", ")
        ),
    }))
}

/// The one of this name, else the newest of the service of this name.
fn choose<'a>(all: &'a [Upgrade], name: &str) -> Result<Option<&'a Upgrade>, Failure> {
    let named: Vec<&Upgrade> = all.iter().filter(|upgrade| upgrade.name == name).collect();
    match named.as_slice() {
        [] => {}
        [one] => return Ok(Some(one)),
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|upgrade| format!("{}/{}", upgrade.namespace, upgrade.name))
                .collect();
            return Err(Failure::Usage(format!(
                "{name} is the name of several upgrades: say which with -n ({})",
                names.join(", ")
            )));
        }
    }
    let of_service = |upgrade: &&Upgrade| {
        upgrade
            .spec
            .as_ref()
            .and_then(|spec| spec.target_ref.as_ref())
            .is_some_and(|target| target.name == name)
    };
    let candidates: Vec<&Upgrade> = all.iter().filter(of_service).collect();
    let namespaces: std::collections::BTreeSet<&str> =
        candidates.iter().map(|u| u.namespace.as_str()).collect();
    if namespaces.len() > 1 {
        return Err(Failure::Usage(format!(
            "there is a service {name} in several namespaces: say which with -n"
        )));
    }
    Ok(candidates
        .into_iter()
        .max_by_key(|upgrade| upgrade.created.map(|at| (at.seconds, at.nanos))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use segue_proto::control::{TargetRef, UpgradeSpec};

    fn upgrade(namespace: &str, name: &str) -> Upgrade {
        Upgrade {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            spec: Some(UpgradeSpec {
                target_ref: Some(TargetRef {
                    name: "checkout".to_owned(),
                    ..TargetRef::default()
                }),
                ..UpgradeSpec::default()
            }),
            ..Upgrade::default()
        }
    }

    #[test]
    fn an_upgrade_is_found_by_its_own_name_or_its_services() {
        let all = [
            upgrade("shop", "checkout-v2-1"),
            upgrade("shop", "checkout-v3-1"),
        ];
        let found = |name| choose(&all, name).unwrap().map(|u| u.name.as_str());
        assert_eq!(found("checkout-v2-1"), Some("checkout-v2-1"));
        assert!(found("checkout").is_some());
        assert_eq!(found("cart"), None);
    }

    #[test]
    fn a_name_in_several_namespaces_must_be_said_exactly() {
        let all = [upgrade("a", "x"), upgrade("b", "x")];
        assert!(choose(&all, "x").is_err());
        assert!(choose(&all, "checkout").is_err());
    }
}
