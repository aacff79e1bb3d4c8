//! What a client says when it refuses a response. It goes into statuses, the history, the decision
//! log and events, so it is cut to a sentence's length where it comes in, and shared from there on.

use std::sync::Arc;

/// What is kept of a message, in bytes.
const SHOWN: usize = 1024;
/// In how much of a message names are looked for, in bytes: gRPC lets 4 MiB pass, and a client may
/// have thousands of names.
const READ: usize = 64 * 1024;
/// What stands for the rest.
const CUT: char = '…';

/// A NACK's message.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// What people are shown: at most 1 KiB, without control characters.
    pub shown: Arc<str>,
    /// None: too long to be read.
    read: Option<&'a str>,
}

impl<'a> Refusal<'a> {
    /// Reads `error_detail.message`.
    pub fn read(message: &'a str) -> Self {
        Self {
            shown: shown(message),
            read: Some(message).filter(|message| message.len() <= READ),
        }
    }

    /// It names this resource. A message that is too long to be read names none.
    pub(super) fn names(&self, resource: &str) -> bool {
        self.read.is_some_and(|message| message.contains(resource))
    }
}

fn shown(message: &str) -> Arc<str> {
    let mut shown = String::new();
    for character in message.chars() {
        let character = if character.is_control() {
            ' '
        } else {
            character
        };
        if shown.len() + character.len_utf8() + CUT.len_utf8() > SHOWN {
            shown.push(CUT);
            break;
        }
        shown.push(character);
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_message_stays_as_it_is_but_for_control_characters() {
        assert_eq!(&*Refusal::read("route: no").shown, "route: no");
        assert_eq!(&*Refusal::read("a\nb\u{1b}[2J").shown, "a b [2J");
    }

    #[test]
    fn a_long_one_is_cut_between_two_characters() {
        for message in ["x".repeat(5_000), "ü€".repeat(5_000)] {
            let shown = Refusal::read(&message).shown;
            assert!(shown.len() <= SHOWN && shown.len() > SHOWN - 8);
            assert!(shown.ends_with(CUT));
        }
    }

    #[test]
    fn names_are_found_beyond_what_is_shown() {
        let message = format!("{} cluster-7", "x".repeat(2_000));
        assert!(Refusal::read(&message).names("cluster-7"));
        let endless = format!("cluster-7 {}", "x".repeat(READ));
        assert!(!Refusal::read(&endless).names("cluster-7"));
    }
}
