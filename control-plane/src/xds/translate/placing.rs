//! The routes of a Pod's own application: what its sidecar does with requests that come in.
//!
//! What a mesh proxy has placed is served here. Other requests are of clients without a sidecar,
//! which reached this instance by lot: where the service asks for it they are split as mesh clients
//! are. What belongs to this instance's version is served here, the rest is forwarded, marked so that
//! nobody forwards it again.

use super::{
    Resource,
    route::{Home, Split, any_path, configuration, domains, everything},
};
use crate::model::{Check, ServiceKey, ServicePort, ServiceView, Workload};
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, Route, RouteMatch, VirtualHost, header_matcher::HeaderMatchSpecifier,
    route_match::PathSpecifier,
};
use segue_proto::names::{self, ClusterName};
use std::sync::Arc;

/// One port of a service that a workload is an instance of.
pub type Served<'a> = (&'a ServiceView, &'a ServicePort);

/// The routes of an application's port. `services`: those that are served on it, each once.
pub fn inbound(workload: &Workload, port: u16, services: &[Served<'_>]) -> Arc<Resource> {
    let cluster = ClusterName::Inbound { port }.to_string();
    let mut hosts = Vec::new();
    let mut concerned: Vec<ServiceKey> = Vec::new();
    for (view, service_port) in services
        .iter()
        .filter(|(view, _)| view.placed && workload.place)
    {
        let split = Split {
            view,
            port: service_port,
            affinity: view.affinity.as_ref(),
            home: Some(Home {
                version: &workload.version,
                port,
            }),
        };
        let domains = match services {
            [_] => vec!["*".to_owned()],
            // Which of them is meant only the host can tell.
            _ => domains(view, service_port, true),
        };
        let mut host = VirtualHost {
            domains,
            ..split.virtual_host()
        };
        host.routes
            .splice(0..0, served_here(workload, port, &cluster));
        hosts.push(host);
        concerned.push(view.service.key.clone());
    }
    let mut rest = everything(&cluster, &cluster);
    for route in &mut rest.routes {
        route.request_headers_to_remove = vec![names::PLACED_HEADER.to_owned()];
    }
    hosts.push(rest);
    Resource::new(&cluster, &configuration(&cluster, hosts), concerned)
}

/// What is served here whoever asks: what was placed, and probes, which are about this instance. A
/// probe of the root is told from no other request, and those are placed.
fn served_here(workload: &Workload, port: u16, cluster: &str) -> Vec<Route> {
    let placed = any_path(vec![HeaderMatcher {
        name: names::PLACED_HEADER.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
        ..HeaderMatcher::default()
    }]);
    let probe = match workload.readiness.as_ref().map(|probe| &probe.check) {
        Some(Check::HttpGet { path, port: probed }) if *probed == port => {
            let path = path.split('?').next().unwrap_or(path);
            (path != "/").then(|| RouteMatch {
                path_specifier: Some(PathSpecifier::Path(path.to_owned())),
                ..RouteMatch::default()
            })
        }
        _ => None,
    };
    let matches = std::iter::once(placed).chain(probe);
    let to_application = everything(cluster, cluster).routes;
    matches
        .flat_map(|matches| {
            to_application.iter().cloned().map(move |route| Route {
                r#match: Some(matches.clone()),
                request_headers_to_remove: vec![names::PLACED_HEADER.to_owned()],
                ..route
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::{
        model::ServiceKey,
        xds::{
            fixture::{Make, node, snapshot},
            translate::{ClientKind, Resource, ResourceType},
        },
    };
    use envoy_types::pb::envoy::config::{
        cluster::v3::Cluster,
        core::v3::HeaderValueOption,
        route::v3::{
            Route, RouteConfiguration, VirtualHost, route::Action, route_action::ClusterSpecifier,
        },
    };
    use prost::Message as _;
    use std::sync::Arc;

    const OWN: &str = "inbound|8080||";
    const V1_CONTROL: &str = "outbound|80|v1.control|checkout.shop.svc.cluster.local";
    const V2: &str = "outbound|80|v2|checkout.shop.svc.cluster.local";

    fn checkout() -> Make {
        Make {
            sessions: true,
            control: true,
            placed: true,
            ..Make::http("checkout", 7, &[("v2", 500, 1), ("v1", 9_500, 1)])
        }
    }

    fn resource(services: &[Make], instance: &str, kind: ResourceType) -> Arc<Resource> {
        let own = node(ClientKind::Sidecar, instance);
        snapshot(1, services).find(&own, kind, OWN).unwrap()
    }

    fn routes(services: &[Make], instance: &str) -> RouteConfiguration {
        let resource = resource(services, instance, ResourceType::Route);
        RouteConfiguration::decode(resource.body.value.as_slice()).unwrap()
    }

    fn names(headers: &[HeaderValueOption]) -> Vec<&str> {
        let headers = headers.iter().filter_map(|option| option.header.as_ref());
        headers.map(|header| header.key.as_str()).collect()
    }

    /// Where a route leads: clusters, weights, and the headers that each adds to requests.
    fn targets(route: &Route) -> Vec<(&str, u32, Vec<&str>)> {
        let Some(Action::Route(action)) = &route.action else {
            panic!("no route")
        };
        let of_route = names(&route.request_headers_to_add);
        match action.cluster_specifier.as_ref().unwrap() {
            ClusterSpecifier::Cluster(name) => vec![(name.as_str(), 10_000, of_route)],
            ClusterSpecifier::WeightedClusters(split) => {
                let choices = split.clusters.iter();
                choices
                    .map(|choice| {
                        let added = names(&choice.request_headers_to_add);
                        (choice.name.as_str(), choice.weight.unwrap().value, added)
                    })
                    .collect()
            }
            _ => panic!("unexpected"),
        }
    }

    fn draw(host: &VirtualHost) -> Vec<(&str, u32, Vec<&str>)> {
        targets(host.routes.last().unwrap())
    }

    const MARK: &str = "x-segue-placed";

    #[test]
    fn an_instances_sidecar_splits_as_clients_do_and_serves_its_own_version_itself() {
        let old = routes(&[checkout()], "shop/checkout-v1-0");
        let host = &old.virtual_hosts[0];
        assert_eq!(host.domains, ["*"]);
        assert_eq!(
            draw(host),
            [(V2, 500, vec![MARK]), (OWN, 9_500, Vec::new())]
        );
        let new = routes(&[checkout()], "shop/checkout-v2-0");
        assert_eq!(
            draw(&new.virtual_hosts[0]),
            [(OWN, 500, Vec::new()), (V1_CONTROL, 9_500, vec![MARK])]
        );
        // What was placed, then two routes for each of v2, v1's control group and v1, then the draw.
        assert_eq!(host.routes.len(), 8);
        for route in &host.routes[3..7] {
            assert_eq!(targets(route), [(OWN, 10_000, Vec::new())]);
        }
        for route in &host.routes[1..3] {
            assert_eq!(targets(route), [(V2, 10_000, vec![MARK])]);
        }
    }

    #[test]
    fn what_was_placed_is_served_here_and_the_mark_goes_no_further() {
        let routes = routes(&[checkout()], "shop/checkout-v1-0");
        let first = &routes.virtual_hosts[0].routes[0];
        assert_eq!(first.r#match.as_ref().unwrap().headers[0].name, MARK);
        assert_eq!(first.request_headers_to_remove, [MARK]);
        assert_eq!(targets(first), [(OWN, 10_000, Vec::new())]);
    }

    #[test]
    fn the_routes_concern_their_service_so_that_a_step_waits_for_them() {
        let concerned = |make: Make| {
            let services = [make];
            let routes = resource(&services, "shop/checkout-v1-0", ResourceType::Route);
            routes.services.clone()
        };
        assert_eq!(concerned(checkout()), [ServiceKey::new("shop", "checkout")]);
        let unplaced = Make {
            placed: false,
            ..checkout()
        };
        assert_eq!(concerned(unplaced), []);
    }

    #[test]
    fn without_placing_all_is_served_here_and_the_mark_is_removed_all_the_same() {
        let unplaced = Make {
            placed: false,
            ..checkout()
        };
        let routes = routes(&[unplaced], "shop/checkout-v1-0");
        let [host] = &routes.virtual_hosts[..] else {
            panic!("{routes:?}")
        };
        assert_eq!(draw(host), [(OWN, 10_000, Vec::new())]);
        assert_eq!(host.routes[0].request_headers_to_remove, [MARK]);
    }

    #[test]
    fn where_one_version_lives_no_other_cluster_is_named_and_sessions_begin() {
        let single = Make {
            versions: vec![("v1".to_owned(), 10_000, 2)],
            control: false,
            ..checkout()
        };
        let routes = routes(&[single], "shop/checkout-v1-0");
        let host = &routes.virtual_hosts[0];
        for route in &host.routes {
            assert_eq!(targets(route), [(OWN, 10_000, Vec::new())]);
        }
        let Some(Action::Route(action)) = &host.routes.last().unwrap().action else {
            panic!("no route")
        };
        let Some(ClusterSpecifier::WeightedClusters(split)) = &action.cluster_specifier else {
            panic!("no split")
        };
        assert_eq!(
            names(&split.clusters[0].response_headers_to_add),
            ["set-cookie"]
        );
    }

    #[test]
    fn mesh_clients_mark_what_they_place() {
        let client = node(ClientKind::Sidecar, "shop/web-0");
        let marked = |make: Make| {
            let found =
                snapshot(1, &[make]).find(&client, ResourceType::VirtualHost, "80/checkout.shop");
            let host = VirtualHost::decode(found.unwrap().body.value.as_slice()).unwrap();
            names(&host.request_headers_to_add).len()
        };
        assert_eq!(marked(checkout()), 1);
        assert_eq!(
            marked(Make {
                placed: false,
                ..checkout()
            }),
            0
        );
    }

    #[test]
    fn the_cluster_of_the_application_says_its_version() {
        let cluster = resource(&[checkout()], "shop/checkout-v2-0", ResourceType::Cluster);
        let cluster = Cluster::decode(cluster.body.value.as_slice()).unwrap();
        let said = &cluster.metadata.unwrap().filter_metadata["segue.dev"].fields["version"];
        assert_eq!(format!("{:?}", said.kind), "Some(StringValue(\"v2\"))");
    }
}
