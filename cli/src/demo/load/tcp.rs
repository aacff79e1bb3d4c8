//! TCP connections that speak lines: a greeting, then an echo of each line every 200 ms, for 5 to
//! 15 s; then the client closes its half and expects the other side to do the same.

use super::{
    failure::Failure,
    report::{Channel, Kind},
    tally::{Shared, unix_ms},
    target::Target,
};
use std::{rc::Rc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};

const PAUSE: Duration = Duration::from_millis(200);

/// Keeps one connection going after the other until `stop`.
pub(super) async fn run(
    target: Rc<Target>,
    tally: Shared,
    mut random: fastrand::Rng,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        let ends = Instant::now() + Duration::from_millis(random.u64(5_000..15_000));
        let opened = unix_ms();
        tally.borrow_mut().opened(Channel::Tcp);
        let mut version = None;
        let end = one(&target, &tally, &mut version, ends, &mut stop).await;
        let cut = end.is_err();
        tally
            .borrow_mut()
            .closed(Channel::Tcp, version, opened, end);
        if cut {
            // As clients do: not in a tight circle against a service that is down.
            sleep(PAUSE).await;
        }
    }
}

async fn one(
    target: &Target,
    tally: &Shared,
    version: &mut Option<String>,
    ends: Instant,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), Failure> {
    let connected = timeout(target.timeout, target.connect_tcp()).await;
    let stream = connected
        .map_err(|_| Failure::timed_out())?
        .map_err(|error| Failure::connect(&error))?;
    let mut stream = BufReader::new(stream);
    let greeting = line(&mut stream, target.timeout).await?;
    let named = greeting.split_whitespace().next().unwrap_or_default();
    tally.borrow_mut().identified(Channel::Tcp, named);
    *version = Some(named.to_owned());
    let mut number = 0_u64;
    while Instant::now() < ends && !*stop.borrow() {
        let sent = format!("{number}\n");
        number += 1;
        stream.write_all(sent.as_bytes()).await?;
        let echoed = line(&mut stream, target.timeout).await?;
        if echoed != sent {
            return Err(Failure::new(Kind::Other, "the echo differs"));
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
    stream.shutdown().await?;
    match read_line(&mut stream, target.timeout).await?.as_str() {
        "" => Ok(()),
        _ => Err(Failure::new(Kind::Other, "a line that nobody asked for")),
    }
}

/// The next line; its absence is a cut.
async fn line(stream: &mut BufReader<TcpStream>, limit: Duration) -> Result<String, Failure> {
    let line = read_line(stream, limit).await?;
    if line.ends_with('\n') {
        Ok(line)
    } else {
        Err(Failure::new(Kind::Reset, "the connection ended early"))
    }
}

async fn read_line(stream: &mut BufReader<TcpStream>, limit: Duration) -> Result<String, Failure> {
    let mut line = String::new();
    timeout(limit, stream.read_line(&mut line))
        .await
        .map_err(|_| Failure::timed_out())??;
    Ok(line)
}
