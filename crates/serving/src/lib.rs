//! An HTTP server for the browser of one person, on the machine that it runs on. It knows nothing of what it
//! serves.
//!
//! What makes it safe is not asked of the application, which cannot leave any of it out:
//!
//! | against | what stands here |
//! | --- | --- |
//! | other machines | [`Server::bind`] listens where it is told, as a rule on 127.0.0.1 |
//! | other pages in the same browser | every request names this server as its `Host`, by address and not by a name that may be bound anew (DNS rebinding), and as its `Origin` where it has one; a POST must have one; no CORS header is ever sent |
//! | other people on the same machine | [`App`] is asked nothing without the session's token, which is made anew at each start and stands in the part of the link that no request carries ([`Server::link`]) |
//! | what a page may do | a Content-Security-Policy that allows the server's own files and nothing else |
//! | paths | a request reaches [`App`] as words of letters, digits, `-` and `_`: there is no `.`, no `/`, no `%` in them, so no word leads anywhere in a file system |
//! | slow or greedy clients | heads, bodies, connections and streams are bounded in size, number and time ([`Limits`]) |
//!
//! A connection has one request, of which every part has a length that is said before: nothing is there to be
//! smuggled into the next one. That is all of HTTP that a page needs of the machine it runs on, and why there is
//! no framework here: axum would bring tokio, hyper and tower, two dozen crates and a second way to run threads,
//! and would leave each of the limits above to be written all the same. Heads are parsed by `httparse`, which is
//! hyper's parser.
//!
//! ```no_run
//! use serving::{App, Asset, Query, Reply, Server, Words};
//!
//! struct Clock;
//!
//! impl App for Clock {
//!     fn get(&self, words: Words<'_>, _query: &Query<'_>) -> Reply {
//!         match words {
//!             ["time"] => Reply::json("{\"time\":12}"),
//!             _ => Reply::not_found(),
//!         }
//!     }
//!
//!     fn post(&self, _words: Words<'_>, _body: &[u8]) -> Reply {
//!         Reply::not_found()
//!     }
//! }
//!
//! const ASSETS: &[Asset] = &[Asset::html("/", b"<!doctype html><title>Clock</title>")];
//! let server = Server::bind("127.0.0.1:0".parse()?, ASSETS)?;
//! println!("{}", server.link());
//! server.run(Clock);
//! # #[allow(unreachable_code)]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod app;
mod deadline;
mod events;
mod guard;
mod limits;
mod request;
mod response;
mod server;
mod token;

pub use app::{App, Asset, Query, Words};
pub use deadline::{finish, read_before, write_before};
pub use events::{Events, Gone};
pub use limits::Limits;
pub use response::Reply;
pub use server::Server;
