//! The server: a thread a connection, as many as the limits allow.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::app::{App, Asset};
use crate::deadline::{finish, write_before};
use crate::events::Events;
use crate::guard::{Target, check_origin, check_token, target};
use crate::limits::Limits;
use crate::request::{Method, Refused, read_body, read_head};
use crate::response::{Content, Reply, write_head};
use crate::token::Token;

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    assets: &'static [Asset],
    token: Token,
    limits: Limits,
}

impl Server {
    /// Listens at `address`, which should be one of this machine alone; port 0 is any that is free. It answers
    /// once it [runs](Self::run).
    ///
    /// # Errors
    ///
    /// Why it cannot listen there.
    pub fn bind(address: SocketAddr, assets: &'static [Asset]) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            assets,
            token: Token::new()?,
            limits: Limits::default(),
        })
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The link to the page, with the token of the session behind the `#`, which browsers keep to themselves.
    pub fn link(&self) -> String {
        format!("http://{}/#token={}", self.address, self.token.as_str())
    }

    /// Answers until the program ends.
    pub fn run(self, app: impl App) -> ! {
        let Self {
            listener,
            address,
            assets,
            token,
            limits,
        } = self;
        let shared = Arc::new(Shared {
            address,
            assets,
            token,
            limits,
            app,
            connections: Counter::default(),
            streams: Counter::default(),
        });
        loop {
            match listener.accept() {
                Ok((stream, _)) => shared.begin(stream),
                // Too many open files, say: it passes.
                Err(_) => thread::sleep(Duration::from_millis(100)),
            }
        }
    }
}

/// How many are there, at the most so many.
#[derive(Debug, Clone, Default)]
struct Counter(Arc<AtomicUsize>);

/// One of them, until it is dropped.
struct Place(Arc<AtomicUsize>);

impl Counter {
    fn take(&self, most: usize) -> Option<Place> {
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                (n < most).then_some(n + 1)
            });
        taken.is_ok().then(|| Place(Arc::clone(&self.0)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What all connections share.
struct Shared<A> {
    address: SocketAddr,
    assets: &'static [Asset],
    token: Token,
    limits: Limits,
    app: A,
    connections: Counter,
    streams: Counter,
}

impl<A: App> Shared<A> {
    /// Serves a connection on a thread of its own, if there is room for it.
    fn begin(self: &Arc<Self>, mut stream: TcpStream) {
        // Events are small and wanted at once.
        let _ = stream.set_nodelay(true);
        let Some(place) = self.connections.take(self.limits.connections) else {
            // It fits into the buffer of the socket, so nobody waits for it to be read.
            let reply = Reply::busy("too many connections are open");
            let _ = self.write(&mut stream, reply, Duration::from_millis(50));
            return;
        };
        let shared = Arc::clone(self);
        // Without a thread to be had the connection is closed.
        let _ = thread::Builder::new()
            .name("connection".to_owned())
            .spawn(move || {
                shared.serve(stream);
                drop(place);
            });
    }

    fn serve(&self, mut stream: TcpStream) {
        let reply = match self.answer(&mut stream) {
            Ok(reply) => reply,
            Err(Refused::With(status, why)) => Reply::text(status, why),
            Err(Refused::Broken(_)) => return,
        };
        if self
            .write(&mut stream, reply, self.limits.answer_time)
            .is_ok()
        {
            finish(stream);
        }
    }

    fn answer(&self, stream: &mut TcpStream) -> Result<Reply, Refused> {
        let head = read_head(stream, &self.limits)?;
        check_origin(&head, self.address)?;
        let (target, query) = target(&head.target)?;
        match target {
            Target::Asset(path) if head.method == Method::Get => {
                let asset = self.assets.iter().find(|asset| asset.path == path);
                Ok(asset.map_or_else(Reply::not_found, |asset| {
                    Reply::bytes(asset.media_type, asset.bytes)
                }))
            }
            Target::Asset(_) => Err(Refused::With(405, "files are only read")),
            Target::Words(words) => {
                check_token(&head, &self.token)?;
                let most = self.app.body_bytes(&words, self.limits.body_bytes);
                let body = read_body(stream, &head, most, self.limits.body_time)?;
                Ok(match head.method {
                    Method::Get => self.app.get(&words, &query),
                    Method::Post => self.app.post(&words, &body),
                })
            }
        }
    }

    fn write(&self, stream: &mut TcpStream, reply: Reply, time: Duration) -> io::Result<()> {
        match reply.0 {
            Content::Whole {
                status,
                media_type,
                body,
            } => {
                write_head(stream, status, media_type, Some(body.len()), time)?;
                write_before(stream, &body, Instant::now() + time)
            }
            Content::Events(write) => {
                let Some(_place) = self.streams.take(self.limits.streams) else {
                    let reply = Reply::busy("too many pages are open");
                    return self.write(stream, reply, time);
                };
                write_head(stream, 200, "text/event-stream", None, time)?;
                write(&mut Events::new(stream, time));
                Ok(())
            }
        }
    }
}
