//! (sys: being built)
