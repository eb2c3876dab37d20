//! (chaos: being built)
