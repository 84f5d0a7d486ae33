//! Reading and writing until a moment, not for so long each time: who sends or takes a byte now and then is no quicker
//! than who does neither.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Reads until `deadline`, whatever the pace at which bytes come: how many, 0 where there will be no more.
///
/// # Errors
///
/// The connection broke, or nothing came in time.
pub fn read_before(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    deadline: Instant,
) -> io::Result<usize> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    stream.read(buffer)
}

/// Writes all of `bytes` until `deadline`, whatever the pace at which they are taken.
///
/// # Errors
///
/// The connection broke, or not all were taken in time.
pub fn write_before(stream: &mut TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(left))?;
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Lets the other side read what was answered before the connection goes: what it still sends is taken away, up
/// to a limit, since a connection that is closed over unread bytes is reset, and the answer with it.
pub fn finish(mut stream: TcpStream) {
    const MOST_BYTES: usize = 1 << 20;
    const LONGEST: Duration = Duration::from_millis(500);
    let deadline = Instant::now() + LONGEST;
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut buffer = [0; 16 << 10];
    let mut taken = 0;
    while taken < MOST_BYTES {
        match read_before(&mut stream, &mut buffer, deadline) {
            Ok(0) | Err(_) => return,
            Ok(count) => taken += count,
        }
    }
}
