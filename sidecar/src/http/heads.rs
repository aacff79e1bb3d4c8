//! Follows an HTTP/1 client's bytes from head to head. Pure.
//!
//! It knows as much of the framing as it takes to find the next head, and of a head only what the
//! parser would forgive: two lengths, lines that end by a bare LF. What it can't follow is left to
//! the parser, which refuses it.

/// As long as the longest line that matters: a length, or a chunk's size.
const LINE: usize = 64;

/// Where the next byte belongs.
#[derive(Clone, Copy, Debug)]
enum At {
    Head,
    Body(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// It can't be told any more.
    Lost,
}

/// What is wrong with a head that the parser would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It has both `Content-Length` and `Transfer-Encoding`, or one of them twice.
    TwoLengths,
    /// One of its lines ends by LF without CR.
    BareLineFeed,
}

/// What a head's `Content-Length` says.
#[derive(Clone, Copy, Debug, Default)]
enum Length {
    #[default]
    Absent,
    Known(u64),
    Unreadable,
}

/// The heads of one connection, as far as its bytes were read.
#[derive(Debug)]
pub(super) struct Heads {
    at: At,
    line: [u8; LINE],
    line_length: usize,
    /// Of the head that is being read: it has a request line, a length, a coding.
    begun: bool,
    length: Length,
    coding: bool,
    fault: Option<Fault>,
    /// Its size so far, in bytes.
    size: usize,
    /// The size of the largest.
    largest: usize,
    /// The last byte of the line that is being read.
    last: u8,
    ended: u64,
}

impl Default for Heads {
    fn default() -> Self {
        Self {
            at: At::Head,
            line: [0; LINE],
            line_length: 0,
            begun: false,
            length: Length::Absent,
            coding: false,
            fault: None,
            size: 0,
            largest: 0,
            last: 0,
            ended: 0,
        }
    }
}

impl Heads {
    /// True where a head has begun and not ended.
    pub(super) const fn is_within_head(&self) -> bool {
        matches!(self.at, At::Head) && (self.begun || self.line_length > 0)
    }

    /// True where the rest of a body is owed: all of it was announced, or a chunk has begun. Between
    /// two chunks a client may be silent as long as it likes.
    pub(super) const fn is_within_body(&self) -> bool {
        match self.at {
            At::Body(_) | At::Chunk(_) | At::ChunkEnd | At::Trailers => true,
            At::ChunkSize => self.line_length > 0,
            At::Head | At::Lost => false,
        }
    }

    /// How many heads have ended.
    pub(super) const fn ended(&self) -> u64 {
        self.ended
    }

    /// The size of the largest head, or of the largest trailers, so far.
    pub(super) const fn largest(&self) -> usize {
        self.largest
    }

    /// Reads on. Some: the head of that number (from 1) has that fault; nothing behind it can be
    /// trusted, so this is said once at most.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Option<(u64, Fault)> {
        while !bytes.is_empty() {
            bytes = match self.at {
                At::Lost => return None,
                At::Body(left) => self.skip(left, At::Body, At::Head, bytes),
                At::Chunk(left) => self.skip(left, At::Chunk, At::ChunkEnd, bytes),
                At::Head | At::ChunkSize | At::ChunkEnd | At::Trailers => {
                    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                        self.extend(bytes);
                        return None;
                    };
                    let (line, rest) = bytes.split_at(end);
                    self.extend(line);
                    if let Some(fault) = self.end_line() {
                        return Some((self.ended, fault));
                    }
                    rest.get(1..).unwrap_or_default()
                }
            };
        }
        None
    }

    fn skip<'b>(
        &mut self,
        left: u64,
        within: fn(u64) -> At,
        after: At,
        bytes: &'b [u8],
    ) -> &'b [u8] {
        let here = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left.saturating_sub(u64::try_from(here).unwrap_or(u64::MAX));
        self.at = if left == 0 { after } else { within(left) };
        bytes.get(here..).unwrap_or_default()
    }

    fn extend(&mut self, bytes: &[u8]) {
        if let Some(free) = self.line.get_mut(self.line_length..) {
            for (place, byte) in free.iter_mut().zip(bytes) {
                *place = *byte;
            }
        }
        self.line_length = self.line_length.saturating_add(bytes.len());
        if matches!(self.at, At::Head | At::Trailers) {
            self.size = self.size.saturating_add(bytes.len());
            self.largest = self.largest.max(self.size);
        }
        self.last = bytes.last().copied().unwrap_or(self.last);
    }

    /// Some where that line ended a head with a fault.
    fn end_line(&mut self) -> Option<Fault> {
        let length = std::mem::take(&mut self.line_length);
        let line = self.line;
        let line = line.get(..length.min(LINE)).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let whole = length <= LINE;
        let is_field = matches!(self.at, At::Head) && (self.begun || !line.is_empty());
        if std::mem::take(&mut self.last) != b'\r' && is_field {
            self.fault.get_or_insert(Fault::BareLineFeed);
        }
        match self.at {
            At::Head if !line.is_empty() => self.field(line, whole),
            // Empty lines may stand before a request line.
            At::Head if self.begun => return self.end_head(),
            At::ChunkSize => {
                self.at = match number(line, 16) {
                    Some(0) => At::Trailers,
                    Some(size) => At::Chunk(size),
                    None => At::Lost,
                }
            }
            At::ChunkEnd => self.at = At::ChunkSize,
            At::Trailers if line.is_empty() => {
                self.at = At::Head;
                self.size = 0;
            }
            _ => {}
        }
        None
    }

    /// The request line, or a field's.
    fn field(&mut self, line: &[u8], whole: bool) {
        self.begun = true;
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().unwrap_or_default();
        if name.eq_ignore_ascii_case(b"content-length") {
            let value = parts.next().unwrap_or_default().trim_ascii();
            let length = number(value, 10).filter(|_| whole);
            let length = length.map_or(Length::Unreadable, Length::Known);
            if !matches!(std::mem::replace(&mut self.length, length), Length::Absent) {
                self.fault = Some(Fault::TwoLengths);
            }
        }
        self.coding |= name.eq_ignore_ascii_case(b"transfer-encoding");
    }

    fn end_head(&mut self) -> Option<Fault> {
        self.ended += 1;
        self.begun = false;
        self.size = 0;
        let coding = std::mem::take(&mut self.coding);
        let length = std::mem::take(&mut self.length);
        self.at = match (length, coding) {
            (Length::Known(_), true) | (Length::Unreadable, _) => At::Lost,
            (Length::Absent, true) => At::ChunkSize,
            (Length::Absent | Length::Known(0), false) => At::Head,
            (Length::Known(length), false) => At::Body(length),
        };
        if coding && !matches!(length, Length::Absent) {
            self.fault = Some(Fault::TwoLengths);
        }
        let fault = self.fault.take();
        if fault.is_some() {
            self.at = At::Lost;
        }
        fault
    }
}

/// The number that a line begins with.
fn number(line: &[u8], radix: u32) -> Option<u64> {
    let is_digit = |byte: &u8| char::from(*byte).is_digit(radix);
    let end = line.iter().position(|byte| !is_digit(byte));
    let digits = line.get(..end.unwrap_or(line.len()))?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::{Fault, Heads};
    use proptest::prelude::{any, prop, proptest};

    const BOTH: &[u8] = b"\r\nPOST / HTTP/1.1\r\nhost: a\r\nContent-Length: 5\r\n\
        transfer-ENCODING: chunked\r\n\r\nrest";
    const AHEAD: &[u8] = b"GET / HTTP/1.1\r\n\r\n\
        POST / HTTP/1.1\r\ncontent-length: 30\r\n\r\nX: 1\r\n\r\ntransfer-encoding: \r\n\r\n\r\n\
        POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n\
        A;name=value\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\ncontent-length: 3\r\n\r\n";

    fn conflict(parts: &[&[u8]]) -> Option<u64> {
        fault(parts).map(|(number, fault)| {
            assert_eq!(fault, Fault::TwoLengths);
            number
        })
    }

    fn fault(parts: &[&[u8]]) -> Option<(u64, Fault)> {
        let mut heads = Heads::default();
        let mut found = None;
        for part in parts {
            found = found.or_else(|| heads.read(part));
        }
        found
    }

    #[test]
    fn two_lengths_in_one_head_are_seen() {
        assert_eq!(conflict(&[BOTH]), Some(1));
        let names = b"GET / HTTP/1.1\r\nTransfer-Encodings: a\r\nX: content-length:\r\n\r\n";
        assert_eq!(conflict(&[names]), None);
    }

    #[test]
    fn a_length_given_twice_is_seen_even_if_it_is_the_same() {
        let twice = b"POST / HTTP/1.1\r\ncontent-length: 3\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(conflict(&[twice]), Some(1));
    }

    #[test]
    fn a_line_that_ends_by_a_bare_line_feed_is_seen() {
        let long = format!("GET /{} HTTP/1.1\nhost: a\r\n\r\n", "a".repeat(100));
        for bare in [
            "GET / HTTP/1.1\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n\n",
            &long,
        ] {
            assert_eq!(fault(&[bare.as_bytes()]), Some((1, Fault::BareLineFeed)));
        }
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100));
        assert_eq!(fault(&[long.as_bytes()]), None);
        for cut in 0..long.len() {
            let (one, other) = long.as_bytes().split_at(cut);
            assert_eq!(fault(&[one, other]), None, "cut at {cut}");
        }
    }

    #[test]
    fn heads_are_measured_one_by_one() {
        let mut heads = Heads::default();
        heads.read(b"GET / HTTP/1.1\r\nhost: aaaaaaaaaa\r\n\r\n");
        heads.read(b"GET / HTTP/1.1\r\nhost: aa");
        assert_eq!((heads.largest(), heads.ended()), (33, 1));
    }

    #[test]
    fn a_body_is_owed_where_its_end_was_announced_and_not_between_chunks() {
        let owed = |bytes: &str| {
            let mut heads = Heads::default();
            heads.read(bytes.as_bytes());
            heads.is_within_body()
        };
        let head = "POST / HTTP/1.1\r\n";
        let length = format!("{head}content-length: 3\r\n\r\n");
        let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
        assert!(owed(&length) && owed(&format!("{length}ab")));
        assert!(!owed(&format!("{length}abc")));
        assert!(!owed(&chunked) && !owed(&format!("{chunked}3\r\nabc\r\n")));
        for part in ["3", "3\r\n", "3\r\nabc", "0\r\n", "0\r\nx: y\r\n"] {
            assert!(owed(&format!("{chunked}{part}")), "{part:?}");
        }
        assert!(!owed(&format!("{chunked}0\r\n\r\n")));
    }

    #[test]
    fn heads_behind_bodies_are_found_and_bodies_are_not_taken_for_heads() {
        assert_eq!(conflict(&[AHEAD]), None);
        assert_eq!(conflict(&[AHEAD, BOTH]), Some(4));
    }

    #[test]
    fn what_can_not_be_followed_is_left_to_the_parser() {
        for lost in [
            &b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n"[..],
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
        ] {
            assert_eq!(conflict(&[lost, BOTH]), None);
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_are_cut(cut in 0..AHEAD.len() + BOTH.len() - 4) {
            let all = [AHEAD, BOTH].concat();
            let (one, other) = all.split_at(cut);
            assert_eq!(conflict(&[one, other]), Some(4));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            fault(&[&bytes]);
        }
    }
}
