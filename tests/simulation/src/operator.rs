//! People: verbs at awkward moments, each put once more under the same request id.

use super::{
    queue::Event,
    simulation::{Simulation, Step, service},
};
use segue_control_plane::{
    engine::{Refusal, Request, Target},
    model::Command,
};

/// How often a verb is put again while nobody answers.
const TRIES: u32 = 12;

impl Simulation {
    pub(crate) fn operate(&mut self) -> Step {
        let Some(key) = self.checks.newest() else {
            return Ok(());
        };
        let command = match self.rng.u8(..12) {
            0..=2 => Command::Pause,
            3..=5 => Command::Resume,
            6 | 7 => Command::Promote { full: false },
            8 => Command::Promote { full: true },
            9 => Command::Rollback {
                reason: "asked for by the simulation".to_owned(),
            },
            10 => Command::Retry,
            _ => Command::Start,
        };
        let target = if command == Command::Start && self.rng.bool() {
            Target::To {
                service: service(),
                version: "v2".into(),
            }
        } else {
            Target::Named(key)
        };
        self.put(target, command)
    }

    /// A step has just been applied: somebody wants to look at it for a while.
    pub(crate) fn look_closer(&mut self) {
        if self.scenario.verbs > 0 && !self.healed && self.one_in(3) {
            self.within(0, 1_500, Event::Aimed(Command::Pause));
            self.within(3_000, 6_000, Event::Aimed(Command::Resume));
        }
    }

    pub(crate) fn aimed(&mut self, command: Command) -> Step {
        match self.checks.newest() {
            Some(key) => self.put(Target::Named(key), command),
            None => Ok(()),
        }
    }

    fn put(&mut self, target: Target, command: Command) -> Step {
        self.numbered += 1;
        let request = Request {
            target,
            command,
            reason: String::new(),
            request_id: format!("request-{}", self.numbered),
            resource_version: None,
        };
        self.ask(request, TRIES)
    }

    /// Puts a verb; again where nobody answers, and now and then where somebody did.
    pub(crate) fn ask(&mut self, request: Request, left: u32) -> Step {
        if left == 0 {
            return Ok(());
        }
        let answer = self.decide(Some(&request))?;
        let said = match &answer {
            None => "no answer".to_owned(),
            Some(Ok(view)) => format!("{}", view.status.phase),
            Some(Err(refusal)) => refusal.to_string(),
        };
        let line = format!("{} asks {:?}: {said}", request.request_id, request.command);
        self.note(&line);
        let unanswered = matches!(answer, None | Some(Err(Refusal::Unavailable(_))));
        if unanswered {
            let again = Event::Repeat(Box::new(request), left - 1);
            self.within(200, 1_000, again);
        } else if left > 1 && self.one_in(3) {
            self.within(20, 3_000, Event::Repeat(Box::new(request), 1));
        }
        Ok(())
    }

    /// Somebody answers runs that wait for a person.
    pub(crate) fn attend(&mut self) -> Step {
        for (key, command) in self.checks.wishes() {
            self.put(Target::Named(key), command)?;
        }
        Ok(())
    }
}
