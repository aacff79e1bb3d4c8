//! The cases, and the client that runs them one after the other.

use super::{grpc, h2spec, mesh::HOST, opaque, websocket};
use std::{net::IpAddr, pin::Pin, process::ExitCode, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

/// The client's last line, where all went well.
pub(crate) const WELL: &str = "all went well";
/// Far more than any case takes; h2spec waits for what does not come, and has its own limit in each of its cases.
const PATIENCE: Duration = Duration::from_secs(120);

/// What came of a case that did not fail.
pub(crate) enum Went {
    Well,
    /// The same, with something to say.
    With(String),
    Skipped(String),
}

type Run = Pin<Box<dyn Future<Output = Went> + Send>>;

/// One case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Given the server's own address.
    run: Box<dyn FnOnce(IpAddr) -> Run>,
}

/// A case that goes well or panics.
pub(crate) fn case<F: Future<Output = ()> + Send + 'static>(
    name: &'static str,
    run: impl FnOnce(IpAddr) -> F + 'static,
) -> Case {
    reporting(name, move |server| {
        let run = run(server);
        async move {
            run.await;
            Went::Well
        }
    })
}

/// A case that says how it went, or panics.
pub(crate) fn reporting<F: Future<Output = Went> + Send + 'static>(
    name: &'static str,
    run: impl FnOnce(IpAddr) -> F + 'static,
) -> Case {
    Case {
        name,
        run: Box::new(move |server| Box::pin(run(server))),
    }
}

pub(crate) fn all() -> Vec<Case> {
    [
        grpc::cases(),
        websocket::cases(),
        opaque::cases(),
        h2spec::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Those that one of the words names; all of them where there is none.
pub(crate) fn chosen(words: &[&str]) -> Vec<Case> {
    let mut cases = all();
    cases.retain(|case| words.is_empty() || words.iter().any(|word| case.name.contains(word)));
    cases
}

/// A Pod's program: runs the cases, prints a line for each.
pub(crate) async fn check(server: &str, words: &[&str]) -> ExitCode {
    let server = server.parse().unwrap();
    timeout(PATIENCE, served()).await.unwrap();
    let mut failed = 0;
    for case in chosen(words) {
        let run = tokio::spawn(timeout(PATIENCE, (case.run)(server)));
        let line = match run.await {
            Ok(Ok(Went::Well)) => "ok".to_owned(),
            Ok(Ok(Went::With(text))) => format!("ok: {text}"),
            Ok(Ok(Went::Skipped(why))) => format!("skipped: {why}"),
            Ok(Err(_elapsed)) => {
                failed += 1;
                "FAILED: does not end".to_owned()
            }
            Err(panicked) => {
                failed += 1;
                format!("FAILED: {}", message(panicked))
            }
        };
        println!("{:<48} {line}", case.name);
    }
    if failed > 0 {
        println!("{failed} failed");
        return ExitCode::FAILURE;
    }
    println!("{WELL}");
    // The Pod's own to end: that an application ends is an event.
    std::future::pending().await
}

fn message(panicked: tokio::task::JoinError) -> String {
    let payload = panicked.into_panic();
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_default()
}

/// Until the service answers, which takes a moment after the start of its instance.
async fn served() {
    let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    loop {
        let mut answer = Vec::new();
        if let Ok(mut stream) = TcpStream::connect((HOST, 80)).await {
            stream.write_all(request.as_bytes()).await.ok();
            stream.read_to_end(&mut answer).await.ok();
        }
        if answer.starts_with(b"HTTP/1.1 200") {
            return;
        }
        sleep(Duration::from_millis(30)).await;
    }
}
