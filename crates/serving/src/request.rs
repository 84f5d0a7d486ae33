//! Reads a request, within limits of size and time.

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::deadline::read_before;
use crate::limits::Limits;

/// The most fields in a head.
const MAX_FIELDS: usize = 64;

/// A request that is refused, with the status that says so.
#[derive(Debug, Error)]
pub(crate) enum Refused {
    /// Nobody is there any more, or nothing came in time: there is nobody to answer.
    #[error("the connection broke")]
    Broken(#[from] io::Error),
    /// It is refused with this status and for this reason.
    #[error("{1}")]
    With(u16, &'static str),
}

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
}

/// The head of a request: what this server reads of it.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) host: Option<String>,
    pub(crate) origin: Option<String>,
    /// `Sec-Fetch-Site`: where a browser says that the request comes from.
    pub(crate) fetch_site: Option<String>,
    pub(crate) authorization: Option<String>,
    pub(crate) content_length: Option<u64>,
    /// What came behind the head already.
    pub(crate) rest: Vec<u8>,
}

/// Reads the head of a request.
pub(crate) fn read_head(stream: &mut TcpStream, limits: &Limits) -> Result<Head, Refused> {
    let deadline = Instant::now() + limits.head_time;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = read_before(stream, &mut buffer, deadline)?;
        if count == 0 {
            return Err(Refused::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        bytes.extend_from_slice(&buffer[..count]);
        if let Some(head) = parse(&bytes)? {
            return Ok(head);
        }
        if bytes.len() > limits.head_bytes {
            return Err(Refused::With(431, "the head of the request is too long"));
        }
    }
}

/// The head in `bytes`; `None` where it is not whole yet.
fn parse(bytes: &[u8]) -> Result<Option<Head>, Refused> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refused::With(431, "the request has too many fields"));
        }
        Err(_) => return Err(Refused::With(400, "this is no HTTP request")),
    };
    let method = match request.method {
        Some("GET") => Method::Get,
        Some("POST") => Method::Post,
        _ => return Err(Refused::With(405, "only GET and POST are answered")),
    };
    // A field that stands there twice is read by some as the first and by some as the last.
    let field = |name: &str| -> Result<Option<String>, Refused> {
        let mut values = request
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name));
        let value = values.next();
        if values.next().is_some() {
            return Err(Refused::With(
                400,
                "a field of the request stands there twice",
            ));
        }
        value.map_or(Ok(None), |field| {
            let text = std::str::from_utf8(field.value);
            let text = text.map_err(|_| Refused::With(400, "a field of the request is no text"))?;
            Ok(Some(text.trim().to_owned()))
        })
    };
    if field("transfer-encoding")?.is_some() {
        return Err(Refused::With(411, "the length of the request must be said"));
    }
    let content_length = field("content-length")?.map(|text| {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = is_number.then(|| text.parse().ok()).flatten();
        number.ok_or(Refused::With(400, "the length of the request is no number"))
    });
    Ok(Some(Head {
        method,
        target: request.path.unwrap_or_default().to_owned(),
        host: field("host")?,
        origin: field("origin")?,
        fetch_site: field("sec-fetch-site")?,
        authorization: field("authorization")?,
        content_length: content_length.transpose()?,
        rest: bytes[length..].to_vec(),
    }))
}

/// Reads the body that `head` announces, of at most so many bytes, for so long.
pub(crate) fn read_body(
    stream: &mut TcpStream,
    head: &Head,
    most: usize,
    time: Duration,
) -> Result<Vec<u8>, Refused> {
    let Some(length) = head.content_length else {
        return match head.method {
            Method::Get => Ok(Vec::new()),
            Method::Post => Err(Refused::With(411, "the length of the request must be said")),
        };
    };
    let length = usize::try_from(length)
        .ok()
        .filter(|&length| length <= most)
        .ok_or(Refused::With(413, "the request is too long"))?;
    let deadline = Instant::now() + time;
    let mut body = head.rest.clone();
    if body.len() > length {
        return Err(Refused::With(400, "the request is longer than it says"));
    }
    // It grows with what comes, not with what is announced.
    let mut buffer = [0; 16 << 10];
    while body.len() < length {
        let wanted = (length - body.len()).min(buffer.len());
        let count = read_before(stream, &mut buffer[..wanted], deadline)?;
        if count == 0 {
            return Err(Refused::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        body.extend_from_slice(&buffer[..count]);
    }
    Ok(body)
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
    fn a_head_is_read_when_it_is_whole() {
        let text = "POST /api/a?b=1 HTTP/1.1\r\nHOST: x:1\r\nOrigin: http://x:1\r\nContent-Length: 3\r\n\r\nabc";
        for end in 0..text.len() - 3 {
            assert!(parse(&text.as_bytes()[..end]).unwrap().is_none(), "{end}");
        }
        let head = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(head.method, Method::Post);
        assert_eq!(head.target, "/api/a?b=1");
        assert_eq!(head.host.as_deref(), Some("x:1"));
        assert_eq!(head.content_length, Some(3));
        assert_eq!(head.rest, b"abc");
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let head = |fields: &str| format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n");
        assert_eq!(status(&head("Host: a\r\nhost: b")), 400);
        assert_eq!(status(&head("Content-Length: 1\r\nContent-Length: 2")), 400);
        assert_eq!(status(&head("Content-Length: +1")), 400);
        assert_eq!(status(&head("Content-Length: 99999999999999999999")), 400);
        assert_eq!(status(&head("Transfer-Encoding: chunked")), 411);
        assert_eq!(status("PUT / HTTP/1.1\r\n\r\n"), 405);
        assert_eq!(status("hello\r\n\r\n"), 400);
    }
}
