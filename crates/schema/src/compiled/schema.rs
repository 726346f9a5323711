//! The nodes of one schema. What is done with them stands elsewhere.

use super::node::{Node, NodeId};

/// A schema that was loaded.
#[derive(Debug)]
pub struct Schema {
    pub(super) nodes: Vec<Node>,
}

impl Schema {
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The node that a mere reference leads to.
    pub(crate) fn followed(&self, id: Option<NodeId>) -> Option<NodeId> {
        let mut id = id?;
        while let Some(next) = self.node(id).reference() {
            id = next;
        }
        Some(id)
    }
}
