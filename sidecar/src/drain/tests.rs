use super::{Drain, Ending, Kind, Phase, Underway};
use crate::model::EndpointId;
use futures_util::FutureExt;
use std::{iter::empty, rc::Rc, time::Duration};
use tokio::time::{Instant, sleep_until};

const SECOND: Duration = Duration::from_secs(1);

fn begin(drain: &Rc<Drain>, kind: Kind) -> Underway {
    drain.begin(kind, false, Instant::now())
}

fn at(drain: &Rc<Drain>, endpoint: u32, kind: Kind) -> Underway {
    let underway = begin(drain, Kind::Http2);
    underway.becomes(kind, Some(EndpointId(endpoint)));
    underway
}

/// Takes every turn until `end`. Returns how far each had come then.
async fn take_turns<const N: usize>(
    drain: &Drain,
    end: Instant,
    underway: [&Underway; N],
) -> [Ending; N] {
    while let Some(next) = drain.turn(|below| below / 2)
        && next <= end
    {
        sleep_until(next).await;
    }
    sleep_until(end).await;
    drain.turn(|below| below / 2);
    underway.map(Underway::ending)
}

#[test]
fn it_is_finished_once_the_last_guard_is_dropped() {
    let drain = Rc::new(Drain::default());
    let (one, other) = (begin(&drain, Kind::Http1), drain.hold());
    drop(one);
    let mut finished = Box::pin(drain.finished());
    assert!(finished.as_mut().now_or_never().is_none());
    drop(other);
    assert!(finished.now_or_never().unwrap().is_some());
}

#[test]
fn phases_never_go_back() {
    let drain = Drain::default();
    assert!(!drain.is_draining());
    drain.advance(Phase::Cut);
    drain.advance(Phase::Draining);
    assert!(drain.is_draining());
    assert!(drain.reached(Phase::Cut).now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn requests_are_left_alone_until_the_deadline_and_streams_are_not() {
    let drain = Rc::new(Drain::default());
    let (request, stream) = (begin(&drain, Kind::Http1), begin(&drain, Kind::WebSocket));
    let begun = Instant::now();
    drain.end_streams(SECOND * 10, Some(SECOND));
    let all = [&request, &stream];
    let still = take_turns(&drain, begun + SECOND * 9, all).await;
    assert_eq!(still, [Ending::No, Ending::No]);
    let asked = take_turns(&drain, begun + SECOND * 96 / 10, all).await;
    assert_eq!(asked, [Ending::No, Ending::Asked]);
    let over = take_turns(&drain, begun + SECOND * 10, all).await;
    assert_eq!(over, [Ending::Due, Ending::Due]);
    drain.advance(Phase::Cut);
    assert_eq!(all.map(Underway::ending), [Ending::Cut, Ending::Cut]);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_drains_ends_its_own_streams_alone() {
    let drain = Rc::new(Drain::default());
    let streams = [at(&drain, 1, Kind::Tcp), at(&drain, 2, Kind::Grpc)];
    let all = [&streams[0], &streams[1]];
    let begun = Instant::now();
    let draining = [EndpointId(1)];
    drain.end_streams_at(&draining, empty(), SECOND, None);
    // Saying it again does not put it off, and neither does it that the endpoint is gone.
    take_turns(&drain, begun + SECOND / 2, all).await;
    drain.end_streams_at(&draining, empty(), SECOND, None);
    drain.end_streams_at(&[], empty(), SECOND, None);
    let over = take_turns(&drain, begun + SECOND, all).await;
    assert_eq!(over, [Ending::Due, Ending::No]);
    assert!(drain.turn(|below| below / 2).is_none());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_serves_again_keeps_its_streams() {
    let drain = Rc::new(Drain::default());
    let stream = at(&drain, 1, Kind::Sse);
    let endpoint = [EndpointId(1)];
    drain.end_streams_at(&endpoint, empty(), SECOND, None);
    drain.end_streams_at(&[], endpoint.into_iter(), SECOND, None);
    let later = Instant::now() + SECOND * 2;
    assert_eq!(take_turns(&drain, later, [&stream]).await, [Ending::No]);
}

#[tokio::test]
async fn whoever_waits_for_its_end_is_woken() {
    let drain = Rc::new(Drain::default());
    let stream = begin(&drain, Kind::WebSocket);
    let mut asked = Box::pin(stream.reaches(Ending::Asked));
    assert!(asked.as_mut().now_or_never().is_none());
    drain.advance(Phase::Cut);
    asked.await;
}
