//! The token of a session: who has it was given the link.

use std::io;

/// Bytes of chance in a token.
const BYTES: usize = 16;

/// A word that nobody can guess.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// A new one.
    ///
    /// # Errors
    ///
    /// The system gives no random numbers.
    pub(crate) fn new() -> io::Result<Self> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Self(bytes.iter().map(|b| format!("{b:02x}")).collect()))
    }

    /// The token as it stands in the link.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `given` is the token; how long it takes does not depend on how much of it is right.
    pub(crate) fn is(&self, given: &str) -> bool {
        let (ours, given) = (self.0.as_bytes(), given.as_bytes());
        let differing = ours.iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b));
        ours.len() == given.len() && differing == 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_token_is_only_itself() {
        let (token, other) = (Token::new().unwrap(), Token::new().unwrap());
        assert_eq!(token.as_str().len(), 2 * BYTES);
        assert!(token.is(token.as_str()));
        for wrong in ["", other.as_str(), &token.as_str()[1..], "ä"] {
            assert!(!token.is(wrong), "{wrong}");
        }
        assert!(!token.is(&format!("{}0", token.as_str())));
    }
}
