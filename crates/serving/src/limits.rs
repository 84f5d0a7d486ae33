//! What a client may take.

use std::time::Duration;

/// What a client may take.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at once, those of events among them.
    pub connections: usize,
    /// Connections of events at once.
    pub streams: usize,
    /// Bytes of a head, within a buffer more.
    pub head_bytes: usize,
    /// Bytes of a body, unless [`App::body_bytes`](crate::App::body_bytes) allows more.
    pub body_bytes: usize,
    /// How long a head may take to come.
    pub head_time: Duration,
    /// How long a body may take to come.
    pub body_time: Duration,
    /// How long an answer, or an event of one, may take to be read.
    pub answer_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            streams: 24,
            head_bytes: 16 << 10,
            body_bytes: 1 << 20,
            head_time: Duration::from_secs(5),
            body_time: Duration::from_secs(10),
            answer_time: Duration::from_secs(10),
        }
    }
}
