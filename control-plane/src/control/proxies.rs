//! `ProxyService`.

use super::{convert, names, refuse};
use crate::{engine::Handle, model::ProxyId};
use segue_proto::control::{
    GetProxyConfigRequest, ListProxiesRequest, ListProxiesResponse, ProxyConfig,
    proxy_service_server::ProxyService,
};
use tonic::{Request, Response, Status};

/// Shows the proxies.
#[derive(Clone, Debug)]
pub struct Proxies {
    engine: Handle,
}

impl Proxies {
    pub(super) fn new(engine: Handle) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl ProxyService for Proxies {
    async fn list_proxies(
        &self,
        request: Request<ListProxiesRequest>,
    ) -> Result<Response<ListProxiesResponse>, Status> {
        let namespace = request.into_inner().namespace;
        names::namespace(&namespace)?;
        let within = |id: &ProxyId| {
            namespace.is_empty() || id.0.split_once('/').is_some_and(|(of, _)| of == namespace)
        };
        let proxies = self
            .engine
            .board()
            .proxies
            .iter()
            .filter(|(id, _)| within(id))
            .map(|(_, view)| convert::proxy(view))
            .collect();
        Ok(Response::new(ListProxiesResponse { proxies }))
    }

    async fn get_proxy_config(
        &self,
        request: Request<GetProxyConfigRequest>,
    ) -> Result<Response<ProxyConfig>, Status> {
        let id = request.into_inner().id;
        if id.is_empty() {
            return Err(refuse::bad_field("id", "it is empty: name a proxy"));
        }
        let id = ProxyId::from(id.as_str());
        let board = self.engine.board();
        if let Some(view) = board.proxies.get(&id) {
            return Ok(Response::new(convert::proxy_config(view)));
        }
        let message = match refuse::some_of(board.proxies.keys()).as_str() {
            "" => format!("proxy {id} is not connected, nor any other"),
            names => format!("proxy {id} is not connected; connected are {names}"),
        };
        Err(refuse::not_found(refuse::PROXY, &id.0, message))
    }
}
