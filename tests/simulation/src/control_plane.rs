//! The control plane: the real engine on a real state folder, its turns, its deaths.

use super::{
    checks::Violation,
    disk::{self, Image, Watch},
    queue::{ConnectionId, Event, Ms},
    simulation::{Simulation, Step},
    stream::ServerStream,
};
use segue_control_plane::{
    engine::{Answer, Board, Engine, Journal, Request, Turn},
    model::{Catalog, Observed, Timestamp, UpgradeStatus},
    xds::Snapshot,
};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt, fs,
    path::Path,
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

/// `--proxy-lease`
pub(crate) const LEASE: Duration = Duration::from_secs(15);
/// As `engine::task`.
const BUSY_TICK: Ms = 100;
const IDLE_TICK: Ms = 1_000;
const BATCH: usize = 256;

/// The control plane and what outlives it.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    state: TempDir,
    copy: TempDir,
    pub(crate) engine: Option<Engine>,
    /// Counts its processes.
    pub(crate) process: u32,
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    /// The newest stream of each proxy.
    pub(crate) registry: BTreeMap<String, ConnectionId>,
    pub(crate) streams: BTreeMap<ConnectionId, ServerStream>,
    inbox: VecDeque<Observed>,
    woken: bool,
    /// It is killed at the next turn that writes anything.
    pub(crate) armed: bool,
    pub(crate) kills: u32,
    pub(crate) kills_within: u32,
    pub(crate) busy: bool,
}

/// A turn with what it answered.
type Turned = (Option<Answer>, Turn);

impl ControlPlane {
    pub(crate) fn new(state: TempDir, copy: TempDir) -> Self {
        Self {
            state,
            copy,
            engine: None,
            process: 0,
            snapshot: None,
            registry: BTreeMap::new(),
            streams: BTreeMap::new(),
            inbox: VecDeque::new(),
            woken: false,
            armed: false,
            kills: 0,
            kills_within: 0,
            busy: false,
        }
    }
}

/// An engine on what stands in a folder.
fn open(root: &Path, catalog: Catalog, now: Timestamp) -> Step<Engine> {
    let journal = Journal::open(root).map_err(|error| Violation {
        invariant: "a killed control plane finds a state folder that it can read",
        what: error.to_string(),
    })?;
    let told = Box::new(|_: &_, _: &_| Ok(()));
    Ok(Engine::new(journal, catalog, LEASE, told, now))
}

impl Simulation {
    pub(crate) fn start_control_plane(&mut self) -> Step {
        if self.plane.engine.is_some() {
            return Ok(());
        }
        let root = self.plane.state.path().to_owned();
        if self.plane.process == 0 {
            // Not by the system's randomness: a seed is one run.
            let key: Vec<u8> = (0..32).map(|_| self.rng.u8(..)).collect();
            fs::write(root.join("token-key"), disk::sealed("token-key", &key))
                .map_err(|error| Violation::simulator(&error))?;
        }
        let (catalog, now) = (self.catalog(), self.timestamp());
        self.plane.engine = Some(open(&root, catalog, now)?);
        self.plane.process += 1;
        self.plane.snapshot = None;
        let process = self.plane.process;
        self.note(&format!("control plane starts, process {process}"));
        for proxy in self.proxies.values_mut() {
            proxy.is_expected_back(self.now);
        }
        self.decide(None)?;
        self.queue.push(self.now + BUSY_TICK, Event::Tick(process));
        Ok(())
    }

    /// Kills it: whatever is not on disk is lost.
    pub(crate) fn kill_control_plane(&mut self) {
        if self.plane.engine.take().is_none() {
            return;
        }
        self.plane.kills += 1;
        self.plane.armed = false;
        self.plane.woken = false;
        self.plane.inbox.clear();
        self.plane.streams.clear();
        self.plane.registry.clear();
        self.note("control plane is killed");
        for proxy in self.proxies.values_mut() {
            proxy.is_lost(self.now);
        }
        self.server_is_gone();
        let longest = if self.one_in(6) { 22_000 } else { 3_000 };
        self.within(100, longest, Event::StartControlPlane);
    }

    pub(crate) fn observe(&mut self, observed: Observed) {
        if self.plane.engine.is_none() {
            return;
        }
        self.plane.inbox.push_back(observed);
        if !self.plane.woken {
            self.plane.woken = true;
            let process = self.plane.process;
            self.within(0, 2, Event::Wake(process));
        }
    }

    pub(crate) fn wake(&mut self, process: u32) -> Step {
        if process != self.plane.process {
            return Ok(());
        }
        self.plane.woken = false;
        let now = self.timestamp();
        let Some(engine) = &mut self.plane.engine else {
            return Ok(());
        };
        for _ in 0..BATCH {
            let Some(observed) = self.plane.inbox.pop_front() else {
                break;
            };
            engine.observed(observed, now);
        }
        self.decide(None).map(drop)
    }

    pub(crate) fn tick(&mut self, process: u32) -> Step {
        if process != self.plane.process || self.plane.engine.is_none() {
            return Ok(());
        }
        self.decide(None)?;
        let wait = if self.plane.busy {
            BUSY_TICK
        } else {
            IDLE_TICK
        };
        self.queue.push(self.now + wait, Event::Tick(process));
        Ok(())
    }

    /// The catalog has changed.
    pub(crate) fn catalog_changed(&mut self) {
        let catalog = self.catalog();
        let Some(engine) = &mut self.plane.engine else {
            return;
        };
        engine.catalog_changed(catalog);
        let process = self.plane.process;
        self.queue.push(self.now, Event::Wake(process));
    }

    /// One turn, for a verb or by itself. None: it was killed meanwhile, or there is none.
    pub(crate) fn decide(&mut self, request: Option<&Request>) -> Step<Option<Answer>> {
        let now = self.timestamp();
        let Some(engine) = &mut self.plane.engine else {
            return Ok(None);
        };
        let mut turn = || -> Turned {
            match request {
                Some(request) => {
                    let (answer, turn) = engine.command(request, now);
                    (Some(answer), turn)
                }
                None => (None, engine.turn(now)),
            }
        };
        let (answer, turn) = if self.plane.armed {
            let root = self.plane.state.path();
            let before = disk::read(root).map_err(|error| Violation::simulator(&error))?;
            let watch = Watch::new(root).map_err(|error| Violation::simulator(&error))?;
            let turned = turn();
            let writes = watch
                .writes()
                .map_err(|error| Violation::simulator(&error))?;
            if !writes.is_empty() {
                self.die_within(&before, &writes)?;
                return Ok(None);
            }
            turned
        } else {
            turn()
        };
        self.publish(turn)?;
        Ok(answer)
    }

    /// It was killed after some of the turn's writes, and told nobody.
    fn die_within(&mut self, before: &Image, writes: &[std::path::PathBuf]) -> Step {
        let root = self.plane.state.path().to_owned();
        let after = disk::read(&root).map_err(|error| Violation::simulator(&error))?;
        let (image, made) = disk::torn(before, &after, writes, &mut self.rng);
        self.note(&format!("dies after {made} writes of {writes:?}"));
        self.kill_control_plane();
        self.plane.kills_within += 1;
        disk::write(&root, &image).map_err(|error| Violation::simulator(&error))
    }

    fn publish(&mut self, turn: Turn) -> Step {
        let now = self.timestamp();
        let Some(engine) = &mut self.plane.engine else {
            return Ok(());
        };
        let board = engine.board(now);
        self.plane.busy = board
            .upgrades
            .values()
            .any(|view| !view.status.phase.is_final());
        if let Some(error) = &board.journal_error {
            return Err(Violation::simulator(error));
        }
        self.check_board(&board)?;
        if let Some(world) = turn.world {
            self.checks.published(&world, &board)?;
            self.check_disk(&board)?;
            let line = format!("publishes {}: {}", world.generation.0, shape(&world));
            self.note(&line);
            let snapshot = Snapshot::build(world, self.plane.snapshot.as_deref());
            self.plane.snapshot = Some(Arc::new(snapshot));
            let streams: Vec<ConnectionId> = self.plane.streams.keys().copied().collect();
            for id in streams {
                self.within(0, 3, Event::StreamSnapshot(id));
            }
        }
        self.checks.remember(board);
        Ok(())
    }

    /// What a control plane would find that came up now.
    fn check_disk(&mut self, board: &Board) -> Step {
        let image = disk::read(self.plane.state.path());
        let written = image.and_then(|image| disk::write(self.plane.copy.path(), &image));
        written.map_err(|error| Violation::simulator(&error))?;
        let (catalog, now) = (self.catalog(), self.timestamp());
        let found = open(self.plane.copy.path(), catalog, now)?.board(now);
        for (key, view) in &board.upgrades {
            let told = said(&view.status);
            let kept = found.upgrades.get(key).map(|found| said(&found.status));
            if kept.as_ref() != Some(&told) {
                return Err(Violation {
                    invariant: "what is on disk is never behind what is published",
                    what: format!("{key}: told {told:?}, on disk {kept:?}"),
                });
            }
        }
        Ok(())
    }
}

/// What of a run must outlive the process.
fn said(status: &UpgradeStatus) -> impl fmt::Debug + PartialEq + use<> {
    (
        (status.phase, status.weight, status.traffic),
        (status.token_epoch, status.generation, status.paused),
        (status.drained.clone(), status.history.len()),
    )
}

/// The versions of the service as proxies are told of them, for the trace.
fn shape(world: &segue_control_plane::model::World) -> String {
    let Some(view) = world.services.get(&super::simulation::service()) else {
        return "no service".to_owned();
    };
    let mut words: Vec<String> = Vec::new();
    for version in &view.versions {
        let held = if version.token.is_some() { " held" } else { "" };
        words.push(format!("{} {}{held}", version.id, version.weight));
    }
    for instance in &view.instances {
        words.push(format!(
            "{} {:?}",
            instance.workload.key.name, instance.state
        ));
    }
    words.join(", ")
}
