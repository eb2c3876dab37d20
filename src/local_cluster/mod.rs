//! (local_cluster: being built)
