//! The scenarios by name.

use super::{
    events,
    faults::{self, Ill, When},
    nats,
    outcome::Outcome,
    placing, plain, verbs,
};
use segue_cli::lab::Mode;
use std::pin::Pin;

/// A scenario under way.
pub(super) type Playing = Pin<Box<dyn Future<Output = Outcome>>>;

/// A scenario.
pub(super) struct Scenario {
    /// By which it is called.
    pub(super) name: String,
    /// Why this machine can't play it.
    pub(super) lacks: fn() -> Option<String>,
    /// Plays it in this process.
    pub(super) play: Box<dyn Fn(Mode) -> Playing>,
}

fn scenario<Played>(name: &str, play: fn(Mode) -> Played) -> Scenario
where
    Played: Future<Output = Outcome> + 'static,
{
    Scenario {
        name: name.to_owned(),
        lacks: || None,
        play: Box::new(move |mode| Box::pin(play(mode))),
    }
}

/// All of them, the longest first, so that the last to end is a short one.
pub(super) fn all() -> Vec<Scenario> {
    let mut all = vec![
        scenario("good", plain::good),
        scenario("low-traffic-waits", plain::low_traffic_waits),
        scenario("low-traffic-proceed", plain::low_traffic_proceed),
        scenario("low-traffic-roll-back", plain::low_traffic_roll_back),
        scenario("low-traffic-pause", plain::low_traffic_pause),
        scenario("half-outside", placing::good),
        scenario("half-outside-back", placing::back),
        scenario("two-services", plain::two_services),
        scenario("third-version-after-good", plain::third_after_good),
        scenario("third-version-after-bad", plain::third_after_bad),
    ];
    for when in When::ALL {
        for ill in Ill::ALL {
            all.push(Scenario {
                name: format!("{}-in-{}", ill.name(), when.name()),
                lacks: || None,
                play: Box::new(move |mode| Box::pin(faults::play(mode, ill, when))),
            });
        }
    }
    all.extend([
        scenario("errors-after-old-is-gone", faults::after_old_is_gone),
        scenario("errors-in-both-versions", faults::both_versions),
        scenario("blue-green", plain::blue_green),
        scenario("capacity-match", plain::capacity_match),
        scenario("manual-step", plain::manual_step),
        scenario("pause-during-the-barrier", verbs::pause_during_the_barrier),
        scenario(
            "promote-full-in-preparing",
            verbs::promote_full_in_preparing,
        ),
        scenario("rollback-at-100", verbs::roll_back_at_100),
        scenario("rollback-in-draining", verbs::roll_back_in_draining),
        scenario(
            "rollback-after-old-is-gone",
            verbs::roll_back_after_old_is_gone,
        ),
        scenario("retry-after-rollback", verbs::retry_after_rollback),
        scenario("resume-twice", verbs::resume_twice),
        scenario("request-id-twice", verbs::request_id_twice),
        scenario("killed-after-a-verb", verbs::killed_after_a_verb),
        scenario("sink-was-down", events::sink_was_down),
        Scenario {
            lacks: nats::lacks,
            ..scenario("nats-receives-the-same", events::nats_receives_the_same)
        },
    ]);
    all
}
