//! `DeleteTopics`: by name, and from version 6 on by id.

use tokio::time::Instant;

use crate::{
    actors::membership::{MembershipHandle, MetadataImage, TopicRef},
    kafka::{Broker, connection::Session},
    model::TopicId,
    wire::{
        ApiKey, ErrorCode, Str,
        api::delete_topics::{
            DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
        },
    },
};

use super::{at_once, once_each::once_each, readiness, refusals::Refused};

/// A topic to delete as the request names it, and whether that makes sense.
#[derive(Debug)]
struct Asked {
    name: Option<Str>,
    id: TopicId,
    which: Result<TopicRef, Refused>,
}

/// Deletes each topic on its own.
pub(crate) async fn handle(
    broker: &Broker,
    _session: &mut Session,
    request: DeleteTopicsRequest,
    version: i16,
) -> DeleteTopicsResponse {
    let deadline = readiness::deadline(request.timeout_ms);
    let (asked, which): (Vec<_>, Vec<_>) = asked(request, version, &broker.membership.image())
        .into_iter()
        .map(|Asked { name, id, which }| ((name, id), which))
        .unzip();
    let outcomes = at_once::each(which, |which| delete(broker.membership.clone(), which)).await;
    let mut responses = Vec::with_capacity(asked.len());
    for ((name, id), outcome) in asked.into_iter().zip(outcomes) {
        let outcome = outcome.unwrap_or_else(|| Err(ErrorCode::UnknownServerError.into()));
        responses.push(answer(broker, name, id, outcome, deadline).await);
    }
    DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }
}

async fn delete(membership: MembershipHandle, which: Result<TopicRef, Refused>) -> Result<TopicId, Refused> {
    Ok(membership.delete_topic(which?).await?)
}

async fn answer(
    broker: &Broker,
    name: Option<Str>,
    id: TopicId,
    outcome: Result<TopicId, Refused>,
    deadline: Instant,
) -> DeletableTopicResult {
    match outcome {
        Ok(topic_id) => {
            // It is deleted in any case; a moment later nobody finds it any more.
            readiness::until_gone(&broker.topics, topic_id, deadline).await;
            DeletableTopicResult { name, topic_id, ..DeletableTopicResult::default() }
        }
        Err(refused) => {
            broker.meters.refused(ApiKey::DeleteTopics, refused.code);
            DeletableTopicResult {
                name,
                topic_id: id,
                error_code: refused.code,
                error_message: Some(refused.into_text()),
            }
        }
    }
}

/// Every topic of the request once, in its order. One that is meant twice, by name or by id, is refused.
fn asked(request: DeleteTopicsRequest, version: i16, image: &MetadataImage) -> Vec<Asked> {
    let by_name = |name| DeleteTopicState { name: Some(name), topic_id: TopicId::default() };
    let states =
        if version >= 6 { request.topics } else { request.topic_names.into_iter().map(by_name).collect() };
    once_each(states.into_iter().enumerate(), |(at, state)| meant(state, image, *at))
        .into_iter()
        .map(|((_, state), once)| resolve(state, once, image))
        .collect()
}

/// What two entries have in common when they mean the same topic.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Meant {
    Known(TopicId),
    UnknownName(Str),
    UnknownId(TopicId),
    /// Both name and id, or neither: each such entry stands for itself.
    Nothing(usize),
}

fn meant(state: &DeleteTopicState, image: &MetadataImage, at: usize) -> Meant {
    match (&state.name, state.topic_id) {
        (Some(name), id) if id.is_nil() => image
            .topic_named(name)
            .map_or_else(|| Meant::UnknownName(name.clone()), |topic| Meant::Known(topic.id)),
        (None, id) if !id.is_nil() => image.topic(id).map_or(Meant::UnknownId(id), |_| Meant::Known(id)),
        (Some(_) | None, _) => Meant::Nothing(at),
    }
}

/// Goes by the id where the name has one, so that a topic that is made anew meanwhile is left alone.
fn resolve(state: DeleteTopicState, once: bool, image: &MetadataImage) -> Asked {
    let DeleteTopicState { name, topic_id: id } = state;
    let (name, id, which) = match name {
        Some(name) if id.is_nil() => match image.topic_named(&name) {
            Some(topic) => (Some(name), topic.id, Ok(TopicRef::Id(topic.id))),
            None => (Some(name.clone()), id, Ok(TopicRef::Name(name.as_str().to_owned()))),
        },
        None if !id.is_nil() => {
            (image.topic(id).map(|topic| Str::from(&topic.name)), id, Ok(TopicRef::Id(id)))
        }
        Some(name) => (Some(name), id, Err("a topic is given by name and by id")),
        None => (None, id, Err("a topic is given neither by name nor by id")),
    };
    let which = if once { which } else { Err("the topic is named more than once") };
    Asked { name, id, which: which.map_err(Refused::invalid_request) }
}

#[cfg(test)]
mod tests {
    use super::{Asked, asked};
    use crate::{
        actors::membership::{MetadataImage, TopicRef},
        model::TopicId,
        wire::{
            ErrorCode,
            api::delete_topics::{DeleteTopicState, DeleteTopicsRequest},
        },
    };

    fn of(states: Vec<(Option<&str>, TopicId)>) -> Vec<Asked> {
        let state = |(name, topic_id): (Option<&str>, TopicId)| DeleteTopicState {
            name: name.map(Into::into),
            topic_id,
        };
        let topics = states.into_iter().map(state).collect();
        let request = DeleteTopicsRequest { topics, ..DeleteTopicsRequest::default() };
        asked(request, 6, &MetadataImage::default())
    }

    fn code(asked: &Asked) -> Result<TopicRef, ErrorCode> {
        asked.which.clone().map_err(|refused| refused.code)
    }

    #[test]
    fn a_topic_is_given_by_name_or_by_id_and_not_by_both() {
        let (id, nil) = (TopicId::random(), TopicId::default());
        let asked = of(vec![(Some("a"), nil), (None, id), (Some("b"), id), (None, nil)]);
        assert_eq!(code(&asked[0]), Ok(TopicRef::Name("a".to_owned())));
        assert_eq!(code(&asked[1]), Ok(TopicRef::Id(id)));
        assert_eq!(code(&asked[2]), Err(ErrorCode::InvalidRequest));
        assert_eq!(code(&asked[3]), Err(ErrorCode::InvalidRequest));
    }

    #[test]
    fn a_topic_that_is_named_twice_is_refused_and_answered_once() {
        let (id, nil) = (TopicId::random(), TopicId::default());
        let asked = of(vec![(Some("a"), nil), (None, id), (Some("a"), nil), (None, id), (Some("b"), nil)]);
        let codes: Vec<_> = asked.iter().map(|asked| code(asked).is_ok()).collect();
        assert_eq!(codes, [false, false, true]);
    }

    #[test]
    fn up_to_version_5_names_are_all_there_is() {
        let request = DeleteTopicsRequest {
            topic_names: vec!["a".into(), "b".into()],
            ..DeleteTopicsRequest::default()
        };
        let asked = asked(request, 5, &MetadataImage::default());
        assert_eq!(asked.len(), 2);
        assert_eq!(code(&asked[1]), Ok(TopicRef::Name("b".to_owned())));
    }
}
