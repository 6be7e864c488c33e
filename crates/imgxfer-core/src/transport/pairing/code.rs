//! The code that one person reads to another.

use crate::transport::{TransportError, tls};
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Digits of a code: with [`TRIES_MAX`] tries, a guess succeeds three times in 10^9.
const DIGITS: usize = 9;
/// Codes there are.
const CODES: u32 = 1_000_000_000;
/// Wrong codes that an invitation survives, less one.
const TRIES_MAX: u32 = 3;

/// A one-time code such as `428-519-063`. `Debug` does not show it; `Display` does.
#[derive(Clone, PartialEq, Eq)]
pub struct PairingCode([u8; DIGITS]);

/// A text that is no pairing code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pairing code has nine digits, such as 428-519-063")]
pub struct PairingCodeError;

impl PairingCode {
    /// A new random code.
    ///
    /// # Errors
    /// [`TransportError::Local`] when the machine has no entropy.
    pub fn generate() -> Result<Self, TransportError> {
        // Numbers above the last whole multiple would make low codes likelier.
        let number = loop {
            let number = u32::from_le_bytes(tls::random()?);
            if number < u32::MAX / CODES * CODES {
                break number % CODES;
            }
        };
        let mut digits = [0; DIGITS];
        for (digit, character) in digits.iter_mut().zip(format!("{number:09}").bytes()) {
            *digit = character;
        }
        Ok(Self(digits))
    }

    /// The digits, without anything between them.
    pub(super) fn digits(&self) -> &[u8; DIGITS] {
        &self.0
    }
}

impl FromStr for PairingCode {
    type Err = PairingCodeError;

    /// Takes nine digits with any spaces, dashes or dots between them.
    fn from_str(text: &str) -> Result<Self, PairingCodeError> {
        let separator = |c: char| c.is_whitespace() || matches!(c, '-' | '.' | '_' | '\u{2010}'..='\u{2014}');
        let digits: String = text.chars().filter(|c| !separator(*c)).collect();
        let digits: [u8; DIGITS] = digits.into_bytes().try_into().map_err(|_| PairingCodeError)?;
        if digits.iter().all(u8::is_ascii_digit) { Ok(Self(digits)) } else { Err(PairingCodeError) }
    }
}

impl fmt::Display for PairingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self.0.iter().map(|digit| char::from(*digit)).collect();
        write!(f, "{}-{}-{}", &text[..3], &text[3..6], &text[6..])
    }
}

impl fmt::Debug for PairingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairingCode(...)")
    }
}

/// A code on offer: for one peer, for some time, and for three tries.
#[derive(Debug)]
pub struct Invitation {
    code: PairingCode,
    expires: Instant,
    tries_left: AtomicU32,
}

impl Invitation {
    /// Offers `code` from now on for `valid_for`. Ten minutes suit a telephone call.
    #[must_use]
    pub fn new(code: PairingCode, valid_for: Duration) -> Self {
        Self { code, expires: Instant::now() + valid_for, tries_left: AtomicU32::new(TRIES_MAX) }
    }

    /// The code to tell the other person.
    #[must_use]
    pub fn code(&self) -> &PairingCode {
        &self.code
    }

    /// When it runs out.
    #[must_use]
    pub fn expires(&self) -> Instant {
        self.expires
    }

    /// Wrong codes that may still come before the invitation is void; 0 when it is void or used up.
    #[must_use]
    pub fn tries_left(&self) -> u32 {
        self.tries_left.load(Ordering::SeqCst)
    }

    /// Makes the invitation void.
    pub fn withdraw(&self) {
        self.tries_left.store(0, Ordering::SeqCst);
    }

    /// Takes one try before the code is compared, so that attempts at the same time share the three.
    pub(super) fn take_try(&self) -> Option<u32> {
        self.tries_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .ok()
            .map(|before| before - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back_however_they_are_typed() {
        let code = PairingCode::generate().unwrap();
        assert_eq!(code.to_string().parse(), Ok(code));
        let code: PairingCode = "428-519-063".parse().unwrap();
        for typed in ["428519063", " 428 519 063\n", "4.2.8-519_063", "428\u{2013}519\u{2013}063"] {
            assert_eq!(typed.parse(), Ok(code.clone()), "{typed}");
        }
        assert_eq!(code.to_string(), "428-519-063");
        for wrong in ["", "42851906", "4285190631", "42851906a", "٤28519063"] {
            assert_eq!(wrong.parse::<PairingCode>(), Err(PairingCodeError), "{wrong}");
        }
        assert!(!format!("{code:?}").contains('4'));
    }

    #[test]
    fn tries_run_out() {
        let invitation = Invitation::new("000-000-000".parse().unwrap(), Duration::from_secs(1));
        assert_eq!([(); 4].map(|()| invitation.take_try()), [Some(2), Some(1), Some(0), None]);
    }
}
