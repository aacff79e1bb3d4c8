use super::Compiler;
use crate::{
    model::{Action, Cluster, NetworkFilter, RouteConfiguration, Snapshot},
    store::resource::Resources,
    xds::{
        decode::{Decoded, Kind, name},
        fixture::{any, cluster, endpoints, fuse, on_demand, original_dst, outbound, virtual_host},
    },
};
use proptest::{
    collection::vec,
    prelude::{any as every, proptest},
};
use prost::Message;
use std::{sync::Arc, time::Duration};

const V1: &str = "outbound|80|v1|checkout.shop.svc.cluster.local";
const V2: &str = "outbound|80|v2|checkout.shop.svc.cluster.local";
const NOW: Duration = Duration::from_secs(1);

fn add(resources: &mut Resources, kind: Kind, asked: &str, message: &impl Message) {
    let named = name(kind, &any(kind.type_url(), message)).unwrap();
    insert(resources, asked, named.content().unwrap());
}

fn insert(resources: &mut Resources, asked: &str, decoded: Decoded) {
    let asked = asked.into();
    match decoded {
        Decoded::Cluster(given) => drop(resources.clusters.insert(asked, given)),
        Decoded::Assignment(given) => drop(resources.assignments.insert(asked, given)),
        Decoded::Listener(given) => drop(resources.listeners.insert(asked, given)),
        Decoded::RouteConfiguration(given) => {
            drop(resources.route_configurations.insert(asked, given));
        }
        Decoded::VirtualHost(given) => {
            drop(resources.virtual_hosts.insert(asked, Some(given)));
        }
    }
}

fn checkout() -> Resources {
    let mut resources = Resources::default();
    add(
        &mut resources,
        Kind::Listener,
        "virtualOutbound",
        &outbound(80),
    );
    add(
        &mut resources,
        Kind::RouteConfiguration,
        "80",
        &on_demand("80"),
    );
    add(
        &mut resources,
        Kind::VirtualHost,
        "80/checkout",
        &virtual_host("checkout", &[("v2", 500), ("v1", 9_500)]),
    );
    resources.virtual_hosts.insert("80/nowhere".into(), None);
    resources.virtual_hosts.insert("8080/other".into(), None);
    add(
        &mut resources,
        Kind::Cluster,
        "PassthroughCluster",
        &original_dst("PassthroughCluster"),
    );
    let mut new = cluster(V2);
    new.outlier_detection = Some(fuse());
    add(&mut resources, Kind::Cluster, V2, &new);
    add(&mut resources, Kind::Cluster, V1, &cluster(V1));
    add(
        &mut resources,
        Kind::Assignment,
        V1,
        &endpoints(V1, "v1", &[("10.0.0.1:80", 0)]),
    );
    add(
        &mut resources,
        Kind::Assignment,
        V2,
        &endpoints(V2, "v2", &[("10.0.0.2:80", 0), ("10.0.0.1:80", 1)]),
    );
    resources
}

fn routes(snapshot: &Snapshot) -> Arc<RouteConfiguration> {
    let chain = &snapshot.outbound.as_ref().unwrap().chains[0];
    let NetworkFilter::Http(manager) = &chain.filter else {
        panic!("HTTP");
    };
    Arc::clone(&manager.routes)
}

fn get(snapshot: &Snapshot, name: &str) -> Arc<Cluster> {
    Arc::clone(&snapshot.clusters[name])
}

#[test]
fn names_become_pointers() {
    let snapshot = Compiler::default().compile(&checkout(), NOW);
    let table = routes(&snapshot);
    assert!(table.on_demand);
    assert_eq!(table.hosts.len(), 2);
    assert!(table.hosts["nowhere"].is_none());
    let host = table.hosts["checkout"].as_ref().unwrap();
    assert_eq!(host.session_cookie.as_deref(), Some("segue-1234"));
    let Action::Weighted {
        clusters, total, ..
    } = &host.routes[2].action
    else {
        panic!("a split");
    };
    assert_eq!(*total, 10_000);
    let v2 = get(&snapshot, V2);
    assert!(Arc::ptr_eq(&clusters[0].cluster, &v2));
    assert_eq!(v2.version.as_deref(), Some("v2"));
    assert_eq!(v2.endpoints.len(), 2);
    assert_eq!(v2.endpoints[1].version.as_deref(), Some("v2"));
    assert!(v2.outlier_detection.is_some());
    let NetworkFilter::Tcp(passthrough) = &snapshot
        .outbound
        .as_ref()
        .unwrap()
        .default_chain
        .as_ref()
        .unwrap()
        .filter
    else {
        panic!("TCP");
    };
    assert_eq!(&*passthrough.name, "PassthroughCluster");
    // Three endpoints, and three clusters that take only so much.
    assert_eq!(snapshot.endpoint_ids, 6);
}

#[test]
fn an_endpoint_keeps_its_state_over_snapshots_while_the_fuse_is_on() {
    let mut compiler = Compiler::default();
    let mut resources = checkout();
    let first = compiler.compile(&resources, NOW);
    get(&first, V2).endpoints[0].state.eject(1_000);
    add(
        &mut resources,
        Kind::Assignment,
        V2,
        &endpoints(V2, "v2", &[("10.0.0.3:80", 0), ("10.0.0.2:80", 0)]),
    );
    let second = compiler.compile(&resources, NOW);
    assert_eq!(second.sequence, 2);
    let v2 = get(&second, V2);
    assert!(v2.endpoints[1].state.is_ejected(1));
    assert_eq!(v2.endpoints[1].id, get(&first, V2).endpoints[0].id);
    add(&mut resources, Kind::Cluster, V2, &cluster(V2));
    let third = compiler.compile(&resources, NOW);
    assert!(!get(&third, V2).endpoints[1].state.is_ejected(1));
}

#[test]
fn what_is_missing_is_empty() {
    let mut resources = checkout();
    resources.clusters.remove(V2);
    resources.route_configurations.clear();
    let snapshot = Compiler::default().compile(&resources, NOW);
    assert!(routes(&snapshot).hosts.is_empty());
    let mut resources = checkout();
    resources.clusters.remove(V2);
    let snapshot = Compiler::default().compile(&resources, NOW);
    assert!(get(&snapshot, V2).endpoints.is_empty());
    assert_eq!(get(&snapshot, V2).version.as_deref(), Some("v2"));
}

#[test]
fn a_destination_leads_to_the_cluster_by_its_own_name() {
    let mut resources = Resources::default();
    let db = "outbound|3306||db.shop.svc.cluster.local";
    add(
        &mut resources,
        Kind::Cluster,
        "outbound|3306||10.96.0.7",
        &cluster(db),
    );
    add(
        &mut resources,
        Kind::Assignment,
        db,
        &endpoints(db, "", &[("10.0.0.1:3306", 0)]),
    );
    let address = "10.96.0.7:3306".parse().unwrap();
    resources.destinations.insert(address, Some(db.into()));
    let outside = "192.0.2.1:443".parse().unwrap();
    resources.destinations.insert(outside, None);
    let snapshot = Compiler::default().compile(&resources, NOW);
    let cluster = snapshot.destinations[&address].as_ref().unwrap();
    assert_eq!(&*cluster.name, db);
    assert_eq!(cluster.version, None);
    assert_eq!(cluster.endpoints.len(), 1);
    assert!(snapshot.destinations[&outside].is_none());
}

#[test]
fn domains_are_exact_or_suffixes_longest_first_or_any() {
    let mut resources = checkout();
    let mut table = on_demand("80");
    table.vhds = None;
    for domains in [["a.b"], ["*.b"], ["*.a.b"], ["*"]] {
        let mut host = virtual_host("checkout", &[("v1", 1)]);
        host.domains = domains.map(str::to_owned).into();
        host.name = domains[0].to_owned();
        table.virtual_hosts.push(host);
    }
    add(&mut resources, Kind::RouteConfiguration, "80", &table);
    let snapshot = Compiler::default().compile(&resources, NOW);
    let table = routes(&snapshot);
    assert!(!table.on_demand);
    assert_eq!(table.hosts.len(), 1);
    let suffixes: Vec<_> = table.suffixes.iter().map(|(suffix, _)| &**suffix).collect();
    assert_eq!(suffixes, [".a.b", ".b"]);
    assert_eq!(&*table.any.as_ref().unwrap().name, "*");
}

#[test]
fn a_hash_has_a_table_and_a_limited_cluster_a_number() {
    let mut resources = checkout();
    let mut hashed = cluster(V1);
    hashed.lb_policy = 5;
    add(&mut resources, Kind::Cluster, V1, &hashed);
    let assignment = endpoints(V1, "v1", &[("10.0.0.1:80", 0), ("10.0.0.2:80", 1)]);
    add(&mut resources, Kind::Assignment, V1, &assignment);
    let mut compiler = Compiler::default();
    let first = compiler.compile(&resources, NOW);
    assert_eq!(first.clusters[V1].tables.len(), 2);
    assert!(first.clusters[V2].tables.is_empty());
    let number =
        |snapshot: &Snapshot, name| snapshot.clusters[name].balancing.breaker.unwrap().number;
    assert_ne!(number(&first, V1), number(&first, V2));
    let second = compiler.compile(&resources, NOW);
    assert_eq!(number(&first, V1), number(&second, V1));
    let (before, after) = (&first.clusters[V1].tables, &second.clusters[V1].tables);
    assert!(Arc::ptr_eq(before, after));
}

/// The resources of a service, encoded.
fn encoded() -> [(Kind, &'static str, Vec<u8>); 5] {
    let weights = [("v2", 500), ("v1", 9_500)];
    let host = virtual_host("checkout", &weights).encode_to_vec();
    let addresses = [("10.0.0.1:80", 0), ("10.0.0.2:80", 1)];
    [
        (
            Kind::Listener,
            "virtualOutbound",
            outbound(80).encode_to_vec(),
        ),
        (
            Kind::RouteConfiguration,
            "80",
            on_demand("80").encode_to_vec(),
        ),
        (Kind::VirtualHost, "80/checkout", host),
        (Kind::Cluster, V1, cluster(V1).encode_to_vec()),
        (
            Kind::Assignment,
            V1,
            endpoints(V1, "v1", &addresses).encode_to_vec(),
        ),
    ]
}

proptest! {
    /// `PROPTEST_CASES` says how many to try.
    #[test]
    fn damaged_resources_are_refused_or_compiled_and_leave_the_others_alone(
        which in 0..5_usize,
        changes in vec((every::<usize>(), every::<u8>()), 1..8),
        kept in every::<usize>(),
    ) {
        let (kind, asked, mut bytes) = encoded()[which].clone();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if kept % 4 == 0 {
            bytes.truncate(kept / 4 % bytes.len());
        }
        let mut resources = checkout();
        let mut message = any(kind.type_url(), &());
        message.value = bytes;
        if let Ok(decoded) = name(kind, &message).and_then(|named| named.content()) {
            insert(&mut resources, asked, decoded);
        }
        let snapshot = Compiler::default().compile(&resources, NOW);
        assert!(snapshot.clusters.contains_key("PassthroughCluster"));
        assert!(snapshot.outbound.is_some());
    }
}
