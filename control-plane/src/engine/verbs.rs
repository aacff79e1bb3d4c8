//! Verbs: what people and programs ask of a run, checked against what is so, then put to
//! `upgrade::advance` in a turn of their own.

use super::{
    changes::Changes,
    core::Engine,
    inbox::{Answer, Refusal, Request, Target},
    run::{Run, is_fulfilled, refusal},
    services::free_key,
    turn::Turn,
};
use crate::{
    model::{
        Command, Phase, ServiceKey, Timestamp, UpgradeKey, UpgradeSpec, UpgradeStatus, VersionId,
    },
    upgrade,
};
use std::sync::Arc;

/// Answers remembered by request id.
const ANSWERS_KEPT: usize = 1_024;

impl Engine {
    /// Obeys one verb, or says why not.
    pub fn command(&mut self, request: &Request, now: Timestamp) -> (Answer, Turn) {
        if !request.request_id.is_empty()
            && let Some((asked, answer)) = self
                .answers
                .iter()
                .find(|(asked, _)| asked.request_id == request.request_id)
        {
            let answer = if asked == request {
                answer.clone()
            } else {
                Err(used_otherwise(request))
            };
            return (answer, Turn::default());
        }
        if let Some(answer) = self.obeyed_before(request, now) {
            return (answer, Turn::default());
        }
        let mut turn = Turn::default();
        let answer = self.obey(request, &mut turn, now);
        let lasting = !matches!(answer, Err(Refusal::Unavailable(_)));
        if lasting && !request.request_id.is_empty() {
            self.answers.push_back((request.clone(), answer.clone()));
            if self.answers.len() > ANSWERS_KEPT {
                self.answers.pop_front();
            }
        }
        (answer, turn)
    }

    /// The answer to what was obeyed before a restart: the upgrade as it stands.
    fn obeyed_before(&self, request: &Request, now: Timestamp) -> Option<Answer> {
        if request.request_id.is_empty() {
            return None;
        }
        let of_run = |run: &Run| {
            let asked = run.requests.iter();
            let same = |asked: &&Request| asked.request_id == request.request_id;
            asked.rev().find(same).map(|asked| asked == request)
        };
        let (key, same) = self
            .runs
            .iter()
            .find_map(|(key, run)| Some((key, of_run(run)?)))?;
        if !same {
            return Some(Err(used_otherwise(request)));
        }
        let view = self.view(key, now)?;
        Some(match refused_by_the_rules(&view.status, &request.command) {
            Some(message) => Err(Refusal::NotNow(message)),
            None => Ok(Arc::new(view)),
        })
    }

    fn obey(&mut self, request: &Request, turn: &mut Turn, now: Timestamp) -> Answer {
        let mut changes = Changes::default();
        let key = match &request.target {
            Target::Named(key) => self.find(key)?,
            Target::To { service, version } => {
                self.find_or_begin(service, version, &mut changes, now)?
            }
        };
        let command = self.checked(&key, request)?;
        changes.touch(&key, &self.runs);
        if let Some(run) = self.runs.get_mut(&key) {
            run.remember(request);
            if command.is_some() {
                run.status.conditions.remove(upgrade::COMMAND_REFUSED);
            }
        }
        if let Some(command) = command {
            let asked = (command, request.reason.clone());
            self.commands.entry(key.clone()).or_default().push(asked);
        }
        *turn = self.turn_with(changes, now);
        let goes_back =
            matches!(request.command, Command::Rollback { .. }) && self.unwritten.contains(&key);
        if let Some(error) = self.journal_error.as_ref().filter(|_| !goes_back) {
            return Err(Refusal::Unavailable(format!(
                "nothing is decided now: {error}"
            )));
        }
        let Some(view) = self.view(&key, now) else {
            return Err(Refusal::NotFound(format!("upgrade {key} is gone")));
        };
        match refused_by_the_rules(&view.status, &request.command) {
            Some(message) => Err(Refusal::NotNow(message)),
            None => Ok(Arc::new(view)),
        }
    }

    fn find(&self, key: &UpgradeKey) -> Result<UpgradeKey, Refusal> {
        if self.runs.contains_key(key) {
            return Ok(key.clone());
        }
        let names: Vec<String> = self.runs.keys().map(ToString::to_string).collect();
        Err(Refusal::NotFound(match names.as_slice() {
            [] => format!("there is no upgrade {key}, nor any other"),
            names => format!("there is no upgrade {key}; there are {}", names.join(", ")),
        }))
    }

    fn find_or_begin(
        &mut self,
        service: &ServiceKey,
        to: &VersionId,
        changes: &mut Changes,
        now: Timestamp,
    ) -> Result<UpgradeKey, Refusal> {
        if !self.catalog.services.contains_key(service) {
            let names: Vec<String> = self
                .catalog
                .services
                .keys()
                .map(ToString::to_string)
                .collect();
            return Err(Refusal::NotFound(format!(
                "there is no service {service}; there are {}",
                if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                }
            )));
        }
        if let Some(key) = self
            .current
            .get(service)
            .filter(|key| self.active.contains(*key))
        {
            let going_there = self.runs.get(key).is_some_and(|run| run.spec.to == *to);
            if going_there {
                return Ok(key.clone());
            }
            return Err(Refusal::NotNow(format!(
                "{service} is in the middle of upgrade {key}: wait for its end, or roll it back"
            )));
        }
        let from = match self
            .services
            .get(service)
            .and_then(|memory| memory.stable.clone())
        {
            Some(stable) if stable == *to => {
                return Err(Refusal::Exists(format!("{service} is on {to} already")));
            }
            Some(stable) => stable,
            None => {
                return Err(Refusal::NotNow(format!(
                    "{service} has several versions and none is known to be the stable one: name `from` and `to` in an Upgrade"
                )));
            }
        };
        let spec = UpgradeSpec {
            key: free_key(service, to, &self.runs),
            service: service.clone(),
            from,
            to: to.clone(),
            paused: false,
        };
        let key = spec.key.clone();
        self.begin(spec, changes, now);
        Ok(key)
    }

    /// The command to be put to the run; None where it is so already.
    fn checked(&self, key: &UpgradeKey, request: &Request) -> Result<Option<Command>, Refusal> {
        let Some(run) = self.runs.get(key) else {
            return Err(Refusal::NotFound(format!("there is no upgrade {key}")));
        };
        if let Some(expected) = request.resource_version
            && expected != run.resource_version
        {
            return Err(Refusal::MovedOn(format!(
                "upgrade {key} has moved on (resource version {} instead of {expected}): look again",
                run.resource_version
            )));
        }
        let command = &request.command;
        if is_fulfilled(command, &run.status) {
            return Ok(None);
        }
        if let Some(why) = refusal(command, &run.status) {
            return Err(Refusal::NotNow(why));
        }
        let service = &run.spec.service;
        match command {
            Command::Rollback { .. } if !self.index.has(service, &run.spec.from) => {
                Err(Refusal::NotNow(format!(
                    "no instance of {} is left to go back to",
                    run.spec.from
                )))
            }
            Command::Retry => self.checked_retry(key).map(|()| Some(Command::Retry)),
            other => Ok(Some(other.clone())),
        }
    }

    fn checked_retry(&self, key: &UpgradeKey) -> Result<(), Refusal> {
        let Some(run) = self.runs.get(key) else {
            return Ok(());
        };
        let service = &run.spec.service;
        if let Some(newer) = self.current.get(service).filter(|current| *current != key) {
            return Err(Refusal::NotNow(format!(
                "{newer} came after {key}: only the newest upgrade can be tried again"
            )));
        }
        let stable = self
            .services
            .get(service)
            .and_then(|memory| memory.stable.as_ref());
        if stable != Some(&run.spec.from) {
            return Err(Refusal::NotNow(format!(
                "{service} is no longer on {}",
                run.spec.from
            )));
        }
        Ok(())
    }
}

fn used_otherwise(request: &Request) -> Refusal {
    Refusal::NotNow(format!(
        "request id {} was used for something else: take a new one",
        request.request_id
    ))
}

/// What `advance` said of a command that it did not obey.
fn refused_by_the_rules(status: &UpgradeStatus, command: &Command) -> Option<String> {
    let condition = upgrade::refused(status, command)?;
    (status.phase != Phase::Succeeded).then(|| condition.message.clone())
}
