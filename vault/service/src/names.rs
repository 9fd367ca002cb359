//! What names, labels and passwords may be. No name ever becomes a path here; this keeps them harmless elsewhere too.

use crate::Error;
use crate::password::{PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN};
use crate::wire::{LABEL_BYTES_MAX, NAME_BYTES_MAX};

/// 1 to 255 bytes of a-z, 0-9 and `-_.@`: no two accounts that look alike.
pub(crate) fn account(name: &str) -> Result<(), Error> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.@".contains(&b);
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(plain) {
        return Ok(());
    }
    Err(Error::Invalid("a username has 1 to 255 of a-z, 0-9 and `-_.@`".into()))
}

pub(crate) fn password(password: &str) -> Result<(), Error> {
    if (PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&password.len()) {
        return Ok(());
    }
    Err(Error::Invalid(format!("a password has {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes")))
}

/// Any Unicode but separators of paths, control characters, and what turns text around.
pub(crate) fn file(name: &str) -> Result<(), Error> {
    let odd = |c: char| {
        c.is_control() || matches!(c, '/' | '\\' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let fits = !name.is_empty() && name.len() <= NAME_BYTES_MAX && name != "." && name != "..";
    if fits && !name.contains(odd) {
        return Ok(());
    }
    Err(Error::Invalid(
        "a file's name has 1 to 255 bytes without `/`, `\\` and control characters, and is not `.` or `..`"
            .into(),
    ))
}

pub(crate) fn label(label: &str) -> Result<(), Error> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"+/=-_".contains(&b);
    if label.len() <= LABEL_BYTES_MAX && label.bytes().all(plain) {
        return Ok(());
    }
    Err(Error::Invalid(format!("a label has at most {LABEL_BYTES_MAX} bytes of base64")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_lead_astray_are_refused() {
        for good in ["a", "report 2026.pdf", "...", "naïve 文件 🗂", "a:b", "-rf", &"x".repeat(255)] {
            assert!(file(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "../etc/passwd",
            "a/b",
            "a\\b",
            "a\0b",
            "a\nb",
            "evil\u{202e}fdp.exe",
            &"x".repeat(256),
        ] {
            assert!(file(bad).is_err(), "{bad:?}");
        }
        for (name, ok) in [
            ("alice", true),
            ("a.b-c_d@e", true),
            ("", false),
            ("Alice", false),
            ("аlice", false),
            ("a b", false),
        ] {
            assert_eq!(account(name).is_ok(), ok, "{name}");
        }
        assert!(label("ab+/=").is_ok() && label("<script>").is_err() && label(&"a".repeat(2_049)).is_err());
    }
}
