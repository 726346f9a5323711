//! Who is there: connections, and which of them are clients. Counts only.

use tokio::sync::watch;

/// Who is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Presence {
    /// Connections that are open.
    pub connected: usize,
    /// Those of them that sent a line: who only connects may be a probe.
    pub clients: usize,
    /// Whether there ever was a client.
    pub ever: bool,
}

/// A connection that becomes a client with its first line, and is one until its last answer is
/// written.
#[derive(Debug)]
pub(crate) struct Visit {
    presence: watch::Sender<Presence>,
    is_client: bool,
}

impl Visit {
    pub(crate) fn new(presence: watch::Sender<Presence>) -> Self {
        Self { presence, is_client: false }
    }

    /// The connection sent a line: its caller is a client from now on.
    pub(crate) fn sent_a_line(&mut self) {
        if !std::mem::replace(&mut self.is_client, true) {
            self.presence.send_modify(|presence| {
                (presence.clients, presence.ever) = (presence.clients + 1, true)
            });
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if self.is_client {
            self.presence.send_modify(|presence| presence.clients -= 1);
        }
    }
}
