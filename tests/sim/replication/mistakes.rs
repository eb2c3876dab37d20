//! Mistakes that are made on purpose, to see that they are found. Each is made by what the cores are told or by what is
//! done of what they say, as a careless actor or controller could do.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    /// S1: as soon as the minimum holds a record, all are said to hold it.
    AcknowledgesAtMinimum,
    /// S2: a proposal is forgotten as soon as it is on its way.
    ForgetsProposed,
    /// S2: an image from before the epoch counts as one of the epoch.
    TrustsOldImage,
    /// S3: the epoch's start is not asked for.
    JoinsBelowEpochStart,
    /// S4: what a follower has appended is said to be flushed.
    CountsAppended,
    /// S4: a follower that comes back has what it had before it was gone.
    KeepsPosition,
    /// S5: the watermark that consumers see goes back to a new follower's end.
    WatermarkGoesBack,
    /// S6: a replica that opens its log again goes on under its epoch.
    ReusesEpoch,
    /// S8: a flush counts for whatever generation there is when it ends.
    ForgetsGeneration,
    /// S10: whoever leaves the set below the minimum is electable, and the watermark goes on.
    AdvancesBelowMinimum,
    /// S11: what the topic's config says holds at once for what was acknowledged before.
    OnDiskByConfig,
    /// KIP-101: the leader looks at a follower's end alone.
    IgnoresEpochs,
}
