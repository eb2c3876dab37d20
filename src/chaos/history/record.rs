use std::{fmt, marker::PhantomData, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::model::{PartitionIndex, TopicName, TopicNameError};

/// Why a text does not name a record, a partition, a producer or a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordIdError {
    /// Not the number of parts, split at `/`, that the name has.
    #[error("{text:?} is not {form}")]
    Form {
        /// What was read.
        text: String,
        /// What a right one looks like.
        form: &'static str,
    },
    /// The topic's part breaks Kafka's rules.
    #[error(transparent)]
    Topic(#[from] TopicNameError),
    /// A number is none, or out of its range.
    #[error("{0:?} is not a number in its range")]
    Number(String),
    /// A producer's name is empty, too long, or has a character that a record's name cannot carry.
    #[error("producer name {0:?} is not 1 to 64 of ASCII letters, digits, '.', '_' and '-'")]
    Producer(String),
}

/// The name of a producer, as the workload chose it: 1 to 64 of `[a-zA-Z0-9._-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerName(Arc<str>);

impl ProducerName {
    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, RecordIdError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            return Err(RecordIdError::Producer(name.to_owned()));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProducerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ProducerName {
    type Err = RecordIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

/// A partition by its topic's name, as clients see it. Written `topic/partition`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition within it.
    pub index: PartitionIndex,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.index)
    }
}

impl FromStr for TopicPartition {
    type Err = RecordIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let [topic, index] = parts(text, "topic/partition")?;
        Ok(Self { topic: TopicName::new(topic)?, index: PartitionIndex::new(number(index)?) })
    }
}

/// A record for its whole life, whatever offset it is given. Written
/// `topic/partition/producer/sequence`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// Where it was sent.
    pub partition: TopicPartition,
    /// Who sent it.
    pub producer: ProducerName,
    /// The producer's own count of what it sent to that partition, from 0, one more for each.
    pub sequence: u32,
}

impl RecordId {
    /// A value that carries this name, a space, and then `payload`.
    pub fn in_value(&self, payload: &[u8]) -> Vec<u8> {
        let mut value = format!("{self} ").into_bytes();
        value.extend_from_slice(payload);
        value
    }

    /// The name in a value that [`RecordId::in_value`] made; `None` where there is none.
    pub fn of_value(value: &[u8]) -> Option<Self> {
        let end = value.iter().position(|byte| *byte == b' ')?;
        std::str::from_utf8(value.get(..end)?).ok()?.parse().ok()
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.partition, self.producer, self.sequence)
    }
}

impl FromStr for RecordId {
    type Err = RecordIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let [topic, index, producer, sequence] = parts(text, "topic/partition/producer/sequence")?;
        let partition =
            TopicPartition { topic: TopicName::new(topic)?, index: PartitionIndex::new(number(index)?) };
        Ok(Self { partition, producer: ProducerName::new(producer)?, sequence: number(sequence)? })
    }
}

fn parts<'a, const N: usize>(text: &'a str, form: &'static str) -> Result<[&'a str; N], RecordIdError> {
    let split: Vec<&str> = text.split('/').collect();
    split.try_into().map_err(|_| RecordIdError::Form { text: text.to_owned(), form })
}

fn number<N: FromStr>(text: &str) -> Result<N, RecordIdError> {
    text.parse().map_err(|_| RecordIdError::Number(text.to_owned()))
}

/// What a record holds, in 64 bits: FNV-1a over key, value and headers, each with its length, so
/// that neither a null and an empty one nor two neighbours can be taken for each other.
///
/// It guards against faults, not against an adversary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ContentDigest(u64);

impl ContentDigest {
    /// The digest of a record's content.
    pub fn of(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, Option<&[u8]>)]) -> Self {
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        hash.field(key);
        hash.field(value);
        for (name, content) in headers {
            hash.field(Some(name.as_bytes()));
            hash.field(*content);
        }
        Self(hash.0)
    }

    /// Takes a digest as [`ContentDigest::get`] gave it.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The 64 bits.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for ContentDigest {
    type Err = RecordIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        bits.map(Self)
            .ok_or_else(|| RecordIdError::Form { text: text.to_owned(), form: "16 hexadecimal digits" })
    }
}

struct Fnv(u64);

impl Fnv {
    fn field(&mut self, field: Option<&[u8]>) {
        let length = field.map_or(u64::MAX, |bytes| bytes.len() as u64);
        self.bytes(&length.to_le_bytes());
        self.bytes(field.unwrap_or_default());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Reads what is written as text without keeping a copy of the text.
struct FromText<T>(PhantomData<T>);

impl<T: FromStr<Err = RecordIdError>> de::Visitor<'_> for FromText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name as text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! written_as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(FromText(PhantomData))
            }
        }
    )*};
}

written_as_text!(ProducerName, TopicPartition, RecordId, ContentDigest);
