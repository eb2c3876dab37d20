//! The few fields of the Kafka protocol that the ideal server reads and writes: big-endian integers
//! and strings with a length of two bytes, as in all versions before the flexible ones.

/// A request that ends too early or carries an impossible length; the connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("malformed request")]
pub(super) struct Malformed;

/// Reads a request front to back.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Where the next field starts.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let end = self.position.checked_add(len).ok_or(Malformed)?;
        let field = self.bytes.get(self.position..end).ok_or(Malformed)?;
        self.position = end;
        Ok(field)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    pub(super) fn i16(&mut self) -> Result<i16, Malformed> {
        self.fixed().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        self.fixed().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        self.fixed().map(i64::from_be_bytes)
    }

    /// A length of four bytes; a null array or field counts as empty.
    pub(super) fn len(&mut self) -> Result<usize, Malformed> {
        Ok(usize::try_from(self.i32()?).unwrap_or(0))
    }

    /// A string; null reads as empty.
    pub(super) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.i16()?;
        self.take(usize::try_from(len).unwrap_or(0))
    }
}

/// Builds one response in a buffer that the connection keeps.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Starts a response: the size is filled in by [`Writer::finish`].
    pub(super) fn begin(out: &'a mut Vec<u8>, correlation_id: i32) -> Self {
        out.clear();
        let mut writer = Self { out };
        writer.i32(0).i32(correlation_id);
        writer
    }

    pub(super) fn i8(&mut self, value: i8) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn i16(&mut self, value: i16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn i32(&mut self, value: i32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn string(&mut self, value: &[u8]) -> &mut Self {
        self.i16(value.len() as i16).bytes(value)
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.out.extend_from_slice(value);
        self
    }

    /// Leaves room for a length of four bytes; returns where.
    pub(super) fn reserve_len(&mut self) -> usize {
        self.i32(0);
        self.out.len()
    }

    /// Fills a reserved length with the number of bytes written since.
    pub(super) fn fill_len(&mut self, reserved: usize) {
        let len = (self.out.len() - reserved) as i32;
        self.out[reserved - 4..reserved].copy_from_slice(&len.to_be_bytes());
    }

    /// The buffer itself, for whole batches.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        self.out
    }

    pub(super) fn finish(mut self) {
        self.fill_len(4);
    }
}
