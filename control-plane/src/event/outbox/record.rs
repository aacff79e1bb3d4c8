//! A queue as bytes: one record a line, each with its checksum.
//!
//! ```text
//! 16 hex digits of the SHA-256 of the JSON, a space, JSON, line feed
//! ```
//!
//! Every record is on disk before the next is written, so only the last can be torn: it lacks its
//! end, or has zeros where a block was not written. It never was acknowledged to anybody, and is
//! dropped. Whatever else can't be read was damaged by something else, and the file is refused.

use crate::model::{Event, Sink};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// What the first record of every file says it is.
pub(super) const FORMAT: &str = "segue-outbox";
/// The version of the format that is written and read here.
pub(super) const VERSION: u32 = 1;

/// The first record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    /// `segue-outbox`
    pub(super) format: String,
    /// 1
    pub(super) version: u32,
    /// Whom the events are for.
    pub(super) sink: Sink,
    /// How many events were lost that the sink does not know of.
    pub(super) lost: u64,
    /// The next event's number.
    pub(super) next: u64,
}

/// Every further one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Record {
    /// One more is to be told.
    Event {
        /// Its number.
        seq: u64,
        /// The older ones that had to make room.
        dropped: Vec<u64>,
        /// What happened.
        event: Event,
    },
    /// One was told, and with it that so many were lost.
    Delivered {
        /// Which.
        seq: u64,
        /// How many lost ones it told of.
        told: u64,
    },
    /// One was given up, since the sink refuses it.
    GivenUp {
        /// Which.
        seq: u64,
    },
}

/// A record as it was read, and how many bytes it takes.
pub(super) type Sized = (Record, usize);

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) header: Header,
    pub(super) records: Vec<Sized>,
    /// The length of what is whole.
    pub(super) length: usize,
}

/// A record's line.
pub(super) fn line(record: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let json = serde_json::to_vec(record)?;
    let mut line = checksum(&json).into_bytes();
    line.push(b' ');
    line.extend(json);
    line.push(b'\n');
    Ok(line)
}

/// Reads a file, or says why it can't be read.
pub(super) fn read(bytes: &[u8]) -> Result<Content, String> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().and_then(json_of);
    let first = first.ok_or_else(|| "it does not begin as an outbox does".to_owned())?;
    let header = read_header(first)?;
    let mut content = Content {
        header,
        records: Vec::new(),
        length: bytes
            .split_inclusive(|byte| *byte == b'\n')
            .next()
            .map_or(0, <[u8]>::len),
    };
    let mut lines = lines.enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let number = index + 2;
        let Some(json) = json_of(line) else {
            if lines.peek().is_some() || !is_torn(line) {
                return Err(format!("line {number} is damaged"));
            }
            break;
        };
        let record = serde_json::from_slice(json)
            .map_err(|error| format!("line {number} is no record of version {VERSION}: {error}"))?;
        content.records.push((record, line.len()));
        content.length += line.len();
    }
    Ok(content)
}

fn read_header(json: &[u8]) -> Result<Header, String> {
    /// What every version has.
    #[derive(Deserialize)]
    struct Kind {
        format: String,
        version: u32,
    }
    let unreadable = |error: serde_json::Error| format!("its first line can't be read: {error}");
    let kind: Kind = serde_json::from_slice(json).map_err(unreadable)?;
    if kind.format != FORMAT {
        return Err(format!(
            "it is of the format {:?}, not {FORMAT:?}",
            kind.format
        ));
    }
    if kind.version != VERSION {
        return Err(format!(
            "it was written in version {} of its format, and this program reads version {VERSION}",
            kind.version
        ));
    }
    serde_json::from_slice(json).map_err(unreadable)
}

/// True of what a write that was cut off leaves. One zero in the middle is not: that could be the
/// line feed between two records, damaged.
fn is_torn(line: &[u8]) -> bool {
    !line.ends_with(b"\n") || line.starts_with(&[0]) || line.windows(2).any(|two| two == [0, 0])
}

/// The JSON of a line that is whole.
fn json_of(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, rest) = line.split_at_checked(CHECKSUM)?;
    let json = rest.strip_prefix(b" ")?;
    (sum == checksum(json).as_bytes()).then_some(json)
}

/// Hex digits of a checksum.
const CHECKSUM: usize = 16;

/// The first 64 bits of the SHA-256, in hex.
pub(super) fn checksum(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let mut text = String::with_capacity(CHECKSUM);
    for byte in digest.iter().take(CHECKSUM / 2) {
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::{event, sink};
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    fn header(version: u32) -> Header {
        Header {
            format: FORMAT.to_owned(),
            version,
            sink: sink("http://x/"),
            lost: 3,
            next: 9,
        }
    }

    /// A file of so many events, and its records.
    fn file(events: u64) -> (Vec<u8>, Vec<Sized>) {
        let mut bytes = line(&header(1)).unwrap();
        let mut records = Vec::new();
        for seq in 0..events {
            let record = Record::Event {
                seq,
                dropped: vec![],
                event: event(seq),
            };
            let line = line(&record).unwrap();
            records.push((record, line.len()));
            bytes.extend(line);
        }
        (bytes, records)
    }

    #[test]
    fn foreign_files_are_refused() {
        let other = br#"{"format":"segue-outbox","version":1}"#;
        let newer = line(&header(2)).unwrap();
        let foreign = line(&serde_json::json!({"format": "journal", "version": 1})).unwrap();
        for (bytes, reason) in [
            (&b""[..], "does not begin as an outbox"),
            (&other[..], "does not begin as an outbox"),
            (&newer[..], "version 2 of its format"),
            (&foreign[..], "format \"journal\""),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_damaged_line_feed_does_not_pass_two_records_for_a_torn_one() {
        let (mut bytes, records) = file(3);
        let third = bytes.len() - records[2].1;
        for damaged in [0, 11] {
            bytes[third - 1] = damaged;
            let error = read(&bytes).unwrap_err();
            assert!(error.contains("line 3 is damaged"), "{error}");
        }
    }

    #[test]
    fn a_block_that_was_not_written_is_a_torn_end() {
        let (mut bytes, records) = file(3);
        let third = bytes.len() - records[2].1;
        bytes[third + 20..third + 90].fill(0);
        assert_eq!(read(&bytes).unwrap().records, records[..2]);
    }

    proptest! {
        #[test]
        fn a_file_cut_off_anywhere_loses_what_was_cut_and_no_more(events in 0..5_u64, cut in any::<prop::sample::Index>()) {
            let (bytes, records) = file(events);
            let start = line(&header(1)).unwrap().len();
            let cut = start + cut.index(bytes.len() - start + 1);
            let content = read(&bytes[..cut]).unwrap();
            let mut ends = start;
            let whole = records.iter().take_while(|(_, size)| { ends += size; ends <= cut }).count();
            prop_assert_eq!(&content.records, &records[..whole]);
            prop_assert!(content.length <= cut);
        }

        #[test]
        fn one_changed_byte_is_never_read_as_something_else(at in any::<prop::sample::Index>(), by in 1..=255_u8) {
            let (mut bytes, records) = file(4);
            let at = at.index(bytes.len());
            bytes[at] ^= by;
            // Refused; or taken for a torn end, where the last line was hit.
            if let Ok(content) = read(&bytes) {
                prop_assert_eq!(&content.records, &records[..3]);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&bytes).is_err());
        }
    }
}
