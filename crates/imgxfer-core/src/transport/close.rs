//! The numbers with which one side tells the other why it closes or resets.

use quinn::VarInt;

macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Why a session or a stream was ended. The numbers are part of the protocol and never change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum CloseCode {
            $($(#[$doc])* $name,)*
            /// A number that this version does not know.
            Other(u64),
        }

        impl CloseCode {
            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u64 {
                match self {
                    $(Self::$name => $number,)*
                    Self::Other(number) => number,
                }
            }

            /// The code for a number from the wire.
            #[must_use]
            pub const fn from_number(number: u64) -> Self {
                match number {
                    $($number => Self::$name,)*
                    other => Self::Other(other),
                }
            }
        }

        impl std::fmt::Display for CloseCode {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$name => f.write_str($text),)*
                    Self::Other(number) => write!(f, "code {number}"),
                }
            }
        }

        #[cfg(test)]
        const ALL: &[CloseCode] = &[$(CloseCode::$name,)*];
    };
}

close_codes! {
    /// All is done; also what a connection dropped without a word says.
    Done = 0, "done";
    /// The peer is not allowed here.
    Refused = 1, "refused";
    /// No protocol version in common.
    Version = 2, "no version in common";
    /// Too many connections, of this peer or of all.
    Busy = 3, "too many connections";
    /// The process is going down; try again.
    ShuttingDown = 4, "shutting down";
    /// The peer broke the protocol.
    Protocol = 5, "protocol broken";
    /// A limit was exceeded.
    Limit = 6, "limit exceeded";
    /// Nothing moved for too long.
    Stalled = 7, "no progress";
    /// What arrived did not match its hash, again and again.
    Integrity = 8, "damaged data";
    /// An error on the closing side, such as a full disk.
    Internal = 9, "internal error";
    /// The stream's contents are no longer wanted, or never came to an end.
    Cancelled = 10, "cancelled";
    /// Pairing failed or was declined.
    Pairing = 11, "pairing failed";
}

impl From<CloseCode> for VarInt {
    fn from(code: CloseCode) -> Self {
        // Numbers from the wire always fit, since they came from a VarInt.
        Self::from_u64(code.number()).unwrap_or(Self::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_fixed_and_read_back() {
        for (expected, code) in (0..).zip(ALL) {
            assert_eq!(code.number(), expected, "{code:?}");
            assert_eq!(CloseCode::from_number(expected), *code);
        }
        assert_eq!(CloseCode::from_number(999), CloseCode::Other(999));
    }
}
