//! The counted way to send to an actor.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use ractor::{ActorCell, ActorRef, Message, MessagingErr, RpcReplyPort};

use super::Vitals;

/// The actor has ended: the message was not, and will not be, handled by this incarnation.
///
/// The reverse does not hold: a message sent just before the end may be thrown away without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("actor has ended")]
pub struct Gone;

/// Why a call brought no answer. But for `Gone`, whether the request was carried out is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The actor had ended before.
    #[error("actor has ended")]
    Gone,
    /// No answer within the time allowed.
    #[error("no answer within {after:?}")]
    Timeout {
        /// The time allowed.
        after: Duration,
    },
    /// The actor dropped the request: it ended, or it does not answer this one.
    #[error("request was dropped without an answer")]
    Dropped,
}

/// One incarnation of an actor, as others hold it. Cheap to clone.
///
/// After a restart it leads to the dead predecessor; where that matters hold a
/// [`Slot`](super::Slot).
pub struct Address<M> {
    actor: ActorRef<M>,
    vitals: Arc<Vitals>,
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { actor: self.actor.clone(), vitals: Arc::clone(&self.vitals) }
    }
}

impl<M> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.actor.get_id())
    }
}

impl<M> Address<M> {
    /// The counted address of an actor whose vitals are known: how an actor addresses itself, with
    /// the reference it gets in `pre_start` and the vitals it gets through
    /// [`spawn_with`](super::spawn_with).
    pub fn new(actor: ActorRef<M>, vitals: Arc<Vitals>) -> Self {
        Self { actor, vitals }
    }

    /// The untyped actor, to link, stop or kill it.
    pub fn cell(&self) -> ActorCell {
        self.actor.get_cell()
    }

    /// The typed reference, for timers. What is sent through it is not counted in the queue.
    pub fn actor(&self) -> &ActorRef<M> {
        &self.actor
    }

    /// The live figures of the actor.
    pub fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }
}

impl<M: Message> Address<M> {
    /// Puts a message into the mailbox. One atomic addition on top of what `ractor` does.
    #[inline]
    pub fn cast(&self, message: M) -> Result<(), Gone> {
        self.send(message).map_err(|_| Gone)
    }

    /// Sends the request that `build` makes around a reply port and awaits the answer.
    ///
    /// The request is sent when this is called, not when it is first polled.
    pub fn call<R, B>(
        &self,
        build: B,
        timeout: Duration,
    ) -> impl Future<Output = Result<R, CallError>> + Send + use<M, R, B>
    where
        R: Send + 'static,
        B: FnOnce(RpcReplyPort<R>) -> M,
    {
        let (port, answer) = ractor::concurrency::oneshot();
        let sent = self.cast(build((port, timeout).into()));
        async move {
            sent.map_err(|Gone| CallError::Gone)?;
            match ractor::concurrency::timeout(timeout, answer).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) => Err(CallError::Dropped),
                Err(_) => Err(CallError::Timeout { after: timeout }),
            }
        }
    }

    fn send(&self, message: M) -> Result<(), MessagingErr<M>> {
        self.vitals.on_sent();
        let sent = self.actor.send_message(message);
        if sent.is_err() {
            self.vitals.on_not_sent();
        }
        sent
    }
}
