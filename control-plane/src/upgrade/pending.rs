//! `Pending`: waits for a person.

use super::run::Run;

pub(super) fn look(run: &mut Run<'_>) {
    run.say("waits for `segue upgrade start`");
    run.status.next_at = None;
}
