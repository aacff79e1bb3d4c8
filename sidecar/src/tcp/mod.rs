//! Opaque connections: opened to an endpoint, then bytes both ways.
//!
//! Each direction ends by itself (half-close). A connect that fails is tried at other endpoints:
//! nothing was sent yet. Once bytes flow nothing is retried.
//!
//! Invariant: a connection is cut only when one side ends it, a drain has asked for its end and
//! nothing has moved over it for [`QUIET`], or that drain's deadline has passed.

mod activity;
mod relay;
mod route;

use crate::{
    balance::{Choice, Outcome},
    drain::{Ending, Kind, Underway},
    local::{Active, Local, Opaque, Slot},
    model::{Cluster, Discovery, EndpointId, ErrorClass},
    upstream::{ConnectError, connect},
};
use activity::{Activity, Noted};
use bytes::Bytes;
use std::{io, net::SocketAddr, rc::Rc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes},
    net::TcpStream,
    select,
    time::sleep,
};

/// How many endpoints are tried.
const TRIES: usize = 3;
/// Bytes read at once, per direction.
const BUFFER: usize = 64 * 1024;
/// A connection over which nothing has moved for so long is not busy.
const QUIET: Duration = Duration::from_secs(1);

/// An upstream connection, not yet counted as in use.
pub(crate) struct Opened {
    /// The connection.
    pub stream: TcpStream,
    slot: Slot,
}

impl AsRef<TcpStream> for Opened {
    fn as_ref(&self) -> &TcpStream {
        &self.stream
    }
}

/// Why an opaque connection has no upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// No endpoint may be picked.
    #[error("no healthy endpoint")]
    NoEndpoint,
    /// The cluster goes to the original destination, but there is none.
    #[error("no original destination")]
    NoDestination,
    /// It would come back to this sidecar.
    #[error("{0} is this sidecar's own listener")]
    Loop(SocketAddr),
    /// The last connect failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Connects to where a connection of the Pod's own application to `destination` goes. As long as
/// none stands, the control plane's answer beats the guess that nobody serves it.
pub(crate) async fn reach(local: &Rc<Local>, destination: SocketAddr) -> Result<Opened, OpenError> {
    let cluster = route::cluster(local, destination).await;
    let is_guess = cluster.discovery == Discovery::OriginalDst;
    select! {
        biased;
        opened = open(local, &cluster, Some(destination)) => opened,
        cluster = route::answer(local, destination), if is_guess => {
            open(local, &cluster, None).await
        }
    }
}

/// Connects to an endpoint of a cluster, or to `destination` where the cluster says so.
pub(crate) async fn open(
    local: &Rc<Local>,
    cluster: &Cluster,
    destination: Option<SocketAddr>,
) -> Result<Opened, OpenError> {
    match cluster.discovery {
        Discovery::OriginalDst => {
            let address = destination.ok_or(OpenError::NoDestination)?;
            if local.is_own(address) {
                return Err(OpenError::Loop(address));
            }
            let slot = local.load.borrow_mut().address(cluster, address);
            let stream = connect_counted(local, cluster, address, slot).await?;
            Ok(Opened { stream, slot })
        }
        Discovery::Endpoints => open_endpoint(local, cluster).await,
    }
}

async fn open_endpoint(local: &Rc<Local>, cluster: &Cluster) -> Result<Opened, OpenError> {
    let mut tried = Vec::new();
    loop {
        let endpoint = local
            .pick(cluster, Choice::Weighted, &tried)
            .ok_or(OpenError::NoEndpoint)?;
        let slot = local.load.borrow_mut().endpoint(cluster, endpoint);
        match connect_counted(local, cluster, endpoint.address, slot).await {
            Ok(stream) => {
                local.report(cluster, endpoint, Outcome::Success);
                return Ok(Opened { stream, slot });
            }
            Err(error) => {
                local.report(cluster, endpoint, Outcome::GatewayFailure);
                tried.push(endpoint.id);
                if tried.len() >= TRIES {
                    return Err(error.into());
                }
            }
        }
    }
}

async fn connect_counted(
    local: &Rc<Local>,
    cluster: &Cluster,
    address: SocketAddr,
    slot: Slot,
) -> Result<TcpStream, ConnectError> {
    let connected = connect(address, local.limits.mark, cluster.connect_timeout).await;
    local.load.borrow_mut().update(slot, |load| {
        load.connected(connected.is_ok());
        if connected.is_err() {
            load.errors.count(ErrorClass::Connect);
        }
    });
    connected
}

/// Forwards bytes between two sockets until both sides have ended, one fails, or a drain ends it.
/// `first` was read from the client before.
pub(crate) async fn forward(
    local: &Rc<Local>,
    active: Active,
    (first, mut client): (Bytes, TcpStream),
    mut upstream: Opened,
) {
    let _opaque = Opaque::begin(local, upstream.slot);
    active.underway.becomes(Kind::Tcp, upstream.slot.id());
    let activity = Activity::default();
    let relayed = relay::relay(&mut client, &first, &mut upstream.stream, &activity);
    until_ended(&active, &activity, relayed).await;
}

/// The same for a client that is not a socket of its own, such as a stream of HTTP/2.
pub(crate) async fn forward_stream<S: AsyncRead + AsyncWrite + Unpin>(
    local: &Rc<Local>,
    active: Active,
    client: S,
    upstream: Opened,
) {
    let _opaque = Opaque::begin(local, upstream.slot);
    forward_streams(active, upstream.slot.id(), client, upstream.stream).await;
}

/// The same where neither is a socket of its own, and the upstream runs at `endpoint`.
pub(crate) async fn forward_streams<C, U>(
    active: Active,
    endpoint: Option<EndpointId>,
    client: C,
    upstream: U,
) where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    active.underway.becomes(Kind::Tcp, endpoint);
    let activity = Activity::default();
    let mut client = Noted::new(client, &activity);
    let mut upstream = Noted::new(upstream, &activity);
    let copied = copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER);
    until_ended(&active, &activity, copied).await;
}

async fn until_ended(
    active: &Active,
    activity: &Activity,
    forwarding: impl Future<Output = io::Result<(u64, u64)>>,
) {
    let peer = active.entry.peer;
    let ended = select! {
        ended = forwarding => ended,
        why = drained(&active.underway, activity) => {
            tracing::info!(%peer, "opaque connection closed: {why}");
            return;
        }
    };
    match ended {
        Ok((sent, received)) => tracing::debug!(%peer, sent, received, "closed"),
        Err(error) => tracing::debug!(%peer, %error, "opaque connection failed"),
    }
}

/// Ends once a drain has asked for the end and the connection is not busy, or can't wait any more.
async fn drained(underway: &Underway, activity: &Activity) -> &'static str {
    underway.reaches(Ending::Asked).await;
    let quiet = async {
        loop {
            let mark = activity.mark();
            sleep(QUIET).await;
            if activity.is_quiet_since(mark) {
                return;
            }
        }
    };
    // Those that were asked last have their time too, or they would all end at the deadline.
    let late = async {
        underway.reaches(Ending::Due).await;
        sleep(QUIET).await;
    };
    let over = "the drain's deadline has passed";
    select! {
        () = quiet => "it was quiet while its endpoint or this sidecar drained",
        () = late => over,
        () = underway.reaches(Ending::Cut) => over,
    }
}

#[cfg(test)]
mod tests {
    use super::{Activity, QUIET, drained};
    use crate::drain::{Drain, Ending, Kind};
    use futures_util::FutureExt;
    use std::{pin::pin, rc::Rc, time::Duration};
    use tokio::{
        sync::oneshot,
        time::{Instant, advance},
    };

    #[tokio::test(start_paused = true)]
    async fn a_busy_connection_is_left_until_it_is_quiet() {
        let drain = Rc::new(Drain::default());
        let underway = drain.begin(Kind::Tcp, true, Instant::now());
        let activity = Activity::default();
        let mut ended = pin!(drained(&underway, &activity));
        // Quiet or not, nobody has asked for its end.
        advance(QUIET * 10).await;
        assert!(ended.as_mut().now_or_never().is_none());
        drain.end_streams(QUIET * 1_000, Some(QUIET * 1_000));
        advance(QUIET * 500).await;
        while drain.turn(|_| 0).is_some_and(|next| next <= Instant::now()) {}
        for _ in 0..20 {
            assert!(ended.as_mut().now_or_never().is_none());
            activity.moved();
            advance(QUIET / 2 + Duration::from_millis(10)).await;
        }
        // What the receiver has not taken yet is not lost either.
        let (taken, taking) = oneshot::channel::<()>();
        let mut held = pin!(activity.blocked(taking));
        assert!(held.as_mut().now_or_never().is_none());
        for _ in 0..3 {
            advance(QUIET * 2).await;
            assert!(ended.as_mut().now_or_never().is_none());
        }
        drop(taken);
        held.await.ok();
        advance(QUIET * 2).await;
        assert!(ended.now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_one_is_closed_when_it_is_asked() {
        let drain = Rc::new(Drain::default());
        let underway = drain.begin(Kind::Tcp, true, Instant::now());
        let activity = Activity::default();
        let mut ended = pin!(drained(&underway, &activity));
        drain.end_streams(QUIET * 100, Some(QUIET * 50));
        while underway.ending() == Ending::No {
            assert!(ended.as_mut().now_or_never().is_none());
            advance(QUIET / 10).await;
            drain.turn(|_| 0);
        }
        assert!(ended.as_mut().now_or_never().is_none());
        advance(QUIET * 2).await;
        assert_eq!(underway.ending(), Ending::Asked);
        assert!(ended.now_or_never().unwrap().starts_with("it was quiet"));
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_deadline_a_busy_one_is_closed_too() {
        let drain = Rc::new(Drain::default());
        let underway = drain.begin(Kind::Tcp, true, Instant::now());
        let activity = Activity::default();
        let mut ended = pin!(drained(&underway, &activity));
        let begun = Instant::now();
        drain.end_streams(QUIET * 10, None);
        while underway.ending() < Ending::Due {
            assert!(ended.as_mut().now_or_never().is_none());
            activity.moved();
            advance(QUIET / 10).await;
            drain.turn(|_| 0);
        }
        assert!(begun.elapsed() >= QUIET * 10);
        for _ in 0..9 {
            assert!(ended.as_mut().now_or_never().is_none());
            activity.moved();
            advance(QUIET / 10).await;
        }
        activity.moved();
        advance(QUIET / 5).await;
        assert!(ended.now_or_never().unwrap().contains("deadline"));
    }
}
