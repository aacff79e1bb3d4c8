//! Server-sent events (WHATWG HTML, 9.2.5): an event ends by a blank line. A line ends by CR LF, LF
//! or CR.

/// The last bytes of a stream of events; a blank line's end is seen in three.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Events([u8; 3]);

impl Default for Events {
    /// Before the first event nothing is broken off.
    fn default() -> Self {
        Self(*b"\n\n\n")
    }
}

impl Events {
    /// Follows a part.
    pub(in crate::http) fn read(&mut self, part: &[u8]) {
        let last = part.len().saturating_sub(self.0.len());
        for byte in part.iter().skip(last) {
            self.push(*byte);
        }
    }

    /// True after an event.
    pub(in crate::http) const fn is_between(self) -> bool {
        matches!(
            self.0,
            [_, b'\n' | b'\r', b'\r'] | [_, b'\n', b'\n'] | [b'\n' | b'\r', b'\r', b'\n']
        )
    }

    /// How many bytes of the next part lie before the end of its last event.
    pub(in crate::http) fn last_in(mut self, part: &[u8]) -> Option<usize> {
        let mut last = None;
        for (index, byte) in part.iter().enumerate() {
            self.push(*byte);
            if self.is_between() {
                last = Some(index + 1);
            }
        }
        last
    }

    const fn push(&mut self, byte: u8) {
        let [_, second, third] = self.0;
        self.0 = [second, third, byte];
    }
}

#[cfg(test)]
mod tests {
    use super::Events;
    use proptest::prelude::*;

    /// The rule as it is written: a line that is empty ends an event.
    fn is_after_a_blank_line(text: &[u8]) -> bool {
        let text = String::from_utf8(text.to_vec()).unwrap();
        let lines = text.replace("\r\n", "\n").replace('\r', "\n");
        lines.ends_with("\n\n") || lines.is_empty() || lines == "\n"
    }

    fn after(parts: &[&[u8]]) -> Events {
        let mut events = Events::default();
        for part in parts {
            events.read(part);
        }
        events
    }

    #[test]
    fn an_event_ends_by_a_blank_line_however_lines_end() {
        for end in ["\n\n", "\r\r", "\r\n\r\n", "\n\r\n", "\r\n\n", "\r\n\r"] {
            assert!(after(&[b"data: 1", end.as_bytes()]).is_between(), "{end:?}");
        }
        for open in ["data: 1", "data: 1\n", "data: 1\r\n", "data: 1\r", "\n\nid"] {
            assert!(!after(&[open.as_bytes()]).is_between(), "{open:?}");
        }
        assert!(after(&[]).is_between());
    }

    proptest! {
        #[test]
        fn it_is_as_the_rule_says_however_the_bytes_are_cut(
            text in "[a\n\r]{0,12}", cut in 0..12_usize,
        ) {
            let (one, other) = text.as_bytes().split_at(cut.min(text.len()));
            let events = after(&[one, other]);
            prop_assert_eq!(events.is_between(), is_after_a_blank_line(text.as_bytes()));
            if let Some(last) = after(&[one]).last_in(other) {
                prop_assert!(after(&[one, &other[..last]]).is_between());
                prop_assert!((last + 1..=other.len())
                    .all(|later| !after(&[one, &other[..later]]).is_between()));
            }
        }
    }
}
