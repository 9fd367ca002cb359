//! The bounds that every stage shares. A queue, window, batch, body or retry without a `_MAX` does not exist.

/// Largest record accepted, in bytes, after decompression.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;
/// Deepest nesting of objects and arrays accepted in a record.
pub const RECORD_DEPTH_MAX: usize = 64;
/// Most object keys accepted in one record.
pub const RECORD_KEYS_MAX: usize = 2_000;
/// Longest string kept whole in an indexed field, in bytes. A longer one is cut and flagged; the raw record keeps it.
pub const FIELD_BYTES_MAX: usize = 4 * 1024;
/// Largest uncompressed size of one intake body or file member that is a single JSON document, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Largest intake request body, in bytes, as sent and after decompression.
pub const INTAKE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most messages a stage is given in one step.
pub const BATCH_MESSAGES_MAX: usize = 1_024;
/// Most bytes of messages a stage is given in one step.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Ids that a stage remembers to drop repeats, per stage.
pub const DEDUPE_IDS_MAX: usize = 262_144;
/// Most evidence ids on a finding.
pub const EVIDENCE_MAX: usize = 32;
/// An event time further ahead of its receipt than this is flagged as in the future, in milliseconds.
pub const FUTURE_MS_MAX: i64 = 15 * 60 * 1_000;
/// An event time further before its receipt than this is flagged as ancient, in milliseconds.
pub const ANCIENT_MS_MAX: i64 = 400 * 86_400 * 1_000;
