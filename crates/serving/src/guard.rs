//! Who may ask: the checks that every request passes before anything is done for it.
//!
//! A page of another site can make a browser send requests to 127.0.0.1, and by binding its own name to that
//! address (DNS rebinding) even read the answers. Such requests have the other site's name as their `Host`, which
//! is therefore compared with what this server is reached by: addresses, which no name can be bound to, and
//! `localhost`.

use std::net::{IpAddr, SocketAddr};

use crate::app::Query;
use crate::request::{Head, Method, Refused};
use crate::token::Token;

/// Refuses a request that does not come from this server's own page, or from outside any page.
pub(crate) fn check_origin(head: &Head, address: SocketAddr) -> Result<(), Refused> {
    let is_ours = |host: &str| is_host(host, address);
    let host = head.host.as_deref();
    let Some(host) = host.filter(|host| is_ours(host)) else {
        return Err(Refused::With(
            403,
            "this server is reached by the address that it printed, and by no other name",
        ));
    };
    let origin_is_ours = match head.origin.as_deref() {
        Some(origin) => origin.strip_prefix("http://") == Some(host),
        None => head.method == Method::Get,
    };
    let site = head.fetch_site.as_deref();
    if !origin_is_ours || !matches!(site, None | Some("same-origin" | "none")) {
        return Err(Refused::With(403, "this request comes from another page"));
    }
    Ok(())
}

/// Whether a `Host` names the server at `address`.
fn is_host(host: &str, address: SocketAddr) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() => (name, port.parse().ok()),
        _ => (host, Some(80)),
    };
    if port != Some(address.port()) {
        return false;
    }
    if name.eq_ignore_ascii_case("localhost") {
        return address.ip().is_loopback() || address.ip().is_unspecified();
    }
    let name = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    let Ok(named) = name.parse::<IpAddr>() else {
        return false;
    };
    match address.ip() {
        ip if ip.is_unspecified() => true,
        ip if ip.is_loopback() => named.is_loopback(),
        ip => named == ip,
    }
}

/// Refuses who does not have the token of the session.
pub(crate) fn check_token(head: &Head, token: &Token) -> Result<(), Refused> {
    let given = head.authorization.as_deref();
    match given.and_then(|given| given.strip_prefix("Bearer ")) {
        Some(given) if token.is(given) => Ok(()),
        _ => Err(Refused::With(
            401,
            "this page belongs to another session: open the link that was printed at the start",
        )),
    }
}

/// What is asked for: a file of the page, or words for the application.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    Asset(&'a str),
    Words(Vec<&'a str>),
}

/// The longest word of a path or a query.
const LONGEST: usize = 64;

/// Takes a target apart. Nothing is decoded: a word that has any other letter than those of ids is refused.
pub(crate) fn target(text: &str) -> Result<(Target<'_>, Query<'_>), Refused> {
    const NO_WORD: Refused = Refused::With(404, "there is nothing of this name");
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let is_word = |word: &str, more: &[u8]| {
        let is_letter =
            |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b) || more.contains(&b);
        (1..=LONGEST).contains(&word.len()) && word.bytes().all(is_letter)
    };
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((name, value)) if is_word(name, b".") && is_word(value, b".") => {
                pairs.push((name, value));
            }
            _ => return Err(NO_WORD),
        }
    }
    let target = match path.strip_prefix("/api/") {
        Some(words) => {
            let words: Vec<&str> = words.split('/').collect();
            if !words.iter().all(|word| is_word(word, b"")) {
                return Err(NO_WORD);
            }
            Target::Words(words)
        }
        None => Target::Asset(path),
    };
    Ok((target, Query(pairs)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_host_is_an_address_and_no_name_that_can_be_bound() {
        let local: SocketAddr = "127.0.0.1:8000".parse().unwrap();
        for host in [
            "127.0.0.1:8000",
            "localhost:8000",
            "LOCALHOST:8000",
            "[::1]:8000",
        ] {
            assert!(is_host(host, local), "{host}");
        }
        for host in [
            "",
            ":8000",
            "127.0.0.1",
            "127.0.0.1:8001",
            "evil.example:8000",
            "10.0.0.1:8000",
            "127.0.0.1.evil.example:8000",
            "localhost.:8000",
            "127.0.0.1:8000:8000",
            "[::1:8000",
        ] {
            assert!(!is_host(host, local), "{host}");
        }
        let everywhere: SocketAddr = "0.0.0.0:8000".parse().unwrap();
        assert!(is_host("10.0.0.1:8000", everywhere));
        assert!(!is_host("evil.example:8000", everywhere));
        let one: SocketAddr = "10.0.0.1:80".parse().unwrap();
        assert!(is_host("10.0.0.1", one) && !is_host("10.0.0.2", one));
        assert!(!is_host("localhost", one));
    }

    #[test]
    fn words_lead_nowhere() {
        let (found, query) = target("/api/runs/a-1_B?from=1.5&to=2").unwrap();
        assert_eq!(found, Target::Words(vec!["runs", "a-1_B"]));
        assert_eq!(query.number("from"), Some(1.5));
        assert_eq!(query.get("to"), Some("2"));
        assert_eq!(query.get("x"), None);
        let long = format!("/api/{}", "a".repeat(LONGEST + 1));
        for bad in [
            "/api/",
            "/api/..",
            "/api/../x",
            "/api/a//b",
            "/api/%2e%2e",
            "/api/a%2Fb",
            "/api/a.b",
            "/api/a\\b",
            "/api/x?a",
            "/api/x?a=b/c",
            "/api/x?a=%00",
            &long,
        ] {
            assert!(target(bad).is_err(), "{bad}");
        }
        assert_eq!(target("/../etc").unwrap().0, Target::Asset("/../etc"));
    }
}
