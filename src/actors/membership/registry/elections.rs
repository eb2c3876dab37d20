//! What elections may have cost, said once by the controller that decided them.

use crate::{
    actors::membership::core::{CommandAnswer, Elections},
    metrics::Metrics,
};

/// Says and counts what was elected although somebody may have had more.
pub(super) fn note(metrics: &Metrics, answer: &CommandAnswer) {
    let Some(Elections { unclean, recovered, .. }) = answer.elections() else { return };
    for partition in unclean {
        metrics.unclean_elections.inc();
        tracing::error!(%partition, "an unclean leader was elected: acknowledged records may be lost");
    }
    for partition in recovered {
        metrics.recovered_leaders.inc();
        tracing::error!(
            %partition,
            "all replicas were killed and may have lost the end of their logs: the one with most leads, and acknowledged records \
             may be lost if power failed too"
        );
    }
}
