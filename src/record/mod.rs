//! (record: being built)
