//! CONNECT, for clients that use the sidecar as an explicit proxy.
//!
//! An address is served like a redirected connection to it. A name is looked up like the host of a
//! request, and the bytes go to an endpoint of its cluster.

use super::{
    Active, Client,
    answer::Refusal,
    authority::Authority,
    host::{known, lookup},
    matching::{self, Lookup},
    response::ResponseBody,
};
use crate::{
    affinity,
    tcp::{self, OpenError, Opened},
};
use http::{Response, StatusCode, request::Parts};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
};
use tokio::task::spawn_local;

/// Opens a tunnel.
pub(super) async fn serve(
    client: &Rc<Client>,
    mut head: Parts,
    authority: Option<Authority>,
    active: Active,
) -> Result<Response<ResponseBody>, Refusal> {
    if client.destination().is_some() {
        return Err(Refusal::unsupported(
            "CONNECT on a connection that was not opened to a proxy",
        ));
    }
    let named = authority
        .as_ref()
        .and_then(|authority| Some((authority, authority.port()?)));
    let (Some((authority, port)), Some(upgrade)) = (named, head.extensions.remove::<OnUpgrade>())
    else {
        return Err(Refusal::malformed("CONNECT names no host and port"));
    };
    let opened = match authority.host().trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => tcp::reach(&client.local, SocketAddr::new(address, port)).await,
        Err(_) => by_name(client, &head, authority).await?,
    };
    let opened = opened.map_err(|error| {
        Refusal::new(
            StatusCode::BAD_GATEWAY,
            format!("no connection to {}: {error}", authority.as_str()),
        )
    })?;
    client.framing.end();
    let client = Rc::clone(client);
    spawn_local(async move {
        match upgrade.await {
            Ok(stream) => {
                tcp::forward_stream(&client.local, active, TokioIo::new(stream), opened).await;
            }
            Err(error) => tracing::debug!(%error, "tunnel not established"),
        }
    });
    Ok(Response::new(ResponseBody::Own(None)))
}

async fn by_name(
    client: &Rc<Client>,
    head: &Parts,
    authority: &Authority,
) -> Result<Result<Opened, OpenError>, Refusal> {
    let snapshot = known(client, Some(authority)).await;
    let unknown = || {
        Refusal::new(
            StatusCode::BAD_GATEWAY,
            format!("{} is no service of the mesh", authority.as_str()),
        )
    };
    let Lookup::Found(host) = lookup(client, &snapshot, Some(authority)) else {
        return Err(unknown());
    };
    let route = matching::route(host, "/", &head.headers).ok_or_else(unknown)?;
    let mut draw = |below| client.local.draw(below);
    let peer = client.entry.peer.ip();
    let key = affinity::key(&route.hash, &head.headers, peer, &mut draw);
    let placement = affinity::place(host, route, key, &mut draw).ok_or_else(unknown)?;
    Ok(tcp::open(&client.local, placement.cluster, None).await)
}
