//! What the codec promises, against the oracle and against hostile bytes.

mod oracle;
pub(crate) mod sample;
