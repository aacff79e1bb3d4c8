//! `envoy.config.route.v3.VirtualHost` and its routes.

use super::{
    field::{FieldError, Result, Within as _, duration, each, none_of},
    hash,
    headers::{self, Existing},
};
use crate::{
    model::{HashPolicy, PathMatch, RetryPolicy},
    store::resource::{Action, Name, Route, VirtualHost, WeightedCluster},
};
use envoy_types::pb::envoy::config::{
    core::v3::data_source::Specifier as Source,
    route::v3::{
        DirectResponseAction, RetryPolicy as RetryMessage, Route as RouteMessage, RouteAction,
        RouteMatch, VirtualHost as Message, WeightedCluster as WeightedMessage,
        route::Action as ActionMessage,
        route_action::ClusterSpecifier,
        route_match::PathSpecifier,
        weighted_cluster::{ClusterWeight, RandomValueSpecifier},
    },
};
use http::HeaderName;
use std::time::Duration;

/// Envoy's default for routes that set none.
const ROUTE_TIMEOUT: Duration = Duration::from_secs(15);

/// A VirtualHost's content.
pub(super) fn virtual_host(message: &Message) -> Result<VirtualHost> {
    none_of(&[
        (message.matcher.is_some(), "matcher"),
        (message.require_tls != 0, "require_tls"),
        (
            !message.response_headers_to_remove.is_empty(),
            "response_headers_to_remove",
        ),
        (
            message.retry_policy_typed_config.is_some(),
            "retry_policy_typed_config",
        ),
        (message.hedge_policy.is_some(), "hedge_policy"),
        (
            !message.request_mirror_policies.is_empty(),
            "request_mirror_policies",
        ),
        (!message.route_specifiers.is_empty(), "route_specifiers"),
    ])?;
    if message.domains.is_empty() {
        return Err(FieldError::new("domains", "is missing"));
    }
    let mut routes = each(&message.routes, "routes", route)?;
    let request_headers = header_list(
        &message.request_headers_to_add,
        "request_headers_to_add",
        Existing::Replaced,
    )?;
    let removed = removed(&message.request_headers_to_remove)?;
    let response_headers = header_list(
        &message.response_headers_to_add,
        "response_headers_to_add",
        Existing::Kept,
    )?;
    for route in &mut routes {
        route.removed_request_headers.extend_from_slice(&removed);
        route.request_headers.extend_from_slice(&request_headers);
        route.response_headers.extend_from_slice(&response_headers);
    }
    Ok(VirtualHost {
        name: Name::from(message.name.as_str()),
        domains: message
            .domains
            .iter()
            .map(|domain| domain.to_ascii_lowercase().into())
            .collect(),
        routes,
        retry: message
            .retry_policy
            .as_ref()
            .map_or_else(|| Ok(RetryPolicy::default()), retry)
            .within("retry_policy")?,
    })
}

fn header_list(
    given: &[envoy_types::pb::envoy::config::core::v3::HeaderValueOption],
    field: &str,
    existing: Existing,
) -> Result<Vec<crate::model::Header>> {
    each(given, field, |option| headers::header(option, existing))
}

fn removed(given: &[String]) -> Result<Vec<HeaderName>> {
    each(given, "request_headers_to_remove", |name| {
        headers::header_name(name)
    })
}

fn retry(message: &RetryMessage) -> Result<RetryPolicy> {
    let mut policy = RetryPolicy {
        num_retries: message.num_retries.map_or(1, |retries| retries.value),
        connect_failure: false,
        refused_stream: false,
    };
    for condition in message.retry_on.split(',').map(str::trim) {
        match condition {
            "" => {}
            "connect-failure" => policy.connect_failure = true,
            "refused-stream" => policy.refused_stream = true,
            other => {
                return Err(FieldError::new(
                    "retry_on",
                    format!("{other:?} is not supported"),
                ));
            }
        }
    }
    Ok(policy)
}

fn route(message: &RouteMessage) -> Result<Route> {
    none_of(&[
        (
            !message.response_headers_to_remove.is_empty(),
            "response_headers_to_remove",
        ),
        (!message.route_specifiers.is_empty(), "route_specifiers"),
    ])?;
    let Some(matches) = &message.r#match else {
        return Err(FieldError::new("match", "is missing"));
    };
    let (action, timeout) = action(message)?;
    Ok(Route {
        hash: hash_policies(message)?,
        path: path(matches).within("match")?,
        headers: each(&matches.headers, "headers", headers::matcher).within("match")?,
        action,
        removed_request_headers: removed(&message.request_headers_to_remove)?,
        request_headers: header_list(
            &message.request_headers_to_add,
            "request_headers_to_add",
            Existing::Replaced,
        )?,
        response_headers: header_list(
            &message.response_headers_to_add,
            "response_headers_to_add",
            Existing::Kept,
        )?,
        timeout,
    })
}

fn path(message: &RouteMatch) -> Result<PathMatch> {
    none_of(&[
        (
            message.case_sensitive.is_some_and(|given| !given.value),
            "case_sensitive",
        ),
        (message.runtime_fraction.is_some(), "runtime_fraction"),
        (!message.query_parameters.is_empty(), "query_parameters"),
        (!message.cookies.is_empty(), "cookies"),
        (message.grpc.is_some(), "grpc"),
        (message.tls_context.is_some(), "tls_context"),
        (!message.dynamic_metadata.is_empty(), "dynamic_metadata"),
        (!message.filter_state.is_empty(), "filter_state"),
    ])?;
    match &message.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => Ok(PathMatch::Prefix(prefix.as_str().into())),
        Some(PathSpecifier::Path(path)) => Ok(PathMatch::Exact(path.as_str().into())),
        Some(_) => Err(FieldError::new(
            "path_specifier",
            "only prefix and path are supported",
        )),
        None => Err(FieldError::new("path_specifier", "is missing")),
    }
}

fn action(message: &RouteMessage) -> Result<(Action, Option<Duration>)> {
    match &message.action {
        Some(ActionMessage::Route(action)) => route_action(action).within("route"),
        Some(ActionMessage::DirectResponse(answer)) => {
            Ok((direct_response(answer).within("direct_response")?, None))
        }
        Some(_) => Err(FieldError::new(
            "action",
            "only route and direct_response are supported",
        )),
        None => Err(FieldError::new("action", "is missing")),
    }
}

fn hash_policies(message: &RouteMessage) -> Result<Vec<HashPolicy>> {
    match &message.action {
        Some(ActionMessage::Route(action)) => {
            each(&action.hash_policy, "hash_policy", hash::policy).within("route")
        }
        _ => Ok(Vec::new()),
    }
}

fn route_action(message: &RouteAction) -> Result<(Action, Option<Duration>)> {
    none_of(&[
        (message.metadata_match.is_some(), "metadata_match"),
        (!message.prefix_rewrite.is_empty(), "prefix_rewrite"),
        (message.regex_rewrite.is_some(), "regex_rewrite"),
        (message.path_rewrite_policy.is_some(), "path_rewrite_policy"),
        (!message.path_rewrite.is_empty(), "path_rewrite"),
        (
            message.host_rewrite_specifier.is_some(),
            "host_rewrite_specifier",
        ),
        (message.retry_policy.is_some(), "retry_policy"),
        (
            message.retry_policy_typed_config.is_some(),
            "retry_policy_typed_config",
        ),
        (
            !message.request_mirror_policies.is_empty(),
            "request_mirror_policies",
        ),
        (
            message.internal_redirect_policy.is_some(),
            "internal_redirect_policy",
        ),
        (message.hedge_policy.is_some(), "hedge_policy"),
    ])?;
    let timeout = message.timeout.as_ref().map_or(Ok(ROUTE_TIMEOUT), duration);
    let timeout = Some(timeout.within("timeout")?).filter(|timeout| !timeout.is_zero());
    let action = match &message.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => Action::Cluster(cluster_name(name, "cluster")?),
        Some(ClusterSpecifier::WeightedClusters(clusters)) => {
            weighted(clusters).within("weighted_clusters")?
        }
        Some(_) => {
            return Err(FieldError::new(
                "cluster_specifier",
                "only cluster and weighted_clusters are supported",
            ));
        }
        None => return Err(FieldError::new("cluster_specifier", "is missing")),
    };
    Ok((action, timeout))
}

fn weighted(message: &WeightedMessage) -> Result<Action> {
    let by_hash = match &message.random_value_specifier {
        None => false,
        Some(RandomValueSpecifier::UseHashPolicy(used)) => used.value,
        Some(RandomValueSpecifier::HeaderName(_)) => {
            return Err(FieldError::new("header_name", "is not supported"));
        }
    };
    let clusters = each(&message.clusters, "clusters", weighted_cluster)?;
    let total: u64 = clusters.iter().map(|choice| u64::from(choice.weight)).sum();
    if total == 0 || u32::try_from(total).is_err() {
        return Err(FieldError::new(
            "clusters",
            format!("the weights sum to {total}; 1 to 4294967295 is supported"),
        ));
    }
    Ok(Action::Weighted { clusters, by_hash })
}

fn weighted_cluster(message: &ClusterWeight) -> Result<WeightedCluster> {
    none_of(&[
        (!message.cluster_header.is_empty(), "cluster_header"),
        (message.metadata_match.is_some(), "metadata_match"),
        (
            !message.request_headers_to_remove.is_empty(),
            "request_headers_to_remove",
        ),
        (
            !message.response_headers_to_remove.is_empty(),
            "response_headers_to_remove",
        ),
        (
            message.host_rewrite_specifier.is_some(),
            "host_rewrite_specifier",
        ),
    ])?;
    Ok(WeightedCluster {
        cluster: cluster_name(&message.name, "name")?,
        weight: message.weight.map_or(0, |weight| weight.value),
        request_headers: header_list(
            &message.request_headers_to_add,
            "request_headers_to_add",
            Existing::Replaced,
        )?,
        response_headers: header_list(
            &message.response_headers_to_add,
            "response_headers_to_add",
            Existing::Kept,
        )?,
    })
}

fn direct_response(message: &DirectResponseAction) -> Result<Action> {
    none_of(&[(message.body_format.is_some(), "body_format")])?;
    let status = u16::try_from(message.status)
        .ok()
        .and_then(|status| http::StatusCode::from_u16(status).ok())
        .filter(|status| status.as_u16() >= 200)
        .ok_or_else(|| FieldError::new("status", format!("{} is no status", message.status)))?;
    let body = match message
        .body
        .as_ref()
        .and_then(|body| body.specifier.as_ref())
    {
        None => bytes::Bytes::new(),
        Some(Source::InlineString(text)) => bytes::Bytes::copy_from_slice(text.as_bytes()),
        Some(Source::InlineBytes(bytes)) => bytes::Bytes::copy_from_slice(bytes),
        Some(_) => {
            return Err(FieldError::new(
                "body",
                "only inline_string and inline_bytes are supported",
            ));
        }
    };
    Ok(Action::DirectResponse { status, body })
}

fn cluster_name(name: &str, field: &str) -> Result<Name> {
    if name.is_empty() {
        return Err(FieldError::new(field, "is missing"));
    }
    Ok(Name::from(name))
}
