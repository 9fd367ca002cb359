//! How results reach people and programs: tables on a terminal, JSON or NDJSON for programs, always on stdout.

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// What failed when standard output takes no more.
pub const TO_STDOUT: &str = "cannot write to standard output";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns, for people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// JUnit XML: `simulate-attack suite` only.
    Junit,
}

impl Format {
    /// What was asked for; else a table on a terminal and NDJSON in a pipe.
    pub fn resolve(asked: Option<Format>) -> Format {
        asked.unwrap_or(if io::stdout().is_terminal() { Format::Table } else { Format::Ndjson })
    }
}

/// Prints rows: `columns` heads the table, `cells` makes a row's cells.
pub fn rows<T: Serialize>(
    format: Format,
    rows: &[T],
    columns: &[&str],
    cells: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    match format {
        Format::Json => print(&serde_json::to_string_pretty(rows)?),
        Format::Ndjson => rows.iter().try_for_each(|row| print(&serde_json::to_string(row)?)),
        Format::Table | Format::Junit => {
            let mut table = comfy_table::Table::new();
            table.load_style(comfy_table::TableStyle::new()).set_header(columns.to_vec());
            for row in rows {
                table.add_row(cells(row).iter().map(|cell| printable(cell)));
            }
            let none = if rows.is_empty() { "\n(none)" } else { "" };
            print(&format!("{table}{none}"))
        }
    }
}

/// Prints one thing: the text for people, or its JSON.
pub fn one<T: Serialize>(format: Format, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    match format {
        Format::Json => print(&serde_json::to_string_pretty(value)?),
        Format::Ndjson => print(&serde_json::to_string(value)?),
        Format::Table | Format::Junit => print(printable(&text(value)).trim_end()),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    writeln!(io::stdout().lock(), "{text}").context(TO_STDOUT)
}

/// Control and bidirectional characters escaped: attackers write log fields, and terminals obey escape sequences.
pub fn printable(text: &str) -> String {
    let odd = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    if !text.contains(odd) {
        return text.to_owned();
    }
    text.chars().flat_map(|c| if odd(c) { c.escape_unicode().collect::<Vec<_>>() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_terminal_never_sees_an_escape_sequence_from_a_log() {
        for (text, want) in [
            ("plain", "plain"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("x\u{202e}y", "x\\u{202e}y"),
            ("é\n", "é\n"),
        ] {
            assert_eq!(super::printable(text), want);
        }
    }
}
