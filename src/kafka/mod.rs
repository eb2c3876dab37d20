//! (kafka: being built)
