//! Copies text out of a record, never more than the limit, and remembers whether anything was cut.

use crate::lenient::Text;
use prunella_schemas::limits::{ANCIENT_MS_MAX, FIELD_BYTES_MAX, FUTURE_MS_MAX};
use prunella_schemas::{Event, Flag, Timestamp};
use std::cell::Cell;

/// Most resources kept on one event.
pub const RESOURCES_MAX: usize = 128;

/// Copies the strings of one record.
#[derive(Default)]
pub struct Copier {
    cut: Cell<bool>,
}

impl Copier {
    pub fn string(&self, text: &str) -> String {
        self.clip(text).to_owned()
    }

    /// As much of a text as is kept.
    pub fn clip<'t>(&self, text: &'t str) -> &'t str {
        if text.len() <= FIELD_BYTES_MAX {
            return text;
        }
        self.cut.set(true);
        text.get(..text.floor_char_boundary(FIELD_BYTES_MAX)).unwrap_or_default()
    }

    pub fn text(&self, text: &Text<'_>) -> Option<String> {
        self.option(text.get())
    }

    pub fn option(&self, text: Option<&str>) -> Option<String> {
        text.map(|text| self.string(text))
    }

    /// Says that something was left out.
    pub fn mark_cut(&self) {
        self.cut.set(true);
    }

    pub fn was_cut(&self) -> bool {
        self.cut.get()
    }
}

/// Flags a time that clocks do not explain. The event is kept as it is.
pub fn flag_time(event: &mut Event, received: Timestamp) {
    let ahead_ms = event.time.since_ms(received);
    if ahead_ms > FUTURE_MS_MAX {
        event.flag(Flag::FutureTime);
    } else if ahead_ms < -ANCIENT_MS_MAX {
        event.flag(Flag::AncientTime);
    }
}
