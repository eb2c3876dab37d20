//! One file per API: a decoded request in, a response out.

pub(crate) mod fetch;
pub(crate) mod produce;
