//! The token of a worker, in a file that its owner alone may read: what stands on a command line, or in an environment,
//! may be read by others of the machine.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::run::read::read;

/// The fewest and the most bytes of a token.
const LENGTHS: [usize; 2] = [16, 1024];

/// Bytes of chance in a token that is made here.
const BYTES: usize = 32;

/// What a client of a worker must know. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token itself, for whoever sends or compares it.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A file that gives no token.
#[derive(Debug, Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("cannot read the token in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be made.
    #[error("cannot write a new token to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner may read it.
    #[error(
        "the token in {} may be read or written by others (its permissions are {mode:03o}, expected 600): \
         `chmod 600 {}`, and make a new one if somebody may have read it",
        path.display(), path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// What stands there is no token.
    #[error(
        "{} holds no token: expected one line of {} to {} visible ASCII characters, and it has {found}; `trainer worker` \
         makes one where the file is missing",
        path.display(), LENGTHS[0], LENGTHS[1]
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is there instead, without any of it.
        found: String,
    },
}

/// The token in the file at `path`: its only line.
///
/// # Errors
///
/// A file that is not there, that others may read (on Unix), or that holds something else. No message shows what it
/// holds.
pub fn read_token(path: &Path) -> Result<Token, TokenError> {
    let unread = |source| TokenError::Read {
        path: path.to_owned(),
        source,
    };
    check_private(path)?;
    let bytes = read(path, 2 * LENGTHS[1] as u64).map_err(unread)?;
    let malformed = |found: String| TokenError::Malformed {
        path: path.to_owned(),
        found,
    };
    let text = String::from_utf8(bytes).map_err(|_| malformed("other bytes".to_owned()))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if !line.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed("other characters, or several lines".to_owned()));
    }
    if !(LENGTHS[0]..=LENGTHS[1]).contains(&line.len()) {
        return Err(malformed(format!("{} of them", line.len())));
    }
    Ok(Token(line.to_owned()))
}

/// As [`read_token`]; where there is no file it is made, with a token that nobody can guess.
///
/// # Errors
///
/// As [`read_token`], and where it cannot be written.
pub fn read_or_make_token(path: &Path) -> Result<Token, TokenError> {
    if fs::symlink_metadata(path).is_ok() {
        return read_token(path);
    }
    let make = || -> io::Result<()> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        writeln!(file, "{token}")?;
        file.sync_all()
    };
    make().map_err(|source| TokenError::Write {
        path: path.to_owned(),
        source,
    })?;
    read_token(path)
}

/// Refuses a file that others may read.
#[cfg(unix)]
fn check_private(path: &Path) -> Result<(), TokenError> {
    use std::os::unix::fs::PermissionsExt as _;
    let about = fs::metadata(path).map_err(|source| TokenError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(TokenError::Open {
        path: path.to_owned(),
        mode,
    })
}

/// Elsewhere permissions are no numbers: who may read the file is its owner's care.
#[cfg(not(unix))]
fn check_private(_path: &Path) -> Result<(), TokenError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_token_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let token = read_or_make_token(&one).unwrap();
        assert_eq!(token.secret().len(), 2 * BYTES);
        assert_eq!(read_or_make_token(&one).unwrap(), token);
        assert_eq!(read_token(&one).unwrap(), token);
        assert_ne!(read_or_make_token(&other).unwrap(), token);
        assert!(!format!("{token:?}").contains(token.secret()));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_secret_is_refused_without_being_shown() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let write = |text: &str, mode: u32| {
            let _ = fs::remove_file(&path);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let secret = "0123456789abcdef";
        for (text, mode, part) in [
            ("", 0o600, "0 of them"),
            ("short", 0o600, "5 of them"),
            ("0123456789abcdef x", 0o600, "other characters"),
            ("0123456789abcdef\nx\n", 0o600, "several lines"),
            ("0123456789abcdef", 0o644, "chmod 600"),
            ("0123456789abcdef", 0o620, "chmod 600"),
        ] {
            write(text, mode);
            let message = read_token(&path).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
            assert!(!message.contains(secret), "{message}");
        }
        for text in [
            "0123456789abcdef",
            "0123456789abcdef\n",
            "0123456789abcdef\r\n",
        ] {
            write(text, 0o600);
            assert_eq!(read_token(&path).unwrap().secret(), secret);
        }
        fs::remove_file(&path).unwrap();
        assert!(read_token(&path).is_err());
    }
}
