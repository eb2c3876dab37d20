/// Choices read out of the fuzzer's bytes; zeros once they are used up, so that any bytes are an input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn u8(&mut self) -> u8 {
        let [byte] = self.fixed();
        byte
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.fixed())
    }

    /// A number below `bound`, 0 if there is none.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.u16()).checked_rem(bound).unwrap_or_default()
    }

    /// Up to `len` bytes.
    pub(super) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    pub(super) const fn rest(self) -> &'a [u8] {
        self.0
    }

    fn fixed<const N: usize>(&mut self) -> [u8; N] {
        let mut fixed = [0; N];
        let bytes = self.bytes(N);
        if let Some(place) = fixed.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
        }
        fixed
    }
}
