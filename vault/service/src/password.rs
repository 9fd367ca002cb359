//! Passwords: argon2id, raised to today's cost at the next log-in; bcrypt is verified for accounts that were imported.

use crate::Error;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Longest password, in bytes. bcrypt reads 72 of them only.
pub const PASSWORD_BYTES_MAX: usize = 256;
/// Shortest password of a new account, in bytes.
pub const PASSWORD_BYTES_MIN: usize = 12;
/// Most hashes at once: each takes 19 MiB.
const HASHES_MAX: usize = 4;
/// What OWASP asks for at least (19 MiB, two passes, one lane), as this crate writes it.
const TODAY: &str = "$argon2id$v=19$m=19456,t=2,p=1$";
/// Most memory that an imported hash may ask for, in KiB; more passes than `PASSES_MAX` are refused too.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;
const BCRYPT_COST_MAX: u32 = 14;

/// Hashes and verifies, a bounded number at once.
pub(crate) struct Passwords {
    permits: Semaphore,
    /// What is verified when there is no such account, so that it takes as long.
    nobody: String,
}

/// What a password proved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Wrong,
    Right,
    /// Right, and this hash shall replace the old one.
    Renewed(String),
}

impl Passwords {
    pub(crate) fn new() -> Result<Self, Error> {
        let nobody = hash(&crate::clock::random::<16>())?;
        Ok(Passwords { permits: Semaphore::new(HASHES_MAX), nobody })
    }

    pub(crate) async fn hash(&self, password: Zeroizing<String>) -> Result<String, Error> {
        self.work(move || hash(password.as_bytes())).await
    }

    /// Verifies against what is stored; without an account it works as long and says no.
    pub(crate) async fn verify(
        &self,
        password: Zeroizing<String>,
        stored: Option<String>,
    ) -> Result<Verdict, Error> {
        let is_known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.nobody.clone());
        self.work(move || {
            let verdict = verify(password.as_bytes(), &stored)?;
            Ok(if is_known { verdict } else { Verdict::Wrong })
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let busy = Error::Unavailable("the password check");
        let _permit = self.permits.acquire().await.map_err(|_| busy.clone())?;
        tokio::task::spawn_blocking(work).await.map_err(|_| busy)?
    }
}

/// Whether an imported hash is one that we can and will verify.
pub(crate) fn check_import(stored: &str) -> Result<(), Error> {
    let refused =
        || Error::Invalid("the hash is neither argon2id nor bcrypt, or costs more than is allowed".into());
    if stored.len() > 256 || !stored.is_ascii() {
        return Err(refused());
    }
    if let Some(rest) = ["$2a$", "$2b$", "$2y$"].iter().find_map(|version| stored.strip_prefix(version)) {
        let cost = rest.split('$').next().and_then(|cost| cost.parse().ok());
        return match cost {
            Some(4..=BCRYPT_COST_MAX) if stored.len() == 60 => Ok(()),
            _ => Err(refused()),
        };
    }
    let parsed = PasswordHash::new(stored).map_err(|_| refused())?;
    let decimal = |name: &str| parsed.params.get_decimal(name).unwrap_or(u32::MAX);
    let fits = decimal("m") <= MEMORY_KIB_MAX && decimal("t") <= PASSES_MAX && decimal("p") <= 16;
    if stored.starts_with("$argon2id$") && fits { Ok(()) } else { Err(refused()) }
}

fn hash(password: &[u8]) -> Result<String, Error> {
    let hash = Argon2::default().hash_password_with_salt(password, &crate::clock::random::<16>());
    let hash: PasswordHash = hash.map_err(|_| Error::Unavailable("the password check"))?;
    Ok(hash.to_string())
}

fn verify(password: &[u8], stored: &str) -> Result<Verdict, Error> {
    let is_bcrypt = stored.starts_with("$2");
    let is_right = if is_bcrypt {
        bcrypt::verify(password, stored).unwrap_or(false)
    } else {
        let parsed = PasswordHash::new(stored).map_err(|_| Error::Corrupt("the database"))?;
        Argon2::default().verify_password(password, &parsed).is_ok()
    };
    Ok(match is_right {
        false => Verdict::Wrong,
        true if stored.starts_with(TODAY) => Verdict::Right,
        true => Verdict::Renewed(hash(password)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn old_hashes_are_verified_once_and_renewed() {
        let passwords = Passwords::new().unwrap();
        let today = passwords.hash(secret("correct horse battery")).await.unwrap();
        assert!(today.starts_with(TODAY), "{today}");
        let imported = bcrypt::hash("correct horse battery", 4).unwrap();
        let weak = "$argon2id$v=19$m=16,t=2,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$Mu9Xh5WlW7RvNS1Zb0HJ8g";
        assert!(
            check_import(&imported).is_ok() && check_import(&today).is_ok() && check_import(weak).is_ok()
        );
        let verify =
            async |text, stored: &str| passwords.verify(secret(text), Some(stored.to_owned())).await.unwrap();
        assert_eq!(verify("correct horse battery", &today).await, Verdict::Right);
        assert_eq!(verify("correct horse batterz", &today).await, Verdict::Wrong);
        let Verdict::Renewed(renewed) = verify("correct horse battery", &imported).await else { panic!() };
        assert_eq!(verify("correct horse battery", &renewed).await, Verdict::Right);
        assert_eq!(verify("wrong", &imported).await, Verdict::Wrong);
        assert_eq!(passwords.verify(secret("anything"), None).await.unwrap(), Verdict::Wrong);
    }

    #[test]
    fn imports_that_cost_too_much_or_are_odd_are_refused() {
        for bad in [
            "",
            "$2b$31$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234",
            "$2b$xx$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234",
            "$2b$10$short",
            "$argon2id$v=19$m=4194304,t=2,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$Mu9Xh5WlW7RvNS1Zb0HJ8g",
            "$argon2i$v=19$m=16,t=2,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$Mu9Xh5WlW7RvNS1Zb0HJ8g",
            "$1$md5$hash",
            "plaintext",
        ] {
            assert!(check_import(bad).is_err(), "{bad}");
        }
    }
}
