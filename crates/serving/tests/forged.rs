//! Requests that a hostile page, neighbour or network would make, against a server that runs.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serving::{App, Asset, Limits, Query, Reply, Server, Words};

const ASSETS: &[Asset] = &[
    Asset::html("/", b"<!doctype html>page"),
    Asset::css("/style.css", b"p {}"),
];

/// Counts what reaches it.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl App for Counting {
    fn get(&self, words: Words<'_>, _query: &Query<'_>) -> Reply {
        self.0.fetch_add(1, Ordering::SeqCst);
        match words {
            ["big"] => Reply::bytes("application/octet-stream", vec![7; 64 << 20]),
            ["ticks"] => Reply::events(|events| {
                let mut number = 0;
                while events
                    .send("tick", &format!("{number}\nsecond line"))
                    .is_ok()
                    && events.wait(Duration::from_millis(20)).is_ok()
                {
                    number += 1;
                }
            }),
            ["flood"] => Reply::events(|events| {
                let data = "x".repeat(1 << 20);
                while events.send("flood", &data).is_ok() {}
            }),
            words => Reply::json(format!("{words:?}")),
        }
    }

    fn body_bytes(&self, words: Words<'_>, usual: usize) -> usize {
        if words == ["large"] { 2 * usual } else { usual }
    }

    fn post(&self, words: Words<'_>, body: &[u8]) -> Reply {
        self.0.fetch_add(1, Ordering::SeqCst);
        Reply::json(format!("{words:?} {}", body.len()))
    }
}

struct Running {
    address: SocketAddr,
    token: String,
    app: Counting,
}

fn start(change: impl FnOnce(&mut Limits)) -> Running {
    let mut limits = Limits::default();
    change(&mut limits);
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), ASSETS).unwrap();
    let server = server.with_limits(limits);
    let (address, link, app) = (server.address(), server.link(), Counting::default());
    let served = app.clone();
    thread::spawn(move || server.run(served));
    let token = link.split_once("#token=").unwrap().1.to_owned();
    Running {
        address,
        token,
        app,
    }
}

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    /// Sends `text` and reads all of the answer, as far as there is one.
    fn raw(&self, text: &str) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(text.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A request as the page makes it, with `fields` in place of its own ones of the same name.
    fn request(&self, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> String {
        let host = self.address.to_string();
        let origin = format!("http://{host}");
        let token = format!("Bearer {}", self.token);
        let length = body.len().to_string();
        let own = [
            ("Host", host.as_str()),
            ("Origin", &origin),
            ("Authorization", &token),
            ("Content-Length", &length),
        ];
        let own = own
            .iter()
            .filter(|(name, _)| fields.iter().all(|(given, _)| given != name));
        let mut text = format!("{method} {target} HTTP/1.1\r\n");
        for (name, value) in own.chain(fields).filter(|(_, value)| !value.is_empty()) {
            text += &format!("{name}: {value}\r\n");
        }
        text + "\r\n" + body
    }

    fn status(&self, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> u16 {
        status(&self.raw(&self.request(method, target, fields, body)))
    }

    fn reached(&self) -> usize {
        self.app.0.load(Ordering::SeqCst)
    }
}

fn status(answer: &str) -> u16 {
    let code = answer.split(' ').nth(1);
    code.and_then(|code| code.parse().ok()).unwrap_or(0)
}

#[test]
fn the_page_is_served_and_may_load_nothing_from_elsewhere() {
    let server = start(|_| {});
    let answer = server.raw(&server.request("GET", "/", &[("Authorization", "")], ""));
    assert_eq!(status(&answer), 200);
    assert!(answer.ends_with("<!doctype html>page"), "{answer}");
    let head = answer.to_lowercase();
    for field in [
        "content-security-policy: default-src 'none'; script-src 'self'",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cross-origin-resource-policy: same-origin",
        "content-type: text/html",
    ] {
        assert!(head.contains(field), "{field}: {head}");
    }
    assert!(!head.contains("access-control"), "{head}");
    assert!(
        !answer.contains(&server.token),
        "who has the page has the token"
    );
    assert_eq!(server.status("GET", "/style.css", &[], ""), 200);
    assert_eq!(server.status("GET", "/api/runs/a?b=1", &[], ""), 200);
    assert_eq!(server.status("POST", "/api/runs", &[], "{}"), 200);
}

#[test]
fn requests_of_other_pages_and_names_are_refused_before_anything_is_done() {
    let server = start(|_| {});
    let port = server.address.port();
    let foreign = format!("evil.example:{port}");
    let other_port = format!("http://127.0.0.1:{}", port ^ 1);
    for (method, fields) in [
        // A name that was bound to 127.0.0.1, with the token that it cannot have.
        ("GET", vec![("Host", foreign.as_str())]),
        ("GET", vec![("Host", "evil.example")]),
        ("GET", vec![("Host", "")]),
        ("GET", vec![("Origin", "http://evil.example")]),
        ("GET", vec![("Origin", "null")]),
        ("GET", vec![("Origin", &other_port)]),
        ("GET", vec![("Sec-Fetch-Site", "cross-site")]),
        ("GET", vec![("Sec-Fetch-Site", "same-site")]),
        ("POST", vec![("Host", &foreign)]),
        ("POST", vec![("Origin", "http://evil.example")]),
        ("POST", vec![("Origin", "https://127.0.0.1")]),
        ("POST", vec![("Origin", "")]),
    ] {
        for target in ["/", "/api/runs"] {
            let status = server.status(method, target, &fields, "");
            assert_eq!(status, 403, "{method} {target} {fields:?}");
        }
    }
    assert_eq!(server.reached(), 0);
}

#[test]
fn nothing_is_told_or_done_without_the_token() {
    let server = start(|_| {});
    let other = start(|_| {});
    let of_another = format!("Bearer {}", other.token);
    for token in ["", "Bearer ", "Bearer x", &server.token, &of_another] {
        for method in ["GET", "POST"] {
            let status = server.status(method, "/api/runs", &[("Authorization", token)], "");
            assert_eq!(status, 401, "{method} {token}");
        }
    }
    assert_eq!(server.reached(), 0);
}

#[test]
fn no_path_reaches_the_application() {
    let server = start(|_| {});
    for target in [
        "/api/../secret",
        "/api/%2e%2e/secret",
        "/api/runs/..%2f..%2fetc%2fpasswd",
        "/api/a.b",
        "/api//",
        "/api/runs/a\\b",
        "/../Cargo.toml",
        "/%2e%2e/Cargo.toml",
        "/style.css/..",
        "//etc",
        "http://127.0.0.1/api/runs",
        "*",
    ] {
        assert_eq!(server.status("GET", target, &[], ""), 404, "{target}");
    }
    assert_eq!(server.reached(), 0);
}

#[test]
fn what_is_too_long_or_wrongly_said_is_refused() {
    let server = start(|limits| limits.body_bytes = 1000);
    let long = "x".repeat(1001);
    assert_eq!(server.status("POST", "/api/a", &[], &long), 413);
    let longer = "x".repeat(2001);
    assert_eq!(server.status("POST", "/api/large", &[], &longer), 413);
    let huge = [("Content-Length", "18446744073709551615")];
    assert_eq!(server.status("POST", "/api/a", &huge, ""), 413);
    assert_eq!(
        server.status("POST", "/api/a", &[("Content-Length", "")], ""),
        411
    );
    assert_eq!(
        server.status("POST", "/api/a", &[("Content-Length", "1")], "12"),
        400
    );
    let chunked = [("Transfer-Encoding", "chunked"), ("Content-Length", "")];
    assert_eq!(server.status("POST", "/api/a", &chunked, "0\r\n\r\n"), 411);
    assert_eq!(server.status("POST", "/", &[], ""), 405);
    assert_eq!(server.status("DELETE", "/api/a", &[], ""), 405);
    let field = "y".repeat(100_000);
    assert_eq!(server.status("GET", "/", &[("X-Long", &field)], ""), 431);
    let many: Vec<(&str, &str)> = vec![("X-Many", "1"); 100];
    assert_eq!(server.status("GET", "/", &many, ""), 431);
    assert_eq!(
        server.status("GET", "/", &[("Host", "a\r\nHost: b")], ""),
        400
    );
    assert_eq!(server.reached(), 0);
    assert_eq!(server.status("POST", "/api/a", &[], &long[..1000]), 200);
    assert_eq!(server.status("POST", "/api/large", &[], &long), 200);
}

#[test]
fn slow_clients_are_let_go_and_keep_nobody_waiting() {
    let server = start(|limits| {
        limits.head_time = Duration::from_millis(300);
        limits.body_time = Duration::from_millis(300);
        limits.answer_time = Duration::from_millis(500);
    });
    // A head that never ends, a byte at a time; a body that never comes; an answer that is never read.
    let mut slow_head = server.connect();
    let mut slow_body = server.connect();
    let announced = server.request("POST", "/api/a", &[("Content-Length", "10")], "1");
    slow_body.write_all(announced.as_bytes()).unwrap();
    let mut deaf: Vec<TcpStream> = (0..2).map(|_| server.connect()).collect();
    for (stream, target) in deaf.iter_mut().zip(["/api/big", "/api/flood"]) {
        let text = server.request("GET", target, &[], "");
        stream.write_all(text.as_bytes()).unwrap();
    }
    let began = Instant::now();
    let mut ended = false;
    while began.elapsed() < Duration::from_secs(5) && !ended {
        ended = slow_head.write_all(b"G").is_err();
        assert_eq!(server.status("GET", "/", &[], ""), 200);
        thread::sleep(Duration::from_millis(20));
    }
    assert!(ended, "a head may take for ever");
    let mut rest = Vec::new();
    let _ = slow_body.read_to_end(&mut rest);
    assert!(began.elapsed() < Duration::from_secs(10));
    // What is deaf is cut off: it gets less than all.
    thread::sleep(Duration::from_secs(1));
    for mut stream in deaf {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 64 << 20, "{}", answer.len());
    }
}

#[test]
fn connections_are_bounded_and_free_again() {
    let server = start(|limits| {
        limits.connections = 4;
        limits.head_time = Duration::from_millis(400);
    });
    let idle: Vec<TcpStream> = (0..4).map(|_| server.connect()).collect();
    thread::sleep(Duration::from_millis(100));
    assert_eq!(server.status("GET", "/", &[], ""), 503);
    thread::sleep(Duration::from_millis(600));
    assert_eq!(server.status("GET", "/", &[], ""), 200);
    drop(idle);
}

#[test]
fn events_come_as_they_are_sent_and_streams_are_bounded() {
    let server = start(|limits| limits.streams = 2);
    let listen = || {
        let mut stream = server.connect();
        let text = server.request("GET", "/api/ticks", &[], "");
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    let mut first = listen();
    let mut text = String::new();
    while !text.contains("data: 3\n") {
        let mut buffer = [0; 256];
        let count = first.read(&mut buffer).unwrap();
        assert!(count > 0, "{text}");
        text += &String::from_utf8_lossy(&buffer[..count]);
    }
    assert!(text.contains("text/event-stream"), "{text}");
    assert!(
        text.contains("event: tick\ndata: 0\ndata: second line\n\n"),
        "{text}"
    );
    let second = listen();
    thread::sleep(Duration::from_millis(100));
    assert_eq!(server.status("GET", "/api/ticks", &[], ""), 503);
    assert_eq!(server.status("GET", "/api/a", &[], ""), 200);
    // Who goes makes room.
    drop((first, second));
    thread::sleep(Duration::from_millis(300));
    let mut third = listen();
    let mut buffer = [0; 16];
    third.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"HTTP/1.1 200 OK\r");
}
