//! A Pod's first process, `segue-lab-pod`: holds the network namespace, sets it up, and looks after what runs in it.
//!
//! The invariant: when its input closes, or it dies, so does everything it started.

use super::{
    super::{
        MARK, namespace,
        network::{Network, widen_port_range},
        program::command_of,
    },
    child::{self, Supervised},
    protocol::{Command, Event, Part, Request, Start},
};
use anyhow::{Context as _, Result, bail};
use nix::sys::{prctl, signal::Signal};
use segue_sidecar::redirect::{self, Config};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::SocketAddr,
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::unix::pipe,
    sync::mpsc,
    time::timeout,
};

/// The least that the sidecar gets to end in order, however long the application took.
const SIDECAR_GRACE: Duration = Duration::from_secs(1);

/// The sidecar's listeners, as its flags name them.
const LISTENERS: [&str; 4] = ["outbound", "inbound", "admin", "probe"];
/// How long the Pod's output may stay open after its processes have ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs `segue-lab-pod`; the program's name comes first in `arguments`.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().skip(1).collect();
    let words: Vec<_> = arguments
        .iter()
        .map(|word| word.to_str().unwrap_or_default())
        .collect();
    let outcome = match words.as_slice() {
        ["probe"] => probe(),
        ["pause", "namespace"] => namespace::enter_network().and_then(|()| pause()),
        ["pause", "loopback"] => pause(),
        ["exec", _, ..] => exec(arguments.get(1..).unwrap_or_default()),
        _ => return failed("this program is started by the lab, not by people", 2),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&format!("{error:#}"), 1),
    }
}

#[expect(clippy::print_stderr, reason = "the process ends with this sentence")]
fn failed(sentence: &str, code: u8) -> ExitCode {
    eprintln!("{sentence}");
    ExitCode::from(code)
}

/// Tries all that the lab asks of the kernel.
fn probe() -> Result<()> {
    namespace::enter_cluster()?;
    runtime()?.block_on(async {
        let network = Network::open()?;
        network.loopback().await?;
        network.bridge().await?;
        network
            .cable("probe0", "probe1", std::process::id())
            .await?;
        redirect::install(&Config {
            mark: Some(MARK),
            ..Config::default()
        })
        .context("redirection cannot be programmed")
    })
}

/// Becomes another program that dies with its parent.
fn exec(argv: &[OsString]) -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("cannot be tied to its parent's life")?;
    let mut command = command_of(argv).context("there is no program to become")?;
    let error = command.as_std_mut().exec();
    let name = argv
        .first()
        .map(|name| name.display().to_string())
        .unwrap_or_default();
    Err(error).with_context(|| format!("cannot run '{name}'"))
}

/// One thread, so that a child's parent lives as long as the process.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")
}

fn pause() -> Result<()> {
    // Whoever kills the lab, even from outside, takes the Pod with it.
    prctl::set_pdeathsig(Signal::SIGKILL).context("cannot be tied to the lab's life")?;
    runtime()?.block_on(async {
        let input = std::io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .context("no input")?;
        let input = pipe::Receiver::from_owned_fd(input).context("the input is no pipe")?;
        let output = std::io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .context("no output")?;
        let output = pipe::Sender::from_owned_fd(output).context("the output is no pipe")?;
        let (events, told) = mpsc::unbounded_channel();
        let writer = tokio::spawn(tell(told, output));
        let outcome = Pause::new(events).serve(input).await;
        // Ends with the last process that can write; one that was left behind is not waited for.
        drop(timeout(LAST_WORDS, writer).await);
        outcome
    })
}

async fn tell(mut events: mpsc::UnboundedReceiver<Event>, mut output: pipe::Sender) {
    while let Some(event) = events.recv().await {
        let Ok(mut line) = serde_json::to_vec(&event) else {
            continue;
        };
        line.push(b'\n');
        if output.write_all(&line).await.is_err() {
            // The lab is gone; the closed input ends the Pod.
            return;
        }
    }
}

struct Pause {
    events: mpsc::UnboundedSender<Event>,
    start: Option<Start>,
    app: Option<Supervised>,
    sidecar: Option<Supervised>,
    /// Where the sidecar listens, by flag: as an explicit proxy it has to be found again after a restart.
    listeners: BTreeMap<String, SocketAddr>,
}

impl Pause {
    fn new(events: mpsc::UnboundedSender<Event>) -> Self {
        let listeners = BTreeMap::new();
        Self {
            events,
            start: None,
            app: None,
            sidecar: None,
            listeners,
        }
    }

    /// Carries commands out, one after the other, until told to stop or the lab is gone.
    async fn serve(mut self, input: pipe::Receiver) -> Result<()> {
        self.tell(Event::Ready);
        let mut lines = BufReader::new(input).lines();
        while let Some(line) = lines.next_line().await.context("cannot read commands")? {
            let request: Request = serde_json::from_str(&line).context("not a command")?;
            let id = request.id;
            if let Command::Stop { grace_ms } = request.command {
                let killed = self.stop(Duration::from_millis(grace_ms)).await?;
                self.tell(Event::Stopped { id, killed });
                return Ok(());
            }
            match self.carry_out(request.command).await {
                Ok(answer) => self.tell(answer(id)),
                Err(error) => self.tell(Event::Failed {
                    id,
                    message: format!("{error:#}"),
                }),
            }
        }
        self.stop(Duration::ZERO).await.map(drop)
    }

    fn tell(&self, event: Event) {
        // The writer ends only when the lab is gone.
        drop(self.events.send(event));
    }

    /// Tells how to answer.
    async fn carry_out(&mut self, command: Command) -> Result<impl FnOnce(u64) -> Event + use<>> {
        let mut started = None;
        match command {
            Command::Start(start) => {
                self.start(*start).await?;
                started = Some(self.proxy());
            }
            Command::KillApp => self.app()?.kill().await?,
            Command::KillSidecar => self.sidecar()?.kill().await?,
            Command::RestartSidecar => {
                self.sidecar()?.kill().await?;
                self.start_sidecar().await?;
            }
            Command::SignalApp { signal } => {
                let signal = Signal::try_from(signal).context("no such signal")?;
                anyhow::ensure!(self.app()?.signal(signal)?, "its application has ended");
            }
            Command::SignalSidecar { signal } => {
                let signal = Signal::try_from(signal).context("no such signal")?;
                anyhow::ensure!(self.sidecar()?.signal(signal)?, "its sidecar has ended");
            }
            Command::Stop { .. } => {}
        }
        Ok(move |id| match started {
            Some(proxy) => Event::Started { id, proxy },
            None => Event::Done { id },
        })
    }

    /// The sidecar, where it is an explicit proxy.
    fn proxy(&self) -> Option<SocketAddr> {
        self.start.as_ref()?.explicit?;
        self.listeners.get("outbound").copied()
    }

    fn app(&mut self) -> Result<&mut Supervised> {
        self.app.as_mut().context("it has no application")
    }

    fn sidecar(&mut self) -> Result<&mut Supervised> {
        self.sidecar.as_mut().context("it has no sidecar")
    }

    async fn start(&mut self, start: Start) -> Result<()> {
        if self.start.is_some() {
            bail!("it was started before");
        }
        if let Some(network) = &start.network {
            Network::open()?
                .join(&network.link, network.address)
                .await?;
            widen_port_range();
        }
        if let Some((outbound_port, inbound_port)) = start.redirect {
            let config = Config {
                outbound_port,
                inbound_port,
                mark: Some(MARK),
                ..Config::default()
            };
            redirect::install(&config)?;
        }
        if let Some(address) = start.explicit {
            let any = SocketAddr::new(address, 0);
            self.listeners = LISTENERS.map(|name| (name.to_owned(), any)).into();
        }
        self.start = Some(start);
        self.start_sidecar().await?;
        self.start_app()
    }

    async fn start_sidecar(&mut self) -> Result<()> {
        let Some(start) = &self.start else {
            return Ok(());
        };
        let Some(mut argv) = start.sidecar.clone() else {
            return Ok(());
        };
        if start.explicit.is_some() {
            for (name, address) in &self.listeners {
                argv.extend([format!("--{name}").into(), address.to_string().into()]);
            }
        }
        let log = start.logs.join(format!("{}.sidecar.log", start.name));
        let (sidecar, listeners) = child::sidecar(&argv, &log, &self.events).await?;
        self.sidecar = Some(sidecar);
        self.listeners = listeners;
        Ok(())
    }

    fn start_app(&mut self) -> Result<()> {
        let Some(start) = &self.start else {
            return Ok(());
        };
        let Some(argv) = &start.app else {
            return Ok(());
        };
        let proxy = self
            .proxy()
            .map(|proxy| proxy.to_string())
            .unwrap_or_default();
        let fill = |argument: &OsString| match argument.to_str() {
            Some(text) => text.replace("{proxy}", &proxy).into(),
            None => argument.clone(),
        };
        let argv: Vec<OsString> = argv.iter().map(fill).collect();
        let mut environment = start.environment.clone();
        environment.push(("SEGUE_LAB_PROXY".to_owned(), proxy.into()));
        let log = start.logs.join(format!("{}.app.log", start.name));
        let app = child::application(&argv, &environment, &log, start.lines, &self.events)?;
        self.app = Some(app);
        Ok(())
    }

    /// The application first, then the sidecar that carries its last answers; tells what had to be killed.
    async fn stop(&mut self, grace: Duration) -> Result<Vec<Part>> {
        let begun = Instant::now();
        let mut killed = Vec::new();
        if let Some(app) = &mut self.app
            && app.stop(grace).await?
        {
            killed.push(Part::App);
        }
        let left = grace.saturating_sub(begun.elapsed());
        let left = if grace.is_zero() {
            left
        } else {
            left.max(SIDECAR_GRACE)
        };
        if let Some(sidecar) = &mut self.sidecar
            && sidecar.stop(left).await?
        {
            killed.push(Part::Sidecar);
        }
        Ok(killed)
    }
}
