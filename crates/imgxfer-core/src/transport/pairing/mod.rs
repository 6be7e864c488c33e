//! Two sites that have never met become peers, by a short code that one person tells the other.
//!
//! One side makes an [`Invitation`] and waits at its pairing window; the other dials it with
//! [`Endpoint::connect_to_pair`](crate::transport::Endpoint::connect_to_pair). Over that connection,
//! in which neither key is trusted yet, both prove by SPAKE2 that they know the code. The proofs are
//! bound to the two keys and to this TLS connection: somebody in between would need the code, and
//! has three guesses in 10^9. Then each side shows its person the other's name and fingerprint, and
//! only when both agree are they paired.
//!
//! Nothing is trusted here by itself: the caller pins the key that comes out. If the line breaks
//! between the two last messages, one side may think it is paired while the other does not; that
//! shows at the first connection, and pairing again mends it.

mod code;
mod exchange;
mod name;

pub use code::{Invitation, PairingCode, PairingCodeError};

use crate::ids::PeerId;
use crate::transport::{Identity, Protocol, Session, TransportError};
use exchange::{Channel, Role, Secret, Tag};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// The protocol's name in the handshake.
pub(super) const PAIRING_ALPN: &[u8] = b"imgxfer-pair/1";

/// A person has this long to answer, where no invitation says otherwise.
const DECISION_DEADLINE: Duration = Duration::from_secs(600);

/// What a person decides on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PairingOffer {
    /// Whose key it is; [`PeerId::fingerprint`] is for comparing.
    pub peer: PeerId,
    /// What the site calls itself: safe to show, and not to be trusted.
    pub name: String,
}

/// Two sites are paired.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Paired {
    /// The key to pin.
    pub peer: PeerId,
    /// What the site calls itself.
    pub name: String,
}

/// Why two sites are not paired.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PairingError {
    /// The two codes differ, or somebody in between guessed.
    #[error("the pairing code is wrong{}", tries_left.map_or_else(String::new, |left| format!(" ({left} tries left)")))]
    WrongCode {
        /// How many tries are left; known to the inviting side alone.
        tries_left: Option<u32>,
    },
    /// The code has been tried too often, or used.
    #[error("the pairing code is void; make a new one")]
    Void,
    /// The code has run out.
    #[error("the pairing code has expired; make a new one")]
    Expired,
    /// The person on this side said no.
    #[error("pairing was declined here")]
    DeclinedHere,
    /// The person on the other side said no.
    #[error("pairing was declined by the other side")]
    DeclinedThere,
    /// The other side did not answer in time.
    #[error("the other side did not answer in time")]
    TimedOut,
    /// The other side sent something else than pairing expects.
    #[error("the other side broke the pairing protocol")]
    Malformed,
    /// The session is for transfers.
    #[error("the session was not made for pairing")]
    NotForPairing,
    /// The connection failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// Pairs with whoever connected, as the side that made the code.
///
/// `me` is this endpoint's identity. `confirm` asks the person on this side, within the invitation's time.
/// A wrong code uses up one of three tries; success uses up the invitation. Dropping the future
/// aborts the pairing.
///
/// # Errors
/// [`PairingError`]; anything but `Ok` means that this side is not paired.
pub async fn invite<F, A>(
    session: &Session,
    me: &Identity,
    invitation: &Invitation,
    my_name: &str,
    confirm: F,
) -> Result<Paired, PairingError>
where
    F: FnOnce(PairingOffer) -> A + Send,
    A: Future<Output = bool> + Send,
{
    check(session)?;
    let expires = invitation.expires();
    let stream = timeout(crate::limits::HANDSHAKE_DEADLINE, session.accept_control()).await;
    let mut channel = Channel::new(stream.map_err(|_| PairingError::TimedOut)??);
    let theirs = channel.expect(Tag::Key).await?;
    let live = if invitation.tries_left() == 0 {
        Err(PairingError::Void)
    } else if Instant::now() >= expires {
        Err(PairingError::Expired)
    } else {
        Ok(())
    };
    if let Err(error) = live {
        channel.send_last(Tag::Void).await;
        return Err(error);
    }
    let secret = Secret::new(Role::Inviter, session, me, invitation.code())?;
    let mine = secret.message.clone();
    let proofs = secret.finish(&theirs)?;
    channel.send(Tag::Key, &mine).await?;
    // The other side proves first: a stranger without the code gets nothing to test guesses on.
    let shown = channel.expect(Tag::Proof).await?;
    let Some(tries_left) = invitation.take_try() else {
        channel.send_last(Tag::Void).await;
        return Err(PairingError::Void);
    };
    if !proofs.holds(Role::Joiner, &shown) {
        channel.send_last(Tag::WrongCode).await;
        return Err(PairingError::WrongCode { tries_left: Some(tries_left) });
    }
    invitation.withdraw();
    channel.send(Tag::Proof, proofs.of(Role::Inviter).as_bytes()).await?;
    agree(session, channel, my_name, confirm, expires).await
}

/// Pairs with the site that was dialled, as the side that was told the code.
///
/// `me` is this endpoint's identity. `confirm` asks the person on this side, within ten minutes.
/// Dropping the future aborts the pairing.
///
/// # Errors
/// [`PairingError`]; anything but `Ok` means that this side is not paired.
pub async fn join<F, A>(
    session: &Session,
    me: &Identity,
    code: &PairingCode,
    my_name: &str,
    confirm: F,
) -> Result<Paired, PairingError>
where
    F: FnOnce(PairingOffer) -> A + Send,
    A: Future<Output = bool> + Send,
{
    check(session)?;
    let mut channel = Channel::new(session.open_control().await?);
    let secret = Secret::new(Role::Joiner, session, me, code)?;
    channel.send(Tag::Key, &secret.message).await?;
    let proofs = secret.finish(&channel.expect(Tag::Key).await?)?;
    channel.send(Tag::Proof, proofs.of(Role::Joiner).as_bytes()).await?;
    let shown = channel.expect(Tag::Proof).await?;
    if !proofs.holds(Role::Inviter, &shown) {
        return Err(PairingError::WrongCode { tries_left: None });
    }
    agree(session, channel, my_name, confirm, Instant::now() + DECISION_DEADLINE).await
}

fn check(session: &Session) -> Result<(), PairingError> {
    if session.protocol() == Protocol::Pairing { Ok(()) } else { Err(PairingError::NotForPairing) }
}

/// Both know the code: exchanges names, asks the person here, and compares with the answer there.
async fn agree<F, A>(
    session: &Session,
    mut channel: Channel,
    my_name: &str,
    confirm: F,
    until: Instant,
) -> Result<Paired, PairingError>
where
    F: FnOnce(PairingOffer) -> A + Send,
    A: Future<Output = bool> + Send,
{
    channel.send(Tag::Name, name::sanitised(my_name).as_bytes()).await?;
    let name = name::sanitised(&String::from_utf8_lossy(&channel.expect(Tag::Name).await?));
    let offer = PairingOffer { peer: session.peer(), name: name.clone() };
    let (here, there) = decide(&mut channel, timeout_at(until, confirm(offer))).await?;
    let refused = match here {
        Ok(true) => None,
        Ok(false) => Some(PairingError::DeclinedHere),
        Err(_) => Some(PairingError::Expired),
    };
    if let Some(error) = refused {
        channel.send_last(Tag::Declined).await;
        return Err(error);
    }
    channel.send(Tag::Confirmed, b"").await?;
    channel.finish();
    let there = match there {
        Some(tag) => tag,
        None => channel.recv_within(DECISION_DEADLINE).await?.0,
    };
    agreed(there)?;
    channel.delivered().await;
    Ok(Paired { peer: session.peer(), name })
}

/// What the other side's answer means.
fn agreed(answer: Tag) -> Result<(), PairingError> {
    match answer {
        Tag::Confirmed => Ok(()),
        Tag::Declined => Err(PairingError::DeclinedThere),
        _ => Err(PairingError::Malformed),
    }
}

/// Waits for the person here, while the other side may already say yes; its no, and a broken line,
/// end the wait.
async fn decide<T>(
    channel: &mut Channel,
    here: impl Future<Output = T> + Send,
) -> Result<(T, Option<Tag>), PairingError> {
    let mut here = std::pin::pin!(here);
    let there = tokio::select! {
        here = &mut here => return Ok((here, None)),
        there = channel.recv_within(DECISION_DEADLINE) => there?.0,
    };
    agreed(there)?;
    Ok((here.await, Some(there)))
}
