//! What one asks of a sidecar that runs.

use super::Failure;
use crate::config::Drain;
use bytes::Bytes;
use http::{Request, StatusCode, header::HOST};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::{os::unix::process::CommandExt as _, process::ExitCode};
use tokio::{net::TcpStream, select};

/// Tells the sidecar to drain, waits for it where that is wanted, and becomes the program that is to
/// follow.
pub(super) fn drain(flags: &Drain) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::system(format_args!("no runtime: {error}")))?;
    let said = runtime.block_on(call(flags)).map_err(|error| {
        let admin = flags.admin;
        Failure::system(format_args!(
            "the sidecar at {admin} was not told to drain: {error:#}; is --admin its address?"
        ))
    })?;
    if !said.is_success() {
        let admin = flags.admin;
        return Err(Failure::system(format_args!(
            "what answers at {admin} is no sidecar that can drain: {said}"
        )));
    }
    let Some((program, arguments)) = flags.then.split_first() else {
        return Ok(ExitCode::SUCCESS);
    };
    // It returns only where it fails.
    let error = std::process::Command::new(program).args(arguments).exec();
    let program = program.display();
    Err(Failure::usage(format_args!(
        "drained, but {program} can't be run: {error}"
    )))
}

async fn call(flags: &Drain) -> anyhow::Result<StatusCode> {
    let stream = TcpStream::connect(flags.admin).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::post(if flags.wait {
        "/drain?wait=true"
    } else {
        "/drain"
    })
    .header(HOST, flags.admin.to_string())
    .body(Empty::<Bytes>::new())?;
    let answer = async {
        sender.ready().await?;
        sender.send_request(request).await
    };
    select! {
        answer = answer => Ok(answer?.status()),
        ended = connection => {
            ended?;
            anyhow::bail!("the connection ended without an answer")
        }
    }
}
