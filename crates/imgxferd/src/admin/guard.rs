//! Who may ask: the right host name for everything, the token for what is not for everybody.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::problem;
use crate::audit::{Actor, Audit, Entry, Event};

#[derive(Debug, Clone)]
pub(super) struct Guard(Arc<Inner>);

struct Inner {
    token: blake3::Hash,
    port: u16,
    hosts: Vec<String>,
    audit: Audit,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl Guard {
    pub(super) fn new(token: &str, address: SocketAddr, mut hosts: Vec<String>, audit: Audit) -> Self {
        hosts.push("localhost".to_owned());
        let token = blake3::hash(token.as_bytes());
        Self(Arc::new(Inner { token, port: address.port(), hosts, audit }))
    }

    /// A name that a stranger's DNS could point here is none of ours. An IP address cannot be pointed.
    fn knows_host(&self, host: &str) -> bool {
        if host.parse::<SocketAddr>().is_ok_and(|address| address.port() == self.0.port) {
            return true;
        }
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !name.is_empty() && !name.contains(':') => (name, Some(port)),
            _ => (host, None),
        };
        if port.is_some_and(|port| port.parse() != Ok(self.0.port)) {
            return false;
        }
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_ok() || self.0.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer "));
        // Hashes are compared in constant time, and tell nothing of what they are made from.
        token.is_some_and(|token| blake3::hash(token.trim().as_bytes()) == self.0.token)
    }
}

pub(super) async fn host_is_ours(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return problem(StatusCode::BAD_REQUEST, "the request must have one Host header").into_response();
    };
    if host.to_str().is_ok_and(|host| guard.knows_host(host)) {
        return next.run(request).await;
    }
    let text = "not a name of this listener; ask by IP address or localhost, or add the name to admin.hosts";
    problem(StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

pub(super) async fn needs_token(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if guard.admits(request.headers()) {
        return next.run(request).await;
    }
    let entry = Entry::new(Actor::Stranger { key: None }, Event::Admin);
    guard.0.audit.tell_stranger(&entry.refused("the admin token is missing or wrong"));
    let text = "needs the header Authorization: Bearer TOKEN, with the token from admin.token in the state folder";
    problem(StatusCode::UNAUTHORIZED, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_known() {
        let hosts = vec!["mon.example".to_owned()];
        let guard = Guard::new("secret", "127.0.0.1:11121".parse().unwrap(), hosts, Audit::none());
        for host in [
            "localhost",
            "LOCALHOST:11121",
            "127.0.0.1:11121",
            "127.0.0.1",
            "[::1]:11121",
            "[::1]",
            "10.0.0.9:11121",
            "mon.example:11121",
        ] {
            assert!(guard.knows_host(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:11121",
            "localhost:80",
            "127.0.0.1:80",
            "localhost.evil.example",
            "a:b:c",
        ] {
            assert!(!guard.knows_host(host), "{host}");
        }
    }

    #[test]
    fn the_token_must_be_exact() {
        let guard = Guard::new("secret", "127.0.0.1:1".parse().unwrap(), Vec::new(), Audit::none());
        let with = |value: &str| HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
        assert!(guard.admits(&with("Bearer secret")));
        for wrong in ["Bearer secre", "Bearer secret2", "secret", "Basic secret", "Bearer ", ""] {
            assert!(!guard.admits(&with(wrong)), "{wrong}");
        }
        assert!(!guard.admits(&HeaderMap::new()));
    }
}
