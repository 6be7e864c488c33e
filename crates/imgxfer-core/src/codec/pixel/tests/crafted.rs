//! Payloads made by hand, with weights and bounds that no encoder would choose.
//!
//! All contexts have the same shares. So the tokens can be read whatever the model makes of them, and every
//! model gives some picture.

use super::super::bits::put;
use super::images::Numbers;

/// Columns, rows and rows of a frame of the pictures.
const SIZE: [usize; 3] = [20, 80, 16];
const PERIOD: usize = 112;

/// A payload of 16-bit samples of random tokens, predicted with random weights of that kind; and how many
/// bytes it stands for.
pub(super) fn odd(kind: u8, seed: u64) -> (Vec<u8>, usize) {
    let mut numbers = Numbers(seed);
    let [columns, rows, _] = SIZE;
    let max = [1, 4000, 0xFFFF][numbers.below(3)];
    let mut payload = head(1, SIZE);
    payload.push(0);
    // Flip, offset.
    put(numbers.next() & 0xFFFF, &mut payload);
    payload.push(0);
    put(numbers.next() & 0xFFFF, &mut payload);
    put(max, &mut payload);
    payload.extend([1, u8::from(kind == 3)]);
    model(kind, || numbers.next() as u16, &mut payload);
    // Sixteen of 1024 for each of 64 tokens, in all contexts.
    payload.push(64);
    payload.extend([16; 64]);
    payload.extend([255; 30]);
    code(columns, rows, &mut numbers, &mut payload);
    (payload, columns * rows * 2)
}

/// A payload of that many planes of zeros that takes as long to decode as any.
pub(super) fn zeros(flags: u8, size: [usize; 3], planes: usize) -> Vec<u8> {
    let mut payload = head(flags, size);
    payload.push(if planes == 3 { 4 } else { 0 });
    for _ in 0..planes {
        payload.extend([0, 0, 0, 100, 1, 0]);
        model(2, || 0, &mut payload);
        // Token 0 alone, so that there are no words.
        payload.extend([1, 0x80, 8]);
        payload.extend([255; 30]);
        payload.extend([0, 0, 1, 0].repeat(32));
        payload.push(0);
    }
    payload
}

fn head(flags: u8, [columns, _, frame_rows]: [usize; 3]) -> Vec<u8> {
    let mut payload = vec![1, flags];
    put(columns as u32, &mut payload);
    put(frame_rows as u32, &mut payload);
    payload
}

fn model(kind: u8, mut weight: impl FnMut() -> u16, out: &mut Vec<u8>) {
    let weights = [0, 6, 150, 240][usize::from(kind)];
    out.push(kind);
    if kind > 0 {
        out.extend((0..2).flat_map(|_| weight().to_le_bytes()).map(|bound| bound % 18));
        out.extend((0..weights).flat_map(|_| weight().to_le_bytes()));
    }
}

/// States and words of random tokens, coded from the last to the first.
fn code(columns: usize, rows: usize, numbers: &mut Numbers, out: &mut Vec<u8>) {
    let mut states = [1u32 << 16; 32];
    let mut words = Vec::new();
    let lane_steps = rows.div_ceil(32) * PERIOD;
    let has_sample = |step: usize, lane: usize| {
        let Some(own) = step.checked_sub(3 * lane).filter(|own| *own < lane_steps) else { return false };
        own / PERIOD * 32 + lane < rows && (2..columns + 2).contains(&(own % PERIOD))
    };
    for step in (0..lane_steps + 93).rev() {
        for group in [16..32, 0..16] {
            let lanes: Vec<usize> = group.rev().filter(|lane| has_sample(step, *lane)).collect();
            // Small differences are the most.
            let tokens: Vec<u32> = lanes.iter().map(|_| numbers.next() % [3, 20, 64][numbers.below(3)]).collect();
            for (lane, token) in lanes.iter().zip(&tokens) {
                let open = (token / 4).saturating_sub(2) * u32::from(*token > 15);
                if open > 0 {
                    if states[*lane] >> (32 - open) > 0 {
                        words.push(states[*lane] as u16);
                        states[*lane] >>= 16;
                    }
                    states[*lane] = states[*lane] << open | numbers.next() & ((1 << open) - 1);
                }
            }
            for (lane, token) in lanes.iter().zip(&tokens) {
                if states[*lane] >> 26 > 0 {
                    words.push(states[*lane] as u16);
                    states[*lane] >>= 16;
                }
                states[*lane] = ((states[*lane] / 16) << 10) | (states[*lane] % 16 + 16 * token);
            }
        }
    }
    out.extend(states.iter().flat_map(|state| state.to_le_bytes()));
    put(words.len() as u32, out);
    out.extend(words.iter().rev().flat_map(|word| word.to_le_bytes()));
}
