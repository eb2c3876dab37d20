//! (client: being built)
