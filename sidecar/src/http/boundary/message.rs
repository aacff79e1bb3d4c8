//! gRPC messages (gRPC over HTTP/2, "Length-Prefixed-Message"): a flag, four bytes of length, the
//! message.

/// The flag and the length.
const PREFIX: u8 = 5;

/// Where in a stream of messages one is.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::http) struct Messages {
    /// The length, as far as it was read.
    length: u32,
    /// How many bytes of the prefix were read.
    prefix: u8,
    /// Bytes of the message that are still to come.
    left: u32,
}

impl Messages {
    /// Follows a part.
    pub(in crate::http) fn read(&mut self, part: &[u8]) {
        self.follow(part, |_| {});
    }

    /// True after a message.
    pub(in crate::http) const fn is_between(&self) -> bool {
        self.prefix == 0 && self.left == 0
    }

    /// How many bytes of the next part lie before the end of its last message.
    pub(in crate::http) fn last_in(mut self, part: &[u8]) -> Option<usize> {
        let mut last = None;
        self.follow(part, |rest| last = Some(part.len().saturating_sub(rest)));
        last
    }

    /// Tells of each message's end how much of the part lies behind it.
    fn follow(&mut self, part: &[u8], mut ended: impl FnMut(usize)) {
        let mut rest = part;
        while !rest.is_empty() {
            if self.left == 0 {
                let Some((byte, behind)) = rest.split_first() else {
                    return;
                };
                rest = behind;
                self.prefix += 1;
                // The flag is shifted out by the four bytes that follow it.
                self.length = (self.length << 8) | u32::from(*byte);
                if self.prefix < PREFIX {
                    continue;
                }
                self.prefix = 0;
                self.left = self.length;
            } else {
                let available = u32::try_from(rest.len()).unwrap_or(u32::MAX);
                let taken = self.left.min(available);
                self.left -= taken;
                let taken = usize::try_from(taken).unwrap_or(usize::MAX);
                rest = rest.get(taken..).unwrap_or_default();
            }
            if self.left == 0 {
                ended(rest.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Messages;
    use proptest::prelude::*;

    fn message(length: u8) -> Vec<u8> {
        [&[1, 0, 0, 0, length][..], &vec![7; length.into()]].concat()
    }

    proptest! {
        #[test]
        fn messages_are_told_apart_however_the_bytes_are_cut(
            lengths in prop::collection::vec(0..20_u8, 1..6), cuts in (0..99_usize, 0..99_usize),
        ) {
            let mut ends = vec![0];
            let mut all = Vec::new();
            for length in lengths {
                all.extend(message(length));
                ends.push(all.len());
            }
            let one = cuts.0.min(all.len());
            let other = cuts.1.clamp(one, all.len());
            let mut messages = Messages::default();
            messages.read(&all[..one]);
            prop_assert_eq!(messages.is_between(), ends.contains(&one));
            let last = ends.iter().copied().rfind(|end| *end > one && *end <= other);
            prop_assert_eq!(messages.last_in(&all[one..other]), last.map(|end| end - one));
            messages.read(&all[one..other]);
            prop_assert_eq!(messages.is_between(), ends.contains(&other));
        }
    }

    #[test]
    fn a_long_message_has_all_of_its_length() {
        let mut messages = Messages::default();
        messages.read(&[0, 0, 1, 0, 0]);
        messages.read(&vec![0; 65_535]);
        assert!(!messages.is_between());
        messages.read(&[0]);
        assert!(messages.is_between());
    }
}
