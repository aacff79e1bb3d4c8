//! A queue as bytes: a file of sealed records.

use crate::{
    model::{Event, Sink},
    sealed,
};
use serde::{Deserialize, Serialize};
use std::ops::Range;

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

/// Reads a file, or says why it can't be read.
pub(super) fn read(bytes: &[u8]) -> Result<Content, String> {
    let found = sealed::read(bytes, FORMAT, VERSION)?;
    let json = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
    let header = serde_json::from_slice(json(&found.header))
        .map_err(|error| format!("its first line can't be read: {error}"))?;
    let mut records = Vec::with_capacity(found.records.len());
    for (number, range) in (2..).zip(&found.records) {
        let record = serde_json::from_slice(json(range))
            .map_err(|error| format!("line {number} is no record of version {VERSION}: {error}"))?;
        records.push((record, sealed::line_length(range)));
    }
    Ok(Content {
        header,
        records,
        length: found.length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::tests::{event, sink},
        sealed::line,
    };
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
            (&b""[..], "does not begin as a segue-outbox"),
            (&other[..], "does not begin as a segue-outbox"),
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
