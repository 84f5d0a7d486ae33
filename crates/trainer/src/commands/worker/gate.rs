//! What stands before the server of burn in a worker: it lets through what can be a session, and nothing else.
//!
//! burn's server reads frames of up to 1 GiB before it has seen a token, has no limit for connections or for time, and
//! answers requests between servers that take no token at all. So it listens on a port of its own, on 127.0.0.1 alone,
//! and the port that clients know is this one's. A connection is handed on once it has sent, in time, a short head that
//! asks for a session, not from the page of a browser, and a first message that is no longer than a token needs.
//! Whether the token is right is for burn's server to say. From then on bytes are copied, and counted.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::HumanBytes;
use serving::{finish, read_before, write_before};
use socket2::{SockRef, TcpKeepalive};
use thiserror::Error;
use tracing::{info, warn};

use crate::remote::{BURN, BURN_FIELD, IDENTITY, Identity};

/// The most connections at once.
const CONNECTIONS: usize = 128;

/// The most bytes and fields of the head of a request.
const HEAD_BYTES: usize = 8 << 10;
const HEAD_FIELDS: usize = 32;

/// How long a head, the first message and the answer to it may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most bytes of the first message, which holds the token.
const FIRST_MESSAGE: usize = 4 << 10;

/// Bytes that are copied at once.
const COPIED: usize = 256 << 10;

/// When a silent connection is asked whether somebody is still there.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new().with_time(Duration::from_secs(10));

/// Who is behind a connection to burn's server, by its port on this side.
pub(super) type Peers = Arc<Mutex<HashMap<u16, SocketAddr>>>;

/// A connection that is not handed on.
#[derive(Debug, Error)]
enum Refused {
    /// It broke, or was too slow.
    #[error("the connection broke, or nothing came for {} s", PATIENCE.as_secs())]
    Broken(#[from] io::Error),
    /// It wants something else.
    #[error("{1}")]
    With(u16, &'static str),
    /// It sends something else.
    #[error("its first message is not what opens a session, or is too long")]
    Message,
}

/// What stands before burn's server.
#[derive(Debug)]
pub(super) struct Gate {
    /// Where clients come.
    pub(super) listener: TcpListener,
    /// Where burn's server listens.
    pub(super) server: SocketAddr,
    /// Who this worker is.
    pub(super) identity: Identity,
    /// Who is behind the connections that were handed on.
    pub(super) peers: Peers,
}

impl Gate {
    /// Takes connections, each on threads of its own, for as long as the program runs.
    pub(super) fn run(self) {
        let gate = Arc::new(self);
        let open = Arc::new(AtomicUsize::new(0));
        loop {
            let (stream, peer) = match gate.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Such as too many open files: others close theirs.
                    warn!("cannot take a connection: {error}");
                    thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            let Some(place) = Place::take(&open) else {
                warn!("refused {peer}: there are {CONNECTIONS} connections already");
                continue;
            };
            let gate = Arc::clone(&gate);
            let serve = move || {
                let _place = place;
                if let Err(why) = gate.serve(stream, peer) {
                    warn!("refused {peer}: {why}");
                }
            };
            if let Err(error) = thread::Builder::new().name("gate".to_owned()).spawn(serve) {
                warn!("cannot serve {peer}: {error}");
            }
        }
    }

    fn serve(&self, mut client: TcpStream, peer: SocketAddr) -> Result<(), Refused> {
        let deadline = Instant::now() + PATIENCE;
        let (head, rest) = match read_head(&mut client, deadline) {
            Err(Refused::With(status, why)) => {
                answer(client, status, why);
                return Err(Refused::With(status, why));
            }
            head => head?,
        };
        match head.wanted {
            Wanted::Identity { burn } => {
                if burn.as_ref().is_some_and(|burn| burn != BURN) {
                    let burn = burn.unwrap_or_default();
                    warn!(
                        "{peer} is built on burn {burn:?} and this worker on {BURN}: build both from the same sources"
                    );
                }
                let text = serde_json::to_string(&self.identity).map_err(io::Error::from)?;
                answer(client, 200, &text);
                Ok(())
            }
            Wanted::Session => self.hand_on(client, peer, &head.bytes, rest, deadline),
        }
    }

    /// Hands the connection on to burn's server, and copies until one of both is done.
    fn hand_on(
        &self,
        mut client: TcpStream,
        peer: SocketAddr,
        head: &[u8],
        rest: Vec<u8>,
        deadline: Instant,
    ) -> Result<(), Refused> {
        let mut server = TcpStream::connect_timeout(&self.server, PATIENCE)?;
        let known = Known::new(&self.peers, server.local_addr()?.port(), peer);
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        SockRef::from(&client).set_tcp_keepalive(&KEEPALIVE)?;
        server.write_all(head)?;

        let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
        let back = thread::Builder::new()
            .name("gate".to_owned())
            .spawn(move || copy(&mut from_server, &mut to_client))?;
        let first = first_message(&mut client, rest, deadline);
        let sent = match &first {
            Ok(first) => {
                client.set_read_timeout(None)?;
                let passed = server.write_all(first).map(|()| first.len() as u64);
                passed.map_or(0, |first| first + copy(&mut client, &mut server))
            }
            Err(_) => {
                let _ = server.shutdown(Shutdown::Both);
                let _ = client.shutdown(Shutdown::Both);
                0
            }
        };
        let returned = back.join().unwrap_or(0);
        drop(known);
        first?;
        info!(
            "{peer} has gone: {} came from it and {} went to it",
            HumanBytes(sent),
            HumanBytes(returned)
        );
        Ok(())
    }
}

/// One of the connections that there may be, for as long as this value lives.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(Arc::clone(open));
        (open.fetch_add(1, Ordering::Relaxed) < CONNECTIONS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who is behind a port, for as long as this value lives.
struct Known<'a> {
    peers: &'a Peers,
    port: u16,
}

impl<'a> Known<'a> {
    fn new(peers: &'a Peers, port: u16, peer: SocketAddr) -> Self {
        peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(port, peer);
        Self { peers, port }
    }
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        self.peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.port);
    }
}

/// Copies until there is no more, then ends both connections both ways; returns how many bytes there were.
fn copy(from: &mut TcpStream, to: &mut TcpStream) -> u64 {
    let mut buffer = vec![0; COPIED];
    let mut copied = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) if to.write_all(&buffer[..count]).is_ok() => copied += count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => break,
        }
    }
    // What is written already still arrives.
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
    copied
}

/// Takes what comes next of a connection until `deadline`: at least one byte.
fn read_some(stream: &mut TcpStream, bytes: &mut Vec<u8>, deadline: Instant) -> io::Result<()> {
    let mut buffer = [0; 2048];
    let count = read_before(stream, &mut buffer, deadline)?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.extend_from_slice(&buffer[..count]);
    Ok(())
}

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// To open a session.
    Session,
    /// To know who this is; it says what it is built on.
    Identity { burn: Option<String> },
}

/// The head of a request.
#[derive(Debug)]
struct Head {
    wanted: Wanted,
    /// As it came.
    bytes: Vec<u8>,
}

/// Reads the head of a request, and what came behind it already.
fn read_head(stream: &mut TcpStream, deadline: Instant) -> Result<(Head, Vec<u8>), Refused> {
    let mut bytes = Vec::new();
    loop {
        read_some(stream, &mut bytes, deadline)?;
        if let Some((wanted, length)) = parse(&bytes)? {
            let rest = bytes.split_off(length);
            return Ok((Head { wanted, bytes }, rest));
        }
        if bytes.len() > HEAD_BYTES {
            return Err(Refused::With(431, "the head of the request is too long"));
        }
    }
}

/// What the head in `bytes` wants, and its length; `None` where it is not whole yet.
fn parse(bytes: &[u8]) -> Result<Option<(Wanted, usize)>, Refused> {
    let mut fields = [httparse::EMPTY_HEADER; HEAD_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => {
            return Err(Refused::With(
                400,
                "this is no HTTP request of a client of a worker",
            ));
        }
    };
    let field = |name: &str| {
        let mut named = request.headers.iter();
        named
            .find(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    };
    // Only browsers have one, for a page that may be anybody's.
    if field("origin").is_some() {
        return Err(Refused::With(403, "pages of a browser are not served"));
    }
    let is_upgrade = field("upgrade").is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"));
    let has_body = field("content-length").is_some() || field("transfer-encoding").is_some();
    let wanted = match (request.method, request.path) {
        (Some("GET"), Some("/session")) if is_upgrade && !has_body => Wanted::Session,
        (Some("GET"), Some(IDENTITY)) if !has_body => Wanted::Identity {
            burn: field(BURN_FIELD)
                .map(|value| String::from_utf8_lossy(value).chars().take(32).collect()),
        },
        _ => {
            return Err(Refused::With(
                404,
                "it asks for something that a worker does not have",
            ));
        }
    };
    Ok(Some((wanted, length)))
}

/// Reads the first message: one short binary frame of a client (RFC 6455, section 5.2), of which `bytes` are there
/// already.
fn first_message(
    stream: &mut TcpStream,
    mut bytes: Vec<u8>,
    deadline: Instant,
) -> Result<Vec<u8>, Refused> {
    loop {
        if let Some(length) = frame_length(&bytes)?
            && bytes.len() >= length
        {
            return Ok(bytes);
        }
        read_some(stream, &mut bytes, deadline)?;
    }
}

/// The bytes of the frame that begins so; `None` where its own head is not whole yet.
fn frame_length(bytes: &[u8]) -> Result<Option<usize>, Refused> {
    /// Of a whole message of bytes, and of one that is masked, as clients must.
    const WHOLE_BINARY: u8 = 0x82;
    const MASKED: u8 = 0x80;
    /// Where two more bytes say the length.
    const TWO_BYTES: u8 = 126;
    const MASK: usize = 4;
    let [first, second, ..] = *bytes else {
        let begins_wrong = bytes.first().is_some_and(|&first| first != WHOLE_BINARY);
        return if begins_wrong {
            Err(Refused::Message)
        } else {
            Ok(None)
        };
    };
    if first != WHOLE_BINARY || second & MASKED == 0 {
        return Err(Refused::Message);
    }
    let length = match (second & !MASKED, bytes.get(2..4)) {
        (short, _) if short < TWO_BYTES => 2 + MASK + usize::from(short),
        (TWO_BYTES, None) => return Ok(None),
        (TWO_BYTES, Some(said)) => 4 + MASK + usize::from(u16::from_be_bytes([said[0], said[1]])),
        _ => return Err(Refused::Message),
    };
    if length > FIRST_MESSAGE {
        return Err(Refused::Message);
    }
    Ok(Some(length))
}

/// Answers, as far as somebody listens.
fn answer(mut stream: TcpStream, status: u16, text: &str) {
    let head = format!(
        "HTTP/1.1 {status} \r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        text.len()
    );
    let deadline = Instant::now() + PATIENCE;
    if write_before(&mut stream, format!("{head}{text}").as_bytes(), deadline).is_ok() {
        finish(stream);
    }
}

/// A port for burn's server, which this machine alone can reach.
///
/// # Errors
///
/// The system has none.
pub(super) fn inner_listener() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn status(text: &str) -> u16 {
        match parse(text.as_bytes()) {
            Err(Refused::With(status, _)) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn heads_that_open_a_session_or_ask_who_it_is_are_let_in() {
        let session = "GET /session HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\n\r\n";
        for end in 0..session.len() {
            assert!(
                parse(&session.as_bytes()[..end]).unwrap().is_none(),
                "{end}"
            );
        }
        let parsed = parse(session.as_bytes()).unwrap();
        assert_eq!(parsed, Some((Wanted::Session, session.len())));
        let identity = format!("GET {IDENTITY} HTTP/1.1\r\n{BURN_FIELD}: 1\r\n\r\n");
        let burn = Some("1".to_owned());
        let parsed = parse(identity.as_bytes()).unwrap();
        assert_eq!(parsed, Some((Wanted::Identity { burn }, identity.len())));
    }

    #[test]
    fn all_else_is_refused() {
        assert_eq!(status("GET /session HTTP/1.1\r\n\r\n"), 404);
        assert_eq!(
            status("POST /session HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"),
            404
        );
        // What servers of burn ask each other takes no token.
        assert_eq!(
            status("GET /data HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"),
            404
        );
        let page = "GET /session HTTP/1.1\r\nUpgrade: websocket\r\nOrigin: http://a\r\n\r\n";
        assert_eq!(status(page), 403);
        let body = "GET /session HTTP/1.1\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(status(body), 404);
        assert_eq!(status("\x16\x03\x01 hello\r\n\r\n"), 400);
        let many = "a: b\r\n".repeat(HEAD_FIELDS + 1);
        assert_eq!(status(&format!("GET /session HTTP/1.1\r\n{many}\r\n")), 400);
    }

    #[test]
    fn the_first_message_is_short() {
        let length = |bytes: &[u8]| frame_length(bytes).ok();
        assert_eq!(length(&[]), Some(None));
        assert_eq!(length(&[0x82]), Some(None));
        assert_eq!(length(&[0x82, 0x85]), Some(Some(11)));
        assert_eq!(length(&[0x82, 0xfe, 0x01]), Some(None));
        assert_eq!(length(&[0x82, 0xfe, 0x01, 0x00]), Some(Some(264)));
        // Longer, of 64 bits of length, without a mask, in parts, of text, and something else.
        for bad in [
            &[0x82, 0xfe, 0xff, 0xff][..],
            &[0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0],
            &[0x82, 0x05],
            &[0x02, 0x85],
            &[0x81, 0x85],
            b"GET",
            b"G",
        ] {
            assert_eq!(length(bad), None, "{bad:?}");
        }
    }
}
