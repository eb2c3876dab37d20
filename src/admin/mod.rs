//! (admin: being built)
