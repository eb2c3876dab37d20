use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::watch;

use super::{Attempt, Command, Forward, ForwardError, Forwarding, Leadership, Next, Target, Ways};
use crate::{
    actors::supervise::BoxFuture,
    clock::{Clock, ManualClock},
    model::TimestampMs,
};

const SECOND: Duration = Duration::from_secs(1);
const START: Duration = Duration::from_secs(100);

type Tried = Attempt<&'static str, u8>;

fn forwarding(is_idempotent: bool) -> Forwarding<u8> {
    Forwarding::new(is_idempotent, START, SECOND)
}

#[track_caller]
fn target(next: Next<u8>) -> Target<u8> {
    let Next::Try { target, .. } = next else { panic!("no attempt: {next:?}") };
    target
}

#[test]
fn the_controller_decides_itself_and_others_send_to_it() {
    assert_eq!(target(forwarding(false).next(START, &Leadership::Us)), Target::Us);
    assert_eq!(target(forwarding(false).next(START, &Leadership::Peer(3))), Target::Peer(3));
}

#[test]
fn a_hint_is_followed_at_once_and_two_that_name_each_other_are_not_asked_for_ever() {
    let mut way = forwarding(false);
    assert_eq!(target(way.next(START, &Leadership::Peer(1))), Target::Peer(1));
    assert_eq!(way.on_attempt(START, Tried::NotController { hint: Some(2) }), None);
    assert_eq!(target(way.next(START, &Leadership::Peer(1))), Target::Peer(2));
    let (mut now, mut attempts) = (START, 2);
    loop {
        match way.next(now, &Leadership::Peer(1)) {
            Next::Try { target: Target::Peer(at), .. } => {
                attempts += 1;
                way.on_attempt(now, Tried::NotController { hint: Some(3 - at) });
            }
            Next::Wait { until } => now = until,
            Next::Over(error) => break assert_eq!(error, ForwardError::NoController),
            other @ Next::Try { .. } => panic!("{other:?}"),
        }
    }
    assert!((5..15).contains(&attempts), "{attempts} attempts in a second");
}

#[test]
fn a_new_leader_is_tried_without_waiting_and_an_older_hint_is_forgotten() {
    let mut way = forwarding(false);
    way.next(START, &Leadership::Peer(1));
    way.on_attempt(START, Tried::NotController { hint: None });
    assert!(matches!(way.next(START, &Leadership::Peer(1)), Next::Wait { .. }));
    assert!(matches!(way.next(START, &Leadership::None), Next::Wait { .. }));
    assert_eq!(target(way.next(START, &Leadership::Peer(2))), Target::Peer(2));
    way.on_attempt(START, Tried::NotController { hint: Some(1) });
    assert_eq!(target(way.next(START, &Leadership::Us)), Target::Us);
}

#[test]
fn what_may_have_been_taken_is_not_sent_again_unless_that_does_no_harm() {
    let mut once = forwarding(false);
    once.next(START, &Leadership::Peer(1));
    assert_eq!(once.on_attempt(START, Tried::Unknown), Some(Err(ForwardError::OutcomeUnknown)));

    let mut again = forwarding(true);
    again.next(START, &Leadership::Peer(1));
    assert_eq!(again.on_attempt(START, Tried::Unknown), None);
    assert_eq!(target(again.next(START + SECOND / 2, &Leadership::Peer(2))), Target::Peer(2));
    again.on_attempt(START + SECOND / 2, Tried::NotSent);
    let over = Next::Over(ForwardError::OutcomeUnknown);
    assert_eq!(again.next(START + SECOND, &Leadership::Peer(2)), over, "the first one may have been taken");
}

#[test]
fn what_reached_nobody_is_sent_again_and_is_known_not_to_be_done() {
    let mut way = forwarding(false);
    way.next(START, &Leadership::Peer(1));
    assert_eq!(way.on_attempt(START, Tried::NotSent), None);
    assert_eq!(target(way.next(START + SECOND / 2, &Leadership::Peer(1))), Target::Peer(1));
    way.on_attempt(START + SECOND / 2, Tried::NotSent);
    assert_eq!(way.next(START + SECOND, &Leadership::Peer(1)), Next::Over(ForwardError::NoController));
}

#[derive(Clone)]
struct Create;

impl Command for Create {
    type Answer = &'static str;

    fn is_idempotent(&self) -> bool {
        false
    }
}

/// Notes who was tried; peer 2 leads, peer 1 does not answer.
#[derive(Default)]
struct Net(Mutex<Vec<Target<u8>>>);

impl Ways<Create, u8> for Net {
    fn decide(&self, _: Create, _: Duration) -> BoxFuture<Tried> {
        self.0.lock().unwrap().push(Target::Us);
        Box::pin(async { Attempt::NotController { hint: Some(2) } })
    }

    fn send(&self, to: u8, _: Create, _: Duration) -> BoxFuture<Tried> {
        self.0.lock().unwrap().push(Target::Peer(to));
        Box::pin(
            async move { if to == 1 { std::future::pending().await } else { Attempt::Answered("created") } },
        )
    }
}

fn forward(leadership: Leadership<u8>) -> (Forward<Create, u8>, watch::Sender<Leadership<u8>>, Arc<Net>) {
    let (sender, receiver) = watch::channel(leadership);
    let net = Arc::new(Net::default());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(TimestampMs::new(0)));
    (Forward::new(Arc::clone(&net) as Arc<dyn Ways<Create, u8>>, receiver, clock), sender, net)
}

#[tokio::test(start_paused = true)]
async fn a_command_goes_where_a_deposed_controller_points_to() {
    let (forward, _leadership, net) = forward(Leadership::Us);
    assert_eq!(forward.command(Create, SECOND).await, Ok("created"));
    assert_eq!(*net.0.lock().unwrap(), [Target::Us, Target::Peer(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_command_waits_for_an_election_and_then_goes_at_once() {
    let (forward, leadership, net) = forward(Leadership::None);
    let sent = forward.command(Create, SECOND);
    let elected = async {
        tokio::task::yield_now().await;
        leadership.send_replace(Leadership::Peer(2));
    };
    let (answer, ()) = tokio::join!(sent, elected);
    assert_eq!(answer, Ok("created"));
    assert_eq!(*net.0.lock().unwrap(), [Target::Peer(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_controller_leaves_the_outcome_unknown_when_the_time_is_over() {
    let (forward, _leadership, net) = forward(Leadership::Peer(1));
    assert_eq!(forward.command(Create, SECOND).await, Err(ForwardError::OutcomeUnknown));
    assert_eq!(*net.0.lock().unwrap(), [Target::Peer(1)], "sent once");
}
