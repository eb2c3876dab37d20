//! (metrics: being built)
