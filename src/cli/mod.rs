//! (cli: being built)
