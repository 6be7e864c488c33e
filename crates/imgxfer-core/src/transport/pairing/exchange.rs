//! The messages of pairing and the proof that both sides know the code.

use super::{PairingCode, PairingError};
use crate::ids::PeerId;
use crate::limits::HANDSHAKE_DEADLINE;
use crate::transport::{ControlReceiver, ControlSender, ControlStream, Identity, Session};
use spake2::{Ed25519Group, Password, Spake2};
use std::time::Duration;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// Longest message: a name of 64 characters and its tag.
const MESSAGE_BYTES_MAX: usize = 512;
/// Label of the secret taken from TLS (RFC 8446, 7.5).
const EXPORT_LABEL: &[u8] = b"EXPORTER-imgxfer-pair/1";
/// Context of the key that proves the code.
const PROOF_CONTEXT: &str = "imgxfer pairing 1 proof of the code";

/// Which side of a pairing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Inviter,
    Joiner,
}

/// First byte of each message. The numbers never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    Key = 1,
    Proof = 2,
    Name = 3,
    Confirmed = 4,
    Declined = 5,
    WrongCode = 6,
    Void = 7,
}

impl Tag {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Key, Self::Proof, Self::Name, Self::Confirmed, Self::Declined, Self::WrongCode, Self::Void]
            .into_iter()
            .find(|tag| *tag as u8 == byte)
    }
}

/// The control stream of a pairing.
pub(super) struct Channel {
    sender: ControlSender,
    receiver: ControlReceiver,
}

impl Channel {
    pub(super) fn new(stream: ControlStream) -> Self {
        let (sender, receiver) = stream.into_split();
        Self { sender, receiver }
    }

    pub(super) async fn send(&mut self, tag: Tag, body: &[u8]) -> Result<(), PairingError> {
        Ok(self.sender.send(&[&[tag as u8], body].concat()).await?)
    }

    /// The next message, within the time that a machine needs.
    pub(super) async fn recv(&mut self) -> Result<(Tag, Vec<u8>), PairingError> {
        self.recv_within(HANDSHAKE_DEADLINE).await
    }

    /// The next message, within the time that a person needs.
    pub(super) async fn recv_within(&mut self, time: Duration) -> Result<(Tag, Vec<u8>), PairingError> {
        let message = timeout(time, self.receiver.recv(MESSAGE_BYTES_MAX)).await;
        let message = message.map_err(|_| PairingError::TimedOut)??.ok_or(PairingError::Malformed)?;
        let (tag, body) = message.split_first().ok_or(PairingError::Malformed)?;
        Ok((Tag::from_byte(*tag).ok_or(PairingError::Malformed)?, body.to_vec()))
    }

    /// The next message, which must be `wanted`.
    pub(super) async fn expect(&mut self, wanted: Tag) -> Result<Vec<u8>, PairingError> {
        match self.recv().await? {
            (tag, body) if tag == wanted => Ok(body),
            (Tag::WrongCode, _) => Err(PairingError::WrongCode { tries_left: None }),
            (Tag::Void, _) => Err(PairingError::Void),
            _ => Err(PairingError::Malformed),
        }
    }

    /// Says the last word and waits until it has arrived, so that closing the session cannot lose it.
    pub(super) async fn send_last(&mut self, tag: Tag) {
        if self.send(tag, b"").await.is_ok() && self.sender.finish().is_ok() {
            // A peer that does not acknowledge is gone; it has this side's word or it has not.
            drop(timeout(HANDSHAKE_DEADLINE, self.sender.received()).await);
        }
    }

    /// Says that no more follows, without waiting.
    pub(super) fn finish(&mut self) {
        // Fails only if said before.
        drop(self.sender.finish());
    }

    /// Waits until what was finished has arrived.
    pub(super) async fn delivered(&mut self) {
        drop(timeout(HANDSHAKE_DEADLINE, self.sender.received()).await);
    }
}

/// One side of SPAKE2 (in the form of python-spake2, which the crate follows; the group is Ed25519, the code the password).
pub(super) struct Secret {
    state: Spake2<Ed25519Group>,
    /// What goes to the other side.
    pub(super) message: Vec<u8>,
    binding: Vec<u8>,
}

impl Secret {
    /// Begins for one connection: the proofs made later hold for it and for these two sites alone.
    pub(super) fn new(role: Role, session: &Session, me: &Identity, code: &PairingCode) -> Result<Self, PairingError> {
        let (inviter, joiner) = match role {
            Role::Inviter => (me.peer_id(), session.peer()),
            Role::Joiner => (session.peer(), me.peer_id()),
        };
        let id = |peer: PeerId| spake2::Identity::new(peer.as_bytes());
        let password = Password::new(code.digits());
        let (state, message) = match role {
            Role::Joiner => Spake2::start_a(&password, &id(joiner), &id(inviter)),
            Role::Inviter => Spake2::start_b(&password, &id(joiner), &id(inviter)),
        };
        let exported = session.export_secret(EXPORT_LABEL)?;
        let binding = [&exported[..], inviter.as_bytes(), joiner.as_bytes()].concat();
        Ok(Self { state, message, binding })
    }

    /// Takes the other side's message.
    pub(super) fn finish(self, theirs: &[u8]) -> Result<Proofs, PairingError> {
        let shared = Zeroizing::new(self.state.finish(theirs).map_err(|_| PairingError::Malformed)?);
        let key = Zeroizing::new(blake3::derive_key(PROOF_CONTEXT, &shared));
        let proof = |role: &[u8]| blake3::keyed_hash(&key, &[role, &self.binding].concat());
        Ok(Proofs { inviter: proof(b"inviter"), joiner: proof(b"joiner") })
    }
}

/// What each side shows to prove that it knows the code. Comparing takes the same time for all values.
pub(super) struct Proofs {
    inviter: blake3::Hash,
    joiner: blake3::Hash,
}

impl Proofs {
    pub(super) fn of(&self, role: Role) -> blake3::Hash {
        match role {
            Role::Inviter => self.inviter,
            Role::Joiner => self.joiner,
        }
    }

    pub(super) fn holds(&self, role: Role, shown: &[u8]) -> bool {
        <[u8; 32]>::try_from(shown).is_ok_and(|shown| self.of(role) == blake3::Hash::from_bytes(shown))
    }
}
