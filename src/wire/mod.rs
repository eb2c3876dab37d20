//! (wire: being built)
