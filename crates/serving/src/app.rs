//! What is served: files that are in the program, and an application that answers.

use crate::response::Reply;

/// A file that is in the program. Everybody who reaches the server may read it.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// Where it stands, as in `/style.css`; `/` is the page.
    pub path: &'static str,
    /// Its media type.
    pub media_type: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
}

impl Asset {
    /// A page.
    pub const fn html(path: &'static str, bytes: &'static [u8]) -> Self {
        Self {
            path,
            media_type: "text/html; charset=utf-8",
            bytes,
        }
    }

    /// A style sheet.
    pub const fn css(path: &'static str, bytes: &'static [u8]) -> Self {
        Self {
            path,
            media_type: "text/css; charset=utf-8",
            bytes,
        }
    }

    /// A script.
    pub const fn script(path: &'static str, bytes: &'static [u8]) -> Self {
        Self {
            path,
            media_type: "text/javascript; charset=utf-8",
            bytes,
        }
    }

    /// A picture.
    pub const fn svg(path: &'static str, bytes: &'static [u8]) -> Self {
        Self {
            path,
            media_type: "image/svg+xml",
            bytes,
        }
    }
}

/// The words between the slashes behind `/api/`, each of letters, digits, `-` and `_`.
pub type Words<'a> = &'a [&'a str];

/// What stands behind the `?`: names and values of letters, digits, `-`, `_` and `.`.
#[derive(Debug, Clone, Default)]
pub struct Query<'a>(pub(crate) Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|&(_, value)| value)
    }

    /// The number of this name, where it is there and is one.
    pub fn number<N: std::str::FromStr>(&self, name: &str) -> Option<N> {
        self.get(name)?.parse().ok()
    }
}

/// What answers requests below `/api/`: only such as come from the page that this server handed out, with its
/// token. Each runs on a thread of its connection.
pub trait App: Send + Sync + 'static {
    /// Answers a GET, which changes nothing.
    fn get(&self, words: Words<'_>, query: &Query<'_>) -> Reply;

    /// The most bytes that may be sent to these words: `usual` is [`Limits::body_bytes`](crate::Limits::body_bytes),
    /// and enough for most.
    fn body_bytes(&self, words: Words<'_>, usual: usize) -> usize {
        let _ = words;
        usual
    }

    /// Answers a POST.
    fn post(&self, words: Words<'_>, body: &[u8]) -> Reply;
}
