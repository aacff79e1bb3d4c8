//! The lab's end of the line to a Pod's first process: commands out, answers and events in.
//!
//! The invariant: every command gets an answer; where the Pod is gone, that is the answer.

use super::protocol::{Command, Event, Exit, Part, Request};
use anyhow::{Context as _, Result, anyhow, bail};
use std::{collections::BTreeMap, net::SocketAddr};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout},
    sync::{mpsc, oneshot},
};

/// A command's outcome.
#[derive(Debug)]
pub(super) enum Answer {
    Done,
    Started(Option<SocketAddr>),
    Stopped(Vec<Part>),
}

type Reply = oneshot::Sender<Result<Answer, String>>;

/// Where commands go. Closing it ends the Pod.
#[derive(Debug)]
pub(super) struct Line {
    commands: mpsc::Sender<(Command, Reply)>,
}

/// What comes without being asked for.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) lines: mpsc::UnboundedReceiver<String>,
    pub(super) exits: mpsc::UnboundedReceiver<Exit>,
}

impl Line {
    /// Tells the Pod and waits until it has done so.
    pub(super) async fn tell(&self, command: Command) -> Result<Answer> {
        let gone = || anyhow!("its first process is gone; see its log");
        let (reply, answer) = oneshot::channel();
        self.commands
            .send((command, reply))
            .await
            .map_err(|_| gone())?;
        answer
            .await
            .map_err(|_| gone())?
            .map_err(|message| anyhow!(message))
    }
}

/// Opens the line and waits until the Pod's first process is ready for a cable.
pub(super) async fn open(process: &mut Child) -> Result<(Line, Events)> {
    let output = process
        .stdout
        .take()
        .context("its first process has no output")?;
    let input = process
        .stdin
        .take()
        .context("its first process has no input")?;
    let mut output = BufReader::new(output).lines();
    match output
        .next_line()
        .await
        .context("cannot hear its first process")?
    {
        Some(line) if matches!(serde_json::from_str(&line), Ok(Event::Ready)) => {}
        Some(line) => bail!("its first process says '{line}'"),
        None => bail!("its first process ended at once; see its log"),
    }
    let (commands, incoming) = mpsc::channel(8);
    let (line_sender, lines) = mpsc::unbounded_channel();
    let (exit_sender, exits) = mpsc::unbounded_channel();
    let hearing = Hearing {
        waiting: BTreeMap::new(),
        lines: line_sender,
        exits: exit_sender,
    };
    tokio::spawn(talk(hearing, incoming, input, output));
    Ok((Line { commands }, Events { lines, exits }))
}

/// Carries the conversation until the Pod's first process has ended.
async fn talk(
    mut hearing: Hearing,
    mut commands: mpsc::Receiver<(Command, Reply)>,
    mut input: ChildStdin,
    mut output: Lines<BufReader<ChildStdout>>,
) {
    let mut id = 0;
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some((command, reply)) => {
                    id += 1;
                    match send(&mut input, Request { id, command }).await {
                        Ok(()) => drop(hearing.waiting.insert(id, reply)),
                        // Nobody left to tell is no matter.
                        Err(error) => drop(reply.send(Err(error.to_string()))),
                    }
                }
                None => break,
            },
            line = output.next_line() => match line {
                Ok(Some(line)) => hearing.hear(&line),
                Ok(None) | Err(_) => return,
            },
        }
    }
    // The Pod's owner has let go: the closed input ends the Pod, and its last words are still heard.
    drop(input);
    while let Ok(Some(line)) = output.next_line().await {
        hearing.hear(&line);
    }
}

async fn send(input: &mut ChildStdin, request: Request) -> Result<()> {
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    Ok(input.write_all(&line).await?)
}

struct Hearing {
    waiting: BTreeMap<u64, Reply>,
    lines: mpsc::UnboundedSender<String>,
    exits: mpsc::UnboundedSender<Exit>,
}

impl Hearing {
    fn hear(&mut self, line: &str) {
        match serde_json::from_str(line) {
            Ok(Event::Ready) => {}
            Ok(Event::Started { id, proxy }) => self.answer(id, Ok(Answer::Started(proxy))),
            Ok(Event::Done { id }) => self.answer(id, Ok(Answer::Done)),
            Ok(Event::Failed { id, message }) => self.answer(id, Err(message)),
            Ok(Event::Stopped { id, killed }) => self.answer(id, Ok(Answer::Stopped(killed))),
            // Whoever listened may have let go of the receiver.
            Ok(Event::Line { text }) => drop(self.lines.send(text)),
            Ok(Event::Exited(exit)) => drop(self.exits.send(exit)),
            Err(error) => tracing::warn!(%error, line, "a Pod says what nobody understands"),
        }
    }

    fn answer(&mut self, id: u64, answer: Result<Answer, String>) {
        if let Some(reply) = self.waiting.remove(&id) {
            drop(reply.send(answer));
        }
    }
}
