//! What is wrong, and where.

use std::fmt;

/// One thing that is wrong in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The file's name within the folder; the folder where it concerns that.
    pub file: String,
    /// The line, from 1; 0 where none is meant.
    pub line: u32,
    /// The field, `spec.strategy.steps[0].weight`; empty: the document or file as a whole.
    pub field: String,
    /// What, a sentence without the field's name.
    pub message: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        f.write_str(": ")?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}
