//! Numbers of variable length: seven bits per byte, least first, signs folded in by zigzag, as
//! Protocol Buffers write them.

/// The longest that 32 bits become.
pub(super) const MAX_VARINT_LEN: usize = 5;
/// The longest that 64 bits become.
pub(super) const MAX_VARLONG_LEN: usize = 10;

pub(super) const fn unzigzag32(folded: u32) -> i32 {
    (folded >> 1) as i32 ^ -((folded & 1) as i32)
}

pub(super) const fn unzigzag64(folded: u64) -> i64 {
    (folded >> 1) as i64 ^ -((folded & 1) as i64)
}

const fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Bytes that `value` takes. A 32-bit value takes the same number when widened.
pub(super) const fn len(value: i64) -> usize {
    let bits = 64 - (zigzag64(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Writes `value` at `at` and returns where it ends. `out` must have [`MAX_VARLONG_LEN`] bytes left there.
#[inline]
pub(super) fn write(out: &mut [u8], mut at: usize, value: i64) -> usize {
    let mut folded = zigzag64(value);
    while folded >= 0x80 {
        out[at] = folded as u8 | 0x80;
        folded >>= 7;
        at += 1;
    }
    out[at] = folded as u8;
    at + 1
}
