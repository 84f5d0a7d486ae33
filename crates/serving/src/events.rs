//! Server-sent events: a response that goes on, an event at a time.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::deadline::write_before;

/// Nobody listens any more, or too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("nobody listens any more")]
pub struct Gone;

/// Where events are written to.
pub struct Events<'a> {
    stream: &'a mut TcpStream,
    /// How long a listener may take for an event.
    time: Duration,
}

impl<'a> Events<'a> {
    pub(crate) fn new(stream: &'a mut TcpStream, time: Duration) -> Self {
        Self { stream, time }
    }

    /// Sends an event with its `name`, which is a word, and `data`, of any number of lines.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub fn send(&mut self, name: &str, data: &str) -> Result<(), Gone> {
        let mut text = format!("event: {name}\n");
        for line in data.split(['\n', '\r']) {
            text += "data: ";
            text += line;
            text += "\n";
        }
        text += "\n";
        let deadline = Instant::now() + self.time;
        write_before(self.stream, text.as_bytes(), deadline).map_err(|_| Gone)
    }

    /// Waits for so long, or until the listener has gone.
    ///
    /// # Errors
    ///
    /// [`Gone`].
    pub fn wait(&mut self, time: Duration) -> Result<(), Gone> {
        // A timeout of zero would be none.
        let time = time.max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(time)).map_err(|_| Gone)?;
        match self.stream.read(&mut [0; 64]) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::TimedOut
                        | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(())
            }
            // The end; or something that was not asked for.
            _ => Err(Gone),
        }
    }
}
