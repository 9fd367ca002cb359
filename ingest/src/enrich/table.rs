//! Table: the bytes of one file of the operator, and what is said when they cannot be read.

use std::fmt;

/// A file as it was read.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// As the operator wrote it.
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Where in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    None,
    Byte(usize),
    Line(usize),
    LineColumn(usize, usize),
    /// Counts from 1.
    Entry(usize),
}

/// Why a table is not taken: the one before it stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("table `{file}`{position}: {detail}; {hint}")]
pub struct TableError {
    pub file: String,
    pub position: Position,
    pub detail: String,
    /// What to do.
    pub hint: &'static str,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::None => Ok(()),
            Position::Byte(byte) => write!(f, ", byte {byte}"),
            Position::Line(line) => write!(f, ", line {line}"),
            Position::LineColumn(line, column) => write!(f, ", line {line}, column {column}"),
            Position::Entry(entry) => write!(f, ", entry {entry}"),
        }
    }
}

impl Table {
    pub(super) fn refuse(&self, position: Position, detail: String, hint: &'static str) -> TableError {
        TableError { file: self.name.clone(), position, detail, hint }
    }

    pub(super) fn text(&self) -> Result<&str, TableError> {
        std::str::from_utf8(&self.bytes).map_err(|e| {
            let position = Position::Byte(e.valid_up_to());
            self.refuse(position, "it is not UTF-8 text".into(), "save it as UTF-8")
        })
    }

    pub(super) fn json(&self, error: &serde_json::Error, hint: &'static str) -> TableError {
        let position = Position::LineColumn(error.line(), error.column());
        // The parser's own words end with the position.
        let words = error.to_string();
        let words = words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words);
        self.refuse(position, words.to_owned(), hint)
    }
}
