//! Mistakes that are made on purpose, to see that they are found: each is one that a change to the code could make.

use polylogue::actors::group_coordinator::core::{Coordinator, Request};

use crate::checks::describe;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// Who waits is answered as soon as the append has begun.
    AnswersBeforeTheDisk,
    /// Loading does not wait for what a predecessor had not on disk yet.
    LoadsTooEarly,
    /// A commit counts whoever it comes from.
    TakesAnyCommit,
    /// Now and then a member is not told its assignment.
    ForgetsAnAnswer,
    /// A member is believed to have given back what it was not asked for yet.
    GivesTooEarly,
    /// The timer rings two seconds late.
    RingsLate,
}

impl Plant {
    /// A commit by anybody, as one that the coordinator cannot tell from a good one; a heartbeat of one who owns nothing.
    pub(crate) fn misled(plant: Option<Self>, request: Request, core: &mut Coordinator) -> Request {
        match request {
            Request::Commit(mut commit) if plant == Some(Self::TakesAnyCommit) && commit.generation >= 0 => {
                let members = describe(core, &commit.group).members;
                if let Some(member) = members.first() {
                    commit.member_id = member.member_id.clone();
                    commit.instance_id = None;
                    commit.generation = Self::generation(core, &commit.group, &commit.member_id);
                }
                Request::Commit(commit)
            }
            Request::ConsumerHeartbeat(mut said)
                if plant == Some(Self::GivesTooEarly) && said.member_epoch > 0 =>
            {
                said.topic_partitions = Some(Vec::new());
                Request::ConsumerHeartbeat(said)
            }
            other => other,
        }
    }

    fn generation(core: &Coordinator, group: &polylogue::wire::Str, member: &polylogue::wire::Str) -> i32 {
        use polylogue::{
            actors::group_coordinator::core::Answer,
            wire::{ErrorCode, api::heartbeat::HeartbeatRequest},
        };
        let is_it = |generation: &i32| {
            let request = HeartbeatRequest {
                group_id: group.clone(),
                generation_id: *generation,
                member_id: member.clone(),
                group_instance_id: None,
            };
            let answer = crate::checks::ask(&mut core.clone(), Request::Heartbeat(request));
            let Some(Answer::Heartbeat(answer)) = answer else { return false };
            answer.error_code != ErrorCode::IllegalGeneration
        };
        (0..1000).find(is_it).unwrap_or(0)
    }
}
