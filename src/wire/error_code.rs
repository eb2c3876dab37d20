//! Kafka's error codes: what a refusal looks like to a client.
//!
//! One table holds number, whether a client may try the same again, and a text in our own words.
//! Numbers and retriability are those of Kafka's `Errors`.

use std::fmt;

macro_rules! error_codes {
    ($($(#[$attr:meta])? $name:ident = $code:literal, $retry:ident, $text:literal;)*) => {
        /// An error of the protocol, or [`ErrorCode::None`].
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(#[doc = $text] $(#[$attr])? $name = $code,)*
        }

        impl ErrorCode {
            /// Every code that this table knows.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The error of this number; one that is not in the table is
            /// [`ErrorCode::UnknownServerError`], as Kafka's own clients take it.
            pub const fn from_code(code: i16) -> Self {
                match code {
                    $($code => Self::$name,)*
                    _ => Self::UnknownServerError,
                }
            }

            /// Whether the same request may succeed later.
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(Self::$name => retriable!($retry),)*
                }
            }

            /// What happened, for a person.
            pub const fn message(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

macro_rules! retriable {
    (retriable) => {
        true
    };
    (final) => {
        false
    };
}

error_codes! {
    UnknownServerError = -1, final, "the server met an error it has no code for";
    #[default]
    None = 0, final, "no error";
    OffsetOutOfRange = 1, final, "the offset is not within the log";
    CorruptMessage = 2, retriable, "the records fail their checksum, length or form";
    UnknownTopicOrPartition = 3, retriable, "this node knows no such topic or partition";
    InvalidFetchSize = 4, final, "the fetch size is not valid";
    LeaderNotAvailable = 5, retriable, "the partition has no leader for now";
    NotLeaderOrFollower = 6, retriable, "this node is not the partition's leader, or not a replica";
    RequestTimedOut = 7, retriable, "the request took longer than it allowed";
    BrokerNotAvailable = 8, final, "the broker is not available";
    ReplicaNotAvailable = 9, retriable, "the replica is not available";
    MessageTooLarge = 10, final, "the batch is larger than the topic allows";
    StaleControllerEpoch = 11, final, "the controller has been replaced";
    OffsetMetadataTooLarge = 12, final, "the metadata of a committed offset is too long";
    NetworkException = 13, retriable, "the connection broke before the answer";
    CoordinatorLoadInProgress = 14, retriable, "the coordinator is still loading";
    CoordinatorNotAvailable = 15, retriable, "there is no coordinator for now";
    NotCoordinator = 16, retriable, "this node is not the coordinator";
    InvalidTopic = 17, final, "the topic name is not valid";
    RecordListTooLarge = 18, final, "the batch is larger than a segment";
    NotEnoughReplicas = 19, retriable, "fewer replicas are in sync than the topic demands";
    NotEnoughReplicasAfterAppend = 20, retriable, "written, but fewer replicas are in sync than the topic demands";
    InvalidRequiredAcks = 21, final, "acks must be -1, 0 or 1";
    IllegalGeneration = 22, final, "the group has moved on to another generation";
    InconsistentGroupProtocol = 23, final, "the member shares no protocol with its group";
    InvalidGroupId = 24, final, "the group id is not valid";
    UnknownMemberId = 25, final, "the group knows no such member";
    InvalidSessionTimeout = 26, final, "the session time-out is outside the allowed range";
    RebalanceInProgress = 27, final, "the group is rebalancing";
    InvalidCommitOffsetSize = 28, final, "the commit is too large";
    TopicAuthorizationFailed = 29, final, "not allowed to use this topic";
    GroupAuthorizationFailed = 30, final, "not allowed to use this group";
    ClusterAuthorizationFailed = 31, final, "not allowed to do this to the cluster";
    InvalidTimestamp = 32, final, "a record's timestamp is out of the allowed range";
    UnsupportedSaslMechanism = 33, final, "the SASL mechanism is not offered";
    IllegalSaslState = 34, final, "the request does not fit the state of the SASL exchange";
    UnsupportedVersion = 35, final, "the version of the request is not served";
    TopicAlreadyExists = 36, final, "there is a topic of that name already";
    InvalidPartitions = 37, final, "the number of partitions is not valid";
    InvalidReplicationFactor = 38, final, "the replication factor is not valid or more than there are nodes";
    InvalidReplicaAssignment = 39, final, "the replica assignment is not valid";
    InvalidConfig = 40, final, "a config is unknown or its value not valid";
    NotController = 41, retriable, "this node is not the controller";
    InvalidRequest = 42, final, "the request contradicts itself";
    UnsupportedForMessageFormat = 43, final, "the record format does not support this";
    PolicyViolation = 44, final, "a policy forbids the request";
    OutOfOrderSequenceNumber = 45, final, "the producer's sequence has a gap";
    DuplicateSequenceNumber = 46, final, "the producer's batch is a duplicate";
    InvalidProducerEpoch = 47, final, "the producer's epoch is an old one";
    InvalidTxnState = 48, final, "the transaction is not in a state for this";
    InvalidProducerIdMapping = 49, final, "the producer id is not that of the transactional id";
    InvalidTransactionTimeout = 50, final, "the transaction time-out is out of the allowed range";
    ConcurrentTransactions = 51, final, "another transaction of this producer is still being ended";
    TransactionCoordinatorFenced = 52, final, "the transaction coordinator has been replaced";
    TransactionalIdAuthorizationFailed = 53, final, "not allowed to use this transactional id";
    SecurityDisabled = 54, final, "security features are off";
    OperationNotAttempted = 55, final, "not attempted, because another part of the request failed";
    KafkaStorageError = 56, retriable, "the disk under the partition failed or is full";
    LogDirNotFound = 57, final, "there is no such log folder";
    SaslAuthenticationFailed = 58, final, "authentication failed";
    UnknownProducerId = 59, final, "no state is kept of this producer";
    ReassignmentInProgress = 60, final, "the partition is being moved already";
    DelegationTokenAuthDisabled = 61, final, "delegation tokens are off";
    DelegationTokenNotFound = 62, final, "there is no such delegation token";
    DelegationTokenOwnerMismatch = 63, final, "the delegation token belongs to another";
    DelegationTokenRequestNotAllowed = 64, final, "delegation tokens need a secure connection";
    DelegationTokenAuthorizationFailed = 65, final, "not allowed to use delegation tokens";
    DelegationTokenExpired = 66, final, "the delegation token has expired";
    InvalidPrincipalType = 67, final, "the kind of principal is not supported";
    NonEmptyGroup = 68, final, "the group still has members";
    GroupIdNotFound = 69, final, "there is no such group";
    FetchSessionIdNotFound = 70, retriable, "there is no such fetch session";
    InvalidFetchSessionEpoch = 71, retriable, "the fetch session is at another epoch";
    ListenerNotFound = 72, retriable, "the leader has no listener of that name";
    TopicDeletionDisabled = 73, final, "deletion of topics is off";
    FencedLeaderEpoch = 74, retriable, "the client's leader epoch is an old one";
    UnknownLeaderEpoch = 75, retriable, "the client's leader epoch is newer than this node's";
    UnsupportedCompressionType = 76, final, "the codec is not supported";
    StaleBrokerEpoch = 77, final, "the broker's registration has been replaced";
    OffsetNotAvailable = 78, retriable, "the leader does not know its high watermark yet";
    MemberIdRequired = 79, final, "join again with the member id given here";
    PreferredLeaderNotAvailable = 80, retriable, "the preferred leader is not available";
    GroupMaxSizeReached = 81, final, "the group is full";
    FencedInstanceId = 82, final, "another member took over this static id";
    EligibleLeadersNotAvailable = 83, retriable, "no eligible leader is available";
    ElectionNotNeeded = 84, retriable, "the partition has that leader already";
    NoReassignmentInProgress = 85, final, "the partition is not being moved";
    GroupSubscribedToTopic = 86, final, "the group still consumes this topic";
    InvalidRecord = 87, final, "a record breaks a rule of its topic";
    UnstableOffsetCommit = 88, retriable, "offsets of an open transaction are pending";
    ThrottlingQuotaExceeded = 89, retriable, "the quota is used up";
    ProducerFenced = 90, final, "a newer producer with this transactional id is active";
    ResourceNotFound = 91, final, "there is no such resource";
    DuplicateResource = 92, final, "the resource exists already";
    UnacceptableCredential = 93, final, "the credential does not meet the requirements";
    InconsistentVoterSet = 94, final, "the voters are not the expected ones";
    InvalidUpdateVersion = 95, final, "the update version is not valid";
    FeatureUpdateFailed = 96, final, "the feature could not be updated";
    PrincipalDeserializationFailure = 97, final, "the forwarded principal could not be read";
    SnapshotNotFound = 98, final, "there is no such snapshot";
    PositionOutOfRange = 99, final, "the position is not within the snapshot";
    UnknownTopicId = 100, retriable, "this node knows no topic of that id";
    DuplicateBrokerRegistration = 101, final, "a broker of that id is registered already";
    BrokerIdNotRegistered = 102, final, "no broker of that id is registered";
    InconsistentTopicId = 103, retriable, "the topic's id is another one";
    InconsistentClusterId = 104, final, "the cluster's id is another one";
    TransactionalIdNotFound = 105, final, "there is no such transactional id";
    FetchSessionTopicIdError = 106, retriable, "the fetch session mixes topic names and ids";
    IneligibleReplica = 107, final, "the replica may not join the in-sync set";
    NewLeaderElected = 108, final, "the partition has a new leader";
    OffsetMovedToTieredStorage = 109, final, "the offset has moved to tiered storage";
    FencedMemberEpoch = 110, final, "the member's epoch is an old one";
    UnreleasedInstanceId = 111, final, "the static id is still in use";
    UnsupportedAssignor = 112, final, "the assignor is not supported";
    StaleMemberEpoch = 113, final, "the member's epoch has moved on";
    MismatchedEndpointType = 114, final, "the request was sent to the wrong kind of endpoint";
    UnsupportedEndpointType = 115, final, "the kind of endpoint is not supported";
    UnknownControllerId = 116, final, "there is no such controller";
    UnknownSubscriptionId = 117, final, "there is no such telemetry subscription";
    TelemetryTooLarge = 118, final, "the telemetry is too large";
    InvalidRegistration = 119, final, "the registration is not valid";
    TransactionAbortable = 120, final, "the transaction must be aborted";
    InvalidRecordState = 121, final, "the record is not in a state for this";
    ShareSessionNotFound = 122, retriable, "there is no such share session";
    InvalidShareSessionEpoch = 123, retriable, "the share session is at another epoch";
    FencedStateEpoch = 124, final, "the share state's epoch is an old one";
    InvalidVoterKey = 125, final, "the voter's key is not valid";
    DuplicateVoter = 126, final, "the voter exists already";
    VoterNotFound = 127, final, "there is no such voter";
    InvalidRegularExpression = 128, final, "the regular expression is not valid";
    RebootstrapRequired = 129, final, "the client must start again from its bootstrap addresses";
    StreamsInvalidTopology = 130, final, "the streams topology is not valid";
    StreamsInvalidTopologyEpoch = 131, final, "the streams topology is of another epoch";
    StreamsTopologyFenced = 132, final, "the streams topology has been replaced";
    ShareSessionLimitReached = 133, retriable, "there are too many share sessions";
}

impl ErrorCode {
    /// The number as the protocol carries it.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Whether this stands for success.
    pub const fn is_none(self) -> bool {
        matches!(self, Self::None)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message(), self.code())
    }
}
