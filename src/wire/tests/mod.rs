//! What the codec promises, against the oracle and against hostile bytes.

mod frame;
mod hostile;
mod oracle;
mod tables;
