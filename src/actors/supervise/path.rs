//! Where an actor stands in its node's tree.

use std::{cmp::Ordering, fmt, sync::Arc};

/// The names from the root down to an actor, joined by `/`: `node/partitions/orders-0`.
///
/// Ordered as a tree is drawn: a parent comes right before all that stands below it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ActorPath(Arc<str>);

impl ActorPath {
    /// The path of a root. A `/` in a name becomes `_`, so that a name stays one step.
    pub fn root(name: &str) -> Self {
        Self(name.replace('/', "_").into())
    }

    /// The path of a child of this actor.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self(format!("{}/{}", self.0, name.replace('/', "_")).into())
    }

    /// The path above, or `None` at a root.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(above, _)| Self(above.into()))
    }

    /// The last name of the path.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The whole path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names from the root down.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The name right below `above` on the way to this path, or `None` when this is not below it.
    pub fn name_below(&self, above: &Self) -> Option<&str> {
        self.0.strip_prefix(above.as_str())?.strip_prefix('/')?.split('/').next()
    }
}

impl PartialOrd for ActorPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ActorPath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.names().cmp(other.names())
    }
}

impl fmt::Display for ActorPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ActorPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_sorts_right_before_what_is_below_it() {
        let root = ActorPath::root("node");
        let a = root.child("a");
        let mut paths = vec![root.child("a-b"), a.child("x"), a.clone(), root.clone()];
        paths.sort();
        assert_eq!(paths, [root.clone(), a.clone(), a.child("x"), root.child("a-b")]);
    }

    #[test]
    fn a_slash_in_a_name_does_not_make_a_step() {
        let path = ActorPath::root("node").child("a/b");
        assert_eq!(path.as_str(), "node/a_b");
        assert_eq!(path.name(), "a_b");
        assert_eq!(path.parent(), Some(ActorPath::root("node")));
    }

    #[test]
    fn name_below_knows_siblings_with_a_common_prefix() {
        let root = ActorPath::root("node");
        let a = root.child("a");
        assert_eq!(a.child("x").child("y").name_below(&a), Some("x"));
        assert_eq!(root.child("ab").name_below(&a), None);
        assert_eq!(a.name_below(&a), None);
    }
}
