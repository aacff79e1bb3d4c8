//! Open files, of which each connection is one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the process needs beside connections: state, logs, manifests, sinks.
const OWN_FILES: u64 = 256;

/// How many of the connections that are wanted the system lets this process have: the limit of
/// open files is raised as far as it may be, and what still is too much is told.
pub fn affordable(wanted: usize) -> usize {
    let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return wanted;
    };
    let raised = setrlimit(Resource::RLIMIT_NOFILE, most, most).is_ok();
    let files = if raised {
        most
    } else {
        getrlimit(Resource::RLIMIT_NOFILE).map_or(most, |(now, _)| now)
    };
    let affordable = within(wanted, files);
    if affordable < wanted {
        tracing::warn!(
            wanted,
            affordable,
            "the system allows {files} open files, so fewer connections are taken: raise the limit (ulimit -n)"
        );
    }
    affordable
}

fn within(wanted: usize, files: u64) -> usize {
    let left = files.saturating_sub(OWN_FILES).max(1);
    usize::try_from(left).map_or(wanted, |left| wanted.min(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_the_process_itself() {
        assert_eq!(within(10_000, 1_048_576), 10_000);
        assert_eq!(within(10_000, 1_024), 768);
        assert_eq!(within(10_000, 12), 1);
    }
}
