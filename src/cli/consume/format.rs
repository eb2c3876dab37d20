//! How a record is printed.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::{
    model::{Offset, PartitionIndex, TimestampMs, TopicName},
    record::{Record, RecordRef},
};

/// A record to be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Printed<'a> {
    offset: Offset,
    timestamp: TimestampMs,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

impl<'a> From<&RecordRef<'a>> for Printed<'a> {
    fn from(record: &RecordRef<'a>) -> Self {
        let RecordRef { offset, timestamp, key, value, headers } = record.clone();
        Self { offset, timestamp, key, value, headers: headers.collect() }
    }
}

impl<'a> From<&'a Record> for Printed<'a> {
    fn from(record: &'a Record) -> Self {
        let Record { offset, timestamp, key, value, headers } = record;
        let headers = headers.iter().map(|header| (header.name.as_ref(), header.value.as_deref()));
        let (offset, timestamp) = (*offset, *timestamp);
        Self { offset, timestamp, key: key.as_deref(), value: value.as_deref(), headers: headers.collect() }
    }
}

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    Value,
    Headers,
}

/// How every record is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// By a template.
    Text { pieces: Vec<Piece>, null: String },
    /// One JSON object a line.
    Json,
}

impl Format {
    /// Reads a template: `%t` topic, `%p` partition, `%o` offset, `%T` time in ms, `%k` key, `%s` value,
    /// `%h` headers, `%%` a percent sign; `\n`, `\t`, `\0` and `\\` as usual.
    pub(super) fn template(template: &str, null: &str) -> Result<Self, String> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut text = String::new();
        let mut characters = template.chars();
        while let Some(character) = characters.next() {
            match character {
                '\\' => text.push(escaped(characters.next())?),
                '%' => match characters.next() {
                    Some('%') => text.push('%'),
                    Some(letter) => {
                        if !text.is_empty() {
                            pieces.push(Piece::Text(std::mem::take(&mut text)));
                        }
                        pieces.push(field(letter)?);
                    }
                    None => return Err("the format ends with %".to_owned()),
                },
                other => text.push(other),
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Self::Text { pieces, null: null.to_owned() })
    }

    /// Prints one record.
    pub(super) fn print<'a>(
        &self,
        out: &mut impl Write,
        topic: &TopicName,
        partition: PartitionIndex,
        record: impl Into<Printed<'a>>,
    ) -> io::Result<()> {
        let record = record.into();
        match self {
            Self::Json => {
                serde_json::to_writer(&mut *out, &json(topic, partition, &record))?;
                writeln!(out)
            }
            Self::Text { pieces, null } => pieces.iter().try_for_each(|piece| match piece {
                Piece::Text(text) => out.write_all(text.as_bytes()),
                Piece::Topic => write!(out, "{topic}"),
                Piece::Partition => write!(out, "{partition}"),
                Piece::Offset => write!(out, "{}", record.offset),
                Piece::Timestamp => write!(out, "{}", record.timestamp),
                Piece::Key => out.write_all(record.key.unwrap_or(null.as_bytes())),
                Piece::Value => out.write_all(record.value.unwrap_or(null.as_bytes())),
                Piece::Headers => headers(out, &record, null),
            }),
        }
    }
}

fn escaped(letter: Option<char>) -> Result<char, String> {
    match letter {
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some('r') => Ok('\r'),
        Some('0') => Ok('\0'),
        Some('\\') => Ok('\\'),
        Some(other) => Err(format!("\\{other} means nothing; known are \\n \\t \\r \\0 \\\\")),
        None => Err("the format ends with \\".to_owned()),
    }
}

fn field(letter: char) -> Result<Piece, String> {
    Ok(match letter {
        't' => Piece::Topic,
        'p' => Piece::Partition,
        'o' => Piece::Offset,
        'T' => Piece::Timestamp,
        'k' => Piece::Key,
        's' => Piece::Value,
        'h' => Piece::Headers,
        other => return Err(format!("%{other} means nothing; known are %t %p %o %T %k %s %h %%")),
    })
}

fn headers(out: &mut impl Write, record: &Printed<'_>, null: &str) -> io::Result<()> {
    for (at, (name, value)) in record.headers.iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        out.write_all(name)?;
        out.write_all(b"=")?;
        out.write_all(value.unwrap_or(null.as_bytes()))?;
    }
    Ok(())
}

fn json(topic: &TopicName, partition: PartitionIndex, record: &Printed<'_>) -> Value {
    let header =
        |(name, value): &(&[u8], Option<&[u8]>)| json!({ "name": text(Some(*name)), "value": text(*value) });
    json!({
        "topic": topic.as_str(),
        "partition": partition.get(),
        "offset": record.offset.get(),
        "timestamp": record.timestamp.get(),
        "key": text(record.key),
        "value": text(record.value),
        "headers": record.headers.iter().map(header).collect::<Vec<_>>(),
    })
}

/// Text as a string; bytes that are none as `{"hex": "..."}`.
pub(in crate::cli) fn text(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else { return Value::Null };
    if let Ok(text) = str::from_utf8(bytes) {
        return Value::from(text);
    }
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    let hex = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect::<String>();
    Value::Object(Map::from_iter([("hex".to_owned(), Value::from(hex))]))
}

#[cfg(test)]
mod tests {
    use super::Format;
    use crate::{
        model::{PartitionIndex, TimestampMs, TopicName},
        record::{BatchBuilder, Compression, NewHeader, NewRecord, Producer, unpack},
    };

    fn printed(format: &Format) -> String {
        let headers = [NewHeader { name: "h", value: Some(b"x") }, NewHeader { name: "n", value: None }];
        let mut builder = BatchBuilder::new(1000);
        let record =
            NewRecord { timestamp: TimestampMs::new(7), key: None, value: Some(b"v\xff"), headers: &headers };
        assert!(builder.append(&record));
        let batch = builder.finish(Compression::None, None, Producer::NONE).unwrap();
        let batch = unpack(&batch, 1000).unwrap();
        let record = batch.iter().next().unwrap().unwrap();
        let mut out = Vec::new();
        let topic = TopicName::new("t").unwrap();
        format.print(&mut out, &topic, PartitionIndex::new(3), &record).unwrap();
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn a_template_prints_each_field_where_it_stands() {
        let format = Format::template("%t %p@%o %T\\t[%k] %h 100%%\\n", "null").unwrap();
        assert_eq!(printed(&format), "t 3@0 7\t[null] h=x,n=null 100%\n");
        assert!(Format::template("%x", "").is_err());
        assert!(Format::template("100%", "").is_err());
        assert!(Format::template("\\x", "").is_err());
    }

    #[test]
    fn json_tells_null_from_empty_and_bytes_from_text() {
        let value: serde_json::Value = serde_json::from_str(&printed(&Format::Json)).unwrap();
        assert_eq!(value["key"], serde_json::Value::Null);
        assert_eq!(value["value"]["hex"], "76ff");
        assert_eq!(value["headers"][0]["value"], "x");
    }
}
