//! `-o table|json|yaml`.

use super::Failure;
use serde_json::Value;
use std::{
    borrow::Cow,
    io::{self, Write as _},
};

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// The Kubernetes-shaped object
    Json,
    /// The same as YAML
    Yaml,
}

impl Format {
    /// Writes an object, as a table by `table` or as it is.
    pub(super) fn write(
        self,
        object: &Value,
        table: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self {
            Self::Table => print(&table()),
            Self::Json => {
                let text = serde_json::to_string_pretty(object).map_err(io::Error::from)?;
                print(&format!("{text}\n"))
            }
            Self::Yaml => print(&yaml(object)?),
        }
    }

    /// Writes one of a stream of objects: a line of text, a line of JSON, a YAML document.
    pub(super) fn write_next(
        self,
        object: &Value,
        line: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self {
            Self::Table => print(&format!("{}\n", line())),
            Self::Json => print(&format!("{object}\n")),
            Self::Yaml => print(&format!("---\n{}", yaml(object)?)),
        }
    }
}

fn yaml(object: &Value) -> Result<String, Failure> {
    let text = serde_saphyr::to_string(object).map_err(io::Error::other)?;
    Ok(if text.ends_with('\n') {
        text
    } else {
        format!("{text}\n")
    })
}

pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(printable(text).as_bytes())?;
    out.flush()?;
    Ok(())
}

pub(super) fn eprint(text: &str) -> Result<(), Failure> {
    io::stderr().write_all(printable(text).as_bytes())?;
    Ok(())
}

/// A text of several lines without what would steer a terminal: a proxy's NACK or somebody's
/// reason may bring it.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(steers) {
        Cow::Owned(text.replace(steers, " "))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(printable("a\tb\nc – ü"), "a\tb\nc – ü");
        assert_eq!(printable("\x1b[2Ja\r\u{9b}1mb\x7f"), " [2Ja  1mb ");
    }
}
