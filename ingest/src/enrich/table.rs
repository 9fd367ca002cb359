//! Table: the bytes of one file of the operator, and what is said when they cannot be read.

use serde::de::DeserializeOwned;
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

    pub(super) fn yaml<T: DeserializeOwned>(&self, text: &str, hint: &'static str) -> Result<T, TableError> {
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_str_with_options(text, options).map_err(|e| {
            // It says itself where.
            self.refuse(Position::None, e.to_string(), hint)
        })
    }

    pub(super) fn is_csv(&self) -> bool {
        self.name.to_ascii_lowercase().ends_with(".csv")
    }

    /// The names of the columns, from the first line.
    pub(super) fn csv_header(&self, text: &str) -> Result<Vec<String>, TableError> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let header = reader.headers().map_err(|e| self.csv_error(&e))?;
        Ok(header.iter().map(str::to_owned).collect())
    }

    /// The rows below the first line, which must name these columns, each with its line.
    pub(super) fn csv(&self, text: &str, columns: &[&str]) -> Result<Vec<(usize, Vec<String>)>, TableError> {
        if self.csv_header(text)? != columns {
            let detail = format!("its first line is not `{}`", columns.join(","));
            return Err(self.refuse(Position::Line(1), detail, "name the columns in the first line"));
        }
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let read = |row: Result<csv::StringRecord, csv::Error>| {
            let row = row.map_err(|e| self.csv_error(&e))?;
            let line = row.position().map_or(0, |at| usize::try_from(at.line()).unwrap_or_default());
            if row.get(0).is_none_or(str::is_empty) || row.get(1).is_none() {
                let detail = "the first column is empty".to_owned();
                return Err(self.refuse(Position::Line(line), detail, "fill or remove the row"));
            }
            Ok((line, row.iter().map(str::to_owned).collect()))
        };
        reader.records().map(read).collect()
    }

    fn csv_error(&self, error: &csv::Error) -> TableError {
        let line = error.position().map(|at| usize::try_from(at.line()).unwrap_or_default());
        let detail = match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("the row has {len} columns; the first line names {expected_len}")
            }
            _ => error.to_string(),
        };
        self.refuse(line.map_or(Position::None, Position::Line), detail, "mend or remove the row")
    }
}
