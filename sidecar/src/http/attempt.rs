//! Sends a request: picks, connects, writes; and again elsewhere where nothing was processed.
//!
//! Four failures may be followed by another try, each bounded:
//! - no connection came about (the retry policy's `connect-failure`);
//! - the peer says that it did not process the request (`refused-stream`, GOAWAY);
//! - a kept connection closed before anything was written: nobody saw the request;
//! - a kept connection closed without an answer, and the request is idempotent and has no body: it
//!   was closed by the peer as idle, in all likelihood.

use super::{Client, answer::Refusal, authority::Authority, headers, host::answered};
use crate::{
    balance::{Choice, Outcome},
    local::{Full, InFlight, Local, Permit, Slot},
    model::{
        Cluster, Discovery, Endpoint, EndpointId, ErrorClass, RetryPolicy, Trial, UpstreamProtocol,
    },
    upstream::{ConnectError, Key, Lease, Protocol, Replay, RequestBody, SendError, Target},
};
use http::{Request, Response, StatusCode, request::Parts};
use hyper::body::Incoming;
use std::{net::SocketAddr, rc::Rc, sync::Arc};
use tokio::{
    select,
    time::{Instant, timeout_at},
};

/// How often a request may meet a connection that closed before it was written.
const UNSENT_LIMIT: u32 = 8;

/// A request on its way.
pub(super) struct Call<'a> {
    /// Who sent it.
    pub client: &'a Client,
    /// Its head; None while a try has it.
    pub head: Option<Parts>,
    /// Its body; None while a try has it.
    pub body: Option<RequestBody>,
    /// Its body, for another try.
    pub replay: Replay,
    /// The host that it names.
    pub authority: Option<Authority>,
    /// By what its user is told apart.
    pub hash: Option<u64>,
    /// A session token placed it.
    pub pinned: bool,
    /// It goes where the client meant it to, for want of an answer of the control plane's. As long
    /// as no connection stands, an answer beats that.
    pub is_guess: bool,
    /// When the whole response must have ended.
    pub deadline: Option<Instant>,
}

/// A request that was answered.
pub(super) struct Sent<'c> {
    /// The answer.
    pub response: Response<Incoming>,
    /// Where it was sent.
    pub cluster: &'c Arc<Cluster>,
    /// The connection it comes over.
    pub lease: Lease,
    /// Its endpoint's numbers.
    pub in_flight: InFlight,
    /// Its endpoint; None for an original destination.
    pub endpoint: Option<&'c Endpoint>,
    /// The version that answered, where that is known.
    pub version: Option<&'c Arc<str>>,
}

/// Where one try goes.
struct Picked<'c> {
    slot: Slot,
    endpoint: Option<&'c Endpoint>,
    trial: Option<Trial>,
    target: Target,
}

impl Picked<'_> {
    /// Counts a request there, if the cluster takes another one.
    fn begin(&mut self, local: &Rc<Local>, cluster: &Cluster) -> Result<InFlight, Failure> {
        let Ok(permit) = local.admit_request(cluster) else {
            if let Some(trial) = self.trial.take() {
                trial.give_back();
            }
            return Err(Failure::Full);
        };
        let in_flight = InFlight::begin(local, self.slot, Instant::now(), permit);
        Ok(in_flight.on_trial(self.trial.take()))
    }
}

/// Why one try failed.
enum Failure {
    /// Before a connection came about, the control plane said where the host is served.
    Answered,
    /// The cluster has as many requests as it takes.
    Full,
    /// No connection came about.
    Connect(ConnectError),
    /// The connection ended before anybody saw the request: another one will do.
    Unseen,
    /// The endpoint says that it did not process the request.
    Refused,
    /// A kept connection closed without an answer, and the request may be repeated.
    Stale,
    /// The connection broke; whether the request was processed is unknown.
    Broken(hyper::Error),
    /// The client's own body is broken, or the client went away.
    Client,
    /// The client does not send the body that it announced.
    Overdue,
    /// The route's time is over.
    Timeout,
}

impl Failure {
    /// What kind of error it is, where it says something about the endpoint's health.
    const fn class(&self) -> Option<ErrorClass> {
        match self {
            Self::Connect(_) => Some(ErrorClass::Connect),
            Self::Broken(_) => Some(ErrorClass::Reset),
            Self::Timeout => Some(ErrorClass::Timeout),
            Self::Answered
            | Self::Full
            | Self::Unseen
            | Self::Refused
            | Self::Stale
            | Self::Client
            | Self::Overdue => None,
        }
    }
}

/// What was tried so far.
#[derive(Default)]
struct Tries {
    endpoints: Vec<EndpointId>,
    retries: u32,
    unsent: u32,
    /// Kept connections can't be trusted any more.
    fresh: bool,
    /// The cluster takes only so many retries.
    permit: Option<Permit>,
}

impl Call<'_> {
    /// True while nothing of it was written anywhere.
    pub(super) const fn is_unsent(&self) -> bool {
        self.head.is_some() && self.body.is_some()
    }

    /// The request as the next hop wants it. With `keep`, the head stays for another try.
    fn take(&mut self, protocol: Protocol, keep: bool) -> Option<Request<RequestBody>> {
        let mut head = if keep {
            self.head.clone()
        } else {
            self.head.take()
        }?;
        headers::address(&mut head, self.authority.as_ref(), protocol);
        Some(Request::from_parts(head, self.body.take()?))
    }

    fn restore(&mut self, request: Request<RequestBody>) {
        let (head, body) = request.into_parts();
        self.head = Some(head);
        self.body = Some(body);
    }

    /// Makes ready for another try. False: what was sent can't be sent again.
    fn rewind(&mut self) -> bool {
        if self.body.is_none() {
            self.body = self.replay.again();
        }
        self.is_unsent()
    }

    fn is_overdue(&self) -> bool {
        let failed = self.replay.client_failed();
        failed && (self.replay.is_overdue() || self.client.framing.is_overdue())
    }

    /// What an error means for the request.
    fn failure(&mut self, error: SendError, stale: bool) -> Failure {
        match error {
            SendError::NotSent(request) => {
                self.restore(*request);
                Failure::Unseen
            }
            SendError::Refused { going_away: true } => Failure::Unseen,
            SendError::Refused { going_away: false } => Failure::Refused,
            _ if self.is_overdue() => Failure::Overdue,
            _ if self.replay.client_failed() => Failure::Client,
            SendError::Closed(_) if stale && self.may_repeat() => Failure::Stale,
            SendError::Closed(error) | SendError::Failed(error) => Failure::Broken(error),
        }
    }

    fn may_repeat(&self) -> bool {
        let head = self.head.as_ref();
        self.replay.is_empty() && head.is_some_and(|head| headers::is_idempotent(&head.method))
    }
}

/// Sends a request to a cluster until it is answered or must not be tried again.
pub(super) async fn send<'c>(
    call: &mut Call<'_>,
    cluster: &'c Arc<Cluster>,
    retry: RetryPolicy,
) -> Result<Sent<'c>, Refusal> {
    let mut tries = Tries::default();
    loop {
        let mut picked = pick(call, cluster, &tries.endpoints)?;
        match attempt(call, cluster, &mut picked, tries.fresh).await {
            Ok(sent) => return Ok(sent),
            Err(failure) => {
                let address = picked.target.address;
                let endpoint = picked.endpoint.map(|endpoint| endpoint.id);
                if !(tries.another(call, &failure, endpoint, retry)
                    && tries.admit(call, &failure, cluster))
                {
                    return Err(refusal(address, &failure));
                }
                tracing::debug!(%address, cluster = &*cluster.name, "sent again");
            }
        }
    }
}

fn pick<'c>(
    call: &Call<'_>,
    cluster: &'c Cluster,
    tried: &[EndpointId],
) -> Result<Picked<'c>, Refusal> {
    let local = &call.client.local;
    let mut target = Target {
        key: Key::Endpoint(EndpointId(0)),
        address: SocketAddr::from(([0, 0, 0, 0], 0)),
        protocol: match cluster.protocol {
            UpstreamProtocol::Http1 => Protocol::Http1,
            UpstreamProtocol::Http2 => Protocol::Http2,
            UpstreamProtocol::SameAsDownstream => call.client.protocol,
        },
        connect_timeout: cluster.connect_timeout,
    };
    match cluster.discovery {
        Discovery::OriginalDst => {
            let no_destination =
                || Refusal::unavailable("the connection has no original destination");
            target.address = call.client.destination().ok_or_else(no_destination)?;
            target.key = Key::Address(target.address);
            Ok(Picked {
                slot: local.load.borrow_mut().address(cluster, target.address),
                endpoint: None,
                trial: None,
                target,
            })
        }
        Discovery::Endpoints => {
            let choice = Choice::Balanced(call.hash);
            let picked = if call.pinned {
                // A session does not change its version for want of proof.
                local
                    .pick(cluster, choice, tried)
                    .map(|endpoint| (endpoint, None))
            } else {
                local.pick_on_trial(cluster, choice, tried)
            };
            let (endpoint, trial) = picked.ok_or_else(|| {
                Refusal::unavailable(format!("no healthy endpoint in {}", cluster.name))
            })?;
            target.address = endpoint.address;
            target.key = Key::Endpoint(endpoint.id);
            Ok(Picked {
                slot: local.load.borrow_mut().endpoint(cluster, endpoint),
                endpoint: Some(endpoint),
                trial,
                target,
            })
        }
    }
}

/// One try.
async fn attempt<'c>(
    call: &mut Call<'_>,
    cluster: &'c Arc<Cluster>,
    picked: &mut Picked<'c>,
    fresh: bool,
) -> Result<Sent<'c>, Failure> {
    let local = &call.client.local;
    let endpoint = picked.endpoint;
    let failed = || {
        if let Some(endpoint) = endpoint {
            local.report(cluster, endpoint, Outcome::GatewayFailure);
        }
    };
    let mut in_flight = picked.begin(local, cluster)?;
    let mut lease = match lease(call, &picked.target, fresh, &in_flight).await {
        Ok(lease) => lease,
        Err(failure) => {
            if let Some(class) = failure.class() {
                in_flight.end(Err(class));
                failed();
            } else {
                in_flight.withdraw();
            }
            return Err(failure);
        }
    };
    let stale = lease.may_be_stale();
    let protocol = picked.target.protocol;
    let keep = protocol == Protocol::Http2 || (stale && call.may_repeat());
    let Some(request) = call.take(protocol, keep) else {
        in_flight.withdraw();
        return Err(Failure::Timeout);
    };
    let failure = match within(call.deadline, lease.send(request)).await {
        Some(Ok(response)) => {
            call.replay.stop();
            return Ok(Sent {
                response,
                cluster,
                lease,
                in_flight,
                version: version(endpoint, cluster),
                endpoint,
            });
        }
        Some(Err(error)) => call.failure(error, stale),
        None => Failure::Timeout,
    };
    if let Some(class) = failure.class() {
        in_flight.end(Err(class));
        failed();
    } else if !matches!(failure, Failure::Client | Failure::Overdue) {
        in_flight.withdraw();
    }
    Err(failure)
}

/// The version that serves: an endpoint's own, which is not its cluster's where that one failed over.
fn version<'c>(endpoint: Option<&'c Endpoint>, cluster: &'c Cluster) -> Option<&'c Arc<str>> {
    let version = endpoint.map_or(&cluster.version, |endpoint| &endpoint.version);
    version.as_ref()
}

/// A connection for one try.
async fn lease(
    call: &Call<'_>,
    target: &Target,
    fresh: bool,
    in_flight: &InFlight,
) -> Result<Lease, Failure> {
    let lease = call.client.local.pool.lease(target, fresh);
    select! {
        biased;
        leased = within(call.deadline, lease) => {
            let leased = leased.ok_or(Failure::Timeout)?;
            if leased.tried {
                in_flight.connected(leased.lease.is_ok());
            }
            leased.lease.map_err(Failure::Connect)
        }
        () = answered(call.client, call.authority.as_ref()), if call.is_guess => {
            Err(Failure::Answered)
        }
    }
}

/// None: the deadline came first.
async fn within<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, future).await.ok(),
        None => Some(future.await),
    }
}

impl Tries {
    /// True where the request may be tried again; makes it ready.
    fn another(
        &mut self,
        call: &mut Call<'_>,
        failure: &Failure,
        endpoint: Option<EndpointId>,
        retry: RetryPolicy,
    ) -> bool {
        let allowed = match failure {
            Failure::Answered
            | Failure::Full
            | Failure::Timeout
            | Failure::Broken(_)
            | Failure::Client
            | Failure::Overdue => false,
            Failure::Connect(_) => retry.connect_failure && self.retry(endpoint, retry),
            Failure::Refused => retry.refused_stream && self.retry(endpoint, retry),
            Failure::Unseen => {
                self.unsent += 1;
                // A second one in a row: the rest of the pool is as old.
                self.fresh = self.unsent > 1;
                self.unsent <= UNSENT_LIMIT
            }
            Failure::Stale => {
                self.fresh = true;
                true
            }
        };
        allowed && call.rewind()
    }

    /// A retry is one of so many; what nobody has seen is not a retry.
    fn admit(&mut self, call: &Call<'_>, failure: &Failure, cluster: &Cluster) -> bool {
        let is_retry = matches!(failure, Failure::Connect(_) | Failure::Refused);
        if !is_retry || self.permit.is_some() {
            return true;
        }
        match call.client.local.admit_retry(cluster) {
            Ok(permit) => {
                self.permit = permit;
                true
            }
            Err(Full) => false,
        }
    }

    fn retry(&mut self, endpoint: Option<EndpointId>, retry: RetryPolicy) -> bool {
        self.endpoints.extend(endpoint);
        self.retries += 1;
        self.retries <= retry.num_retries
    }
}

/// What the client is told about the last try.
fn refusal(address: SocketAddr, failure: &Failure) -> Refusal {
    match failure {
        Failure::Connect(error) => {
            Refusal::unavailable(format!("upstream connect failed: {error}"))
        }
        Failure::Full => Refusal::overloaded("the cluster has as many requests as it takes"),
        Failure::Answered | Failure::Unseen | Failure::Refused | Failure::Stale => {
            Refusal::unavailable(format!("upstream {address}: refused the request"))
        }
        Failure::Broken(error) => Refusal::new(
            StatusCode::BAD_GATEWAY,
            format!("upstream {address}: {error}"),
        ),
        Failure::Client => Refusal::malformed("the request's body broke off"),
        Failure::Overdue => Refusal::late("the request's body takes too long"),
        Failure::Timeout => Refusal::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!("upstream {address}: no answer in the route's time"),
        ),
    }
}
