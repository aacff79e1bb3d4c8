//! Follows an HTTP/2 client's bytes from frame to frame. Pure.
//!
//! h2 bounds what its own state grows by: streams, header lists, CONTINUATION frames, resets of
//! streams that were not accepted yet, small DATA frames. It answers as many PING, SETTINGS,
//! PRIORITY, WINDOW_UPDATE and RST_STREAM frames as come (CVE-2019-9512, 9513, 9515, and rapid
//! reset at a slower pace, CVE-2023-44487), and waits for ever for the rest of a frame. Both are
//! seen here.

/// How HTTP/2 with prior knowledge begins (RFC 9113, 3.4), in bytes.
const PREFACE: usize = 24;
/// A frame's header (RFC 9113, 4.1), in bytes.
const HEADER: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// The frames of one connection, as far as its bytes were read.
#[derive(Debug)]
pub(super) struct Frames {
    preface: usize,
    header: [u8; HEADER],
    /// How much of the header was read.
    read: usize,
    /// How much of the payload is to come.
    left: usize,
    kind: u8,
    /// The client's first SETTINGS have come.
    settled: bool,
    /// A header block has begun and not ended.
    block: bool,
    idle: u32,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            preface: PREFACE,
            header: [0; HEADER],
            read: 0,
            left: 0,
            kind: DATA,
            settled: false,
            block: false,
            idle: 0,
        }
    }
}

impl Frames {
    /// True where the client must go on at once: it has not said its settings, or is within a
    /// frame that carries no body, or within a header block.
    pub(super) const fn is_within_head(&self) -> bool {
        !self.settled || self.block || self.read > 0 || (self.left > 0 && self.kind != DATA)
    }

    /// True within a DATA frame.
    pub(super) const fn is_within_data(&self) -> bool {
        self.left > 0 && self.kind == DATA
    }

    /// How many frames came that neither open a stream nor carry a body, since the last
    /// [`Self::forgive`].
    pub(super) const fn idle(&self) -> u32 {
        self.idle
    }

    /// Counts anew.
    pub(super) const fn forgive(&mut self) {
        self.idle = 0;
    }

    /// Reads on.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.preface > 0 {
                bytes = skip(&mut self.preface, bytes);
            } else if self.left > 0 {
                bytes = skip(&mut self.left, bytes);
            } else {
                bytes = self.header(bytes);
            }
        }
    }

    fn header<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let here = bytes.len().min(HEADER - self.read);
        let (part, rest) = bytes.split_at(here);
        let places = self.header.iter_mut().skip(self.read);
        for (place, byte) in places.zip(part) {
            *place = *byte;
        }
        self.read += here;
        if self.read == HEADER {
            self.read = 0;
            self.begin();
        }
        rest
    }

    fn begin(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.header;
        self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.kind = kind;
        let empty = self.left == 0;
        match kind {
            HEADERS => self.block = flags & END_HEADERS == 0,
            CONTINUATION => {
                self.block = flags & END_HEADERS == 0;
                self.idle = self.idle.saturating_add(1);
            }
            DATA if !empty || flags & END_STREAM != 0 => {}
            _ => {
                self.settled |= kind == SETTINGS;
                self.idle = self.idle.saturating_add(1);
            }
        }
    }
}

fn skip<'b>(left: &mut usize, bytes: &'b [u8]) -> &'b [u8] {
    let here = bytes.len().min(*left);
    *left -= here;
    bytes.get(here..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Frames;
    use proptest::prelude::{any, prop, proptest};

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
    const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08";
    const OPEN_BLOCK: &[u8] = b"\0\0\x01\x01\x01\0\0\0\x01\x82";
    const CONTINUATION: &[u8] = b"\0\0\x01\x09\x04\0\0\0\x01\x82";
    const DATA: &[u8] = b"\0\0\x03\0\0\0\0\0\x01abc";
    const EMPTY: &[u8] = b"\0\0\0\0\0\0\0\0\x01";

    fn after(parts: &[&[u8]]) -> Frames {
        let mut frames = Frames::default();
        for part in parts {
            frames.read(part);
        }
        frames
    }

    #[test]
    fn a_client_that_has_said_nothing_yet_must_go_on() {
        assert!(after(&[]).is_within_head());
        assert!(after(&[PREFACE]).is_within_head());
        assert!(after(&[PREFACE, &SETTINGS[..12]]).is_within_head());
        assert!(!after(&[PREFACE, SETTINGS]).is_within_head());
    }

    #[test]
    fn a_header_block_is_open_until_its_last_continuation() {
        let begun = [PREFACE, SETTINGS, OPEN_BLOCK];
        assert!(after(&begun).is_within_head());
        assert!(!after(&[&begun[..], &[CONTINUATION]].concat()).is_within_head());
    }

    #[test]
    fn a_part_of_a_body_is_not_a_head() {
        let frames = after(&[PREFACE, SETTINGS, &DATA[..10]]);
        assert!(frames.is_within_data() && !frames.is_within_head());
        assert!(!after(&[PREFACE, SETTINGS, DATA]).is_within_data());
    }

    #[test]
    fn what_brings_nothing_is_counted() {
        let frames = after(&[
            PREFACE,
            SETTINGS,
            PING,
            DATA,
            EMPTY,
            OPEN_BLOCK,
            CONTINUATION,
        ]);
        assert_eq!(frames.idle(), 4, "SETTINGS, PING, empty DATA, CONTINUATION");
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_are_cut(cut in 0..90_usize) {
            let all = [PREFACE, SETTINGS, PING, DATA, OPEN_BLOCK, CONTINUATION, PING].concat();
            let (one, other) = all.split_at(cut.min(all.len()));
            let frames = after(&[one, other]);
            assert_eq!((frames.idle(), frames.is_within_head()), (4, false));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            after(&[PREFACE, &bytes]);
        }
    }
}
