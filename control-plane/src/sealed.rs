//! Bytes on disk that show when they were damaged: checksums, and files that grow by one record a
//! line, each with its own.
//!
//! ```text
//! 16 hex digits of the SHA-256 of the JSON, a space, JSON, line feed
//! ```
//!
//! The first record is a header: an object that names the `format` and its `version`. Every record is
//! on disk before the next is written, so only the last can be torn: it lacks its end, or has zeros
//! where a block was not written. It never was acknowledged to anybody, and is dropped. Whatever
//! else can't be read was damaged by something else, and the file is refused.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{fmt::Write as _, ops::Range};

/// Where the records of a file lie.
#[derive(Debug, PartialEq, Eq)]
pub struct Records {
    /// The header's JSON.
    pub header: Range<usize>,
    /// The JSON of each further record.
    pub records: Vec<Range<usize>>,
    /// The length of what is whole.
    pub length: usize,
}

/// A record's line.
pub fn line(record: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let json = serde_json::to_vec(record)?;
    let mut line = checksum(&json).into_bytes();
    line.push(b' ');
    line.extend(json);
    line.push(b'\n');
    Ok(line)
}

/// Finds the records of a file of this format, or says why it can't be read.
pub fn read(bytes: &[u8], format: &str, version: u32) -> Result<Records, String> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let json = json_of(first).ok_or_else(|| {
        format!("it does not begin as a {format} does: it is torn, or somebody else's")
    })?;
    check_header(json, format, version)?;
    let mut found = Records {
        header: range(0, json),
        records: Vec::new(),
        length: first.len(),
    };
    let mut lines = lines.enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let Some(json) = json_of(line) else {
            if lines.peek().is_some() || !is_torn(line) {
                return Err(format!("line {} is damaged", index + 2));
            }
            break;
        };
        found.records.push(range(found.length, json));
        found.length += line.len();
    }
    Ok(found)
}

/// The bytes of the line whose JSON lies there.
pub fn line_length(json: &Range<usize>) -> usize {
    CHECKSUM + 1 + json.len() + 1
}

fn range(line: usize, json: &[u8]) -> Range<usize> {
    let start = line + CHECKSUM + 1;
    start..start + json.len()
}

fn check_header(json: &[u8], format: &str, version: u32) -> Result<(), String> {
    /// What every version has.
    #[derive(Deserialize)]
    struct Kind {
        format: String,
        version: u32,
    }
    let kind: Kind = serde_json::from_slice(json)
        .map_err(|error| format!("its first line can't be read: {error}"))?;
    if kind.format != format {
        return Err(format!(
            "it is of the format {:?}, not {format:?}",
            kind.format
        ));
    }
    if kind.version != version {
        return Err(format!(
            "it was written in version {} of its format, and this program reads version {version}",
            kind.version
        ));
    }
    Ok(())
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
pub fn checksum(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).iter().take(CHECKSUM / 2))
}

/// The SHA-256, in hex.
pub fn digest(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).iter())
}

fn hex<'a>(bytes: impl Iterator<Item = &'a u8>) -> String {
    bytes.fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
