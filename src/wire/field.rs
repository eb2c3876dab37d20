//! How each kind of field is read and written, in the classic and in the flexible layout (KIP-482).

use bytes::Bytes;
use uuid::Uuid;

use super::{DecodeError, EncodeError, ErrorCode, Layout, Reader, Str, Writer};
use crate::model::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence,
    TimestampMs, TopicId,
};

/// Something that a message is made of.
pub trait Field: Sized {
    /// Reads it.
    fn read(reader: &mut Reader, layout: Layout) -> Result<Self, DecodeError>;

    /// Writes it.
    fn write(&self, writer: &mut Writer<'_>, layout: Layout) -> Result<(), EncodeError>;

    /// Whether it is null, which only some versions allow.
    fn is_null(&self) -> bool {
        false
    }
}

/// A field that has a form for null.
pub trait Nullable: Sized {
    /// Reads it, or null.
    fn read_nullable(reader: &mut Reader, layout: Layout) -> Result<Option<Self>, DecodeError>;

    /// Writes it, or null.
    fn write_nullable(
        value: Option<&Self>,
        writer: &mut Writer<'_>,
        layout: Layout,
    ) -> Result<(), EncodeError>;
}

impl<T: Nullable> Field for Option<T> {
    fn read(reader: &mut Reader, layout: Layout) -> Result<Self, DecodeError> {
        T::read_nullable(reader, layout)
    }

    fn write(&self, writer: &mut Writer<'_>, layout: Layout) -> Result<(), EncodeError> {
        T::write_nullable(self.as_ref(), writer, layout)
    }

    fn is_null(&self) -> bool {
        self.is_none()
    }
}

macro_rules! integer_field {
    ($($ty:ty),*) => {$(
        impl Field for $ty {
            #[inline]
            fn read(reader: &mut Reader, _: Layout) -> Result<Self, DecodeError> {
                reader.fixed().map(<$ty>::from_be_bytes)
            }

            #[inline]
            fn write(&self, writer: &mut Writer<'_>, _: Layout) -> Result<(), EncodeError> {
                writer.put(&self.to_be_bytes());
                Ok(())
            }
        }
    )*};
}

integer_field!(i8, i16, u16, i32, i64);

macro_rules! model_field {
    ($($ty:ident($int:ty)),*) => {$(
        impl Field for $ty {
            #[inline]
            fn read(reader: &mut Reader, layout: Layout) -> Result<Self, DecodeError> {
                <$int>::read(reader, layout).map(Self::new)
            }

            #[inline]
            fn write(&self, writer: &mut Writer<'_>, layout: Layout) -> Result<(), EncodeError> {
                self.get().write(writer, layout)
            }
        }
    )*};
}

model_field!(
    BrokerEpoch(i64),
    LeaderEpoch(i32),
    NodeId(i32),
    Offset(i64),
    PartitionIndex(i32),
    ProducerEpoch(i16),
    ProducerId(i64),
    Sequence(i32),
    TimestampMs(i64)
);

impl Field for TopicId {
    fn read(reader: &mut Reader, _: Layout) -> Result<Self, DecodeError> {
        reader.fixed().map(Self::from_bytes)
    }

    fn write(&self, writer: &mut Writer<'_>, _: Layout) -> Result<(), EncodeError> {
        writer.put(&self.to_bytes());
        Ok(())
    }
}

impl Field for Uuid {
    fn read(reader: &mut Reader, _: Layout) -> Result<Self, DecodeError> {
        reader.fixed().map(Self::from_bytes)
    }

    fn write(&self, writer: &mut Writer<'_>, _: Layout) -> Result<(), EncodeError> {
        writer.put(self.as_bytes());
        Ok(())
    }
}

impl Field for bool {
    fn read(reader: &mut Reader, _: Layout) -> Result<Self, DecodeError> {
        reader.u8().map(|byte| byte != 0)
    }

    fn write(&self, writer: &mut Writer<'_>, _: Layout) -> Result<(), EncodeError> {
        writer.put(&[u8::from(*self)]);
        Ok(())
    }
}

impl Field for ErrorCode {
    fn read(reader: &mut Reader, _: Layout) -> Result<Self, DecodeError> {
        reader.i16().map(Self::from_code)
    }

    fn write(&self, writer: &mut Writer<'_>, layout: Layout) -> Result<(), EncodeError> {
        self.code().write(writer, layout)
    }
}

impl Nullable for Str {
    fn read_nullable(reader: &mut Reader, layout: Layout) -> Result<Option<Self>, DecodeError> {
        let Some(len) = reader.string_len(layout)? else { return Ok(None) };
        Self::from_wire(reader.take(len)?).map(Some)
    }

    fn write_nullable(
        value: Option<&Self>,
        writer: &mut Writer<'_>,
        layout: Layout,
    ) -> Result<(), EncodeError> {
        writer.put_string_len(value.map(|text| text.as_bytes().len()), layout)?;
        if let Some(text) = value {
            writer.put(text.as_bytes());
        }
        Ok(())
    }
}

impl Nullable for Bytes {
    fn read_nullable(reader: &mut Reader, layout: Layout) -> Result<Option<Self>, DecodeError> {
        let Some(len) = reader.bytes_len(layout)? else { return Ok(None) };
        reader.take(len).map(Some)
    }

    fn write_nullable(
        value: Option<&Self>,
        writer: &mut Writer<'_>,
        layout: Layout,
    ) -> Result<(), EncodeError> {
        writer.put_bytes_len(value.map(Bytes::len), layout)?;
        if let Some(bytes) = value {
            writer.put_shared(bytes);
        }
        Ok(())
    }
}

impl<T: Field> Nullable for Vec<T> {
    fn read_nullable(reader: &mut Reader, layout: Layout) -> Result<Option<Self>, DecodeError> {
        let Some((count, reserve)) = reader.array_len::<T>(layout)? else { return Ok(None) };
        let mut items = Self::with_capacity(reserve);
        for _ in 0..count {
            items.push(T::read(reader, layout)?);
        }
        Ok(Some(items))
    }

    fn write_nullable(
        value: Option<&Self>,
        writer: &mut Writer<'_>,
        layout: Layout,
    ) -> Result<(), EncodeError> {
        writer.put_bytes_len(value.map(Vec::len), layout)?;
        value.into_iter().flatten().try_for_each(|item| item.write(writer, layout))
    }
}

macro_rules! never_null {
    ($([$($generic:tt)*] $ty:ty),*) => {$(
        impl $($generic)* Field for $ty {
            fn read(reader: &mut Reader, layout: Layout) -> Result<Self, DecodeError> {
                Self::read_nullable(reader, layout)?.ok_or(DecodeError::Null)
            }

            fn write(&self, writer: &mut Writer<'_>, layout: Layout) -> Result<(), EncodeError> {
                Self::write_nullable(Some(self), writer, layout)
            }
        }
    )*};
}

never_null!([] Str, [] Bytes, [<T: Field>] Vec<T>);
