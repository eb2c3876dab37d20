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
#[inline]
pub(super) const fn len(value: i64) -> usize {
    let bits = 64 - (zigzag64(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends `value`. One and two bytes, nearly all there are, are one store each.
#[inline]
pub(super) fn write(out: &mut Vec<u8>, value: i64) {
    let folded = zigzag64(value);
    if folded < 1 << 7 {
        out.push(folded as u8);
    } else if folded < 1 << 14 {
        out.extend_from_slice(&[folded as u8 | 0x80, (folded >> 7) as u8]);
    } else {
        write_long(out, folded);
    }
}

#[inline(never)]
fn write_long(out: &mut Vec<u8>, mut folded: u64) {
    while folded >= 0x80 {
        out.push(folded as u8 | 0x80);
        folded >>= 7;
    }
    out.push(folded as u8);
}
