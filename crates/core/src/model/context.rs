//! What a connection says once, for all of its later events. `intake` adds it to each of them; who
//! says it, and how, is the input's matter (on the socket: `hello`).

use super::Profile;

/// The defaults of one connection. Each field is `None` where the connection said nothing of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Context {
    pub user_id: Option<String>,
    pub producer_id: Option<String>,
    pub correlation_id: Option<String>,
    pub organisation_id: Option<String>,
    /// The form that events are published in.
    pub envelope: Option<Profile>,
}
