//! Tells the service manager that started us, if one did, when we serve, when we read the
//! configuration again and when we stop, by the protocol of systemd's sd_notify(3). It is never
//! waited for, and nothing depends on it.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The way to the service manager. The default tells nobody: only a daemon that was itself started
/// tells.
#[derive(Debug, Default)]
pub(crate) struct ServiceManager(Option<NotifySocket>);

/// A socket of ours, and the address of the manager's.
#[derive(Debug)]
struct NotifySocket {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl ServiceManager {
    /// The service manager that the environment names in `NOTIFY_SOCKET`, if it names one.
    ///
    /// # Errors
    /// If the name is not that of a socket that can be written to.
    pub(crate) fn of_environment() -> io::Result<Self> {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self(None));
        };
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self(Some(NotifySocket { socket, address })))
    }

    /// Says that we serve, for the first time or again.
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    /// Says that the configuration is being read again; [`Self::ready`] ends it.
    pub(crate) fn reloading(&self) {
        self.tell("RELOADING=1");
    }

    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, state: &str) {
        let Some(NotifySocket { socket, address }) = &self.0 else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            tracing::warn!(%error, state, "the service manager cannot be told (NOTIFY_SOCKET): \
                                           with Type=notify it ends a daemon that it has not \
                                           heard of");
        }
    }
}
