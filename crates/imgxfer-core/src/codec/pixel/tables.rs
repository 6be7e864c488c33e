//! How often each token occurs under each context: counted, scaled to 1024, written and read.

use super::bits::{LOG_BITS, Reader, log2, put};
use super::model::{CONTEXTS, IDLE, TOKENS, token_parts};
use super::plane::Malformed;

/// Shares of a context are in units of 2^-10.
pub(super) const SHARE_BITS: u32 = 10;
const WHOLE: u32 = 1 << SHARE_BITS;

/// Entries of a count or share table: context by token, with the idle context behind the others.
pub(super) const ENTRIES: usize = (CONTEXTS + 1) * TOKENS;
/// Entries of a decoding table: context by slot.
pub(super) const SLOTS: usize = (CONTEXTS + 1) << SHARE_BITS;

/// Counts of tokens by context.
pub(super) type Counts = [u32; ENTRIES];

/// Estimated cost of writing one share, in bits.
const SHARE_COST_BITS: u64 = 7;

/// For each context the shares of its tokens; contexts with few or like tokens have the same.
#[derive(Debug)]
pub(super) struct Shares {
    of: [[u16; TOKENS]; CONTEXTS],
    /// Whether a context has the shares of the one before it.
    joined: [bool; CONTEXTS],
}

impl Shares {
    /// The shares that suit the counts best.
    pub(super) fn of(counts: &Counts) -> Self {
        let mut shares = Self { of: [[0; TOKENS]; CONTEXTS], joined: [false; CONTEXTS] };
        let mut first = 0;
        let mut group = [0u32; TOKENS];
        for context in 0..CONTEXTS {
            let own = &counts[context * TOKENS..(context + 1) * TOKENS];
            let mut both = group;
            for (sum, count) in both.iter_mut().zip(own) {
                *sum += count;
            }
            let mut alone = [0; TOKENS];
            alone.copy_from_slice(own);
            let joins = context > first && cost(&both) <= cost(&group) + cost(&alone);
            if joins {
                shares.joined[context] = true;
                group = both;
            } else {
                shares.settle(first..context, &group);
                first = context;
                group = alone;
            }
        }
        shares.settle(first..CONTEXTS, &group);
        shares
    }

    fn settle(&mut self, contexts: std::ops::Range<usize>, group: &[u32; TOKENS]) {
        let scaled = scale(group);
        for context in contexts {
            self.of[context] = scaled;
        }
    }

    /// By context and token: the share, above 10 bits of the sum of the shares before it.
    pub(super) fn for_encoding(&self) -> [u32; ENTRIES] {
        let mut table = [0; ENTRIES];
        for (shares, entries) in self.of.iter().zip(table.chunks_exact_mut(TOKENS)) {
            let mut before = 0;
            for (share, entry) in shares.iter().zip(entries) {
                *entry = u32::from(*share) << SHARE_BITS | before;
                // Behind the last token the sum is 1024, which no entry uses.
                before = (before + u32::from(*share)) & (WHOLE - 1);
            }
        }
        table[IDLE as usize * TOKENS] = WHOLE << SHARE_BITS;
        table
    }

    /// By context and slot: share less 1 (10 bits), slot within the share (10), open bits (4), number before them.
    pub(super) fn for_decoding(&self) -> Box<[u32; SLOTS]> {
        let mut table = vec![0; SLOTS];
        for context in 0..=CONTEXTS {
            let (done, slots) = table.split_at_mut(context << SHARE_BITS);
            let slots = &mut slots[..1 << SHARE_BITS];
            if self.joined.get(context).is_some_and(|joined| *joined) {
                slots.copy_from_slice(&done[done.len() - slots.len()..]);
                continue;
            }
            let Some(shares) = self.of.get(context) else {
                for (slot, entry) in (0..).zip(slots) {
                    *entry = (WHOLE - 1) | (slot << SHARE_BITS);
                }
                continue;
            };
            let mut slots = slots.iter_mut();
            for (token, share) in (0..).zip(shares) {
                let (number, open) = token_parts(token);
                let entry = open << (2 * SHARE_BITS) | number << (2 * SHARE_BITS + 4);
                let share = u32::from(*share);
                for (within, slot) in (0..share).zip(&mut slots) {
                    *slot = entry | within << SHARE_BITS | (share - 1);
                }
            }
        }
        // A vector of SLOTS entries.
        table.try_into().unwrap_or_else(|_| Box::new([0; SLOTS]))
    }

    /// Writes the shares: for each context the number of tokens up to the last that occurs (255: the
    /// shares of the context before), then their shares.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for (shares, joined) in self.of.iter().zip(self.joined) {
            if joined {
                out.push(JOINED);
                continue;
            }
            let used = shares.iter().rposition(|share| *share > 0).map_or(0, |last| last + 1);
            out.push(used as u8);
            for share in &shares[..used] {
                put(u32::from(*share), out);
            }
        }
    }

    /// Reads what [`Shares::write`] wrote.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut shares = Self { of: [[0; TOKENS]; CONTEXTS], joined: [false; CONTEXTS] };
        for context in 0..CONTEXTS {
            let used = reader.byte()?;
            if used == JOINED {
                let before = context.checked_sub(1).ok_or(Malformed)?;
                shares.joined[context] = true;
                shares.of[context] = shares.of[before];
                continue;
            }
            let own = shares.of[context].get_mut(..usize::from(used)).ok_or(Malformed)?;
            let mut sum = 0;
            for share in own.iter_mut() {
                let number = reader.number()?;
                *share = u16::try_from(number).ok().filter(|_| number <= WHOLE).ok_or(Malformed)?;
                sum += number;
            }
            if used > 0 && sum != WHOLE {
                return Err(Malformed);
            }
        }
        Ok(shares)
    }
}

const JOINED: u8 = 255;

/// Bits for tokens with these counts, and for their shares.
fn cost(counts: &[u32; TOKENS]) -> u64 {
    let total: u32 = counts.iter().sum();
    if total == 0 {
        return 0;
    }
    let log_total = log2(total);
    let used = counts.iter().filter(|count| **count > 0).count() as u64;
    let bits: u64 = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| u64::from(*count) * u64::from(log_total - log2(*count).min(log_total)))
        .sum();
    (bits >> LOG_BITS) + SHARE_COST_BITS * used
}

/// Scales counts to a sum of 1024, each that occurs to at least 1; all 0 when none occurs.
fn scale(counts: &[u32; TOKENS]) -> [u16; TOKENS] {
    let mut shares = [0; TOKENS];
    let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
    if total == 0 {
        return shares;
    }
    let mut sum: u32 = 0;
    for (share, count) in shares.iter_mut().zip(counts).filter(|(_, count)| **count > 0) {
        let scaled = (u64::from(*count) * u64::from(WHOLE) + total / 2) / total;
        *share = scaled.max(1) as u16;
        sum += u32::from(*share);
    }
    // The largest give or take what rounding left over.
    while sum != WHOLE {
        let Some(largest) = shares.iter_mut().max() else { break };
        if sum < WHOLE {
            *largest += (WHOLE - sum) as u16;
            sum = WHOLE;
        } else {
            let take = (sum - WHOLE).min(u32::from(*largest / 2)).max(1);
            *largest -= take as u16;
            sum -= take;
        }
    }
    shares
}
