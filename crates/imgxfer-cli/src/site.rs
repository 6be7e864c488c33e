//! This user's site: identity, settings and peers, joined to whatever a command needs.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use imgxfer_core::client::Client;
use imgxfer_core::ids::PeerId;
use imgxfer_core::transport::{
    CloseCode, Dial, Endpoint, EndpointConfig, Identity, IdentityError, TransportError, Trust,
};

use crate::args::PeerArgument;
use crate::config::Config;
use crate::exit::{Exit, problem};
use crate::output::safe;
use crate::peers::{Peers, check_address};
use crate::places::Places;

/// A peer to talk to, found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// What the user calls it.
    pub(crate) name: String,
    /// Where it is, and with which key.
    pub(crate) dial: Dial,
    /// Its key.
    pub(crate) key: PeerId,
}

/// The user's site.
#[derive(Debug)]
pub(crate) struct Site {
    /// Who it is.
    pub(crate) identity: Identity,
    /// Its settings.
    pub(crate) config: Config,
    /// Whom it knows.
    pub(crate) peers: Peers,
}

impl Site {
    /// Reads everything in the config folder.
    pub(crate) fn open(places: &Places) -> anyhow::Result<Self> {
        let config = Config::load(places)?;
        let peers = Peers::load(places)?;
        let identity = Identity::load(&places.config).map_err(|error| match &error {
            IdentityError::File { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound => problem(
                Exit::Config,
                format!("there is no identity in {} yet: run `imgxfer init` first", places.config.display()),
            ),
            _ => error.into(),
        })?;
        Ok(Self { identity, config, peers })
    }

    /// Finds the peer that the user named.
    pub(crate) fn find(&self, argument: &PeerArgument) -> anyhow::Result<Target> {
        find(&self.peers, &argument.peer, argument.peer_key)
    }

    /// A socket to dial from. Must be called within a runtime.
    pub(crate) fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let bind = |address: SocketAddr| {
            let config = EndpointConfig::new(address, self.identity.clone(), Trust::new(), imgxfer_core::ALPN);
            Endpoint::bind(self.config.tune(config).dial_only())
        };
        // Some machines have no IPv6 at all.
        let endpoint = match bind((Ipv6Addr::UNSPECIFIED, 0).into()) {
            Err(TransportError::Bind { .. }) => bind((Ipv4Addr::UNSPECIFIED, 0).into()),
            other => other,
        };
        Ok(endpoint?)
    }

    /// A client on a socket of its own.
    pub(crate) fn client(&self) -> anyhow::Result<(Client, Arc<Endpoint>)> {
        let endpoint = Arc::new(self.endpoint()?);
        Ok((Client::new(Arc::clone(&endpoint)), endpoint))
    }
}

/// Says goodbye, so that the peer need not wait for the connection to go silent.
pub(crate) async fn close(endpoint: &Endpoint, code: CloseCode) {
    endpoint.close(code, "");
    // Long enough for the word to leave this machine. Waiting for the peer to hear it would take three
    // round trips and more; a peer that misses it finds out by itself.
    drop(tokio::time::timeout(Duration::from_millis(10), endpoint.wait_idle()).await);
}

/// A configured name, or HOST:PORT with a key.
fn find(peers: &Peers, text: &str, key: Option<PeerId>) -> anyhow::Result<Target> {
    if let Some(peer) = peers.0.get(text) {
        if key.is_some_and(|key| key != peer.key) {
            let message = format!("--peer-key differs from the key that is kept for {text}: see `imgxfer peers list`");
            return Err(problem(Exit::Usage, message));
        }
        let dial = Dial::new(&peer.address).with_peer(peer.key);
        return Ok(Target { name: text.to_owned(), dial, key: peer.key });
    }
    if check_address(text).is_err() {
        let known: Vec<&str> = peers.0.keys().map(String::as_str).collect();
        let known = if known.is_empty() {
            "no peer is known yet: `imgxfer pair` or `imgxfer peers add` makes one known".to_owned()
        } else {
            format!("known are: {}", known.join(", "))
        };
        return Err(problem(Exit::Config, format!("no peer is called {}; {known}", safe(text))));
    }
    let kept = || peers.0.values().find(|peer| peer.address == text).map(|peer| peer.key);
    let key = key.or_else(kept).ok_or_else(|| {
        let message = format!("whose key should {text} have? Name it with --peer-key, or pair with that site first");
        problem(Exit::Usage, message)
    })?;
    Ok(Target { name: text.to_owned(), dial: Dial::new(text).with_peer(key), key })
}

/// Reads a fingerprint on the command line.
pub(crate) fn parse_key(text: &str) -> Result<PeerId, String> {
    PeerId::parse(text).map_err(|_| "not a fingerprint: expected ix-.... as `imgxfer id` prints it".to_owned())
}

/// Adds who was talked to.
pub(crate) trait ToldPeer<T> {
    /// Names the peer in an error.
    fn told(self, doing: &str, target: &Target) -> anyhow::Result<T>;
}

impl<T, E> ToldPeer<T> for Result<T, E>
where
    Self: anyhow::Context<T, E>,
{
    fn told(self, doing: &str, target: &Target) -> anyhow::Result<T> {
        self.with_context(|| format!("{doing} {}", target.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Peer;

    fn known() -> (Peers, PeerId) {
        let key = PeerId::of_key(b"cloud");
        let peer = Peer { address: "cloud.example:11120".to_owned(), key };
        (Peers([("cloud".to_owned(), peer)].into()), key)
    }

    #[test]
    fn names_and_addresses_lead_to_peers() {
        let (peers, key) = known();
        let other = PeerId::of_key(b"other");
        assert_eq!(find(&peers, "cloud", None).unwrap().dial, Dial::new("cloud.example:11120").with_peer(key));
        assert_eq!(find(&peers, "cloud", Some(key)).unwrap().key, key);
        assert_eq!(find(&peers, "10.0.0.1:5", Some(other)).unwrap().dial, Dial::new("10.0.0.1:5").with_peer(other));
        assert_eq!(find(&peers, "cloud.example:11120", None).unwrap().key, key, "the key is known already");
    }

    #[test]
    fn what_leads_nowhere_has_its_code() {
        let (peers, _) = known();
        let code = |text: &str, key| crate::exit::of(&find(&peers, text, key).unwrap_err());
        assert_eq!(code("clowd", None), Exit::Config);
        assert_eq!(code("10.0.0.1:5", None), Exit::Usage);
        assert_eq!(code("cloud", Some(PeerId::of_key(b"other"))), Exit::Usage);
        let error = find(&peers, "clowd", None).unwrap_err().to_string();
        assert!(error.contains("known are: cloud"), "{error}");
    }
}
