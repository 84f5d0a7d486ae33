//! What is answered, and how it is written.

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::deadline::write_before;
use crate::events::Events;

/// What every answer says. A page may load files of this server and pictures and sounds that its own script made,
/// and may be in no frame; nothing is kept, nothing is guessed, nothing is told to others.
const FIELDS: &str = "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' blob:; media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'\r\n\
     X-Content-Type-Options: nosniff\r\n\
     X-Frame-Options: DENY\r\n\
     Referrer-Policy: no-referrer\r\n\
     Cross-Origin-Opener-Policy: same-origin\r\n\
     Cross-Origin-Resource-Policy: same-origin\r\n\
     Cache-Control: no-store\r\n\
     Connection: close\r\n";

/// An answer.
pub struct Reply(pub(crate) Content);

pub(crate) enum Content {
    Whole {
        status: u16,
        media_type: &'static str,
        body: Vec<u8>,
    },
    Events(Box<dyn FnOnce(&mut Events<'_>) + Send>),
}

impl Reply {
    /// Bytes of a media type.
    pub fn bytes(media_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self(Content::Whole {
            status: 200,
            media_type,
            body: body.into(),
        })
    }

    /// JSON.
    pub fn json(text: impl Into<String>) -> Self {
        Self::bytes("application/json", text.into())
    }

    /// Events, written by `write` for as long as it runs (server-sent events; a POST may be answered by them too).
    pub fn events(write: impl FnOnce(&mut Events<'_>) + Send + 'static) -> Self {
        Self(Content::Events(Box::new(write)))
    }

    /// What cannot be done as it was asked: a sentence that says why.
    pub fn refused(why: impl Into<String>) -> Self {
        Self::text(400, why)
    }

    /// There is nothing of this name.
    pub fn not_found() -> Self {
        Self::text(404, "there is nothing of this name")
    }

    /// Too much is asked for at once.
    pub fn busy(why: impl Into<String>) -> Self {
        Self::text(503, why)
    }

    /// Something went wrong that is not the asker's fault.
    pub fn failed(why: impl Into<String>) -> Self {
        Self::text(500, why)
    }

    pub(crate) fn text(status: u16, text: impl Into<String>) -> Self {
        Self(Content::Whole {
            status,
            media_type: "text/plain; charset=utf-8",
            body: text.into().into_bytes(),
        })
    }
}

/// Writes the head of an answer.
pub(crate) fn write_head(
    stream: &mut TcpStream,
    status: u16,
    media_type: &str,
    length: Option<usize>,
    time: Duration,
) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        400..500 => "Refused",
        _ => "Error",
    };
    let length = length.map_or(String::new(), |n| format!("Content-Length: {n}\r\n"));
    let head =
        format!("HTTP/1.1 {status} {reason}\r\nContent-Type: {media_type}\r\n{length}{FIELDS}\r\n");
    write_before(stream, head.as_bytes(), Instant::now() + time)
}
