//! Fault points: every actor can be made to fail, by its path.
//!
//! What a supervisor does after a failure is only known once something has failed; waiting for a real
//! bug to learn it is too late. Tests and the chaos commands arm a fault here and the spawn wrapper
//! sets it off in the actor it names. The points belong to one node's [`Tree`](super::Tree), never to
//! the process. Unarmed, a point costs one relaxed load per message.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::ActorPath;

/// What an armed point does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The next message panics instead of being handled.
    Panic,
    /// The next message fails with an error instead of being handled.
    Err,
    /// The next message waits first; the actor is stuck for so long, and can still be killed.
    Delay(Duration),
    /// The next start fails with an error.
    FailStart,
    /// The next start panics.
    PanicStart,
}

/// Where in an actor's life a point is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Start,
    Message,
}

impl Fault {
    fn moment(self) -> Moment {
        match self {
            Self::Panic | Self::Err | Self::Delay(_) => Moment::Message,
            Self::FailStart | Self::PanicStart => Moment::Start,
        }
    }
}

#[derive(Debug)]
struct Rule {
    pattern: String,
    fault: Fault,
    left: usize,
}

#[derive(Debug, Default)]
struct Inner {
    /// How many rules are armed: read for each message, so that an unarmed node never locks.
    armed: AtomicUsize,
    rules: Mutex<Vec<Rule>>,
}

/// The armed faults of one node.
#[derive(Clone, Debug, Default)]
pub struct FaultPoints {
    inner: Arc<Inner>,
}

impl FaultPoints {
    /// Arms `fault` for the next `count` times an actor whose path fits `pattern` gets to it.
    ///
    /// A pattern is a path in which a name may be `*` (any one name) or end in `*` (any name that
    /// begins so), and which may end in `/**` (anything below).
    pub fn arm(&self, pattern: &str, fault: Fault, count: usize) {
        if count == 0 {
            return;
        }
        let mut rules = self.rules();
        rules.push(Rule { pattern: pattern.to_owned(), fault, left: count });
        self.inner.armed.store(rules.len(), Ordering::Release);
    }

    /// Disarms every point.
    pub fn disarm_all(&self) {
        self.rules().clear();
        self.inner.armed.store(0, Ordering::Release);
    }

    /// Takes the fault due for the actor at `path`, if any.
    #[inline]
    pub(super) fn take(&self, path: &ActorPath, moment: Moment) -> Option<Fault> {
        if self.inner.armed.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.take_armed(path, moment)
    }

    #[cold]
    fn take_armed(&self, path: &ActorPath, moment: Moment) -> Option<Fault> {
        let mut rules = self.rules();
        let at = rules.iter().position(|r| r.fault.moment() == moment && fits(&r.pattern, path))?;
        let rule = rules.get_mut(at)?;
        let fault = rule.fault;
        rule.left -= 1;
        if rule.left == 0 {
            rules.remove(at);
            self.inner.armed.store(rules.len(), Ordering::Release);
        }
        Some(fault)
    }

    fn rules(&self) -> std::sync::MutexGuard<'_, Vec<Rule>> {
        self.inner.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fits(pattern: &str, path: &ActorPath) -> bool {
    let mut names = path.names();
    for step in pattern.split('/') {
        let Some(name) = names.next() else { return false };
        let fits = match step.strip_suffix('*') {
            _ if step == "**" => return true,
            Some(beginning) => name.starts_with(beginning),
            None => name == step,
        };
        if !fits {
            return false;
        }
    }
    names.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ActorPath {
        let mut names = text.split('/');
        let root = ActorPath::root(names.next().unwrap());
        names.fold(root, |path, name| path.child(name))
    }

    #[test]
    fn patterns_fit_whole_names_only() {
        let table = [
            ("node/a", "node/a", true),
            ("node/a", "node/a/b", false),
            ("node/a/b", "node/a", false),
            ("node/*", "node/a", true),
            ("node/*", "node/a/b", false),
            ("node/*/b", "node/a/b", true),
            ("node/ord*", "node/orders-0", true),
            ("node/ord*", "node/pay-0", false),
            ("node/**", "node/a/b", true),
            ("node/**", "node", false),
        ];
        for (pattern, actor, expected) in table {
            assert_eq!(fits(pattern, &path(actor)), expected, "{pattern} on {actor}");
        }
    }

    #[test]
    fn a_fault_strikes_as_often_as_it_was_armed_and_only_at_its_moment() {
        let points = FaultPoints::default();
        let actor = path("node/a");
        points.arm("node/a", Fault::Err, 2);
        points.arm("node/a", Fault::FailStart, 1);
        assert_eq!(points.take(&actor, Moment::Start), Some(Fault::FailStart));
        assert_eq!(points.take(&actor, Moment::Start), None);
        assert_eq!(points.take(&path("node/b"), Moment::Message), None);
        assert_eq!(points.take(&actor, Moment::Message), Some(Fault::Err));
        assert_eq!(points.take(&actor, Moment::Message), Some(Fault::Err));
        assert_eq!(points.take(&actor, Moment::Message), None);
    }
}
