//! The admin socket's file: bound at the start, kept where it is looked for, gone with the daemon.
//!
//! It serves nobody: who connects is the admin thread's, which is sent each listener.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;

use tokio::sync::mpsc;
use tokio::time::interval;

use crate::inputs::socket::{BindError, LOOK_EVERY, Look, SocketFile};

/// For the daemon's own user alone: who may ask may also stop it.
const MODE: u32 = 0o600;

/// The file, and the way to whoever serves it.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    file: SocketFile,
    listeners: mpsc::Sender<UnixListener>,
}

/// Why there is no admin socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("admin.socket: {0}. Or turn it off: --set admin.socket=off")]
    Bind(#[from] BindError),
    #[error("cannot start the admin thread: {0}")]
    Share(#[from] io::Error),
}

impl AdminSocket {
    /// Binds it. Returned beside it are its listener, and later the one that takes its place.
    ///
    /// # Errors
    /// The path cannot be had.
    pub(super) async fn bind(
        path: &Path,
    ) -> Result<(Self, mpsc::Receiver<UnixListener>), SocketError> {
        let file = SocketFile::bind(path, MODE).await?;
        let (listeners, served) = mpsc::channel(1);
        listeners.try_send(file.share()?).expect("there is room for one");
        Ok((Self { file, listeners }, served))
    }

    /// Keeps the file where it is looked for, until it is dropped.
    pub(crate) async fn run(mut self) {
        let mut looks = interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            if let Look::BoundAgain(_) = self.file.look().await {
                match self.file.share() {
                    // Its reader ends with the process.
                    Ok(listener) => drop(self.listeners.send(listener).await),
                    Err(error) => {
                        tracing::error!(%error, "the admin socket is not served any more")
                    }
                }
            }
        }
    }
}
