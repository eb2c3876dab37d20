//! Removes topics.

use crate::{
    model::TopicId,
    wire::{ErrorCode, Str},
};

wire_structs! {
    /// Topics to remove.
    struct DeleteTopicsRequest {
        /// By name or by id.
        topics: Vec<DeleteTopicState> [6..],
        /// By name.
        topic_names: Vec<Str> [..=5],
        /// How long to wait until they are removed.
        timeout_ms: i32 [1..],
    }

    /// A topic to remove.
    struct DeleteTopicState {
        /// Its name; null: by id.
        name: Option<Str> [6..; null 6..],
        /// Its id; nil: by name.
        topic_id: TopicId [6..],
    }

    /// What became of the topics.
    struct DeleteTopicsResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [1..],
        /// By topic.
        responses: Vec<DeletableTopicResult> [1..],
    }

    /// What became of one topic.
    struct DeletableTopicResult {
        /// Its name; null only if it was given by an id that is unknown.
        name: Option<Str> [1..; null 6..],
        /// Its id.
        topic_id: TopicId [6..],
        /// Why it was not removed.
        error_code: ErrorCode [1..],
        /// The same, for a person.
        error_message: Option<Str> [5..; null 5..],
    }
}

wire_api!(DeleteTopics: DeleteTopicsRequest -> DeleteTopicsResponse);
