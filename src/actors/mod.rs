//! (actors: being built)
