//! Our transport as it is, without the protocol.

use std::net::SocketAddr;

use anyhow::Context as _;
use imgxfer_core::transport::{Congestion, Dial, Endpoint, EndpointConfig, Session};

use super::race::{Contender, End};
use crate::site::Identities;

pub(super) struct Ours {
    identities: Identities,
    mtu: u16,
    congestion: Congestion,
}

impl Ours {
    pub(super) fn new(mtu: u16, congestion: Congestion) -> anyhow::Result<Self> {
        Ok(Self { identities: Identities::generate()?, mtu, congestion })
    }

    fn endpoint(&self, config: EndpointConfig) -> anyhow::Result<Endpoint> {
        Ok(Endpoint::bind(config.with_mtu_upper(self.mtu).with_congestion(self.congestion.clone()))?)
    }
}

impl Contender for Ours {
    type Link = Session;
    type Listener = Endpoint;

    fn listen(&self) -> anyhow::Result<(Endpoint, SocketAddr)> {
        let endpoint = self.endpoint(self.identities.cloud(([127, 0, 0, 1], 0).into()))?;
        let address = endpoint.local_address()?;
        Ok((endpoint, address))
    }

    async fn accept(&self, endpoint: Endpoint) -> anyhow::Result<End<Session>> {
        Ok((endpoint.accept().await.context("closed")?, Box::new(endpoint)))
    }

    async fn dial(&self, to: SocketAddr) -> anyhow::Result<End<Session>> {
        let endpoint = self.endpoint(self.identities.hospital(([127, 0, 0, 1], 0).into()))?;
        let session = endpoint.connect(&Dial::from(to).with_peer(self.identities.cloud.peer_id())).await?;
        Ok((session, Box::new(endpoint)))
    }
}
