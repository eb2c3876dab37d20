//! The declarative schema: a message is written down once, as Kafka's own definitions do it.
//!
//! ```text
//! field: Type [versions ; null versions ; tag N] = default,
//! ```
//!
//! `versions` says which versions carry the field, `null` in which of them it may be null (its type
//! is then an `Option`), `tag` that it is a tagged field of the flexible layout (KIP-482), and the
//! default is what a reader gets from a version without it. A tagged field at its default is never
//! sent: librdkafka before 2.2 cannot skip one. A field that a version lacks is left out in silence.

/// Code for a field that has no tag.
macro_rules! untagged {
    (() $($code:tt)*) => { $($code)* };
    (($tag:literal) $($code:tt)*) => {};
}

/// Code for a field that has a tag, which it sees as `TAG`.
macro_rules! tagged {
    (() $($code:tt)*) => {};
    (($tag:literal) $($code:tt)*) => {{
        const TAG: u32 = $tag;
        $($code)*
    }};
}

/// What a version without the field stands for.
macro_rules! default_of {
    ($ty:ty;) => {
        <$ty as Default>::default()
    };
    ($ty:ty; $default:expr) => {
        $default
    };
}

/// Structures of a message.
macro_rules! wire_structs {
    ($(
        $(#[$doc:meta])*
        struct $name:ident {$(
            $(#[$field_doc:meta])*
            $field:ident : $ty:ty [$versions:expr $(; null $null:expr)? $(; tag $tag:literal)?]
                $(= $default:expr)?,
        )*}
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {$(
            $(#[$field_doc])*
            pub $field: $ty,
        )*}

        impl Default for $name {
            fn default() -> Self {
                Self {$(
                    $field: $crate::wire::schema::default_of!($ty; $($default)?),
                )*}
            }
        }

        #[allow(unused_mut, unused_variables, reason = "structures without fields or without tags")]
        impl $crate::wire::Field for $name {
            fn read(
                reader: &mut $crate::wire::Reader,
                layout: $crate::wire::Layout,
            ) -> Result<Self, $crate::wire::DecodeError> {
                let mut this = Self::default();
                $($crate::wire::schema::untagged! { ($($tag)?)
                    if layout.within(&($versions)) {
                        this.$field = $crate::wire::Field::read(reader, layout)?;
                        let nullable = false $(|| layout.within(&($null)))?;
                        if !nullable && $crate::wire::Field::is_null(&this.$field) {
                            return Err($crate::wire::DecodeError::Null);
                        }
                    }
                })*
                if layout.flexible {
                    reader.tags(|tag, body| {
                        $($crate::wire::schema::tagged! { ($($tag)?)
                            if tag == TAG && layout.within(&($versions)) {
                                this.$field = $crate::wire::Field::read(body, layout)?;
                            }
                        })*
                        Ok(())
                    })?;
                }
                Ok(this)
            }

            fn write(
                &self,
                writer: &mut $crate::wire::Writer<'_>,
                layout: $crate::wire::Layout,
            ) -> Result<(), $crate::wire::EncodeError> {
                $($crate::wire::schema::untagged! { ($($tag)?)
                    if layout.within(&($versions)) {
                        let nullable = false $(|| layout.within(&($null)))?;
                        if !nullable && $crate::wire::Field::is_null(&self.$field) {
                            return Err($crate::wire::EncodeError::Null);
                        }
                        $crate::wire::Field::write(&self.$field, writer, layout)?;
                    }
                })*
                if layout.flexible {
                    let mut present = 0_u32;
                    $($crate::wire::schema::tagged! { ($($tag)?)
                        let _ = TAG;
                        if layout.within(&($versions)) && self.$field != $crate::wire::schema::default_of!($ty; $($default)?) {
                            present += 1;
                        }
                    })*
                    writer.put_uvarint(present);
                    $($crate::wire::schema::tagged! { ($($tag)?)
                        if layout.within(&($versions)) && self.$field != $crate::wire::schema::default_of!($ty; $($default)?) {
                            writer.put_tagged(TAG, |body| {
                                $crate::wire::Field::write(&self.$field, body, layout)
                            })?;
                        }
                    })*
                }
                Ok(())
            }
        }

        #[cfg(any(test, feature = "fuzzing"))]
        #[allow(unused_mut, unused_variables, reason = "structures without fields")]
        impl $crate::wire::sample::Sample for $name {
            fn sample(rng: &mut fastrand::Rng, layout: $crate::wire::Layout) -> Self {
                let mut this = Self::default();
                $(
                    if layout.within(&($versions)) {
                        let nullable = false $(|| layout.within(&($null)))?;
                        this.$field = $crate::wire::sample::pick(rng, layout, nullable);
                    }
                )*
                this
            }
        }
    )*};
}

/// Structures that may be null: a byte in front says so, -1 for null, 1 for one that follows.
macro_rules! nullable_structs {
    ($($name:ident),*) => {$(
        impl $crate::wire::Nullable for $name {
            fn read_nullable(
                reader: &mut $crate::wire::Reader,
                layout: $crate::wire::Layout,
            ) -> Result<Option<Self>, $crate::wire::DecodeError> {
                if <i8 as $crate::wire::Field>::read(reader, layout)? < 0 {
                    return Ok(None);
                }
                <Self as $crate::wire::Field>::read(reader, layout).map(Some)
            }

            fn write_nullable(
                value: Option<&Self>,
                writer: &mut $crate::wire::Writer<'_>,
                layout: $crate::wire::Layout,
            ) -> Result<(), $crate::wire::EncodeError> {
                let Some(value) = value else { return $crate::wire::Field::write(&-1_i8, writer, layout) };
                $crate::wire::Field::write(&1_i8, writer, layout)?;
                $crate::wire::Field::write(value, writer, layout)
            }
        }
    )*};
}

/// Joins a request and its response to their API.
macro_rules! wire_api {
    ($api:ident: $request:ident -> $response:ident) => {
        impl $crate::wire::Message for $request {
            const API: $crate::wire::ApiKey = $crate::wire::ApiKey::$api;
        }

        impl $crate::wire::Message for $response {
            const API: $crate::wire::ApiKey = $crate::wire::ApiKey::$api;
        }

        impl $crate::wire::Request for $request {
            type Response = $response;
        }
    };
}

pub(crate) use {default_of, tagged, untagged};
#[cfg(feature = "server")]
pub(crate) use {nullable_structs, wire_structs};
