//! JSON → nodes. Every schema inside a schema is loaded, one that nobody refers to as well, so that
//! what is wrong with it is said. Without a call for each level.

use serde_json::Value;

use super::error::LoadError;
use super::keywords::{self, Keywords};
use super::node::{Node, NodeId};
use super::places::{Loader, Place, Places};

/// The nodes of a schema, and where each of them stands.
pub(super) fn nodes(root: &Value) -> Result<(Vec<Node>, Places<'_>), LoadError> {
    let mut loader = Loader::new(root);
    loader.schema(Place::Root, root).expect("the first is not one too many");
    while let Some((id, value)) = loader.todo.pop() {
        match node(&mut loader, id, value) {
            Ok(node) => loader.nodes[id.0] = node,
            Err(why) => return Err(LoadError::new(&loader.pointer(id), why)),
        }
    }
    Ok(loader.loaded())
}

fn node<'a>(loader: &mut Loader<'a>, id: NodeId, value: &'a Value) -> Result<Node, String> {
    match value {
        Value::Bool(true) => Ok(Node::anything()),
        Value::Bool(false) => Ok(Node::nothing()),
        Value::Object(map) => keywords::node(loader, &Keywords { map, id }),
        _ => Err("a schema is an object, true or false".to_owned()),
    }
}
